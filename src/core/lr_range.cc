#include "kudari/lr_range.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/error_kinds.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari {
namespace {

constexpr int64_t kMostTestSteps = 1000000;
constexpr size_t kFewPoints = 20;
constexpr double kLeastFall = 10;  // standard deviations of the smoothed loss
constexpr double kMostSpread = 10;
// Flat noise falls by more than this many standard errors in one test of a thousand.
constexpr double kLeastErrors = 5;
constexpr size_t kFewLosses = 8;
// Nothing is learned in the first step of a ramp, so the first two losses differ by noise alone.
constexpr double kStray = 10;
// Of fastai's slide, whose threshold is for a loss of one.
constexpr size_t kSlideWidth = 15;
constexpr double kSlideThreshold = 0.005;

void CheckAbove(const std::string& where, double value, double bound) {
  if (value > bound && std::isfinite(value)) return;
  throw Error(where + " = " + NumberText(value) + " is outside (" + NumberText(bound) + ", inf)");
}

void Check(const LrRangeOptions& o) {
  const std::string where = "learning-rate range: ";
  CheckAbove(where + "start", o.start, 0);
  CheckAbove(where + "end", o.end, o.start);
  if (!std::isfinite(o.end / o.start)) {
    throw Error(where + "end / start = " + NumberText(o.end) + " / " + NumberText(o.start) +
                " is not finite");
  }
  CheckRange(where + "steps", static_cast<double>(o.steps), 2, static_cast<double>(kMostTestSteps));
  CheckRange(where + "smooth", o.smooth, 0, kBelow1);
  CheckAbove(where + "stop_factor", o.stop_factor, 1);
}

/// How many losses at the beginning are set aside: the first, if it is not within a factor of ten
/// of the second.
size_t SetAside(const std::vector<LrPoint>& points) {
  if (points.size() < 2) return 0;
  const double first = std::abs(points[0].loss), second = std::abs(points[1].loss);
  return first > kStray * second || second > kStray * first ? 1 : 0;
}

/// The points that suggestions are read off: [first, first + lr.size()) of the test's.
struct LossCurve {
  size_t first = 0;
  std::vector<double> lr, loss;

