#include "lab/train/saved_weights.h"

#include "lab/train/session.h"
#include "lab/train/weights.h"

namespace kudari::lab {

void SavedWeights::OnEnd(const EndEvent& event) {
  if (event.run.diverged) return;
  for (const auto& file : files_) SaveWeights(event.session.model(), file);
}

}  // namespace kudari::lab
