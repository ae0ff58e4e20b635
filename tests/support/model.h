#ifndef KUDARI_TESTS_SUPPORT_MODEL_H_
#define KUDARI_TESTS_SUPPORT_MODEL_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kudari/tensor.h"
#include "tests/support/random.h"

namespace kudari::testing {

/// Tensors of given names and shapes, with weights and gradients that are drawn.
struct Model {
  using Shapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

  explicit Model(const Shapes& shapes, uint64_t seed = 1) : random(seed) {
    for (const auto& [name, shape] : shapes) {
      Tensor t{.name = name, .shape = shape};
      params.push_back(random.Floats(static_cast<size_t>(t.Size())));
      grads.push_back(random.Floats(params.back().size()));
      t.param = params.back().data();
      t.grad = grads.back().data();
      tensors.push_back(std::move(t));
    }
  }

  /// Other gradients, where they were.
  void NextGradient() {
    for (auto& g : grads) {
      for (float& x : g) x = random.Float();
    }
  }

  /// Other values, where they were.
  void Assign(const std::vector<std::vector<float>>& values) {
    for (size_t i = 0; i < params.size(); ++i) {
      std::copy(values[i].begin(), values[i].end(), params[i].begin());
    }
  }

  Random random;
  std::vector<std::vector<float>> params, grads;
  std::vector<Tensor> tensors;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_MODEL_H_
