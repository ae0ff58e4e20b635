#include "lab/report/downsample.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kudari::lab {
namespace {

constexpr size_t kKeptOfPart = 5;

void AddPart(std::span<const LogPoint> part, SampledCurve& sampled) {
  size_t lowest = 0, highest = 0, odd = 0, finite = 0;
  double sum = 0;
  for (size_t i = 0; i < part.size(); ++i) {
    const double value = part[i].value;
    if (!std::isfinite(value)) {
      if (std::isfinite(part[odd].value)) odd = i;
      continue;
    }
    if (finite == 0 || value < part[lowest].value) lowest = i;
    if (finite == 0 || value > part[highest].value) highest = i;
    sum += value;
    ++finite;
  }
  std::array<size_t, kKeptOfPart> kept = {0, lowest, highest, odd, part.size() - 1};
  std::ranges::sort(kept);
  const auto* const end = std::unique(kept.begin(), kept.end());
  for (const auto* at = kept.begin(); at != end; ++at) sampled.points.push_back(part[*at]);
  sampled.means.push_back({.step = part[part.size() / 2].step,
                           .value = finite > 0 ? sum / static_cast<double>(finite) : kNotMeasured});
}

}  // namespace

SampledCurve Downsample(std::span<const LogPoint> curve, size_t most) {
  SampledCurve sampled;
  if (curve.size() <= most) {
    sampled.points.assign(curve.begin(), curve.end());
    return sampled;
  }
  const size_t parts = most / kKeptOfPart;
  for (size_t i = 0; i < parts; ++i) {
    const size_t begin = i * curve.size() / parts, end = (i + 1) * curve.size() / parts;
    AddPart(curve.subspan(begin, end - begin), sampled);
  }
  return sampled;
}

}  // namespace kudari::lab
