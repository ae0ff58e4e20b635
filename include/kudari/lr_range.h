#ifndef KUDARI_LR_RANGE_H_
#define KUDARI_LR_RANGE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kudari/schedule.h"
#include "kudari/state.h"

namespace kudari {

/// How the learning rate rises in a range test.
enum class LrRamp { kExponential, kLinear };

/// Whether the last of n steps has the end of the ramp.
enum class LrRampEnd {
  kReached,  ///< step i has the position i / (n - 1), as torch-lr-finder
  kBefore    ///< i / n, as fastai: the end would be that of a further step
};

/// What a smoothed loss is compared with to tell that it diverges.
enum class LrStopAt {
  kBest,   ///< the lowest so far, as fastai
  kFirst,  ///< the first one
  kNever
};

/// How the losses are smoothed, with the weight `smooth` for the past.
enum class LrSmoothing {
  kBiasCorrected,  ///< s_i / (1 - smooth^(i + 1)), s starting from zero, as fastai
  kFromFirst       ///< s starting from the first loss, as torch-lr-finder
};

/// A learning-rate range test (Smith, arXiv:1506.01186, Section 3.3): training for some steps while
/// the learning rate rises, to see where the loss falls and where it diverges.
struct LrRangeOptions {
  double start = 1e-7;  ///< above 0
  double end = 10;      ///< above start
  int64_t steps = 100;  ///< in [2, 1000000]
  LrRamp ramp = LrRamp::kExponential;
  LrRampEnd ramp_end = LrRampEnd::kReached;
  double smooth = 0.98;  ///< in [0, 1)
  LrSmoothing smoothing = LrSmoothing::kBiasCorrected;
  LrStopAt stop_at = LrStopAt::kBest;
  /// The test ends when the smoothed loss exceeds that multiple of it; above 1. Of a loss x below
  /// zero, or that has fallen below zero, it is x plus (stop_factor - 1) times its distance from
  /// zero, or the first one's if that is further.
  double stop_factor = 4;

  friend bool operator==(const LrRangeOptions&, const LrRangeOptions&) = default;
};

/// The learning rate of each step; throws Error if an option is out of its range.
Schedule LrRampSchedule(const LrRangeOptions& options);

/// One step of a range test.
struct LrPoint {
  double lr = 0;
  double loss = 0;  ///< before the update with that learning rate
  double smoothed = 0;
};

/// Why a range test ended.
enum class LrEnd {
  kNotYet,
  kRamp,       ///< all steps are done
  kDiverged,   ///< the last point's smoothed loss is beyond the limit
  kNonFinite,  ///< a loss was not finite: it is no point
  kStopped     ///< the caller said so
};

/// "not yet", "ramp", "diverged", "non-finite" or "stopped".
std::string_view Name(LrEnd end);

/// What a range test saw.
struct LrRange {
  LrRangeOptions options = {};
  std::vector<LrPoint> points = {};
  LrEnd end = LrEnd::kNotYet;
};

/// The range test as a machine that is fed losses.
///
///     kudari::LrRangeTest test;
///     while (test.Running()) {
///       const double loss = ...;   // of the next batch, at the weights as they are
///       const double lr = test.lr();
///       test.Add(loss);
///       ...                        // a step with lr
///     }
///     const auto suggestions = kudari::SuggestLearningRates(test.range());
class LrRangeTest {
 public:
  /// Throws Error if an option is out of its range.
  explicit LrRangeTest(const LrRangeOptions& options = {});

  bool Running() const { return range_.end == LrEnd::kNotYet; }
  /// The learning rate of the step to be taken.
  double lr() const { return ramp_(static_cast<int64_t>(range_.points.size())); }
  /// Takes the loss before that step; a NaN or an infinity ends the test. Throws Error if it has
  /// ended.
  void Add(double loss);
  /// Ends the test, if it has not ended.
  void Stop();

  const LrRange& range() const { return range_; }

  /// The points and how it ended; loading throws Error, with nothing changed, if there are more
  /// points than steps.
  void Visit(StateVisitor& visitor);

 private:
  double Limit() const;

