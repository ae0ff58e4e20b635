#include "kernels/kernels.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/rules/all.h"

// Targets without fused multiply-add are not compiled: there the scalar code runs, which rounds as
// the others do. Vectors of SVE cannot be members of a struct; such machines run NEON.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

#define KUDARI_LANES
#include "kudari/rules/all.h"
#undef KUDARI_LANES

// One vector. Loads and stores are here alone: the rule sees lanes of float, whatever the memory
// holds.
template <class R, size_t... I>
HWY_INLINE void One(const typename R::template Coeffs<float>& c, float factor, float limit,
                    float* HWY_RESTRICT p, const float* HWY_RESTRICT g, float* const* s, size_t i,
                    std::index_sequence<I...> /*slots*/) {
  const F32::D d;
  F32 w(hn::LoadU(d, p + i));
  F32 x[] = {F32(hn::LoadU(d, s[I] + i))..., F32(0.0F)};
  Update(c, Clamp(F32(factor) * F32(hn::LoadU(d, g + i)), F32(limit)), w, x[I]...);
  hn::StoreU(w.v, d, p + i);
  (hn::StoreU(x[I].v, d, s[I] + i), ...);
}

// Any n. The tail goes through a padded copy of one vector, so its elements get the same bits.
template <class R, size_t... I>
HWY_INLINE void Run(const float* coeffs, float factor, float limit, float* p, const float* g,
                    float* const* state, size_t n, const float* const* next,
                    std::index_sequence<I...> slots) {
  using C = typename R::template Coeffs<float>;
  C c;
  std::memcpy(&c, coeffs, sizeof(c));
  float* const s[] = {state[I]..., nullptr};
  const size_t lanes = hn::Lanes(F32::D());
  const size_t rest = n % lanes, whole = n - rest;
  // The last vectors prefetch the beginning of what comes next, so that the stream never stops.
  const size_t ahead = std::min(internal::PrefetchDistance() / lanes * lanes, whole);
  const size_t turn = whole - ahead;
  size_t i = 0;
  for (; i < turn; i += lanes) {
    hwy::Prefetch(p + i + ahead);
    hwy::Prefetch(g + i + ahead);
    (hwy::Prefetch(s[I] + i + ahead), ...);
    One<R>(c, factor, limit, p, g, s, i, slots);
  }
  if (next != nullptr) {
    for (; i < whole; i += lanes) {
      hwy::Prefetch(next[0] + (i - turn));
      hwy::Prefetch(next[1] + (i - turn));
      (hwy::Prefetch(next[2 + I] + (i - turn)), ...);
      One<R>(c, factor, limit, p, g, s, i, slots);
    }
  }
  for (; i < whole; i += lanes) One<R>(c, factor, limit, p, g, s, i, slots);
  if (rest == 0) return;
  HWY_ALIGN float tail[2 + sizeof...(I)][HWY_MAX_BYTES / sizeof(float)] = {};
  float* const tail_state[] = {tail[2 + I]..., nullptr};
  std::memcpy(tail[0], p + whole, rest * sizeof(float));
  std::memcpy(tail[1], g + whole, rest * sizeof(float));
  (std::memcpy(tail[2 + I], s[I] + whole, rest * sizeof(float)), ...);
  One<R>(c, factor, limit, tail[0], tail[1], tail_state, 0, slots);
  std::memcpy(p + whole, tail[0], rest * sizeof(float));
  (std::memcpy(s[I] + whole, tail[2 + I], rest * sizeof(float)), ...);
}

template <class R>
void Step(const float* coeffs, float factor, float limit, float* p, const float* g,
          float* const* state, size_t n, const float* const* next) {
  Run<R>(coeffs, factor, limit, p, g, state, n, next, std::make_index_sequence<R::kState.size()>());
}

