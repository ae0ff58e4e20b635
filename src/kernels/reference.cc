// The rules again, over plain scalars: what every kernel is tested against, and what runs where
// there is no fused multiply-add.
#include "kernels/doubles.h"
#include "kernels/kernels.h"
#include "kudari/rules/all.h"
#include "kudari/scalar.h"

#define KUDARI_INLINE inline

namespace kudari {

#define KUDARI_LANES
#include "kudari/rules/all.h"
#undef KUDARI_LANES

namespace {

template <class... R>
std::vector<RuleEntry> Entries(TypeList<R...> /*rules*/) {
  std::vector<RuleEntry> entries = {MakeEntry<R>()...};
  for (size_t i = 0; i < entries.size(); ++i) entries[i].kernel = static_cast<int>(i);
  return entries;
}

void AddSquares(const float* x, size_t n, double* lanes) {
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += static_cast<double>(x[i]) * x[i];
}

void AddSquaresOfDoubles(const double* x, size_t n, double* lanes) {
  for (size_t i = 0; i < n; ++i) lanes[i % 16] = Fma(x[i], x[i], lanes[i % 16]);
}

void Add(const float* x, size_t n, double* lanes) {
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += static_cast<double>(x[i]);
}

void AddProducts(const float* x, const float* y, size_t n, double* lanes) {
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += static_cast<double>(x[i]) * y[i];
}

void AddScaled(float* y, const float* x, float a, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = Fma(a, x[i], y[i]);
}

void Adapt(const float* w, const float* x, float eta, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = (std::abs(w[i]) + eta) * x[i];
}

template <class T>
void Penalize(const GradientForm<T>& form, T l1, T l2, const T* p, const T* g, size_t n, T* out) {
  for (size_t i = 0; i < n; ++i) {
    out[i] = AddShare(l1, Sign(p[i]), AddShare(l2, p[i], form(g[i])));
  }
}

void Flush(float* x, size_t n) {
  std::replace_if(
      x, x + n, [](float v) { return std::abs(v) < std::numeric_limits<float>::min(); }, 0.0F);
}

template <class T>
double RowSquares(const GradientForm<T>& form, const T* g, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) {
    const auto x = static_cast<double>(form(g[i]));
    lanes[i % 16] = Fma(x, x, lanes[i % 16]);
  }
  return internal::SumLanes(lanes);
}

template <class T>
void RowColumns(const GradientForm<T>& form, const T* g, size_t n, size_t rows, const T* scales,
                double* columns, double* scaled) {
  for (size_t i = 0; i < n; ++i) {
    T sum = 0, scaled_sum = 0;
    for (size_t row = 0; row < rows; ++row) {
      const T x = form(g[row * n + i]), y = x * scales[row];
      sum = Fma(x, x, sum);
      scaled_sum = Fma(y, y, scaled_sum);
    }
    columns[i] += static_cast<double>(sum);
    scaled[i] += static_cast<double>(scaled_sum);
  }
}

template <class T>
double RowWeightedSquares(const GradientForm<T>& form, const T* g, const T* w, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) {
    const auto x = static_cast<double>(form(g[i]) * w[i]);
    lanes[i % 16] = Fma(x, x, lanes[i % 16]);
  }
  return internal::SumLanes(lanes);
}

template <class T>
void RowApply(const GradientForm<T>& form, T* p, const T* g, const T* w, T row, T decay, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    p[i] = p[i] - AddShare(decay, p[i], form(g[i]) * row * w[i]);
  }
}

template <class T>
T Varied(T x, T v, T floor) {
  const T w = v < floor ? floor : v;
  return w == 0 ? T{0} : x / Sqrt(w);
}

template <class T>
double RowVary(const GradientForm<T>& form, const T* g, T* v, T share, T add, T floor, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) {
    const T x = form(g[i]);
    v[i] = Mean(share, Fma(x, x, add), v[i]);
    const auto u = static_cast<double>(Varied(x, v[i], floor));
    lanes[i % 16] = Fma(u, u, lanes[i % 16]);
  }
  return internal::SumLanes(lanes);
}

template <class T>
void RowApplyVaried(const GradientForm<T>& form, T* p, const T* g, const T* v, T step, T decay,
                    T floor, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    p[i] = p[i] - AddShare(decay, p[i], step * Varied(form(g[i]), v[i], floor));
  }
}

std::string_view CompiledFor() { return "scalar"; }

}  // namespace

namespace internal {

template <class T>
RowPasses<T> ScalarRows() {
  return {&RowSquares<T>, &RowColumns<T>, &RowWeightedSquares<T>,
          &RowApply<T>,   &RowVary<T>,    &RowApplyVaried<T>};
}
template RowPasses<float> ScalarRows<float>();
template RowPasses<double> ScalarRows<double>();

std::vector<RuleEntry> ElementwiseRules() { return Entries(AllRules()); }

const KernelSet& ScalarKernels() {
  static const KernelSet set = {
      "scalar",   nullptr, &AddSquares,      &Add,   &AddProducts, ScalarRows<float>(),
      &AddScaled, &Adapt,  &Penalize<float>, &Flush, &CompiledFor};
  return set;
}

const DoubleKernels& ScalarDoubles() {
  static constexpr DoubleKernels kKernels = {nullptr, nullptr, &AddSquaresOfDoubles,
                                             &Penalize<double>};
  return kKernels;
}

}  // namespace internal
}  // namespace kudari
