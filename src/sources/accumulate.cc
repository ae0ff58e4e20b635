#include <string>

#include "backend/stage_arrays.h"
#include "core/elements.h"
#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

/// The tensors' own gradients after a single call.
Gradient OneCall(const Oracle& oracle) {
  const Evaluation e = oracle(Pass::kPlain);
  if (e.end || e.samples == 0) return {};
  return {.loss = e.loss, .samples = e.samples};
}

}  // namespace

Gradient PlainSource::Compute(Engine& /*engine*/, const Oracle& oracle) { return OneCall(oracle); }

/// The sums, of tensors that have had a gradient.
struct Accumulate::Sums {
  std::vector<internal::Buffer> buffers;  // beside the tensors
  std::vector<const float*> data;         // what there is in this step; null: nothing yet
  std::vector<internal::Combination> additions;

  /// Adds the tensors' gradients times `weight`.
  void Add(const Engine& engine, float weight);
};

void Accumulate::Sums::Add(const Engine& engine, float weight) {
  const std::span<const Tensor> tensors = engine.tensors();
  additions.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto n = static_cast<size_t>(tensors[i].Size());
    if (tensors[i].grad == nullptr || n == 0 || engine.Frozen(i, engine.steps())) continue;
    if (buffers[i].data() == nullptr) buffers[i] = {engine.backend(), n * sizeof(float)};
    const internal::Coded sum = {.data = buffers[i].data()};
    const internal::Coded gradient = internal::GradientOf(tensors[i]);
    if (data[i] == nullptr) {
      additions.push_back({.out = sum, .a = weight, .x = gradient, .b = 0, .y = {}, .n = n});
    } else {
      additions.push_back({.out = sum, .a = 1, .x = sum, .b = weight, .y = gradient, .n = n});
    }
    data[i] = reinterpret_cast<const float*>(buffers[i].data());
  }
  engine.backend().Combine(additions, engine.parallel());
}

Accumulate::Accumulate(int64_t count) : count_(count), sums_(std::make_unique<Sums>()) {
  if (count < 1) throw Error("accumulate = " + std::to_string(count) + " is outside [1, ...]");
}
Accumulate::~Accumulate() = default;

Gradient Accumulate::Compute(Engine& engine, const Oracle& oracle) {
  if (count_ == 1) return OneCall(oracle);
  sums_->buffers.resize(engine.tensors().size());
  sums_->data.assign(engine.tensors().size(), nullptr);
  // The sums are in units of the first batch's samples: equal batches are added as they are.
  double loss = 0, samples = 0, unit = 0;
  for (int64_t calls = 0; calls < count_; ++calls) {
    const Evaluation e = oracle(Pass::kPlain);
    if (e.end) break;
    if (e.samples == 0) continue;
    if (unit == 0) unit = e.samples;
    sums_->Add(engine, static_cast<float>(e.samples / unit));
    loss += e.loss * e.samples;
    samples += e.samples;
  }
  if (samples == 0) return {};
  // A group of one needs no factor: unit / samples is 1, and 1 * g is g.
  return {
      .loss = loss / samples, .samples = samples, .factor = unit / samples, .data = sums_->data};
}

}  // namespace kudari
