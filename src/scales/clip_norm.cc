#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kudari/registry.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

constexpr double kSmallest = std::numeric_limits<double>::min();  // a zero norm is not clipped

}  // namespace

ClipNorm::ClipNorm(Schedule max_norm, double eps) : max_norm_(std::move(max_norm)), eps_(eps) {
  CheckRange("clip_norm: eps", eps, 0, kInfinity);
  CheckRange("clip_norm", max_norm_(0), 0, kInfinity);
}

double ClipNorm::Factor(double norm, int64_t step) const {
  const double max_norm = max_norm_(step);
  if (!(max_norm >= 0)) {
    CheckRange("clip_norm at step " + std::to_string(step), max_norm, 0, kInfinity);
  }
  // A NaN stays one: the caller's policy about such gradients has let it through.
  return std::isnan(norm) ? norm : std::min(1.0, max_norm / std::max(norm + eps_, kSmallest));
}

}  // namespace kudari
