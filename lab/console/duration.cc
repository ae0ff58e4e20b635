#include "lab/console/duration.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

namespace kudari::lab {
namespace {

constexpr double kLongest = 10 * 365.25 * 86400;
constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
    {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}}};

}  // namespace

std::optional<double> ParseDuration(std::string_view text) {
  double total = 0;
  size_t unit = 0;  // each at most once, the largest first
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !(number >= 0)) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    while (unit < kUnits.size() && !text.starts_with(kUnits[unit].first)) ++unit;
    if (unit == kUnits.size()) return std::nullopt;
    text.remove_prefix(kUnits[unit].first.size());
    total += number * kUnits[unit++].second;
  }
  if (!(total > 0 && total <= kLongest)) return std::nullopt;
  return total;
}

std::string DurationUnits(double seconds) {
  for (const auto& [name, size] : kUnits) {
    const double number = seconds / size;
    if (number == std::floor(number) && number >= 1) return fmt::format("{:.0f}{}", number, name);
  }
  return fmt::format("{}s", seconds);
}

}  // namespace kudari::lab
