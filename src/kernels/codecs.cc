#include "kernels/codecs.h"

#include <algorithm>

#include "kernels/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codecs.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/codecs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

using internal::Coded;

// f(block, i, size) for each part of begin ... begin + n in one block, `size` elements from
// begin + i on.
template <class F>
HWY_INLINE void ForBlocks(size_t begin, size_t n, const F& f) {
  for (size_t i = 0, size = 0; i < n; i += size) {
    size = std::min(n - i, kCodeBlock - (begin + i) % kCodeBlock);
    f((begin + i) / kCodeBlock, i, size);
  }
}

// Elements of a format with blocks.
template <Format kFormat>
void LoadBlocks(const Coded& from, size_t begin, size_t n, float* to) {
  const auto* const codes = static_cast<const uint8_t*>(from.data) + begin;
  const internal::DynamicTables& tables = internal::DynamicTablesOf(kFormat == Format::kDynamic8);
  ForBlocks(begin, n, [&](size_t block, size_t first, size_t size) HWY_ATTR {
    const float scale = static_cast<const float*>(from.companion)[block];
    ForVectors(size, [&](auto d, size_t i) HWY_ATTR {
      const uint8_t* const at = codes + first + i;
      const auto s = hn::Set(d, scale);
      auto x = s;
      if constexpr (kFormat == Format::kLinear8) {
        x = LoadLinear8(d, at, s);
      } else if constexpr (kFormat == Format::kRoot8) {
        x = LoadRoot8(d, at, s);
        x = hn::Mul(x, x);
      } else if constexpr (kFormat == Format::kSoftsign8) {
        x = LoadSoftsign8(d, at, s);
      } else {
        x = LoadDynamic8(d, at, tables, s);
      }
      hn::StoreU(x, d, to + first + i);
    });
  });
}

template <Format kFormat>
void StoreBlocks(const float* from, size_t begin, size_t n, const Coded& to) {
  auto* const codes = static_cast<uint8_t*>(to.data) + begin;
  ForBlocks(begin, n, [&](size_t block, size_t first, size_t size) HWY_ATTR {
    const float* const x = from + first;
    StoreBlock<kFormat>(x, size, MostBits<kFormat>(x, size), codes + first,
                        static_cast<float*>(to.companion) + block);
  });
}

void Load(const Coded& from, size_t begin, size_t n, float* to) {
  const auto* const halves = static_cast<const uint16_t*>(from.data) + begin;
  // load(d, i) gives a vector.
  const auto each = [&](auto load) HWY_ATTR {
    ForVectors(n, [&](auto d, size_t i) HWY_ATTR { hn::StoreU(load(d, i), d, to + i); });
  };
  switch (from.format) {
    case Format::kFloat32:
      std::copy_n(static_cast<const float*>(from.data) + begin, n, to);
      break;
    case Format::kFloat64:
      std::transform(static_cast<const double*>(from.data) + begin,
                     static_cast<const double*>(from.data) + begin + n, to,
                     [](double x) { return static_cast<float>(x); });
      break;
    case Format::kBFloat16:
    case Format::kBFloat16Random:
      each([&](auto d, size_t i) HWY_ATTR { return LoadBFloat16(d, halves + i); });
      break;
    case Format::kFloat16:
    case Format::kFloat16Random:
      each([&](auto d, size_t i) HWY_ATTR { return LoadFloat16(d, halves + i); });
      break;
    case Format::kMasterFloat16: {
      const auto* const masters = static_cast<const float*>(from.companion) + begin;
      each([&](auto d, size_t i) HWY_ATTR { return LoadMaster(d, halves + i, masters + i); });
      break;
    }
    case Format::kSplit8: {
      const auto* const low = static_cast<const int8_t*>(from.companion) + begin;
      each([&](auto d, size_t i) HWY_ATTR { return LoadSplit8(d, halves + i, low + i); });
      break;
    }
    case Format::kSplit16: {
      const auto* const low = static_cast<const int16_t*>(from.companion) + begin;
      each([&](auto d, size_t i) HWY_ATTR { return LoadSplit16(d, halves + i, low + i); });
      break;
    }
    case Format::kKahan: {
      const auto* const low = static_cast<const uint16_t*>(from.companion) + begin;
      each([&](auto d, size_t i) HWY_ATTR { return LoadKahan(d, halves + i, low + i); });
      break;
    }
    case Format::kLinear8:
      return LoadBlocks<Format::kLinear8>(from, begin, n, to);
    case Format::kSoftsign8:
      return LoadBlocks<Format::kSoftsign8>(from, begin, n, to);
    case Format::kRoot8:
      return LoadBlocks<Format::kRoot8>(from, begin, n, to);
    case Format::kDynamic8:
      return LoadBlocks<Format::kDynamic8>(from, begin, n, to);
    case Format::kDynamicUnsigned8:
      return LoadBlocks<Format::kDynamicUnsigned8>(from, begin, n, to);
  }
}

