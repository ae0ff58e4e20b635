#include "lab/train/saved_weights.h"

#include <string>

#include "kudari/error.h"
#include "lab/files/run_folder.h"
#include "lab/train/data_card.h"
#include "lab/train/session.h"
#include "lab/train/weights.h"

namespace kudari::lab {

void SavedWeights::OnEnd(const EndEvent& event) {
  if (event.run.diverged) return;
  const auto card = CardOf(event.session.data());
  std::string failure;
  try {
    CheckNoLink(file_);
    SaveWeights(event.session.model(), file_, card);
  } catch (const Error& e) {
    failure = e.what();
  }
  if (!export_.empty()) SaveWeights(event.session.model(), export_, card);
  if (!failure.empty()) throw Error(failure);
}

}  // namespace kudari::lab
