#include "kernels/coded.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/kernels.h"
#include "kernels/targets.h"
#include "kudari/rules/all.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/coded.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/codecs-inl.h"
#include "kernels/lanes-inl.h"

#ifndef KUDARI_KERNELS_CODED_ONCE_
#define KUDARI_KERNELS_CODED_ONCE_
namespace kudari::internal {

/// Formats of arrays that there are fused updates for.
struct Layout {
  Format p, g;
  /// Of slots that are signed, squares, and never coded.
  std::array<Format, 3> state;
  /// Whether vectors are of even and of odd elements. Not where most arrays are float32.
  bool pairs;

  constexpr Format StateOf(SlotKind kind) const {
    return state[std::min<size_t>(static_cast<size_t>(kind), 2)];
  }
};

inline constexpr std::array kLayouts = {
    Layout{Format::kSplit8,
           Format::kBFloat16,  // 7 bytes an element, with AdamW
           {Format::kLinear8, Format::kRoot8, Format::kFloat32},
           true},
    Layout{Format::kSplit16,  // float32 master
           Format::kBFloat16,
           {Format::kFloat32, Format::kFloat32, Format::kFloat32},
           false},
    Layout{Format::kBFloat16,
           Format::kBFloat16,
           {Format::kBFloat16, Format::kBFloat16, Format::kBFloat16},
           true},
    Layout{Format::kFloat32,
           Format::kFloat32,
           {Format::kLinear8, Format::kRoot8, Format::kFloat32},
           false},
};

/// The rules that have fused updates: those without norms. Sanitizers make this file slow to
/// compile, and all it does with memory is the same for all rules: there only some have.
template <class R>
constexpr bool IsFused() {
#ifdef KUDARI_SANITIZED
  return std::is_same_v<R, AdamW> || std::is_same_v<R, Sophia> ||
         std::is_same_v<R, RmspropCentered>;
#else
  return kNormsOf<R> == 0;
#endif
}

/// The fused updates of one rule, beside kLayouts.
using CodedKernels = std::array<CodedFn, kLayouts.size()>;

}  // namespace kudari::internal
#endif  // KUDARI_KERNELS_CODED_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

#define KUDARI_LANES
#include "kudari/rules/all.h"
#undef KUDARI_LANES

using internal::Coded;
using internal::kLayouts;
using internal::Layout;

using D = hn::ScalableTag<float>;
using V = Lanes<D>;
constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(float);
constexpr size_t kPart = 64;  // elements that are fetched together: a cache line of bytes

// Two vectors of the elements [i, i + 2 kLanes) of an array: the first and the second half, or,
// with kPairs, those of even and of odd numbers, which in arrays of 16 bits are halves of words, so
// that nothing has to be shuffled.
struct Two {
  V a, b;
};

template <bool kPairs>
HWY_INLINE Two LoadTwoFloats(const float* from) {
  const D d;
  Two x;
  if constexpr (kPairs) {
    hn::LoadInterleaved2(d, from, x.a.v, x.b.v);
  } else {
    x.a = hn::LoadU(d, from);
    x.b = hn::LoadU(d, from + kLanes);
  }
  return x;
}

template <bool kPairs>
HWY_INLINE void StoreTwoFloats(const Two& x, float* to) {
  const D d;
  if constexpr (kPairs) {
    hn::StoreInterleaved2(x.a.v, x.b.v, d, to);
  } else {
    hn::StoreU(x.a.v, d, to);
    hn::StoreU(x.b.v, d, to + kLanes);
  }
}

HWY_INLINE hn::Vec<Words<D>> Word(uint32_t bits) { return hn::Set(Words<D>(), bits); }

// Words of two halves, as many as there are pairs.
HWY_INLINE hn::Vec<Words<D>> LoadWords(const uint16_t* from) {
  return hn::LoadU(Words<D>(), reinterpret_cast<const uint32_t*>(from));
}
HWY_INLINE void StoreWords(hn::Vec<Words<D>> words, uint16_t* to) {
  hn::StoreU(words, Words<D>(), reinterpret_cast<uint32_t*>(to));
}

