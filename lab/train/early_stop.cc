#include "lab/train/early_stop.h"

#include <fmt/format.h>

namespace kudari::lab {

void EarlyStop::OnEvaluation(const EvaluationEvent& event) {
  if (!event.validation || event.run.diverged) return;
  if (!controller_.Observe(event.monitored)) return;
  event.run.Stop(fmt::format("no new {} validation {} in {} evaluations (train.early_stopping)",
                             event.metric.higher_is_better ? "highest" : "lowest",
                             event.metric.name, controller_.options().patience));
}

}  // namespace kudari::lab
