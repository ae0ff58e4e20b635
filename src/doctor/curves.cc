// What the curves of loss, learning rate and validation loss show. Levels of the loss are relative
// to the first one unless another is named.

#include <algorithm>
#include <cmath>

#include "doctor/view.h"

namespace kudari::internal {
namespace {

constexpr size_t kLeastSteps = 30;

std::string Percent(double share) { return Brief(100 * share) + " %"; }

// The largest rise of the smoothed loss above its minimum before, from entry `begin` on.
struct Rise {
  double height = 0;
  size_t low = 0, high = 0;
};

Rise LargestRise(const View& run, size_t begin) {
  Rise rise;
  size_t low = begin;
  for (size_t i = begin; i < run.size; ++i) {
    if (std::isnan(run.smooth[i])) continue;
    if (!(run.smooth[i] >= run.smooth[low])) low = i;
    const double height = (run.smooth[i] - run.smooth[low]) / run.initial;
    if (height > rise.height) rise = {height, low, i};
  }
  return rise;
}

// The highest single loss in the part of the run in which warm-up should be.
struct Peak {
  double height = 0;
  size_t at = 0;
};

Peak EarlyPeak(const View& run) {
  constexpr size_t kPart = 6;
  Peak peak;
  for (size_t i = 1; i < run.size / kPart; ++i) {
    if (run.loss[i] / run.initial > peak.height) peak = {run.loss[i] / run.initial, i};
  }
  return peak;
}

}  // namespace

void FindDivergence(const View& run, Findings& found) {
  constexpr double kHigh = 1.5, kSure = 10;  // where it ends
  constexpr double kBlast = 10;              // what no run comes back from ...
  constexpr double kNoReturn = 0.7;          // ... if it ends there
  size_t nonfinite = run.size;
  for (size_t i = 0; i < run.size && nonfinite == run.size; ++i) {
    if (std::isnan(run.loss[i]) && !run.log.steps[i].skipped) nonfinite = i;
  }
  const auto highest = std::max_element(run.loss.begin(), run.loss.end(), [](double a, double b) {
    return !(b <= a) && !std::isnan(b);
  });
  const double peak = *highest / run.initial;
  const double end = run.last / run.initial;
  const bool blown = run.over && peak > kBlast && end > kNoReturn;
  if (nonfinite == run.size && !(end > kHigh) && !blown) return;
  // The onset: the first entry of those before it that are above the first loss.
  const size_t seen =
      nonfinite < run.size ? nonfinite : static_cast<size_t>(highest - run.loss.begin());
  size_t onset = seen;
  while (onset > 0 && run.loss[onset - 1] > run.initial) --onset;
  std::string evidence = "the loss left " + Brief(run.loss[onset > 0 ? onset - 1 : 0]) +
                         " at step " + std::to_string(run.Step(onset));
  if (nonfinite < run.size) {
    evidence += " and was not finite at step " + std::to_string(run.Step(nonfinite));
    if (!run.log.first_nonfinite.empty()) {
      evidence += ", first in the gradient of " + run.log.first_nonfinite;
    }
  } else {
    evidence += ", rose to " + Brief(*highest) + " and ended at " + Brief(run.last);
  }
  const double confidence =
      nonfinite < run.size ? 1 : Confidence(std::max(end, peak), kHigh, kSure);
  std::vector<std::string> tensors;
  if (!run.log.first_nonfinite.empty()) tensors.push_back(run.log.first_nonfinite);
  found.push_back({Verdict::kDiverged, confidence, run.Step(onset), run.Step(run.size - 1),
                   std::move(evidence), std::move(tensors)});
}

void FindLearningRate(const View& run, Findings& found) {
  if (run.size < kLeastSteps) return;
  // Too high: the smoothed loss rises by more than noise, or training never recovers from its
  // start.
  constexpr double kRise = 0.12, kSureRise = 0.4;
  constexpr double kStuckPeak = 1.5, kStuck = 0.3;
  const size_t start = run.size / 10;
  constexpr double kSigmas = 7;  // five of the difference of two medians, the largest of many
  const Rise rise = LargestRise(run, start);
  const double noise =
      kSigmas * run.error * std::max(run.scatter[rise.low], run.scatter[rise.high]) / run.initial;
  const Peak peak = EarlyPeak(run);
  const double end = run.last / run.initial;
  if (rise.height > std::max(kRise, noise)) {
    found.push_back({Verdict::kLrTooHigh, Confidence(rise.height, kRise, kSureRise),
                     run.Step(rise.low), run.Step(rise.high),
                     "the smoothed loss rose from " + Brief(run.smooth[rise.low]) + " to " +
                         Brief(run.smooth[rise.high]) + ", by " + Percent(rise.height) +
                         " of the first loss"});
  } else if (peak.height > kStuckPeak && end > kStuck && run.LastRate() > 0.5) {
    found.push_back({Verdict::kLrTooHigh, Confidence(peak.height, 1, 4), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss jumped to " + Brief(run.loss[peak.at]) + " at step " +
                         std::to_string(run.Step(peak.at)) + " and is still " + Brief(run.last)});
  }

  // Weights that change by less than the first ratio a step hardly move; those that change by more
  // than the second are not held back by the rate.
  constexpr double kSlow = 3e-4, kFast = 3e-3;
  const double ratio = run.UpdateRatio();
  const bool crawls = ratio < kSlow;

  // Without enough warm-up: a jump at the start, at a learning rate that training bears later.
  constexpr double kPeak = 1.045, kSurePeak = 1.3, kRateThere = 0.5, kPeakSigmas = 2;
  const double above = kPeakSigmas * Median(run.scatter) / run.initial;
  if (!crawls && peak.height > std::max(kPeak, 1 + above) && run.Rate(peak.at) >= kRateThere) {
    found.push_back({Verdict::kWarmupTooShort, Confidence(peak.height, kPeak, kSurePeak),
                     run.Step(0), run.Step(peak.at),
                     "the loss jumped to " + Brief(run.loss[peak.at]) + ", " + Brief(peak.height) +
                         " times the first, at step " + std::to_string(run.Step(peak.at)) +
                         ", when the learning rate was " + Brief(100 * run.Rate(peak.at)) +
                         " % of its peak"});
  }

  // Too low: the run ends where it began, without ever having been unstable.
  constexpr double kHardly = 0.85, kSureHardly = 0.97, kCalm = 0.05;
  double lowest = 1;
  for (const double x : run.smooth) {
    if (!std::isnan(x)) lowest = std::min(lowest, x / run.initial);
  }
  constexpr double kProportional = 0.6;
  const bool slow =
      crawls || (peak.height < 1 + kCalm && !(ratio > kFast) && run.EarlyPart() < kProportional);
  if (run.over && lowest > kHardly && slow && rise.height < kCalm) {
    found.push_back({Verdict::kLrTooLow, Confidence(lowest, kHardly, kSureHardly), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss fell by " + Percent(1 - lowest) + " in " + std::to_string(run.size) +
                         " steps, and never rose by more than " +
                         Percent(std::max(rise.height, 0.0))});
  }
}

void FindStalls(const View& run, Findings& found) {
  if (run.size < kLeastSteps) return;
  constexpr double kLearned = 0.05;  // below this the run has done its work
  const double end = run.last / run.initial;
  if (end < kLearned) return;

  // The schedule's end: where the rate last was more than this part of its peak.
  constexpr double kDead = 0.02, kPart = 0.25, kSurePart = 0.6;
  size_t alive = run.size;
  while (alive > 0 && run.Rate(alive - 1) < kDead) --alive;
  const double dead_part = 1 - static_cast<double>(alive) / static_cast<double>(run.size);
  if (run.peak_lr > 0 && alive > 0 && dead_part > kPart) {
    found.push_back({Verdict::kScheduleEndedEarly, Confidence(dead_part, kPart, kSurePart),
                     run.Step(alive - 1), run.Step(run.size - 1),
                     "from step " + std::to_string(run.Step(alive - 1)) + " on, for " +
                         Percent(dead_part) + " of the run, the learning rate is below " +
                         Percent(kDead) + " of its peak; the loss there is " + Brief(run.last)});
  }

  // Levels in the third and the last quarter.
  const size_t half = run.size / 2, last_quarter = run.size - run.size / 4;
  const double before = run.Level(half, last_quarter), after = run.Level(last_quarter, run.size);
  const double fall = (before - after) / before;
  constexpr double kFlat = 0.06;
  const bool flat = std::abs(fall) < kFlat;
  constexpr double kHighRate = 0.5, kHighLoss = 0.15;
  if (run.over && flat && run.LastRate() > kHighRate && end > kHighLoss) {
    found.push_back({Verdict::kPlateau, 0.5 + 0.5 * (1 - std::abs(fall) / kFlat), run.Step(half),
                     run.Step(run.size - 1),
                     "in the second half the loss went from " + Brief(before) + " to " +
                         Brief(after) + " at " + Percent(run.LastRate()) +
                         " of the highest learning rate"});
  }
}

void FindGeneralization(const View& run, Findings& found) {
  // The gap between the losses and the rise of the validation loss above its best.
  constexpr double kGapLimit = 0.15, kSureGap = 0.4, kLeastRise = 1.05;
  constexpr size_t kLeastEvaluations = 4;
  constexpr std::ptrdiff_t kLeastAfter = 2;  // of the lowest
  std::vector<const EvaluationLog*> evaluations;
  for (const EvaluationLog& e : run.log.evaluations) {
    if (std::isfinite(e.loss)) evaluations.push_back(&e);
  }
  const auto lower = [](const EvaluationLog* x, const EvaluationLog* y) {
    return x->loss < y->loss;
  };
  const auto lowest = std::min_element(evaluations.begin(), evaluations.end(), lower);
  if (evaluations.size() >= kLeastEvaluations && evaluations.end() - lowest > kLeastAfter) {
    const EvaluationLog& best = **lowest;
    const double now = Median({evaluations[evaluations.size() - 2]->loss, evaluations.back()->loss,
                               (*(lowest + 1))->loss});
    const double gap = (now - run.last) / run.initial;
    const size_t at = run.Before(best.step);
    const double train_then = at > 0 ? run.smooth[at - 1] : run.initial;
    if (gap > kGapLimit && now > kLeastRise * best.loss && run.last < 0.9 * train_then) {
      found.push_back({Verdict::kOverfitting, Confidence(gap, kGapLimit, kSureGap), best.step,
                       run.Step(run.size - 1),
                       "the validation loss rose from " + Brief(best.loss) + " at step " +
                           std::to_string(best.step) + " to " + Brief(now) +
                           ", while the training loss fell from " + Brief(train_then) + " to " +
                           Brief(run.last)});
    }
  }

  // Both losses stay high although the learning rate has come down.
  constexpr double kHigh = 0.32, kSureHigh = 0.6, kDecayed = 0.3, kGap = 1.25;
  const double end = run.last / run.initial;
  if (run.size < kLeastSteps || !run.over || run.peak_lr == 0 || run.LastRate() > kDecayed) return;
  if (!(end > kHigh)) return;
  if (!evaluations.empty() && evaluations.back()->loss > kGap * run.last) return;
  found.push_back(
      {Verdict::kUnderfitting, Confidence(end, kHigh, kSureHigh), run.Step(run.size / 2),
       run.Step(run.size - 1),
       "the training loss ends at " + Brief(run.last) + ", " + Percent(end) + " of where it began" +
           (evaluations.empty() ? std::string()
                                : ", the validation loss at " + Brief(evaluations.back()->loss))});
}

// Batches at the same positions of each epoch whose loss stands out from that of their neighbours.
void FindBadData(const View& run, Findings& found) {
  constexpr size_t kLeastPositions = 8, kLeastEpochs = 4;
  constexpr double kLimit = 2.2, kSure = 5, kOften = 0.75, kSigmas = 4;
  if (run.log.steps_per_epoch < static_cast<int64_t>(kLeastPositions)) return;
  const auto positions = static_cast<size_t>(run.log.steps_per_epoch);
  const size_t epochs = run.size / positions;
  if (epochs < kLeastEpochs) return;
  // The loss over the median of the epoch around it, from the second epoch on.
  const std::vector<double> around = RunningMedian(run.loss, positions / 2);
  std::vector<std::vector<double>> by_position(positions);
  std::vector<double> logs;
  for (size_t i = positions; i < run.size; ++i) {
    const double ratio = run.loss[i] / around[i];
    if (!std::isfinite(ratio) || ratio <= 0) continue;
    by_position[static_cast<size_t>(run.Step(i) - 1) % positions].push_back(ratio);
    logs.push_back(std::log(ratio));
  }
  const double center = Median(logs);
  for (double& x : logs) x = std::abs(x - center);
  const double sigma = 1.4826 * Median(logs);
  std::vector<size_t> bad;
  double worst = 0;
  for (size_t p = 0; p < positions; ++p) {
    const auto& ratios = by_position[p];
    if (ratios.size() + 1 < kLeastEpochs) continue;
    const double median = Median(ratios);
    const auto high = [&](double r) { return std::log(r) > kSigmas / 2 * sigma; };
    const auto often = static_cast<double>(std::count_if(ratios.begin(), ratios.end(), high));
    if (median < kLimit || std::log(median) < kSigmas * sigma ||
        often < kOften * static_cast<double>(ratios.size())) {
      continue;
    }
    bad.push_back(p + 1);
    worst = std::max(worst, median);
  }
  if (bad.empty() || bad.size() > positions / 3) return;
  std::string where;
  for (const size_t p : bad) where += (where.empty() ? "" : ", ") + std::to_string(p);
  found.push_back(
      {Verdict::kDataProblem, Confidence(worst, kLimit, kSure), run.Step(0), run.Step(run.size - 1),
       "in every epoch the loss of " + std::string(bad.size() == 1 ? "batch " : "batches ") +
           where + " of " + std::to_string(positions) + " is up to " + Brief(worst) +
           " times that of the others"});
}

}  // namespace kudari::internal
