#include <algorithm>

#include "averagers/averagers.h"
#include "kudari/stages.h"

namespace kudari {

Ema::Ema(const EmaSpec& spec) : WeightAverage("ema"), spec_(spec) {
  internal::CheckOptions("ema.", internal::EmaOptions(), spec);
}

void Ema::After(Engine& engine) {
  const auto n = static_cast<double>(count());
  const double decay = spec_.warmup ? std::min(spec_.decay, (1 + n) / (10 + n)) : spec_.decay;
  MoveTowards(engine, 1 - decay);
}

const internal::OptionTable<EmaSpec>& internal::EmaOptions() {
  using E = EmaSpec;
  static const OptionTable<E> options = {{.name = "decay",
                                          .member = &E::decay,
                                          .low = 0,
                                          .high = kBelow1,
                                          .doc = "share of the average kept at each step",
                                          .role = Role::kDecay},
                                         {.name = "warmup",
                                          .member = &E::warmup,
                                          .doc = "whether the first steps keep less of it",
                                          .role = Role::kCounts}};
  return options;
}

internal::AveragerEntry internal::EmaEntry() {
  return {.text = {.kind = "averager",
                   .name = "ema",
                   .summary = "Exponential moving average of the weights, for evaluation",
                   .formula = "a <- p at the first step, then a <- d a + (1 - d) p\n"
                              "d = decay, or min(decay, n / (9 + n)) at the n-th step with warm-up",
                   .torch = "as swa_utils.get_ema_avg_fn; warm-up is TensorFlow's",
                   .options = DescribeOptions("ema.", EmaOptions(), EmaSpec())},
          .table = {.name = "ema",
                    .member = TableOf<&OptimizerSpec::ema, &EmaOptions>(),
                    .doc = "moving average of the weights; unset: none"},
          .make = [](const OptimizerSpec& spec) -> std::unique_ptr<Averager> {
            return spec.ema ? std::make_unique<Ema>(*spec.ema) : nullptr;
          },
          .copies = [](const OptimizerSpec& spec) -> int64_t { return spec.ema ? 1 : 0; }};
}

}  // namespace kudari
