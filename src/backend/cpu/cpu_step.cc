// The passes of a step over host memory.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <utility>

#include "backend/cpu/coded_blocks.h"
#include "backend/cpu/cpu.h"
#include "core/elements.h"
#include "kudari/parallel.h"

namespace kudari {
namespace internal {
namespace {

/// Makes denormal numbers among elements [begin, begin + size) of a state array zero.
void FlushArray(const KernelSet& kernels, const Coded& array, int64_t begin, int64_t size) {
  if (array.format == Format::kFloat32) {
    kernels.flush(static_cast<float*>(array.data) + begin, static_cast<size_t>(size));
  } else if (array.format == Format::kFloat64) {
    auto* const values = static_cast<double*>(array.data) + begin;
    std::replace_if(
        values, values + size,
        [](double x) { return std::abs(x) < std::numeric_limits<double>::min(); }, 0.0);
  } else if (array.format == Format::kBFloat16 || array.format == Format::kBFloat16Random) {
    auto* const codes = static_cast<uint16_t*>(array.data) + begin;
    std::transform(codes, codes + size, codes,
                   [](uint16_t x) { return static_cast<uint16_t>((x & 0x7F80U) == 0 ? 0 : x); });
  }
}

/// Whether the tensor's state is flushed in this update. Moments of an element without gradients
/// end as denormal numbers, which make each pass over them twice as long; looking every few
/// updates, while the state is in the cache, costs next to nothing.
bool FlushNow(const TensorRecord& s) {
  constexpr int64_t kEvery = 64;
  return s.step % kEvery == 0;
}

void Flush(const KernelSet& kernels, const TensorRecord& s, int64_t begin, int64_t size) {
  if (!FlushNow(s)) return;
  for (size_t k = 0; k < s.Slots(); ++k) FlushArray(kernels, s.State(k), begin, size);
}

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kSmallestShare = 16384;

/// The arrays of a pass over a piece, and the same in the order of KernelFn's `next`.
struct Pointers {
  float* state[RuleEntry::kMostSlots];
  const float* all[2 + RuleEntry::kMostSlots];  // p, g, state
  float* p;

  /// Of a tensor that is not coded.
  void Point(const TensorRecord& s, int64_t begin) {
    p = static_cast<float*>(s.param) + begin;
    const float* const g = static_cast<const float*>(s.gradient) + begin;
    Set(p, g, s.Slots(), [&](size_t k) { return static_cast<float*>(s.arrays[k].data) + begin; });
  }
  template <class F>
  void Set(float* the_p, const float* g, size_t slots, const F& slot) {
    all[0] = p = the_p;
    all[1] = g;
    for (size_t k = 0; k < slots; ++k) all[2 + k] = state[k] = slot(k);
  }
};

/// Calls f(form, offset, count) for the parts of [begin, begin + n) that have one form, `offset`
/// counted from begin.
template <class F>
void ForForms(const TensorRecord& s, const GradientForm<float>& form, int64_t begin, int64_t n,
              const F& f) {
  const int64_t unit = s.Unit();
  if (unit == 0) return f(form, 0, n);
  for (int64_t at = begin; at < begin + n;) {
    const int64_t index = at / unit;
    const int64_t end = std::min(begin + n, (index + 1) * unit);
    f(s.extra->units[static_cast<size_t>(index)], at - begin, end - at);
    at = end;
  }
}

/// The gradient of a range of at most kCodeBlock elements as the rule is to see it, and what is
/// still to be done to it: with a penalty nothing, without one everything.
class SeenGradient {
 public:
  SeenGradient(const Cohort& c, const GradientForm<float>& form, const float* p, const float* g,
               size_t n)
      : form_(c.penalize == nullptr ? form : kAsItIs), data_(c.penalize == nullptr ? g : block_) {
    if (c.penalize != nullptr) {
      c.penalize(form, static_cast<float>(c.l1_now), static_cast<float>(c.l2_now), p, g, n, block_);
    }
  }
  const GradientForm<float>& form() const { return form_; }
  const float* data() const { return data_; }

