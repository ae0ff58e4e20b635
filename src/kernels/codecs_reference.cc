// Formats in plain scalar code: what "scalar" runs, and what vectors must equal to the bit.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/codecs.h"

namespace kudari::internal {
namespace {

constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinity = 0x7F800000;
constexpr uint32_t kQuietNaN = 0x7FC00000;

uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }
float FromBits(uint32_t bits) { return std::bit_cast<float>(bits); }

float FromBFloat16(uint16_t code) { return FromBits(static_cast<uint32_t>(code) << 16); }

uint16_t ToBFloat16(float x) {
  const uint32_t bits = BitsOf(x);
  if (std::isnan(x)) return 0x7FC0;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float FromFloat16(uint16_t code) {
  const uint32_t sign = (code & 0x8000U) << 16, rest = code & 0x7FFFU;
  if (rest > 0x7C00) return FromBits(sign | kQuietNaN | rest << 13);
  if (rest == 0x7C00) return FromBits(sign | kInfinity);
  if (rest >= 0x0400) return FromBits(sign | ((rest << 13) + 0x38000000));
  return FromBits(sign | BitsOf(static_cast<float>(rest) * 0x1p-24F));
}

uint16_t ToFloat16(float x) {
  if (std::isnan(x)) return 0x7E00;
  const uint32_t sign = BitsOf(x) >> 16 & 0x8000, rest = BitsOf(x) & ~kSign;
  uint32_t code = 0x7C00;
  if (rest < BitsOf(0x1p-14F)) {
    // The sum is rounded to a multiple of 2^-24.
    code = BitsOf(FromBits(rest) + 0.5F) - BitsOf(0.5F);
  } else if (rest < BitsOf(0x1p16F)) {
    code = (rest - 0x38000000 + 0xFFF + (rest >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | code);
}

// MurmurHash3's last step.
uint32_t Mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85EBCA6B;
  x = (x ^ x >> 13) * 0xC2B2AE35;
  return x ^ x >> 16;
}

uint32_t RandomBits(uint64_t key, uint64_t i) {
  const RandomKeys keys = RandomKeysOf(key, static_cast<uint32_t>(i >> 32));
  return Mix(Mix(static_cast<uint32_t>(i) ^ keys.first) + keys.second);
}

uint16_t ToBFloat16Random(float x, uint32_t random) {
  if (!std::isfinite(x)) return ToBFloat16(x);
  const uint32_t sign = BitsOf(x) >> 16 & 0x8000, rest = BitsOf(x) & ~kSign;
  return static_cast<uint16_t>(sign | std::min((rest + (random >> 16)) >> 16, 0x7F7FU));
}

uint16_t ToFloat16Random(float x, uint32_t random) {
  if (!std::isfinite(x)) return ToFloat16(x);
  const uint32_t rest = BitsOf(x) & ~kSign, r = random >> 19;
  float rounded = 0;
  if (rest < BitsOf(0x1p-14F)) {
    const float sum = FromBits(rest) + static_cast<float>(r) * 0x1p-37F;
    rounded = static_cast<float>(static_cast<int32_t>(sum * 0x1p24F)) * 0x1p-24F;
  } else {
    rounded = std::min(FromBits((rest + r) & ~0x1FFFU), 65504.0F);
  }
  return ToFloat16(std::copysign(rounded, x));
}

// An element of a format without blocks.
void StoreOne(float x, size_t i, const Coded& to) {
  auto* const halves = static_cast<uint16_t*>(to.data);
  switch (to.format) {
    case Format::kFloat32:
      static_cast<float*>(to.data)[i] = x;
      break;
    case Format::kFloat64:
      static_cast<double*>(to.data)[i] = x;
      break;
    case Format::kBFloat16:
      halves[i] = ToBFloat16(x);
      break;
    case Format::kFloat16:
      halves[i] = ToFloat16(x);
      break;
    case Format::kBFloat16Random:
      halves[i] = ToBFloat16Random(x, RandomBits(to.key, i));
      break;
    case Format::kFloat16Random:
      halves[i] = ToFloat16Random(x, RandomBits(to.key, i));
      break;
    case Format::kMasterFloat16:
      static_cast<float*>(to.companion)[i] = x;
      halves[i] = ToFloat16(x);
      break;
    case Format::kSplit8: {
      const uint32_t bits = std::isnan(x) ? kQuietNaN : BitsOf(x);
      halves[i] = static_cast<uint16_t>((bits + 0x8080) >> 16);
      static_cast<uint8_t*>(to.companion)[i] = static_cast<uint8_t>((bits + 0x80) >> 8);
      break;
    }
    case Format::kSplit16: {
      const uint32_t bits = std::isnan(x) ? kQuietNaN : BitsOf(x);
      halves[i] = static_cast<uint16_t>((bits + 0x8000) >> 16);
      static_cast<uint16_t*>(to.companion)[i] = static_cast<uint16_t>(bits);
      break;
    }
    case Format::kKahan: {
      const float half = FromBFloat16(halves[i] = ToBFloat16(x));
      static_cast<uint16_t*>(to.companion)[i] = ToBFloat16(std::isfinite(half) ? x - half : 0);
      break;
    }
    default:
      break;
  }
}

// The code of the y nearest to a value of the map.
uint8_t NearestCode(bool is_signed, float y) {
  const auto& limits = DynamicTablesOf(is_signed).limits;
  return static_cast<uint8_t>(std::lower_bound(limits.begin(), limits.end(), y) - limits.begin());
}

// The integer nearest to x y, which is at most 255, in the low byte.
uint8_t Rounded(float x, float y) {
  return static_cast<uint8_t>(BitsOf(std::fma(x, y, 0x1.8p23F)));
}

// The n <= kCodeBlock elements of a block, and its scale.
void StoreBlock(const float* from, size_t n, Format format, uint8_t* codes, float* scale) {
  std::array<float, kCodeBlock> x;
  float most = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool fits = std::isfinite(from[i]) && !(format == Format::kRoot8 && from[i] < 0);
    x[i] = fits ? from[i] : 0;
    if (format == Format::kRoot8) x[i] = std::sqrt(x[i]);
    most = std::max(most, std::abs(x[i]));
  }
  // An infinity saturates, a NaN is zero.
  for (size_t i = 0; i < n; ++i) {
    const bool counts = std::isinf(from[i]) && !(format == Format::kRoot8 && from[i] < 0);
    if (counts) x[i] = std::copysign(most, from[i]);
  }
  if (most < 0x1p-100F) {
    *scale = 0;
    std::fill(codes, codes + n, ZeroCode(format));
    return;
  }
  *scale = format == Format::kLinear8 ? most / 127 : format == Format::kRoot8 ? most / 255 : most;
  for (size_t i = 0; i < n; ++i) {
    if (format == Format::kLinear8) {
      codes[i] = Rounded(x[i], 127 / most);
    } else if (format == Format::kRoot8) {
      codes[i] = std::max(Rounded(x[i], 255 / most), static_cast<uint8_t>(x[i] > 0));
    } else if (format == Format::kSoftsign8) {
      const float y = x[i] / most;
      codes[i] = Rounded(2 * y / (1 + std::abs(y)), 127);
    } else {
      const bool is_signed = format == Format::kDynamic8;
      const bool some = !is_signed && x[i] > 0;
      codes[i] = std::max(NearestCode(is_signed, x[i] / most), static_cast<uint8_t>(some));
    }
  }
}

// The weight of an upper half and what that lacks. A sum with the other sign is none: the weight
// had bits of its own when a zero was written over it, and is zero.
float SplitSum(uint16_t half, uint32_t low) {
  const uint32_t high = static_cast<uint32_t>(half) << 16, sum = high + low;
  return FromBits(((high ^ sum) & kSign) == 0 ? sum : 0);
}

float LoadOne(const Coded& from, size_t i) {
  const auto* const halves = static_cast<const uint16_t*>(from.data);
  const auto* const codes = static_cast<const uint8_t*>(from.data);
  const auto scale = [&] { return static_cast<const float*>(from.companion)[i / kCodeBlock]; };
  switch (from.format) {
    case Format::kFloat32:
      return static_cast<const float*>(from.data)[i];
    case Format::kFloat64:
      return static_cast<float>(static_cast<const double*>(from.data)[i]);
    case Format::kBFloat16:
    case Format::kBFloat16Random:
      return FromBFloat16(halves[i]);
    case Format::kFloat16:
    case Format::kFloat16Random:
      return FromFloat16(halves[i]);
    case Format::kMasterFloat16: {
      const float master = static_cast<const float*>(from.companion)[i];
      return ToFloat16(master) == halves[i] ? master : FromFloat16(halves[i]);
    }
    case Format::kSplit8: {
      // NOLINTNEXTLINE(bugprone-signed-char-misuse): it is a number
      const int32_t low = static_cast<const int8_t*>(from.companion)[i];
      return SplitSum(halves[i], static_cast<uint32_t>(low) << 8);
    }
    case Format::kSplit16: {
      const int32_t low = static_cast<const int16_t*>(from.companion)[i];
      return SplitSum(halves[i], static_cast<uint32_t>(low));
    }
    case Format::kKahan: {
      const float high = FromBFloat16(halves[i]);
      const float low = FromBFloat16(static_cast<const uint16_t*>(from.companion)[i]);
      // More than half a unit is what a weight lacked that has been written over.
      return high + (std::abs(low) <= std::abs(high) * 0x1p-8F ? low : 0);
    }
    case Format::kLinear8:
      return static_cast<float>(static_cast<int8_t>(codes[i])) * scale();
    case Format::kSoftsign8: {
      const auto code = static_cast<float>(static_cast<int8_t>(codes[i]));
      return scale() * (code / (254 - std::abs(code)));
    }
    case Format::kRoot8: {
      const float root = static_cast<float>(codes[i]) * scale();
      return root * root;
    }
    case Format::kDynamic8:
      return DynamicMap(true)[codes[i]] * scale();
    case Format::kDynamicUnsigned8:
      return DynamicMap(false)[codes[i]] * scale();
  }
  return 0;
}

void Load(const Coded& from, size_t begin, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = LoadOne(from, begin + i);
}

void Store(const float* from, size_t begin, size_t n, const Coded& to) {
  if (!IsBlocked(to.format)) {
    for (size_t i = 0; i < n; ++i) StoreOne(from[i], begin + i, to);
    return;
  }
  for (size_t i = 0; i < n; i += kCodeBlock) {
    StoreBlock(from + i, std::min(kCodeBlock, n - i), to.format,
               static_cast<uint8_t*>(to.data) + begin + i,
               static_cast<float*>(to.companion) + (begin + i) / kCodeBlock);
  }
}

// Means of neighbours of 2^i + 1 or 2^(i + 1) + 1 numbers spaced evenly over [0.1, 1], times
// 10^(i - 6), for i = 0 ... 6; and 0 and 1.
DynamicTables MakeTables(bool is_signed) {
  DynamicTables t;
  size_t size = 0;
  const auto add = [&](double x) { t.map[size++] = static_cast<float>(x); };
  add(0);
  add(1);
  for (int i = 0; i < 7; ++i) {
    const int intervals = is_signed ? 1 << i : 2 << i;
    for (int j = 0; j < intervals; ++j) {
      const double x = (0.1 + 0.9 * (j + 0.5) / intervals) / std::pow(10, 6 - i);
      add(x);
      if (is_signed) add(-x);
    }
  }
  std::sort(t.map.begin(), t.map.end());
  for (size_t i = 0; i + 1 < 256; ++i) {
    const double mean = (static_cast<double>(t.map[i]) + t.map[i + 1]) / 2;
    t.limits[i] = static_cast<float>(mean);
    if (t.limits[i] > mean) t.limits[i] = std::nextafter(t.limits[i], -1.0F);
  }
  t.limits[255] = std::numeric_limits<float>::infinity();

  const int shift = DynamicTables::Shift(is_signed);
  const auto code = [&t](uint32_t bits) {
    const auto at = std::lower_bound(t.limits.begin(), t.limits.end(), FromBits(bits));
    return static_cast<int32_t>(at - t.limits.begin());
  };
  const size_t half = is_signed ? t.first.size() / 2 : t.first.size();
  for (uint32_t b = 0; b < half; ++b) {
    const uint32_t start = (DynamicTables::kLowest << 23) + (b << shift);
    t.first[b] = code(b == 0 ? 0 : start);
    if (is_signed) t.first[half + b] = code(kSign | (start + (1U << shift) - 1));
  }
  return t;
}

}  // namespace

size_t DataBytes(Format format) {
  if (format == Format::kFloat32) return sizeof(float);
  if (format == Format::kFloat64) return sizeof(double);
  return IsBlocked(format) ? sizeof(uint8_t) : sizeof(uint16_t);
}

size_t CompanionBytes(Format format, size_t n) {
  switch (format) {
    case Format::kMasterFloat16:
      return n * sizeof(float);
    case Format::kSplit8:
      return n * sizeof(int8_t);
    case Format::kSplit16:
    case Format::kKahan:
      return n * sizeof(uint16_t);
    default:
      return IsBlocked(format) ? (n + kCodeBlock - 1) / kCodeBlock * sizeof(float) : 0;
  }
}

bool IsBlocked(Format format) { return format >= Format::kLinear8; }

uint8_t ZeroCode(Format format) { return format == Format::kDynamic8 ? 127 : 0; }

const DynamicTables& DynamicTablesOf(bool is_signed) {
  static const DynamicTables with = MakeTables(true), without = MakeTables(false);
  return is_signed ? with : without;
}

std::span<const float, 256> DynamicMap(bool is_signed) { return DynamicTablesOf(is_signed).map; }

RandomKeys RandomKeysOf(uint64_t key, uint32_t high) {
  // SplitMix64's output.
  uint64_t x = key + 0x9E3779B97F4A7C15 * (1 + static_cast<uint64_t>(high));
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  x ^= x >> 31;
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}

const Codecs& ScalarCodecs() {
  static constexpr Codecs kCodecs = {"scalar", &Load, &Store};
  return kCodecs;
}

}  // namespace kudari::internal
