// Optimisers of kudari/c.h: making them, stepping, options.
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "c/handles.h"
#include "kudari/error_kinds.h"
#include "kudari/recipe.h"
#include "kudari/tensor.h"

namespace kudari::c {
namespace {

constexpr int64_t kMostThreads = 4096;

// Up to `grad`: what a tensor cannot do without.
constexpr size_t kTensorSize = offsetof(kudari_tensor, grad) + sizeof(void*);

DType DTypeOf(int32_t code, const std::string& where) {
  constexpr std::array<DType, 4> kTypes = {DType::kFloat32, DType::kBFloat16, DType::kFloat16,
                                           DType::kFloat64};
  CheckInteger(where, code, KUDARI_FLOAT32, KUDARI_FLOAT64);
  return kTypes[static_cast<size_t>(code - KUDARI_FLOAT32)];
}

Tensor TensorOf(const kudari_tensor& from, const std::string& where) {
  Tensor tensor;
  tensor.name = Utf8(from.name, where + ".name");
  const std::string named = where + " \"" + tensor.name + "\": ";
  CheckInteger(named + "rank", static_cast<int64_t>(std::min<size_t>(from.rank, INT32_MAX)), 0, 64);
  if (from.rank > 0) {
    CheckArgument(from.dims, named + "dims");
    tensor.shape.assign(from.dims, from.dims + from.rank);
  }
  tensor.dtype = DTypeOf(from.dtype, named + "dtype");
  if (from.grad_dtype != 0) tensor.grad_dtype = DTypeOf(from.grad_dtype, named + "grad_dtype");
  CheckInteger(named + "device", from.device, KUDARI_CPU, KUDARI_CPU);
  CheckInteger(named + "reserved", from.reserved, 0, 0);
  tensor.param = from.param;
  tensor.grad = from.grad;
  if (from.tensor_class != nullptr) {
    tensor.tensor_class = ParseTensorClass(Utf8(from.tensor_class, named + "tensor_class"));
  }
  return tensor;
}

std::vector<Tensor> TensorsOf(const kudari_tensor* tensors, size_t count) {
  std::vector<Tensor> list;
  if (count == 0) return list;
  const size_t distance = Read(tensors, "tensors[0]", kTensorSize).struct_size;
  const char* at = reinterpret_cast<const char*>(tensors);
  for (size_t i = 0; i < count; ++i, at += distance) {
    const std::string where = "tensors[" + std::to_string(i) + "]";
    const kudari_tensor tensor =
        Read(reinterpret_cast<const kudari_tensor*>(at), where, kTensorSize);
    if (tensor.struct_size != distance) {
      throw CodedError(KUDARI_INVALID_ARGUMENT,
                       where + ": struct_size is not that of the first tensor");
    }
    list.push_back(TensorOf(tensor, where));
  }
  return list;
}

OptimizerSpec SpecOf(std::string_view recipe, const kudari_optimizer_options& options) {
  OptimizerSpec spec = ParseRecipe(recipe);
  if (options.run_steps == 0) return spec;
  CheckInteger("options: run_steps", options.run_steps, 1, kMostSteps);
  return Resolve(spec, {.steps = options.run_steps, .steps_per_epoch = options.steps_per_epoch});
}

std::optional<int> GroupOf(int32_t group) {
  if (group == KUDARI_ALL_GROUPS) return std::nullopt;
  return group;
}

Parallel ThreadsOf(int32_t threads) {
  CheckInteger("threads", threads, 0, kMostThreads);
  return {.threads = threads};
}

// Whether clip_norm shortened the gradient. It does not fail, as the step has been taken.
bool Clipped(const OptimizerSpec& spec, const Report& report, int64_t step) {
  if (!spec.clip_norm || report.skipped) return false;
  return (*spec.clip_norm)(step) < report.grad_norm + spec.clip_norm_eps;
}

void CheckCount(size_t count, size_t expected) {
  if (count == expected) return;
  throw CodedError(KUDARI_INVALID_ARGUMENT, "count = " + std::to_string(count) +
                                                " is not the number of tensors, " +
                                                std::to_string(expected));
}

// Steps by calling `step` with the optimiser, and writes the report.
template <class F>
Report Stepped(kudari_optimizer* optimizer, kudari_report* report, const F& step) {
  kudari_optimizer& o = Deref(optimizer, "optimizer");
  CheckOutput(report, "report");
  const Stepping stepping(o);
  const Report result = step(o.core);
  Write(ReportOf(o, result), report);
  return result;
}

}  // namespace

kudari_report ReportOf(const kudari_optimizer& optimizer, const Report& report) {
  kudari_report out = KUDARI_INIT(kudari_report);
  out.loss = report.loss;
  out.grad_norm = report.grad_norm;
  out.factor = report.factor;
  out.loss_scale = report.loss_scale;
  out.bytes_read = report.bytes_read;
  out.bytes_written = report.bytes_written;
  out.first_nonfinite = -1;
  const std::span<const Tensor> tensors = optimizer.core.tensors();
  if (!report.first_nonfinite.empty()) {
    const auto found = std::ranges::find(tensors, report.first_nonfinite, &Tensor::name);
    out.first_nonfinite = found - tensors.begin();
  }
  out.skipped = report.skipped ? 1 : 0;
  out.clipped = Clipped(optimizer.core.spec(), report, optimizer.core.steps() - 1) ? 1 : 0;
  return out;
}

Oracle OracleOf(kudari_closure closure, void* user) {
  if (closure == nullptr) throw CodedError(KUDARI_INVALID_ARGUMENT, "closure is null");
  return [closure, user](Pass pass) {
    kudari_evaluation evaluation = KUDARI_INIT(kudari_evaluation);
    evaluation.loss = kNotMeasured;
    evaluation.samples = 1;
    const int result = closure(
        user, pass == Pass::kPlain ? KUDARI_PASS_PLAIN : KUDARI_PASS_PERTURBED, &evaluation);
    if (result != 0) {
      throw CodedError(KUDARI_CALLBACK, "the closure returned " + std::to_string(result));
    }
    if (evaluation.end != 0) return Evaluation::End();
    return Evaluation(evaluation.loss, evaluation.samples);
  };
}

}  // namespace kudari::c

