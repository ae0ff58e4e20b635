#ifndef KUDARI_CONTROLLERS_H_
#define KUDARI_CONTROLLERS_H_

#include <cstdint>
#include <optional>

#include "kudari/state.h"

namespace kudari {

// What reacts to a metric, such as the validation loss after each epoch, and so has state; what
// depends on the step alone is a Schedule.

/// What makes a metric better than the best so far: lower, or higher, by more than a threshold,
/// which is a part of the best's magnitude or a difference. The first number is better than
/// nothing; a NaN is never better.
struct Improvement {
  bool maximize = false;
  double threshold = 0;  ///< in [0, inf)
  bool relative = false;

  /// Throws Error if the threshold is out of its range.
  void Check() const;
  bool Better(double metric, const std::optional<double>& best) const;
};

/// How ReduceOnPlateau works; the defaults are torch's.
struct ReduceOnPlateauOptions {
  double factor = 0.1;  ///< in [0, 1)
  Improvement improvement = {.threshold = 1e-4, .relative = true};
  int64_t patience = 10;  ///< bad metrics in a row before the rate is reduced; at least 0
  int64_t cooldown = 0;   ///< metrics after a reduction that are not counted as bad; at least 0
  double lowest = 0;      ///< the value never falls below; torch's min_lr
  double eps = 1e-8;      ///< a reduction by no more is not made; at least 0
};

/// Reduces a value, such as a learning rate or a factor of one, when a metric stops getting better:
/// at the (patience + 1)-th bad metric in a row. torch's ReduceLROnPlateau, but for the relative
/// threshold of a negative metric, which has the wrong sign there.
///
///     kudari::ReduceOnPlateau plateau(1.0, {.patience = 3});
///     ...                                   // after each epoch:
///     factor = plateau.Observe(validation_loss);
class ReduceOnPlateau {
 public:
  /// `value` is where to start. Throws Error if it is not finite or an option is out of its range.
  explicit ReduceOnPlateau(double value, const ReduceOnPlateauOptions& options = {});

  /// Takes a metric, of which NaN is a bad one, and returns the value from here on.
  double Observe(double metric);

  double value() const { return value_; }
  /// The best metric, if there was a number.
  const std::optional<double>& best() const { return best_; }
  /// Metrics in a row that were not better, and those that remain of the cooldown.
  int64_t bad() const { return bad_; }
  int64_t cooldown() const { return cooldown_; }
  const ReduceOnPlateauOptions& options() const { return options_; }

  /// The four above, by their names; loading throws Error, with nothing changed, if one is out of
  /// its range.
  void Visit(StateVisitor& visitor);

 private:
  ReduceOnPlateauOptions options_;
  double value_;
  std::optional<double> best_ = {};
  int64_t bad_ = 0, cooldown_ = 0;
};

/// How EarlyStopping works.
struct EarlyStoppingOptions {
  int64_t patience = 10;  ///< bad metrics in a row after which to stop; at least 1
  Improvement improvement = {};
};

/// Says when to stop: after `patience` metrics in a row that were not better, as Keras does.
class EarlyStopping {
 public:
  /// Throws Error if an option is out of its range.
  explicit EarlyStopping(const EarlyStoppingOptions& options = {});

  /// Takes a metric, of which NaN is a bad one, and returns whether to stop.
  bool Observe(double metric);

  /// The best metric, if there was a number.
  const std::optional<double>& best() const { return best_; }
  /// Metrics in a row that were not better.
  int64_t bad() const { return bad_; }
  const EarlyStoppingOptions& options() const { return options_; }

  /// `best` and `bad`; loading throws Error, with nothing changed, if one is out of its range.
  void Visit(StateVisitor& visitor);

 private:
  EarlyStoppingOptions options_;
  std::optional<double> best_ = {};
  int64_t bad_ = 0;
};

}  // namespace kudari

#endif  // KUDARI_CONTROLLERS_H_
