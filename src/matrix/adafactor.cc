#include "kudari/rules/adafactor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <type_traits>

#include "kernels/kernels.h"
#include "kudari/parallel.h"
#include "matrix/whole_rules.h"

namespace kudari {
namespace {

/// A tensor as rows that are factored with columns: shape A x I x B x J x C, where I and J are the
/// two dimensions whose second moments are kept as means. Row (a, i, b) is J C adjacent elements.
struct View {
  int64_t a = 1, i = 1, b = 1, j = 1, c = 1;

  int64_t Rows() const { return a * i * b; }
  int64_t Inner() const { return j * c; }
  int64_t RowSize() const { return Rows() * c; }       // of row_var
  int64_t ColSize() const { return a * b * Inner(); }  // of col_var
  int64_t Groups() const { return a * b * c; }         // independent matrices
  int64_t Size() const { return Rows() * Inner(); }
  // Where the columns of a row begin in col_var.
  int64_t ColumnsOf(int64_t row) const { return (row / (i * b) * b + row % b) * Inner(); }
  // The matrix that (row, c = 0) belongs to.
  int64_t GroupOf(int64_t row) const { return (row / (i * b) * b + row % b) * c; }

  // Rows are worked on in panels, whose number depends on the shape alone.
  int64_t PanelRows() const {
    constexpr int64_t kMostPanels = 32, kLeast = 16384;
    return std::max({(Rows() + kMostPanels - 1) / kMostPanels,
                     kLeast / std::max<int64_t>(1, Inner()), int64_t{1}});
  }
  int64_t Panels() const { return (Rows() + PanelRows() - 1) / PanelRows(); }
};

View Factored(std::span<const int64_t> shape, size_t row, size_t column) {
  View v;
  for (size_t k = 0; k < shape.size(); ++k) {
    (k < row ? v.a : k == row ? v.i : k < column ? v.b : k == column ? v.j : v.c) *= shape[k];
  }
  return v;
}

/// The two largest dimensions; of equal ones the last.
View ViewOf(const Adafactor& /*rule*/, std::span<const int64_t> shape) {
  size_t first = shape.size() - 1;
  for (size_t k = shape.size(); k-- > 0;) {
    if (shape[k] > shape[first]) first = k;
  }
  size_t second = first == shape.size() - 1 ? shape.size() - 2 : shape.size() - 1;
  for (size_t k = shape.size(); k-- > 0;) {
    if (k != first && shape[k] > shape[second]) second = k;
  }
  return Factored(shape, std::min(first, second), std::max(first, second));
}

/// The two last dimensions.
View ViewOf(const AdafactorTorch& /*rule*/, std::span<const int64_t> shape) {
  return Factored(shape, shape.size() - 2, shape.size() - 1);
}

// Elements of a vector's piece of work, and of column factors.
constexpr int64_t kVectorBlock = 16384, kColumnPiece = 512;
int64_t VectorBlocks(int64_t n) { return (n + kVectorBlock - 1) / kVectorBlock; }

int64_t SizeOf(std::span<const int64_t> shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

/// A step's numbers, in which the two conventions differ.
struct Plan {
  double lr, beta2_decay, d;
  double add;         // to g^2
  double least_mean;  // of row factors
  double floor;       // of the variance
  double least_size;  // of the weights, for alpha
  double decay;       // in units of lr, or of alpha
  bool decay_by_alpha;
};

Plan PlanOf(const Adafactor& r) {
  return {.lr = r.lr,
          .beta2_decay = r.beta2_decay,
          .d = r.d,
          .add = r.eps1,
          .least_mean = 0,
          .floor = 0,
          .least_size = r.eps2,
          .decay = r.weight_decay,
          .decay_by_alpha = true};
}

Plan PlanOf(const AdafactorTorch& r) {
  return {.lr = r.lr,
          .beta2_decay = r.beta2_decay,
          .d = r.d,
          .add = 0,
          .least_mean = r.eps1,
          .floor = r.eps1 * r.eps1,
          .least_size = r.eps2,
          .decay = r.weight_decay,
          .decay_by_alpha = false};
}

/// 1 / sqrt(x); a variance of zero belongs to gradients of zero, which make no update.
double InverseRoot(double x) { return x == 0 ? 0 : 1 / std::sqrt(x); }

template <class T>
double SumSquares(const internal::KernelSet& kernels, const T* x, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    return kernels.sum_squares(x, static_cast<size_t>(n));
  } else {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
    return sum;
  }
}

/// One step of one tensor.
template <class T>
class Step {
 public:
  Step(const WholeStep<T>& step, const Plan& plan)
      : s_(step),
        plan_(plan),
        share_(MeanShare(1 - std::pow(static_cast<double>(step.t), plan.beta2_decay))),
        rho_(std::min(plan.lr, 1 / std::sqrt(static_cast<double>(step.t)))),
        size_(static_cast<double>(SizeOf(step.shape))) {
    if constexpr (std::is_same_v<T, float>) {
      passes_ = s_.kernels.rows;
    } else {
      passes_ = internal::ScalarRows<T>();
    }
  }

