// What the losses show of the learning rate. Heights are relative to the level where the run began.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "doctor/view.h"

namespace kudari::internal {
namespace {

// The largest rise of the smoothed loss above its minimum before, from entry `begin` on, without
// those of a schedule that begins again.
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
    if (run.RateRoseAgain(low, i)) continue;
    const double height = (run.smooth[i] - run.smooth[low]) / run.first;
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
  const double scatter =
      std::max(run.scatter[at], run.Roughness(begin, std::min(run.size, at + half + 1)));
  const double upper = Median(std::move(above));
  const bool skewed = upper > kSkewed * scatter && run.smooth[at] < kEasy * run.first;
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
    if (run.loss[i] / run.first > peak.height) peak = {run.loss[i] / run.first, i};
  }
  const auto after = run.loss.begin() + static_cast<std::ptrdiff_t>(end);
  peak.later = Quantile({after, run.loss.end()}, 0.99) / run.first;
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
    if (share > wave.share) wave = {2 * amplitude / run.first, share, k};
  }
  // The share of one sine in white noise has the distribution Beta(1, (n - 3) / 2).
  const double sines =
      n / static_cast<double>(kLeastBlocks) - static_cast<double>(kLeastCycles) + 1;
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

// The rise of the smoothed loss by more than noise, unless it is that of a warm-up. Of the logs
// that limits were set on right on 1 real one, 3 of AlgoPerf's and 8 of the suite's, wrong on 5 of
// AlgoPerf's 1,707 healthy ones. Where the run ends lower than before the rise a limit of 0.1 would
// be wrong on 17 more, and one of 0.22 miss a real log.
bool FindRise(const View& run, const Peak& peak, Findings& found) {
  constexpr double kRise = 0.12, kRiseMadeGood = 0.15, kSureRise = 0.4;
  constexpr double kSigmas = 7;  // five of the difference of two medians, the largest of many
  const Rise rise = LargestRise(run, run.size / 10);
  const double noise = kSigmas * run.error / run.first *
                       std::max(run.scatter[rise.low], ScatterAround(run, rise.high));
  const double limit = run.last < run.smooth[rise.low] ? kRiseMadeGood : kRise;
  if (rise.height > std::max(limit, noise)) {
    found.push_back({Verdict::kLrTooHigh, Confidence(rise.height, limit, kSureRise),
                     run.Step(rise.low), run.Step(rise.high),
                     "the smoothed loss rose from " + Brief(run.smooth[rise.low]) + " to " +
                         Brief(run.smooth[rise.high]) + ", by " + Percent(rise.height) +
                         " of where it began"});
    return true;
  }
  constexpr double kStuckPeak = 3, kStuck = 0.3, kStuckInNoise = 0.75, kHighRate = 0.5;
  const double end = run.last / run.first;
  if (std::max(peak.height, peak.later) > kStuckPeak &&
      end > (peak.IsNoise() ? kStuckInNoise : kStuck) && run.EndsAtRate(kHighRate, 1)) {
    found.push_back({Verdict::kLrTooHigh, Confidence(peak.height, 1, 4), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss jumped to " + Brief(run.loss[peak.at]) + " at step " +
                         std::to_string(run.Step(peak.at)) + " and is still " + Brief(run.last)});
    return true;
  }
  return false;
}

// The run ends above the lowest level that it had reached. Of AlgoPerf's logs that limits were set
// on right on 5 of 17 unstable ones and wrong on 12 of 1,707 healthy ones: with 1.4 that would be 4
// and 8, with 1.17 5 and 14. Of its other logs it is right on 37 and wrong on 1.
bool FindEndAboveLowest(const View& run, Findings& found) {
  constexpr double kRatio = 1.25, kSureRatio = 2;
  constexpr double kLeast = 0.01;  // of where it began: less is the noise of a loss near 0
  const double ratio = run.last / run.lowest;
  if (!(ratio > kRatio) || run.last - run.lowest < kLeast * run.initial) return false;
  if (run.RateRoseAgain(run.lowest_at, run.size - 1)) return false;
  constexpr double kErrors = 5;
  const size_t tail = std::max<size_t>(3, run.size / 10);
  const double error = run.Roughness(run.size / 2, run.size) / std::sqrt(static_cast<double>(tail));
  if (run.last - run.lowest < kErrors * error) return false;
  if (!run.Exceeds(run.size - 1, run.lowest_at)) return false;
  found.push_back({Verdict::kLrTooHigh, Confidence(ratio, kRatio, kSureRatio),
                   run.Step(run.lowest_at), run.Step(run.size - 1),
                   "the smoothed loss was " + Brief(run.lowest) + " at step " +
                       std::to_string(run.Step(run.lowest_at)) + " and ends at " +
                       Brief(run.last)});
  return true;
}

