// The rules again, over plain scalars: what every kernel is tested against, and what runs where
// there is no fused multiply-add.
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

double SumSquares(const float* x, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += static_cast<double>(x[i]) * x[i];
  return internal::SumLanes(lanes);
}

double Sum(const float* x, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += static_cast<double>(x[i]);
  return internal::SumLanes(lanes);
}

void AddScaled(float* y, const float* x, float a, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = Fma(a, x[i], y[i]);
}

std::string_view CompiledFor() { return "scalar"; }

}  // namespace

namespace internal {

std::vector<RuleEntry> ElementwiseRules() { return Entries(AllRules()); }

const KernelSet& ScalarKernels() {
  static const KernelSet set = {"scalar", nullptr, &SumSquares, &Sum, &AddScaled, &CompiledFor};
  return set;
}

}  // namespace internal
}  // namespace kudari