  void Vector() {
    const int64_t n = SizeOf(s_.shape), blocks = VectorBlocks(n);
    T* const variance = s_.state[2];
    const auto share = static_cast<T>(share_), add = static_cast<T>(plan_.add),
               floor = static_cast<T>(plan_.floor);
    const auto size = [n](int64_t begin) { return std::min(kVectorBlock, n - begin); };
    sums_ = reinterpret_cast<double*>(s_.scratch);
    Share(blocks, false, [&](int64_t k) {
      const int64_t at = k * kVectorBlock;
      sums_[2 * k] = SumSquares(s_.kernels, s_.p + at, size(at));
      sums_[2 * k + 1] =
          passes_.vary(s_.form, s_.g + at, variance + at, share, add, floor, Count(size(at)));
    });
    SetLengths(blocks);
    const auto step = static_cast<T>(step_), decay = static_cast<T>(decay_);
    Share(blocks, true, [&](int64_t k) {
      const int64_t at = k * kVectorBlock;
      passes_.apply_varied(s_.form, s_.p + at, s_.g + at, variance + at, step, decay, floor,
                           Count(size(at)));
    });
  }

  void Matrix(const View& view) {
    v_ = view;
    row_var_ = s_.state[0];
    col_var_ = s_.state[1];
    const int64_t panels = v_.Panels();
    columns_ = reinterpret_cast<double*>(s_.scratch);
    sums_ = columns_ + 2 * panels * v_.ColSize();
    means_ = sums_ + 2 * panels;
    least_ = means_ + v_.Groups();
    row_factor_ = reinterpret_cast<T*>(least_ + v_.a * v_.b);
    col_factor_ = row_factor_ + v_.RowSize();

    Share(panels, false, [this](int64_t k) { MeasurePanel(k); });
    Share((v_.ColSize() + kColumnPiece - 1) / kColumnPiece, false,
          [this](int64_t k) { FactorColumns(k); });
    Summarize();
    Share(panels, false, [this](int64_t k) { FactorRows(k); });
    const bool sums_suffice = SumUpdates();
    if (!sums_suffice) Share(panels, true, [this](int64_t k) { MeasureUpdate(k); });
    SetLengths(panels);
    Share(panels, sums_suffice, [this](int64_t k) { Apply(k); });
  }

 private:
  /// Calls f(k) for every panel or block, those of a thread one after the other, the last first if
  /// `backwards`: what one pass saw last may still be in the cache for the next.
  template <class F>
  void Share(int64_t panels, bool backwards, const F& f) {
    const auto threads = static_cast<int>(std::min<int64_t>(panels, Threads(s_.parallel)));
    const auto work = [&](int worker) {
      const int64_t begin = panels * worker / threads, end = panels * (worker + 1) / threads;
      for (int64_t k = begin; k < end; ++k) f(backwards ? begin + end - 1 - k : k);
    };
    RunParallel(s_.parallel, threads, std::cref(work));
  }

