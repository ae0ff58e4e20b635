// A step of the optimiser: work is divided, measured and done.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/float_environment.h"
#include "kernels/parallel.h"
#include "kudari/error.h"
#include "optimizer/coded.h"
#include "optimizer/impl.h"

namespace kudari {
namespace internal {
namespace {

/// A coefficient in float32: what is finite stays so.
float ToFloat(double coefficient) {
  const auto x = static_cast<float>(coefficient);
  if (std::isinf(x) && std::isfinite(coefficient)) [[unlikely]] {
    return std::copysign(kMostFloat, x);
  }
  return x;
}

/// Makes denormal numbers among elements [begin, begin + size) of a state array zero.
void FlushArray(const KernelSet& kernels, const Coded& array, int64_t begin, int64_t size) {
  if (array.format == Format::kFloat32) {
    kernels.flush(static_cast<float*>(array.data) + begin, static_cast<size_t>(size));
  } else if (array.format == Format::kBFloat16 || array.format == Format::kBFloat16Random) {
    auto* const codes = static_cast<uint16_t*>(array.data) + begin;
    std::transform(codes, codes + size, codes,
                   [](uint16_t x) { return static_cast<uint16_t>((x & 0x7F80U) == 0 ? 0 : x); });
  }
}

/// Whether the tensor's state is flushed in this update. Moments of an element without gradients
/// end as denormal numbers, which make each pass over them twice as long; looking every few
/// updates, while the state is in the cache, costs next to nothing.
bool FlushNow(const Slotted& s) {
  constexpr int64_t kEvery = 64;
  return s.step % kEvery == 0;
}

void Flush(const KernelSet& kernels, const Slotted& s, int64_t begin, int64_t size) {
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
  void Point(const Slotted& s, int64_t begin) {
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
void ForForms(const Slotted& s, const GradientForm<float>& form, int64_t begin, int64_t n,
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
    if (c.penalize != nullptr) c.penalize(form, c.l1_now, c.l2_now, p, g, n, block_);
  }
  const GradientForm<float>& form() const { return form_; }
  const float* data() const { return data_; }

 private:
  static constexpr GradientForm<float> kAsItIs = {};
  const GradientForm<float>& form_;
  const float* data_;
  float block_[kCodeBlock];
};

/// The rule's update of a range in float32.
void UpdateRange(const Cohort& c, const Slotted& s, const float* coeffs, const Pointers& at,
                 int64_t begin, int64_t size, const GradientForm<float>& form,
                 const float* const* next) {
  ForForms(s, form, begin, size, [&](const GradientForm<float>& f, int64_t offset, int64_t n) {
    float* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = at.state[k] + offset;
    const auto count = static_cast<size_t>(n);
    const SeenGradient g(c, f, at.p + offset, at.all[1] + offset, count);
    if (c.kernels.update != nullptr) {
      c.kernels.update(coeffs, g.form(), at.p + offset, g.data(), state, count,
                       offset + n == size ? next : nullptr);
    } else {
      c.rule.scalar.update(coeffs, g.form(), at.p + offset, g.data(), state, count);
    }
  });
}

/// The first pass of a rule with norms over a range in float32; the squares are added to `lanes`.
/// `touch`: the kernel is to fetch the state.
void MeasureRange(const Cohort& c, const Slotted& s, const float* coeffs, const Pointers& at,
                  int64_t begin, int64_t size, const GradientForm<float>& form, bool touch,
                  const float* const* next, double* lanes) {
  ForForms(s, form, begin, size, [&](const GradientForm<float>& f, int64_t offset, int64_t n) {
    float* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < s.Slots(); ++k) state[k] = at.state[k] + offset;
    const auto count = static_cast<size_t>(n);
    const SeenGradient g(c, f, at.p + offset, at.all[1] + offset, count);
    if (c.kernels.measure != nullptr) {
      c.kernels.measure(coeffs, g.form(), at.p + offset, g.data(), touch ? state : nullptr, count,
                        offset + n == size ? next : nullptr, lanes);
    } else {
      c.rule.scalar.measure(coeffs, g.form(), at.p + offset, g.data(), state, count, lanes);
    }
  });
}

/// What every pass over a piece is given.
struct PassOver {
  const Cohort& c;
  Slotted& s;
  const float* coeffs;
  const Codecs& codecs;
  bool check;
};

/// The rule's update of one piece of a coded tensor.
void UpdateCoded(const PassOver& pass, int64_t begin, int64_t size) {
  const Cohort& c = pass.c;
  Slotted& s = pass.s;
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
                MeasureRange(c, s, c.CoeffsAt(s.step, s.Memory()), block, first, n, form, true,
                             nullptr, lanes[0]);
              }
              UpdateRange(c, s, coeffs, block, first, n, form, nullptr);
            });
}

