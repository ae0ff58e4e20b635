#include <string>
#include <utility>

#include "core/elements.h"
#include "kudari/error.h"
#include "kudari/rules/momentum.h"
#include "kudari/stages.h"
#include "kudari/state.h"
#include "sources/backup.h"

namespace kudari {
NesterovLookahead::NesterovLookahead(std::unique_ptr<Source> inner)
    : inner_(inner != nullptr ? std::move(inner) : std::make_unique<PlainSource>()),
      backup_(std::make_unique<internal::Backup>()),
      shifts_(std::make_unique<std::vector<internal::Shift>>()) {}
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
  backup_->Begin(engine);
  shifts_->clear();
  for (size_t i = 0; i < engine.tensors().size(); ++i) {
    const Tensor& t = engine.tensors()[i];
    // What the oracle sees changes; a master stays.
    internal::Shift shift{.weights = engine.Weights(i),
                          .visible = internal::Visible(t),
                          .momentum = {},
                          .backup = backup_->Of(i),
                          .factor = 0,
                          .n = static_cast<size_t>(t.Size())};
    if (engine.SlotSize(i, "momentum_buffer") > 0 && !engine.Frozen(i, engine.steps())) {
      shift.momentum = engine.Slot(i, "momentum_buffer");
      shift.factor = engine.Value(i, "lr") * engine.Value(i, "momentum");
    }
    shifts_->push_back(shift);
  }
  engine.backend().Subtract(*shifts_, engine.parallel());
  return internal::AtChangedWeights(*backup_, engine,
                                    [&] { return inner_->Compute(engine, oracle); });
}

}  // namespace kudari
