#ifndef KUDARI_NEWTON_SCHULZ_H_
#define KUDARI_NEWTON_SCHULZ_H_

#include <array>
#include <cstddef>
#include <span>

#include "kudari/step.h"

namespace kudari {

/// The coefficients {a, b, c} of one iteration X <- a X + b (X X^T) X + c (X X^T)^2 X.
using Quintic = std::array<double, 3>;

inline constexpr Quintic kKellerCoefficients[] = {{3.4445, -4.7750, 2.0315}};
inline constexpr Quintic kPolarExpressCoefficients[] = {
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

/// A Newton-Schulz iteration and the scaling that comes before it.
struct NewtonSchulz {
  std::span<const Quintic> coefficients;  ///< one entry per iteration; the last one repeats
  int iterations = 5;                     ///< at least 1
  /// X starts as x / max(norm_factor |x| + norm_epsilon, least_norm), with the Frobenius norm.
  double norm_factor = 1, norm_epsilon = 0, least_norm = 1e-7;
  /// The divisor for a given Frobenius norm of x.

  double Divisor(double norm) const {
    // A NaN stays a NaN.
    const double divisor = norm_factor * norm + norm_epsilon;
    return divisor < least_norm ? least_norm : divisor;
  }
};

/// Keller Jordan's coefficients (Muon, 2024), for which singular values end in [0.68, 1.13]. The
/// norm is bounded from below as in torch; Jordan adds 1e-7 to it.
inline constexpr NewtonSchulz kKeller{.coefficients = kKellerCoefficients};
/// The coefficients of Amsel et al., The Polar Express (2025), for five iterations: [0.85, 1.14].
inline constexpr NewtonSchulz kPolarExpress{.coefficients = kPolarExpressCoefficients,
                                            .norm_factor = 1.01};

/// The number of workspace elements that Orthogonalize needs for a matrix of that shape: about
/// three times the matrix plus four times the square of its shorter side.
template <class T>
size_t WorkspaceSize(size_t rows, size_t cols);

/// The floating-point operations of Orthogonalize; a symmetric product counts half.
double NewtonSchulzFlops(int iterations, size_t rows, size_t cols);

/// out <- U p(S) V^T, where x = U S V^T and p is the iteration applied to the scaled singular
/// values. Both matrices are rows x cols in row-major order; `out` may be x. Allocates nothing. The
/// result has the same bits for any number of threads and instruction set. Values that are not
/// finite give NaNs. Throws Error if the iteration is empty or the workspace is too small. T is
/// float or double.
template <class T>
void Orthogonalize(const NewtonSchulz& iteration, const T* x, size_t rows, size_t cols, T* out,
                   std::span<T> workspace, const Parallel& parallel);

}  // namespace kudari

#endif  // KUDARI_NEWTON_SCHULZ_H_
