// What a step works on: gradients are bound, the work is divided, memory is there.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/parallel.h"
#include "optimizer/impl.h"
#include "optimizer/tensor_checks.h"

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

/// Calls f(bytes) for what a tensor has since its first gradient, in its order in memory: what the
/// master has, then the state.
template <class F>
void ForArrays(const internal::TensorRecord& s, const F& f) {
  f(internal::CompanionBytes(s.storage->weights, static_cast<size_t>(s.size)));
  const std::vector<internal::Format>& slots = s.storage->slots;
  for (size_t k = 0; k < slots.size(); ++k) {
    f(s.SlotSize(k) * internal::DataBytes(slots[k]));
    f(internal::CompanionBytes(slots[k], s.SlotSize(k)));
  }
}

}  // namespace

void internal::AddArrays(const TensorRecord& s, StateMemory::Needs& needs) {
  ForArrays(s, [&needs](size_t bytes) { Arena::Place(bytes, needs.bytes); });
  needs.arrays += s.storage->slots.size();
}

using internal::Cohort;
using internal::Format;
using internal::TensorRecord;

/// Notes where the parameters are. Throws Error, with nothing noted, if one is null or if two
/// overlap; it looks only if one has moved.
void Optimizer::Impl::BindParameters() {
  bool moved = false;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const void* const param = tensor_list[i].param;
    moved = moved || records[i].param != param || (param == nullptr && records[i].size > 0) ||
            tensor_list[i].backend != users_backend;
  }
  if (!moved) return;
  internal::CheckMemory(tensor_list, users_backend);
  for (size_t i = 0; i < tensor_list.size(); ++i) records[i].param = tensor_list[i].param;
}

/// Notes a tensor's gradient; false if it is of another kind than before.
bool Optimizer::Impl::BindGradient(size_t index, const void* gradient, DType type, bool of_rows) {
  TensorRecord& s = records[index];
  const Format format = internal::FormatOf(type);
  const bool same = (s.gradient != nullptr) == (gradient != nullptr) &&
                    s.gradient_format == format && s.by_rows == of_rows;
  s.by_rows = of_rows;
  s.gradient = gradient;
  s.gradient_format = format;
  return same;
}

/// Notes each tensor's gradient and divides the work again if other tensors have one than before.
void Optimizer::Impl::BindGradients(std::span<const float* const> data) {
  bool same = divided, moved = false;
  divided = false;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const Tensor& t = tensor_list[i];
    const bool own = data.empty();
    const void* const gradient = Frozen(i, step_count) ? nullptr : own ? t.grad : data[i];
    same = BindGradient(i, gradient, own ? t.GradType() : DType::kFloat32,
                        own && t.grad_rows.has_value()) &&
           same;
    moved = moved || t.param != records[i].param || t.backend != users_backend;
  }
  if (moved) BindParameters();
  if (!same) {
    active.clear();
    for (size_t i = 0; i < tensor_list.size(); ++i) {
      if (records[i].gradient != nullptr && records[i].owned)
        active.push_back(static_cast<uint32_t>(i));
    }
    Divide();
  } else if (!by_rows.empty()) {
    for (const size_t i : by_rows) CheckRows(i);
    DivideRows();
  }
  divided = true;
}

/// Throws Error if the gradient of an active tensor is of float64 and the tensor is not, or the
/// reverse, or if it is of rows that the tensor does not take.
void Optimizer::Impl::CheckGradients() const {
  for (const size_t i : active) {
    const TensorRecord& s = records[i];
    if (s.by_rows) CheckRows(i);
    const bool of_gradient = s.gradient_format == Format::kFloat64;
    if (cohorts[s.cohort].float64 == of_gradient) continue;
    throw Error("tensor \"" + tensor_list[i].name + "\" is " +
                std::string(Name(tensor_list[i].dtype)) + ", and its gradient is " +
                (of_gradient ? "float64" : "not") + "; both must be float64 or neither");
  }
}

/// Makes what a step of the active tensors works on.
void Optimizer::Impl::Divide() {
  CheckGradients();
  AllocateState();
  DivideWork();
  AllocateScratch();
}

