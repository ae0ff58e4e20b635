#include <algorithm>
#include <string>
#include <utility>

#include "core/elements.h"
#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

/// Puts saved weights back when it goes.
class Restorer {
 public:
  Restorer(std::span<const Tensor> tensors, const std::vector<std::vector<float>>& weights)
      : weights_(weights) {
    for (const Tensor& t : tensors) params_.push_back(static_cast<float*>(t.param));
  }
  Restorer(const Restorer&) = delete;
  Restorer& operator=(const Restorer&) = delete;
  ~Restorer() {
    for (size_t i = 0; i < params_.size(); ++i) {
      std::copy(weights_[i].begin(), weights_[i].end(), params_[i]);
    }
  }

 private:
  const std::vector<std::vector<float>>& weights_;
  std::vector<float*> params_;  // an oracle may point tensors elsewhere
};

}  // namespace

NesterovLookahead::NesterovLookahead(std::unique_ptr<Source> inner)
    : inner_(inner != nullptr ? std::move(inner) : std::make_unique<PlainSource>()) {}

void NesterovLookahead::Check(const Engine& engine) {
  for (size_t i = 0; i < engine.tensors().size(); ++i) {
    const std::string_view rule = engine.Rule(i);
    if (rule == "momentum") continue;
    throw Error("nesterov_lookahead: tensor \"" + engine.tensors()[i].name + "\" has the rule \"" +
                std::string(rule) + "\"; it must be \"momentum\"");
  }
}

Gradient NesterovLookahead::Compute(Engine& engine, const Oracle& oracle) {
  Check(engine);
  const std::span<const Tensor> tensors = engine.tensors();
  weights_.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto* const p = static_cast<const float*>(tensors[i].param);
    weights_[i].assign(p, p + tensors[i].Size());
  }
  const Restorer restorer(tensors, weights_);
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    const std::span<const float> momentum = engine.Buffer(i, "momentum_buffer");
    if (momentum.empty()) return;
    const double shift = engine.Value(i, "lr") * engine.Value(i, "momentum");
    auto* const p = static_cast<float*>(tensors[i].param);
    for (size_t k = begin; k < end; ++k) p[k] = static_cast<float>(p[k] - shift * momentum[k]);
  });
  return inner_->Compute(engine, oracle);
}

}  // namespace kudari