 private:
  static constexpr GradientForm<float> kAsItIs = {};
  const GradientForm<float>& form_;
  const float* data_;
  float block_[kCodeBlock];
};

/// What a kernel prefetches, see KernelFn.
struct Ahead {
  const float* const* next = nullptr;
  size_t distance = 0;
};

/// The rule's update of a range in float32.
void UpdateRange(const Cohort& c, const TensorRecord& s, const float* coeffs, const Pointers& at,
                 int64_t begin, int64_t size, const GradientForm<float>& form, const Ahead& ahead) {
  ForForms(s, form, begin, size, [&](const GradientForm<float>& f, int64_t offset, int64_t n) {
    float* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = at.state[k] + offset;
    const auto count = static_cast<size_t>(n);
    const SeenGradient g(c, f, at.p + offset, at.all[1] + offset, count);
    if (c.kernels.update != nullptr) {
      c.kernels.update(coeffs, g.form(), at.p + offset, g.data(), state, count,
                       offset + n == size ? ahead.next : nullptr, ahead.distance);
    } else {
      c.rule.scalar.update(coeffs, g.form(), at.p + offset, g.data(), state, count);
    }
  });
}

/// The first pass of a rule with norms over a range in float32; the squares are added to `lanes`.
/// `touch`: the kernel is to fetch the state.
void MeasureRange(const Cohort& c, const TensorRecord& s, const float* coeffs, const Pointers& at,
                  int64_t begin, int64_t size, const GradientForm<float>& form, bool touch,
                  const Ahead& ahead, double* lanes) {
  ForForms(s, form, begin, size, [&](const GradientForm<float>& f, int64_t offset, int64_t n) {
    float* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = at.state[k] + offset;
    const auto count = static_cast<size_t>(n);
    const SeenGradient g(c, f, at.p + offset, at.all[1] + offset, count);
    if (c.kernels.measure != nullptr) {
      c.kernels.measure(coeffs, g.form(), at.p + offset, g.data(), touch ? state : nullptr, count,
                        offset + n == size ? ahead.next : nullptr, ahead.distance, lanes);
    } else {
      c.rule.scalar.measure(coeffs, g.form(), at.p + offset, g.data(), state, count, lanes);
    }
  });
}

}  // namespace

/// What every pass over a piece is given.
struct PassOver {
  const Cohort& c;
  TensorRecord& s;
  const float* coeffs;
  const Codecs& codecs;
  bool check;
};

namespace {

/// Calls f(form, p, g, state, count) for the parts of elements [begin, begin + size) of a tensor of
/// float64: for all together or, with a penalty, for blocks whose gradients have it.
template <class F>
void ForDoubles(const PassOver& pass, int64_t begin, int64_t size, const F& f) {
  const Cohort& c = pass.c;
  const TensorRecord& s = pass.s;
  const bool penalized = c.exact_penalize != nullptr;
  const int64_t most = penalized ? static_cast<int64_t>(kCodeBlock) : size;
  for (int64_t at = begin; at < begin + size; at += most) {
    const auto n = static_cast<size_t>(std::min(most, begin + size - at));
    double* const p = static_cast<double*>(s.param) + at;
    const double* const g = static_cast<const double*>(s.gradient) + at;
    double* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = static_cast<double*>(s.arrays[k].data) + at;
    if (!penalized) {
      f(c.exact_form, p, g, state, n);
      continue;
    }
    double seen[kCodeBlock];
    c.exact_penalize(c.exact_form, c.l1_now, c.l2_now, p, g, n, seen);
    f(GradientForm<double>(), p, seen, state, n);
  }
}

/// The rule's update of one piece of a tensor of float64.
void UpdateDoubles(const PassOver& pass, int64_t begin, int64_t size) {
  const Cohort& c = pass.c;
  const TensorRecord& s = pass.s;
  const double* const coeffs =
      c.rule.norms > 0 ? s.extra->exact.data() : c.ExactAt(s.step, s.Memory());
  ForDoubles(pass, begin, size,
             [&](const GradientForm<double>& form, double* p, const double* g, double* const* state,
                 size_t n) { c.exact_passes.update(coeffs, form, p, g, state, n); });
}

/// The first pass of a rule with norms over one piece of a tensor of float64.
void MeasureDoubles(const PassOver& pass, int64_t begin, int64_t size, double* lanes) {
  const Cohort& c = pass.c;
  const double* const coeffs = c.ExactAt(pass.s.step, pass.s.Memory());
  ForDoubles(pass, begin, size,
             [&](const GradientForm<double>& form, double* p, const double* g, double* const* state,
                 size_t n) { c.exact_passes.measure(coeffs, form, p, g, state, n, lanes); });
}

/// The rule's update of one piece of a coded tensor.
void UpdateCoded(const PassOver& pass, int64_t begin, int64_t size) {
  const Cohort& c = pass.c;
  if (c.float64) return UpdateDoubles(pass, begin, size);
  TensorRecord& s = pass.s;
  const float* const coeffs = pass.coeffs;
  const GradientForm<float>& form = c.form;
  if (s.fused != nullptr) {
    const int64_t whole = size - size % static_cast<int64_t>(kCodeBlock);
    Coded state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = s.State(k);
    s.fused(coeffs, form, s.Weights(), s.Gradient(), state, static_cast<size_t>(begin),
            static_cast<size_t>(whole));
    begin += whole;
    size -= whole;
  }
  ForBlocks(pass.codecs, s, s.Gradient(), Access::OfUpdate(c.rule), pass.check, begin, size,
            [&](int64_t first, int64_t n, float* p, const float* g, float* const* state) {
              Pointers block;
              block.Set(p, g, s.Slots(), [state](size_t k) { return state[k]; });
              if (UpdatesTwice(c.rule)) {
                double lanes[RuleEntry::kMostNorms][16] = {};
                MeasureRange(c, s, c.CoeffsAt(s.step, s.Memory()), block, first, n, form, true, {},
                             lanes[0]);
              }
              UpdateRange(c, s, coeffs, block, first, n, form, {});
            });
}

/// The rule's update of one piece.
inline void UpdatePiece(const PassOver& pass, const Pointers& at, int64_t begin, int64_t size,
                        const Ahead& ahead) {
  if (pass.s.coded) return UpdateCoded(pass, begin, size);
  UpdateRange(pass.c, pass.s, pass.coeffs, at, begin, size, pass.c.form, ahead);
}

/// The first pass of a rule with norms over one piece; the sums of squares go to sums[0 ... norms).
/// `together`: the second pass over the tensor follows at once.
void MeasurePiece(const PassOver& pass, const Pointers& at, int64_t begin, int64_t size,
                  bool together, const Ahead& ahead, double* sums) {
  const Cohort& c = pass.c;
  TensorRecord& s = pass.s;
  const float* const coeffs = pass.coeffs;
  const GradientForm<float>& form = c.form;
  double lanes[RuleEntry::kMostNorms][16];
  std::fill_n(lanes[0], 16 * c.rule.norms, 0.0);
  if (c.float64) {
    MeasureDoubles(pass, begin, size, lanes[0]);
  } else if (s.coded) {
    ForBlocks(pass.codecs, s, s.Gradient(), Access::OfMeasure(c.rule), pass.check, begin, size,
              [&](int64_t first, int64_t n, float* p, const float* g, float* const* state) {
                Pointers block;
                block.Set(p, g, s.Slots(), [state](size_t k) { return state[k]; });
                MeasureRange(c, s, coeffs, block, first, n, form, true, {}, lanes[0]);
              });
  } else {
    // In large tensors the state would be gone before the update.
    const bool touch = together || c.rule.state_pass == StatePass::kMeasure;
    MeasureRange(c, s, coeffs, at, begin, size, form, touch, ahead, lanes[0]);
  }
  for (size_t k = 0; k < c.rule.norms; ++k) sums[k] = SumLanes(lanes[k]);
}

/// How a rule updates rows: compiled, or null, and by itself a row at a time.
template <class T>
struct RowUpdate {
  RowsFn<T> compiled;
  PassFn<T> scalar;
};

/// The rule's update of rows of `size` elements, whose gradients begin at element `begin`.
template <class T>
void UpdateRows(const TensorRecord& s, const T* coeffs, const GradientForm<T>& form, int64_t begin,
                int64_t size, std::span<const int64_t> rows, const RowUpdate<T>& update) {
  auto* const p = static_cast<T*>(s.param);
  const T* g = static_cast<const T*>(s.gradient) + begin;
  const auto n = static_cast<size_t>(size);
  T* state[RuleEntry::kMostSlots];
  const auto point = [&](int64_t at) {
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = static_cast<T*>(s.arrays[k].data) + at;
  };
  if (update.compiled != nullptr) {
    point(0);
    return update.compiled(coeffs, form, p, g, state, n, rows);
  }
  for (const int64_t row : rows) {
    point(row * size);
    update.scalar(coeffs, form, p + row * size, g, state, n);
    g += size;
  }
}

/// Calls f(begin, end) for ranges of pieces that together are all, in one parallel region in which
/// every thread has the same share of elements.
template <class F>
void ForPieces(const StepView& step, const Work& work, const F& f) {
  const int64_t most = std::max<int64_t>(1, work.elements / kSmallestShare);
  const int threads =
      static_cast<int>(std::min<int64_t>({Threads(step.parallel), most, INT32_MAX}));
  const auto& pieces = work.pieces;
  if (threads == 1) return f(0, pieces.size());
  const auto start = [&](int k) {
    const auto target = static_cast<int64_t>(static_cast<double>(work.elements) * k / threads);
    return static_cast<size_t>(
        std::partition_point(pieces.begin(), pieces.end(),
                             [target](const Piece& p) { return p.before < target; }) -
        pieces.begin());
  };
  const auto share = [&](int k) { f(start(k), k + 1 == threads ? pieces.size() : start(k + 1)); };
  RunParallel(step.parallel, threads, std::cref(share));
}

/// Calls f(index, piece, its arrays, the arrays of the piece after it or null) for the pieces
/// [begin, end), the last first if `backwards`.
template <class F>
void Walk(const StepView& step, const Work& work, size_t begin, size_t end, bool backwards,
          const F& f) {
  // Two sets of pointers: to the piece at hand and to the one that comes next.
  Pointers sets[2];
  const size_t count = end - begin;
  const auto index = [&](size_t i) { return backwards ? end - 1 - i : begin + i; };
  const auto point = [&](size_t i, Pointers& to) {
    const Piece& piece = work.pieces[index(i)];
    if (!step.records[piece.tensor].coded) to.Point(step.records[piece.tensor], piece.begin);
  };
  if (count > 0) point(0, sets[0]);
  for (size_t i = 0; i < count; ++i) {
    const Piece& piece = work.pieces[index(i)];
    const float* const* ahead = nullptr;
    if (i + 1 < count) {
      Pointers& next = sets[(i + 1) % 2];
      point(i + 1, next);
      // Another rule's may have fewer arrays.
      const TensorRecord &now = step.records[piece.tensor],
                         &then = step.records[work.pieces[index(i + 1)].tensor];
      if (then.Slots() == now.Slots() && !then.coded && !now.coded) ahead = next.all;
    }
    f(index(i), piece, sets[i % 2], ahead);
  }
}

}  // namespace
}  // namespace internal

using internal::Coded;
using internal::Cohort;
using internal::Format;
using internal::ForPieces;
using internal::PassOver;
using internal::Piece;
using internal::Pointers;
using internal::StepView;
using internal::TensorRecord;
using internal::UnitForms;
using internal::Walk;
using internal::Work;
using Form = GradientForm<float>;

/// The sum of squares of elements [begin, begin + size) of an array.
double CpuBackend::SquaresOf(const Coded& array, int64_t begin, int64_t size) const {
  if (array.format != Format::kFloat64) {
    return internal::SumOf(codecs_, kernels_.add_squares, array, begin, size);
  }
  double lanes[16] = {};
  doubles_.add_squares(static_cast<const double*>(array.data) + begin, static_cast<size_t>(size),
                       lanes);
  return internal::SumLanes(lanes);
}

void CpuBackend::SumSquares(const StepView& step, const Work& work, std::span<double> sums) {
  ForPieces(step, work, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Piece& b = work.pieces[i];
      sums[i] = SquaresOf(step.records[b.tensor].Gradient(), b.begin, b.size);
    }
  });
}