  T Blended(T old, double now) const {
    return static_cast<T>(Mean(share_, now, static_cast<double>(old)));
  }

  /// The step size, from the sums of squares of that number of panels.
  void SetLengths(int64_t panels) {
    double params = 0, updates = 0;
    for (int64_t k = 0; k < panels; ++k) {
      params += sums_[2 * k];
      updates += sums_[2 * k + 1];
    }
    const double alpha = std::max(plan_.least_size, std::sqrt(params / size_)) * rho_;
    step_ = alpha / std::max(1.0, std::sqrt(updates / size_) / plan_.d);
    decay_ = plan_.decay * (plan_.decay_by_alpha ? alpha : plan_.lr);
  }

  int64_t PanelEnd(int64_t k) const { return std::min(v_.Rows(), (k + 1) * v_.PanelRows()); }
  const T* Gradient(int64_t row) const { return s_.g + row * v_.Inner(); }
  static size_t Count(int64_t n) { return static_cast<size_t>(n); }

  /// Where a panel's sums for columns begin, of squares and, after ColSize() of them, of squares
  /// divided by their row's variance.
  double* Columns(int64_t k) const { return columns_ + 2 * k * v_.ColSize(); }

  /// Row factors, and what the panel adds to column factors and to the size of the weights.
  void MeasurePanel(int64_t k) {
    std::fill_n(Columns(k), 2 * v_.ColSize(), 0.0);
    double weights = 0;
    for (int64_t row = k * v_.PanelRows(), rows = 0; row < PanelEnd(k); row += rows) {
      rows = SameColumns(row, PanelEnd(k));
      weights += SumSquares(s_.kernels, s_.p + row * v_.Inner(), rows * v_.Inner());
      double* const columns = Columns(k) + v_.ColumnsOf(row);
      if (v_.c == 1) {
        MeasureRows(row, rows, columns);
      } else {
        MeasureStrided(row, columns);
      }
    }
    sums_[2 * k] = weights;
  }

  /// The number of rows from this one on that have the same columns, at most what a pass takes.
  int64_t SameColumns(int64_t row, int64_t end) const {
    constexpr auto kMost = static_cast<int64_t>(internal::RowPasses<T>::kMostRows);
    if (v_.b > 1 || v_.c > 1) return 1;
    return std::min({kMost, end - row, v_.i - row % v_.i});
  }

  void MeasureRows(int64_t row, int64_t rows, double* columns) {
    T scales[internal::RowPasses<T>::kMostRows] = {};
    for (int64_t k = 0; k < rows; ++k) {
      T& var = row_var_[row + k];
      const double sum = passes_.squares(s_.form, Gradient(row + k), Count(v_.j));
      var = Blended(var, sum / static_cast<double>(v_.j) + plan_.add);
      scales[k] = static_cast<T>(InverseRoot(static_cast<double>(var)));
    }
    passes_.columns(s_.form, Gradient(row), Count(v_.j), Count(rows), scales, columns,
                    columns + v_.ColSize());
  }

  /// A row of several matrices, whose elements are not adjacent.
  void MeasureStrided(int64_t row, double* columns) {
    const T* const g = Gradient(row);
    for (int64_t c = 0; c < v_.c; ++c) {
      double sum = 0;
      for (int64_t j = c; j < v_.Inner(); j += v_.c) {
        const auto x = static_cast<double>(s_.form(g[j]));
        columns[j] += x * x;
        sum += x * x;
      }
      T& var = row_var_[row * v_.c + c];
      var = Blended(var, sum / static_cast<double>(v_.j) + plan_.add);
    }
  }

