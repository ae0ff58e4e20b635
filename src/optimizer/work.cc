// What a step works on: gradients are bound, the work is divided, memory is there.
#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/parallel.h"
#include "kudari/error.h"
#include "optimizer/coded.h"
#include "optimizer/impl.h"

namespace kudari {
namespace {

/// The key of random rounding; `salt` tells arrays of a tensor apart.
uint64_t RandomKey(int64_t seed, int64_t step, std::string_view name, uint64_t salt) {
  // FNV-1a over bytes.
  uint64_t key = 0xCBF29CE484222325U;
  const auto add = [&key](uint64_t byte) { key = (key ^ byte) * 0x100000001B3U; };
  for (const char c : name) add(static_cast<unsigned char>(c));
  for (const uint64_t word : {static_cast<uint64_t>(seed), static_cast<uint64_t>(step), salt}) {
    for (int shift = 0; shift < 64; shift += 8) add(word >> shift & 0xFFU);
  }
  return key;
}

}  // namespace

using internal::Format;
using internal::Slotted;

/// Notes where the parameters are. Throws Error, with nothing noted, if one is null or if two
/// overlap; it looks only if one has moved.
void Optimizer::Impl::BindParameters() {
  bool moved = false;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const void* const param = tensor_list[i].param;
    moved = moved || slotted[i].weights.data != param || (param == nullptr && slotted[i].size > 0);
  }
  if (!moved) return;
  std::vector<size_t> order;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const Tensor& t = tensor_list[i];
    if (slotted[i].size == 0) continue;
    if (t.param == nullptr) throw Error("tensor \"" + t.name + "\": param is null");
    order.push_back(i);
  }
  const auto begin = [this](size_t i) { return static_cast<std::byte*>(tensor_list[i].param); };
  const std::less<> before;
  const auto ordered = [&](size_t a, size_t b) { return before(begin(a), begin(b)); };
  if (!std::ranges::is_sorted(order, ordered)) std::ranges::sort(order, ordered);
  for (size_t k = 1; k < order.size(); ++k) {
    const Tensor &first = tensor_list[order[k - 1]], &second = tensor_list[order[k]];
    if (!before(begin(order[k]), begin(order[k - 1]) + internal::BytesOf(first).size())) continue;
    throw Error("tensors \"" + first.name + "\" and \"" + second.name +
                "\" overlap in memory; a parameter that has two names is given once");
  }
  for (size_t i = 0; i < tensor_list.size(); ++i) slotted[i].weights.data = tensor_list[i].param;
}

/// Notes a tensor's gradient; false if it is of another kind than before.
bool Optimizer::Impl::BindGradient(size_t index, const void* gradient, DType type) {
  Slotted& s = slotted[index];
  const Format format = internal::FormatOf(type);
  const bool same = (active[index] != 0) == (gradient != nullptr) && s.gradient.format == format;
  active[index] = gradient != nullptr ? 1 : 0;
  s.gradient = {.format = format, .data = const_cast<void*>(gradient)};  // never written
  return same;
}

/// Notes each tensor's gradient and divides the work anew if other tensors have one than before.
void Optimizer::Impl::BindGradients(std::span<const float* const> data) {
  BindParameters();
  bool same = active.size() == tensor_list.size();
  active.resize(tensor_list.size());
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const Tensor& t = tensor_list[i];
    const bool own = data.empty();
    same = BindGradient(i, own ? t.grad : data[i], own ? t.GradType() : DType::kFloat32) && same;
  }
  if (same) return;
  try {
    AllocateState();
    DivideWork();
    AllocateScratch();
  } catch (...) {
    active.clear();  // nothing is bound
    throw;
  }
}

void Optimizer::Impl::DivideWork() {
  blocks.Clear();
  first.Clear();
  second.Clear();
  united.clear();
  one_by_one.clear();
  side_by_side.clear();
  traffic = {};
  gradient_bytes = 0;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    if (active[i] == 0) continue;
    Slotted& s = slotted[i];
    const RuleEntry& rule = cohorts[s.cohort].rule;
    blocks.AddBlocks(i, s.size);
    gradient_bytes += s.size * static_cast<int64_t>(internal::DataBytes(s.gradient.format));
    if (s.unit > 0) {
      s.units.resize(static_cast<size_t>((s.size + s.unit - 1) / s.unit));
      united.push_back(i);
    }
    if (rule.whole != nullptr && s.size > 0) {
      (s.size <= internal::kSideBySide ? side_by_side : one_by_one).push_back(i);
    } else if (rule.norms == 0 || s.size == 0) {
      first.AddBlocks(i, s.size);
    } else if (s.size <= internal::kTogether) {
      first.Add(i, 0, s.size);
    } else {
      first.AddBlocks(i, s.size);
      second.AddBlocks(i, s.size);
    }
    if (rule.norms > 0) s.adapted.resize(rule.coeff_count);
    const bool penalized = cohorts[s.cohort].penalize != nullptr;
    s.coded = internal::IsCoded(s) || penalized;
    s.fused = s.unit > 0 || penalized || spec.precision.check || !s.coded
                  ? nullptr
                  : internal::CodedKernel(kernels->target, rule, s.weights.format,
                                          s.gradient.format, s.slot_formats);
    const MemoryTraffic t = internal::StepTraffic(rule, tensor_list[i], s);
    traffic.read += t.read;
    traffic.written += t.written;
  }
  partial_sums.resize(blocks.pieces.size());
  measured.resize(first.pieces.size() * RuleEntry::kMostNorms);
}