// Words of two bytes, for pairs.
HWY_INLINE hn::Vec<Words<D>> LoadBytePairs(const uint8_t* from) {
  const auto halves = hn::LoadU(Halves<D>(), reinterpret_cast<const uint16_t*>(from));
  return hn::PromoteTo(Words<D>(), halves);
}
// The reverse; the upper halves of the words are anything.
HWY_INLINE void StoreBytePairs(hn::Vec<Words<D>> words, uint8_t* to) {
  hn::StoreU(hn::TruncateTo(Halves<D>(), words), Halves<D>(), reinterpret_cast<uint16_t*>(to));
}

// The upper halves of words, as pairs: those of the even elements in the lower halves.
HWY_INLINE hn::Vec<Words<D>> UpperHalves(hn::Vec<Words<D>> even, hn::Vec<Words<D>> odd) {
  return hn::Or(hn::ShiftRight<16>(even), hn::And(odd, Word(0xFFFF0000U)));
}

// The upper halves of the words of a and then of b, which are as many as a vector of them holds.
HWY_INLINE auto UpperHalvesInTurn(hn::Vec<Words<D>> a, hn::Vec<Words<D>> b) {
  const hn::Repartition<uint16_t, Words<D>> halves;
  return hn::ConcatOdd(halves, hn::BitCast(halves, b), hn::BitCast(halves, a));
}

template <bool kPairs>
HWY_INLINE Two LoadTwoBFloat16(const uint16_t* from) {
  const D d;
  if constexpr (kPairs) {
    const auto words = LoadWords(from);
    return {hn::BitCast(d, hn::ShiftLeft<16>(words)),
            hn::BitCast(d, hn::And(words, Word(0xFFFF0000U)))};
  } else {
    return {LoadBFloat16(d, from), LoadBFloat16(d, from + kLanes)};
  }
}

template <bool kPairs>
HWY_INLINE void StoreTwoBFloat16(const Two& x, uint16_t* to) {
  const D d;
  const auto a = RoundBFloat16(d, x.a.v), b = RoundBFloat16(d, x.b.v);
  if constexpr (kPairs) {
    StoreWords(UpperHalves(a, b), to);
  } else {
    const auto halves = UpperHalvesInTurn(a, b);
    hn::StoreU(halves, hn::DFromV<decltype(halves)>(), to);
  }
}

// Only in pairs.
HWY_INLINE Two LoadTwoSplit8(const uint16_t* from, const uint8_t* low_from) {
  const D d;
  const auto words = LoadWords(from);
  // Signed bytes plus 128, which are not negative.
  const auto low = hn::Xor(LoadBytePairs(low_from), Word(0x8080U));
  const auto even = hn::Or(hn::ShiftLeft<16>(words), hn::ShiftLeft<8>(hn::And(low, Word(0xFFU))));
  const auto odd = hn::Or(hn::And(words, Word(0xFFFF0000U)), hn::And(low, Word(0xFF00U)));
  return {SplitSum(d, even), SplitSum(d, odd)};
}

HWY_INLINE void StoreTwoSplit8(const Two& x, uint16_t* to, uint8_t* low_to) {
  const D d;
  const auto even = hn::Add(OneNaN(d, x.a.v), Word(0x80U));
  const auto odd = hn::Add(OneNaN(d, x.b.v), Word(0x80U));
  StoreWords(UpperHalves(hn::Add(even, Word(0x8000U)), hn::Add(odd, Word(0x8000U))), to);
  StoreBytePairs(hn::Or(hn::And(hn::ShiftRight<8>(even), Word(0xFFU)), hn::And(odd, Word(0xFF00U))),
                 low_to);
}

// Only in turn.
HWY_INLINE Two LoadTwoSplit16(const uint16_t* from, const int16_t* low_from) {
  const D d;
  return {LoadSplit16(d, from, low_from), LoadSplit16(d, from + kLanes, low_from + kLanes)};
}

HWY_INLINE void StoreTwoSplit16(const Two& x, uint16_t* to, uint16_t* low_to) {
  const D d;
  const auto a = OneNaN(d, x.a.v), b = OneNaN(d, x.b.v);
  const auto high = UpperHalvesInTurn(hn::Add(a, Word(0x8000U)), hn::Add(b, Word(0x8000U)));
  const hn::DFromV<decltype(high)> halves;
  hn::StoreU(high, halves, to);
  hn::StoreU(hn::ConcatEven(halves, hn::BitCast(halves, b), hn::BitCast(halves, a)), halves,
             low_to);
}