/// The rule's update of one piece.
inline void UpdatePiece(const PassOver& pass, const Pointers& at, int64_t begin, int64_t size,
                        const float* const* next) {
  if (pass.s.coded) return UpdateCoded(pass, begin, size);
  UpdateRange(pass.c, pass.s, pass.coeffs, at, begin, size, pass.c.form, next);
}

/// The first pass of a rule with norms over one piece; the sums of squares go to sums[0 ... norms).
/// `together`: the second pass over the tensor follows at once.
void MeasurePiece(const PassOver& pass, const Pointers& at, int64_t begin, int64_t size,
                  bool together, const float* const* next, double* sums) {
  const Cohort& c = pass.c;
  Slotted& s = pass.s;
  const float* const coeffs = pass.coeffs;
  const GradientForm<float>& form = c.form;
  double lanes[RuleEntry::kMostNorms][16] = {};
  if (s.coded) {
    ForBlocks(pass.codecs, s, s.Gradient(), Access::OfMeasure(c.rule), pass.check, begin, size,
              [&](int64_t first, int64_t n, float* p, const float* g, float* const* state) {
                Pointers block;
                block.Set(p, g, s.Slots(), [state](size_t k) { return state[k]; });
                MeasureRange(c, s, coeffs, block, first, n, form, true, nullptr, lanes[0]);
              });
  } else {
    // In large tensors the state would be gone before the update.
    const bool touch = together || c.rule.state_pass == StatePass::kMeasure;
    MeasureRange(c, s, coeffs, at, begin, size, form, touch, next, lanes[0]);
  }
  for (size_t k = 0; k < c.rule.norms; ++k) sums[k] = SumLanes(lanes[k]);
}

}  // namespace

void Cohort::SetValue(size_t option, double value) {
  values[option] = rule.options[option].name == "weight_decay" ? value / base_lr : value;
}

void Cohort::SetConstant() {
  constant = l1.IsConstant() && l2.IsConstant() &&
             std::all_of(schedules.begin(), schedules.end(),
                         [](const Schedule& s) { return s.IsConstant(); });
}

void Cohort::AddAge(int64_t t, const TensorMemory& memory) {
  if (!ages.empty() && ages.back().t == t && ages.back().before == memory) return;
  Age& age = ages.emplace_back();
  age.t = t;
  age.before = age.after = memory;
  formed = false;
}

void Cohort::FormCoeffs() {
  if (formed) return;
  if (ages.size() > 1) {
    std::sort(ages.begin(), ages.end());
    ages.erase(std::unique(ages.begin(), ages.end()), ages.end());
  }
  coeffs.resize(ages.size() * rule.coeff_count);
  float* next = coeffs.data();
  for (Age& age : ages) {
    double values_now[RuleEntry::kMostCoeffs];
    rule.coeffs(values.data(), age.t, age.after.data(), values_now);
    next = std::transform(values_now, values_now + rule.coeff_count, next,
                          [](double x) { return ToFloat(x); });
  }
  formed = true;
}

const Cohort::Age& Cohort::Find(int64_t t, const TensorMemory& memory) const {
  if (ages.size() == 1) return ages[0];
  return *std::lower_bound(ages.begin(), ages.end(), Age{.t = t, .before = memory, .after = {}});
}

const float* Cohort::CoeffsAt(int64_t t, const TensorMemory& memory) const {
  const auto index = static_cast<size_t>(&Find(t, memory) - ages.data());
  return coeffs.data() + index * rule.coeff_count;
}

}  // namespace internal

