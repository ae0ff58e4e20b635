#include <algorithm>
#include <string>
#include <utility>

#include "core/elements.h"
#include "kernels/kernels.h"
#include "kudari/error.h"
#include "kudari/rules/momentum.h"
#include "kudari/stages.h"
#include "kudari/state.h"
#include "sources/backup.h"

namespace kudari {
NesterovLookahead::NesterovLookahead(std::unique_ptr<Source> inner)
    : inner_(inner != nullptr ? std::move(inner) : std::make_unique<PlainSource>()),
      backup_(std::make_unique<internal::Backup>()) {}
NesterovLookahead::~NesterovLookahead() = default;

void NesterovLookahead::Check(const Engine& engine) {
  for (size_t i = 0; i < engine.tensors().size(); ++i) {
    const std::string_view rule = engine.Rule(i);
    if (rule == Momentum::kName) continue;
    throw Error("nesterov_lookahead: tensor \"" + engine.tensors()[i].name + "\" has the rule \"" +
                std::string(rule) + "\"; it must be \"" + std::string(Momentum::kName) + "\"");
  }
}

void NesterovLookahead::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Node("inner", [&] { inner_->Visit(engine, visitor); });
}

void NesterovLookahead::Refresh() { inner_->Refresh(); }

Gradient NesterovLookahead::Compute(Engine& engine, const Oracle& oracle) {
  Check(engine);
  const std::span<const Tensor> tensors = engine.tensors();
  shifts_.assign(tensors.size(), 0);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (engine.SlotSize(i, "momentum_buffer") == 0) continue;
    shifts_[i] = engine.Value(i, "lr") * engine.Value(i, "momentum");
  }
  backup_->Begin(tensors);
  const internal::Codecs& codecs = internal::CodecsFor(internal::Kernels().target);
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    backup_->Save(i, tensors[i], begin, end);
    if (engine.SlotSize(i, "momentum_buffer") == 0) return;
    float momentum[internal::kCodeBlock], p[internal::kCodeBlock];
    for (size_t at = begin; at < end; at += internal::kCodeBlock) {
      const size_t n = std::min(internal::kCodeBlock, end - at);
      engine.LoadSlot(i, "momentum_buffer", at, std::span(momentum, n));
      engine.LoadWeights(i, at, std::span(p, n));
      for (size_t k = 0; k < n; ++k) p[k] = static_cast<float>(p[k] - shifts_[i] * momentum[k]);
      // What the oracle sees; a master stays.
      codecs.store(p, at, n, internal::Visible(tensors[i]));
    }
  });
  return internal::AtChangedWeights(*backup_, engine,
                                    [&] { return inner_->Compute(engine, oracle); });
}

}  // namespace kudari
