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

// The arrays of a step: p, g and one a slot.
template <size_t kSlots>
struct Pointers {
  float* p;
  const float* g;
  float* s[kSlots + 1];  // an array of none is not allowed
};

// One vector of D at element i. Loads and stores are here alone: the rule sees lanes of float,
// whatever the memory holds.
template <class D, class R, size_t... I>
HWY_INLINE void One(const typename R::template Coeffs<float>& c, float factor, float limit,
                    const Pointers<sizeof...(I)>& at, size_t i,
                    std::index_sequence<I...> /*slots*/) {
  using V = F32<D>;
  const D d;
  V w(hn::LoadU(d, at.p + i));
  V x[] = {V(hn::LoadU(d, at.s[I] + i))..., V(0.0F)};
  Update(c, Clamp(V(factor) * V(hn::LoadU(d, at.g + i)), V(limit)), w, x[I]...);
  hn::StoreU(w.v, d, at.p + i);
  (hn::StoreU(x[I].v, d, at.s[I] + i), ...);
}

// The last rest < 4 elements go through a padded copy of one vector, so that they get the same
// bits.
template <class D, class R, size_t... I>
HWY_NOINLINE void Tail(const typename R::template Coeffs<float>& c, float factor, float limit,
                       const Pointers<sizeof...(I)>& at, size_t i, size_t rest,
                       std::index_sequence<I...> slots) {
  constexpr size_t kMost = 4;
  float copy[2 + sizeof...(I)][kMost] = {};
  const Pointers<sizeof...(I)> padded = {copy[0], copy[1], {copy[2 + I]..., nullptr}};
  std::memcpy(copy[0], at.p + i, rest * sizeof(float));
  std::memcpy(copy[1], at.g + i, rest * sizeof(float));
  (std::memcpy(copy[2 + I], at.s[I] + i, rest * sizeof(float)), ...);
  One<D, R>(c, factor, limit, padded, 0, slots);
  std::memcpy(at.p + i, copy[0], rest * sizeof(float));
  (std::memcpy(at.s[I] + i, copy[2 + I], rest * sizeof(float)), ...);
}

// Any n.
template <class R, size_t... I>
HWY_INLINE void Run(const float* coeffs, float factor, float limit, float* p, const float* g,
                    float* const* state, size_t n, const float* const* next,
                    std::index_sequence<I...> slots) {
  using Wide = hn::ScalableTag<float>;
  using Eight = hn::CappedTag<float, 8>;
  using Four = hn::CappedTag<float, 4>;
  typename R::template Coeffs<float> c;
  std::memcpy(&c, coeffs, sizeof(c));
  const Pointers<sizeof...(I)> at = {p, g, {state[I]..., nullptr}};
  const size_t lanes = hn::Lanes(Wide());
  const size_t whole = n - n % lanes;
  // The last vectors prefetch the beginning of what comes next, so that the stream never stops.
  const size_t ahead = std::min(internal::PrefetchDistance() / lanes * lanes, whole);
  const size_t turn = whole - ahead;
  size_t i = 0;
  for (; i < turn; i += lanes) {
    hwy::Prefetch(p + i + ahead);
    hwy::Prefetch(g + i + ahead);
    (hwy::Prefetch(at.s[I] + i + ahead), ...);
    One<Wide, R>(c, factor, limit, at, i, slots);
  }
  if (next != nullptr) {
    for (; i < whole; i += lanes) {
      hwy::Prefetch(next[0] + (i - turn));
      hwy::Prefetch(next[1] + (i - turn));
      (hwy::Prefetch(next[2 + I] + (i - turn)), ...);
      One<Wide, R>(c, factor, limit, at, i, slots);
    }
  }
  for (; i < whole; i += lanes) One<Wide, R>(c, factor, limit, at, i, slots);
  // Narrower vectors for what is left: most tensors have a multiple of eight elements.
  for (; i + hn::Lanes(Eight()) <= n; i += hn::Lanes(Eight())) {
    One<Eight, R>(c, factor, limit, at, i, slots);
  }
  for (; i + hn::Lanes(Four()) <= n; i += hn::Lanes(Four())) {
    One<Four, R>(c, factor, limit, at, i, slots);
  }
  if (i < n) Tail<Four, R>(c, factor, limit, at, i, n - i, slots);
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
  const hn::ScalableTag<float> d;
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