double CpuBackend::SumSquares(const Coded& array, int64_t n) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += internal::kBlock) {
    sum += SquaresOf(array, begin, std::min(internal::kBlock, n - begin));
  }
  return sum;
}

void CpuBackend::FormUnit(const StepView& step, const UnitForms& forms, TensorRecord& s,
                          int64_t unit) const {
  constexpr double kSmallestNorm = 1e-6;
  const int64_t begin = unit * s.Unit();
  const int64_t n = std::min(s.Unit(), s.size - begin);
  const auto norm_of = [&](const Coded& array) {
    return std::sqrt(internal::SumOf(codecs_, kernels_.add_squares, array, begin, n));
  };
  double f = forms.factor;
  if (s.clips) {
    const double weight = norm_of(s.Weights());
    const double norm = std::abs(forms.factor) * norm_of(s.Gradient());
    const double most = forms.clip_unit * std::max(weight, forms.eps);
    if (norm > most) f *= most / std::max(norm, kSmallestNorm);
  }
  double shift = 0;
  if (s.centralizes) {
    const double sum = internal::SumOf(codecs_, kernels_.add, s.Gradient(), begin, n);
    shift = -f * sum / static_cast<double>(n);
  }
  s.extra->units[static_cast<size_t>(unit)] = step.cohorts[s.cohort].FormOf(
      static_cast<float>(f), static_cast<float>(shift), static_cast<float>(forms.clip_value));
}

