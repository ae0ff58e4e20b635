#ifndef KUDARI_LAB_MEASURE_LOSS_SURFACE_H_
#define KUDARI_LAB_MEASURE_LOSS_SURFACE_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lab/logs/metrics.h"
#include "lab/models/models.h"
#include "lab/train/batches.h"
#include "lab/train/objective.h"

namespace kudari::lab {

/// The mean loss over samples as a function of a model's weights, around those that the model has.
/// The model is in evaluation mode and computes in float32; the loss is taken from its outputs in
/// double, as are sums over batches, which have 512 samples. Displacements, gradients and products
/// are flat vectors in double, one value a parameter in the order of Model::parameters.
///
/// After every call, also one that throws, the model has the weights it had before, bit for bit;
/// with the surface its evaluation mode ends.
class LossSurface {
 public:
  /// Throws Error if there are no samples or the weights are not float32. The model must outlive
  /// this.
  LossSurface(Model& model, Samples samples, Loss loss, double label_smoothing);
  ~LossSurface();
  LossSurface(const LossSurface&) = delete;
  LossSurface& operator=(const LossSurface&) = delete;

  int64_t size() const { return weights_.numel(); }
  /// The model's weights.
  const at::Tensor& weights() const { return weights_; }
  /// Names and parameters, in the order of the vectors.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  /// A flat vector cut into the parameters' shapes, as views.
  std::vector<at::Tensor> Split(const at::Tensor& flat) const;

  /// Loss and accuracy at the weights plus a displacement.
  Score At(const at::Tensor& displacement) const;
  double LossAt(const at::Tensor& displacement) const { return At(displacement).loss; }
  /// The gradient there.
  at::Tensor GradientAt(const at::Tensor& displacement) const;
  /// The Hessian at the weights times a vector.
  at::Tensor HessianProduct(const at::Tensor& v) const;

 private:
  class Displaced;
  using Batch = std::function<void(const at::Tensor& loss, const at::Tensor& output,
                                   const at::Tensor& y, double share)>;
  void ForBatches(const Batch& batch) const;

  Model& model_;
  Samples samples_;
  Loss loss_;
  double label_smoothing_;
  bool was_training_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  at::Tensor weights_;
};

/// A mean and its standard error.
struct Estimate {
  double mean = 0, error = 0;
};

/// Of at least two values.
Estimate EstimateOf(const std::vector<double>& values);

/// The step of length rho along the gradient, zero if that is zero: SAM's (Foret et al.,
/// arXiv:2010.01412), which maximises the loss in the ball to first order.
at::Tensor SamStep(const at::Tensor& gradient, double rho);

/// The same in the ball that is measured in units of T = |w| + 0.01, for biases 1: ASAM's (Kwon et
/// al., arXiv:2102.11600), rho T^2 g / |T g|.
at::Tensor AdaptiveStep(const LossSurface& surface, const at::Tensor& gradient, double rho);

/// How far the loss rises above `loss`, that at the weights, on the way of projected gradient
/// ascent in the ball of radius rho: from SamStep, `steps` steps of length 2 rho / steps along the
/// gradient, each put back onto the ball if it leaves it. The highest point counts, so that it is
/// never below SamStep's. `report` is called after every step.
double AscentSharpness(const LossSurface& surface, const at::Tensor& gradient, double loss,
                       double rho, int64_t steps, const std::function<void()>& report);

/// An eigenvalue v.Hv / v.v, and |Hv - value v| for |v| = 1.
struct Eigenvalue {
  double value = 0, residual = 0;
};

/// Both ends of a spectrum.
struct Spectrum {
  Eigenvalue largest, smallest;  ///< in value, not in magnitude
  int64_t products = 0;          ///< with the matrix
  bool converged = false;

  const Eigenvalue& OfLargestMagnitude() const {
    return -smallest.value > largest.value ? smallest : largest;
  }
};

/// The spectrum's ends of a symmetric matrix, by Lanczos with full reorthogonalisation from a start
/// that is not zero. It has converged when the estimated residuals of both are at most 1e-3 of the
/// largest magnitude; it stops at `most` products, at least 3, of which two go into the residuals
/// that are given.
Spectrum ExtremeEigenvalues(const std::function<at::Tensor(const at::Tensor&)>& product,
                            const at::Tensor& start, int64_t most);

/// A random direction to look along: Gaussian, then each row (of a convolution: filter) scaled to
/// the norm of that of the weights; zero for vectors, that is biases and norms (Li et al.,
/// arXiv:1712.09913).
at::Tensor FilterNormalized(const LossSurface& surface, at::Generator& random);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_LOSS_SURFACE_H_
