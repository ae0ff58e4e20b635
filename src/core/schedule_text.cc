#include "core/schedule_text.h"

#include <charconv>

namespace kudari::internal {

std::vector<std::string_view> SplitOutside(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(' || text[i] == '[') ++depth;
    if (text[i] == ')' || text[i] == ']') --depth;
    if (depth > 0 || text.substr(i, separator.size()) != separator) continue;
    parts.push_back(text.substr(begin, i - begin));
    begin = i + separator.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::optional<double> NumberOf(std::string_view text) {
  double x = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return x;
}

std::optional<double> LeadingNumber(std::string_view text) {
  std::optional<double> product;
  for (const std::string_view factor : SplitOutside(text, " * ")) {
    if (const auto number = NumberOf(factor)) product = product.value_or(1) * *number;
  }
  return product;
}

std::optional<int64_t> WarmupSteps(std::string_view text) {
  constexpr std::string_view kName = "warmup(";
  const size_t at = text.find(kName);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + kName.size());
  int64_t steps = 0;
  std::from_chars(text.data(), text.data() + text.size(), steps);
  return steps;
}

}  // namespace kudari::internal