void CpuBackend::FormUnits(const StepView& step, std::span<const size_t> tensors,
                           const UnitForms& forms) {
  const int threads = Threads(step.parallel);
  const auto share = [&](int k) {
    for (const size_t i : tensors) {
      TensorRecord& s = step.records[i];
      const auto count = static_cast<int64_t>(s.extra->units.size());
      // A tensor that is one unit goes to one of the threads.
      const auto turn = static_cast<int64_t>(i % static_cast<size_t>(threads));
      const int64_t begin = count == 1 ? (k > turn ? 1 : 0) : count * k / threads;
      const int64_t end = count == 1 ? (k >= turn ? 1 : 0) : count * (k + 1) / threads;
      for (int64_t u = begin; u < end; ++u) FormUnit(step, forms, s, u);
    }
  };
  RunParallel(step.parallel, threads, std::cref(share));
}

void CpuBackend::FirstPieces(const StepView& step, const Work& work, size_t begin, size_t end,
                             std::span<double> sums) const {
  Walk(step, work, begin, end, false,
       [&](size_t i, const Piece& piece, const Pointers& at, const float* const* next) {
         TensorRecord& s = step.records[piece.tensor];
         const Cohort& c = step.cohorts[s.cohort];
         const float* const coeffs = c.CoeffsAt(s.step, s.Memory());
         const PassOver pass{c, s, coeffs, codecs_, step.check};
         if (c.rule.norms == 0) {
           UpdatePiece(pass, at, piece.begin, piece.size, {next, distance_});
           internal::Flush(kernels_, s, piece.begin, piece.size);
         } else if (s.size > internal::kLargestPiece) {
           MeasurePiece(pass, at, piece.begin, piece.size, false, {next, distance_},
                        sums.data() + i * RuleEntry::kMostNorms);
         } else {
           BothPasses(pass, next, next == nullptr ? 0 : work.pieces[i + 1].size);
         }
       });
}