// Codes times `scale`. Bits of an integer below 2^23 are those of the float 2^23 plus it, and
// signed codes plus 128 are not negative.
template <bool kPairs, bool kSigned>
HWY_INLINE Two LoadTwoCodes(const uint8_t* from, V scale) {
  const D d;
  if constexpr (kPairs) {
    auto words = LoadBytePairs(from);
    if constexpr (kSigned) words = hn::Xor(words, Word(0x8080U));
    const auto even = hn::Or(hn::And(words, Word(0xFFU)), Word(0x4B000000U));
    const auto odd = hn::Or(hn::And(words, Word(0xFF00U)), Word(0x4B000000U));
    constexpr float kZero = kSigned ? 128 : 0;
    const V a = hn::Sub(hn::BitCast(d, even), hn::Set(d, 0x1p23F + kZero));
    const V b = hn::Sub(hn::BitCast(d, odd), hn::Set(d, 0x1p23F + 256 * kZero));
    return {a * scale, b * (scale * V(1 / 256.0F))};
  } else if constexpr (kSigned) {
    return {LoadLinear8(d, from, scale.v), LoadLinear8(d, from + kLanes, scale.v)};
  } else {
    return {LoadRoot8(d, from, scale.v), LoadRoot8(d, from + kLanes, scale.v)};
  }
}

// An array of one format while it passes: where a block of it begins, and its scale. In 8 bits the
// block is coded when it is complete, from a copy in float32; that is elsewhere, so that the rest
// stays in registers.
template <Format kFormat, bool kPairs>
class Lane {
 public:
  HWY_INLINE void Begin(const Coded& array, size_t at, float* copy) {
    data_ = static_cast<char*>(array.data) + at * kDataBytes;
    if constexpr (kCodes) {
      scale_ = static_cast<float*>(array.companion) + at / kCodeBlock;
      factor_ = hn::Set(D(), *scale_);
      most_ = hn::Zero(Words<D>());
      least_ = Word(~0U);
      copy_ = copy;
    } else if constexpr (kMoreBytes > 0) {
      more_ = static_cast<char*>(array.companion) + at * kMoreBytes;
    }
  }

  // Fetches the cache lines that begin in the kPart elements at i, `ahead` bytes on; arrays of one
  // byte are passed more slowly.
  HWY_INLINE void Fetch(size_t i, size_t ahead) const {
    FetchArray<kDataBytes>(data_, i, kCodes ? ahead / 2 : ahead);
    if constexpr (kFormat == Format::kSplit8) FetchArray<1>(more_, i, ahead / 2);
    if constexpr (kFormat == Format::kSplit16) FetchArray<2>(more_, i, ahead);
  }

  HWY_INLINE Two Load(size_t i) const {
    if constexpr (kFormat == Format::kFloat32) {
      return LoadTwoFloats<kPairs>(Data<float>() + i);
    } else if constexpr (kFormat == Format::kBFloat16) {
      return LoadTwoBFloat16<kPairs>(Data<uint16_t>() + i);
    } else if constexpr (kFormat == Format::kSplit16) {
      return LoadTwoSplit16(Data<uint16_t>() + i, More<int16_t>() + i);
    } else if constexpr (kFormat == Format::kSplit8) {
      return LoadTwoSplit8(Data<uint16_t>() + i, More<uint8_t>() + i);
    } else {
      Two x = LoadTwoCodes<kPairs, kFormat == Format::kLinear8>(Data<uint8_t>() + i, V(factor_));
      if constexpr (kFormat == Format::kRoot8) {
        x.a = x.a * x.a;
        x.b = x.b * x.b;
      }
      return x;
    }
  }

  HWY_INLINE void Store(size_t i, Two x) {
    const D d;
    if constexpr (kFormat == Format::kFloat32) {
      StoreTwoFloats<kPairs>(x, Data<float>() + i);
    } else if constexpr (kFormat == Format::kBFloat16) {
      StoreTwoBFloat16<kPairs>(x, Data<uint16_t>() + i);
    } else if constexpr (kFormat == Format::kSplit16) {
      StoreTwoSplit16(x, Data<uint16_t>() + i, More<uint16_t>() + i);
    } else if constexpr (kFormat == Format::kSplit8) {
      StoreTwoSplit8(x, Data<uint16_t>() + i, More<uint8_t>() + i);
    } else {
      Note(x.a);
      Note(x.b);
      hn::Store(x.a.v, d, copy_ + i);
      hn::Store(x.b.v, d, copy_ + i + kLanes);
    }
  }

