#include <algorithm>
#include <string>
#include <utility>

#include "core/elements.h"
#include "kernels/kernels.h"
#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

/// Puts saved weights back when it goes.
class Restorer {
 public:
  Restorer(std::span<const Tensor> tensors, const std::vector<std::vector<std::byte>>& weights)
      : weights_(weights) {
    for (const Tensor& t : tensors) params_.push_back(static_cast<std::byte*>(t.param));
  }
  Restorer(const Restorer&) = delete;
  Restorer& operator=(const Restorer&) = delete;
  ~Restorer() {
    for (size_t i = 0; i < params_.size(); ++i) {
      std::copy(weights_[i].begin(), weights_[i].end(), params_[i]);
    }
  }

 private:
  const std::vector<std::vector<std::byte>>& weights_;
  std::vector<std::byte*> params_;  // an oracle may point tensors elsewhere
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
    const std::span<const std::byte> p = internal::BytesOf(tensors[i]);
    weights_[i].assign(p.begin(), p.end());
  }
  const Restorer restorer(tensors, weights_);
  const internal::Codecs& codecs = internal::CodecsFor(internal::Kernels().target);
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    if (engine.SlotSize(i, "momentum_buffer") == 0) return;
    const double shift = engine.Value(i, "lr") * engine.Value(i, "momentum");
    float momentum[internal::kCodeBlock], p[internal::kCodeBlock];
    for (size_t at = begin; at < end; at += internal::kCodeBlock) {
      const size_t n = std::min(internal::kCodeBlock, end - at);
      engine.LoadSlot(i, "momentum_buffer", at, std::span(momentum, n));
      engine.LoadWeights(i, at, std::span(p, n));
      for (size_t k = 0; k < n; ++k) p[k] = static_cast<float>(p[k] - shift * momentum[k]);
      // What the oracle sees; a master stays.
      codecs.store(p, at, n, internal::Visible(tensors[i]));
    }
  });
  return inner_->Compute(engine, oracle);
}

}  // namespace kudari