using internal::Cohort;
using internal::Format;
using internal::Piece;
using internal::Pointers;
using internal::Slotted;
using internal::Work;
using Form = GradientForm<float>;

/// Evaluates the schedules; changes nothing else, so that a throw loses nothing.
void Optimizer::Impl::SetValues(Cohort& cohort) const {
  cohort.ages.clear();
  cohort.formed = false;
  if (cohort.constant || cohort.users == 0) return;
  const auto value_of = [this](const Schedule& s, std::string_view rule, std::string_view name,
                               double low, double high) {
    const double value = s(step_count);
    if (!(low <= value && value <= high)) {
      CheckRange(std::string(rule).append(rule.empty() ? "" : ": ").append(name) + " = " +
                     s.Text() + " at step " + std::to_string(step_count),
                 value, low, high);
    }
    return value;
  };
  for (size_t i = 0; i < cohort.schedules.size(); ++i) {
    const RuleEntry::Option& o = cohort.rule.options[i];
    cohort.SetValue(i, value_of(cohort.schedules[i], cohort.rule.name, o.name, o.low, o.high));
  }
  cohort.l1_now = static_cast<float>(value_of(cohort.l1, "", "l1", 0, kInfinity));
  cohort.l2_now = static_cast<float>(value_of(cohort.l2, "", "l2", 0, kInfinity));
}

Optimizer::Impl::Clips Optimizer::Impl::ClipsNow() const {
  const auto at_step = [this](const Schedule& schedule, std::string_view name) {
    const double value = schedule(step_count);
    if (!(value >= 0)) {
      CheckRange(std::string(name) + " at step " + std::to_string(step_count), value, 0, kInfinity);
    }
    return value;
  };
  return {.value = spec.clip_value ? at_step(*spec.clip_value, "clip_value") : kInfinity,
          .unit = spec.agc ? at_step(spec.agc->clip, "agc.clip") : kInfinity};
}

/// Calls f(begin, end) for ranges of pieces that together are all, in one parallel region in which
/// every thread has the same share of elements.
template <class F>
void Optimizer::Impl::ForPieces(const Work& work, const F& f) {
  const int64_t most = std::max<int64_t>(1, work.elements / internal::kSmallestShare);
  const int threads =
      static_cast<int>(std::min<int64_t>({internal::Threads(parallel_), most, INT32_MAX}));
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
  internal::RunParallel(parallel_, threads, std::cref(share));
}

double Optimizer::Impl::SumSquares() {
  DivideBlocks();
  ForPieces(blocks, [this](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Piece& b = blocks.pieces[i];
      partial_sums[i] = internal::SumOf(*codecs, kernels->add_squares, slotted[b.tensor].Gradient(),
                                        b.begin, b.size);
    }
  });
  double sum = 0;
  for (const double s : partial_sums) sum += s;
  return sum;
}

std::string_view Optimizer::Impl::FirstNonFinite() const {
  for (size_t i = 0; i < blocks.pieces.size(); ++i) {
    if (!std::isfinite(partial_sums[i])) return tensor_list[blocks.pieces[i].tensor].name;
  }
  return {};
}

/// The factor and the shift of every unit: adaptive clipping, then centralisation.
void Optimizer::Impl::FormUnits(double factor, const Clips& clips) {
  if (united.empty()) return;
  const double eps = spec.agc ? spec.agc->eps : 0;
  const auto form_unit = [&](Slotted& s, int64_t index) {
    constexpr double kSmallestNorm = 1e-6;
    const int64_t begin = index * s.Unit();
    const int64_t n = std::min(s.Unit(), s.size - begin);
    const auto norm_of = [&](const internal::Coded& array) {
      return std::sqrt(internal::SumOf(*codecs, kernels->add_squares, array, begin, n));
    };
    double f = factor;
    if (s.clips) {
      const double weight = norm_of(s.Weights());
      const double norm = std::abs(factor) * norm_of(s.Gradient());
      const double most = clips.unit * std::max(weight, eps);
      if (norm > most) f *= most / std::max(norm, kSmallestNorm);
    }
    double shift = 0;
    if (s.centralizes) {
      const double sum = internal::SumOf(*codecs, kernels->add, s.Gradient(), begin, n);
      shift = -f * sum / static_cast<double>(n);
    }
    s.extra->units[static_cast<size_t>(index)] = cohorts[s.cohort].FormOf(
        static_cast<float>(f), static_cast<float>(shift), static_cast<float>(clips.value));
  };
  const int threads = internal::Threads(parallel_);
  const auto share = [&](int k) {
    for (const size_t i : united) {
      const auto count = static_cast<int64_t>(slotted[i].extra->units.size());
      // A tensor that is one unit goes to one of the threads.
      const auto turn = static_cast<int64_t>(i % static_cast<size_t>(threads));
      const int64_t begin = count == 1 ? (k > turn ? 1 : 0) : count * k / threads;
      const int64_t end = count == 1 ? (k >= turn ? 1 : 0) : count * (k + 1) / threads;
      for (int64_t u = begin; u < end; ++u) form_unit(slotted[i], u);
    }
  };
  internal::RunParallel(parallel_, threads, std::cref(share));
}