  // Codes the block.
  HWY_INLINE void End() {
    if constexpr (kCodes) {
      const Words<D> words;
      const uint32_t most = hn::GetLane(hn::MaxOfLanes(words, most_));
      const uint32_t least = hn::GetLane(hn::MinOfLanes(words, least_));
      const auto top = std::bit_cast<float>(most);
      // Nothing that has to be told apart: infinities, NaNs, zeros among roots, a block of nothing.
      if (most < 0x7F800000U && !(kRoots && least == 0) && top >= 0x1p-100F) {
        Code(top);
      } else {
        CodeSpecial(most);
      }
    }
  }

 private:
  static constexpr bool kRoots = kFormat == Format::kRoot8;
  static constexpr bool kCodes = kFormat == Format::kLinear8 || kRoots;
  static constexpr size_t kDataBytes = kCodes ? 1 : kFormat == Format::kFloat32 ? 4 : 2;
  static constexpr size_t kMoreBytes = kFormat == Format::kSplit16  ? 2
                                       : kFormat == Format::kSplit8 ? 1
                                                                    : 0;

  template <size_t kBytes>
  HWY_INLINE static void FetchArray(const char* array, size_t i, size_t ahead) {
    if (i * kBytes % 64 != 0) return;
    for (size_t byte = 0; byte < kPart * kBytes; byte += 64) {
      hwy::Prefetch(array + i * kBytes + byte + ahead);
    }
  }