  /// Column factors, from the sums of all panels, and the roots by which updates are scaled; a
  /// piece of the columns.
  void FactorColumns(int64_t piece) {
    const int64_t begin = piece * kColumnPiece, end = std::min(v_.ColSize(), begin + kColumnPiece);
    for (const int64_t half : {int64_t{0}, v_.ColSize()}) {
      double* const sums = columns_ + half;
      for (int64_t k = 1; k < v_.Panels(); ++k) {
        const double* const more = Columns(k) + half;
        for (int64_t j = begin; j < end; ++j) sums[j] += more[j];
      }
    }
    for (int64_t j = begin; j < end; ++j) {
      T& var = col_var_[j];
      var = Blended(var, columns_[j] / static_cast<double>(v_.i) + plan_.add);
      col_factor_[j] = static_cast<T>(InverseRoot(static_cast<double>(var)));
    }
  }

  /// The means of row factors, and the least column factors.
  void Summarize() {
    std::fill_n(means_, v_.Groups(), 0.0);
    for (int64_t row = 0, group = 0; row < v_.Rows(); ++row) {
      if (row % v_.i == 0 || v_.b > 1) group = v_.GroupOf(row);
      for (int64_t c = 0; c < v_.c; ++c) {
        means_[group + c] += static_cast<double>(row_var_[row * v_.c + c]);
      }
    }
    for (int64_t g = 0; g < v_.Groups(); ++g) {
      means_[g] = std::max(means_[g] / static_cast<double>(v_.i), plan_.least_mean);
    }
    for (int64_t k = 0; k < v_.a * v_.b; ++k) {
      const T* const var = col_var_ + k * v_.Inner();
      least_[k] = static_cast<double>(*std::min_element(var, var + v_.Inner()));
    }
  }

  /// The roots by which updates of a panel's rows are scaled, and whether all are separable.
  void FactorRows(int64_t k) {
    bool separable = true;
    for (int64_t row = k * v_.PanelRows(); row < PanelEnd(k); ++row) {
      for (int64_t c = 0; c < v_.c; ++c) {
        row_factor_[row * v_.c + c] = static_cast<T>(InverseRoot(RowRatio(row, c)));
      }
      separable = separable && Separable(row);
    }
    sums_[2 * k + 1] = separable ? 1 : 0;
  }

  /// The sum of squares of the unclipped update where every row's is separable: it follows from the
  /// sums for columns, without another look at the gradient. Else returns false.
  bool SumUpdates() {
    for (int64_t k = 0; k < v_.Panels(); ++k) {
      if (sums_[2 * k + 1] == 0) return false;
    }
    const double* const scaled = columns_ + v_.ColSize();
    double sum = 0;
    for (int64_t g = 0; g < v_.Groups(); ++g) {
      double of_group = 0;
      for (int64_t j = g * v_.j; j < (g + 1) * v_.j; ++j) {
        const auto factor = static_cast<double>(col_factor_[j]);
        of_group += factor * factor * scaled[j];
      }
      sum += means_[g] * of_group;
    }
    for (int64_t k = 0; k < v_.Panels(); ++k) sums_[2 * k + 1] = k == 0 ? sum : 0;
    return true;
  }

  double RowRatio(int64_t row, int64_t c) const {
    const auto var = static_cast<double>(row_var_[row * v_.c + c]);
    return var == 0 ? 0 : var / means_[v_.GroupOf(row) + c];
  }

  /// Whether the row's update is the gradient times a row and a column factor.
  bool Separable(int64_t row) const {
    if (v_.c > 1) return false;
    // No variance, no gradient and no update.
    if (plan_.floor == 0 || row_var_[row] == 0) return true;
    return RowRatio(row, 0) * least_[v_.ColumnsOf(row) / v_.Inner()] >= plan_.floor;
  }

  /// The unclipped update of element `at` of a row.
  double Update(int64_t row, int64_t at) const {
    const double var =
        RowRatio(row, at % v_.c) * static_cast<double>(col_var_[v_.ColumnsOf(row) + at]);
    const auto x = static_cast<double>(s_.form(Gradient(row)[at]));
    return x * InverseRoot(std::max(var, plan_.floor));
  }

