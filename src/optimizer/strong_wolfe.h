#ifndef KUDARI_OPTIMIZER_STRONG_WOLFE_H_
#define KUDARI_OPTIMIZER_STRONG_WOLFE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace kudari::internal {

/// A point of the line x + t d.
struct LinePoint {
  double t = 0;         ///< the step
  double loss = 0;      ///< at most infinity, never a NaN
  double slope = 0;     ///< of the loss along d
  size_t gradient = 0;  ///< the place, below kLinePlaces, that holds the gradient there
};

/// The number of gradients that a line search holds at a time.
inline constexpr size_t kLinePlaces = 3;

/// Evaluates the loss at step t and leaves the gradient in `place`. A loss or a slope that is not
/// finite has to be returned as a loss of infinity with a slope of 0.
using LineFunction = std::function<LinePoint(double t, size_t place)>;

/// A line search as it is asked for.
struct LineTask {
  LinePoint start;          ///< t = 0; its loss is finite and its slope negative
  double first;             ///< the first step to be tried, above 0
  double largest;           ///< the largest magnitude in d
  double tolerance_change;  ///< no bracket is divided in which no weight can move by more
  int64_t most;             ///< the number of steps to try; one is always tried
};

/// The best point that was found, which may be the start, and the number of evaluations.
struct LineResult {
  LinePoint point;
  int64_t evaluations;
};

/// A line search for the strong Wolfe conditions with c1 = 1e-4 and c2 = 0.9 (Nocedal & Wright,
/// Numerical Optimization, Algorithms 3.5 and 3.6, with cubic interpolation): the same points as
/// torch's LBFGS(line_search_fn="strong_wolfe") as long as all losses are finite. Where one is not,
/// the step is halved towards the best point.
LineResult StrongWolfe(const LineFunction& at, const LineTask& task);

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_STRONG_WOLFE_H_
