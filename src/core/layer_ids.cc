#include "core/layer_ids.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include "core/tensor_names.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::internal {
namespace {

/// What orders the tensors: one of the Places, then the numbers of the layer.
using Key = std::vector<int64_t>;

enum Place : int64_t { kStem, kNumbered, kLast };

std::optional<int64_t> NumberAt(std::string_view text, size_t at, size_t& end) {
  int64_t number = 0;
  const char* const begin = text.data() + at;
  const auto [stop, error] = std::from_chars(begin, text.data() + text.size(), number);
  if (error != std::errc() || *begin == '-') return std::nullopt;
  end = at + static_cast<size_t>(stop - begin);
  return number;
}

/// The number that a component is.
std::optional<int64_t> NumberOf(std::string_view component) {
  size_t end = 0;
  const auto number = component.empty() ? std::nullopt : NumberAt(component, 0, end);
  return number && end == component.size() ? number : std::nullopt;
}

/// The number at the end of a component such as layer1, denseblock2 or encoder_layer_3.
std::optional<int64_t> NumberAfterWord(std::string_view component) {
  const size_t last = component.find_last_not_of("0123456789");
  if (last == component.npos || last + 1 == component.size()) return std::nullopt;
  std::string_view word = component.substr(0, last + 1);
  while (word.ends_with('_')) word.remove_suffix(1);
  if (!word.ends_with("layer") && !word.ends_with("block") && !word.ends_with("stage")) {
    return std::nullopt;
  }
  return NumberOf(component.substr(last + 1));
}

std::vector<std::string_view> Components(std::string_view name) {
  std::vector<std::string_view> components;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find_first_of("./", begin), name.size());
    components.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return components;
}

bool IsHeadComponent(std::string_view component) { return IsHeadWord(WordsOf(component).back()); }

bool IsStemComponent(std::string_view component) {
  const std::vector<std::string> words = WordsOf(component);
  return std::ranges::any_of(
      words, [](const std::string& w) { return w.find("embed") != w.npos || w == "stem"; });
}

/// The key of a tensor, by the numbers in its name; nothing if it has none and its place depends on
/// the other tensors.
std::optional<Key> KeyByName(std::string_view name) {
  std::vector<std::string_view> parts = Components(name);
  parts.pop_back();  // the parameter's own
  for (size_t k = 0; k < parts.size(); ++k) {
    if (IsHeadComponent(parts[k])) return Key{kLast};
    if (IsStemComponent(parts[k])) return Key{kStem};
    auto number = NumberOf(parts[k]);
    if (!number) number = NumberAfterWord(parts[k]);
    if (!number) continue;
    // Within a stage: layer1.0, layers.0.blocks.1, denseblock1.denselayer2.
    std::optional<int64_t> block;
    if (k + 1 < parts.size()) block = NumberOf(parts[k + 1]);
    if (!block && k + 1 < parts.size()) block = NumberAfterWord(parts[k + 1]);
    const bool list =
        k + 2 < parts.size() && (parts[k + 1] == "blocks" || parts[k + 1] == "layers");
    if (!block && list) block = NumberOf(parts[k + 2]);
    return Key{kNumbered, *number, block.value_or(0)};
  }
  return std::nullopt;
}

