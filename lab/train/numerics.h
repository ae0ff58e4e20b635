#ifndef KUDARI_LAB_TRAIN_NUMERICS_H_
#define KUDARI_LAB_TRAIN_NUMERICS_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/spec.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// What 16-bit weights and 8-bit state lost over a whole run, by tensor.
class NumericsCount : public TrainObserver {
 public:
  /// Adds what the step counted.
  void OnStep(const StepEvent& event) override;

  std::string_view StateName() const override { return "numerics"; }
  /// The sums of each tensor.
  void Visit(StateVisitor& visitor) override;

  /// Rows of a summary: the shares of the whole model, the tensors with the largest ones and, if
  /// that is worth telling, what to do about it. None if nothing was added. `weights` is their type
  /// as in a recipe.
  std::vector<std::vector<std::string>> Rows(const Precision& precision,
                                             const std::string& weights) const;

 private:
  std::map<std::string, Numerics, std::less<>> tensors_;  // their names are the keys
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_NUMERICS_H_
