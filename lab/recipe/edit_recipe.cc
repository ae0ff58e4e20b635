#include "lab/recipe/edit_recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/recipe.h"

namespace kudari::lab {
namespace {

using Path = std::vector<std::string>;

// The offset of a position in the text, both counted from 1; columns count characters of UTF-8.
size_t Offset(std::string_view text, const toml::source_position& at) {
  size_t i = 0;
  for (toml::source_index line = 1; line < at.line; ++line) i = text.find('\n', i) + 1;
  for (toml::source_index column = 1; column < at.column; ++column) {
    do {
      ++i;
    } while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U);
  }
  return std::min(i, text.size());
}

size_t Begin(std::string_view text, const toml::node& node) {
  return Offset(text, node.source().begin);
}
size_t End(std::string_view text, const toml::node& node) {
  return Offset(text, node.source().end);
}

/// A recipe as text with what it says.
struct Document {
  explicit Document(std::string toml)
      : text(std::move(toml)), table(internal::ParseToml(text, "recipe")) {}

  /// The node at the path; null if there is none.
  const toml::node* Find(const Path& path) const {
    const toml::node* at = &table;
    for (const std::string& part : path) {
      if (const toml::table* const inner = at->as_table()) {
        at = inner->get(part);
      } else if (const toml::array* const list = at->as_array()) {
        at = list->get(std::stoul(part));
      } else {
        at = nullptr;
      }
      if (at == nullptr) return nullptr;
    }
    return at;
  }
  std::string TextOf(const toml::node& node) const {
    return text.substr(Begin(text, node), End(text, node) - Begin(text, node));
  }

  std::string text;
  toml::table table;
};

bool IsListOfTables(const toml::node& node) {
  const toml::array* const list = node.as_array();
  return list != nullptr && list->is_array_of_tables();
}

// Appends the paths of values that `now` has otherwise than `before`, those inside tables and lists
// of tables one by one; a table that is new in a list of them counts as one.
void AddDifferences(const Document& before, const Document& now, const Path& path,
                    std::vector<Path>& paths) {
  const toml::node* const a = before.Find(path);
  const toml::node* const b = now.Find(path);
  const auto inside = [&](std::string part) {
    Path longer = path;
    longer.push_back(std::move(part));
    AddDifferences(before, now, longer, paths);
  };
  if (a != nullptr && a->is_table() && b->is_table()) {
    for (const auto& [key, value] : *b->as_table()) inside(std::string(key.str()));
  } else if (IsListOfTables(*b) && (a == nullptr || IsListOfTables(*a))) {
    for (size_t i = 0; i < b->as_array()->size(); ++i) inside(std::to_string(i));
  } else if (a == nullptr || before.TextOf(*a) != now.TextOf(*b)) {
    paths.push_back(path);
  }
}

std::string Joined(const Path& path) { return fmt::format("{}", fmt::join(path, ".")); }

// Where a line for a new key of a table goes: below the line that says what the table is about, or
// below its header; nothing if that is not clear.
std::optional<size_t> PlaceIn(std::string_view text, const toml::table& table) {
  size_t above = Begin(text, table);
  for (const char* const key : {"match", "rule", "preset", "name"}) {
    if (const toml::node* const node = table.get(key)) {
      above = End(text, *node);
      break;
    }
  }
  const size_t line = text.find('\n', above);
  if (line == std::string_view::npos) return std::nullopt;
  return line + 1;
}

// The text with the value that `full` has at the path; nothing if it is not clear how.
std::optional<std::string> WithValue(const Document& document, const Document& full,
                                     const Path& path) {
  std::string text = document.text;
  const toml::node& value = *full.Find(path);
  if (const toml::node* const old = document.Find(path); old != nullptr && !value.is_table()) {
    const size_t begin = Begin(text, *old);
    return text.replace(begin, End(text, *old) - begin, full.TextOf(value));
  }
  const std::string start = text.empty() || text.ends_with('\n') ? "\n" : "\n\n";
  if (const toml::table* const added = value.as_table(); added != nullptr && !added->is_inline()) {
    // A new table of a list begins with what it is for; its other keys follow as differences.
    const toml::node* const match = added->get("match");
    if (match == nullptr) return std::nullopt;
    const Path list(path.begin(), path.end() - 1);
    return text + start + "[[" + Joined(list) + "]]\nmatch = " + full.TextOf(*match) + "\n";
  }
  Path outer = path, inner;
  const toml::table* table = nullptr;
  while (table == nullptr) {
    inner.insert(inner.begin(), outer.back());
    outer.pop_back();
    if (const toml::node* const node = document.Find(outer)) {
      table = node->as_table();
      if (table == nullptr) return std::nullopt;
    }
  }
  const std::string line = Joined(inner) + " = " + full.TextOf(value);
  if (outer.empty()) {
    if (inner.size() != 2) return std::nullopt;
    return text + start + "[" + inner[0] + "]\n" + inner[1] + " = " + full.TextOf(value) + "\n";
  }
  if (table->is_inline()) {
    return text.insert(End(text, *table) - 1, (table->empty() ? "" : ", ") + line);
  }
  const std::optional<size_t> place = PlaceIn(text, *table);
  if (!place) return std::nullopt;
  return text.insert(*place, line + "\n");
}

Document Full(const Recipe& recipe) { return Document(ToToml(recipe)); }

// The text after all changes; nothing if they cannot be made one by one.
std::optional<std::string> Edited(std::string text, const Recipe& changed) {
  const Document full = Full(changed);
  // Each round makes one difference less, the outermost first: groups follow what they inherit.
  constexpr int kMostRounds = 200;
  for (int round = 0; round < kMostRounds; ++round) {
    Recipe now = ParseTrainRecipe(text, "recipe");
    now.optimizer = Complete(now.optimizer);
    if (now == changed) return text;
    std::vector<Path> paths;
    AddDifferences(Full(now), full, {}, paths);
    if (paths.empty()) return std::nullopt;
    const auto first = std::ranges::min_element(paths, {}, &Path::size);
    auto next = WithValue(Document(text), full, *first);
    if (!next || *next == text) return std::nullopt;
    text = *std::move(next);
  }
  return std::nullopt;
}

}  // namespace

std::string EditRecipe(std::string_view text, const Recipe& changed) {
  try {
    if (auto edited = Edited(std::string(text), changed)) return *std::move(edited);
  } catch (const Error&) {
    // What cannot be read cannot be what is wanted.
  }
  return ToToml(changed);
}

}  // namespace kudari::lab
