#ifndef KUDARI_CONTROLLERS_H_
#define KUDARI_CONTROLLERS_H_

#include <cstdint>
#include <optional>

#include "kudari/state.h"

namespace kudari {

// Controllers react to a metric, such as the validation loss after each epoch, and therefore have
// state. Anything that depends on the step number alone is a Schedule.

/// When a metric counts as better than the best so far: it must be lower (or higher, with
/// `maximize`) by more than a threshold, which is absolute or relative to the magnitude of the
/// best. The first metric that is a number counts as better; a NaN never does.
struct Improvement {
  bool maximize = false;
  double threshold = 0;  ///< in [0, inf)
  bool relative = false;

  /// Throws Error if the threshold is out of range.
  void Check() const;
  /// Whether `metric` is better than `best`; an unset `best` means no metric so far.
  bool Better(double metric, const std::optional<double>& best) const;
};

/// Options of ReduceOnPlateau; the defaults are torch's.
struct ReduceOnPlateauOptions {
  double factor = 0.1;  ///< in [0, 1)
  Improvement improvement = {.threshold = 1e-4, .relative = true};
  int64_t patience = 10;  ///< bad metrics in a row that are tolerated; at least 0
  int64_t cooldown = 0;   ///< metrics after a reduction that do not count as bad; at least 0
  double lowest = 0;      ///< lower bound of the value; torch's min_lr
  double eps = 1e-8;      ///< a reduction by this much or less is skipped; at least 0
};

/// Reduces a value, such as a learning rate or a factor of one, when a metric stops improving, at
/// the (patience + 1)-th bad metric in a row. It behaves as torch's ReduceLROnPlateau, except for
/// the relative threshold of a negative metric, which has the wrong sign in torch.
///
///     kudari::ReduceOnPlateau plateau(1.0, {.patience = 3});
///     ...                                   // after each epoch:
///     factor = plateau.Observe(validation_loss);
class ReduceOnPlateau {
 public:
  /// Starts from `value`. Throws Error if it is not finite or an option is out of range.
  explicit ReduceOnPlateau(double value, const ReduceOnPlateauOptions& options = {});

  /// Takes the next metric and returns the value to use from now on. A NaN counts as a bad metric.
  double Observe(double metric);

  /// The current value.
  double value() const { return value_; }
  /// The best metric so far; unset if none was a number.
  const std::optional<double>& best() const { return best_; }
  /// The number of bad metrics in a row, and the number of metrics left in the cooldown.
  int64_t bad() const { return bad_; }
  int64_t cooldown() const { return cooldown_; }
  const ReduceOnPlateauOptions& options() const { return options_; }

  /// Visits `value`, `best`, `bad` and `cooldown`. Loading throws Error, with nothing changed, if
  /// one is out of range.
  void Visit(StateVisitor& visitor);

 private:
  ReduceOnPlateauOptions options_;
  double value_;
  std::optional<double> best_ = {};
  int64_t bad_ = 0, cooldown_ = 0;
};

/// Options of EarlyStopping.
struct EarlyStoppingOptions {
  int64_t patience = 10;  ///< bad metrics in a row after which to stop; at least 1
  Improvement improvement = {};
};

/// Says when to stop, as Keras does: after `patience` metrics in a row that were not better.
class EarlyStopping {
 public:
  /// Throws Error if an option is out of range.
  explicit EarlyStopping(const EarlyStoppingOptions& options = {});

  /// Takes the next metric and returns whether to stop. A NaN counts as a bad metric.
  bool Observe(double metric);

  /// The best metric so far; unset if none was a number.
  const std::optional<double>& best() const { return best_; }
  /// The number of bad metrics in a row.
  int64_t bad() const { return bad_; }
  const EarlyStoppingOptions& options() const { return options_; }

  /// Visits `best` and `bad`. Loading throws Error, with nothing changed, if one is out of range.
  void Visit(StateVisitor& visitor);

 private:
  EarlyStoppingOptions options_;
  std::optional<double> best_ = {};
  int64_t bad_ = 0;
};

}  // namespace kudari

#endif  // KUDARI_CONTROLLERS_H_
