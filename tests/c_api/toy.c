/* Trains toys through kudari/c.h, as a program in C does: AdamW against values of torch's in
 * float64, and SAM against its formula (arXiv:2010.01412, equation 2), written out in double. */
#include <kudari/c.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The loss sum of curvature (p - best)^2 / 2. */
static const double kCurvature[4] = {1, 2, 4, 8};
static const double kBest[4] = {0.5, -0.25, 1, 0.125};
static const float kStart[4] = {1, 1, -1, 0};

typedef struct problem {
  float p[4], g[4];
  int calls;
} problem;

static double evaluate(problem* x) {
  double loss = 0;
  for (int i = 0; i < 4; ++i) {
    const double distance = (double)x->p[i] - kBest[i];
    x->g[i] = (float)(kCurvature[i] * distance);
    loss += kCurvature[i] * distance * distance / 2;
  }
  return loss;
}

static int failed(const char* what) {
  printf("%s: %s\n", what, kudari_last_error());
  return 1;
}

/* Makes an optimiser of one tensor, or returns null. */
static kudari_optimizer* make(problem* x, const char* recipe) {
  const int64_t dims[1] = {4};
  kudari_tensor tensor = KUDARI_INIT(kudari_tensor);
  tensor.name = "p";
  tensor.rank = 1;
  tensor.dims = dims;
  tensor.dtype = KUDARI_FLOAT32;
  tensor.param = x->p;
  tensor.grad = x->g;
  memcpy(x->p, kStart, sizeof x->p);
  x->calls = 0;
  kudari_optimizer* optimizer = NULL;
  if (kudari_optimizer_create(recipe, &tensor, 1, NULL, &optimizer) != KUDARI_OK) failed("create");
  return optimizer;
}

/* Whether the parameters are near values; a float32 step of lr 0.1 rounds by up to 2^-24. */
static int near(const problem* x, const double* values, double tolerance) {
  for (int i = 0; i < 4; ++i) {
    if (!(fabs((double)x->p[i] - values[i]) <= tolerance)) {
      printf("p[%d] = %.9g, expected %.9g\n", i, (double)x->p[i], values[i]);
      return 0;
    }
  }
  return 1;
}

/* torch.optim.AdamW([p], lr=0.1, weight_decay=0.01) in float64 after 1, 5 and 30 steps. */
static int train_adamw(void) {
  const double after_1[4] = {0.899000002, 0.8990000004, -0.899000000125, 0.09999999900000002};
  const double after_5[4] = {0.5243260096901005, 0.5017423489949471, -0.49899685176075526,
                             0.1721877848836825};
  const double after_30[4] = {0.518863427204282, -0.4293925052378126, 1.1962384666223065,
                              0.13814151255820026};
  problem x;
  kudari_optimizer* const optimizer =
      make(&x,
           "[optimizer]\nrule = \"adamw\"\nlr = 0.1\nweight_decay = 0.01\n"
           "measure_norm = true\n");
  if (optimizer == NULL) return 1;
  for (int step = 1; step <= 30; ++step) {
    evaluate(&x);
    kudari_report report = KUDARI_INIT(kudari_report);
    if (kudari_optimizer_step(optimizer, &report) != KUDARI_OK) return failed("step");
    if (!(report.grad_norm > 0) || report.skipped || report.clipped) return failed("report");
    if (step == 1 && !near(&x, after_1, 1e-7)) return 1;
    if (step == 5 && !near(&x, after_5, 1e-6)) return 1;
  }
  if (!near(&x, after_30, 1e-5)) return 1;
  return kudari_optimizer_destroy(optimizer) == KUDARI_OK ? 0 : failed("destroy");
}

static int closure(void* user, int32_t pass, kudari_evaluation* evaluation) {
  problem* const x = user;
  /* SAM asks at the weights first and then at the perturbed ones. */
  if (pass != (x->calls++ % 2 == 0 ? KUDARI_PASS_PLAIN : KUDARI_PASS_PERTURBED)) return 1;
  evaluation->loss = evaluate(x);
  return 0;
}

/* With a smaller step than above: where the gradient is short, SAM bounces, and roundings with it.
 */
static int train_sam(void) {
  problem x;
  kudari_optimizer* const optimizer = make(
      &x, "[optimizer]\nrule = \"sgd\"\nlr = 0.02\nsource = \"sam\"\nsharpness = {rho = 0.05}\n");
  if (optimizer == NULL) return 1;
  double p[4];
  for (int i = 0; i < 4; ++i) p[i] = (double)kStart[i];
  for (int step = 0; step < 20; ++step) {
    double squares = 0;
    for (int i = 0; i < 4; ++i) squares += pow(kCurvature[i] * (p[i] - kBest[i]), 2);
    for (int i = 0; i < 4; ++i) {
      const double g = kCurvature[i] * (p[i] - kBest[i]);
      const double moved = p[i] + 0.05 * g / sqrt(squares);
      p[i] -= 0.02 * kCurvature[i] * (moved - kBest[i]);
    }
    if (kudari_optimizer_step_closure(optimizer, closure, &x, 0, NULL) != KUDARI_OK) {
      return failed("step_closure");
    }
  }
  if (x.calls != 40 || !near(&x, p, 2e-6)) return 1;
  return kudari_optimizer_destroy(optimizer) == KUDARI_OK ? 0 : failed("destroy");
}

int main(void) {
  if (kudari_abi_version() != KUDARI_ABI_VERSION) return failed("another version of the library");
  kudari_optimizer* none = NULL;
  if (kudari_optimizer_create("[optimizer]\nrule = \"adamv\"\n", NULL, 0, NULL, &none) !=
          KUDARI_INVALID_ARGUMENT ||
      none != NULL || strstr(kudari_last_error(), "did you mean") == NULL) {
    return failed("an unknown rule");
  }
  return train_adamw() || train_sam();
}
