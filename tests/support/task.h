#ifndef KUDARI_TESTS_SUPPORT_TASK_H_
#define KUDARI_TESTS_SUPPORT_TASK_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kudari/optimizer.h"
#include "tests/support/model.h"

namespace kudari::testing {

/// Tensors in float32 or bfloat16 with float32 gradients that depend on the step and the weights.
class Task {
 public:
  Task(const Model::Shapes& shapes, DType type)
      : shapes_(shapes), model_(shapes), halves_(shapes.size()) {
    if (type == DType::kFloat32) return;
    for (size_t i = 0; i < halves_.size(); ++i) {
      Tensor& t = model_.tensors[i];
      halves_[i].resize(model_.params[i].size());
      t.dtype = type;
      t.param = halves_[i].data();
      t.grad_dtype = DType::kFloat32;
    }
    SetWeights(7);
  }

  Model& model() { return model_; }

  /// Others for each seed, which bfloat16 holds exactly; Model::params has them then.
  void SetWeights(uint64_t seed) {
    const Model other(shapes_, seed);
    for (size_t i = 0; i < halves_.size(); ++i) {
      for (size_t k = 0; k < other.params[i].size(); ++k) {
        const uint32_t bits = std::bit_cast<uint32_t>(other.params[i][k]) & 0xFFFF0000U;
        model_.params[i][k] = std::bit_cast<float>(bits);
        if (!halves_[i].empty()) halves_[i][k] = static_cast<uint16_t>(bits >> 16U);
      }
    }
  }

  /// Draws what the gradients of the next step depend on.
  void Draw() {
    model_.NextGradient();
    drawn_ = model_.grads;
  }

  /// The gradients of that step where the weights are.
  Evaluation Call() {
    for (size_t i = 0; i < drawn_.size(); ++i) {
      for (size_t k = 0; k < drawn_[i].size(); ++k) {
        const float w = Weight(i, k);
        model_.grads[i][k] = drawn_[i][k] * (1 + w * w);
      }
    }
    return 1.0;
  }

  void Step(Optimizer& optimizer) {
    Draw();
    optimizer.Step([this](Pass) { return Call(); });
  }

  /// Of all parameters.
  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> bytes;
    for (const Tensor& t : model_.tensors) {
      const auto* const p = static_cast<const std::byte*>(t.param);
      bytes.insert(bytes.end(), p, p + t.Size() * kudari::Bytes(t.dtype));
    }
    return bytes;
  }

 private:
  /// As the model sees it.
  float Weight(size_t tensor, size_t k) const {
    if (halves_[tensor].empty()) return model_.params[tensor][k];
    return std::bit_cast<float>(static_cast<uint32_t>(halves_[tensor][k]) << 16U);
  }

  Model::Shapes shapes_;
  Model model_;
  std::vector<std::vector<uint16_t>> halves_;
  std::vector<std::vector<float>> drawn_;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_TASK_H_