  size_t size() const { return loss.size(); }
  size_t Lowest() const {
    return static_cast<size_t>(std::min_element(loss.begin(), loss.end()) - loss.begin());
  }
};

LossCurve CurveOf(const LrRange& range, const SuggestOptions& options) {
  const int64_t skip_first = options.skip_first.value_or(range.options.steps / 10);
  for (const auto& [name, value] :
       {std::pair{"skip_first", skip_first}, {"skip_last", options.skip_last}}) {
    CheckRange(std::string("suggestions: ") + name, static_cast<double>(value), 0,
               static_cast<double>(kMostTestSteps));
  }
  const int64_t first = std::max(skip_first, static_cast<int64_t>(SetAside(range.points)));
  LossCurve curve{.first = static_cast<size_t>(first), .lr = {}, .loss = {}};
  const auto count = static_cast<int64_t>(range.points.size());
  for (int64_t i = first; i < count - options.skip_last; ++i) {
    curve.lr.push_back(range.points[static_cast<size_t>(i)].lr);
    curve.loss.push_back(range.points[static_cast<size_t>(i)].smoothed);
  }
  return curve;
}

/// The slope at each point but the last, or at each.
std::vector<double> Slopes(const std::vector<double>& y, const std::vector<double>& x,
                           LrSlope slope) {
  std::vector<double> slopes;
  const size_t n = y.size();
  for (size_t i = 0; i < n; ++i) {
    if (slope == LrSlope::kForward && i + 1 == n) break;
    const size_t left = slope == LrSlope::kForward || i == 0 ? i : i - 1;
    const size_t right = std::min(i + 1, n - 1);
    slopes.push_back((y[right] - y[left]) / (x[right] - x[left]));
  }
  return slopes;
}

std::optional<size_t> Steepest(const LossCurve& curve, LrSlope slope) {
  if (curve.size() < 2) return std::nullopt;
  std::vector<double> log_lr;
  for (const double lr : curve.lr) log_lr.push_back(std::log(lr));
  const std::vector<double> slopes = Slopes(curve.loss, log_lr, slope);
  return static_cast<size_t>(std::min_element(slopes.begin(), slopes.end()) - slopes.begin());
}

/// The first of the longest falling subsequences, the one that ends first. fastai's begin, its end
/// less its length, may be -1, where Python takes the last point; here it is 0 then.
std::optional<size_t> Valley(const LossCurve& curve) {
  if (curve.size() == 0) return std::nullopt;
  std::vector<size_t> length;  // of the longest one that ends at each point
  // By length, the highest loss that one ends with so far: it falls with the length.
  std::vector<double> ends;
  for (const double loss : curve.loss) {
    const auto at = std::lower_bound(ends.begin(), ends.end(), loss, std::greater<>());
    length.push_back(static_cast<size_t>(at - ends.begin()) + 1);
    if (at == ends.end()) {
      ends.push_back(loss);
    } else {
      *at = loss;
    }
  }
  const auto end =
      static_cast<size_t>(std::max_element(length.begin(), length.end()) - length.begin());
  if (length[end] == 1) return std::nullopt;  // it never falls
  const size_t n = length[end];
  const size_t offset = n / 3 + n / 6;
  return offset + end < n ? 0 : end + offset - n;
}

std::optional<size_t> Slide(const LossCurve& curve) {
  if (curve.size() <= kSlideWidth) return std::nullopt;
  std::vector<double> index(curve.size());
  std::iota(index.begin(), index.end(), 0.0);
  const std::vector<double> slopes = Slopes(curve.loss, index, LrSlope::kCentral);
  const double threshold = kSlideThreshold * std::abs(curve.loss[0]);
  size_t left = curve.size() - 1 - kSlideWidth;
  size_t found = left;
  while (std::abs(slopes[left + kSlideWidth] - slopes[left]) > threshold) {
    found = left;
    if (left == 0) break;
    --left;
  }
  return found;
}

/// The standard deviation of the smoothed loss, from the differences of neighbouring losses, which
/// a trend hardly touches, up to point `end`.
double SmoothedNoise(const LrRange& range, size_t end) {
  const size_t begin = SetAside(range.points);
  double sum = 0;
  for (size_t i = begin + 1; i <= end; ++i) {
    const double d = range.points[i].loss - range.points[i - 1].loss;
    sum += d * d;
  }
  const double variance = end <= begin ? 0 : sum / (2 * static_cast<double>(end - begin));
  const double past = range.options.smooth;
  return std::sqrt(variance * (1 - past) / (1 + past));
}

/// Whether the losses up to point `end` are no more than noise: the mean of the last quarter is not
/// below that of the first half by five standard errors. The noise is that of second differences,
/// which a trend does not touch.
bool IsFlat(const LrRange& range, size_t end) {
  std::vector<double> y;
  for (size_t i = SetAside(range.points); i <= end; ++i) y.push_back(range.points[i].loss);
  if (y.size() < kFewLosses) return false;
  double sum = 0;
  for (size_t i = 2; i < y.size(); ++i) {
    const double d = y[i] - 2 * y[i - 1] + y[i - 2];
    sum += d * d;
  }
  const double variance = sum / (6 * static_cast<double>(y.size() - 2));
  const size_t half = y.size() / 2, quarter = y.size() / 4;
  const auto mean = [&y](size_t from, size_t count) {
    const auto begin = y.begin() + static_cast<std::ptrdiff_t>(from);
    return std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(count), 0.0) /
           static_cast<double>(count);
  };
  const double error =
      std::sqrt(variance * (1 / static_cast<double>(half) + 1 / static_cast<double>(quarter)));
  return mean(0, half) - mean(y.size() - quarter, quarter) < kLeastErrors * error;
}

std::vector<LrWarning> WarningsOf(const LrRange& range, const LossCurve& curve, int64_t skip_last) {
  if (range.points.empty() && range.end == LrEnd::kNonFinite) return {LrWarning::kNeverFinite};
  std::vector<LrWarning> warnings;
  if (curve.size() < kFewPoints) warnings.push_back(LrWarning::kTooShort);
  if (curve.size() == 0) return warnings;
  const size_t lowest = curve.Lowest();
  if (lowest == 0) {
    warnings.push_back(LrWarning::kMinimumAtStart);
    return warnings;
  }
  const double fall = curve.loss[0] - curve.loss[lowest];
  if (fall < kLeastFall * SmoothedNoise(range, curve.first + lowest)) {
    warnings.push_back(LrWarning::kTooNoisy);
  }
  const auto after = static_cast<int64_t>(range.points.size() - 1 - (curve.first + lowest));
  if (IsFlat(range, curve.first + lowest)) warnings.push_back(LrWarning::kFlat);
  if (after > std::max(range.options.steps / 10, skip_last)) return warnings;
  if (range.end == LrEnd::kRamp || range.end == LrEnd::kStopped) {
    warnings.push_back(LrWarning::kStillFalling);
  }
  const double rise = range.points.back().smoothed - curve.loss[lowest];
  if (range.end == LrEnd::kNonFinite && rise <= SmoothedNoise(range, range.points.size() - 1)) {
    warnings.push_back(LrWarning::kEndedFalling);
  }
  return warnings;
}

}  // namespace