  /// The sum of squares of the unclipped update.
  void MeasureUpdate(int64_t k) {
    double sum = 0;
    for (int64_t row = k * v_.PanelRows(); row < PanelEnd(k); ++row) {
      if (Separable(row)) {
        const auto factor = static_cast<double>(row_factor_[row]);
        sum += factor * factor *
               passes_.weighted_squares(s_.form, Gradient(row), col_factor_ + v_.ColumnsOf(row),
                                        Count(v_.j));
      } else {
        for (int64_t at = 0; at < v_.Inner(); ++at) {
          const double u = Update(row, at);
          sum += u * u;
        }
      }
    }
    sums_[2 * k + 1] = sum;
  }

  void Apply(int64_t k) {
    for (int64_t row = k * v_.PanelRows(); row < PanelEnd(k); ++row) {
      T* const p = s_.p + row * v_.Inner();
      if (Separable(row)) {
        const auto factor = static_cast<T>(step_ * static_cast<double>(row_factor_[row]));
        passes_.apply(s_.form, p, Gradient(row), col_factor_ + v_.ColumnsOf(row), factor,
                      static_cast<T>(decay_), Count(v_.j));
      } else {
        for (int64_t at = 0; at < v_.Inner(); ++at) {
          const auto x = static_cast<double>(p[at]);
          p[at] = static_cast<T>(x - AddShare(decay_, x, step_ * Update(row, at)));
        }
      }
    }
  }

  const WholeStep<T>& s_;
  const Plan& plan_;
  double share_, rho_, size_;
  double step_ = 0, decay_ = 0;
  View v_;
  internal::RowPasses<T> passes_ = {};
  T *row_var_ = nullptr, *col_var_ = nullptr;
  double* columns_ = nullptr;  // the panels' sums for columns
  double* sums_ = nullptr;     // of squares of weights and updates, for each panel
  double* means_ = nullptr;    // of row_var, for each matrix
  double* least_ = nullptr;    // of col_var, for each set of columns
  T *row_factor_ = nullptr, *col_factor_ = nullptr;
};

}  // namespace

// What MakeWholeEntry asks for.

template <class R>
static std::vector<int64_t> SlotSizes(const R& rule, std::span<const int64_t> shape) {
  if (shape.size() < 2) return {0, 0, SizeOf(shape)};
  const View v = ViewOf(rule, shape);
  return {v.RowSize(), v.ColSize(), 0};
}

template <class R>
static int64_t ScratchSize(const R& rule, std::span<const int64_t> shape) {
  // Doubles count twice.
  if (shape.size() < 2) return std::int64_t{4} * VectorBlocks(SizeOf(shape));
  const View v = ViewOf(rule, shape);
  return 2 * (2 * v.Panels() * (v.ColSize() + 1) + v.Groups() + v.a * v.b) + v.RowSize() +
         v.ColSize();
}

template <class R>
static MemoryTraffic Traffic(const R& /*rule*/, std::span<const int64_t> shape) {
  const int64_t bytes = SizeOf(shape) * static_cast<int64_t>(sizeof(float));
  if (shape.size() < 2) return {bytes * 5, bytes * 2};  // g, p, v; then g, p, v
  return {bytes * 4, bytes};                            // g, p; g, p
}

template <class R, class T>
static void StepWhole(const R& rule, const WholeStep<T>& step) {
  const Plan plan = PlanOf(rule);
  Step<T> s(step, plan);
  if (step.shape.size() < 2) {
    s.Vector();
  } else {
    s.Matrix(ViewOf(rule, step.shape));
  }
}

std::vector<RuleEntry> internal::AdafactorRules() {
  return {MakeWholeEntry<Adafactor>(), MakeWholeEntry<AdafactorTorch>()};
}

}  // namespace kudari
