#include "io/state_entries.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::internal {

namespace {

constexpr std::string_view kNan = "nan ";
constexpr size_t kMostDepth = 100;  // what is nested deeper is somebody's attempt at the stack

std::string ScalarText(const StateTree& scalar) {
  struct Texts {
    std::string operator()(const StateTree::Members&) const { return ""; }
    std::string operator()(const StateArray&) const { return ""; }
    std::string operator()(int64_t x) const { return std::to_string(x); }
    std::string operator()(uint64_t x) const { return std::to_string(x); }
    std::string operator()(double x) const {
      if (!std::isnan(x)) return NumberText(x);
      char digits[16];
      const auto end = std::to_chars(digits, std::end(digits), std::bit_cast<uint64_t>(x), 16).ptr;
      return std::string(kNan) + std::string(digits, end);
    }
    std::string operator()(bool x) const { return x ? "true" : "false"; }
    std::string operator()(const std::string& x) const { return x; }
  };
  return scalar.Kind() + " " + std::visit(Texts(), scalar.value());
}

/// The number that a text is from its first to its last character; nothing if it is none.
template <class T, class... Format>
std::optional<T> Number(std::string_view text, Format... format) {
  T x{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x, format...);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return x;
}

std::optional<double> Double(std::string_view text) {
  if (!text.starts_with(kNan)) {
    const auto x = Number<double>(text);
    return x && std::isnan(*x) ? std::nullopt : x;
  }
  const auto bits = Number<uint64_t>(text.substr(kNan.size()), 16);
  if (!bits || !std::isnan(std::bit_cast<double>(*bits))) return std::nullopt;
  return std::bit_cast<double>(*bits);
}

/// The reverse of ScalarText.
std::optional<StateTree> Scalar(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view kind = text.substr(0, space), value = text.substr(space + 1);
  if (kind == "string") return std::string(value);
  if (kind == "bool" && value == "true") return true;
  if (kind == "bool" && value == "false") return false;
  const auto tree = [](const auto& number) -> std::optional<StateTree> {
    if (!number) return std::nullopt;
    return StateTree(*number);
  };
  if (kind == "int64") return tree(Number<int64_t>(value));
  if (kind == "uint64") return tree(Number<uint64_t>(value));
  if (kind == "double") return tree(Double(value));
  return std::nullopt;
}

}  // namespace

StateEntries EntriesOf(const StateTree& state, const std::string& file) {
  StateEntries entries;
  entries.metadata.emplace(kStateVersion, "1");
  for (const std::string& name : state.Paths()) {
    const std::string where = file + ": " + Quoted(name) + ": ";
    if (name == kStateVersion) throw Error(where + "the format reserves this name");
    if (SplitPath(name).size() > kMostDepth) {
      throw Error(where + "is nested more than " + std::to_string(kMostDepth) + " deep");
    }
    const StateTree& value = state.At(name);
    if (const auto* const array = std::get_if<StateArray>(&value.value())) {
      entries.arrays.emplace_back(name, Name(array->type), array->shape, array->bytes);
    } else {
      entries.metadata.emplace(name, ScalarText(value));
    }
  }
  return entries;
}

void PutEntry(StateTree& state, const std::string& file, const std::string& path, StateTree value) {
  const std::string where = file + ": " + Quoted(path) + ": ";
  std::vector<std::string> names;
  try {
    names = SplitPath(path);
  } catch (const Error& e) {
    throw Error(where + e.what());
  }
  if (names.size() > kMostDepth) {
    throw Error(where + "is nested " + std::to_string(names.size()) + " deep, more than " +
                std::to_string(kMostDepth));
  }
  StateTree* at = &state;
  for (const std::string& name : std::span(names).first(names.size() - 1)) {
    auto* const next = const_cast<StateTree*>(at->Member(name));
    at = next != nullptr ? next : &at->Add(name, {});
  }
  if (!at->IsNode() || at->Member(names.back()) != nullptr) {
    throw Error(where + "conflicts with another entry of the file");
  }
  at->Add(names.back(), std::move(value));
}

void PutScalars(StateTree& state, const std::map<std::string, std::string>& metadata,
                const std::string& file) {
  const auto version = metadata.find(kStateVersion);
  if (version == metadata.end()) {
    throw Error(file + ": is not a state: its metadata has no " + Quoted(kStateVersion));
  }
  if (version->second != "1") {
    throw Error(file + ": is a state of version " + Quoted(version->second) + ", not 1");
  }
  for (const auto& [path, text] : metadata) {
    if (path == kStateVersion) continue;
    std::optional<StateTree> scalar = Scalar(text);
    if (!scalar) {
      throw Error(file + ": " + Quoted(path) + ": " + Quoted(text) +
                  " is not a scalar such as \"int64 12\"");
    }
    PutEntry(state, file, path, *std::move(scalar));
  }
}

}  // namespace kudari::internal
