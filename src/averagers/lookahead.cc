#include "averagers/averagers.h"
#include "core/elements.h"
#include "kudari/registry.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

/// Moves the slow values by alpha towards the fast ones, and these to where the slow ones are then.
/// In double, rounded once: exact for an alpha of 0 or 1, and values that agree stay.
void Meet(float* slow, float* fast, double alpha, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const double met = (1 - alpha) * static_cast<double>(slow[i]) + alpha * fast[i];
    slow[i] = fast[i] = static_cast<float>(met);
  }
}

/// The momentum of a tensor; empty if its rule has none or it has had no update.
std::span<float> Momentum(Engine& engine, size_t tensor) {
  const std::span<float> buffer = engine.Buffer(tensor, "momentum_buffer");
  return buffer.empty() ? engine.Buffer(tensor, "exp_avg") : buffer;
}

}  // namespace

Lookahead::Lookahead(const LookaheadSpec& spec) : spec_(spec) {
  internal::CheckCount("lookahead.k", spec.k, 1);
  CheckRange("lookahead.alpha", spec.alpha, 0, 1);
}

void Lookahead::Start(Engine& engine) {
  slow_ = internal::CopyParameters(engine);
  if (spec_.state != LookaheadState::kPullback) return;
  momentum_.clear();
  for (const auto& slow : slow_) momentum_.emplace_back(slow.size());
}

void Lookahead::After(Engine& engine) {
  if (engine.steps() % spec_.k != 0) return;
  const std::span<const Tensor> tensors = engine.tensors();
  const bool pullback = spec_.state == LookaheadState::kPullback;
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    Meet(slow_[i].data(), static_cast<float*>(tensors[i].param), spec_.alpha, begin, end);
    if (!pullback) return;
    const std::span<float> momentum = Momentum(engine, i);
    if (momentum.size() != momentum_[i].size()) return;
    Meet(momentum_[i].data(), momentum.data(), spec_.alpha, begin, end);
  });
  if (spec_.state != LookaheadState::kReset) return;
  for (size_t i = 0; i < tensors.size(); ++i) engine.ResetState(i);
}

const float* Lookahead::Evaluated(size_t index) const {
  return slow_.empty() ? nullptr : slow_[index].data();
}

std::map<std::string, std::vector<float>> Lookahead::State(const Engine& engine) const {
  internal::AveragerState state;
  internal::Save(engine, "slow", slow_, state);
  internal::Save(engine, "momentum", momentum_, state);
  return state;
}

void Lookahead::LoadState(const Engine& engine,
                          const std::map<std::string, std::vector<float>>& state) {
  if (spec_.state == LookaheadState::kPullback) {
    internal::CheckState(engine, "lookahead", {"slow", "momentum"}, false, state);
  } else {
    internal::CheckState(engine, "lookahead", {"slow"}, false, state);
  }
  internal::Load(engine, "slow", state, slow_);
  internal::Load(engine, "momentum", state, momentum_);
}

}  // namespace kudari
