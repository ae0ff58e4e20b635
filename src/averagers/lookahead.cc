#include <algorithm>
#include <string_view>
#include <utility>

#include "averagers/averagers.h"
#include "core/elements.h"
#include "kudari/stages.h"
#include "kudari/state.h"

namespace kudari {
namespace {

/// Moves the slow values by alpha towards the fast ones, and these to where the slow ones are then.
/// In double, rounded once: exact for an alpha of 0 or 1, and values that agree stay.
void Meet(float* slow, std::span<float> fast, double alpha) {
  for (size_t i = 0; i < fast.size(); ++i) {
    const double met = (1 - alpha) * static_cast<double>(slow[i]) + alpha * fast[i];
    slow[i] = fast[i] = static_cast<float>(met);
  }
}

/// The momentum of a tensor if its rule has one of `size` elements, or else empty.
std::string_view MomentumOf(const Engine& engine, size_t tensor, size_t size) {
  if (size == 0) return {};
  const auto slot = engine.SlotSize(tensor, "momentum_buffer") > 0 ? "momentum_buffer" : "exp_avg";
  return engine.SlotSize(tensor, slot) == size ? slot : std::string_view();
}

/// Lets the slow momentum of a tensor meet the fast one, if there is one, in elements [begin, end).
void MeetMomentum(Engine& engine, size_t tensor, std::vector<float>& slow, double alpha,
                  size_t begin, size_t end) {
  const std::string_view slot = MomentumOf(engine, tensor, slow.size());
  if (slot.empty()) return;
  float block[internal::kCodeBlock];
  for (size_t at = begin; at < end; at += internal::kCodeBlock) {
    const std::span<float> fast(block, std::min(internal::kCodeBlock, end - at));
    engine.LoadSlot(tensor, slot, at, fast);
    Meet(slow.data() + at, fast, alpha);
    engine.StoreSlot(tensor, slot, at, fast);
  }
}

}  // namespace

Lookahead::Lookahead(const LookaheadSpec& spec) : spec_(spec) {
  internal::CheckOptions("lookahead.", internal::LookaheadOptions(), spec);
}

void Lookahead::Start(Engine& engine) {
  internal::Arrays slow = internal::CopyParameters(engine), momentum;
  for (size_t i = 0; spec_.state == LookaheadState::kPullback && i < slow.size(); ++i) {
    momentum.emplace_back(slow[i].size());
    const std::string_view slot = MomentumOf(engine, i, slow[i].size());
    if (!slot.empty()) engine.LoadSlot(i, slot, 0, momentum[i]);
  }
  slow_ = std::move(slow);
  momentum_ = std::move(momentum);
}

void Lookahead::After(Engine& engine) {
  if (engine.steps() % spec_.k != 0) return;
  const std::span<const Tensor> tensors = engine.tensors();
  internal::ChangeWeights(engine, [&](size_t i, size_t begin, std::span<float> p) {
    Meet(slow_[i].data() + begin, p, spec_.alpha);
  });
  if (spec_.state == LookaheadState::kPullback) {
    internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
      MeetMomentum(engine, i, momentum_[i], spec_.alpha, begin, end);
    });
  }
  if (spec_.state != LookaheadState::kReset) return;
  for (size_t i = 0; i < tensors.size(); ++i) engine.ResetState(i);
}

const float* Lookahead::Evaluated(size_t index) const {
  return slow_.empty() ? nullptr : slow_[index].data();
}

void Lookahead::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    const std::vector<int64_t>& shape = engine.tensors()[i].shape;
    visitor.Array("slow", std::span(slow_[i]), shape);
    if (!momentum_.empty()) visitor.Array("momentum", std::span(momentum_[i]), shape);
  });
}

const internal::OptionTable<LookaheadSpec>& internal::LookaheadOptions() {
  using L = LookaheadSpec;
  static const OptionTable<L> options = {{.name = "k",
                                          .member = &L::k,
                                          .least = 1,
                                          .most = INT64_MAX,
                                          .doc = "steps from sync to sync",
                                          .role = Role::kCounts},
                                         {.name = "alpha",
                                          .member = &L::alpha,
                                          .low = 0,
                                          .high = 1,
                                          .doc = "step of the slow weights"},
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
                .doc = "unset: none"},
      .make = [](const OptimizerSpec& spec) -> std::unique_ptr<Averager> {
        return spec.lookahead ? std::make_unique<Lookahead>(*spec.lookahead) : nullptr;
      },
      .copies = [](const OptimizerSpec& spec) -> int64_t {
        if (!spec.lookahead) return 0;
        return spec.lookahead->state == LookaheadState::kPullback ? 2 : 1;
      }};
}

}  // namespace kudari
