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

/// The curve that the learning rate follows in a range test.
enum class LrRamp { kExponential, kLinear };

/// Whether the last of the n steps reaches the end of the ramp.
enum class LrRampEnd {
  kReached,  ///< step i is at position i / (n - 1), as in torch-lr-finder
  kBefore    ///< step i is at position i / n, as in fastai: one more step would reach the end
};

/// The reference that a smoothed loss is compared with to detect divergence.
enum class LrStopAt {
  kBest,   ///< the lowest smoothed loss so far, as in fastai
  kFirst,  ///< the first smoothed loss
  kNever   ///< none: the test does not stop for divergence
};

/// How the losses are smoothed: a running mean with the weight `smooth` for the past.
enum class LrSmoothing {
  kBiasCorrected,  ///< starts from zero and is divided by 1 - smooth^(i + 1), as in fastai
  kFromFirst       ///< starts from the first loss, as in torch-lr-finder
};

/// Options of a learning-rate range test (Smith, arXiv:1506.01186, Section 3.3): training for some
/// steps while the learning rate rises, to see where the loss falls and where it diverges.
struct LrRangeOptions {
  double start = 1e-7;  ///< above 0
  double end = 10;      ///< above start
  int64_t steps = 100;  ///< in [2, 1000000]
  LrRamp ramp = LrRamp::kExponential;
  LrRampEnd ramp_end = LrRampEnd::kReached;
  double smooth = 0.98;  ///< in [0, 1)
  LrSmoothing smoothing = LrSmoothing::kBiasCorrected;
  LrStopAt stop_at = LrStopAt::kBest;
  /// The test ends when the smoothed loss exceeds this multiple of the reference x; above 1. If x
  /// is not positive, the limit is instead x + (stop_factor - 1) d, where d is the larger of |x|
  /// and the magnitude of the first smoothed loss; there is none while both are 0.
  double stop_factor = 4;

  friend bool operator==(const LrRangeOptions&, const LrRangeOptions&) = default;
};

/// The learning rate of each step of the ramp. Throws Error if an option is out of range.
Schedule LrRampSchedule(const LrRangeOptions& options);

/// One step of a range test.
struct LrPoint {
  double lr = 0;
  double loss = 0;  ///< before the update with this learning rate
  double smoothed = 0;
};

/// Why a range test ended.
enum class LrEnd {
  kNotYet,
  kRamp,       ///< all steps are done
  kDiverged,   ///< the last point's smoothed loss is beyond the limit
  kNonFinite,  ///< two losses in a row were not finite; they are not recorded as points
  kStopped     ///< the caller ended the test
};

/// "not yet", "ramp", "diverged", "non-finite" or "stopped".
std::string_view Name(LrEnd end);

/// The record of a range test.
struct LrRange {
  LrRangeOptions options = {};
  std::vector<LrPoint> points = {};
  LrEnd end = LrEnd::kNotYet;
};

/// A range test that the caller drives by feeding it losses.
///
///     kudari::LrRangeTest test;
///     while (test.Running()) {
///     const double loss = ...;   // of the next batch, at the current weights
///       const double lr = test.lr();
///       test.Add(loss);
///       ...                        // a step with lr
///     }
///     const auto suggestions = kudari::SuggestLearningRates(test.range());
class LrRangeTest {
 public:
  /// Throws Error if an option is out of range.
  explicit LrRangeTest(const LrRangeOptions& options = {});
  /// Whether the test has not ended yet.

  bool Running() const { return range_.end == LrEnd::kNotYet; }
  /// The learning rate of the next step.
  double lr() const { return ramp_(static_cast<int64_t>(range_.points.size())); }
  /// Takes the loss before the next step. One that is not finite is no point, and the learning rate
  /// stays: one bad batch says nothing about it; two in a row end the test. If the first loss is
  /// more than ten times the second or less than a tenth of it, which no learning can do at the
  /// beginning of a ramp, smoothing begins with the second. Throws Error if the test has ended.
  void Add(double loss);
  /// Ends the test unless it has already ended, with kStopped or kNonFinite.
  void Stop(LrEnd end = LrEnd::kStopped);
  /// The points recorded so far.

  const LrRange& range() const { return range_; }

  /// Visits the losses and the reason for the end. Loading throws Error, with nothing changed, if
  /// the losses go on after the test has ended or contradict the recorded reason.
  void Visit(StateVisitor& visitor);

 private:
  double Limit() const;
  double Smoothed(double loss, size_t count);

  LrRange range_;
  Schedule ramp_;
  double sum_ = 0;  // the running mean
  double best_ = std::numeric_limits<double>::infinity();
  bool after_nonfinite_ = false;  // the last loss was not finite
};