/// Whether a name matches a pattern in which each # stands for a number; if so, `numbers` has them.
/// The first of all places where a star can end decides.
bool MatchNumbers(std::string_view pattern, std::string_view name, Key& numbers) {
  // As Glob, where after a star the numbers behind it are read again.
  const size_t before = numbers.size();
  size_t p = 0, n = 0, star = std::string_view::npos, after = 0, kept = before;
  while (n < name.size()) {
    size_t end = 0;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
      kept = numbers.size();
      continue;
    }
    const bool digits = n == 0 || name[n - 1] < '0' || name[n - 1] > '9';  // none is cut in two
    if (p < pattern.size() && pattern[p] == '#' && digits) {
      if (const auto number = NumberAt(name, n, end)) {
        numbers.push_back(*number);
        ++p;
        n = end;
        continue;
      }
    } else if (p < pattern.size() && pattern[p] != '#' &&
               (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
      continue;
    }
    if (star == std::string_view::npos) break;
    numbers.resize(kept);
    p = star + 1;
    n = ++after;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  if (n == name.size() && p == pattern.size()) return true;
  numbers.resize(before);
  return false;
}

/// The key of a tensor by the first pattern that matches one of its names.
std::optional<Key> KeyByPattern(const Tensor& tensor, std::span<const std::string> patterns,
                                std::vector<bool>& matched) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    Key key = {kNumbered, static_cast<int64_t>(i)};
    bool matches = MatchNumbers(patterns[i], tensor.name, key);
    for (size_t k = 0; !matches && k < tensor.aliases.size(); ++k) {
      matches = MatchNumbers(patterns[i], tensor.aliases[k], key);
    }
    if (!matches) continue;
    matched[i] = true;
    return key;
  }
  return std::nullopt;
}

/// The module that has the layer that a tensor without a number is part of, if that is the norm at
/// the end of the layers: "" for norm.weight, "visual." for visual.ln_post.weight.
std::optional<std::string_view> ParentOfNorm(std::string_view name) {
  std::vector<std::string_view> parts = Components(name);
  if (parts.size() < 2) return std::nullopt;
  const std::string_view layer = parts[parts.size() - 2];
  const std::vector<std::string> words = WordsOf(layer);
  const auto is_norm = [](const std::string& w) {
    return w.find("norm") != w.npos || w == "ln" || w == "bn" || w == "gn";
  };
  if (std::ranges::none_of(words, is_norm) || words.front() == "fc") return std::nullopt;
  return name.substr(0, static_cast<size_t>(layer.data() - name.data()));
}

}  // namespace

std::vector<int64_t> LayersOf(std::span<const Tensor> tensors, std::span<const TensorClass> classes,
                              std::span<const std::string> patterns) {
  for (const std::string& pattern : patterns) {
    if (pattern.find('#') != pattern.npos) continue;
    throw Error("layer_match: " + Quoted(pattern) +
                " has no \"#\", which stands for the number of a layer");
  }
  std::vector<bool> matched(patterns.size());
  std::vector<std::optional<Key>> keys;
  std::vector<std::string_view> numbered;  // the names that have a number
  size_t first = tensors.size();
  Key last_numbered;
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::optional<Key> key =
        patterns.empty() ? KeyByName(tensors[i].name) : KeyByPattern(tensors[i], patterns, matched);
    if (key && key->front() == kNumbered) {
      numbered.push_back(tensors[i].name);
      first = std::min(first, i);
      last_numbered = std::max(last_numbered, *key);
    } else if (classes[i] == TensorClass::kEmbedding) {
      key = Key{kStem};
    } else if (classes[i] == TensorClass::kHead) {
      key = Key{kLast};
    } else if (!key && !patterns.empty()) {
      key = KeyByName(tensors[i].name);
      if (key && key->front() == kNumbered) key.reset();  // not a number that was asked for
    }
    keys.push_back(std::move(key));
  }
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (matched[i]) continue;
    throw Error("layer_match: " + Quoted(patterns[i]) + " matches no tensor" +
                (tensors.empty() ? "" : "; the first one is " + Quoted(tensors[0].name)));
  }
  std::ranges::sort(numbered);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i]) continue;
    keys[i] = Key{i < first && !numbered.empty() ? kStem : kLast};
    if (i < first || numbered.empty()) continue;
    const auto parent = ParentOfNorm(tensors[i].name);
    if (!parent) continue;
    const auto at = std::ranges::lower_bound(numbered, *parent);
    if (at != numbered.end() && at->starts_with(*parent)) keys[i] = last_numbered;
  }
  std::map<Key, int64_t> ids;
  for (const auto& key : keys) ids.emplace(*key, 0);
  int64_t next = 0;
  for (auto& [key, id] : ids) id = next++;
  std::vector<int64_t> layers;
  for (const auto& key : keys) layers.push_back(ids.at(*key));
  return layers;
}

}  // namespace kudari::internal
