#include "kudari/rules/muon.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/kernels.h"
#include "kudari/error.h"
#include "kudari/newton_schulz.h"
#include "kudari/parallel.h"
#include "matrix/whole_rules.h"

namespace kudari {
namespace {

/// A tensor as a matrix: its first dimension and all others.
struct Shape {
  explicit Shape(std::span<const int64_t> dims) : rows(dims.empty() ? 1 : dims[0]) {
    for (size_t k = 1; k < dims.size(); ++k) cols *= dims[k];
  }
  int64_t Size() const { return rows * cols; }
  double Ratio() const { return static_cast<double>(rows) / static_cast<double>(cols); }

  int64_t rows, cols = 1;
};

template <class R>
constexpr bool kPolar = std::is_same_v<R, MuonPolarExpress> || std::is_same_v<R, NorMuon>;

/// What the orthogonal matrix is multiplied with, besides the learning rate.
template <class R>
double Scale(const Shape& s) {
  if constexpr (std::is_same_v<R, MuonMatchRms>) {
    return 0.2 * std::sqrt(static_cast<double>(std::max(s.rows, s.cols)));
  } else if constexpr (std::is_same_v<R, MuonRmsToRms>) {
    return std::sqrt(s.Ratio());
  } else {
    return std::sqrt(std::max(1.0, s.Ratio()));
  }
}

/// Calls f(begin, end) for ranges of [0, n) that together are all.
template <class F>
void ForRanges(const Parallel& parallel, int64_t n, const F& f) {
  constexpr int64_t kLeast = 16384;
  const auto threads = static_cast<int>(std::clamp<int64_t>(n / kLeast, 1, Threads(parallel)));
  const auto work = [&](int k) { f(n * k / threads, n * (k + 1) / threads); };
  RunParallel(parallel, threads, std::cref(work));
}

/// b <- b + (1 - momentum) (g - b); out <- g + momentum (b - g). The difference is taken from the
/// nearer end, so that a small momentum keeps none of b; half of the largest number is the most
/// that a gradient counts for, so that it stays finite. What is the same for all elements is known
/// to the compiler, which does not vectorise the loop otherwise.
template <bool kFromNew, bool kInfinityIsNan, class T>
void BlendRange(const WholeStep<T>& s, T m, T blend, T limit, int64_t begin, int64_t end, T* out) {
  T* const buffer = s.state[0];
  const T *const gradient = s.g, factor = s.form.factor, shift = s.form.shift;
  for (int64_t i = begin; i < end; ++i) {
    const T x = factor * gradient[i] + shift;
    T g = x > limit ? limit : x < -limit ? -limit : x;
    if constexpr (kInfinityIsNan) g = T(0) * x + g;
    const T ahead = g - buffer[i];
    buffer[i] = kFromNew ? g - m * ahead : buffer[i] + blend * ahead;
    out[i] = g + m * (buffer[i] - g);
  }
}

template <class T>
void Blend(const WholeStep<T>& s, double momentum, int64_t n, T* out) {
  constexpr T kHalf = std::numeric_limits<T>::max() / 2;
  const auto m = static_cast<T>(momentum), blend = static_cast<T>(1 - momentum);
  const T limit = std::min(s.form.limit, kHalf);
  const bool from_new = blend >= T(0.5);
  const bool infinity_is_nan = s.form.infinity_is_nan || s.form.limit > kHalf;
  const auto range =
      from_new ? (infinity_is_nan ? &BlendRange<true, true, T> : &BlendRange<true, false, T>)
               : (infinity_is_nan ? &BlendRange<false, true, T> : &BlendRange<false, false, T>);
  ForRanges(s.parallel, n,
            [&](int64_t begin, int64_t end) { range(s, m, blend, limit, begin, end, out); });
}

template <class R, class T>
void Orthogonal(const R& rule, const WholeStep<T>& s, const Shape& shape, T* x) {
  NewtonSchulz iteration = kPolar<R> ? kPolarExpress : kKeller;
  if constexpr (std::is_same_v<R, NorMuon>) {
    iteration.norm_epsilon = 1e-6;
    iteration.least_norm = 0;
  }
  iteration.iterations = static_cast<int>(std::lround(rule.ns_steps));
  const auto rows = static_cast<size_t>(shape.rows), cols = static_cast<size_t>(shape.cols);
  Orthogonalize<T>(iteration, x, rows, cols, x, {x + shape.Size(), WorkspaceSize<T>(rows, cols)},
                   s.parallel);
}

/// p <- p - lr (decay p + scale o).
template <class R, class T>
void Apply(const R& rule, const WholeStep<T>& s, const Shape& shape, const T* o) {
  const auto decay = static_cast<T>(rule.lr * rule.weight_decay);
  const auto step = static_cast<T>(rule.lr * Scale<R>(shape));
  ForRanges(s.parallel, shape.Size(), [&](int64_t begin, int64_t end) {
    if (decay == 0) {
      for (int64_t i = begin; i < end; ++i) s.p[i] = s.p[i] - (T(0) + step * o[i]);
    } else {
      for (int64_t i = begin; i < end; ++i) s.p[i] = s.p[i] - (decay * s.p[i] + step * o[i]);
    }
  });
}

/// NorMuon works on rows with sums in double, in an order that nothing but the shape decides.
template <class T>
class Normalized {
 public:
  Normalized(const NorMuon& rule, const WholeStep<T>& step, const Shape& shape, T* x)
      : rule_(rule), s_(step), shape_(shape), x_(x) {}

