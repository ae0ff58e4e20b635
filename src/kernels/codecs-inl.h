// Loads and stores of SIMD vectors of float in the formats of kernels/codecs.h, with the same bits
// as codecs_reference.cc. `d` is the tag of the vector. Pointers need no alignment, and exactly the
// vector's elements are accessed.

// Highway's per-target include guard.
#if defined(KUDARI_KERNELS_CODECS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KUDARI_KERNELS_CODECS_INL_H_
#undef KUDARI_KERNELS_CODECS_INL_H_
#else
#define KUDARI_KERNELS_CODECS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "hwy/highway.h"
#include "kernels/codecs.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

namespace hn = hwy::HWY_NAMESPACE;
using internal::Format;
using internal::kCodeBlock;

/// Integer vectors with as many lanes as D.
template <class D>
using Words = hn::Rebind<uint32_t, D>;
template <class D>
using Halves = hn::Rebind<uint16_t, D>;
template <class D>
using Bytes = hn::Rebind<uint8_t, D>;

/// The bits of x, with all NaNs replaced by one.
template <class D>
HWY_INLINE hn::Vec<Words<D>> OneNaN(D d, hn::Vec<D> x) {
  const Words<D> words;
  const auto bits = hn::BitCast(words, x);
  return hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(x)), hn::Set(words, 0x7FC00000U), bits);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadBFloat16(D d, const uint16_t* from) {
  const auto halves = hn::PromoteTo(Words<D>(), hn::LoadU(Halves<D>(), from));
  return hn::BitCast(d, hn::ShiftLeft<16>(halves));
}

/// Words whose upper half is x in bfloat16, rounded to nearest even; the lower half is arbitrary.
template <class D>
HWY_INLINE hn::Vec<Words<D>> RoundBFloat16(D d, hn::Vec<D> x) {
  const Words<D> words;
  const auto bits = OneNaN(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1U));
  return hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFFU)));
}

/// Store the upper or the lower halves of words.
template <class D>
HWY_INLINE void StoreUpper(D /*d*/, hn::Vec<Words<D>> words, uint16_t* to) {
  hn::StoreU(hn::TruncateTo(Halves<D>(), hn::ShiftRight<16>(words)), Halves<D>(), to);
}
template <class D>
HWY_INLINE void StoreLower(D /*d*/, hn::Vec<Words<D>> words, uint16_t* to) {
  hn::StoreU(hn::TruncateTo(Halves<D>(), words), Halves<D>(), to);
}

template <class D>
HWY_INLINE void StoreBFloat16(D d, hn::Vec<D> x, uint16_t* to) {
  StoreUpper(d, RoundBFloat16(d, x), to);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadFloat16(D d, const uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> halves;
  return hn::PromoteTo(d, hn::BitCast(halves, hn::LoadU(Halves<D>(), from)));
}

template <class D>
HWY_INLINE void StoreFloat16(D d, hn::Vec<D> x, uint16_t* to) {
  const auto halves = hn::DemoteTo(hn::Rebind<hwy::float16_t, D>(), hn::BitCast(d, OneNaN(d, x)));
  hn::StoreU(hn::BitCast(Halves<D>(), halves), Halves<D>(), to);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadMaster(D d, const uint16_t* from, const float* master_from) {
  const hn::Rebind<hwy::float16_t, D> halves;
  const auto master = hn::LoadU(d, master_from), memory = LoadFloat16(d, from);
  const auto rounded = hn::PromoteTo(d, hn::DemoteTo(halves, hn::BitCast(d, OneNaN(d, master))));
  // Compared as bits, so that zeros have signs and NaNs are equal.
  const auto same = hn::Eq(hn::BitCast(Words<D>(), rounded), hn::BitCast(Words<D>(), memory));
  return hn::IfThenElse(hn::RebindMask(d, same), master, memory);
}

/// Random bits for the elements from i on. The upper half of their indices must be the one of
/// `keys`.
template <class D>
HWY_INLINE hn::Vec<Words<D>> RandomBits(D /*d*/, uint32_t i, internal::RandomKeys keys) {
  const Words<D> words;
  const auto mix = [words](hn::Vec<Words<D>> x) HWY_ATTR {
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(words, 0x85EBCA6BU));
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(words, 0xC2B2AE35U));
    return hn::Xor(x, hn::ShiftRight<16>(x));
  };
  // Highway's Iota is slow unless its start is a constant.
  const auto index = hn::Add(hn::Iota(words, 0), hn::Set(words, i));
  const auto first = mix(hn::Xor(index, hn::Set(words, keys.first)));
  return mix(hn::Add(first, hn::Set(words, keys.second)));
}

