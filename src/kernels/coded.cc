#include "kernels/coded.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "kernels/kernels.h"
#include "kudari/rules/all.h"

// As in kernels.cc: only targets with fused multiply-add.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
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
  /// Of a slot of each SlotKind: signed, square, exact.
  std::array<Format, 3> state;

  constexpr Format StateOf(SlotKind kind) const { return state[static_cast<size_t>(kind)]; }
};

inline constexpr std::array kLayouts = {
    Layout{Format::kSplit8,
           Format::kBFloat16,  // 7 bytes an element, with AdamW
           {Format::kLinear8, Format::kRoot8, Format::kFloat32}},
    Layout{Format::kMasterBFloat16,
           Format::kBFloat16,
           {Format::kFloat32, Format::kFloat32, Format::kFloat32}},
    Layout{Format::kBFloat16,
           Format::kBFloat16,
           {Format::kBFloat16, Format::kBFloat16, Format::kBFloat16}},
    Layout{
        Format::kFloat32, Format::kFloat32, {Format::kLinear8, Format::kRoot8, Format::kFloat32}},
};

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

// An array of one format while it passes: where a block of it begins, its scale, and, in 8 bits, a
// copy in float32 that is coded when the block is complete.
template <Format kFormat>
class Lane {
 public:
  using D = hn::ScalableTag<float>;
  using V = F32<D>;
  static constexpr bool kCodes = kFormat == Format::kLinear8 || kFormat == Format::kRoot8;

  HWY_INLINE void Begin(const Coded& array, size_t at) {
    data_ = static_cast<char*>(array.data) + at * kDataBytes;
    if constexpr (kCodes) {
      scale_ = static_cast<float*>(array.more) + at / kCodeBlock;
      factor_ = hn::Set(D(), *scale_);
      most_ = hn::Zero(Words<D>());
    } else if constexpr (kMoreBytes > 0) {
      more_ = static_cast<char*>(array.more) + at * kMoreBytes;
    }
  }

  // Fetches what 64 elements have in memory, `ahead` bytes on.
  HWY_INLINE void Fetch(size_t i, size_t ahead) const {
    for (size_t byte = 0; byte < 64 * kReadBytes; byte += 64) {
      const char* const from = kFormat == Format::kMasterBFloat16 ? more_ : data_;
      hwy::Prefetch(from + i * kReadBytes + byte + ahead);
    }
    if constexpr (kFormat == Format::kSplit8) hwy::Prefetch(more_ + i + ahead);
  }

  HWY_INLINE V Load(size_t i) const {
    const D d;
    if constexpr (kFormat == Format::kFloat32) {
      return hn::LoadU(d, Data<float>() + i);
    } else if constexpr (kFormat == Format::kBFloat16) {
      return LoadBFloat16(d, Data<uint16_t>() + i);
    } else if constexpr (kFormat == Format::kMasterBFloat16) {
      return hn::LoadU(d, More<float>() + i);
    } else if constexpr (kFormat == Format::kSplit8) {
      return LoadSplit8(d, Data<uint16_t>() + i, More<int8_t>() + i);
    } else if constexpr (kFormat == Format::kLinear8) {
      return LoadLinear8(d, Data<uint8_t>() + i, factor_);
    } else {
      const V root = LoadRoot8(d, Data<uint8_t>() + i, factor_);
      return root * root;
    }
  }

  HWY_INLINE void Store(size_t i, V x, [[maybe_unused]] bool stream) {
    const D d;
    if constexpr (kFormat == Format::kFloat32) {
      hn::StoreU(x.v, d, Data<float>() + i);
    } else if constexpr (kFormat == Format::kBFloat16) {
      StoreBFloat16(d, x.v, Data<uint16_t>() + i);
    } else if constexpr (kFormat == Format::kMasterBFloat16) {
      hn::StoreU(x.v, d, More<float>() + i);
      const Halves<D> halves;
      const auto half = hn::TruncateTo(halves, hn::ShiftRight<16>(RoundBFloat16(d, x.v)));
      // Nothing reads the copy before the model does.
      if (stream) {
        hn::Stream(half, halves, Data<uint16_t>() + i);
      } else {
        hn::StoreU(half, halves, Data<uint16_t>() + i);
      }
    } else if constexpr (kFormat == Format::kSplit8) {
      StoreSplit8(d, x.v, Data<uint16_t>() + i, More<int8_t>() + i);
    } else {
      const Words<D> words;
      if constexpr (kFormat == Format::kLinear8) {
        most_ = hn::Max(most_, hn::BitCast(words, hn::Abs(x.v)));
      } else {
        most_ = hn::Max(most_, hn::BitCast(words, x.v));
        x = Sqrt(x);  // which the rule has taken, too
      }
      hn::Store(x.v, d, copy_ + i);
    }
  }