// A rise that is small but goes on over the whole log, by six standard errors. Right on 1 real log,
// wrong on none.
bool FindDrift(const View& run, Findings& found) {
  constexpr size_t kLeast = 100;
  constexpr double kErrors = 6, kRise = 0.01, kScatter = 0.3;
  if (run.size < kLeast || Median(run.scatter) > kScatter * run.last) return false;
  const Slope fall = run.FallIn(0, run.size);
  if (!(-fall.change > std::max(kRise, kErrors * fall.error))) return false;
  found.push_back({Verdict::kLrTooHigh, 0.6, run.Step(0), run.Step(run.size - 1),
                   "the loss rises over the whole log, by " + Percent(-fall.change) +
                       " with an "
                       "error of " +
                       Percent(fall.error)});
  return true;
}

// The loss goes up and down as a sine does, as in a curve of the Optimizer Selection Guide. Of the
// logs that limits were set on none has that without a rise of the smoothed loss, so that it is
// neither right nor wrong of any: the height is that of a rise, and noise has a wave as strong in
// one of 10,000 runs.
bool FindWave(const View& run, Findings& found) {
  constexpr double kRise = 0.12, kSureRise = 0.4, kWave = 0.3, kChance = 1e-4;
  const Wave wave = StrongestWave(run);
  if (wave.height < kRise || wave.share < kWave || wave.chance > kChance) return false;
  if (IsOfDataOrSchedule(run, wave)) return false;
  found.push_back({Verdict::kLrTooHigh, Confidence(wave.height, kRise, kSureRise), run.Step(0),
                   run.Step(run.size - 1),
                   "the loss went up and down " + std::to_string(wave.cycles) +
                       " times, each time by " + Percent(wave.height) + " of where it began"});
  return true;
}

// What the highest loss of the first sixth, relative to the first loss, is expected to be by noise
// alone: of more losses the highest is higher. A jump is rough as well, so that of few entries at a
// rate that is known to be high less is asked for.
double HighestOfNoise(const View& run, bool rate_is_known) {
  constexpr size_t kMany = 128, kFew = 32;
  const size_t early = run.size / 6;
  std::vector<double> changes, scatters;
  for (size_t i = 1; i < early; ++i) {
    changes.push_back(std::abs(std::log(run.loss[i] / run.loss[i - 1])));
  }
  for (size_t i = 0; i < run.size; ++i) scatters.push_back(run.scatter[i] / run.smooth[i]);
  const double noise = std::min(1.48 * Median(std::move(changes)) / std::numbers::sqrt2,
                                Median(std::move(scatters)));
  const size_t part = rate_is_known && early < kMany ? early / kFew : early;
  const double sigmas = std::sqrt(2 * std::log(std::max<double>(1, static_cast<double>(part))));
  return std::exp(std::max(1.0, sigmas) * noise);
}

// Weights that change by less than the first ratio a step hardly move; those that change by more
// than the second are not held back by the rate.
constexpr double kSlowRatio = 3e-4, kFastRatio = 3e-3;

}  // namespace

