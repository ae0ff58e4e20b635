#ifndef KUDARI_C_H_
#define KUDARI_C_H_

/* Kudari for C, and for every language that can call C. docs/c.md is the guide.
 *
 * - Functions return KUDARI_OK or the code of an error, whose message kudari_last_error has. A call
 *   that fails changes nothing. No function prints, ends the program or lets an exception out.
 * - Texts are UTF-8 and end with a zero. What is passed in is copied and needed during the call
 *   only, except the memory of parameters and gradients, which the caller owns and keeps alive.
 * - Texts and bytes that a function returns through a pointer belong to the caller, who frees them
 *   with kudari_free.
 * - One handle is for one thread at a time; different handles may be used by different threads.
 * - Structs whose first member is `struct_size` may grow: set it to sizeof of the struct, and the
 *   members that are not used to zero, as KUDARI_INIT does. Outputs are cut to that size.
 */

/* This is C: NOLINTBEGIN(modernize-*,readability-identifier-naming) */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
/* KUDARI_INIT for C++, whose older versions cannot name members. */
template <class T>
inline T kudari_init() {
  T value = T();
  value.struct_size = sizeof(T);
  return value;
}

extern "C" {
#endif

/* The version of this interface, which is also that of the library's file, libkudari_c.so.1. It
 * rises when a program that was compiled before would not run as it did; additions leave it. */
#define KUDARI_ABI_VERSION 1

/* A struct with its size set and all else zero: kudari_report r = KUDARI_INIT(kudari_report); */
#ifdef __cplusplus
#define KUDARI_INIT(type) kudari_init<type>()
#else
#define KUDARI_INIT(type) \
  { .struct_size = sizeof(type) }
#endif

/* Codes of errors. */
enum {
  KUDARI_OK = 0,
  KUDARI_INVALID_ARGUMENT = 1, /* a null, a value out of range, an unknown name, bad text */
  KUDARI_OUT_OF_MEMORY = 2,
  KUDARI_IO = 3,          /* a file cannot be read or written, or is damaged */
  KUDARI_NONFINITE = 4,   /* the gradient is not finite and the policy is nonfinite = "error" */
  KUDARI_WRONG_STATE = 5, /* the call does not fit in now: inside a step, no gradient yet ... */
  KUDARI_CALLBACK = 6,    /* a closure returned something other than 0 */
  KUDARI_INTERNAL = 7     /* a bug in Kudari; please report it */
};

/* The message of the last call that failed in this thread, "" if none has. It is valid until the
 * next call that fails in this thread. */
const char* kudari_last_error(void);

/* KUDARI_ABI_VERSION of the library that is loaded. */
int32_t kudari_abi_version(void);

/* The version of Kudari as text, such as "0.1.0". */
const char* kudari_version(void);

/* The instruction set that kernels run on: "avx512", "avx2", "neon" or "scalar". */
const char* kudari_kernel_target(void);

/* Frees a text or bytes that a function has returned; null is allowed. */
void kudari_free(void* memory);

/* ---- Tensors and optimisers ---- */

/* Types of the elements of parameters and gradients. */
enum { KUDARI_FLOAT32 = 1, KUDARI_BFLOAT16 = 2, KUDARI_FLOAT16 = 3, KUDARI_FLOAT64 = 4 };

/* Where tensors live. */
enum { KUDARI_CPU = 0 };

/* A parameter with its gradient: contiguous memory in row-major order. All elements of an array of
 * tensors have the same struct_size, which is the distance between them. */
typedef struct kudari_tensor {
  size_t struct_size;
  const char* name;    /* not empty, unique in the optimiser */
  size_t rank;         /* 0: one element */
  const int64_t* dims; /* `rank` sizes */
  int32_t dtype;       /* of the parameter */
  int32_t grad_dtype;  /* 0: that of the parameter */
  int32_t device;      /* KUDARI_CPU */
  int32_t reserved;    /* 0 */
  void* param;
  const void* grad; /* null: the tensor has no gradient and is skipped */
  /* "matrix", "convolution", "embedding", "head", "norm" or "bias"; null: by name and shape */
  const char* tensor_class;
} kudari_tensor;

/* Options of kudari_optimizer_create. */
typedef struct kudari_optimizer_options {
  size_t struct_size;
  int32_t threads;        /* in [0, 4096]; 0: as many as OpenMP has */
  int32_t reserved;       /* 0 */
  int64_t run_steps;      /* steps of the run, for schedules relative to it; 0: unknown */
  double steps_per_epoch; /* above 0, for schedules in epochs; 0: unknown */
} kudari_optimizer_options;

/* The outcome of a step. What was not measured is a NaN. */
typedef struct kudari_report {
  size_t struct_size;
  double loss;
  double grad_norm;   /* global 2-norm before clipping, if it was needed or measure_norm is set */
  double factor;      /* what the gradient was multiplied by */
  double loss_scale;  /* what the loss was multiplied by */
  int64_t bytes_read; /* that the step had to read and write */
  int64_t bytes_written;
  int64_t first_nonfinite; /* index of the first tensor found not to be finite; -1: none */
  int32_t skipped;         /* 1: nothing was changed (gradient not finite, or no data) */
  int32_t clipped;         /* 1: clip_norm has shortened the gradient */
} kudari_report;

/* What a closure says about its batch; it begins with loss = NaN, samples = 1 and end = 0. */
typedef struct kudari_evaluation {
  size_t struct_size;
  double loss;    /* mean over the samples, without a loss scale */
  double samples; /* in [0, inf); 0: an empty batch, which adds nothing */
  int32_t end;    /* 1: there was no batch, the data has ended */
  int32_t reserved;
} kudari_evaluation;

/* The passes that a closure is called for. */
enum {
  KUDARI_PASS_PLAIN = 0,
  KUDARI_PASS_PERTURBED = 1 /* at moved weights, with the batches of the plain calls again */
};

/* A forward and backward pass: writes every gradient as the mean over its samples, multiplied by
 * the loss scale of the step, and fills `evaluation`. It must not change parameters. Any result but
 * 0 ends the step with KUDARI_CALLBACK, and everything is as it was before the step. */
typedef int (*kudari_closure)(void* user, int32_t pass, kudari_evaluation* evaluation);

/* Groups of tensors: indices of [[optimizer.group]] from 0, or one of these. */
enum { KUDARI_NO_GROUP = -1, KUDARI_FALLBACK_GROUP = -2, KUDARI_ALL_GROUPS = -3 };

/* An optimiser with its state. */
typedef struct kudari_optimizer kudari_optimizer;

/* Makes an optimiser from the table [optimizer] of a recipe in TOML (docs/recipes.md) and `count`
 * tensors; other tables are ignored. `options` may be null. */
int kudari_optimizer_create(const char* recipe, const kudari_tensor* tensors, size_t count,
                            const kudari_optimizer_options* options, kudari_optimizer** optimizer);

/* Ends an optimiser; null is allowed. If weights to evaluate are in the parameters, the trained
 * ones are put back first. KUDARI_WRONG_STATE inside a step. */
int kudari_optimizer_destroy(kudari_optimizer* optimizer);

/* Adds tensors behind those that there are. `groups` is null or a text with [[optimizer.group]]
 * tables for them, behind the groups that there are. */
int kudari_optimizer_add_tensors(kudari_optimizer* optimizer, const kudari_tensor* tensors,
                                 size_t count, const char* groups);

/* Redirects all tensors in one call. `params` has `count` pointers or is null: they stay.
 * `grads` has `count` pointers, each null for a tensor without a gradient, or is null: they stay.
 * `count` is the number of tensors. Parameters cannot be redirected while weights to evaluate are
 * in them. Allowed inside a closure. */
int kudari_optimizer_set_pointers(kudari_optimizer* optimizer, void* const* params,
                                  const void* const* grads, size_t count);

/* Steps with the gradients that the tensors point to. `report` may be null, here and below. */
int kudari_optimizer_step(kudari_optimizer* optimizer, kudari_report* report);

/* Steps with gradients of loss * loss_scale, which are only read. `found_inf`, which may be null,
 * becomes 1 if the gradient was not finite, so that nothing was changed, otherwise 0. */
int kudari_optimizer_step_scaled(kudari_optimizer* optimizer, double loss_scale, int32_t* found_inf,
                                 kudari_report* report);

/* Lets the recipe's source (accumulation, the sharpness-aware ones) compute the gradient with the
 * closure, then steps. `loss_scale` is what the closure multiplies the loss by; 0: there is no
 * scaling, and the recipe's policy for gradients that are not finite applies. */
int kudari_optimizer_step_closure(kudari_optimizer* optimizer, kudari_closure closure, void* user,
                                  double loss_scale, kudari_report* report);

/* Gives rules that use the Hessian's diagonal (sophia, sophia_h) an estimate of it: one array of
 * float32 for each tensor, null for none. If `estimates` is null and `count` 0, the gradients are
 * the estimates. */
int kudari_optimizer_update_hessian(kudari_optimizer* optimizer, const float* const* estimates,
                                    size_t count);

/* The number of steps taken, without skipped ones. */
int kudari_optimizer_steps(const kudari_optimizer* optimizer, int64_t* steps);

/* The number of tensors. */
int kudari_optimizer_tensors(const kudari_optimizer* optimizer, size_t* count);

/* The learning rate of a group at the next step, without lr_scale; of KUDARI_ALL_GROUPS, that of
 * the tensors in no group or, if there are none, of the first tensor that has one. */
int kudari_optimizer_lr(const kudari_optimizer* optimizer, int32_t group, double* lr);

/* Sets a constant learning rate in [0, inf) from the next step on. */
int kudari_optimizer_set_lr(kudari_optimizer* optimizer, int32_t group, double lr);

/* Replaces the schedule of an option ("lr", "weight_decay", ...) from the next step on; a number is
 * a schedule, too. */
int kudari_optimizer_set_schedule(kudari_optimizer* optimizer, int32_t group, const char* option,
                                  const char* schedule);

/* The value of an option for one tensor at the next step. */
int kudari_optimizer_value(const kudari_optimizer* optimizer, size_t tensor, const char* option,
                           double* value);

/* Sets the number of threads, in [0, 4096]; 0: as many as OpenMP has. Results do not depend on it.
 */
int kudari_optimizer_set_threads(kudari_optimizer* optimizer, int32_t threads);

/* Tells the optimiser that the parameters were given other values: masters, averages and the like
 * begin with them. */
int kudari_optimizer_refresh(kudari_optimizer* optimizer);

/* Puts the weights to evaluate (EMA, SWA, Lookahead, schedule-free rules) into the parameters.
 * Until the end of evaluation all that would change the optimiser is KUDARI_WRONG_STATE. */
int kudari_optimizer_begin_evaluation(kudari_optimizer* optimizer);

/* Puts the trained weights back, bit for bit. */
int kudari_optimizer_end_evaluation(kudari_optimizer* optimizer);

/* A state buffer of one tensor ("m", "v", "master" ...; see kudari_describe), rounded to float32.
 * `count` becomes its number of elements, 0 if the tensor has no such buffer or had no update yet.
 * `values` has room for `capacity` floats; null: `count` alone is wanted. */
int kudari_optimizer_slot(const kudari_optimizer* optimizer, size_t tensor, const char* slot,
                          float* values, size_t capacity, size_t* count);

/* Memory in bytes, once each tensor has had a gradient. */
typedef struct kudari_memory {
  size_t struct_size;
  int64_t total;              /* all below but the traffic */
  int64_t weights, gradients; /* owned by the caller */
  int64_t masters, state;
  int64_t accumulated, averages, source, scratch;
  int64_t bytes_read, bytes_written; /* the traffic of a step */
} kudari_memory;

/* The memory of the optimiser and its tensors. */
int kudari_optimizer_memory(const kudari_optimizer* optimizer, kudari_memory* memory);

/* The specification with every option spelled out, as TOML that kudari_optimizer_create takes. */
int kudari_optimizer_recipe(const kudari_optimizer* optimizer, char** recipe);

/* How each tensor is treated, as JSON: a list of {"name", "class", "group", "rule", "options",
 * "lr_scale", "frozen"}, with the values of the next step. */
int kudari_optimizer_plan(const kudari_optimizer* optimizer, char** json);

/* ---- State ---- */

/* The forms of a state. */
enum {
  KUDARI_STATE = 0,      /* Kudari's, to resume with the same bits */
  KUDARI_TORCH_STATE = 1 /* torch's state_dict: param_groups/..., state/NAME/BUFFER */
};

/* How a state is loaded. */
enum {
  KUDARI_STRICT = 0, /* what is missing or unknown is an error */
  KUDARI_LENIENT = 1 /* tensors and stages that the state lacks stay as they are */
};

/* The state as the bytes of a safetensors file: arrays by path, scalars in the metadata. */
int kudari_optimizer_state(const kudari_optimizer* optimizer, int32_t form, void** bytes,
                           size_t* size);

/* Replaces the state by such bytes, all or nothing. */
int kudari_optimizer_load_state(kudari_optimizer* optimizer, int32_t form, int32_t mode,
                                const void* bytes, size_t size);

/* The same with a file, which is replaced completely or not at all. */
int kudari_optimizer_save_file(const kudari_optimizer* optimizer, int32_t form, const char* path);
int kudari_optimizer_load_file(kudari_optimizer* optimizer, int32_t form, int32_t mode,
                               const char* path);

/* Saves the parameters (node "model", a file that other programs read) and the state (node
 * "optimizer") as a new checkpoint in `folder`, with checksums, and keeps the newest `keep` of
 * them; 0 keeps all. `path`, which may be null, becomes the folder of the new one. */
int kudari_optimizer_save_checkpoint(const kudari_optimizer* optimizer, const char* folder,
                                     int64_t keep, char** path);

/* Loads parameters and state from the newest checkpoint of `folder` that is not damaged, or from
 * the one that `folder` is. Everything is checked before the first write. `path` is as above. */
int kudari_optimizer_load_checkpoint(kudari_optimizer* optimizer, const char* folder, char** path);

/* The recipe with which Kudari goes on where torch stopped, from a state in torch's form. */
int kudari_recipe_from_torch(const void* bytes, size_t size, char** recipe);

/* ---- Schedules ---- */

/* A function of the step, such as "2e-3 * warmup(100) * cosine(1500, 0.05)" (docs/schedules.md). */
typedef struct kudari_schedule kudari_schedule;

/* Parses a schedule. `run_steps` and `steps_per_epoch` are the length of the run for lengths such
 * as 10%, 2ep and end; 0: unknown. */
int kudari_schedule_create(const char* text, int64_t run_steps, double steps_per_epoch,
                           kudari_schedule** schedule);
/* Ends a schedule; null is allowed. */
int kudari_schedule_destroy(kudari_schedule* schedule);
/* The value at one step, counted from 0. */
int kudari_schedule_value(const kudari_schedule* schedule, int64_t step, double* value);
/* The values of the steps first, first + 1 ... into an array of `count`. */
int kudari_schedule_values(const kudari_schedule* schedule, int64_t first, size_t count,
                           double* values);
/* The canonical text. */
int kudari_schedule_text(const kudari_schedule* schedule, char** text);

/* ---- Registry ---- */

/* All that Kudari knows of a kind ("rule", "source", "scale", "averager", "schedule", "preset" ...;
 * null: of every kind), as JSON: a list of objects with "kind", "name", "summary", "formula",
 * "paper", "use", "torch", "example", "state" (names of buffers) and "options", which are objects
 * with "name", "default", "range" and "doc", and for rules also "type", "low" and "high" (null: no
 * bound). */
int kudari_describe(const char* kind, char** json);

/* A recipe with every default of [optimizer] spelled out. It is an error what is one in a recipe.
 */
int kudari_complete_recipe(const char* recipe, char** completed);

/* ---- Doctor ---- */

/* Named columns of `rows` numbers each; a NaN is a number that is not known. */
typedef struct kudari_table {
  size_t rows, columns;
  const char* const* names;
  const double* const* values; /* one array of `rows` for each column */
} kudari_table;

/* The log of a run. */
typedef struct kudari_log {
  size_t struct_size;
  /* step, loss (both needed), lr, grad_norm, micro_grad_norm, skipped, loss_scale, lost */
  const kudari_table* steps;
  const kudari_table* evaluations; /* step, loss, accuracy; null: none */
  /* step, tensor (an index in `tensors`), grad, weight, update, trust, pinned; null: none */
  const kudari_table* layers;
  const char* const* tensors; /* names, from the model's input to its output */
  size_t tensor_count;
  int64_t steps_per_epoch, planned_steps; /* 0: unknown */
  const char* first_nonfinite;            /* a tensor's name, or null */
} kudari_log;

/* What is wrong with a run (docs/doctor.md), as JSON: {"findings": [{"verdict", "confidence",
 * "first_step", "last_step", "evidence", "tensors", "meaning", "action", "source"}], "seen":
 * [{"subject", "text"}], "not_judged": [...]}. */
int kudari_diagnose(const kudari_log* log, char** json);

/* ---- Learning-rate range tests ---- */

/* Options of a range test; 0 stands for the default. */
typedef struct kudari_lr_range_options {
  size_t struct_size;
  double start;        /* above 0; default 1e-7 */
  double end;          /* above start; default 10 */
  int64_t steps;       /* in [2, 1000000]; default 100 */
  double stop_factor;  /* above 1; default 4: ends where the smoothed loss is 4 times the lowest */
  int32_t linear;      /* 1: the learning rate rises along a line, not exponentially */
  int32_t never_stops; /* 1: does not end before the ramp does */
} kudari_lr_range_options;

/* A range test that the caller drives: while it runs, ask for lr, add the loss before the step with
 * it, and step. */
typedef struct kudari_lr_range kudari_lr_range;

/* Begins a test; `options` may be null. */
int kudari_lr_range_create(const kudari_lr_range_options* options, kudari_lr_range** test);
/* Ends a test; null is allowed. */
int kudari_lr_range_destroy(kudari_lr_range* test);
/* The learning rate of the next step. */
int kudari_lr_range_lr(const kudari_lr_range* test, double* lr);
/* Takes the loss before the next step; `running` becomes 0 when the test has ended. */
int kudari_lr_range_add(kudari_lr_range* test, double loss, int32_t* running);
/* The outcome so far as JSON: {"end", "points": [{"lr", "loss", "smoothed"}], "suggestions":
 * [{"method", "lr", "point"}], "warnings": [...], "recommended": a learning rate or null}. */
int kudari_lr_range_result(const kudari_lr_range* test, char** json);

/* ---- Loss scaling ---- */

/* Options of a scaler; 0 stands for the default, which is torch's. */
typedef struct kudari_grad_scaler_options {
  size_t struct_size;
  double init_scale;       /* default 65536 */
  double growth_factor;    /* above 1; default 2 */
  double backoff_factor;   /* in (0, 1); default 0.5 */
  int64_t growth_interval; /* at least 1; default 2000 */
  double min_scale;        /* default 2^-24 */
} kudari_grad_scaler_options;

/* Dynamic loss scaling as torch.amp.GradScaler does it. */
typedef struct kudari_grad_scaler kudari_grad_scaler;

/* Makes a scaler; `options` may be null. */
int kudari_grad_scaler_create(const kudari_grad_scaler_options* options,
                              kudari_grad_scaler** scaler);
/* Ends a scaler; null is allowed. */
int kudari_grad_scaler_destroy(kudari_grad_scaler* scaler);
/* What to multiply the loss by. */
int kudari_grad_scaler_scale(const kudari_grad_scaler* scaler, double* scale);
/* Steps with gradients of loss * scale; with a closure unless it is null. The optimiser must live
 * until the update. */
int kudari_grad_scaler_step(kudari_grad_scaler* scaler, kudari_optimizer* optimizer,
                            kudari_closure closure, void* user, kudari_report* report);
/* Lowers the scale if a gradient since the last update was not finite, otherwise counts a good
 * step. */
int kudari_grad_scaler_update(kudari_grad_scaler* scaler);
/* The state, between an update and the next step: the scale and the steps since it changed. */
int kudari_grad_scaler_state(const kudari_grad_scaler* scaler, double* scale,
                             int64_t* growth_tracker);
/* Replaces the state. */
int kudari_grad_scaler_load_state(kudari_grad_scaler* scaler, double scale, int64_t growth_tracker);

#ifdef __cplusplus
} /* extern "C" */
#endif
/* NOLINTEND(modernize-*,readability-identifier-naming) */

#endif /* KUDARI_C_H_ */