/// State for the tensors that have a gradient for the first time, all in one allocation.
void Optimizer::Impl::AllocateState() {
  const auto needs = [this](size_t i) { return active[i] != 0 && !slotted[i].has_state; };
  // Calls f(bytes) for the arrays of a tensor in their order.
  const auto for_arrays = [](const Slotted& s, const auto& f) {
    f(internal::MoreBytes(s.weights.format, static_cast<size_t>(s.size)));
    for (size_t k = 0; k < s.slot_sizes.size(); ++k) {
      const auto n = static_cast<size_t>(s.slot_sizes[k]);
      f(n * internal::DataBytes(s.slot_formats[k]));
      f(internal::MoreBytes(s.slot_formats[k], n));
    }
  };
  size_t total = 0;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    if (!needs(i)) continue;
    for_arrays(slotted[i], [&total](size_t bytes) {
      if (bytes > 0) total += internal::Arena::Padded(bytes);
    });
  }
  if (total > 0) arenas.emplace_back(total);
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    if (!needs(i)) continue;
    Slotted& s = slotted[i];
    std::vector<void*> arrays;
    for_arrays(s, [&](size_t bytes) {
      arrays.push_back(bytes > 0 ? arenas.back().Take(bytes) : nullptr);
    });
    s.weights.more = arrays[0];
    for (size_t k = 0; k < s.slot_sizes.size(); ++k) {
      s.state.push_back({s.slot_formats[k], arrays[1 + 2 * k], arrays[2 + 2 * k]});
      ClearSlot(s, k);
    }
    StartMaster(s);
    s.has_state = true;
  }
}

/// Makes a state buffer zero.
void Optimizer::Impl::ClearSlot(Slotted& s, size_t k) {
  const internal::Coded& array = s.state[k];
  const auto n = static_cast<size_t>(s.slot_sizes[k]);
  if (n == 0) return;
  const size_t more = internal::MoreBytes(array.format, n);
  std::memset(array.data, internal::ZeroCode(array.format), n * internal::DataBytes(array.format));
  if (more > 0) std::memset(array.more, 0, more);
}

/// Makes the master what the parameter is.
void Optimizer::Impl::StartMaster(Slotted& s) {
  if (s.weights.more == nullptr) return;
  const internal::Coded visible = internal::Visible(s.weights);
  float block[internal::kCodeBlock];
  const auto size = static_cast<size_t>(s.size);
  for (size_t at = 0; at < size; at += internal::kCodeBlock) {
    const size_t n = std::min(internal::kCodeBlock, size - at);
    codecs->load(visible, at, n, block);
    codecs->store(block, at, n, s.weights);
  }
}

/// Scratch memory of whole rules: as much as the largest tensor needs, and for those side by side
/// as much for every worker.
void Optimizer::Impl::AllocateScratch() {
  const auto most = [this](const std::vector<size_t>& tensors) {
    int64_t n = 0;
    for (const size_t i : tensors) {
      const Slotted& s = slotted[i];
      const auto& whole = *cohorts[s.cohort].rule.whole;
      n = std::max(n, whole.ScratchSize(tensor_list[i].shape) + CopiedSize(s));
    }
    return static_cast<size_t>(n);
  };
  const size_t small = most(side_by_side), large = most(one_by_one);
  scratch.clear();
  scratch_arena.clear();
  if (side_by_side.empty() && one_by_one.empty()) return;
  const auto workers = static_cast<size_t>(internal::Threads(parallel_));
  const size_t size = sizeof(float) * std::max<size_t>(1, small);
  const size_t size0 = std::max(size, sizeof(float) * large);
  scratch_arena.emplace_back(internal::Arena::Padded(size0) +
                             (workers - 1) * internal::Arena::Padded(size));
  for (size_t k = 0; k < workers; ++k) {
    scratch.push_back(static_cast<float*>(scratch_arena.back().Take(k == 0 ? size0 : size)));
  }
}

/// Floats that copies of a tensor of a whole rule need behind the rule's own scratch memory: of
/// what is not float32, and of a gradient that is changed unit by unit or has a penalty added.
int64_t Optimizer::Impl::CopiedSize(const Slotted& s) const {
  const auto copied = [](const internal::Coded& a) { return a.format != Format::kFloat32; };
  const bool changed = s.unit > 0 || cohorts[s.cohort].penalize != nullptr;
  const auto arrays = std::ranges::count_if(s.state, copied) + (copied(s.weights) ? 1 : 0) +
                      (copied(s.gradient) || changed ? 1 : 0);
  return arrays * (s.size + 15) / 16 * 16 + 16;
}

/// Gives the arrays of a tensor their keys of the step being taken.
void Optimizer::Impl::SetKeys(size_t index) {
  Slotted& s = slotted[index];
  const std::string& name = tensor_list[index].name;
  s.weights.key = RandomKey(spec.precision.seed, step_count, name, 0);
  for (size_t k = 0; k < s.state.size(); ++k) {
    s.state[k].key = RandomKey(spec.precision.seed, step_count, name, k + 1);
  }
}

}  // namespace kudari
