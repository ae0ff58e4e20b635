#include <algorithm>
#include <string_view>
#include <utility>

#include "averagers/averagers.h"
#include "kudari/stages.h"
#include "kudari/state.h"

namespace kudari {
namespace {

/// The momentum of a tensor if its rule has one of `size` elements, or else no data.
internal::Coded MomentumOf(const Engine& engine, size_t tensor, size_t size) {
  if (size == 0) return {};
  const auto slot = engine.SlotSize(tensor, "momentum_buffer") > 0 ? "momentum_buffer" : "exp_avg";
  return engine.SlotSize(tensor, slot) == size ? engine.Slot(tensor, slot) : internal::Coded();
}

/// The arrays with the momenta that there are, of tensors that are not frozen in a step.
std::span<const internal::ArrayPair> WithMomenta(internal::StageArrays& arrays,
                                                 const Engine& engine, int64_t step) {
  return arrays.With([&](size_t i) {
    return engine.Frozen(i, step) ? internal::Coded() : MomentumOf(engine, i, arrays.SizeOf(i));
  });
}

/// The arrays with the weights of the tensors that are frozen in a step, or of the others.
std::span<const internal::ArrayPair> WithWeights(internal::StageArrays& arrays,
                                                 const Engine& engine, int64_t step, bool frozen) {
  return arrays.With([&](size_t i) {
    return engine.Frozen(i, step) == frozen ? engine.Weights(i) : internal::Coded();
  });
}

}  // namespace

Lookahead::Lookahead(const LookaheadSpec& spec) : spec_(spec) {
  internal::CheckOptions("lookahead.", internal::LookaheadOptions(), spec);
}
Lookahead::~Lookahead() = default;

void Lookahead::Start(Engine& engine) {
  auto slow = internal::CopyParameters(engine);
  if (spec_.state == LookaheadState::kPullback) {
    auto momentum = std::make_unique<internal::StageArrays>(
        internal::StageArrays::OfOwned(engine, internal::Format::kFloat32));
    momentum->Clear(engine.backend());
    engine.backend().Convert(WithMomenta(*momentum, engine, engine.steps()), engine.parallel());
    momentum_ = std::move(momentum);
  }
  slow_ = std::move(slow);
}

bool Lookahead::Resize(Engine& engine) {
  internal::FollowTensors(engine, *slow_);
  if (momentum_ == nullptr) return true;
  const size_t before = momentum_->count();
  momentum_->Resize(engine);
  momentum_->Clear(engine.backend(), before);  // they have had no update
  return true;
}

void Lookahead::After(Engine& engine) {
  if (engine.steps() % spec_.k != 0) return;
  Backend& backend = engine.backend();
  const int64_t step = engine.steps() - 1;
  backend.Meet(WithWeights(*slow_, engine, step, false), spec_.alpha, engine.parallel());
  // The weights of a tensor that has been frozen since the last sync are what it stays at.
  backend.Convert(WithWeights(*slow_, engine, step, true), engine.parallel());
  if (spec_.state == LookaheadState::kPullback) {
    backend.Meet(WithMomenta(*momentum_, engine, step), spec_.alpha, engine.parallel());
  }
  if (spec_.state != LookaheadState::kReset) return;
  for (size_t i = 0; i < engine.tensors().size(); ++i) {
    if (!engine.Frozen(i, step)) engine.ResetState(i);
  }
}

const float* Lookahead::Evaluated(size_t index) const {
  return slow_ == nullptr ? nullptr : slow_->Floats(index);
}

void Lookahead::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    if (!engine.Owns(i)) return;
    slow_->Visit(engine, i, "slow", visitor);
    if (momentum_ != nullptr) momentum_->Visit(engine, i, "momentum", visitor);
  });
}

const internal::OptionTable<LookaheadSpec>& internal::LookaheadOptions() {
  using L = LookaheadSpec;
  static const OptionTable<L> options = {{.name = "k",
                                          .member = &L::k,
                                          .least = 1,
                                          .most = INT64_MAX,
                                          .doc = "number of steps between syncs",
                                          .role = Role::kCounts},
                                         {.name = "alpha",
                                          .member = &L::alpha,
                                          .low = 0,
                                          .high = 1,
                                          .doc = "step size of the slow weights"},
                                         {.name = "state",
                                          .member = WordOf<&L::state>(),
                                          .choices = {"keep", "reset", "pullback"},
                                          .doc = "what happens to the rule's state at a sync"}};
  return options;
}

internal::AveragerEntry internal::LookaheadEntry() {
  return {
      .text = {.kind = "averager",
               .name = "lookahead",
               .summary = "Slow weights that the fast ones return to every k steps",
               .formula =
                   "s <- (1 - alpha) s + alpha p;  p <- s, after every k-th step; s is p at first",
               .paper = "Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, "
                        "arXiv:1907.08610",
               .options = DescribeOptions("lookahead.", LookaheadOptions(), LookaheadSpec())},
      .table = {.name = "lookahead",
                .member = TableOf<&OptimizerSpec::lookahead, &LookaheadOptions>(),
                .doc = "slow weights; unset: none"},
      .make = [](const OptimizerSpec& spec) -> std::unique_ptr<Averager> {
        return spec.lookahead ? std::make_unique<Lookahead>(*spec.lookahead) : nullptr;
      },
      .copies = [](const OptimizerSpec& spec) -> int64_t {
        if (!spec.lookahead) return 0;
        return spec.lookahead->state == LookaheadState::kPullback ? 2 : 1;
      }};
}

}  // namespace kudari