using kudari::c::Deref;
using kudari::c::Guarded;
using kudari::c::Utf8;

extern "C" {

const char* kudari_kernel_target() {
  // An unknown KUDARI_TARGET is told of when an optimiser is made.
  static thread_local std::string target;
  const int code = Guarded([] { target = kudari::KernelTarget(); });
  return code == KUDARI_OK ? target.c_str() : "";
}

int kudari_optimizer_create(const char* recipe, const kudari_tensor* tensors, size_t count,
                            const kudari_optimizer_options* options, kudari_optimizer** optimizer) {
  return Guarded([=] {
    kudari_optimizer*& out = Deref(optimizer, "optimizer");
    kudari_optimizer_options chosen = KUDARI_INIT(kudari_optimizer_options);
    if (options != nullptr) chosen = kudari::c::Read(options, "options");
    kudari::c::CheckInteger("options: reserved", chosen.reserved, 0, 0);
    const kudari::Parallel parallel = kudari::c::ThreadsOf(chosen.threads);
    auto made = std::make_unique<kudari_optimizer>(kudari::Optimizer(
        kudari::c::TensorsOf(tensors, count), kudari::c::SpecOf(Utf8(recipe, "recipe"), chosen)));
    made->core.SetParallel(parallel);
    out = made.release();
  });
}

int kudari_optimizer_destroy(kudari_optimizer* optimizer) {
  return Guarded([=] {
    if (optimizer != nullptr && optimizer->stepping) {
      throw kudari::WrongStateError("destroy: called from within a step");
    }
    const std::unique_ptr<kudari_optimizer> ended(optimizer);
  });
}

int kudari_optimizer_add_tensors(kudari_optimizer* optimizer, const kudari_tensor* tensors,
                                 size_t count, const char* groups) {
  return Guarded([=] {
    kudari::Optimizer& core = Deref(optimizer, "optimizer").core;
    std::vector<kudari::Group> added;
    if (groups != nullptr) {
      // Behind the groups, so that the lines in messages are the caller's.
      std::string text(Utf8(groups, "groups"));
      text += "\n[optimizer]\n";
      if (!core.spec().rule.empty()) text += "rule = \"" + core.spec().rule + "\"\n";
      added = kudari::ParseRecipe(text, "groups").groups;
    }
    core.AddTensors(kudari::c::TensorsOf(tensors, count), added);
  });
}

int kudari_optimizer_set_pointers(kudari_optimizer* optimizer, void* const* params,
                                  const void* const* grads, size_t count) {
  return Guarded([=] {
    kudari_optimizer& o = Deref(optimizer, "optimizer");
    const std::span<kudari::Tensor> tensors = o.core.tensors();
    kudari::c::CheckCount(count, tensors.size());
    if (params != nullptr) {
      if (o.view) {
        throw kudari::WrongStateError(
            "set_pointers: the parameters hold weights to evaluate; end the evaluation first");
      }
      for (size_t i = 0; i < count; ++i) {
        if (params[i] == nullptr && tensors[i].Size() > 0) {
          kudari::c::CheckArgument(params[i], "params[" + std::to_string(i) + "]");
        }
      }
      for (size_t i = 0; i < count; ++i) tensors[i].param = params[i];
    }
    if (grads != nullptr) {
      for (size_t i = 0; i < count; ++i) tensors[i].grad = grads[i];
    }
  });
}

int kudari_optimizer_step(kudari_optimizer* optimizer, kudari_report* report) {
  return Guarded([=] {
    kudari::c::Stepped(optimizer, report, [](kudari::Optimizer& o) { return o.Step(); });
  });
}

int kudari_optimizer_step_scaled(kudari_optimizer* optimizer, double loss_scale, int32_t* found_inf,
                                 kudari_report* report) {
  return Guarded([=] {
    const kudari::Report result = kudari::c::Stepped(
        optimizer, report, [=](kudari::Optimizer& o) { return o.StepScaled(loss_scale); });
    if (found_inf != nullptr) *found_inf = result.skipped ? 1 : 0;
  });
}

int kudari_optimizer_step_closure(kudari_optimizer* optimizer, kudari_closure closure, void* user,
                                  double loss_scale, kudari_report* report) {
  return Guarded([=] {
    const kudari::Oracle oracle = kudari::c::OracleOf(closure, user);
    kudari::c::Stepped(optimizer, report, [&](kudari::Optimizer& o) {
      return loss_scale == 0 ? o.Step(oracle) : o.StepScaled(loss_scale, oracle);
    });
  });
}

int kudari_optimizer_update_hessian(kudari_optimizer* optimizer, const float* const* estimates,
                                    size_t count) {
  return Guarded([=] {
    kudari::Optimizer& core = Deref(optimizer, "optimizer").core;
    if (count > 0) kudari::c::CheckArgument(static_cast<const void*>(estimates), "estimates");
    core.UpdateHessian(std::span(estimates, estimates == nullptr ? 0 : count));
  });
}

int kudari_optimizer_steps(const kudari_optimizer* optimizer, int64_t* steps) {
  return Guarded([=] { Deref(steps, "steps") = Deref(optimizer, "optimizer").core.steps(); });
}

int kudari_optimizer_tensors(const kudari_optimizer* optimizer, size_t* count) {
  return Guarded(
      [=] { Deref(count, "count") = Deref(optimizer, "optimizer").core.tensors().size(); });
}

int kudari_optimizer_lr(const kudari_optimizer* optimizer, int32_t group, double* lr) {
  return Guarded(
      [=] { Deref(lr, "lr") = Deref(optimizer, "optimizer").core.Lr(kudari::c::GroupOf(group)); });
}

int kudari_optimizer_set_lr(kudari_optimizer* optimizer, int32_t group, double lr) {
  return Guarded([=] { Deref(optimizer, "optimizer").core.SetLr(lr, kudari::c::GroupOf(group)); });
}

int kudari_optimizer_set_schedule(kudari_optimizer* optimizer, int32_t group, const char* option,
                                  const char* schedule) {
  return Guarded([=] {
    Deref(optimizer, "optimizer")
        .core.SetSchedule(Utf8(option, "option"), kudari::ParseSchedule(Utf8(schedule, "schedule")),
                          kudari::c::GroupOf(group));
  });
}

int kudari_optimizer_value(const kudari_optimizer* optimizer, size_t tensor, const char* option,
                           double* value) {
  return Guarded([=] {
    double& out = Deref(value, "value");
    out = Deref(optimizer, "optimizer").core.Value(tensor, Utf8(option, "option"));
  });
}

int kudari_optimizer_set_threads(kudari_optimizer* optimizer, int32_t threads) {
  return Guarded(
      [=] { Deref(optimizer, "optimizer").core.SetParallel(kudari::c::ThreadsOf(threads)); });
}

int kudari_optimizer_refresh(kudari_optimizer* optimizer) {
  return Guarded([=] { Deref(optimizer, "optimizer").core.Refresh(); });
}

int kudari_optimizer_begin_evaluation(kudari_optimizer* optimizer) {
  return Guarded([=] {
    kudari_optimizer& o = Deref(optimizer, "optimizer");
    o.view.emplace(o.core.EvaluationWeights());
  });
}

int kudari_optimizer_end_evaluation(kudari_optimizer* optimizer) {
  return Guarded([=] {
    kudari_optimizer& o = Deref(optimizer, "optimizer");
    if (!o.view) throw kudari::WrongStateError("end_evaluation: no evaluation has begun");
    o.view.reset();
  });
}

}  // extern "C"