template <class D>
HWY_INLINE void StoreBFloat16Random(D d, hn::Vec<D> x, hn::Vec<Words<D>> random, uint16_t* to) {
  const Words<D> words;
  const auto sign = hn::Set(words, 0x80000000U), most = hn::Set(words, 0x7F7F0000U);
  const auto bits = OneNaN(d, x);
  const auto rest = hn::AndNot(sign, bits);
  const auto sum = hn::Min(hn::Add(rest, hn::ShiftRight<16>(random)), most);
  const auto rounded = hn::IfThenElse(hn::Gt(hn::Set(words, 0x7F800000U), rest), sum, rest);
  StoreUpper(d, hn::Or(rounded, hn::And(bits, sign)), to);
}

template <class D>
HWY_INLINE void StoreFloat16Random(D d, hn::Vec<D> x, hn::Vec<Words<D>> random, uint16_t* to) {
  const Words<D> words;
  const hn::Rebind<int32_t, D> integers;
  const auto rest = hn::Abs(x);
  const auto r = hn::ShiftRight<19>(random);
  const auto sum = hn::AndNot(hn::Set(words, 0x1FFFU), hn::Add(hn::BitCast(words, rest), r));
  const auto normal = hn::Min(hn::BitCast(d, sum), hn::Set(d, 65504.0F));
  // Below 2^-14 the codes are multiples of 2^-24, and so is the sum once truncated.
  const auto part = hn::Mul(hn::ConvertTo(d, hn::BitCast(integers, r)), hn::Set(d, 0x1p-37F));
  const auto scaled = hn::Mul(hn::Add(rest, part), hn::Set(d, 0x1p24F));
  const auto multiple = hn::ConvertTo(d, hn::ConvertTo(integers, scaled));
  const auto rounded = hn::IfThenElse(hn::Lt(rest, hn::Set(d, 0x1p-14F)),
                                      hn::Mul(multiple, hn::Set(d, 0x1p-24F)), normal);
  const auto is_finite = hn::Lt(rest, hn::Set(d, INFINITY));
  StoreFloat16(d, hn::IfThenElse(is_finite, hn::CopySignToAbs(rounded, x), x), to);
}

/// Reassembles a split weight from a word that holds its upper half and, in the lower half, the
/// missing part plus 2^15. Nothing negative can be missing from an upper half of zero: in that case
/// a zero was written over a weight with lower bits, and the weight is zero.
template <class D>
HWY_INLINE hn::Vec<D> SplitSum(D d, hn::Vec<Words<D>> word) {
  const Words<D> words;
  const auto some = hn::Ne(hn::And(word, hn::Set(words, 0x7FFF8000U)), hn::Zero(words));
  return hn::BitCast(d, hn::IfThenElseZero(some, hn::Sub(word, hn::Set(words, 0x8000U))));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadSplit8(D d, const uint16_t* from, const int8_t* low_from) {
  const Words<D> words;
  const hn::Rebind<int32_t, D> integers;
  const auto high = hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(Halves<D>(), from)));
  const auto low = hn::PromoteTo(integers, hn::LoadU(hn::Rebind<int8_t, D>(), low_from));
  const auto biased = hn::Add(hn::BitCast(words, hn::ShiftLeft<8>(low)), hn::Set(words, 0x8000U));
  return SplitSum(d, hn::Or(high, biased));
}