/// Calls f(index, piece, its arrays, the arrays of the piece after it or null) for the pieces
/// [begin, end), the last first if `backwards`.
template <class F>
void Optimizer::Impl::Walk(const Work& work, size_t begin, size_t end, bool backwards,
                           const F& f) const {
  // Two sets of pointers: to the piece at hand and to the one that comes next.
  Pointers sets[2];
  const size_t count = end - begin;
  const auto index = [&](size_t i) { return backwards ? end - 1 - i : begin + i; };
  const auto point = [&](size_t i, Pointers& to) {
    const Piece& piece = work.pieces[index(i)];
    if (!slotted[piece.tensor].coded) to.Point(slotted[piece.tensor], piece.begin);
  };
  if (count > 0) point(0, sets[0]);
  for (size_t i = 0; i < count; ++i) {
    const Piece& piece = work.pieces[index(i)];
    const float* const* ahead = nullptr;
    if (i + 1 < count) {
      Pointers& next = sets[(i + 1) % 2];
      point(i + 1, next);
      // Another rule's may have fewer arrays.
      const Slotted &now = slotted[piece.tensor], &then = slotted[work.pieces[index(i + 1)].tensor];
      if (then.Slots() == now.Slots() && !then.coded && !now.coded) ahead = next.all;
    }
    f(index(i), piece, sets[i % 2], ahead);
  }
}

/// Updates by rules without norms; first passes of rules with norms, and both passes where a tensor
/// is small.
void Optimizer::Impl::FirstPass(size_t begin, size_t end) {
  Walk(first, begin, end, false,
       [&](size_t i, const Piece& piece, const Pointers& at, const float* const* next) {
         Slotted& s = slotted[piece.tensor];
         const Cohort& c = cohorts[s.cohort];
         const float* const coeffs = c.CoeffsAt(s.step, s.Memory());
         const internal::PassOver pass{c, s, coeffs, *codecs, spec.precision.check};
         if (c.rule.norms == 0) {
           UpdatePiece(pass, at, piece.begin, piece.size, next);
           internal::Flush(*kernels, s, piece.begin, piece.size);
         } else if (s.size > internal::kTogether) {
           MeasurePiece(pass, at, piece.begin, piece.size, false, next,
                        measured.data() + i * RuleEntry::kMostNorms);
         } else {
           Together(piece.tensor, coeffs);
         }
       });
}

/// The second passes, backwards: what the first passes saw last may still be in the cache.
void Optimizer::Impl::SecondPass(size_t begin, size_t end) {
  Walk(second, begin, end, true,
       [&](size_t /*i*/, const Piece& piece, const Pointers& at, const float* const* next) {
         Slotted& s = slotted[piece.tensor];
         const Cohort& c = cohorts[s.cohort];
         UpdatePiece({c, s, s.extra->adapted.data(), *codecs, spec.precision.check}, at,
                     piece.begin, piece.size, next);
         internal::Flush(*kernels, s, piece.begin, piece.size);
       });
}

