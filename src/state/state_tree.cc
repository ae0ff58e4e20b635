#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "core/element_count.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/state.h"
#include "state/shape_text.h"

namespace kudari {

using internal::ShapeText;

void StateArray::CheckType(ElementType expected) const {
  if (type == expected) return;
  throw Error("state: an array is " + std::string(Name(type)) + ", not " +
              std::string(Name(expected)));
}

void StateTree::CheckArray() const {
  const auto& array = std::get<StateArray>(value_);
  const std::optional<int64_t> count = internal::ElementCount(array.shape);
  if (count && static_cast<uint64_t>(*count * Bytes(array.type)) == array.bytes.size()) return;
  throw Error("state: an array has " + std::to_string(array.bytes.size()) +
              " bytes, which does not match " + Kind());
}

// ---- What stands here ----

namespace {

/// The alternative T of a value, named `expected` in the message.
template <class T>
const T& Get(const StateTree& tree, std::string_view expected) {
  if (const T* const value = std::get_if<T>(&tree.value())) return *value;
  throw Error("state: a value is " + tree.Kind() + ", not " + std::string(expected));
}

}  // namespace

const StateTree::Members& StateTree::members() const { return Get<Members>(*this, "a node"); }
int64_t StateTree::Int() const { return Get<int64_t>(*this, "int64"); }
uint64_t StateTree::Uint() const { return Get<uint64_t>(*this, "uint64"); }
double StateTree::Double() const { return Get<double>(*this, "double"); }
bool StateTree::Bool() const { return Get<bool>(*this, "bool"); }
const std::string& StateTree::Text() const { return Get<std::string>(*this, "string"); }
const StateArray& StateTree::Array() const { return Get<StateArray>(*this, "an array"); }
StateArray& StateTree::Array() {
  return const_cast<StateArray&>(Get<StateArray>(*this, "an array"));
}

std::string StateTree::Kind() const {
  struct Kinds {
    std::string operator()(const Members&) const { return "a node"; }
    std::string operator()(const StateArray& a) const {
      return std::string(Name(a.type)) + " " + ShapeText<int64_t>(a.shape);
    }
    std::string operator()(int64_t) const { return "int64"; }
    std::string operator()(uint64_t) const { return "uint64"; }
    std::string operator()(double) const { return "double"; }
    std::string operator()(bool) const { return "bool"; }
    std::string operator()(const std::string&) const { return "string"; }
  };
  return std::visit(Kinds(), value_);
}

// ---- Paths ----

std::string PathComponent(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c == '~') {
      text += "~0";
    } else if (c == '/') {
      text += "~1";
    } else {
      text += c;
    }
  }
  return text;
}

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> names(1);
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '/') {
      names.emplace_back();
    } else if (path[i] != '~') {
      names.back() += path[i];
    } else if (i + 1 < path.size() && (path[i + 1] == '0' || path[i + 1] == '1')) {
      names.back() += path[++i] == '0' ? '~' : '/';
    } else {
      throw Error("state: path " + Quoted(path) + " has a ~ that is followed by neither 0 nor 1");
    }
  }
  for (const std::string& name : names) {
    if (name.empty()) throw Error("state: path " + Quoted(path) + " has an empty name");
  }
  return names;
}

const StateTree* StateTree::Member(std::string_view name) const {
  const auto* const members = std::get_if<Members>(&value_);
  if (members == nullptr) return nullptr;
  const auto at = members->find(name);
  return at == members->end() ? nullptr : &at->second;
}

StateTree& StateTree::Add(std::string_view name, StateTree value) {
  if (name.empty()) throw Error("state: a member has an empty name");
  auto* const members = std::get_if<Members>(&value_);
  if (members == nullptr) throw Error("state: " + Quoted(name) + " cannot be in " + Kind());
  const auto [at, fresh] = members->emplace(name, std::move(value));
  if (!fresh) throw Error("state: a node has two members named " + Quoted(name));
  return at->second;
}

const StateTree* StateTree::Find(std::string_view path) const {
  const StateTree* at = this;
  for (const std::string& name : SplitPath(path)) {
    at = at->Member(name);
    if (at == nullptr) return nullptr;
  }
  return at;
}

