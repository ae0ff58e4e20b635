// What an optimiser takes, before it takes it.
#include <algorithm>

#include "kudari/parallel.h"
#include "optimizer/impl.h"
#include "optimizer/spec_options.h"

namespace kudari {

using internal::TensorRecord;

int64_t MemoryPlan::Total() const {
  int64_t total = accumulated + averages + source + scratch;
  for (const TensorBytes& t : tensors) {
    total += t.weights + t.gradient + t.master;
    for (const auto& [slot, bytes] : t.state) total += bytes;
  }
  return total;
}

namespace internal {

MemoryTraffic StepTraffic(const RuleEntry& rule, const Tensor& tensor, const TensorRecord& s,
                          Format gradient, bool coded) {
  MemoryTraffic t = rule.Traffic(tensor.shape);
  const auto n = static_cast<size_t>(s.size);
  const auto read = [n](Format format) {
    return static_cast<int64_t>(n * DataBytes(format) + CompanionBytes(format, n));
  };
  const auto written = read;
  const Format weights = s.storage->weights;
  const std::vector<Format>& slots = s.storage->slots;
  // What is done unit by unit looks at the gradient before, and clipping at the weights.
  if (s.Unit() > 0) t.read += read(gradient) + (s.clips ? read(weights) : 0);
  if (weights == Format::kFloat64) return {2 * t.read, 2 * t.written};
  if (!coded) return t;
  if (rule.whole != nullptr) {
    // Copies in float32 are made and taken back.
    const auto copied = [](Format format) { return format != Format::kFloat32; };
    for (const Format slot : slots) {
      if (!copied(slot)) continue;
      t.read += read(slot);
      t.written += written(slot);
    }
    if (copied(gradient)) t.read += read(gradient);
    if (copied(weights)) {
      t.read += read(weights);
      t.written += written(weights);
    }
    return t;
  }
  // A pass in float32 reads p, g and state. Of two, one leaves out the gradient or the state; here
  // none does if the first is to update the state.
  const auto floats = s.size * static_cast<int64_t>(sizeof(float));
  const bool twice = UpdatesTwice(rule);
  const int64_t passes = rule.norms > 0 ? 2 : 1;
  if (twice) t.read += floats;
  t.read += passes * (read(weights) + read(gradient) - 2 * floats);
  t.written += written(weights) - floats;
  for (size_t k = 0; k < slots.size(); ++k) {
    t.read += (twice ? 2 : 1) * (read(slots[k]) - floats);
    if (k < rule.StoredSlots()) t.written += written(slots[k]) - floats;
  }
  return t;
}

}  // namespace internal

MemoryPlan Optimizer::Memory() const {
  const Impl& impl = *impl_;
  const OptimizerSpec& spec = impl.spec;
  MemoryPlan plan;
  const internal::SourceEntry& source = internal::FindSource(spec.source);
  int64_t elements = 0, largest = 0, small = 0;
  for (size_t i = 0; i < impl.tensor_list.size(); ++i) {
    const Tensor& tensor = impl.tensor_list[i];
    const RuleEntry& rule = impl.cohorts[impl.records[i].cohort].rule;
    // As after the first step.
    const TensorRecord& s = impl.records[i];
    const internal::Format gradient =
        spec.accumulate > 1 ? internal::Format::kFloat32 : internal::FormatOf(tensor.GradType());
    const bool coded =
        internal::IsCoded(*s.storage, gradient) || impl.cohorts[s.cohort].penalize != nullptr;

    const auto n = static_cast<size_t>(s.size);
    TensorBytes bytes{
        .name = tensor.name,
        .elements = s.size,
        .weights = s.size * Bytes(tensor.dtype),
        .gradient = s.size * Bytes(tensor.GradType()),
        .master = static_cast<int64_t>(internal::CompanionBytes(s.storage->weights, n))};
    elements += s.size;
    plan.source += source.bytes(spec, bytes.weights, bytes.elements);
    if (impl.cohorts[s.cohort].frozen_until == internal::kNever) {  // nothing is ever allocated
      bytes.master = 0;
      plan.tensors.push_back(std::move(bytes));
      continue;
    }
    for (size_t k = 0; k < s.storage->slots.size(); ++k) {
      const size_t size = s.SlotSize(k);
      const internal::Format format = s.storage->slots[k];
      bytes.state.emplace_back(rule.slots[k],
                               static_cast<int64_t>(size * internal::DataBytes(format) +
                                                    internal::CompanionBytes(format, size)));
    }
    plan.accumulated += internal::Accumulation().bytes(spec, bytes.weights, bytes.elements);
    plan.tensors.push_back(std::move(bytes));

    const MemoryTraffic traffic = internal::StepTraffic(rule, tensor, s, gradient, coded);
    plan.bytes_read += traffic.read;
    plan.bytes_written += traffic.written;
    if (!impl.scales.empty() || spec.measure_norm || spec.nonfinite != NonFinite::kPropagate) {
      plan.bytes_read += s.size * static_cast<int64_t>(internal::DataBytes(gradient));
    }
    if (rule.whole != nullptr && s.size > 0) {
      int64_t& most = s.size <= internal::kSideBySide ? small : largest;
      most = std::max(most, rule.whole->ScratchSize(tensor.shape) + impl.CopiedSize(s, gradient));
    }
  }
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  for (const internal::AveragerEntry& averager : internal::Averagers()) {
    plan.averages += averager.copies(spec) * elements * kFloat;
  }
  if (small > 0 || largest > 0) {
    const int64_t others = Threads(impl.parallel_) - 1;
    plan.scratch = (std::max(small, largest) + others * small) * kFloat;
  }
  return plan;
}

}  // namespace kudari
