#ifndef KUDARI_LAB_TRAIN_EARLY_STOP_H_
#define KUDARI_LAB_TRAIN_EARLY_STOP_H_

#include <cstdint>

#include "kudari/controllers.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// Ends a run after some evaluations in a row without a better value of train.monitor.
class EarlyStop : public TrainObserver {
 public:
  /// `patience` is their number, train.early_stopping of a recipe. Throws Error if it is below 1.
  explicit EarlyStop(int64_t patience) : controller_({.patience = patience}) {}

  void OnEvaluation(const EvaluationEvent& event) override;

  std::string_view StateName() const override { return "early_stop"; }
  void Visit(StateVisitor& visitor) override { controller_.Visit(visitor); }

 private:
  EarlyStopping controller_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_EARLY_STOP_H_