void CpuBackend::FirstPass(const StepView& step, const Work& work, std::span<double> sums) {
  ForPieces(step, work,
            [&](size_t begin, size_t end) { FirstPieces(step, work, begin, end, sums); });
}

// Backwards: what the first passes saw last may still be in the cache.
void CpuBackend::SecondPieces(const StepView& step, const Work& work, size_t begin,
                              size_t end) const {
  Walk(step, work, begin, end, true,
       [&](size_t /*i*/, const Piece& piece, const Pointers& at, const float* const* next) {
         TensorRecord& s = step.records[piece.tensor];
         const Cohort& c = step.cohorts[s.cohort];
         UpdatePiece({c, s, s.extra->adapted.data(), codecs_, step.check}, at, piece.begin,
                     piece.size, {next, distance_});
         internal::Flush(kernels_, s, piece.begin, piece.size);
       });
}

void CpuBackend::SecondPass(const StepView& step, const Work& work) {
  ForPieces(step, work, [&](size_t begin, size_t end) { SecondPieces(step, work, begin, end); });
}

void CpuBackend::UpdateRowsOf(const StepView& step, const Piece& piece) const {
  const Tensor& t = step.tensors[piece.tensor];
  const TensorRecord& s = step.records[piece.tensor];
  const Cohort& c = step.cohorts[s.cohort];
  const int64_t size = internal::RowSize(t);
  const auto rows = t.grad_rows->subspan(static_cast<size_t>(piece.begin / size),
                                         static_cast<size_t>(piece.size / size));
  if (c.float64) {
    internal::UpdateRows(s, c.ExactAt(s.step, s.Memory()), c.exact_form, piece.begin, size, rows,
                         {c.exact_update_rows, c.exact_passes.update});
  } else {
    internal::UpdateRows(s, c.CoeffsAt(s.step, s.Memory()), c.form, piece.begin, size, rows,
                         {c.kernels.update_rows, c.rule.scalar.update});
  }
  if (!internal::FlushNow(s)) return;
  for (const int64_t row : rows) internal::Flush(kernels_, s, row * size, size);
}