  /// Scales every row to the root of the mean squared norm of rows.
  void EquilibrateRows() {
    double total = 0;
    for (int64_t r = 0; r < shape_.rows; ++r) total += SquaresOfRow(r);
    const double target = std::sqrt(total / static_cast<double>(shape_.rows));
    for (int64_t r = 0; r < shape_.rows; ++r) {
      ScaleRow(r, target / std::max(std::sqrt(SquaresOfRow(r)), kLeastNorm));
    }
  }

  /// Everything after the iterations.
  void Finish() {
    const int64_t rows = shape_.rows, cols = shape_.cols;
    const bool by_rows = rows >= cols;
    const int64_t count = by_rows ? rows : cols, extent = by_rows ? cols : rows;
    double total = 0;
    for (int64_t r = 0; r < rows; ++r) total += SquaresOfRow(r);
    const double norm = std::sqrt(static_cast<double>(std::min(rows, cols))) /
                        std::max(std::sqrt(total), kLeastNorm);

    // The sums of squares of rows or columns after that scaling, in scratch memory behind x.
    T* const sums = x_ + shape_.Size();
    std::fill_n(sums, count, T{0});
    for (int64_t r = 0; r < rows; ++r) {
      if (by_rows) {
        sums[r] = static_cast<T>(norm * norm * SquaresOfRow(r));
      } else {
        for (int64_t c = 0; c < cols; ++c) {
          const T o = static_cast<T>(norm) * x_[r * cols + c];
          sums[c] += o * o;
        }
      }
    }
    T* const variance = s_.state[1];
    double before = 0, after = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double sum = static_cast<double>(sums[k]);
      const double mean = sum / static_cast<double>(extent);
      const auto old = static_cast<double>(variance[k]);
      variance[k] = static_cast<T>(Mean(MeanShare(rule_.beta2), mean, old));
      const double root = 1 / std::sqrt(std::max(static_cast<double>(variance[k]), kLeastVariance));
      before += sum;
      after += sum * root * root;
      sums[k] = static_cast<T>(root);
    }
    const double scale = norm * std::sqrt(before) / std::max(std::sqrt(after), kLeastVariance);
    const auto lr = static_cast<T>(rule_.lr * Scale<NorMuon>(shape_));
    const auto decay = static_cast<T>(rule_.weight_decay);
    ForRanges(s_.parallel, rows, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * cols; i < end * cols; ++i) {
        const T o = static_cast<T>(scale) * sums[by_rows ? i / cols : i % cols] * x_[i];
        const T p = s_.p[i];
        // Decay where it goes the update's way.
        s_.p[i] = p - lr * (o + (decay != 0 && o * p >= 0 ? decay * p : T{0}));
      }
    });
  }

 private:
  static constexpr double kLeastNorm = 1e-6, kLeastVariance = 1e-10;

  double SquaresOfRow(int64_t row) const {
    const T* const x = x_ + row * shape_.cols;
    if constexpr (std::is_same_v<T, float>) {
      return s_.kernels.sum_squares(x, static_cast<size_t>(shape_.cols));
    } else {
      double sum = 0;
      for (int64_t c = 0; c < shape_.cols; ++c) sum += x[c] * x[c];
      return sum;
    }
  }

  void ScaleRow(int64_t row, double factor) {
    T* const x = x_ + row * shape_.cols;
    for (int64_t c = 0; c < shape_.cols; ++c) x[c] *= static_cast<T>(factor);
  }

  const NorMuon& rule_;
  const WholeStep<T>& s_;
  const Shape& shape_;
  T* x_;
};

}  // namespace

