#include "core/suggest.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <vector>

#include "core/quoted.h"

namespace kudari::internal {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, substitute});
    }
  }
  return row.back();
}

}  // namespace

std::string Suggest(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kLongestList = 1000;
  constexpr size_t kLongestName = 100;  // beyond it nothing is near, and the distance is slow
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  if (name.size() <= kLongestName) {
    for (const std::string& k : known) {
      const size_t distance = EditDistance(name, k);
      if (distance < best_distance && distance < std::max(name.size(), k.size())) {
        best = &k;
        best_distance = distance;
      }
    }
  }
  if (best != nullptr) return "; did you mean " + Quoted(*best) + "?";
  if (known.empty()) return "";
  std::string text = "; known: ";
  for (const std::string& k : known) {
    if (text.size() > kLongestList) return text + ", ...";
    if (&k != &known.front()) text += ", ";
    text += OneLine(k);
  }
  return text;
}

std::string NumberText(double x) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), x).ptr;
  return {buffer, end};
}

}  // namespace kudari::internal