/// Both passes of a rule with norms over one tensor.
void Optimizer::Impl::Together(size_t tensor, const float* coeffs) {
  Slotted& s = slotted[tensor];
  const Cohort& c = cohorts[s.cohort];
  double sums[RuleEntry::kMostNorms] = {};
  Pointers at;
  const auto size = [&s](int64_t begin) { return std::min(internal::kBlock, s.size - begin); };
  for (int64_t begin = 0; begin < s.size; begin += internal::kBlock) {
    double part[RuleEntry::kMostNorms];
    if (!s.coded) at.Point(s, begin);
    MeasurePiece({c, s, coeffs, *codecs, spec.precision.check}, at, begin, size(begin), true,
                 nullptr, part);
    for (size_t k = 0; k < c.rule.norms; ++k) sums[k] += part[k];
  }
  Adapt(s, sums);
  for (int64_t begin = (s.size - 1) / internal::kBlock * internal::kBlock; begin >= 0;
       begin -= internal::kBlock) {
    if (!s.coded) at.Point(s, begin);
    UpdatePiece({c, s, s.extra->adapted.data(), *codecs, spec.precision.check}, at, begin,
                size(begin), nullptr);
    internal::Flush(*kernels, s, begin, size(begin));
  }
}

/// The coefficients of the second pass, from sums of squares.
void Optimizer::Impl::Adapt(Slotted& s, const double* sums) const {
  const Cohort& c = cohorts[s.cohort];
  double norms[RuleEntry::kMostNorms], coeffs[RuleEntry::kMostCoeffs];
  for (size_t k = 0; k < c.rule.norms; ++k) norms[k] = std::sqrt(sums[k]);
  if (c.adapts) {
    c.rule.adapt(c.values.data(), s.step, norms, coeffs);
    if (c.rule.trust != nullptr) s.extra->trust = c.rule.trust(c.values.data(), norms);
  } else {
    c.rule.coeffs(c.values.data(), s.step, s.extra->memory.data(), coeffs);
  }
  for (size_t k = 0; k < c.rule.coeff_count; ++k) {
    s.extra->adapted[k] = internal::ToFloat(coeffs[k]);
  }
}

/// The same for tensors whose first pass is done in pieces.
void Optimizer::Impl::AdaptLarge() {
  for (size_t i = 0; i < first.pieces.size();) {
    const size_t tensor = first.pieces[i].tensor;
    Slotted& s = slotted[tensor];
    const size_t norms = cohorts[s.cohort].rule.norms;
    double sums[RuleEntry::kMostNorms] = {};
    for (; i < first.pieces.size() && first.pieces[i].tensor == tensor; ++i) {
      for (size_t k = 0; k < norms; ++k) sums[k] += measured[i * RuleEntry::kMostNorms + k];
    }
    if (norms > 0 && s.size > internal::kTogether) Adapt(s, sums);
  }
}

void Optimizer::Impl::StepWhole(size_t tensor, float* memory, const Parallel& workers) {
  const Tensor& t = tensor_list[tensor];
  Slotted& s = slotted[tensor];
  const Cohort& c = cohorts[s.cohort];
  // Copies begin behind the rule's own scratch memory, each at a cache line.
  float* next = memory + (c.rule.whole->ScratchSize(t.shape) + 15) / 16 * 16;
  const auto new_copy = [&next, &s] { return std::exchange(next, next + (s.size + 15) / 16 * 16); };
  const auto for_blocks = [&](const auto& f) {
    const int64_t blocks = (s.size + internal::kBlock - 1) / internal::kBlock;
    const auto threads = static_cast<int>(
        std::clamp<int64_t>(blocks, 1, static_cast<int64_t>(internal::Threads(workers))));
    const auto share = [&](int k) {
      const auto end =
          static_cast<size_t>(std::min(s.size, blocks * (k + 1) / threads * internal::kBlock));
      for (auto at = static_cast<size_t>(blocks * k / threads * internal::kBlock); at < end;
           at += internal::kCodeBlock) {
        f(at, std::min(internal::kCodeBlock, end - at));
      }
    };
    internal::RunParallel(workers, threads, std::cref(share));
  };
  const auto decoded = [&](const internal::Coded& array) {
    if (array.format == Format::kFloat32) return static_cast<float*>(array.data);
    float* const copy = new_copy();
    for_blocks([&](size_t at, size_t n) { codecs->load(array, at, n, copy + at); });
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
        return c.penalize(unit, c.l1_now, c.l2_now, p + offset, g + offset, static_cast<size_t>(n),
                          formed + offset);
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
                                      .kernels = *kernels});
  const auto store = [&](size_t at, size_t n) {
    Numerics lost;
    if (s.storage->weights != Format::kFloat32) {
      float before[internal::kCodeBlock];
      if (spec.precision.check) codecs->load(s.Weights(), at, n, before);
      internal::StoreWeights(*codecs, s.Weights(), at, n, p + at,
                             spec.precision.check ? before : nullptr, lost);
    }
    for (size_t k = 0; k < s.Slots(); ++k) {
      if (s.storage->slots[k] == Format::kFloat32) continue;
      internal::StoreState(*codecs, s.State(k), at, n, state[k] + at, spec.precision.check, lost);
    }
    if (spec.precision.check) internal::AddCounts(lost, s.extra->numerics);
  };
  if (s.coded) for_blocks(store);
  if (!internal::FlushNow(s)) return;
  for (size_t k = 0; k < s.Slots(); ++k) {
    internal::FlushArray(*kernels, s.State(k), 0, static_cast<int64_t>(s.SlotSize(k)));
  }
}

