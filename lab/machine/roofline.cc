#include "lab/machine/roofline.h"

#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lab/machine/roofline.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kudari::lab {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Sums what is only read, so that it is read, and adds the sum times a zero that the compiler does
// not know to what is written: the values stay. Returns a sum for passes that write nothing.
template <bool kGradient, bool kWriteP, size_t kWritten, class T, size_t... I>
HWY_INLINE T Loop(const Stream<T>& s, size_t ahead, T zero, std::index_sequence<I...> /*slots*/) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  T* HWY_RESTRICT p = s.p;
  const T* HWY_RESTRICT g = s.g;
  T* const state[] = {s.state[I]..., nullptr};
  const V z = hn::Set(d, zero);
  V total = hn::Zero(d);
  for (size_t i = 0; i + lanes <= s.n; i += lanes) {
    if (ahead > 0) {
      hwy::Prefetch(p + i + ahead);
      if constexpr (kGradient) hwy::Prefetch(g + i + ahead);
      (hwy::Prefetch(state[I] + i + ahead), ...);
    }
    const V w = hn::LoadU(d, p + i);
    const V y[] = {hn::LoadU(d, state[I] + i)..., w};
    V sum = hn::Zero(d);
    if constexpr (kGradient) sum = hn::LoadU(d, g + i);
    if constexpr (!kWriteP) sum = hn::Add(sum, w);
    ((sum = I < kWritten ? sum : hn::Add(sum, y[I])), ...);
    const V nothing = hn::Mul(z, sum);
    if constexpr (kWriteP) hn::StoreU(hn::Add(w, nothing), d, p + i);
    for (size_t k = 0; k < kWritten; ++k) hn::StoreU(hn::Add(y[k], nothing), d, state[k] + i);
    if constexpr (!kWriteP && kWritten == 0) total = hn::Add(total, sum);
  }
  return hn::GetLane(total);
}

template <size_t kSlots, class T>
T SweepOver(const Stream<T>& s, const Sweep& sweep, size_t ahead, T zero) {
  constexpr std::make_index_sequence<kSlots> slots;
  if (!sweep.gradient) return Loop<false, true, 0>(s, ahead, zero, slots);
  if (!sweep.writes_parameter) return Loop<true, false, kSlots>(s, ahead, zero, slots);
  constexpr size_t kOneKept = kSlots > 0 ? kSlots - 1 : 0;
  return sweep.kept > 0 ? Loop<true, true, kOneKept>(s, ahead, zero, slots)
                        : Loop<true, true, kSlots>(s, ahead, zero, slots);
}

template <class T>
T SweepHere(const Stream<T>& s, const Sweep& sweep, size_t ahead, T zero) {
  static_assert(RuleEntry::kMostSlots == 8);
  switch (sweep.slots) {
    case 0:
      return SweepOver<0>(s, sweep, ahead, zero);
    case 1:
      return SweepOver<1>(s, sweep, ahead, zero);
    case 2:
      return SweepOver<2>(s, sweep, ahead, zero);
    case 3:
      return SweepOver<3>(s, sweep, ahead, zero);
    case 4:
      return SweepOver<4>(s, sweep, ahead, zero);
    case 5:
      return SweepOver<5>(s, sweep, ahead, zero);
    case 6:
      return SweepOver<6>(s, sweep, ahead, zero);
    case 7:
      return SweepOver<7>(s, sweep, ahead, zero);
    default:
      return SweepOver<8>(s, sweep, ahead, zero);
  }
}

template <class T>
T ReadHere(const T* x, size_t n, size_t ahead) {
  const hn::ScalableTag<T> d;
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

float SweepFloats(const Stream<float>& s, const Sweep& sweep, size_t ahead, float zero) {
  return SweepHere(s, sweep, ahead, zero);
}
double SweepDoubles(const Stream<double>& s, const Sweep& sweep, size_t ahead, double zero) {
  return SweepHere(s, sweep, ahead, zero);
}
float ReadFloats(const float* x, size_t n, size_t ahead) { return ReadHere(x, n, ahead); }
double ReadDoubles(const double* x, size_t n, size_t ahead) { return ReadHere(x, n, ahead); }

}  // namespace HWY_NAMESPACE
}  // namespace kudari::lab
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::lab {

HWY_EXPORT(SweepFloats);
HWY_EXPORT(SweepDoubles);
HWY_EXPORT(ReadFloats);
HWY_EXPORT(ReadDoubles);

namespace {
volatile float zero = 0;
thread_local volatile double sink = 0;  // so that reads cannot be left out
}  // namespace

std::vector<Sweep> SweepsOf(const RuleEntry& rule) {
  const size_t slots = rule.slots.size();
  const size_t kept = rule.scalar.hessian != nullptr ? 1 : 0;
  if (rule.norms == 0) return {{.slots = slots, .kept = kept}};
  if (rule.state_pass == StatePass::kMeasure) {
    return {{.slots = slots, .writes_parameter = false},
            {.slots = slots, .kept = slots, .gradient = false}};
  }
  return {{.slots = 0, .writes_parameter = false}, {.slots = slots}};
}

void RunSweep(const Stream<float>& stream, const Sweep& sweep, size_t ahead) {
  sink = HWY_DYNAMIC_DISPATCH(SweepFloats)(stream, sweep, ahead, zero);
}

void RunSweep(const Stream<double>& stream, const Sweep& sweep, size_t ahead) {
  sink = HWY_DYNAMIC_DISPATCH(SweepDoubles)(stream, sweep, ahead, zero);
}

void RunRead(std::span<const float> x, size_t ahead) {
  sink = HWY_DYNAMIC_DISPATCH(ReadFloats)(x.data(), x.size(), ahead);
}

void RunRead(std::span<const double> x, size_t ahead) {
  sink = HWY_DYNAMIC_DISPATCH(ReadDoubles)(x.data(), x.size(), ahead);
}

}  // namespace kudari::lab
#endif  // HWY_ONCE
