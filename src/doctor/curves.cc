// What the curves of loss, learning rate and validation loss show. Levels of the loss are relative
// to the first one unless another is named.

#include <algorithm>
#include <cmath>
#include <numbers>

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

// The scatter of the losses around entry `at`. Once most samples are easy the noise of small
// batches is skewed: what counts then is the scatter above the smoothed curve.
double ScatterAround(const View& run, size_t at) {
  constexpr double kEasy = 0.5, kSkewed = 1.5;
  const size_t half = run.size / 20, begin = at - std::min(at, half);
  std::vector<double> above;
  for (size_t i = begin; i < std::min(run.size, at + half + 1); ++i) {
    if (run.loss[i] > run.smooth[i]) above.push_back(1.48 * (run.loss[i] - run.smooth[i]));
  }
  const double scatter = run.scatter[at], upper = Median(std::move(above));
  const bool skewed = upper > kSkewed * scatter && run.smooth[at] < kEasy * run.initial;
  return skewed ? upper : scatter;
}

// The highest single loss in the part of the run in which warm-up should be, and how high the
// losses after it are: all but one in a hundred.
struct Peak {
  double height = 0;
  size_t at = 0;
  double later = 0;

  /// Whether later losses are so high as well that it is the noise of small batches.
  bool IsNoise() const {
    constexpr double kTimes = 3;
    return later > 1 && height < kTimes * later;
  }
};

Peak EarlyPeak(const View& run) {
  constexpr size_t kPart = 6;
  const size_t end = run.size / kPart;
  Peak peak;
  for (size_t i = 1; i < end; ++i) {
    if (run.loss[i] / run.initial > peak.height) peak = {run.loss[i] / run.initial, i};
  }
  const auto after = run.loss.begin() + static_cast<std::ptrdiff_t>(end);
  peak.later = Quantile({after, run.loss.end()}, 0.99) / run.initial;
  return peak;
}

// Means of at most `most` blocks of consecutive losses, less the straight line that fits them best.
std::vector<double> Detrended(const View& run, size_t most) {
  const size_t block = (run.size + most - 1) / most, n = run.size / block;
  std::vector<double> means(n);
  for (size_t b = 0; b < n; ++b) {
    double sum = 0, count = 0;
    for (size_t i = b * block; i < (b + 1) * block; ++i) {
      if (std::isnan(run.loss[i])) continue;
      sum += run.loss[i];
      ++count;
    }
    means[b] = count > 0 ? sum / count : run.smooth[b * block];
  }
  const double middle = static_cast<double>(n - 1) / 2;
  double mean = 0, slope = 0, squares = 0;
  for (size_t b = 0; b < n; ++b) {
    const double x = static_cast<double>(b) - middle;
    mean += means[b] / static_cast<double>(n);
    slope += means[b] * x;
    squares += x * x;
  }
  for (size_t b = 0; b < n; ++b) {
    means[b] -= mean + slope / squares * (static_cast<double>(b) - middle);
  }
  return means;
}

// The sine that explains most of the loss around its trend.
struct Wave {
  double height = 0;  // from its lowest to its highest point, relative to the first loss
  double share = 0;   // of the variance of the loss
  size_t cycles = 0;  // in the whole run
  double chance = 1;  // that noise has a wave as strong
};

// Among sines of at least four cycles and of at least four blocks a cycle.
Wave StrongestWave(const View& run) {
  constexpr size_t kBlocks = 400, kLeastCycles = 4, kLeastBlocks = 4;
  constexpr double kTurn = 2 * std::numbers::pi;
  const std::vector<double> y = Detrended(run, kBlocks);
  const auto n = static_cast<double>(y.size());
  double variance = 0;
  for (const double x : y) variance += x * x / n;
  Wave wave;
  for (size_t k = kLeastCycles; kLeastBlocks * k <= y.size(); ++k) {
    double cosine = 0, sine = 0;
    for (size_t b = 0; b < y.size(); ++b) {
      const double angle = kTurn * static_cast<double>(k * b) / n;
      cosine += 2 * y[b] * std::cos(angle) / n;
      sine += 2 * y[b] * std::sin(angle) / n;
    }
    const double amplitude = std::hypot(cosine, sine);
    const double share = amplitude * amplitude / 2 / variance;
    if (share > wave.share) wave = {2 * amplitude / run.initial, share, k};
  }
  // The share of one sine in white noise has the distribution Beta(1, (n - 3) / 2).
  const double sines = n / kLeastBlocks - kLeastCycles + 1;
  wave.chance = sines * std::pow(1 - wave.share, (n - 3) / 2);
  return wave;
}