/// Large tensors one by one, each by all workers; small ones side by side.
void Optimizer::Impl::StepWholes() {
  for (const size_t i : one_by_one) StepWhole(i, scratch[0], parallel_);
  if (side_by_side.empty()) return;
  static const Parallel kAlone{.threads = 1};
  std::atomic<size_t> next = 0;
  const auto work = [&](int worker) {
    for (size_t k = next++; k < side_by_side.size(); k = next++) {
      StepWhole(side_by_side[k], scratch[static_cast<size_t>(worker)], kAlone);
    }
  };
  const auto workers = std::min(scratch.size(), side_by_side.size());
  internal::RunParallel(parallel_, static_cast<int>(workers), std::cref(work));
}

/// The last that can fail before a step: after it nothing is allocated.
void Optimizer::Impl::PrepareUpdate() {
  StartAveragers();
  for (const size_t i : active) {
    const Slotted& s = slotted[i];
    Cohort& c = cohorts[s.cohort];
    if (c.rule.whole == nullptr) c.AddAge(s.step + 1, s.Memory());
  }
  for (Cohort& c : cohorts) c.FormCoeffs();
}

/// Updates the active tensors with the gradient times report.factor. It must not fail.
void Optimizer::Impl::Update(Report& report, const Clips& clips) {
  for (const size_t i : active) {
    Slotted& s = slotted[i];
    ++s.step;
    if (spec.precision.check)
      s.extra->numerics = {.tensor = tensor_list[i].name, .elements = s.size};
    if (spec.precision.rounding == Rounding::kStochastic) SetKeys(i);
  }
  for (Cohort& c : cohorts) {
    c.form = c.FormOf(static_cast<float>(report.factor), 0, static_cast<float>(clips.value));
  }
  FormUnits(report.factor, clips);
  ForPieces(first, [this](size_t begin, size_t end) { FirstPass(begin, end); });
  if (!second.pieces.empty()) {
    AdaptLarge();
    ForPieces(second, [this](size_t begin, size_t end) { SecondPass(begin, end); });
  }
  StepWholes();
  for (const size_t i : remembering) {
    Slotted& s = slotted[i];
    s.extra->memory = cohorts[s.cohort].Find(s.step, s.extra->memory).after;
  }
  // There is room for both.
  numerics.clear();
  if (spec.precision.check) {
    for (const size_t i : active) numerics.push_back(slotted[i].extra->numerics);
  }
  trust.clear();
  for (const size_t i : trusting) {
    const TrustRatio& ratio = slotted[i].extra->trust;
    trust.push_back({tensor_list[i].name, ratio.ratio, ratio.pinned});
  }
  report.numerics = numerics;
  report.trust = trust;
  report.bytes_read += traffic.read;
  report.bytes_written += traffic.written;
}