void CpuBackend::UpdateRows(const StepView& step, const Work& work) {
  ForPieces(step, work, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) UpdateRowsOf(step, work.pieces[i]);
  });
}

// Both passes of a rule with norms over one tensor. While the second computes on what is in the
// cache, the memory fetches the beginning of the next tensor.
void CpuBackend::BothPasses(const internal::PassOver& first, const float* const* next,
                            int64_t next_size) const {
  const Cohort& c = first.c;
  TensorRecord& s = first.s;
  double sums[RuleEntry::kMostNorms] = {};
  Pointers at;
  const auto size = [&s](int64_t begin) { return std::min(internal::kBlock, s.size - begin); };
  for (int64_t begin = 0; begin < s.size; begin += internal::kBlock) {
    double part[RuleEntry::kMostNorms];
    if (!s.coded) at.Point(s, begin);
    MeasurePiece(first, at, begin, size(begin), true, {nullptr, distance_}, part);
    for (size_t k = 0; k < c.rule.norms; ++k) sums[k] += part[k];
  }
  internal::Adapt(c, s, sums);
  const PassOver second{c, s, s.extra->adapted.data(), codecs_, first.check};
  const size_t arrays = 2 + s.Slots();
  const int64_t fits = cached_ / static_cast<int64_t>(arrays * sizeof(float)) - s.size;
  const int64_t fetched = std::min(next_size, fits);
  for (int64_t begin = (s.size - 1) / internal::kBlock * internal::kBlock, done = 0; begin >= 0;
       begin -= internal::kBlock) {
    if (!s.coded) at.Point(s, begin);
    const float* from[2 + RuleEntry::kMostSlots];
    const bool fetches = done < fetched;
    for (size_t k = 0; fetches && k < arrays; ++k) from[k] = next[k] + done;
    UpdatePiece(second, at, begin, size(begin), {fetches ? from : nullptr, internal::kOnlyNext});
    internal::Flush(kernels_, s, begin, size(begin));
    done += size(begin);
  }
}

