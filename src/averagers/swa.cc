#include "averagers/averagers.h"
#include "kudari/stages.h"

namespace kudari {

Swa::Swa(const SwaSpec& spec) : WeightAverage("swa"), spec_(spec) {
  internal::CheckOptions("swa.", internal::SwaOptions(), spec);
}

void Swa::After(Engine& engine) {
  const int64_t since = engine.steps() - spec_.start;
  if (since <= 0 || since % spec_.every != 0) return;
  MoveTowards(engine, 1 / static_cast<double>(count() + 1));
}

const internal::OptionTable<SwaSpec>& internal::SwaOptions() {
  using S = SwaSpec;
  static const OptionTable<S> options = {{.name = "start",
                                          .member = &S::start,
                                          .least = 0,
                                          .most = INT64_MAX,
                                          .doc = "number of steps before the first cycle",
                                          .role = Role::kSteps},
                                         {.name = "every",
                                          .member = &S::every,
                                          .least = 1,
                                          .most = INT64_MAX,
                                          .doc = "number of steps per cycle",
                                          .role = Role::kSteps}};
  return options;
}

internal::AveragerEntry internal::SwaEntry() {
  return {.text = {.kind = "averager",
                   .name = "swa",
                   .summary = "Mean of the weights at the end of every cycle, for evaluation",
                   .formula = "a <- a + (p - a) / n after steps start + n every, n = 1, 2, ...",
                   .paper = "Izmailov et al., Averaging Weights Leads to Wider Optima and Better "
                            "Generalization, arXiv:1803.05407",
                   .torch = "as swa_utils.AveragedModel",
                   .options = DescribeOptions("swa.", SwaOptions(), SwaSpec())},
          .table = {.name = "swa",
                    .member = TableOf<&OptimizerSpec::swa, &SwaOptions>(),
                    .doc = "mean of the weights; unset: none"},
          .make = [](const OptimizerSpec& spec) -> std::unique_ptr<Averager> {
            return spec.swa ? std::make_unique<Swa>(*spec.swa) : nullptr;
          },
          .copies = [](const OptimizerSpec& spec) -> int64_t { return spec.swa ? 1 : 0; }};
}

}  // namespace kudari
