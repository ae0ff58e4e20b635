#ifndef KUDARI_LAB_TRAIN_LIVE_DOCTOR_H_
#define KUDARI_LAB_TRAIN_LIVE_DOCTOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/doctor.h"
#include "lab/logs/metrics.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// A finding in one line, for the progress of a run.
std::string FindingLine(const Finding& finding);

/// A history of bounded length: all of it up to kMost entries, and from then on every second,
/// fourth and so on, evenly over the whole, and always the last one.
template <class T>
class History {
 public:
  static constexpr size_t kMost = 100'000;

  explicit History(std::vector<T>& entries) : entries_(entries) {}

  void Add(T entry) {
    if (count_ > 0 && (count_ - 1) % every_ != 0) entries_.pop_back();  // kept for being the last
    entries_.push_back(entry);
    ++count_;
    if (entries_.size() < kMost || (count_ - 1) % every_ != 0) return;
    for (size_t i = 1; i < kMost / 2; ++i) entries_[i] = std::move(entries_[2 * i]);
    entries_.resize(kMost / 2);
    entries_.push_back(std::move(entry));
    every_ *= 2;
  }

  /// Of entries that were added.
  int64_t count() const { return count_; }

  /// The count, and how many of the entries are kept; their owner visits these.
  void Visit(StateVisitor& visitor) {
    visitor.Value("count", count_, 0);
    visitor.Value("every", every_, 1);
  }

 private:
  std::vector<T>& entries_;
  int64_t count_ = 0, every_ = 1;
};

/// What is wrong with a run while it goes on. Its memory does not grow with the length of the run.
class LiveDoctor : public TrainObserver {
 public:
  LiveDoctor(int64_t planned_steps, int64_t steps_per_epoch);
  LiveDoctor(const LiveDoctor&) = delete;
  LiveDoctor& operator=(const LiveDoctor&) = delete;

  void OnStep(const StepEvent& event) override { Add(event.record); }
  void OnEvaluation(const EvaluationEvent& event) override;

  std::string_view StateName() const override { return "doctor"; }
  /// What is kept of the run, and which verdicts were given.
  void Visit(StateVisitor& visitor) override;

  void Add(const StepRecord& record);
  void Add(const EvaluationLog& evaluation) { evaluations_.Add(evaluation); }

  /// What is kept of the run.
  const RunLog& log() const { return log_; }

  /// Sure findings whose verdict was not given before. Looks only if the log has grown by a tenth
  /// since it last did, so that all looks together cost as much as a few of the whole log.
  std::vector<Finding> New();

  /// All findings; of a run that was stopped before its planned end as of one that goes on.
  std::vector<Finding> AtTheEnd() const;

 private:
  RunLog log_;
  History<StepLog> steps_{log_.steps};
  History<EvaluationLog> evaluations_{log_.evaluations};
  int64_t seen_ = 0;
  std::vector<Verdict> given_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_LIVE_DOCTOR_H_