Schedule LrRampSchedule(const LrRangeOptions& o) {
  Check(o);
  const int64_t intervals = o.ramp_end == LrRampEnd::kReached ? o.steps - 1 : o.steps;
  const double ratio = o.end / o.start;
  if (o.ramp == LrRamp::kLinear) return o.start * Linear(intervals, ratio);
  return o.start * Step(1, std::pow(ratio, 1 / static_cast<double>(intervals)));
}

LrRangeTest::LrRangeTest(const LrRangeOptions& options)
    : range_{.options = options}, ramp_(LrRampSchedule(options)) {}

/// What the smoothed loss may reach.
double LrRangeTest::Limit() const {
  const LrRangeOptions& o = range_.options;
  if (o.stop_at == LrStopAt::kNever) return kInfinity;
  const double first = range_.points[SetAside(range_.points)].smoothed;
  const double from = o.stop_at == LrStopAt::kBest ? best_ : first;
  if (from > 0) return o.stop_factor * from;
  const double unit = std::max(std::abs(from), std::abs(first));
  return unit == 0 ? kInfinity : from + (o.stop_factor - 1) * unit;
}

// The running mean with one more loss, of which there are `count` then.
double LrRangeTest::Smoothed(double loss, size_t count) {
  const LrRangeOptions& o = range_.options;
  if (o.smoothing == LrSmoothing::kFromFirst) {
    sum_ = count == 1 ? loss : o.smooth * sum_ + (1 - o.smooth) * loss;
    return sum_;
  }
  sum_ = (count == 1 ? 0 : o.smooth * sum_) + (1 - o.smooth) * loss;
  return sum_ / (1 - std::pow(o.smooth, static_cast<double>(count)));
}

void LrRangeTest::Add(double loss) {
  if (!Running()) throw WrongStateError("learning-rate range: the test has ended");
  std::vector<LrPoint>& points = range_.points;
  points.push_back({lr(), loss, 0});
  const size_t aside = SetAside(points);
  const double before = sum_;
  const double smoothed = Smoothed(loss, points.size() - aside);
  if (!std::isfinite(loss) || !std::isfinite(smoothed)) {
    points.pop_back();
    sum_ = before;
    if (std::exchange(after_nonfinite_, true)) range_.end = LrEnd::kNonFinite;
    return;
  }
  after_nonfinite_ = false;
  points.back().smoothed = smoothed;
  if (points.size() == 2 && aside == 1) {
    points[0].smoothed = smoothed;
    best_ = smoothed;
  }
  best_ = std::min(best_, smoothed);
  if (smoothed > Limit()) {
    range_.end = LrEnd::kDiverged;
  } else if (static_cast<int64_t>(points.size()) == range_.options.steps) {
    range_.end = LrEnd::kRamp;
  }
}

void LrRangeTest::Stop(LrEnd end) {
  if (Running()) range_.end = end;
}

// Everything else follows from the losses, so loading adds them to a test of its own.
void LrRangeTest::Visit(StateVisitor& visitor) {
  std::vector<double> losses;
  for (const LrPoint& point : range_.points) losses.push_back(point.loss);
  if (after_nonfinite_) losses.push_back(std::numeric_limits<double>::quiet_NaN());
  const auto loaded = std::make_shared<LrRangeTest>(range_.options);
  visitor.Custom(
      "losses", [&] { return StateTree(StateArray::Of<double>(losses)); },
      [&](const StateTree& found) {
        const auto* const array = std::get_if<StateArray>(&found.value());
        if (array == nullptr || array->type != ElementType::kFloat64 || array->shape.size() != 1) {
          visitor.Fail("losses", "is " + found.Kind() + ", but must be F64 of one dimension");
        }
        for (const double loss : array->As<double>()) {
          if (!loaded->Running()) visitor.Fail("losses", "goes on after the test has ended");
          loaded->Add(loss);
        }
        return [] {};
      });
  visitor.Custom(
      "end", [&] { return StateTree(std::string(Name(range_.end))); },
      [&](const StateTree& found) {
        const auto is = [&](LrEnd end) { return found == StateTree(std::string(Name(end))); };
        for (const LrEnd end : {LrEnd::kStopped, LrEnd::kNonFinite}) {
          if (is(end)) loaded->Stop(end);
        }
        if (!is(loaded->range().end)) {
          visitor.Fail("end", "must be \"" + std::string(Name(loaded->range().end)) +
                                  "\" after these losses");
        }
        return [this, loaded] { *this = std::move(*loaded); };
      });
}

