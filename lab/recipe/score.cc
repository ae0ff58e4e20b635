#include "lab/recipe/score.h"

#include <algorithm>
#include <cmath>

namespace kudari::lab {

const Metric& MonitoredMetric(std::string_view name, const Score& score) {
  const auto wanted = [&](const Metric& metric) {
    return name == "auto" ? metric.aim && !std::isnan(score.*metric.value) : name == metric.name;
  };
  const auto* const found = std::ranges::find_if(kMetrics, wanted);
  return found == kMetrics.end() ? kMetrics.front() : *found;
}

}  // namespace kudari::lab