// What MakeWholeEntry asks for.

template <class R>
static std::vector<int64_t> SlotSizes(const R& rule, std::span<const int64_t> dims) {
  if (dims.size() < 2) {
    std::string shape = "{";
    for (const int64_t d : dims) shape += std::to_string(d);
    throw Error("has shape " + shape +
                "}; this rule is for tensors of two dimensions or more: give the others another "
                "rule with fallback = {rule = \"adamw\"} or a group");
  }
  if (rule.ns_steps != std::floor(rule.ns_steps)) {
    throw Error("has ns_steps = " + std::to_string(rule.ns_steps) + ", which is not an integer");
  }
  const Shape shape(dims);
  if constexpr (std::is_same_v<R, NorMuon>) return {shape.Size(), std::max(shape.rows, shape.cols)};
  return {shape.Size()};
}

template <class R>
static int64_t ScratchSize(const R& /*rule*/, std::span<const int64_t> dims) {
  const Shape shape(dims);
  const auto rows = static_cast<size_t>(shape.rows), cols = static_cast<size_t>(shape.cols);
  const size_t workspace = std::max(
      {WorkspaceSize<float>(rows, cols), WorkspaceSize<double>(rows, cols), std::max(rows, cols)});
  return shape.Size() + static_cast<int64_t>(workspace);
}

template <class R>
static MemoryTraffic Traffic(const R& /*rule*/, std::span<const int64_t> dims) {
  // Gradient and momentum, then parameter; x and the products stay near the processor or not.
  const int64_t bytes = Shape(dims).Size() * static_cast<int64_t>(sizeof(float));
  return {bytes * 3, bytes * 2};
}

template <class R, class T>
static void StepWhole(const R& rule, const WholeStep<T>& step) {
  const Shape shape(step.shape);
  T* const x = step.scratch;
  Blend(step, rule.momentum, shape.Size(), x);
  if constexpr (std::is_same_v<R, NorMuon>) {
    Normalized<T> normalized(rule, step, shape, x);
    normalized.EquilibrateRows();
    Orthogonal(rule, step, shape, x);
    normalized.Finish();
  } else {
    Orthogonal(rule, step, shape, x);
    Apply(rule, step, shape, x);
  }
}

std::vector<RuleEntry> internal::MuonRules() {
  return {MakeWholeEntry<Muon>(), MakeWholeEntry<MuonMatchRms>(), MakeWholeEntry<MuonRmsToRms>(),
          MakeWholeEntry<MuonPolarExpress>(), MakeWholeEntry<NorMuon>()};
}

}  // namespace kudari