void Store(const float* from, size_t begin, size_t n, const Coded& to) {
  auto* const halves = static_cast<uint16_t*>(to.data) + begin;
  // store(d, i, x) stores a vector.
  const auto each = [&](auto store) HWY_ATTR {
    ForVectors(n, [&](auto d, size_t i) HWY_ATTR { store(d, i, hn::LoadU(d, from + i)); });
  };
  // store(d, i, x, random), in parts with the upper half of the index in common.
  const auto each_random = [&](auto store) HWY_ATTR {
    for (uint64_t i = begin, size = 0; i < begin + n; i += size) {
      size = std::min<uint64_t>(begin + n - i, (uint64_t{1} << 32) - static_cast<uint32_t>(i));
      const auto keys = internal::RandomKeysOf(to.key, static_cast<uint32_t>(i >> 32));
      const size_t first = i - begin;
      ForVectors(size, [&](auto d, size_t j) HWY_ATTR {
        const auto random = RandomBits(d, static_cast<uint32_t>(i + j), keys);
        store(d, first + j, hn::LoadU(d, from + first + j), random);
      });
    }
  };
  switch (to.format) {
    case Format::kFloat32:
      std::copy_n(from, n, static_cast<float*>(to.data) + begin);
      break;
    case Format::kFloat64:
      std::copy_n(from, n, static_cast<double*>(to.data) + begin);
      break;
    case Format::kBFloat16:
      each([&](auto d, size_t i, auto x) HWY_ATTR { StoreBFloat16(d, x, halves + i); });
      break;
    case Format::kMasterFloat16:
      std::copy_n(from, n, static_cast<float*>(to.companion) + begin);
      [[fallthrough]];
    case Format::kFloat16:
      each([&](auto d, size_t i, auto x) HWY_ATTR { StoreFloat16(d, x, halves + i); });
      break;
    case Format::kBFloat16Random:
      each_random([&](auto d, size_t i, auto x, auto random)
                      HWY_ATTR { StoreBFloat16Random(d, x, random, halves + i); });
      break;
    case Format::kFloat16Random:
      each_random([&](auto d, size_t i, auto x, auto random)
                      HWY_ATTR { StoreFloat16Random(d, x, random, halves + i); });
      break;
    case Format::kSplit8: {
      auto* const low = static_cast<int8_t*>(to.companion) + begin;
      each([&](auto d, size_t i, auto x) HWY_ATTR { StoreSplit8(d, x, halves + i, low + i); });
      break;
    }
    case Format::kSplit16: {
      auto* const low = static_cast<int16_t*>(to.companion) + begin;
      each([&](auto d, size_t i, auto x) HWY_ATTR { StoreSplit16(d, x, halves + i, low + i); });
      break;
    }
    case Format::kKahan: {
      auto* const low = static_cast<uint16_t*>(to.companion) + begin;
      each([&](auto d, size_t i, auto x) HWY_ATTR { StoreKahan(d, x, halves + i, low + i); });
      break;
    }
    case Format::kLinear8:
      return StoreBlocks<Format::kLinear8>(from, begin, n, to);
    case Format::kSoftsign8:
      return StoreBlocks<Format::kSoftsign8>(from, begin, n, to);
    case Format::kRoot8:
      return StoreBlocks<Format::kRoot8>(from, begin, n, to);
    case Format::kDynamic8:
      return StoreBlocks<Format::kDynamic8>(from, begin, n, to);
    case Format::kDynamicUnsigned8:
      return StoreBlocks<Format::kDynamicUnsigned8>(from, begin, n, to);
  }
}

const internal::Codecs& Chosen(std::string_view target) {
  static const internal::Codecs codecs = {target, &Load, &Store};
  return codecs;
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {

const Codecs& CodecsFor(std::string_view target) {
#if HWY_TARGETS & HWY_AVX3
  if (target == "avx512") return N_AVX3::Chosen("avx512");
#endif
#if HWY_TARGETS & HWY_AVX2
  if (target == "avx2") return N_AVX2::Chosen("avx2");
#endif
#if HWY_TARGETS & HWY_NEON
  if (target == "neon") return N_NEON::Chosen("neon");
#endif
  static_cast<void>(target);
  return ScalarCodecs();
}

}  // namespace kudari::internal
#endif  // HWY_ONCE
