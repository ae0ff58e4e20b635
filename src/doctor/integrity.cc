// What a log is before anything is concluded from it: several runs, a run that was resumed or whose
// weights were lost, and numbers that are odd.

#include "doctor/integrity.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "doctor/view.h"

namespace kudari::internal {
namespace {

// Where a run went back to a step that it had done.
struct Resumption {
  int64_t from = 0, to = 0;
};

// Entries by runs, each with rising steps.
template <class T>
struct Runs {
  std::vector<std::vector<T>> runs;
  std::vector<Resumption> resumptions;
  size_t repeated = 0;  // entries of the step of the entry before, which they replace
};

// A step at or before the first one of a run begins another run; a later one that is behind the
// last replaces what was logged from there on.
template <class T>
Runs<T> SplitRuns(const std::vector<T>& entries) {
  Runs<T> split;
  for (const T& entry : entries) {
    if (split.runs.empty()) split.runs.emplace_back();
    std::vector<T>* run = &split.runs.back();
    if (!run->empty() && entry.step <= run->back().step) {
      if (entry.step == run->back().step) {
        ++split.repeated;
      } else if (entry.step <= run->front().step) {
        run = &split.runs.emplace_back();
      } else {
        split.resumptions.push_back({run->back().step, entry.step});
      }
      while (!run->empty() && run->back().step >= entry.step) run->pop_back();
    }
    run->push_back(entry);
  }
  return split;
}

// The entries that belong to run `k` of `count`: where they do not go back as often as the steps
// do, those of the last.
template <class T>
std::vector<T> Matching(const std::vector<T>& entries, size_t k, size_t count) {
  Runs<T> split = SplitRuns(entries);
  if (split.runs.empty()) return {};
  return std::move(split.runs[split.runs.size() == count ? k : split.runs.size() - 1]);
}

void SplitLog(RunLog& log, Diagnosis& diagnosis) {
  Runs<StepLog> split = SplitRuns(log.steps);
  const size_t count = split.runs.size();
  if (count == 0) return;
  size_t longest = 0;
  for (size_t k = 0; k < count; ++k) {
    if (split.runs[k].size() >= split.runs[longest].size()) longest = k;
  }
  if (count > 1) {
    diagnosis.seen.push_back(
        {"several_runs",
         "the log holds " + std::to_string(count) +
             " runs, one after the other: the steps start over " + std::to_string(count - 1) +
             (count == 2 ? " time" : " times") + ". Run " + std::to_string(longest + 1) + ", of " +
             std::to_string(split.runs[longest].size()) + " entries, is the one that is judged"});
  }
  if (!split.resumptions.empty()) {
    const Resumption& last = split.resumptions.back();
    const size_t times = split.resumptions.size();
    diagnosis.seen.push_back(
        {"resumed", "the run was resumed" +
                        (times == 1 ? std::string() : " " + std::to_string(times) + " times") +
                        (times == 1 ? ": after step " : ", the last time after step ") +
                        std::to_string(last.from) + " it went back to step " +
                        std::to_string(last.to) + ". What was done last is judged"});
  }
  if (split.repeated > 0) {
    diagnosis.seen.push_back({"repeated_steps", std::to_string(split.repeated) +
                                                    " entries repeat the step of the entry before "
                                                    "them; the last entry of each step is judged"});
  }
  log.steps = std::move(split.runs[longest]);
  log.evaluations = Matching(log.evaluations, longest, count);
  log.layers = Matching(log.layers, longest, count);
}

// How many entries from `begin` on a curve takes to get down to a level; its size if it does not.
size_t EntriesTo(const std::vector<double>& y, size_t begin, double level) {
  size_t i = begin;
  while (i < y.size() && !(y[i] <= level)) ++i;
  return i < y.size() ? i - begin : y.size();
}

// The largest drop from one entry to the next in [begin, end].
double LargestDrop(const std::vector<double>& y, size_t begin, size_t end) {
  double drop = 0;
  for (size_t i = begin + 1; i <= end; ++i) drop = std::max(drop, y[i - 1] - y[i]);
  return drop;
}

// Whether consecutive losses mostly differ little, relative to themselves and to their range: jumps
// of others are their noise.
bool Calm(const std::vector<double>& losses) {
  constexpr double kCalm = 0.3, kCalmInRange = 0.1;
  std::vector<double> relative, absolute;
  for (size_t i = 1; i < losses.size(); ++i) {
    relative.push_back(std::abs(std::log(losses[i] / losses[i - 1])));
    absolute.push_back(std::abs(losses[i] - losses[i - 1]));
  }
  const double range = Quantile(losses, 0.99) - Quantile(losses, 0.01);
  return Median(std::move(relative)) < kCalm && Median(std::move(absolute)) < kCalmInRange * range;
}

// Where training started over: the loss jumps in one entry over most of the way that it had come
// down, and then comes down again as it did at first. A spike comes down much faster, and a run
// that has diverged does not. Right on 2 real logs and 10 of AlgoPerf's, all of a submission that
// trains twice; wrong on 2 of its 4,300 others. A running median of five keeps jumps and takes away
// single spikes.
std::optional<size_t> FindRestart(const std::vector<double>& losses) {
  constexpr double kJump = 0.7, kLearned = 0.5;
  constexpr size_t kLearnedFor = 3;   // times as long as it took to come down half way
  constexpr size_t kSame = 3;         // times as fast or slow as at first
  constexpr size_t kLeastFall = 3;    // entries in which it fell half its way at first
  constexpr size_t kMostJumps = 100;  // of more, none is a restart
  constexpr size_t kLong = 50;
  if (losses.size() < 4 * kLeastFall) return std::nullopt;
  const std::vector<double> loss = losses.size() < kLong ? losses : RunningMedian(losses, 2);
  if (!Calm(losses)) return std::nullopt;
  const double first = loss[0];
  double low = first;
  size_t jumps = 0;
  for (size_t i = 1; i < loss.size() && jumps < kMostJumps; ++i) {
    const double way = first - low;
    if (way > kLearned * first && low >= 0 && loss[i] >= low + kJump * way &&
        loss[i - 1] <= low + (1 - kJump) * way) {
      ++jumps;
      const double half = low + way / 2, quarter = low + way / 4;
      const size_t once = EntriesTo(loss, 0, half), again = EntriesTo(loss, i, half);
      const size_t down = EntriesTo(loss, i, quarter);
      if (once >= kLeastFall && i >= kLearnedFor * once && again <= kSame * once &&
          once < kSame * again && down < loss.size() &&
          LargestDrop(loss, i, i + down) < kJump * way) {
        return i;
      }
    }
    if (loss[i] < low) low = loss[i];
  }
  return std::nullopt;
}

// Leaves what came after the last restart.
void CutAtRestarts(RunLog& log, Diagnosis& diagnosis) {
  constexpr int kMost = 8;  // more are something else
  for (int count = 0; count < kMost; ++count) {
    std::vector<double> loss;
    for (const StepLog& s : log.steps) loss.push_back(s.loss);
    const auto restart = FindRestart(loss);
    if (!restart) return;
    const auto at = static_cast<std::ptrdiff_t>(*restart);
    const int64_t step = log.steps[*restart].step;
    diagnosis.findings.push_back(
        {Verdict::kRestart, 0.9, log.steps[*restart - 1].step, step,
         "the loss jumped from " + Brief(loss[*restart - 1]) + " to " + Brief(loss[*restart]) +
             " at step " + std::to_string(step) + ", near the " + Brief(loss[0]) +
             " where it began, and falls from there as it did at first; what follows is judged as "
             "a run of its own"});
    log.steps.erase(log.steps.begin(), log.steps.begin() + at);
    std::erase_if(log.evaluations, [&](const EvaluationLog& e) { return e.step < step; });
    std::erase_if(log.layers, [&](const LayersLog& l) { return l.step < step; });
  }
}

// Where the training loss ends before the first half of the evaluated steps, the validation loss
// takes its place.
bool TakeValidationLoss(RunLog& log, Diagnosis& diagnosis) {
  constexpr size_t kLeastEvaluations = 4;
  if (log.steps.empty() || log.evaluations.size() < kLeastEvaluations) return false;
  const int64_t end = log.steps.back().step, evaluated = log.evaluations.back().step;
  const auto later = std::count_if(log.evaluations.begin(), log.evaluations.end(),
                                   [&](const auto& e) { return e.step > end; });
  if (end >= evaluated / 2 || later < static_cast<std::ptrdiff_t>(kLeastEvaluations)) return false;
  if (!std::isfinite(log.steps.back().loss)) return false;  // that is why it ends
  diagnosis.not_judged.push_back(
      {"training_loss", "the training loss ends at step " + std::to_string(end) +
                            " and the validation loss at step " + std::to_string(evaluated) +
                            ": only the validation loss is judged"});
  log.steps.clear();
  for (const EvaluationLog& e : log.evaluations) {
    log.steps.push_back({.step = e.step, .loss = e.loss});
  }
  log.evaluations.clear();
  return true;
}

}  // namespace

SoundLog MakeSound(const RunLog& log, Diagnosis& diagnosis) {
  SoundLog sound{.log = log};
  SplitLog(sound.log, diagnosis);
  diagnosis.run = sound.log;
  sound.of_validation = TakeValidationLoss(sound.log, diagnosis);
  if (log.unjudgeable.empty()) CutAtRestarts(sound.log, diagnosis);
  return sound;
}

void NoteOddities(const RunLog& log, Diagnosis& diagnosis) {
  size_t nonfinite = 0, zero = 0, norms = 0, no_gradient = 0, nonfinite_norms = 0;
  int64_t first_nonfinite = 0, first_zero = 0;
  for (const StepLog& s : log.steps) {
    if (!std::isfinite(s.loss) && !s.skipped && nonfinite++ == 0) first_nonfinite = s.step;
    if (s.loss == 0 && zero++ == 0) first_zero = s.step;
    if (std::isnan(s.grad_norm)) continue;
    ++norms;
    no_gradient += s.grad_norm == 0 ? 1 : 0;
    nonfinite_norms += std::isinf(s.grad_norm) ? 1 : 0;
  }
  const std::string entries = " of " + std::to_string(log.steps.size()) + " entries";
  if (nonfinite > 0) {
    diagnosis.seen.push_back(
        {"nonfinite_losses", "the loss is not finite in " + std::to_string(nonfinite) + entries +
                                 ", the first at step " + std::to_string(first_nonfinite)});
  }
  if (zero > 0) {
    diagnosis.seen.push_back({"zero_losses", "the loss is 0 in " + std::to_string(zero) + entries +
                                                 ", the first at step " +
                                                 std::to_string(first_zero)});
  }
  if (nonfinite_norms > 0) {
    diagnosis.seen.push_back({"nonfinite_gradients", "the norm of the gradient is not finite in " +
                                                         std::to_string(nonfinite_norms) + " of " +
                                                         std::to_string(norms) + " entries"});
  }
  if (no_gradient > 0) {
    diagnosis.seen.push_back({"zero_gradients", "the gradient is 0 in " +
                                                    std::to_string(no_gradient) + " of " +
                                                    std::to_string(norms) + " entries"});
  }
}

}  // namespace kudari::internal
