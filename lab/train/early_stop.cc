#include "lab/train/early_stop.h"

#include <fmt/format.h>

namespace kudari::lab {

void EarlyStop::OnEvaluation(const EvaluationEvent& event) {
  if (!event.validation || event.run.diverged) return;
  if (!controller_.Observe(event.validation->loss)) return;
  event.run.Stop(
      fmt::format("no new lowest validation loss in {} evaluations (train.early_stopping)",
                  controller_.options().patience));
}

}  // namespace kudari::lab