// Whether the wave repeats what the data or the schedule repeat: an epoch holds whole cycles of it,
// or the learning rate rises again after the first tenth.
bool IsOfDataOrSchedule(const View& run, const Wave& wave) {
  for (size_t i = run.size / 10 + 1; i < run.size; ++i) {
    if (run.Rate(i) > run.Rate(i - 1)) return true;
  }
  if (run.log.steps_per_epoch == 0) return false;
  const auto steps = static_cast<double>(run.Step(run.size - 1) - run.Step(0) + 1);
  const double epochs = steps / static_cast<double>(run.log.steps_per_epoch);
  const auto cycles = static_cast<double>(wave.cycles);
  const double whole = std::round(cycles / epochs);
  return whole >= 1 && std::abs(cycles - whole * epochs) <= 1;
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
  // Too high: the smoothed loss rises by more than noise, training never recovers from its start,
  // or the loss goes up and down as a sine does.
  constexpr double kRise = 0.12, kSureRise = 0.4;
  constexpr double kWave = 0.3, kChance = 1e-4;
  constexpr double kStuckPeak = 1.5, kStuck = 0.3, kStuckInNoise = 0.75;
  const size_t start = run.size / 10;
  constexpr double kSigmas = 7;  // five of the difference of two medians, the largest of many
  const Rise rise = LargestRise(run, start);
  const double noise = kSigmas * run.error / run.initial *
                       std::max(run.scatter[rise.low], ScatterAround(run, rise.high));
  const Peak peak = EarlyPeak(run);
  const double end = run.last / run.initial;
  if (rise.height > std::max(kRise, noise)) {
    found.push_back({Verdict::kLrTooHigh, Confidence(rise.height, kRise, kSureRise),
                     run.Step(rise.low), run.Step(rise.high),
                     "the smoothed loss rose from " + Brief(run.smooth[rise.low]) + " to " +
                         Brief(run.smooth[rise.high]) + ", by " + Percent(rise.height) +
                         " of the first loss"});
  } else if (std::max(peak.height, peak.later) > kStuckPeak &&
             end > (peak.IsNoise() ? kStuckInNoise : kStuck) && run.LastRate() > 0.5) {
    found.push_back({Verdict::kLrTooHigh, Confidence(peak.height, 1, 4), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss jumped to " + Brief(run.loss[peak.at]) + " at step " +
                         std::to_string(run.Step(peak.at)) + " and is still " + Brief(run.last)});
  } else if (const Wave wave = StrongestWave(run); wave.height > kRise && wave.share > kWave &&
                                                   wave.chance < kChance &&
                                                   !IsOfDataOrSchedule(run, wave)) {
    found.push_back({Verdict::kLrTooHigh, Confidence(wave.height, kRise, kSureRise), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss went up and down " + std::to_string(wave.cycles) +
                         " times, each time by " + Percent(wave.height) + " of the first loss"});
  }

  // Weights that change by less than the first ratio a step hardly move; those that change by more
  // than the second are not held back by the rate.
  constexpr double kSlow = 3e-4, kFast = 3e-3;
  const double ratio = run.UpdateRatio();
  const bool crawls = ratio < kSlow;

  // Without enough warm-up: a jump at the start, at a learning rate that training bears later.
  constexpr double kPeak = 1.045, kSurePeak = 1.3, kRateThere = 0.5, kPeakSigmas = 2;
  const double scatter = Median(run.scatter) / run.initial;
  // The noise there, once a jump is over: of more losses the highest is higher.
  const auto early = static_cast<std::ptrdiff_t>(run.size / 6);
  const double noise_there =
      Median({run.scatter.begin() + early / 2, run.scatter.begin() + early}) / run.initial;
  const double sigmas = std::sqrt(2 * std::log(std::max(static_cast<double>(early) / 32, 1.0)));
  if (!crawls && !peak.IsNoise() &&
      peak.height > std::max({kPeak, 1 + kPeakSigmas * scatter, 1 + sigmas * noise_there}) &&
      run.Rate(peak.at) >= kRateThere) {
    found.push_back({Verdict::kWarmupTooShort, Confidence(peak.height, kPeak, kSurePeak),
                     run.Step(0), run.Step(peak.at),
                     "the loss jumped to " + Brief(run.loss[peak.at]) + ", " + Brief(peak.height) +
                         " times the first, at step " + std::to_string(run.Step(peak.at)) +
                         (run.RateKnown(peak.at) ? ", when the learning rate was " +
                                                       Percent(run.Rate(peak.at)) + " of its peak"
                                                 : std::string())});
  }

  // Too low: the run ends where it began, or the loss falls little and as slowly at first as at the
  // end, without ever having been unstable.
  constexpr double kHardly = 0.85, kSureHardly = 0.97, kCalm = 0.05, kCalmSigmas = 4;
  constexpr double kLittle = 0.7, kSteady = 0.4;
  double lowest = 1;
  for (const double x : run.smooth) {
    if (!std::isnan(x)) lowest = std::min(lowest, x / run.initial);
  }
  constexpr double kProportional = 0.6;
  const double early_part = run.EarlyPart();
  const bool calm = peak.height < 1 + std::max(kCalm, kCalmSigmas * scatter);
  const bool slow = crawls || (calm && !(ratio > kFast) && early_part < kProportional);
  const bool hardly = lowest > kHardly || (lowest > kLittle && early_part < kSteady);
  if (run.over && hardly && slow && rise.height < kCalm) {
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
                         Brief(after) +
                         (run.RateKnown(run.size - 1)
                              ? " at " + Percent(run.LastRate()) + " of the highest learning rate"
                              : std::string())});
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
