#ifndef KUDARI_LAB_MODELS_PARTS_FRECHET_H_
#define KUDARI_LAB_MODELS_PARTS_FRECHET_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>

namespace kudari::lab {

/// Features of images, [batch, channels, height, width] with sides of at least 4: [batch, 64] in
/// double, from a convolutional network whose weights are drawn once and for all. It stands where
/// the Fréchet inception distance has Inception-v3, which is neither small nor fixed to a machine;
/// its distances cannot be compared with published ones.
class FixedFeatures {
 public:
  explicit FixedFeatures(int64_t channels);
  at::Tensor operator()(const at::Tensor& images) const;

 private:
  at::Tensor first_, second_, third_;
};

/// Numbers that tell images apart: [batch, channels, height, width] to [batch, size] of double.
using ImageFeatures = std::function<at::Tensor(const at::Tensor& images)>;

/// A model that is evaluated by a Fréchet distance.
class JudgedByFeatures {
 public:
  virtual ~JudgedByFeatures() = default;
  /// Compares by these from the next evaluation on, instead of FixedFeatures.
  virtual void SetFeatures(ImageFeatures features) = 0;
};

/// The Fréchet distance between the normal distributions that fit two sets of features, [n, size]
/// of double with n of at least 2: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al.,
/// arXiv:1706.08500, equation 6).
double FrechetDistance(const at::Tensor& a, const at::Tensor& b);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_FRECHET_H_
