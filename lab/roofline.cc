#include "lab/roofline.h"

#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lab/roofline.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kudari::lab {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <bool kPrefetch, size_t... I>
HWY_INLINE void Loop(const Stream& s, size_t ahead, float zero,
                     std::index_sequence<I...> /*slots*/) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  float* HWY_RESTRICT p = s.p;
  const float* HWY_RESTRICT g = s.g;
  float* const state[] = {s.state[I]..., nullptr};
  const auto z = hn::Set(d, zero);
  for (size_t i = 0; i + lanes <= s.n; i += lanes) {
    if constexpr (kPrefetch) {
      hwy::Prefetch(p + i + ahead);
      hwy::Prefetch(g + i + ahead);
      (hwy::Prefetch(state[I] + i + ahead), ...);
    }
    // A product with a zero that the compiler does not know: the values stay.
    const auto x = hn::Mul(z, hn::LoadU(d, g + i));
    const auto w = hn::Add(hn::LoadU(d, p + i), x);
    const hn::Vec<decltype(d)> y[] = {hn::Add(hn::LoadU(d, state[I] + i), x)..., x};
    hn::StoreU(w, d, p + i);
    (hn::StoreU(y[I], d, state[I] + i), ...);
  }
}

template <size_t kSlots>
void StreamSlots(const Stream& s, size_t ahead, float zero) {
  constexpr std::make_index_sequence<kSlots> slots;
  return ahead > 0 ? Loop<true>(s, ahead, zero, slots) : Loop<false>(s, ahead, zero, slots);
}

void StreamHere(const Stream& s, size_t ahead, float zero) {
  static_assert(kMostStreamSlots == 4);
  switch (s.slots) {
    case 0:
      return StreamSlots<0>(s, ahead, zero);
    case 1:
      return StreamSlots<1>(s, ahead, zero);
    case 2:
      return StreamSlots<2>(s, ahead, zero);
    case 3:
      return StreamSlots<3>(s, ahead, zero);
    default:
      return StreamSlots<4>(s, ahead, zero);
  }
}

float ReadHere(const float* x, size_t n, size_t ahead) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  for (size_t i = 0; i + 2 * lanes <= n; i += 2 * lanes) {
    hwy::Prefetch(x + i + ahead);
    hwy::Prefetch(x + i + lanes + ahead);
    sum0 = hn::Add(sum0, hn::LoadU(d, x + i));
    sum1 = hn::Add(sum1, hn::LoadU(d, x + i + lanes));
  }
  return hn::GetLane(hn::Add(sum0, sum1));
}

}  // namespace HWY_NAMESPACE
}  // namespace kudari::lab
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::lab {

HWY_EXPORT(StreamHere);
HWY_EXPORT(ReadHere);

namespace {
volatile float zero = 0;
}  // namespace

void RunStream(const Stream& stream, size_t ahead) {
  HWY_DYNAMIC_DISPATCH(StreamHere)(stream, ahead, zero);
}

float RunRead(std::span<const float> x, size_t ahead) {
  return HWY_DYNAMIC_DISPATCH(ReadHere)(x.data(), x.size(), ahead);
}

}  // namespace kudari::lab
#endif  // HWY_ONCE