template <class D>
HWY_INLINE void StoreSplit8(D d, hn::Vec<D> x, uint16_t* to, int8_t* low_to) {
  const Words<D> words;
  const auto rounded = hn::Add(OneNaN(d, x), hn::Set(words, 0x80U));
  StoreUpper(d, hn::Add(rounded, hn::Set(words, 0x8000U)), to);
  const auto low = hn::TruncateTo(Bytes<D>(), hn::ShiftRight<8>(rounded));
  hn::StoreU(hn::BitCast(hn::Rebind<int8_t, D>(), low), hn::Rebind<int8_t, D>(), low_to);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadSplit16(D d, const uint16_t* from, const int16_t* low_from) {
  const Words<D> words;
  const hn::Rebind<int32_t, D> integers;
  const auto high = hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(Halves<D>(), from)));
  const auto low = hn::PromoteTo(integers, hn::LoadU(hn::Rebind<int16_t, D>(), low_from));
  return SplitSum(d, hn::Or(high, hn::Add(hn::BitCast(words, low), hn::Set(words, 0x8000U))));
}

template <class D>
HWY_INLINE void StoreSplit16(D d, hn::Vec<D> x, uint16_t* to, int16_t* low_to) {
  const auto bits = OneNaN(d, x);
  StoreUpper(d, hn::Add(bits, hn::Set(Words<D>(), 0x8000U)), to);
  StoreLower(d, bits, reinterpret_cast<uint16_t*>(low_to));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadKahan(D d, const uint16_t* from, const uint16_t* low_from) {
  const auto high = LoadBFloat16(d, from), low = LoadBFloat16(d, low_from);
  // A compensation of more than half a unit belongs to a weight that has been overwritten.
  const auto most = hn::Mul(hn::Abs(high), hn::Set(d, 0x1p-8F));
  return hn::Add(high, hn::IfThenElseZero(hn::Le(hn::Abs(low), most), low));
}

template <class D>
HWY_INLINE void StoreKahan(D d, hn::Vec<D> x, uint16_t* to, uint16_t* low_to) {
  const auto bits = RoundBFloat16(d, x);
  const auto half = hn::BitCast(d, hn::And(bits, hn::Set(Words<D>(), 0xFFFF0000U)));
  const auto is_finite = hn::Lt(hn::Abs(half), hn::Set(d, INFINITY));
  StoreUpper(d, bits, to);
  StoreBFloat16(d, hn::IfThenElseZero(is_finite, hn::Sub(x, half)), low_to);
}

/// Stores the integers nearest to x y, which are at most 255, as bytes.
template <class D>
HWY_INLINE void StoreRounded(D d, hn::Vec<D> x, hn::Vec<D> y, uint8_t* codes) {
  const auto sum = hn::BitCast(Words<D>(), hn::MulAdd(x, y, hn::Set(d, 0x1.8p23F)));
  hn::StoreU(hn::TruncateTo(Bytes<D>(), sum), Bytes<D>(), codes);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadSigned(D d, const uint8_t* codes) {
  const hn::Rebind<int8_t, D> bytes;
  const auto code = hn::BitCast(bytes, hn::LoadU(Bytes<D>(), codes));
  return hn::ConvertTo(d, hn::PromoteTo(hn::Rebind<int32_t, D>(), code));
}

/// In blocked formats, `scale` is the block's scale and `most` the greatest magnitude that
/// determines it (in kRoot8, of a root).
template <class D>
HWY_INLINE hn::Vec<D> LoadLinear8(D d, const uint8_t* codes, hn::Vec<D> scale) {
  return hn::Mul(LoadSigned(d, codes), scale);
}

/// `inverse` is 127 / most; the block's scale is most / 127.
template <class D>
HWY_INLINE void StoreLinear8(D d, hn::Vec<D> x, hn::Vec<D> inverse, uint8_t* codes) {
  StoreRounded(d, x, inverse, codes);
}

/// Returns the root of the element; the element is its square.
template <class D>
HWY_INLINE hn::Vec<D> LoadRoot8(D d, const uint8_t* codes, hn::Vec<D> scale) {
  const auto code = hn::PromoteTo(hn::Rebind<int32_t, D>(), hn::LoadU(Bytes<D>(), codes));
  return hn::Mul(hn::ConvertTo(d, code), scale);
}

/// `inverse` is 255 / most; the block's scale is most / 255.
template <class D>
HWY_INLINE void StoreRoot8(D d, hn::Vec<D> root, hn::Vec<D> inverse, uint8_t* codes) {
  const auto base = hn::Set(d, 0x1.8p23F), sum = hn::MulAdd(root, inverse, base);
  const auto is_low = hn::And(hn::Gt(root, hn::Zero(d)), hn::Le(sum, base));
  const auto code = hn::IfThenElse(is_low, hn::Set(d, 0x1.8p23F + 1), sum);
  hn::StoreU(hn::TruncateTo(Bytes<D>(), hn::BitCast(Words<D>(), code)), Bytes<D>(), codes);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadSoftsign8(D d, const uint8_t* codes, hn::Vec<D> scale) {
  const auto code = LoadSigned(d, codes);
  return hn::Mul(scale, hn::Div(code, hn::Sub(hn::Set(d, 254.0F), hn::Abs(code))));
}

template <class D>
HWY_INLINE void StoreSoftsign8(D d, hn::Vec<D> x, hn::Vec<D> most, uint8_t* codes) {
  const auto y = hn::Div(x, most);
  const auto bent = hn::Div(hn::Add(y, y), hn::Add(hn::Set(d, 1.0F), hn::Abs(y)));
  StoreRounded(d, bent, hn::Set(d, 127.0F), codes);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadDynamic8(D d, const uint8_t* codes, const internal::DynamicTables& tables,
                                   hn::Vec<D> scale) {
  const auto code = hn::PromoteTo(hn::Rebind<int32_t, D>(), hn::LoadU(Bytes<D>(), codes));
  return hn::Mul(hn::GatherIndex(d, tables.map.data(), code), scale);
}

template <bool kSigned, class D>
HWY_INLINE void StoreDynamic8(D d, hn::Vec<D> x, hn::Vec<D> most,
                              const internal::DynamicTables& tables, uint8_t* codes) {
  const Words<D> words;
  const hn::Rebind<int32_t, D> integers;
  constexpr int kShift = internal::DynamicTables::Shift(kSigned);
  const auto lowest = hn::Set(words, internal::DynamicTables::kLowest << (23 - kShift));
  auto y = hn::Div(x, most);
  if constexpr (!kSigned) y = hn::ZeroIfNegative(y);
  const auto rest = hn::ShiftRight<kShift>(hn::BitCast(words, hn::Abs(y)));
  auto bucket = hn::BitCast(integers, hn::Sub(hn::Max(rest, lowest), lowest));
  if constexpr (kSigned) {
    const auto negative = hn::BroadcastSignBit(hn::BitCast(integers, y));
    const auto half = hn::Set(integers, static_cast<int32_t>(tables.first.size() / 2));
    bucket = hn::Add(bucket, hn::And(negative, half));
  }
  const auto first = hn::GatherIndex(integers, tables.first.data(), bucket);
  const auto limit = hn::GatherIndex(d, tables.limits.data(), first);
  // A true mask is -1.
  const auto is_next = hn::BitCast(integers, hn::VecFromMask(d, hn::Gt(y, limit)));
  auto code = hn::BitCast(words, hn::Sub(first, is_next));
  if constexpr (!kSigned) {
    const auto is_some = hn::RebindMask(words, hn::Gt(x, hn::Zero(d)));
    code = hn::Max(code, hn::IfThenElseZero(is_some, hn::Set(words, 1U)));
  }
  hn::StoreU(hn::TruncateTo(Bytes<D>(), code), Bytes<D>(), codes);
}

/// Calls f(d, i) for the elements i < n: first for whole vectors, then for vectors of one element.
template <class F>
HWY_INLINE void ForVectors(size_t n, const F& f) {
  const hn::ScalableTag<float> wide;
  const size_t whole = n - n % hn::Lanes(wide);
  for (size_t i = 0; i < whole; i += hn::Lanes(wide)) f(wide, i);
  for (size_t i = whole; i < n; ++i) f(hn::CappedTag<float, 1>(), i);
}

/// The bits of the greatest magnitude among n numbers; comparing bits orders NaNs above infinity,
/// and infinity above finite numbers. In kRoot8 signs are kept, so that negative numbers are above
/// all others.
template <Format kFormat>
HWY_INLINE uint32_t MostBits(const float* x, size_t n) {
  using Wide = hn::ScalableTag<float>;
  const Words<Wide> words;
  const uint32_t mask = kFormat == Format::kRoot8 ? ~0U : 0x7FFFFFFFU;
  auto most = hn::Zero(words);
  uint32_t rest = 0;
  ForVectors(n, [&](auto d, size_t i) HWY_ATTR {
    const Words<decltype(d)> here;
    const auto bits = hn::And(hn::BitCast(here, hn::LoadU(d, x + i)), hn::Set(here, mask));
    if constexpr (hn::MaxLanes(d) == hn::MaxLanes(Wide())) {
      most = hn::Max(most, bits);
    } else {
      rest = std::max(rest, hn::GetLane(bits));
    }
  });
  return std::max(rest, hn::GetLane(hn::MaxOfLanes(words, most)));
}

/// Encodes the n <= kCodeBlock elements of a block, given their MostBits. kRoots: `x` and the bits
/// are those of the roots of the elements.
template <Format kFormat, bool kRoots = false>
HWY_NOINLINE void StoreBlock(const float* x, size_t n, uint32_t most_bits, uint8_t* codes,
                             float* scale) {
  float finite[kCodeBlock];
  if (most_bits >= 0x7F800000) {
    for (size_t i = 0; i < n; ++i) {
      const bool fits = std::isfinite(x[i]) && !(kFormat == Format::kRoot8 && x[i] <= 0);
      finite[i] = fits ? x[i] : 0;
    }
    most_bits = MostBits<kFormat>(finite, n);
    // An infinity saturates, and a NaN becomes zero.
    for (size_t i = 0; i < n; ++i) {
      const bool counts = std::isinf(x[i]) && !(kFormat == Format::kRoot8 && x[i] < 0);
      if (counts) finite[i] = std::copysign(std::bit_cast<float>(most_bits), x[i]);
    }
    x = finite;
  }
  float most = std::bit_cast<float>(most_bits);
  if constexpr (kFormat == Format::kRoot8 && !kRoots) most = std::sqrt(most);
  if (most < 0x1p-100F) {
    *scale = 0;
    std::fill(codes, codes + n, internal::ZeroCode(kFormat));
    return;
  }
  constexpr float kCodes = kFormat == Format::kLinear8 ? 127 : kFormat == Format::kRoot8 ? 255 : 1;
  *scale = most / kCodes;
  const float inverse = kCodes / most;
  constexpr bool kSigned = kFormat == Format::kDynamic8;
  const internal::DynamicTables& tables = internal::DynamicTablesOf(kSigned);
  ForVectors(n, [&](auto d, size_t i) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    if constexpr (kFormat == Format::kLinear8) {
      StoreLinear8(d, v, hn::Set(d, inverse), codes + i);
    } else if constexpr (kFormat == Format::kRoot8) {
      StoreRoot8(d, kRoots ? v : hn::Sqrt(v), hn::Set(d, inverse), codes + i);
    } else if constexpr (kFormat == Format::kSoftsign8) {
      StoreSoftsign8(d, v, hn::Set(d, most), codes + i);
    } else {
      StoreDynamic8<kSigned>(d, v, hn::Set(d, most), tables, codes + i);
    }
  });
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
