// What sources and averagers do to arrays in host memory.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu.h"
#include "core/elements.h"

namespace kudari {

using internal::ArrayPair;
using internal::BlockSums;
using internal::Coded;
using internal::Combination;
using internal::Format;
using internal::kPiece;
using internal::Perturbation;
using internal::Shift;

namespace {

/// Calls f(array, first element, count) for pieces of all arrays.
template <class T, class F>
void ForPiecesOf(std::span<const T> arrays, const Parallel& parallel, const F& f) {
  internal::ForRanges(
      arrays.size(), [&](size_t i) { return arrays[i].n; }, parallel,
      [&](size_t i, size_t begin, size_t end) {
        for (size_t at = begin; at < end; at += kPiece)
          f(arrays[i], at, std::min(kPiece, end - at));
      });
}

/// Where elements from `at` on are in memory if they are float32; null if not.
float* InPlace(const Coded& array, size_t at) {
  return array.format == Format::kFloat32 ? static_cast<float*>(array.data) + at : nullptr;
}

/// Sums over all arrays; f(array, first element, count, lanes) is called for pieces of blocks.
template <class T, class F>
void Sum(std::span<const T> arrays, BlockSums& sums, const Parallel& parallel, const F& f) {
  sums.Run(
      arrays.size(), [&](size_t i) { return arrays[i].n; }, parallel,
      [&](size_t i, size_t begin, size_t end, BlockSums::Lanes& lanes) {
        for (size_t at = begin; at < end; at += kPiece) {
          f(arrays[i], at, std::min(kPiece, end - at), lanes);
        }
      });
}

void SaveBytes(const Coded& visible, void* backup, size_t at, size_t n) {
  const size_t bytes = internal::DataBytes(visible.format);
  std::memcpy(static_cast<std::byte*>(backup) + at * bytes,
              static_cast<const std::byte*>(visible.data) + at * bytes, n * bytes);
}

}  // namespace

void CpuBackend::Copy(std::span<const ArrayPair> pairs, const Parallel& parallel) {
  internal::ForRanges(
      pairs.size(), [&](size_t i) { return pairs[i].n; }, parallel,
      [&](size_t i, size_t begin, size_t end) {
        std::memcpy(static_cast<std::byte*>(pairs[i].to.data) + begin,
                    static_cast<const std::byte*>(pairs[i].from.data) + begin, end - begin);
      });
}

void CpuBackend::Convert(std::span<const ArrayPair> pairs, const Parallel& parallel) {
  ForPiecesOf(pairs, parallel, [&](const ArrayPair& pair, size_t at, size_t n) {
    if (pair.from.format == Format::kFloat64 && pair.to.format == Format::kFloat64) {
      std::copy_n(static_cast<const double*>(pair.from.data) + at, n,
                  static_cast<double*>(pair.to.data) + at);
      return;
    }
    float buffer[kPiece];
    codecs_.store(internal::FloatsOf(codecs_, pair.from, at, n, buffer), at, n, pair.to);
  });
}

void CpuBackend::Blend(std::span<const ArrayPair> pairs, double weight, const Parallel& parallel) {
  ForPiecesOf(pairs, parallel, [&](const ArrayPair& pair, size_t at, size_t n) {
    float buffer[kPiece];
    const float* const from = internal::FloatsOf(codecs_, pair.from, at, n, buffer);
    float* const to = InPlace(pair.to, at);
    if (weight == 1) {
      std::copy(from, from + n, to);
      return;
    }
    for (size_t k = 0; k < n; ++k) {
      const double now = to[k];
      to[k] = static_cast<float>(now + weight * (from[k] - now));
    }
  });
}

// Values that agree stay, and an alpha of 0 or 1 is exact.
void CpuBackend::Meet(std::span<const ArrayPair> pairs, double alpha, const Parallel& parallel) {
  ForPiecesOf(pairs, parallel, [&](const ArrayPair& pair, size_t at, size_t n) {
    float buffer[kPiece];
    float* const slow = InPlace(pair.to, at);
    float* fast = InPlace(pair.from, at);
    const bool in_place = fast != nullptr;
    if (!in_place) codecs_.load(pair.from, at, n, fast = buffer);
    for (size_t k = 0; k < n; ++k) {
      const double met = (1 - alpha) * static_cast<double>(slow[k]) + alpha * fast[k];
      slow[k] = fast[k] = static_cast<float>(met);
    }
    if (!in_place) codecs_.store(fast, at, n, pair.from);
  });
}

void CpuBackend::Combine(std::span<const Combination> combinations, const Parallel& parallel) {
  ForPiecesOf(combinations, parallel, [&](const Combination& c, size_t at, size_t n) {
    float sum[kPiece], loaded[kPiece];
    const float* const x = internal::FloatsOf(codecs_, c.x, at, n, sum);
    const float* const y =
        c.y.data == nullptr ? nullptr : internal::FloatsOf(codecs_, c.y, at, n, loaded);
    float* const place = InPlace(c.out, at);
    // Where the result can be made: where it is to be, unless y is there.
    float* const out = place != nullptr && place != y ? place : sum;
    if (c.a != 1) {
      std::transform(x, x + n, out, [&](float v) { return c.a * v; });
    } else if (x != out) {
      std::copy(x, x + n, out);
    }
    if (y != nullptr) kernels_.add_scaled(out, y, c.b, n);
    if (out != place) codecs_.store(out, at, n, c.out);
  });
}

namespace {

/// (|w| + eta) x where it adapts, or else x.
const float* Adapted(const internal::KernelSet& kernels, const Perturbation& p, float eta,
                     const float* w, const float* x, size_t n, float* buffer) {
  if (!p.adapts) return x;
  kernels.adapt(w, x, eta, n, buffer);
  return buffer;
}

}  // namespace

void CpuBackend::Perturb(std::span<const Perturbation> perturbations, float eta,
                         const Parallel& parallel) {
  ForPiecesOf(perturbations, parallel, [&](const Perturbation& p, size_t at, size_t n) {
    SaveBytes(p.visible, p.backup, at, n);
    if (p.gradient.data == nullptr) return;
    float loaded[kPiece];
    const float* const g = internal::FloatsOf(codecs_, p.gradient, at, n, loaded);
    if (p.kept.data != nullptr) codecs_.store(g, at, n, p.kept);
    if (p.scale == 0) return;
    float buffer[kPiece], once[kPiece], twice[kPiece];
    float* const place = InPlace(p.visible, at);
    float* const w = place != nullptr ? place : buffer;
    if (place == nullptr) codecs_.load(p.weights, at, n, buffer);
    const float* const x =
        Adapted(kernels_, p, eta, w, Adapted(kernels_, p, eta, w, g, n, once), n, twice);
    kernels_.add_scaled(w, x, p.scale, n);
    if (place == nullptr) codecs_.store(w, at, n, p.visible);
  });
}

void CpuBackend::Subtract(std::span<const Shift> shifts, const Parallel& parallel) {
  ForPiecesOf(shifts, parallel, [&](const Shift& s, size_t at, size_t n) {
    SaveBytes(s.visible, s.backup, at, n);
    if (s.momentum.data == nullptr) return;
    float weights[kPiece], loaded[kPiece];
    codecs_.load(s.weights, at, n, weights);
    const float* const momentum = internal::FloatsOf(codecs_, s.momentum, at, n, loaded);
    for (size_t k = 0; k < n; ++k) {
      weights[k] = static_cast<float>(weights[k] - s.factor * momentum[k]);
    }
    codecs_.store(weights, at, n, s.visible);
  });
}

void CpuBackend::SumProducts(std::span<const ArrayPair> pairs, BlockSums& sums,
                             const Parallel& parallel) {
  Sum(pairs, sums, parallel,
      [&](const ArrayPair& pair, size_t at, size_t n, BlockSums::Lanes& lanes) {
        float loaded[2][kPiece];
        const auto load = [&](const Coded& array, float* buffer) {
          return array.data == nullptr ? nullptr
                                       : internal::FloatsOf(codecs_, array, at, n, buffer);
        };
        const float* const to = load(pair.to, loaded[0]);
        const float* const from = load(pair.from, loaded[1]);
        if (to != nullptr && from != nullptr) kernels_.add_products(to, from, n, lanes[0]);
        if (to != nullptr) kernels_.add_squares(to, n, lanes[1]);
        if (from != nullptr) kernels_.add_squares(from, n, lanes[2]);
      });
}

void CpuBackend::SumMeasured(std::span<const Perturbation> perturbations, float eta, bool weights,
                             BlockSums& sums, const Parallel& parallel) {
  Sum(perturbations, sums, parallel,
      [&](const Perturbation& p, size_t at, size_t n, BlockSums::Lanes& lanes) {
        if (p.gradient.data == nullptr) return;
        float loaded[2][kPiece], adapted[kPiece];
        const float* const g = internal::FloatsOf(codecs_, p.gradient, at, n, loaded[0]);
        const float* const w = weights || p.adapts
                                   ? internal::FloatsOf(codecs_, p.weights, at, n, loaded[1])
                                   : nullptr;
        kernels_.add_squares(Adapted(kernels_, p, eta, w, g, n, adapted), n, lanes[0]);
        if (weights) kernels_.add_squares(w, n, lanes[1]);
      });
}

}  // namespace kudari