  LrRange range_;
  Schedule ramp_;
  double sum_ = 0;  // the running mean
  double best_ = std::numeric_limits<double>::infinity();
};

/// Ways to read a learning rate off the curve of smoothed losses; those of fastai's callback
/// `lr_find` unless said otherwise.
enum class LrMethod {
  kValley,    ///< the middle of the longest valley: if the longest falling subsequence has n points
              ///< and ends at point e, the point e - n + floor(n / 3) + floor(n / 6)
  kSteepest,  ///< where the loss falls fastest with the logarithm of the learning rate
  kSlide,     ///< two points 15 steps apart slide down from the end as long as the slopes at them
              ///< differ by more than 0.005 a step: the left one's last learning rate
  kMinimum    ///< a tenth of the learning rate at the minimum
};

inline constexpr LrMethod kLrMethods[] = {LrMethod::kValley, LrMethod::kSteepest, LrMethod::kSlide,
                                          LrMethod::kMinimum};

/// "valley", "steepest", "slide" or "minimum/10".
std::string_view Name(LrMethod method);

/// Between which points the slope for kSteepest is taken.
enum class LrSlope {
  kForward,  ///< a point and the next one, as fastai
  kCentral   ///< the one before and the next one, at the ends as kForward: torch-lr-finder
};

/// Which points suggestions are read off.
struct SuggestOptions {
  /// Points left out at the beginning, at least 0. Unset: a tenth of the ramp's steps, as fastai.
  std::optional<int64_t> skip_first = std::nullopt;
  /// And at the end, at least 0; fastai's 5.
  int64_t skip_last = 5;
  LrSlope slope = LrSlope::kForward;
};

/// A learning rate, and the point that it was read off.
struct LrSuggestion {
  LrMethod method = LrMethod::kValley;
  double lr = 0;
  size_t point = 0;  ///< index in LrRange::points
};

/// What makes suggestions doubtful.
enum class LrWarning {
  kTooShort,      ///< fewer than 20 points are left to read them off
  kTooNoisy,      ///< the smoothed loss falls by less than ten times its standard deviation
  kStillFalling,  ///< the test ended within a tenth of the ramp after the minimum, not by diverging
  kMinimumAtStart  ///< the minimum is at the first of the points: the loss did not fall
};

/// What the warning is, in a few words.
std::string_view Name(LrWarning warning);

/// What is read off one test.
struct LrSuggestions {
  std::vector<LrSuggestion> suggestions = {};  ///< those that there are, in the order of kLrMethods
  std::vector<LrWarning> warnings = {};

  /// Null if the method has none.
  const LrSuggestion* Find(LrMethod method) const;
};

/// Reads learning rates off a range test. A method has none if too few points are left. Throws
/// Error if an option is out of its range.
LrSuggestions SuggestLearningRates(const LrRange& range, const SuggestOptions& options = {});

/// How the suggestions of one method agree over several tests, as of different seeds.
struct LrAgreement {
  LrMethod method = LrMethod::kValley;
  size_t tests = 0;  ///< that have a suggestion; at least one
  double median = 0, geometric_mean = 0, lowest = 0, highest = 0;

  /// How far apart they are: highest / lowest.
  double Spread() const { return highest / lowest; }
};

/// One for each method that has a suggestion in at least one test, in the order of kLrMethods.
std::vector<LrAgreement> AgreementOf(std::span<const LrSuggestions> tests);

/// Why a suggestion is the recommended one.
enum class LrReason {
  kPreferred,  ///< it is kMinimum, on which tests agree best (docs/lr-range-test.md)
  kNoMinimum,  ///< the loss still fell when half of the tests ended, so it is kSteepest
  kAgreesBest  ///< that one differs by more than a factor of 10, and the tests agree best about
               ///< this
};

struct LrRecommendation {
  double lr = 0;  ///< the median of the method
  LrMethod method = LrMethod::kMinimum;
  LrReason reason = LrReason::kPreferred;
};

/// One learning rate out of one or more tests; nothing if there are no suggestions, or if the loss
/// did not fall in half of the tests (kMinimumAtStart).
std::optional<LrRecommendation> RecommendLearningRate(std::span<const LrSuggestions> tests);

}  // namespace kudari

#endif  // KUDARI_LR_RANGE_H_
