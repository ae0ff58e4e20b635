#ifndef KUDARI_LAB_TRAIN_TRAINER_H_
#define KUDARI_LAB_TRAIN_TRAINER_H_

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lab/recipe/train_recipe.h"
#include "lab/train/best_weights.h"
#include "lab/train/observer.h"
#include "lab/train/session.h"

namespace kudari::lab {

/// Throws Error for a recipe that waits for evaluations and has no data for them.
void CheckEvaluations(const Recipe& recipe);

/// Trains as a recipe says: steps, evaluations and the end of the run. It prints and writes
/// nothing; that is what its observers are for.
///
///     Trainer trainer(ReadTrainRecipe("recipes/digits-mlp.toml"));
///     MetricsLog metrics("metrics.jsonl");
///     trainer.Add(metrics);
///     trainer.Run();
class Trainer {
 public:
  /// Loads the data and makes model and optimiser; see Session. Throws Error for bad input.
  explicit Trainer(const Recipe& recipe);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  Session& session() { return session_; }
  const RunState& run() const { return run_; }

  /// Adds an observer, behind those that were added before; it must outlive the trainer's work.
  void Add(TrainObserver& observer) { observers_.push_back(&observer); }

  /// The whole run: Start, steps until the run stops, Finish. `interrupted` is asked after each
  /// step and its evaluation, and ends the run there. Throws what observers throw, and Error.
  const RunState& Run(const std::function<bool()>& interrupted = {});

  /// Whether an evaluation with validation data was made after the last step.
  bool EvaluatedNow() const {
    return run_.steps > 0 && evaluated_ == run_.steps && session_.validation().size() > 0;
  }

  /// Tells the observers that training begins, or goes on. Call it once, before the first step.
  void Start();
  /// Takes a step and makes the evaluation that is due after it; returns whether the run goes on.
  bool Step();
  /// Ends the run after the present step.
  void Stop(std::string why) { run_.Stop(std::move(why)); }
  /// Makes the last evaluation if it is due and, unless the run diverged, tests the weights to be
  /// saved: those to be evaluated or, with train.save = "best", those of the evaluation with the
  /// best value of train.monitor. The observers see the end while the model has these weights.
  void Finish();

  /// The state of the run, its session and its observers, between steps. Load it into a trainer of
  /// the same recipe and observers before Start: the run goes on as if it had not ended.
  void Visit(StateVisitor& visitor);

 private:
  using Clock = std::chrono::steady_clock;

  void TakeStep();
  Report StepPart(size_t index, StepRecord& record);
  void CheckStops(const Report& report);
  void Evaluate();
  void CheckChange();
  std::unique_ptr<EvaluatedWeights> ShowEvaluatedWeights();
  Score ScoreOf(const Samples& samples);
  double Monitored(const Metric& metric, const Score& score);
  double Seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void Diverge(std::string_view what);
  template <class Event>
  void Tell(void (TrainObserver::*method)(const Event&), const Event& event) {
    for (TrainObserver* observer : observers_) (observer->*method)(event);
  }

  Session session_;
  RunState run_;
  std::vector<TrainObserver*> observers_;
  Clock::time_point start_;
  std::optional<BestWeights> best_;  // if the recipe stops early
  int64_t evaluated_ = 0;            // the step after which an evaluation was made last
  double lowest_monitored_ = std::numeric_limits<double>::infinity();
  // Sums over the samples since the last evaluation, and the mean loss of those before it.
  double interval_loss_ = 0, interval_samples_ = 0;
  double former_mean_loss_ = std::numeric_limits<double>::quiet_NaN();
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_TRAINER_H_