  template <class T>
  HWY_INLINE T* Data() const {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  HWY_INLINE T* More() const {
    return reinterpret_cast<T*>(more_);
  }

  // Notes the magnitudes of a vector of the block, as bits; in kRoot8 those of the root, which
  // takes the vector's place. NaNs, and the root of -0, are above all others.
  HWY_INLINE void Note(V& x) {
    const Words<D> words;
    if constexpr (kRoots) {
      x = Sqrt(x);  // which the rule has taken, too
      const auto bits = hn::BitCast(words, x.v);
      most_ = hn::Max(most_, bits);
      least_ = hn::Min(least_, bits);
    } else {
      most_ = hn::Max(most_, hn::BitCast(words, hn::Abs(x.v)));
    }
  }

  // Codes the copy where no element is special. As StoreBlock.
  HWY_INLINE void Code(float top) {
    const D d;
    const Words<D> words;
    constexpr float kTop = kRoots ? 255 : 127;
    *scale_ = top / kTop;
    const V inverse(kTop / top), base(0x1.8p23F);
    const auto code = [&](const float* at) HWY_ATTR {
      V sum = Fma(V(hn::Load(d, at)), inverse, base);
      if constexpr (kRoots) sum = hn::Max(sum.v, hn::Set(d, 0x1.8p23F + 1));
      return hn::BitCast(words, sum.v);
    };
    for (size_t i = 0; i < kCodeBlock; i += 2 * kLanes) {
      const auto a = code(copy_ + i), b = code(copy_ + i + kLanes);
      uint8_t* const to = Data<uint8_t>() + i;
      if constexpr (kPairs) {
        StoreBytePairs(hn::Or(hn::And(a, Word(0xFFU)), hn::ShiftLeft<8>(b)), to);
      } else {
        hn::StoreU(hn::TruncateTo(Bytes<D>(), a), Bytes<D>(), to);
        hn::StoreU(hn::TruncateTo(Bytes<D>(), b), Bytes<D>(), to + kLanes);
      }
    }
  }

  HWY_NOINLINE void CodeSpecial(uint32_t most) {
    float in_turn[kCodeBlock];
    for (size_t i = 0; i < kCodeBlock; i += 2 * kLanes) {
      const D d;
      const Two x{hn::Load(d, copy_ + i), hn::Load(d, copy_ + i + kLanes)};
      StoreTwoFloats<kPairs>(x, in_turn + i);
    }
    StoreBlock<kFormat, kRoots>(in_turn, kCodeBlock, most, Data<uint8_t>(), scale_);
  }

  char* data_ = nullptr;
  char* more_ = nullptr;
  float* scale_ = nullptr;
  float* copy_ = nullptr;
  hn::Vec<D> factor_;
  hn::Vec<Words<D>> most_, least_;
};

template <class R, size_t kLayout, size_t... I>
HWY_INLINE void RunCoded(const float* coeffs, const GradientForm<float>& form, const Coded& p,
                         const Coded& g, const Coded* state, size_t begin, size_t n,
                         std::index_sequence<I...> /*slots*/) {
  constexpr Layout kFormats = kLayouts[kLayout];
  constexpr bool kPairs = kFormats.pairs;
  constexpr bool kSquares = internal::SquaresGradient<R>();
  typename R::template Coeffs<float> c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  // Measured on Zen 4: from 1,024 to 2,048 it is much the same.
  const size_t ahead = std::max<size_t>(internal::PrefetchDistance() * sizeof(float), 1024);

  Lane<kFormats.p, kPairs> weights;
  Lane<kFormats.g, kPairs> gradient;
  HWY_ALIGN float copies[sizeof...(I) + 1][kCodeBlock];
  std::tuple<Lane<kFormats.StateOf(R::kState[I].kind), kPairs>...> slots;
  for (size_t at = begin; at < begin + n; at += kCodeBlock) {
    weights.Begin(p, at, nullptr);
    gradient.Begin(g, at, nullptr);
    (std::get<I>(slots).Begin(state[I], at, copies[I]), ...);
    for (size_t part = 0; part < kCodeBlock; part += kPart) {
      weights.Fetch(part, ahead);
      gradient.Fetch(part, ahead);
      (std::get<I>(slots).Fetch(part, ahead), ...);
      for (size_t i = part; i < part + kPart; i += 2 * kLanes) {
        const Two slope = gradient.Load(i);
        Two w = weights.Load(i);
        Two x[] = {std::get<I>(slots).Load(i)..., Two{V(0.0F), V(0.0F)}};
        Update(c, Formed<kSquares>(f, slope.a), w.a, x[I].a...);
        Update(c, Formed<kSquares>(f, slope.b), w.b, x[I].b...);
        weights.Store(i, w);
        const auto store = [&](auto slot) HWY_ATTR {
          if constexpr (slot < internal::kStoredSlots<R>) {
            std::get<slot>(slots).Store(i, x[slot]);
          }
        };
        (store(std::integral_constant<size_t, I>()), ...);
      }
    }
    const auto end = [&](auto slot) HWY_ATTR {
      if constexpr (slot < internal::kStoredSlots<R>) std::get<slot>(slots).End();
    };
    (end(std::integral_constant<size_t, I>()), ...);
  }
}

template <class R, size_t kLayout>
void CodedUpdate(const float* coeffs, const GradientForm<float>& form, const Coded& p,
                 const Coded& g, const Coded* state, size_t begin, size_t n) {
  RunCoded<R, kLayout>(coeffs, form, p, g, state, begin, n,
                       std::make_index_sequence<R::kState.size()>());
}

template <class R, size_t... L>
constexpr internal::CodedKernels CodedKernelsOf(std::index_sequence<L...> /*layouts*/) {
  if constexpr (internal::IsFused<R>()) {
    return {&CodedUpdate<R, L>...};
  } else {
    return {};
  }
}

template <class... R>
const internal::CodedKernels* CodedTable(TypeList<R...> /*rules*/) {
  static constexpr internal::CodedKernels table[] = {
      CodedKernelsOf<R>(std::make_index_sequence<kLayouts.size()>())...};
  return table;
}

const internal::CodedKernels* CodedTableHere() { return CodedTable(AllRules()); }

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {
namespace {

const CodedKernels* TableOf([[maybe_unused]] std::string_view target) {
#if HWY_TARGETS & HWY_AVX3
  if (target == "avx512") return N_AVX3::CodedTableHere();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (target == "avx2") return N_AVX2::CodedTableHere();
#endif
#if HWY_TARGETS & HWY_NEON
  if (target == "neon") return N_NEON::CodedTableHere();
#endif
  return nullptr;
}

}  // namespace

CodedFn CodedKernel(std::string_view target, const RuleEntry& rule, Format p, Format g,
                    std::span<const Format> state) {
  const CodedKernels* const table = TableOf(target);
  if (table == nullptr || rule.kernel < 0) return nullptr;
  for (size_t i = 0; i < kLayouts.size(); ++i) {
    const Layout& layout = kLayouts[i];
    bool same = layout.p == p && layout.g == g;
    for (size_t k = 0; k < state.size(); ++k) {
      same = same && layout.StateOf(rule.slot_kinds[k]) == state[k];
    }
    if (same) return table[rule.kernel][i];
  }
  return nullptr;
}

}  // namespace kudari::internal
#endif  // HWY_ONCE