/// Methods of reading a learning rate off the curve of smoothed losses. They are those of fastai's
/// `lr_find` callback except where noted.
enum class LrMethod {
  kValley,    ///< the middle of the longest valley: if the longest falling subsequence has n points
              ///< and ends at point e, the point e - n + floor(n / 3) + floor(n / 6)
  kSteepest,  ///< where the loss falls fastest with the logarithm of the learning rate
  kSlide,  ///< two points 15 steps apart slide down from the end while the slopes at them differ by
           ///< more than 0.005 of the first smoothed loss a step (fastai: 0.005); the last learning
           ///< rate of the left one
  kMinimum  ///< a tenth of the learning rate at the minimum
};

inline constexpr LrMethod kLrMethods[] = {LrMethod::kValley, LrMethod::kSteepest, LrMethod::kSlide,
                                          LrMethod::kMinimum};

/// "valley", "steepest", "slide" or "minimum/10".
std::string_view Name(LrMethod method);

/// The points between which kSteepest takes the slope.
enum class LrSlope {
  kForward,  ///< a point and the next, as in fastai
  kCentral   ///< the previous and the next point, at the ends as kForward; as in torch-lr-finder
};

/// The points from which suggestions are read. Both counts are in [0, 1000000].
struct SuggestOptions {
  /// Points left out at the beginning. Unset: a tenth of the ramp's steps, as in fastai.
  std::optional<int64_t> skip_first = std::nullopt;
  /// Points left out at the end; the default is fastai's.
  int64_t skip_last = 5;
  LrSlope slope = LrSlope::kForward;
};

/// A suggested learning rate and the point it was read off.
struct LrSuggestion {
  LrMethod method = LrMethod::kValley;
  double lr = 0;
  size_t point = 0;  ///< index in LrRange::points
};

/// Reasons to doubt the suggestions.
enum class LrWarning {
  kTooShort,        ///< fewer than 20 points are left
  kTooNoisy,        ///< the smoothed loss falls by less than ten times its standard deviation
  kStillFalling,    ///< the test ended without divergence within a tenth of the ramp after the
                    ///< minimum
  kMinimumAtStart,  ///< the minimum is at the first point: the loss did not fall
  kFlat,          ///< the loss falls by no more than noise does: up to the minimum, the mean of the
                  ///< last quarter is not five standard errors below that of the first half
  kEndedFalling,  ///< as kStillFalling, but the loss was no longer finite
  kNeverFinite    ///< there is no point: the first losses were not finite
};

inline constexpr LrWarning kLrWarnings[] = {LrWarning::kTooShort,     LrWarning::kTooNoisy,
                                            LrWarning::kStillFalling, LrWarning::kMinimumAtStart,
                                            LrWarning::kFlat,         LrWarning::kEndedFalling,
                                            LrWarning::kNeverFinite};

/// The warning in a few words, such as "too short".
std::string_view Name(LrWarning warning);

/// The suggestions from one test.
struct LrSuggestions {
  std::vector<LrSuggestion> suggestions = {};  ///< those that exist, in the order of kLrMethods
  std::vector<LrWarning> warnings = {};

  /// The suggestion of a method; null if it has none.
  const LrSuggestion* Find(LrMethod method) const;
};

/// Reads learning rates off a range test. A method makes no suggestion if too few points are left.
/// Throws Error if an option is out of range.
LrSuggestions SuggestLearningRates(const LrRange& range, const SuggestOptions& options = {});

/// How well the suggestions of one method agree over several tests, such as tests with different
/// seeds.
struct LrAgreement {
  LrMethod method = LrMethod::kValley;
  size_t tests = 0;  ///< the number of tests with a suggestion; at least one
  double median = 0, geometric_mean = 0, lowest = 0, highest = 0;

  /// The ratio highest / lowest.
  double Spread() const { return highest / lowest; }
};

/// The agreement of each method that has a suggestion in at least one test, in the order of
/// kLrMethods.
std::vector<LrAgreement> AgreementOf(std::span<const LrSuggestions> tests);

/// Why a suggestion is recommended.
enum class LrReason {
  kPreferred,  ///< it is kMinimum, on which tests agree best (docs/lr-range-test.md)
  kNoMinimum,  ///< in half of the tests the loss was falling to the end, so it is kSteepest
  kAgreesBest  ///< the tests agree best on this method; the preferred one varies by more than a
               ///< factor of 10
};

/// The recommended learning rate, the method it comes from and the reason for choosing it.
struct LrRecommendation {
  double lr = 0;  ///< the median of the method's suggestions
  LrMethod method = LrMethod::kMinimum;
  LrReason reason = LrReason::kPreferred;
};

/// Recommends one learning rate from one or more tests. Returns nothing if there are no suggestions
/// or if the loss did not fall in half of the tests (kMinimumAtStart, kFlat).
std::optional<LrRecommendation> RecommendLearningRate(std::span<const LrSuggestions> tests);

}  // namespace kudari

#endif  // KUDARI_LR_RANGE_H_