double SumSquares(const float* x, size_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(double);
  constexpr size_t kVectors = 16 / kLanes;
  hn::Vec<decltype(d)> sum[kVectors];
  for (auto& s : sum) s = hn::Zero(d);
  const auto add = [&](const float* at) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const auto v = hn::PromoteTo(d, hn::LoadU(half, at + k * kLanes));
      sum[k] = hn::MulAdd(v, v, sum[k]);  // the product of two floats is exact in double
    }
  };
  const size_t rest = n % 16, whole = n - rest;
  const size_t ahead = std::min(internal::PrefetchDistance() / 16 * 16, whole);
  size_t i = 0;
  for (; i < whole - ahead; i += 16) {
    hwy::Prefetch(x + i + ahead);
    add(x + i);
  }
  for (; i < whole; i += 16) add(x + i);
  if (rest != 0) {
    float tail[16] = {};
    std::memcpy(tail, x + whole, rest * sizeof(float));
    add(tail);
  }
  double lanes[16];
  for (size_t k = 0; k < kVectors; ++k) hn::StoreU(sum[k], d, lanes + k * kLanes);
  return internal::SumLanes(lanes);
}

void AddScaled(float* HWY_RESTRICT y, const float* HWY_RESTRICT x, float a, size_t n) {
  const F32::D d;
  const auto scale = hn::Set(d, a);
  const size_t lanes = hn::Lanes(d);
  const size_t rest = n % lanes, whole = n - rest;
  for (size_t i = 0; i < whole; i += lanes) {
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  if (rest == 0) return;
  HWY_ALIGN float tail[2][HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(tail[0], y + whole, rest * sizeof(float));
  std::memcpy(tail[1], x + whole, rest * sizeof(float));
  hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, tail[1]), hn::LoadU(d, tail[0])), d, tail[0]);
  std::memcpy(y + whole, tail[0], rest * sizeof(float));
}

std::string_view CompiledFor() { return hwy::TargetName(HWY_TARGET); }

template <class... R>
const internal::KernelFn* Table(TypeList<R...> /*rules*/) {
  static constexpr internal::KernelFn table[] = {&Step<R>...};
  return table;
}

internal::KernelSet Set(std::string_view target) {
  return {target, Table(AllRules()), &SumSquares, &AddScaled, &CompiledFor};
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {

const std::vector<KernelSet>& AllKernels() {
  static const std::vector<KernelSet> all = [] {
    const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
    std::vector<KernelSet> sets;
#if HWY_TARGETS & HWY_AVX3
    if (supported & HWY_AVX3) sets.push_back(N_AVX3::Set("avx512"));
#endif
#if HWY_TARGETS & HWY_AVX2
    if (supported & HWY_AVX2) sets.push_back(N_AVX2::Set("avx2"));
#endif
#if HWY_TARGETS & HWY_NEON
    if (supported & HWY_NEON) sets.push_back(N_NEON::Set("neon"));
#endif
    static_cast<void>(supported);
    sets.push_back(ScalarKernels());
    return sets;
  }();
  return all;
}

size_t ParsePrefetch(std::string_view text) {
  size_t floats = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), floats);
  if (error != std::errc() || end != text.data() + text.size() || floats > kMostPrefetch) {
    throw Error("KUDARI_PREFETCH = \"" + std::string(text) + "\" is not an integer in [0, " +
                std::to_string(kMostPrefetch) + "]");
  }
  return floats;
}

size_t PrefetchDistance() {
  static const size_t distance = [] {
    const char* const wanted = std::getenv("KUDARI_PREFETCH");
    if (wanted != nullptr && *wanted != '\0') return ParsePrefetch(wanted);
#if HWY_ARCH_X86 && HWY_COMPILER_GCC
    // Measured: Sapphire Rapids is fastest from 256 to 1024, Zen 4 from 32 to 128.
    __builtin_cpu_init();
    if (__builtin_cpu_is("intel")) return size_t{512};
#endif
    return size_t{64};
  }();
  return distance;
}

const KernelSet& Kernels() {
  static_cast<void>(PrefetchDistance());  // a bad value is an error here, not inside a step
  const char* const wanted = std::getenv("KUDARI_TARGET");
  if (wanted == nullptr || *wanted == '\0') return AllKernels().front();
  std::string known;
  for (const KernelSet& set : AllKernels()) {
    if (set.target == wanted) return set;
    known += (known.empty() ? "" : ", ") + std::string(set.target);
  }
  throw Error("KUDARI_TARGET = \"" + std::string(wanted) + "\" is not one of " + known);
}

}  // namespace kudari::internal
#endif  // HWY_ONCE