const StateTree& StateTree::At(std::string_view path) const {
  const StateTree* at = this;
  for (const std::string& name : SplitPath(path)) {
    const StateTree* const next = at->Member(name);
    if (next == nullptr) {
      std::vector<std::string> known;
      if (at->IsNode()) {
        for (const auto& [other, value] : at->members()) known.push_back(other);
      }
      throw Error("state: there is no " + Quoted(path) + Suggest(name, known));
    }
    at = next;
  }
  return *at;
}

StateTree& StateTree::At(std::string_view path) {
  return const_cast<StateTree&>(std::as_const(*this).At(path));
}

void StateTree::Set(std::string_view path, StateTree value) {
  StateTree* at = this;
  for (const std::string& name : SplitPath(path)) {
    if (auto* const members = std::get_if<Members>(&at->value_)) {
      at = &(*members)[name];
    } else {
      throw Error("state: " + Quoted(path) + " cannot be in " + at->Kind());
    }
  }
  *at = std::move(value);
}

bool StateTree::Erase(std::string_view path) {
  const std::vector<std::string> names = SplitPath(path);
  StateTree* at = this;
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    at = const_cast<StateTree*>(at->Member(names[i]));
    if (at == nullptr) return false;
  }
  auto* const members = std::get_if<Members>(&at->value_);
  return members != nullptr && members->erase(names.back()) > 0;
}

namespace {

void AddPaths(const StateTree& tree, const std::string& prefix, std::vector<std::string>& paths) {
  for (const auto& [name, value] : tree.members()) {
    const std::string path = prefix + PathComponent(name);
    if (value.IsNode()) {
      AddPaths(value, path + "/", paths);
    } else {
      paths.push_back(path);
    }
  }
}

}  // namespace

std::vector<std::string> StateTree::Paths() const {
  std::vector<std::string> paths;
  if (IsNode()) AddPaths(*this, "", paths);
  return paths;
}

namespace {

/// What the * of a pattern stand for if it is all of `text`; nothing if it is not.
std::optional<std::vector<std::string>> Match(std::string_view pattern, std::string_view text) {
  const size_t star = pattern.find('*');
  if (!text.starts_with(pattern.substr(0, star))) return std::nullopt;
  if (star == std::string_view::npos) {
    if (text.size() != pattern.size()) return std::nullopt;
    return std::vector<std::string>();
  }
  text.remove_prefix(star);
  for (size_t taken = 0; taken <= text.size(); ++taken) {
    auto rest = Match(pattern.substr(star + 1), text.substr(taken));
    if (!rest) continue;
    rest->insert(rest->begin(), std::string(text.substr(0, taken)));
    return rest;
  }
  return std::nullopt;
}

std::string NewPath(const std::string& path,
                    const std::vector<std::pair<std::string, std::string>>& rules) {
  for (const auto& [pattern, renamed] : rules) {
    const auto parts = Match(pattern, path);
    if (!parts) continue;
    std::string text;
    size_t next = 0;
    for (const char c : renamed) text += c == '*' ? parts->at(next++) : std::string(1, c);
    return text;
  }
  return path;
}

}  // namespace

StateTree Renamed(StateTree state, const std::vector<std::pair<std::string, std::string>>& rules) {
  for (const auto& [pattern, renamed] : rules) {
    if (std::ranges::count(renamed, '*') <= std::ranges::count(pattern, '*')) continue;
    throw Error("state: the new path " + Quoted(renamed) + " has more * than the pattern " +
                Quoted(pattern));
  }
  StateTree result;
  for (const std::string& path : state.Paths()) {
    const std::string renamed = NewPath(path, rules);
    if (result.Find(renamed) != nullptr) {
      throw Error("state: two values would have the path " + Quoted(renamed));
    }
    result.Set(renamed, std::move(state.At(path)));
  }
  return result;
}

// ---- Comparison ----

