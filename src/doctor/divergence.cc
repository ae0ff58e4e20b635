// A run that does not come back.

#include <algorithm>
#include <cmath>

#include "doctor/view.h"

namespace kudari::internal {
namespace {

// The first entry of those before `seen` that are above where the run began.
size_t OnsetBefore(const View& run, size_t seen) {
  while (seen > 0 && run.loss[seen - 1] > run.initial) --seen;
  return seen;
}

void Add(const View& run, size_t onset, double confidence, const std::string& what,
         Findings& found) {
  std::vector<std::string> tensors;
  if (!run.log.first_nonfinite.empty()) tensors.push_back(run.log.first_nonfinite);
  const std::string loss = run.of_validation ? "the validation loss" : "the loss";
  found.push_back({Verdict::kDiverged, confidence, run.Step(onset), run.Step(run.size - 1),
                   loss + what, std::move(tensors)});
}

bool IsNonfinite(const View& run, size_t i) {
  return std::isnan(run.loss[i]) && !run.log.steps[i].skipped;
}

// The last loss is not finite, or half of those of the last tenth are not. One that is infinite in
// between is noted only. Right on 6 real logs and the suite's 14, wrong on none.
bool FindNonfinite(const View& run, Findings& found) {
  constexpr double kOften = 0.5;
  const size_t tail = std::min(run.size, std::max<size_t>(3, run.size / 10));
  size_t count = 0, first = run.size;
  for (size_t i = 0; i < run.size; ++i) {
    if (!IsNonfinite(run, i)) continue;
    first = std::min(first, i);
    count += i + tail >= run.size ? 1 : 0;
  }
  if (first == run.size) return false;
  if (!IsNonfinite(run, run.size - 1) &&
      static_cast<double>(count) < kOften * static_cast<double>(tail)) {
    return false;
  }
  const size_t onset = OnsetBefore(run, first);
  std::string what = onset > 0 ? " left " + Brief(run.loss[onset - 1]) + " at step " +
                                     std::to_string(run.Step(onset)) + " and"
                               : std::string();
  what += " was not finite at step " + std::to_string(run.Step(first));
  if (!run.log.first_nonfinite.empty()) {
    what += ", first in the gradient of " + run.log.first_nonfinite;
  }
  Add(run, onset, 1, what, found);
  return true;
}

// The loss drops to exactly 0 in one entry and stays there: what some loggers write for NaN. A loss
// that is rounded to 0 comes down to it. Right on 2 real logs, wrong on none.
bool FindZeros(const View& run, Findings& found) {
  constexpr size_t kLeast = 3;
  constexpr double kSudden = 0.1;
  size_t begin = run.size;
  while (begin > 0 && run.loss[begin - 1] == 0) --begin;
  if (begin == 0 || run.size - begin < kLeast) return false;
  if (!(run.loss[begin - 1] > kSudden * run.first)) return false;
  Add(run, begin, 0.9,
      " fell from " + Brief(run.loss[begin - 1]) + " to exactly 0 at step " +
          std::to_string(run.Step(begin)) +
          " and stays there, as where a log has 0 for a loss that is not a number",
      found);
  return true;
}

// The norm of the gradient is not finite to the end, in steps that were not skipped, and the loss
// is 0 or does not fall: weights that such steps change are lost, and others are not trained. That
// is what not finite means, so that it has no error rate; of the logs that limits were set on none
// has it. How many entries that takes keeps away single overflows of half precision.
bool FindNonfiniteGradients(const View& run, Findings& found) {
  constexpr size_t kLeast = 3, kLeastAfterOthers = 5;
  constexpr double kErrors = 2;
  const auto& steps = run.log.steps;
  size_t begin = run.size;
  while (begin > 0 && std::isinf(steps[begin - 1].grad_norm) && !steps[begin - 1].skipped) --begin;
  const size_t least = begin == 0 ? kLeast : std::max(kLeastAfterOthers, run.size / 10);
  if (run.size - begin < least) return false;
  const Slope fall = run.FallIn(begin, run.size);
  if (run.last != 0 && !(fall.change <= kErrors * fall.error)) return false;
  Add(run, begin, 0.9,
      " is " + Brief(run.last) + " at the end and does not fall, and the gradient's norm is not " +
          "finite in all of the last " + std::to_string(run.size - begin) + " entries",
      found);
  return true;
}

// It had come down, by at least a tenth and five errors of its level, and is back where it began.
// Right on 20 of AlgoPerf's unstable logs and wrong on none of their healthy ones. In the suite 7
// runs whose rate is too high collapse so, which is both.
bool FindCollapse(const View& run, Findings& found) {
  constexpr double kBack = 0.85, kFell = 0.1, kMost = 1.5;
  constexpr size_t kLeastAfter = 3;
  constexpr double kSureFell = 0.4, kErrors = 5;
  const double way = run.initial - run.lowest;
  const double back = (run.last - run.lowest) / way;
  const double noise = run.error * std::max(run.scatter[run.lowest_at], run.scatter.back());
  if (way < std::max(kFell * run.initial, kErrors * noise) || back < kBack ||
      run.last > kMost * run.initial)
    return false;
  if (run.size - run.lowest_at <= kLeastAfter || !run.Exceeds(run.size - 1, run.lowest_at)) {
    return false;
  }
  Add(run, run.lowest_at, Confidence(way / run.initial, kFell, kSureFell),
      " had come down from " + Brief(run.initial) + " to " + Brief(run.lowest) + " at step " +
          std::to_string(run.Step(run.lowest_at)) + " and is back at " + Brief(run.last),
      found);
  return true;
}

}  // namespace

// It ends far above where it began, or blew up and ends near there. Right on 5 real logs, 1 of
// AlgoPerf's and 3 of the suite's that limits were set on, and wrong on none of the 1,812 healthy
// ones there. kHigh may be anything from 1.3 to 1.75; with a kBlast of 15 a run is missed.
bool FindDivergence(const View& run, Findings& found) {
  if (FindNonfinite(run, found)) return true;
  if (run.first > 0 && FindZeros(run, found)) return true;
  if (FindNonfiniteGradients(run, found)) return true;
  if (!(run.first > 0)) return false;
  constexpr double kHigh = 1.5, kSure = 10;  // where it ends
  constexpr double kBlast = 10;              // what no run comes back from ...
  constexpr double kNoReturn = 0.85;         // ... if it ends there
  constexpr size_t kLeast = 3;
  if (run.size < kLeast || !(run.initial > 0) || WhyUnjudgeable(run)) return false;
  const auto highest = std::max_element(run.loss.begin(), run.loss.end(), [](double a, double b) {
    return !(b <= a) && !std::isnan(b);
  });
  const auto at = static_cast<size_t>(highest - run.loss.begin());
  // Of many losses a single one that is far off tells nothing.
  const auto far_off = std::count_if(run.loss.begin(), run.loss.end(),
                                     [&](double x) { return x > kBlast * run.first; });
  const double peak = *highest / run.first;
  const double end = run.last / run.initial;
  const bool blown =
      run.over && far_off >= (run.size < kLeastSteps ? 1 : 2) && run.last > kNoReturn * run.first;
  if (end > kHigh || blown) {
    const size_t onset = OnsetBefore(run, at);
    Add(run, onset, Confidence(std::max(end, peak), kHigh, kSure),
        " left " + Brief(run.loss[onset > 0 ? onset - 1 : 0]) + " at step " +
            std::to_string(run.Step(onset)) + ", rose to " + Brief(*highest) + " and ended at " +
            Brief(run.last),
        found);
    return true;
  }
  FindCollapse(run, found);
  return false;
}

// Losses of reinforcement learning and of adversaries follow what the agent or the adversary does:
// without evaluations they rise from the start, without having fallen by half, and scatter. All 11
// of the real logs get no verdict. A run that diverges from the start rises, too, but scatters less
// or ends in numbers that are not finite.
std::optional<Note> WhyUnjudgeable(const View& run) {
  constexpr double kFell = 0.5, kRose = 1.5, kScatter = 0.15;
  if (!run.log.unjudgeable.empty()) {
    return Note{"loss", run.log.unjudgeable + ": its loss does not tell how training goes"};
  }
  for (size_t i = 0; i < run.size; ++i) {
    if (run.loss[i] < 0) {
      return Note{"loss", "the loss is negative, " + Brief(run.loss[i]) + " at step " +
                              std::to_string(run.Step(i)) +
                              ": it has no zero that its level could be compared with"};
    }
  }
  const bool supervised = !run.log.evaluations.empty() || run.of_validation;
  if (supervised || run.size < kLeastSteps) return std::nullopt;
  if (!(run.lowest > kFell * run.initial)) return std::nullopt;
  const double later = run.Level(run.size / 2, run.size);
  if (later < kRose * run.initial) return std::nullopt;
  const double scatter = run.Roughness(run.size / 2, run.size) / later;
  if (!(scatter > kScatter)) return std::nullopt;
  return Note{"loss", "the loss rises from the start, from " + Brief(run.initial) + " to " +
                          Brief(later) + ", and scatters by " + Percent(scatter) +
                          " around that: it looks like one of reinforcement learning or of an "
                          "adversary, which does not tell how training goes"};
}

}  // namespace kudari::internal