void CpuBackend::StepWhole(const StepView& step, size_t tensor, float* memory,
                           const Parallel& workers) const {
  const Tensor& t = step.tensors[tensor];
  TensorRecord& s = step.records[tensor];
  const Cohort& c = step.cohorts[s.cohort];
  // Copies begin behind the rule's own scratch memory, each at a cache line.
  float* next = memory + (c.rule.whole->ScratchSize(t.shape) + 15) / 16 * 16;
  const auto new_copy = [&next, &s] { return std::exchange(next, next + (s.size + 15) / 16 * 16); };
  const auto for_blocks = [&](const auto& f) {
    const int64_t blocks = (s.size + internal::kBlock - 1) / internal::kBlock;
    const auto threads =
        static_cast<int>(std::clamp<int64_t>(blocks, 1, static_cast<int64_t>(Threads(workers))));
    const auto share = [&](int k) {
      const auto end =
          static_cast<size_t>(std::min(s.size, blocks * (k + 1) / threads * internal::kBlock));
      for (auto at = static_cast<size_t>(blocks * k / threads * internal::kBlock); at < end;
           at += internal::kCodeBlock) {
        f(at, std::min(internal::kCodeBlock, end - at));
      }
    };
    RunParallel(workers, threads, std::cref(share));
  };
  const auto decoded = [&](const internal::Coded& array) {
    if (array.format == Format::kFloat32) return static_cast<float*>(array.data);
    float* const copy = new_copy();
    for_blocks([&](size_t at, size_t n) { codecs_.load(array, at, n, copy + at); });
    return copy;
  };

  float* const p = decoded(s.Weights());
  const float* g = decoded(s.Gradient());
  Form f = c.form;
  if (s.Unit() > 0 || c.penalize != nullptr) {
    float* const formed =
        s.gradient_format == Format::kFloat32 ? new_copy() : const_cast<float*>(g);
    internal::ForForms(s, f, 0, s.size, [&](const Form& unit, int64_t offset, int64_t n) {
      if (c.penalize != nullptr) {
        return c.penalize(unit, static_cast<float>(c.l1_now), static_cast<float>(c.l2_now),
                          p + offset, g + offset, static_cast<size_t>(n), formed + offset);
      }
      for (int64_t i = offset; i < offset + n; ++i) {
        formed[i] = Fma(unit.factor, g[i], unit.shift);
      }
    });
    g = formed;
    f = c.penalize != nullptr ? Form()
                              : Form{.limit = f.limit, .infinity_is_nan = f.infinity_is_nan};
  }
  float* state[RuleEntry::kMostSlots];
  for (size_t k = 0; k < s.Slots(); ++k) state[k] = decoded(s.State(k));
  c.rule.whole->Step(WholeStep<float>{.shape = t.shape,
                                      .values = c.values.data(),
                                      .t = s.step,
                                      .p = p,
                                      .g = g,
                                      .form = f,
                                      .state = state,
                                      .scratch = memory,
                                      .parallel = workers,
                                      .kernels = kernels_});
  const auto store = [&](size_t at, size_t n) {
    Numerics lost;
    if (s.storage->weights != Format::kFloat32) {
      float before[internal::kCodeBlock];
      if (step.check) codecs_.load(s.Weights(), at, n, before);
      internal::StoreWeights(codecs_, s.Weights(), at, n, p + at, step.check ? before : nullptr,
                             lost);
    }
    for (size_t k = 0; k < s.Slots(); ++k) {
      if (s.storage->slots[k] == Format::kFloat32) continue;
      internal::StoreState(codecs_, s.State(k), at, n, state[k] + at, step.check, lost);
    }
    if (step.check) internal::AddCounts(lost, s.extra->numerics);
  };
  if (s.coded) for_blocks(store);
  if (!internal::FlushNow(s)) return;
  for (size_t k = 0; k < s.Slots(); ++k) {
    internal::FlushArray(kernels_, s.State(k), 0, static_cast<int64_t>(s.SlotSize(k)));
  }
}

