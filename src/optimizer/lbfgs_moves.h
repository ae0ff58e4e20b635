#ifndef KUDARI_OPTIMIZER_LBFGS_MOVES_H_
#define KUDARI_OPTIMIZER_LBFGS_MOVES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kudari/lbfgs.h"
#include "optimizer/strong_wolfe.h"

namespace kudari::internal {

/// The magnitudes of a vector's elements; the sum is finite if and only if every element is.
struct Magnitudes {
  double sum, largest;
};

/// The weights that L-BFGS moves, as one vector, and vectors of the same length, by number.
class LbfgsVectors {
 public:
  LbfgsVectors() = default;
  virtual ~LbfgsVectors() = default;
  LbfgsVectors(const LbfgsVectors&) = delete;
  LbfgsVectors& operator=(const LbfgsVectors&) = delete;

  /// Makes vectors 0 ... count - 1, unless there are that many. Nothing else may fail.
  virtual void Reserve(size_t count) = 0;
  /// Vector `to` <- the gradient.
  virtual void TakeGradient(size_t to) = 0;
  /// Notes the weights as where a line begins; weights <- that point + t vector `direction`; and
  /// weights <- that point, bit for bit.
  virtual void BeginLine() = 0;
  virtual void Move(double t, size_t direction) = 0;
  virtual void MoveBack() = 0;
  /// Vector out <- a x + b y, where out may be x; without b, out <- a x.
  virtual void Combine(size_t out, double a, size_t x, double b, size_t y) = 0;
  virtual void Scale(size_t out, double a, size_t x) = 0;
  virtual double Dot(size_t a, size_t b) = 0;
  virtual Magnitudes Measure(size_t a) = 0;
};

/// What L-BFGS knows of its past, beside the vectors.
struct LbfgsPast {
  int64_t iterations = 0, evaluations = 0;
  double t = 0;                    ///< the length of the last move; 0: it was not made
  double scale = 1;                ///< of the first estimate of the inverse Hessian
  double loss = 0;                 ///< before the last move
  std::vector<double> ro = {};     ///< 1 / (y s) of each pair, the oldest first
  std::vector<size_t> pairs = {};  ///< the numbers of these pairs
  size_t spare = 0;                ///< the number of the pair that is written next
};

/// The numbers of vectors: the direction and the gradient before the last move, the gradients of a
/// line, and pairs of a difference of gradients and a move.
inline constexpr size_t kDirection = 0, kFormerGradient = 1, kLineGradients = 2;
constexpr size_t GradientChange(size_t pair) { return kLineGradients + kLinePlaces + 2 * pair; }
constexpr size_t WeightChange(size_t pair) { return GradientChange(pair) + 1; }

/// The vectors that there must be for that number of pairs and the one to be written.
constexpr size_t VectorsFor(size_t pairs) { return GradientChange(pairs + 1); }

/// One step of L-BFGS; see Lbfgs::Step. The past is that of the last completed move, whatever
/// throws.
LbfgsReport MoveByLbfgs(const std::function<double()>& closure, const LbfgsOptions& options,
                        LbfgsVectors& vectors, LbfgsPast& past);

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_LBFGS_MOVES_H_