namespace {

template <class T>
bool SameValue(const T& a, const T& b) {
  return a == b;
}
bool SameValue(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

template <class T>
std::string ElementText(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  if constexpr (std::is_floating_point_v<T>) return NumberText(value);
  return std::to_string(value);
}

/// An element in words; what C++ has no type for by its bits.
std::string ElementText(ElementType type, std::span<const std::byte> bytes) {
  switch (type) {
    case ElementType::kBool:
    case ElementType::kUint8:
      return ElementText<uint8_t>(bytes);
    case ElementType::kInt8:
      return ElementText<int8_t>(bytes);
    case ElementType::kInt16:
      return ElementText<int16_t>(bytes);
    case ElementType::kUint32:
      return ElementText<uint32_t>(bytes);
    case ElementType::kInt32:
      return ElementText<int32_t>(bytes);
    case ElementType::kUint64:
      return ElementText<uint64_t>(bytes);
    case ElementType::kInt64:
      return ElementText<int64_t>(bytes);
    case ElementType::kFloat32:
      return ElementText<float>(bytes);
    case ElementType::kFloat64:
      return ElementText<double>(bytes);
    case ElementType::kBFloat16: {
      uint16_t upper;
      std::memcpy(&upper, bytes.data(), sizeof(upper));
      return NumberText(std::bit_cast<float>(uint32_t{upper} << 16U));
    }
    case ElementType::kUint16:
    case ElementType::kFloat16:
      return ElementText<uint16_t>(bytes) + (type == ElementType::kFloat16 ? " (its bits)" : "");
    case ElementType::kFloat8E5m2:
    case ElementType::kFloat8E4m3:
      return ElementText<uint8_t>(bytes) + " (its bits)";
  }
  return "";
}

std::string ValueText(const StateTree& tree) {
  std::string kind = tree.Kind();
  if (const auto* const x = std::get_if<int64_t>(&tree.value())) {
    return kind + " " + std::to_string(*x);
  }
  if (const auto* const x = std::get_if<uint64_t>(&tree.value())) {
    return kind + " " + std::to_string(*x);
  }
  if (const auto* const x = std::get_if<double>(&tree.value())) {
    return kind + " " + NumberText(*x);
  }
  if (const auto* const x = std::get_if<bool>(&tree.value())) return *x ? "true" : "false";
  if (const auto* const x = std::get_if<std::string>(&tree.value())) return Quoted(*x);
  return kind;
}

std::string Difference(const StateTree& a, const StateTree& b, const std::string& path) {
  if (a == b) return "";
  const std::string where = Quoted(path) + ": ";
  if (a.Kind() != b.Kind()) return where + a.Kind() + " and " + b.Kind();
  if (a.IsNode()) {
    const std::string prefix = path.empty() ? "" : path + "/";
    for (const auto& [name, value] : a.members()) {
      const std::string inner = prefix + PathComponent(name);
      const StateTree* const other = b.Member(name);
      if (other == nullptr) return Quoted(inner) + " is in the first only";
      if (std::string found = Difference(value, *other, inner); !found.empty()) return found;
    }
    for (const auto& [name, value] : b.members()) {
      if (a.Member(name) == nullptr) {
        return Quoted(prefix + PathComponent(name)) + " is in the second only";
      }
    }
    return "";
  }
  const auto* const x = std::get_if<StateArray>(&a.value());
  if (x == nullptr) return where + ValueText(a) + " and " + ValueText(b);
  const std::span<const std::byte> mine = x->bytes, other = b.Array().bytes;
  const auto size = static_cast<size_t>(Bytes(x->type));
  const auto at = static_cast<size_t>(std::ranges::mismatch(mine, other).in1 - mine.begin()) / size;
  return where + "element " + std::to_string(at) + " is " +
         ElementText(x->type, mine.subspan(at * size, size)) + " and " +
         ElementText(x->type, other.subspan(at * size, size));
}

}  // namespace

bool operator==(const StateTree& a, const StateTree& b) {
  return a.value_.index() == b.value_.index() &&
         std::visit(
             [&](const auto& x) {
               return SameValue(x, std::get<std::decay_t<decltype(x)>>(b.value_));
             },
             a.value_);
}

std::string FirstDifference(const StateTree& a, const StateTree& b) { return Difference(a, b, ""); }

}  // namespace kudari