void CpuBackend::StepOneByOne(const StepView& step, std::span<const size_t> tensors,
                              std::span<float* const> scratch) {
  for (const size_t i : tensors) StepWhole(step, i, scratch[0], step.parallel);
}

void CpuBackend::StepSideBySide(const StepView& step, std::span<const size_t> tensors,
                                std::span<float* const> scratch) {
  static const Parallel kAlone{.threads = 1};
  std::atomic<size_t> next = 0;
  const auto work = [&](int worker) {
    for (size_t k = next++; k < tensors.size(); k = next++) {
      StepWhole(step, tensors[k], scratch[static_cast<size_t>(worker)], kAlone);
    }
  };
  const auto workers = std::min(scratch.size(), tensors.size());
  RunParallel(step.parallel, static_cast<int>(workers), std::cref(work));
}

void CpuBackend::UpdateHessian(const StepView& step, const Work& work,
                               std::span<const Coded> estimates) {
  ForPieces(step, work, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Piece& piece = work.pieces[i];
      TensorRecord& s = step.records[piece.tensor];
      const Cohort& c = step.cohorts[s.cohort];
      const float* const coeffs = c.CoeffsAt(s.step, s.Memory());
      internal::ForBlocks(codecs_, s, estimates[piece.tensor], internal::Access::OfHessian(c.rule),
                          false, piece.begin, piece.size,
                          [&](int64_t, int64_t n, float*, const float* g, float* const* state) {
                            const auto count = static_cast<size_t>(n);
                            if (c.kernels.hessian != nullptr) {
                              c.kernels.hessian(coeffs, c.form, nullptr, g, state, count, nullptr,
                                                distance_);
                            } else {
                              c.rule.scalar.hessian(coeffs, c.form, nullptr, g, state, count);
                            }
                          });
    }
  });
}

void CpuBackend::Evaluate(const StepView& step,
                          std::span<const internal::EvaluatedTensor> tensors) {
  const auto evaluate = [&](size_t i, size_t begin, size_t end) {
    TensorRecord& s = step.records[tensors[i].tensor];
    const Cohort& c = step.cohorts[s.cohort];
    const Coded& to = tensors[i].to;
    if (c.float64) {
      double* state[RuleEntry::kMostSlots];
      for (size_t k = 0; k < s.Slots(); ++k) {
        state[k] = static_cast<double*>(s.arrays[k].data) + begin;
      }
      return c.exact_passes.evaluate(tensors[i].exact, {}, static_cast<double*>(to.data) + begin,
                                     nullptr, state, end - begin);
    }
    internal::ForBlocks(codecs_, s, {}, internal::Access::OfEvaluation(c.rule), false,
                        static_cast<int64_t>(begin), static_cast<int64_t>(end - begin),
                        [&](int64_t at, int64_t n, float* p, const float*, float* const* state) {
                          const auto count = static_cast<size_t>(n);
                          if (c.kernels.evaluate != nullptr) {
                            c.kernels.evaluate(tensors[i].coeffs, {}, p, nullptr, state, count,
                                               nullptr, 0);
                          } else {
                            c.rule.scalar.evaluate(tensors[i].coeffs, {}, p, nullptr, state, count);
                          }
                          if (to.format != Format::kFloat32) {
                            codecs_.store(p, static_cast<size_t>(at), count, to);
                          }
                        });
  };
  internal::ForRanges(
      tensors.size(), [&](size_t i) { return step.records[tensors[i].tensor].size; }, step.parallel,
      evaluate);
}

}  // namespace kudari