void Optimizer::Impl::DivideWork() {
  blocks.Clear();
  first.Clear();
  second.Clear();
  by_unit.clear();
  by_rows.clear();
  one_by_one.clear();
  side_by_side.clear();
  remembering.clear();
  trusting.clear();
  traffic = {};
  gradient_bytes = 0;
  for (const size_t i : active) {
    TensorRecord& s = records[i];
    const Cohort& c = cohorts[s.cohort];
    const RuleEntry& rule = c.rule;
    if (s.by_rows) {
      by_rows.push_back(i);
      continue;
    }
    gradient_bytes += s.size * static_cast<int64_t>(internal::DataBytes(s.gradient_format));
    if (s.Unit() > 0) {
      s.extra->units.resize(static_cast<size_t>((s.size + s.Unit() - 1) / s.Unit()));
      by_unit.push_back(i);
    }
    if (rule.whole != nullptr && s.size > 0) {
      (s.size <= internal::kSideBySide ? side_by_side : one_by_one).push_back(i);
    } else if (rule.norms == 0 || s.size == 0) {
      first.AddBlocks(i, s.size);
    } else if (s.size <= internal::kLargestPiece) {
      first.Add(i, 0, s.size);
    } else {
      first.AddBlocks(i, s.size);
      second.AddBlocks(i, s.size);
    }
    if (rule.norms > 0 && c.float64) s.extra->exact.resize(rule.coeff_count);
    if (rule.norms > 0 && !c.float64) s.extra->adapted.resize(rule.coeff_count);
    if (!rule.memory.empty()) remembering.push_back(i);
    if (c.adapts && rule.trust != nullptr && s.size > 0) trusting.push_back(i);
    s.coded = internal::IsCoded(*s.storage, s.gradient_format) || c.penalized;
    backend_->Choose(c, spec.precision.check, s);
    const MemoryTraffic t =
        internal::StepTraffic(rule, tensor_list[i], s, s.gradient_format, s.coded);
    traffic.read += t.read;
    traffic.written += t.written;
  }
  DivideRows();
  measured.resize(second.pieces.empty() ? 0 : first.pieces.size() * RuleEntry::kMostNorms);
  numerics.reserve(spec.precision.check ? active.size() : 0);
  trust.reserve(trusting.size());
}

/// The work of the gradients of rows.
void Optimizer::Impl::DivideRows() {
  rows.Clear();
  row_traffic = {};
  row_bytes = 0;
  for (const size_t i : by_rows) {
    const Tensor& t = tensor_list[i];
    const int64_t size = internal::GradientSize(t), row = internal::RowSize(t);
    if (size == 0) continue;
    const int64_t most = std::max<int64_t>(1, internal::kBlock / row) * row;
    for (int64_t begin = 0; begin < size; begin += most) {
      rows.Add(i, begin, std::min(most, size - begin));
    }
    const std::vector<int64_t> shape = {size};
    const MemoryTraffic floats = cohorts[records[i].cohort].rule.Traffic(shape);
    const int64_t width = t.dtype == DType::kFloat64 ? 2 : 1;
    row_traffic.read += width * floats.read;
    row_traffic.written += width * floats.written;
    row_bytes += size * Bytes(t.dtype);
  }
  if (!by_rows.empty()) blocks.Clear();
}

/// Throws Error unless a tensor takes its gradient of rows.
void Optimizer::Impl::CheckRows(size_t index) const {
  const Tensor& t = tensor_list[index];
  const TensorRecord& s = records[index];
  const Cohort& c = cohorts[s.cohort];
  const std::string what = "tensor \"" + t.name + "\" has a gradient of some rows; ";
  if (!c.rule.rows) {
    throw Error(what + "sgd, adagrad and sparse_adam take one, and " + c.rule.name +
                " changes all rows in every step");
  }
  for (size_t k = 0; k < c.values.size(); ++k) {
    const std::string& option = c.rule.options[k].name;
    const bool of_all = option == "weight_decay" || option == "initial_accumulator_value";
    if (!of_all || c.values[k] == 0) continue;
    throw Error(what + option + " = " + NumberText(c.values[k]) +
                " is of all rows and must be 0 (" + c.rule.name + ")");
  }
  if (c.penalized) throw Error(what + "the penalties l1 and l2 are of all rows and must be 0");
  if (s.Unit() > 0) throw Error(what + "agc and centralize need whole gradients");
  if (!c.float64 && internal::IsCoded(*s.storage, s.gradient_format)) {
    throw Error(what +
                "parameter, gradient and state must then be float32, or float64 all of them");
  }
  if (t.shape.empty()) throw Error(what + "it has no dimension of rows");
  if (internal::RowSize(t) > std::numeric_limits<int32_t>::max()) {
    throw Error(what + "a row must have less than 2^31 elements");
  }
  int64_t before = -1;
  for (const int64_t row : *t.grad_rows) {
    if (before < row && row < t.shape[0]) {
      before = row;
      continue;
    }
    throw Error(what + "row " + std::to_string(row) + " comes behind " + std::to_string(before) +
                ", but rows must ascend, in [0, " + std::to_string(t.shape[0]) + ")");
  }
}

/// The blocks that the global norm is summed over.
void Optimizer::Impl::DivideBlocks() {
  if (!blocks.pieces.empty()) return;
  const auto size = [this](size_t i) {
    return records[i].by_rows ? internal::GradientSize(tensor_list[i]) : records[i].size;
  };
  size_t count = 0, all = 0;
  for (const size_t i : active) count += internal::BlocksOf(size(i));
  for (const TensorRecord& s : records) all += internal::BlocksOf(s.size);
  blocks.pieces.reserve(count);
  partial_sums.resize(count);
  if (sum_over_processes != nullptr) all_sums.resize(all);
  for (const size_t i : active) blocks.AddBlocks(i, size(i));
}

