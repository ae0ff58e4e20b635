// What an optimiser takes, before it takes it.
#include <algorithm>

#include "kernels/parallel.h"
#include "optimizer/coded.h"
#include "optimizer/impl.h"

namespace kudari {

using internal::Slotted;

int64_t MemoryPlan::Total() const {
  int64_t total = accumulated + averages + source + scratch;
  for (const TensorBytes& t : tensors) {
    total += t.weights + t.gradient + t.master;
    for (const auto& [slot, bytes] : t.state) total += bytes;
  }
  return total;
}

namespace internal {

MemoryTraffic StepTraffic(const RuleEntry& rule, const Tensor& tensor, const Slotted& s) {
  MemoryTraffic t = rule.Traffic(tensor.shape);
  const auto n = static_cast<size_t>(s.size);
  const auto read = [n](const Coded& a) {
    return static_cast<int64_t>(n * DataBytes(a.format) + MoreBytes(a.format, n));
  };
  const auto written = read;
  // What is done unit by unit looks at the gradient before, and clipping at the weights.
  if (s.unit > 0) t.read += read(s.gradient) + (s.clips ? read(s.weights) : 0);
  if (!s.coded) return t;
  if (rule.whole != nullptr) {
    // Copies in float32 are made and taken back.
    const auto copied = [](const Coded& a) { return a.format != Format::kFloat32; };
    for (const Coded& array : s.state) {
      if (!copied(array)) continue;
      t.read += read(array);
      t.written += written(array);
    }
    if (copied(s.gradient)) t.read += read(s.gradient);
    if (copied(s.weights)) {
      t.read += read(s.weights);
      t.written += written(s.weights);
    }
    return t;
  }
  // A pass in float32 reads p, g and state. Of two, one leaves out the gradient or the state; here
  // none does if the first is to update the state.
  const auto floats = s.size * static_cast<int64_t>(sizeof(float));
  const bool twice = UpdatesTwice(rule);
  const int64_t passes = rule.norms > 0 ? 2 : 1;
  if (twice) t.read += floats;
  t.read += passes * (read(s.weights) + read(s.gradient) - 2 * floats);
  t.written += written(s.weights) - floats;
  for (size_t k = 0; k < s.state.size(); ++k) {
    t.read += (twice ? 2 : 1) * (read(s.state[k]) - floats);
    if (k < rule.StoredSlots()) t.written += written(s.state[k]) - floats;
  }
  return t;
}

}  // namespace internal

namespace {

/// What the source of a spec keeps for a tensor.
int64_t SourceBytes(const OptimizerSpec& spec, const TensorBytes& tensor) {
  constexpr int64_t kFloat = sizeof(float);
  if (spec.source == "plain") return 0;
  if (spec.source == "gsam") return tensor.weights + kFloat * tensor.elements;
  if (spec.source != "looksam" && spec.source != "look_layersam") return tensor.weights;
  const bool half = spec.sharpness->direction == StateFormat::kBFloat16;
  return (kFloat + (half ? 2 : kFloat)) * tensor.elements;
}

}  // namespace

MemoryPlan Optimizer::Memory() const {
  const Impl& impl = *impl_;
  const OptimizerSpec& spec = impl.spec;
  MemoryPlan plan;
  int64_t elements = 0, largest = 0, small = 0;
  for (size_t i = 0; i < impl.tensor_list.size(); ++i) {
    const Tensor& tensor = impl.tensor_list[i];
    const RuleEntry& rule = impl.cohorts[impl.slotted[i].cohort].rule;
    // As after the first step.
    Slotted s = impl.slotted[i];
    s.gradient.format =
        spec.accumulate > 1 ? internal::Format::kFloat32 : internal::FormatOf(tensor.GradType());
    s.state.clear();
    for (const internal::Format format : s.slot_formats) s.state.push_back({.format = format});
    s.coded = internal::IsCoded(s) || impl.cohorts[s.cohort].penalize != nullptr;

    const auto n = static_cast<size_t>(s.size);
    TensorBytes bytes{.name = tensor.name,
                      .elements = s.size,
                      .weights = s.size * Bytes(tensor.dtype),
                      .gradient = s.size * Bytes(tensor.GradType()),
                      .master = static_cast<int64_t>(internal::MoreBytes(s.weights.format, n))};
    for (size_t k = 0; k < s.slot_sizes.size(); ++k) {
      const auto size = static_cast<size_t>(s.slot_sizes[k]);
      const internal::Format format = s.slot_formats[k];
      bytes.state.emplace_back(rule.slots[k],
                               static_cast<int64_t>(size * internal::DataBytes(format) +
                                                    internal::MoreBytes(format, size)));
    }
    elements += s.size;
    plan.source += SourceBytes(spec, bytes);
    plan.tensors.push_back(std::move(bytes));

    const MemoryTraffic traffic = internal::StepTraffic(rule, tensor, s);
    plan.bytes_read += traffic.read;
    plan.bytes_written += traffic.written;
    if (!impl.scales.empty() || spec.measure_norm || spec.nonfinite != NonFinite::kPropagate) {
      plan.bytes_read += s.size * static_cast<int64_t>(internal::DataBytes(s.gradient.format));
    }
    if (rule.whole != nullptr && s.size > 0) {
      int64_t& most = s.size <= internal::kSideBySide ? small : largest;
      most = std::max(most, rule.whole->ScratchSize(tensor.shape) + impl.CopiedSize(s));
    }
  }
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  if (spec.accumulate > 1) plan.accumulated = elements * kFloat;
  int64_t copies = (spec.ema ? 1 : 0) + (spec.swa ? 1 : 0);
  if (spec.lookahead) copies += spec.lookahead->state == LookaheadState::kPullback ? 2 : 1;
  plan.averages = copies * elements * kFloat;
  if (small > 0 || largest > 0) {
    const int64_t others = internal::Threads(impl.parallel_) - 1;
    plan.scratch = (std::max(small, largest) + others * small) * kFloat;
  }
  return plan;
}

}  // namespace kudari