void FindHighRate(const View& run, Findings& found) {
  constexpr size_t kLeastOfAll = 6;
  if (run.size < kLeastOfAll) return;
  const auto is_divergence = [](const Finding& f) { return f.verdict == Verdict::kDiverged; };
  const bool collapsed = std::any_of(found.begin(), found.end(), is_divergence);
  if (run.size >= kLeastSteps && !run.of_validation) {
    if (FindRise(run, EarlyPeak(run), found)) return;
  }
  if (collapsed) return;
  if (FindEndAboveLowest(run, found) || FindDrift(run, found)) return;
  if (run.size >= kLeastSteps && !run.of_validation) FindWave(run, found);
}

// A jump at the start, at a learning rate that training bears later, above what as many noisy
// losses reach. Of the logs that limits were set on right on 9 of the suite's 10, wrong on none of
// the 51 real and 54 healthy runs of the suite and on 7 of AlgoPerf's 1,707, which have no rates.
// With 1.12 in place of 1.08, or with 3 sigmas, one more is missed.
void FindShortWarmup(const View& run, Findings& found) {
  constexpr double kPeak = 1.08, kSurePeak = 1.4, kRateThere = 0.5, kPeakSigmas = 2;
  if (run.size < kLeastSteps || run.begins_late || run.UpdateRatio() < kSlowRatio) return;
  const Peak peak = EarlyPeak(run);
  const double scatter = Median(run.scatter) / run.first;
  const bool known = run.RateKnown(peak.at);
  if (peak.IsNoise() || run.Rate(peak.at) < kRateThere ||
      peak.height < std::max({kPeak, 1 + kPeakSigmas * scatter, HighestOfNoise(run, known)})) {
    return;
  }
  constexpr double kMostWithoutRate = 0.6;
  const double sure = Confidence(peak.height, kPeak, kSurePeak);
  found.push_back(
      {Verdict::kWarmupTooShort, known ? sure : std::min(sure, kMostWithoutRate), run.Step(0),
       run.Step(peak.at),
       "the loss jumped to " + Brief(run.loss[peak.at]) + ", " + Brief(peak.height) +
           " times the first, at step " + std::to_string(run.Step(peak.at)) +
           (known ? ", when the learning rate was " + Percent(run.Rate(peak.at)) + " of its peak"
                  : std::string())});
}

// The run ends where it began, or the loss falls little and as slowly at first as at the end,
// without ever having been unstable. Right on the suite's 27, wrong on 2 of AlgoPerf's 3,495
// healthy logs. Each limit can be moved by a third, but for kProportional, with which one more
// would be wrong.
void FindLowRate(const View& run, Findings& found) {
  constexpr double kHardly = 0.85, kSureHardly = 0.97, kCalm = 0.05, kCalmSigmas = 4;
  constexpr size_t kLeastOfLittle = 100;
  constexpr double kLittle = 0.5, kLittleOfFew = 0.7, kSteady = 0.38, kProportional = 0.6;
  if (run.size < kLeastSteps || !run.over || run.begins_late) return;
  const double left = std::min(1.0, run.lowest / run.initial),
               early_part = run.EarlyPart(run.initial);
  const double scatter = Median(run.scatter) / run.first;
  const double ratio = run.UpdateRatio();
  const double rise = LargestRise(run, run.size / 10).height;
  const bool calm = EarlyPeak(run).height < 1 + std::max(kCalm, kCalmSigmas * scatter);
  const bool slow =
      ratio < kSlowRatio || (calm && !(ratio > kFastRatio) && early_part < kProportional);
  // Of many entries a line is told by levels, as the first loss is noise.
  const bool straight = run.size >= kLeastOfLittle && left > kLittle && left < kHardly &&
                        run.EarlyPart(run.smooth[0]) < kSteady;
  const bool hardly = left > kHardly || (left > kLittleOfFew && early_part < kSteady) || straight;
  if (hardly && slow && rise < kCalm) {
    found.push_back({Verdict::kLrTooLow, Confidence(left, kHardly, kSureHardly), run.Step(0),
                     run.Step(run.size - 1),
                     "the loss fell by " + Percent(1 - left) + " in " + std::to_string(run.size) +
                         " entries" + (straight ? ", as fast at the end as at the start" : "") +
                         ", and never rose by more than " + Percent(std::max(rise, 0.0))});
  }
}

}  // namespace kudari::internal