/// State for the tensors that have a gradient for the first time, all in one allocation.
void Optimizer::Impl::AllocateState() {
  internal::StateMemory::Needs needs;
  bool any = false;
  for (const size_t i : active) {
    if (records[i].has_state) continue;
    internal::AddArrays(records[i], needs);
    any = true;
  }
  if (!any) return;
  internal::StateMemory& memory = state_memory.emplace_back(*backend_, needs);
  for (const size_t i : active) {
    if (!records[i].has_state) PlaceState(records[i], memory);
  }
}

/// Gives a tensor its master and its state, as they are before the first update, in memory that has
/// room for AddArrays.
void Optimizer::Impl::PlaceState(TensorRecord& s, internal::StateMemory& memory) {
  s.arrays = memory.TakeList(s.storage->slots.size());
  size_t index = 0;
  ForArrays(s, [&](size_t bytes) {
    void* const array = memory.arena().Take(bytes);
    if (index == 0) {
      s.master = array;
    } else if (index % 2 == 1) {
      s.arrays[index / 2].data = array;
    } else {
      s.arrays[index / 2 - 1].companion = array;
    }
    ++index;
  });
  s.has_state = true;
  for (size_t k = 0; k < s.Slots(); ++k) ClearSlot(s, k);
  StartMaster(s);
}

/// Makes a state buffer zero.
void Optimizer::Impl::ClearSlot(TensorRecord& s, size_t k) {
  const internal::Coded array = s.State(k);
  const size_t n = s.SlotSize(k);
  if (n == 0) return;
  backend_->Fill(array.data, internal::ZeroCode(array.format),
                 n * internal::DataBytes(array.format));
  backend_->Fill(array.companion, 0, internal::CompanionBytes(array.format, n));
}

/// Makes a state buffer what the parameter is.
void Optimizer::Impl::FillWithWeights(TensorRecord& s, size_t k) {
  const internal::ArrayPair pair = {s.State(k), internal::Visible(s.Weights()), s.SlotSize(k)};
  backend_->Convert(std::span(&pair, 1), parallel_);
}

/// Makes the master what the parameter is.
void Optimizer::Impl::StartMaster(TensorRecord& s) {
  if (s.master == nullptr) return;
  const internal::Coded weights = s.Weights();
  const internal::ArrayPair pair = {weights, internal::Visible(weights),
                                    static_cast<size_t>(s.size)};
  backend_->Convert(std::span(&pair, 1), parallel_);
}

/// Scratch memory of whole rules: as much as the largest tensor needs, and for those side by side
/// as much for every worker.
void Optimizer::Impl::AllocateScratch() {
  const auto most = [this](const std::vector<size_t>& tensors) {
    int64_t n = 0;
    for (const size_t i : tensors) {
      const TensorRecord& s = records[i];
      const auto& whole = *cohorts[s.cohort].rule.whole;
      n = std::max(n, whole.ScratchSize(tensor_list[i].shape) + CopiedSize(s, s.gradient_format));
    }
    return static_cast<size_t>(n);
  };
  const size_t small = most(side_by_side), large = most(one_by_one);
  scratch.clear();
  scratch_arena.clear();
  if (side_by_side.empty() && one_by_one.empty()) return;
  const auto workers = static_cast<size_t>(Threads(parallel_));
  const size_t size = sizeof(float) * std::max<size_t>(16, small);
  const size_t size0 = std::max(size, sizeof(float) * large);
  size_t total = 0;
  for (size_t k = 0; k < workers; ++k) internal::Arena::Place(k == 0 ? size0 : size, total);
  scratch_arena.emplace_back(*backend_, total);
  for (size_t k = 0; k < workers; ++k) {
    scratch.push_back(static_cast<float*>(scratch_arena.back().Take(k == 0 ? size0 : size)));
  }
}

/// Floats that copies of a tensor of a whole rule need behind the rule's own scratch memory: of
/// what is not float32, and of a gradient that is changed unit by unit or has a penalty added.
int64_t Optimizer::Impl::CopiedSize(const TensorRecord& s, Format gradient) const {
  const auto copied = [](Format format) { return format != Format::kFloat32; };
  const bool changed = s.Unit() > 0 || cohorts[s.cohort].penalized;
  const auto arrays = std::ranges::count_if(s.storage->slots, copied) +
                      (copied(s.storage->weights) ? 1 : 0) + (copied(gradient) || changed ? 1 : 0);
  return arrays * (s.size + 15) / 16 * 16 + 16;
}

/// Gives the arrays of a tensor their keys of the step being taken.
void Optimizer::Impl::SetKeys(size_t index) {
  TensorRecord& s = records[index];
  for (size_t k = 0; k <= s.Slots(); ++k) {
    s.extra->keys[k] = RandomKey(spec.precision.seed, step_count, tensor_list[index].name, k);
  }
}

}  // namespace kudari