  // Codes the block.
  HWY_INLINE void End() {
    if constexpr (kCodes) {
      const uint32_t most = hn::GetLane(hn::MaxOfLanes(Words<D>(), most_));
      StoreBlock<kFormat, kFormat == Format::kRoot8>(copy_, kCodeBlock, most, Data<uint8_t>(),
                                                     scale_);
    }
  }

 private:
  static constexpr size_t kDataBytes = kCodes ? 1 : kFormat == Format::kFloat32 ? 4 : 2;
  static constexpr size_t kMoreBytes = kFormat == Format::kMasterBFloat16 ? 4
                                       : kFormat == Format::kSplit8       ? 1
                                                                          : 0;
  static constexpr size_t kReadBytes = kFormat == Format::kMasterBFloat16 ? 4 : kDataBytes;

  template <class T>
  HWY_INLINE T* Data() const {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  HWY_INLINE T* More() const {
    return reinterpret_cast<T*>(more_);
  }

  char* data_ = nullptr;
  char* more_ = nullptr;
  float* scale_ = nullptr;
  hn::Vec<D> factor_;
  hn::Vec<Words<D>> most_;
  HWY_ALIGN float copy_[kCodes ? kCodeBlock : 1];
};

template <class R, size_t kLayout, size_t... I>
HWY_INLINE void RunCoded(const float* coeffs, const GradientForm<float>& form, const Coded& p,
                         const Coded& g, const Coded* state, size_t begin, size_t n,
                         std::index_sequence<I...> /*slots*/) {
  constexpr Layout kFormats = kLayouts[kLayout];
  using V = F32<hn::ScalableTag<float>>;
  constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(float);
  typename R::template Coeffs<float> c;
  std::memcpy(&c, coeffs, sizeof(c));
  const V factor(form.factor), shift(form.shift), limit(form.limit);
  // At least two blocks of the smallest arrays.
  const size_t ahead = std::max<size_t>(internal::PrefetchDistance() * sizeof(float), 512);
  const bool stream = reinterpret_cast<uintptr_t>(p.data) % 64 == 0;

  Lane<kFormats.p> weights;
  Lane<kFormats.g> gradient;
  std::tuple<Lane<kFormats.StateOf(R::kState[I].kind)>...> slots;
  for (size_t at = begin; at < begin + n; at += kCodeBlock) {
    weights.Begin(p, at);
    gradient.Begin(g, at);
    (std::get<I>(slots).Begin(state[I], at), ...);
    for (size_t part = 0; part < kCodeBlock; part += 64) {
      weights.Fetch(part, ahead);
      gradient.Fetch(part, ahead);
      (std::get<I>(slots).Fetch(part, ahead), ...);
      for (size_t i = part; i < part + 64; i += kLanes) {
        const V slope = Clamp(Fma(factor, gradient.Load(i), shift), limit);
        V w = weights.Load(i);
        V x[] = {std::get<I>(slots).Load(i)..., V(0.0F)};
        Update(c, slope, w, x[I]...);
        weights.Store(i, w, stream);
        const auto store = [&](auto slot) HWY_ATTR {
          if constexpr (slot < internal::kStoredSlots<R>) {
            std::get<slot>(slots).Store(i, x[slot], false);
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
  if constexpr (kFormats.p == Format::kMasterBFloat16) hwy::FlushStream();
}

template <class R, size_t kLayout>
void CodedUpdate(const float* coeffs, const GradientForm<float>& form, const Coded& p,
                 const Coded& g, const Coded* state, size_t begin, size_t n) {
  RunCoded<R, kLayout>(coeffs, form, p, g, state, begin, n,
                       std::make_index_sequence<R::kState.size()>());
}

template <class R, size_t... L>
constexpr internal::CodedKernels CodedKernelsOf(std::index_sequence<L...> /*layouts*/) {
  if constexpr (internal::kNormsOf < R >> 0) {
    return {};
  } else {
    return {&CodedUpdate<R, L>...};
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
