#include "lab/data/parts/columns.h"

#include <charconv>
#include <cstdint>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::lab {

size_t FindColumn(const std::vector<std::string>& names, const std::filesystem::path& path,
                  const std::string& option, const std::string& column) {
  const auto count = std::ssize(names);
  std::vector<size_t> found;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!column.empty() && names[i] == column) found.push_back(i);
  }
  const std::string what = "data." + option + ": " + Quoted(column);
  if (found.size() > 1) {
    throw Error(what + " is the name of columns " + std::to_string(found[0] + 1) + " and " +
                std::to_string(found[1] + 1) + " of " + path.string());
  }
  if (!found.empty()) return found[0];
  int64_t number = 0;
  const auto [end, error] = std::from_chars(column.data(), column.data() + column.size(), number);
  if (error != std::errc() || end != column.data() + column.size()) {
    std::vector<std::string> known = names;
    std::erase(known, "");
    throw Error(what + " is not a column of " + path.string() +
                (known.empty() ? ", whose columns have no names" : Suggest(column, known)));
  }
  if (number == 0 || number > count || number < -count) {
    throw Error(what + " is outside [1, " + std::to_string(count) + "] and [-" +
                std::to_string(count) + ", -1], the columns of " + path.string());
  }
  return static_cast<size_t>(number > 0 ? number - 1 : count + number);
}

}  // namespace kudari::lab
