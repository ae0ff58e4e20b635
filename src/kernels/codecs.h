#ifndef KUDARI_KERNELS_CODECS_H_
#define KUDARI_KERNELS_CODECS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kudari::internal {

/// How numbers lie in memory. The rules see float32 alone; see Codecs.
enum class Format : uint8_t {
  kFloat32,
  // 16 bits, rounded to nearest even; NaNs become one.
  kBFloat16,
  kFloat16,
  // The same memory, rounded up or down at random so that the mean is right. What float32 has
  // finite stays finite.
  kBFloat16Random,
  kFloat16Random,
  // A float32 master copy in `more`, and in `data` what it is in 16 bits. Where data holds
  // something else, somebody has written it, and it is the value.
  kMasterFloat16,
  // bfloat16 in `data`, and in `more` what is missing, which is ignored where it cannot be of what
  // data holds: 8 bits of integer (the value has 16
  // significant bits, rounded half away from zero), 16 bits (the value is float32, to the bit), or
  // another bfloat16 (Kahan's compensation).
  kSplit8,
  kSplit16,
  kKahan,
  // 8 bits in blocks of kCodeBlock with a float32 scale each, in `more`.
  kLinear8,           // code * scale, codes -127 ... 127
  kSoftsign8,         // scale * code / (254 - |code|): FlashOptim's companding
  kRoot8,             // (code * scale)^2, codes 0 ... 255, of numbers that are not negative
  kDynamic8,          // map[code] * scale, the signed map of bitsandbytes
  kDynamicUnsigned8,  // the same of numbers that are not negative
};

/// Elements that share a scale.
inline constexpr size_t kCodeBlock = 256;

/// An array as it lies in memory; `more` as its format says, `key` for random rounding.
struct Coded {
  Format format = Format::kFloat32;
  void* data = nullptr;
  void* companion = nullptr;
  uint64_t key = 0;
};

/// Bytes of an element in `data`, and of `n` elements in `more`.
size_t DataBytes(Format format);
size_t CompanionBytes(Format format, size_t n);

/// Whether a format has blocks, and the code that stands for zero.
bool IsBlocked(Format format);
uint8_t ZeroCode(Format format);

/// The 256 values of the signed or unsigned dynamic map (bitsandbytes' create_dynamic_map), sorted.
std::span<const float, 256> DynamicMap(bool is_signed);

/// The dynamic map and what finds the nearest of its values to a y in [-1, 1]; at equal distance
/// the lower. Distances are exact: a limit is the mean of two values, rounded down to a float.
struct DynamicTables {
  /// The nearest of y is the first code with y <= limits[code]; the last limit is infinite.
  std::array<float, 256> map, limits;
  /// A shorter way: numbers from 2^(kLowest - 127) that share their sign and their bits above
  /// Shift() are in one bucket, smaller ones in the first of their sign. first[bucket] is the
  /// least code in it, and no bucket has more than two. Negative numbers come in the second half,
  /// which the unsigned map lacks.
  std::array<int32_t, 3072> first;
  static constexpr uint32_t kLowest = 104;
  static constexpr int Shift(bool is_signed) { return is_signed ? 17 : 16; }
};
const DynamicTables& DynamicTablesOf(bool is_signed);

/// What makes random bits of an element's index: mixing the low half of the index with these two
/// gives 32 bits, of which formats use the uppermost. `high` is the index's high half.
struct RandomKeys {
  uint32_t first, second;
};
RandomKeys RandomKeysOf(uint64_t key, uint32_t high);

/// Conversions, compiled once for each instruction set. All give the same bits.
struct Codecs {
  std::string_view target;
  /// to[i] = element begin + i, for i < n.
  void (*load)(const Coded& from, size_t begin, size_t n, float* to);
  /// The reverse. For formats with blocks `begin` is a multiple of kCodeBlock and n too, unless the
  /// array ends at begin + n. There an infinity has the code of the block's greatest finite
  /// magnitude, and a NaN that of zero; neither counts for the scale. A number that is greater than
  /// zero never has the code of zero in kRoot8 and kDynamicUnsigned8. Of kLinear8 a block's
  /// greatest number may come back infinite if it is the greatest float. A block whose greatest
  /// number (in kRoot8, greatest root) is below 2^-100 is coded as zeros.
  void (*store)(const float* from, size_t begin, size_t n, const Coded& to);
};

/// Plain scalar code, which defines the bits.
const Codecs& ScalarCodecs();

/// Those of the instruction set named as KernelSet::target names it.
const Codecs& CodecsFor(std::string_view target);

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_CODECS_H_