std::string_view Name(LrEnd end) {
  switch (end) {
    case LrEnd::kNotYet:
      return "not yet";
    case LrEnd::kRamp:
      return "ramp";
    case LrEnd::kDiverged:
      return "diverged";
    case LrEnd::kNonFinite:
      return "non-finite";
    case LrEnd::kStopped:
      return "stopped";
  }
  return "";
}

std::string_view Name(LrMethod method) {
  switch (method) {
    case LrMethod::kValley:
      return "valley";
    case LrMethod::kSteepest:
      return "steepest";
    case LrMethod::kSlide:
      return "slide";
    case LrMethod::kMinimum:
      return "minimum/10";
  }
  return "";
}

std::string_view Name(LrWarning warning) {
  switch (warning) {
    case LrWarning::kTooShort:
      return "too short";
    case LrWarning::kTooNoisy:
      return "too noisy";
    case LrWarning::kStillFalling:
      return "still falling";
    case LrWarning::kMinimumAtStart:
      return "minimum at start";
    case LrWarning::kFlat:
      return "flat";
    case LrWarning::kEndedFalling:
      return "ended falling";
    case LrWarning::kNeverFinite:
      return "never finite";
  }
  return "";
}

const LrSuggestion* LrSuggestions::Find(LrMethod method) const {
  for (const LrSuggestion& s : suggestions) {
    if (s.method == method) return &s;
  }
  return nullptr;
}

LrSuggestions SuggestLearningRates(const LrRange& range, const SuggestOptions& options) {
  const LossCurve curve = CurveOf(range, options);
  LrSuggestions result;
  const auto add = [&](LrMethod method, std::optional<size_t> at, double divisor) {
    if (!at) return;
    result.suggestions.push_back({method, curve.lr[*at] / divisor, curve.first + *at});
  };
  add(LrMethod::kValley, Valley(curve), 1);
  add(LrMethod::kSteepest, Steepest(curve, options.slope), 1);
  add(LrMethod::kSlide, Slide(curve), 1);
  if (curve.size() > 0) add(LrMethod::kMinimum, curve.Lowest(), 10);
  result.warnings = WarningsOf(range, curve, options.skip_last);
  return result;
}

std::vector<LrAgreement> AgreementOf(std::span<const LrSuggestions> tests) {
  std::vector<LrAgreement> agreements;
  for (const LrMethod method : kLrMethods) {
    std::vector<double> lrs;
    double logs = 0;
    for (const LrSuggestions& test : tests) {
      const LrSuggestion* const s = test.Find(method);
      if (s == nullptr) continue;
      lrs.push_back(s->lr);
      logs += std::log(s->lr);
    }
    if (lrs.empty()) continue;
    std::sort(lrs.begin(), lrs.end());
    const size_t n = lrs.size();
    agreements.push_back({.method = method,
                          .tests = n,
                          .median = std::sqrt(lrs[(n - 1) / 2] * lrs[n / 2]),
                          .geometric_mean = std::exp(logs / static_cast<double>(n)),
                          .lowest = lrs.front(),
                          .highest = lrs.back()});
  }
  return agreements;
}

std::optional<LrRecommendation> RecommendLearningRate(std::span<const LrSuggestions> tests) {
  const auto in_half = [&](LrWarning one, LrWarning other) {
    const auto count = std::count_if(tests.begin(), tests.end(), [&](const LrSuggestions& test) {
      return std::any_of(test.warnings.begin(), test.warnings.end(),
                         [&](LrWarning w) { return w == one || w == other; });
    });
    return 2 * count >= std::ssize(tests);
  };
  const std::vector<LrAgreement> agreements = AgreementOf(tests);
  if (agreements.empty() || in_half(LrWarning::kMinimumAtStart, LrWarning::kFlat))
    return std::nullopt;
  const bool no_minimum = in_half(LrWarning::kStillFalling, LrWarning::kEndedFalling);
  const LrMethod preferred = no_minimum ? LrMethod::kSteepest : LrMethod::kMinimum;
  for (const LrAgreement& a : agreements) {
    if (a.method != preferred || a.Spread() > kMostSpread) continue;
    return LrRecommendation{a.median, a.method,
                            no_minimum ? LrReason::kNoMinimum : LrReason::kPreferred};
  }
  const LrAgreement& steadiest = *std::min_element(
      agreements.begin(), agreements.end(),
      [](const LrAgreement& a, const LrAgreement& b) { return a.Spread() < b.Spread(); });
  return LrRecommendation{steadiest.median, steadiest.method, LrReason::kAgreesBest};
}

}  // namespace kudari