/// With a loss scale, overflow is expected and skips the step, whatever the policy.
Report Optimizer::Impl::Apply(const Gradient& gradient, std::optional<double> loss_scale) {
  const internal::FloatEnvironment environment;
  const double scale = loss_scale.value_or(1), unscale = gradient.factor / scale;
  const NonFinite policy = loss_scale ? NonFinite::kSkip : spec.nonfinite;
  Report report{.loss = gradient.loss, .factor = unscale, .loss_scale = scale};
  for (Cohort& c : cohorts) SetValues(c);
  const Clips clips = ClipsNow();
  BindGradients(gradient.data);
  if (active.empty() && !tensor_list.empty()) {
    throw Error("Step: no tensor has a gradient; call backward first");
  }

  if (!scales.empty() || spec.measure_norm || policy != NonFinite::kPropagate) {
    const double sum = SumSquares();
    report.bytes_read += gradient_bytes;
    report.grad_norm = std::sqrt(sum) * std::abs(unscale);
    if (!std::isfinite(sum)) {
      report.first_nonfinite = FirstNonFinite();
      if (policy == NonFinite::kError) {
        throw Error("the gradient of \"" + std::string(report.first_nonfinite) +
                    "\" is not finite");
      }
      if (policy == NonFinite::kSkip) {
        report.skipped = true;
        return report;
      }
    }
    double norm = report.grad_norm;
    for (const auto& scale : scales) {
      const double factor = scale->Factor(norm, step_count);
      norm *= factor;
      report.factor *= factor;
    }
  }

  PrepareUpdate();
  Update(report, clips);
  ++step_count;
  for (const Follower& f : averagers) f.averager->After(*this);
  return report;
}

void Optimizer::Impl::UpdateHessian(std::span<const float* const> estimates) {
  if (!estimates.empty() && estimates.size() != tensor_list.size()) {
    throw Error("UpdateHessian: " + std::to_string(estimates.size()) + " estimates for " +
                std::to_string(tensor_list.size()) + " tensors");
  }
  const internal::FloatEnvironment environment;
  Work work;
  std::vector<internal::Coded> of(tensor_list.size());
  bool any = false;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const Slotted& s = slotted[i];
    if (cohorts[s.cohort].rule.scalar.hessian == nullptr) continue;
    any = true;
    const bool own = estimates.empty();
    const void* const estimate = own ? tensor_list[i].grad : estimates[i];
    if (estimate == nullptr) continue;
    if (s.step == 0) {
      throw Error("UpdateHessian: tensor \"" + tensor_list[i].name +
                  "\" has had no step; call Step first");
    }
    of[i] = {.format = own ? internal::FormatOf(tensor_list[i].GradType()) : Format::kFloat32,
             .data = const_cast<void*>(estimate)};  // never written
    work.AddBlocks(i, s.size);
  }
  if (!any) {
    throw Error("UpdateHessian: no tensor's rule uses the Hessian; sophia and sophia_h do");
  }
  for (Cohort& c : cohorts) {
    if (c.rule.scalar.hessian != nullptr) SetValues(c);
  }
  for (const Piece& piece : work.pieces) {
    const Slotted& s = slotted[piece.tensor];
    cohorts[s.cohort].AddAge(s.step, s.Memory());
  }
  for (Cohort& c : cohorts) {
    if (c.rule.scalar.hessian == nullptr) continue;
    c.FormCoeffs();
    c.form = c.FormOf(1, 0, kInfinity);
  }
  ForPieces(work, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Piece& piece = work.pieces[i];
      Slotted& s = slotted[piece.tensor];
      const Cohort& c = cohorts[s.cohort];
      const float* const coeffs = c.CoeffsAt(s.step, s.Memory());
      internal::ForBlocks(*codecs, s, of[piece.tensor], internal::Access::OfHessian(c.rule), false,
                          piece.begin, piece.size,
                          [&](int64_t, int64_t n, float*, const float* g, float* const* state) {
                            const auto count = static_cast<size_t>(n);
                            if (c.kernels.hessian != nullptr) {
                              c.kernels.hessian(coeffs, c.form, nullptr, g, state, count, nullptr);
                            } else {
                              c.rule.scalar.hessian(coeffs, c.form, nullptr, g, state, count);
                            }
                          });
    }
  });
}

}  // namespace kudari
