#ifndef KUDARI_KERNELS_CODECS_H_
#define KUDARI_KERNELS_CODECS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kudari::internal {

/// The memory formats of numbers. Rules see float32, see Codecs, or float64 where all arrays of a
/// tensor are.
enum class Format : uint8_t {
  kFloat32,
  kFloat64,  // codecs round it to float32
  // 16 bits, rounded to nearest even; all NaNs become the same NaN.
  kBFloat16,
  kFloat16,
  // The same memory, with stochastic rounding that keeps the mean exact. What is finite in float32
  // stays finite.
  kBFloat16Random,
  kFloat16Random,
  // A float32 master copy in `more`, and its 16-bit value in `data`. If `data` holds anything else,
  // it has been overwritten, and `data` is the value.
  kMasterFloat16,
  // bfloat16 in `data`, and the missing digits in `more`, which are ignored where they cannot
  // belong to `data`: an 8-bit integer (the value has 16 significant bits, rounded half away from
  // zero), a 16-bit integer (the value is float32, exact to the bit), or another bfloat16 (Kahan's
  // compensation).
  kSplit8,
  kSplit16,
  kKahan,
  // 8 bits in blocks of kCodeBlock elements, with a float32 scale per block in `more`.
  kLinear8,           // code * scale, codes -127 ... 127
  kSoftsign8,         // scale * code / (254 - |code|): FlashOptim's companding
  kRoot8,             // (code * scale)^2, codes 0 ... 255, for numbers that are not negative
  kDynamic8,          // map[code] * scale, the signed map of bitsandbytes
  kDynamicUnsigned8,  // the unsigned map, for numbers that are not negative
};

/// The number of elements that share a scale.
inline constexpr size_t kCodeBlock = 256;

/// An array in memory; `more` depends on the format, and `key` is for stochastic rounding.
struct Coded {
  Format format = Format::kFloat32;
  void* data = nullptr;
  void* companion = nullptr;
  uint64_t key = 0;
};

/// Bytes per element in `data`, and bytes for `n` elements in `more`.
size_t DataBytes(Format format);
size_t CompanionBytes(Format format, size_t n);

/// Whether a format has blocks, and the code that represents zero.
bool IsBlocked(Format format);
uint8_t ZeroCode(Format format);

/// The 256 values of the signed or unsigned dynamic map (bitsandbytes' create_dynamic_map), sorted.
std::span<const float, 256> DynamicMap(bool is_signed);

/// The dynamic map with tables for finding the value nearest to a y in [-1, 1]; ties go to the
/// lower value. Distances are exact: a limit is the mean of two values, rounded down to a float.
struct DynamicTables {
  /// The value nearest to y is that of the first code with y <= limits[code]; the last limit is
  /// infinite.
  std::array<float, 256> map, limits;
  /// A shortcut: numbers of magnitude 2^(kLowest - 127) and above that agree in sign and in the
  /// bits above Shift() share a bucket; smaller ones are in the first bucket of their sign.
  /// first[bucket] is the lowest code in the bucket, and no bucket has more than two. Buckets of
  /// negative numbers are in the second half, which the unsigned map does not use.
  std::array<int32_t, 3072> first;
  static constexpr uint32_t kLowest = 104;
  static constexpr int Shift(bool is_signed) { return is_signed ? 17 : 16; }
};
const DynamicTables& DynamicTablesOf(bool is_signed);

/// Keys for an element's random bits: mixing the low half of its index with them gives 32 bits, of
/// which formats use the uppermost. `high` is the high half of the index.
struct RandomKeys {
  uint32_t first, second;
};
RandomKeys RandomKeysOf(uint64_t key, uint32_t high);

/// Conversions, compiled once for each instruction set. All sets give the same bits.
struct Codecs {
  std::string_view target;
  /// Loads: to[i] = element begin + i, for i < n.
  void (*load)(const Coded& from, size_t begin, size_t n, float* to);
  /// Stores: element begin + i = from[i]. For blocked formats `begin` is a multiple of kCodeBlock,
  /// and so is n unless the array ends at begin + n. In these formats an infinity gets the code of
  /// the block's greatest finite magnitude, and a NaN that of zero; neither counts for the scale.
  /// In kRoot8 and kDynamicUnsigned8 a positive number never gets the code of zero. In kLinear8 a
  /// block's greatest number may decode as infinity if it is the greatest float. A block whose
  /// greatest number (in kRoot8, greatest root) is below 2^-100 is encoded as zeros.
  void (*store)(const float* from, size_t begin, size_t n, const Coded& to);
};

/// The plain scalar code, which defines the bits.
const Codecs& ScalarCodecs();

/// The codecs of the instruction set with that name, as in KernelSet::target.
const Codecs& CodecsFor(std::string_view target);

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_CODECS_H_
