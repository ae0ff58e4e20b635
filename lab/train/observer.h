#ifndef KUDARI_LAB_TRAIN_OBSERVER_H_
#define KUDARI_LAB_TRAIN_OBSERVER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kudari/state.h"
#include "kudari/step.h"
#include "lab/logs/metrics.h"

namespace kudari::lab {

class Session;

/// Why a run stopped that has taken all its steps.
inline constexpr const char* kReachedTheEnd = "reached the end";

/// How far a run is and what it has come to. What is not known yet is a NaN.
struct RunState {
  int64_t planned_steps = 0, steps_per_epoch = 0;
  int64_t steps = 0, epoch = 0;  ///< steps taken, and the epoch of the last one, from 1
  int64_t skipped = 0;           ///< of the steps, because the gradient was not finite
  int64_t gradients = 0;         ///< forward and backward calls, those of accumulation included
  int64_t samples = 0;           ///< that were trained on, again and again
  double seconds = 0;            ///< of training
  double loss = kNotMeasured;    ///< of the last step
  Score validation = {};         ///< of the last evaluation
  Score best = {};               ///< the best of each value in all evaluations
  Score test = {};               ///< of the weights that are saved
  int64_t saved_step = 0;        ///< the step after which these were made
  std::string stopped;           ///< why, in words; empty while training goes on
  bool diverged = false;         ///< the loss ceased to be finite

  /// Ends training after what observers are being told of; the first reason is the one that counts.
  void Stop(std::string why) {
    if (stopped.empty()) stopped = std::move(why);
  }

  /// All but what the recipe says and why the run stopped: a run that was stopped can go on.
  void Visit(StateVisitor& visitor);
};

/// A run is about to take its first step, or its first one since its state was loaded.
struct StartEvent {
  Session& session;
  const RunState& run;
};

/// A backward pass of a step has left its gradients in the parameters, multiplied by the loss
/// scale. `record` is of the step and has its number, its epoch and the number of passes so far.
struct GradientEvent {
  Session& session;
  Pass pass;
  StepRecord& record;
};

/// A step was taken. The record has all but what observers measure, and these add it.
struct StepEvent {
  Session& session;
  RunState& run;
  const Report& report;
  StepRecord& record;
};

/// An evaluation is being made, after the step run.steps: the model has the weights that it is of,
/// rather than those that are trained.
struct ShownEvent {
  Session& session;
  const RunState& run;
};

/// An evaluation was made, after the step run.steps; without a score if there is no validation
/// data. `metric` is that of train.monitor, and `monitored` its value or, if higher is better, the
/// negative of it.
struct EvaluationEvent {
  Session& session;
  RunState& run;
  std::optional<Score> validation;
  Metric metric = kMetrics.front();
  double monitored = kNotMeasured;
};

/// The run is over. Unless it diverged, the model has the weights to be saved, and run.test is
/// their score.
struct EndEvent {
  Session& session;
  const RunState& run;
};

/// Takes part in a run without changing it, but that it may end it. Each event reaches the
/// observers in the order in which they were added: those that measure come before those that log.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void OnStart(const StartEvent& /*event*/) {}
  virtual void OnGradient(const GradientEvent& /*event*/) {}
  virtual void OnStep(const StepEvent& /*event*/) {}
  virtual void OnShown(const ShownEvent& /*event*/) {}
  virtual void OnEvaluation(const EvaluationEvent& /*event*/) {}
  virtual void OnEnd(const EndEvent& /*event*/) {}

  /// Name of the observer's part of the run's state, and the part, between steps; empty if it has
  /// none.
  virtual std::string_view StateName() const { return {}; }
  virtual void Visit(StateVisitor& /*visitor*/) {}
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_OBSERVER_H_
