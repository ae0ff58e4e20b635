#include <algorithm>
#include <cmath>
#include <cstring>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/range.h"
#include "kudari/state.h"
#include "state/shape_text.h"

namespace kudari {

namespace {

// Ends the visit of a tensor that a lenient load leaves as it is.
struct LeaveTensor {
  std::string path;
};

}  // namespace

StateVisitor::StateVisitor(StateTree& to) : to_(&to) {}

StateVisitor::StateVisitor(const StateTree& from, LoadMode mode) : mode_(mode) {
  if (!from.IsNode()) throw Error("state: is " + from.Kind() + ", but must be a node");
  frames_.push_back({.name = {}, .from = &from});
}

std::string StateVisitor::PathTo(std::string_view name) const {
  std::string path;
  for (size_t i = 1; i < frames_.size(); ++i) path += PathComponent(frames_[i].name) + "/";
  return path + PathComponent(name);
}

void StateVisitor::Fail(std::string_view name, const std::string& what) const {
  throw Error("state: " + Quoted(PathTo(name)) + " " + what);
}

void StateVisitor::Misfit(std::string_view name, const std::string& what) const {
  if (in_tensor_) throw LeaveTensor{PathTo(name)};  // NOLINT(bugprone-std-exception-baseclass)
  Fail(name, what);
}

const StateTree* StateVisitor::Found(std::string_view name) const {
  if (!loading() || leaving()) return nullptr;
  return frames_.back().from->Member(name);
}

/// The member that a value is loaded from, which counts as known then; null in a node that stays as
/// it is. `expected` says what is missing if it is.
template <class F>
const StateTree* StateVisitor::Take(std::string_view name, const F& expected) {
  if (frames_.back().missing) NoteMissing();
  if (leaving()) return nullptr;
  const StateTree* const found = Found(name);
  if (found == nullptr) Fail(name, "is missing" + expected());
  seen_.push_back(found);
  return found;
}

/// Something of a node that is missing was asked for: names the uppermost such node.
void StateVisitor::NoteMissing() {
  const auto top = std::ranges::find(frames_, true, &Frame::missing);
  if (top->noted) return;
  std::string path;
  for (auto at = frames_.begin() + 1; at <= top; ++at) {
    path += (path.empty() ? "" : "/") + PathComponent(at->name);
  }
  if (mode_ == LoadMode::kStrict) throw Error("state: " + Quoted(path) + " is missing");
  report_.missing.push_back(path);
  top->noted = true;
}

/// Everything of the present node has been visited: names what the state has beyond that.
void StateVisitor::NoteUnknown() {
  const Frame& frame = frames_.back();
  const std::span seen = std::span(seen_).subspan(frame.seen);
  if (leaving() || seen.size() == frame.from->members().size()) return;
  for (const auto& [name, value] : frame.from->members()) {
    if (std::ranges::find(seen, &value) != seen.end()) continue;
    if (mode_ == LoadMode::kStrict) Fail(name, "(" + value.Kind() + ") is unknown");
    report_.unknown.push_back(PathTo(name));
  }
}

LoadReport StateVisitor::Finish() {
  if (!loading()) return {};
  NoteUnknown();
  for (const Copy& copy : copies_) {
    if (copy.size > 0) std::memcpy(copy.to, copy.from, copy.size);
  }
  for (const auto& write : writes_) write();
  return std::move(report_);
}

void StateVisitor::Then(std::function<void()> done) {
  if (loading() && !leaving()) writes_.push_back(std::move(done));
}

// ---- Values ----

template <class T>
T StateVisitor::Scalar(std::string_view name, T& value, std::string_view kind) {
  if (!loading()) {
    Save(name, value);
    return value;
  }
  const StateTree* const found = Take(name, [&] { return "; it must be " + std::string(kind); });
  if (found == nullptr) return value;
  const T* const loaded = std::get_if<T>(&found->value());
  if (loaded == nullptr) Fail(name, "is " + found->Kind() + ", but must be " + std::string(kind));
  copies_.push_back({&value, loaded, sizeof(T)});
  return *loaded;
}

int64_t StateVisitor::Value(std::string_view name, int64_t& value, int64_t low, int64_t high) {
  const int64_t x = Scalar(name, value, "int64");
  if (low <= x && x <= high) return x;
  Fail(name, "= " + std::to_string(x) + " is outside [" + std::to_string(low) + ", " +
                 std::to_string(high) + "]");
}

uint64_t StateVisitor::Value(std::string_view name, uint64_t& value) {
  return Scalar(name, value, "uint64");
}

double StateVisitor::Value(std::string_view name, double& value) {
  return Scalar(name, value, "double");
}

double StateVisitor::Value(std::string_view name, double& value, double low, double high) {
  const double x = Scalar(name, value, "double");
  if (low <= x && x <= high) return x;
  Fail(name, "= " + NumberText(x) + " is outside " + RangeText(low, high));
}

bool StateVisitor::Value(std::string_view name, bool& value) { return Scalar(name, value, "bool"); }

void StateVisitor::Value(std::string_view name, std::string& value) {
  Custom(
      name, [&] { return StateTree(value); },
      [&](const StateTree& found) {
        if (!std::holds_alternative<std::string>(found.value())) {
          Fail(name, "is " + found.Kind() + ", but must be string");
        }
        return [&value, fresh = found.Text()]() mutable { value.swap(fresh); };
      });
}

void StateVisitor::Value(std::string_view name, std::optional<double>& value) {
  if (!loading()) {
    if (value) to_->Add(name, *value);
    return;
  }
  if (leaving()) return;
  std::optional<double> loaded;
  if (const StateTree* const found = Found(name); found != nullptr) {
    seen_.push_back(found);
    const double* const number = std::get_if<double>(&found->value());
    if (number == nullptr) Fail(name, "is " + found->Kind() + ", but must be double");
    if (std::isnan(*number)) Fail(name, "is not a number");
    loaded = *number;
  }
  writes_.emplace_back([&value, loaded] { value = loaded; });
}

void StateVisitor::Save(std::string_view name, StateTree value) {
  // A file could not tell it from none.
  if (value.IsNode() && value.members().empty()) Fail(name, "is a node without members");
  to_->Add(name, std::move(value));
}

/// The array that one of that type and shape is loaded from, of one dimension if there is none;
/// null in a node that is missing, and where a lenient load leaves the array as it is.
const StateArray* StateVisitor::TakeArray(std::string_view name, ElementType type,
                                          const std::vector<int64_t>* shape) {
  const auto expected = [&] {
    return std::string(kudari::Name(type)) +
           (shape == nullptr ? " of one dimension" : " " + internal::ShapeText<int64_t>(*shape));
  };
  const StateTree* const found = Take(name, [&] { return "; it must be " + expected(); });
  if (found == nullptr) return nullptr;
  const auto* const array = std::get_if<StateArray>(&found->value());
  if (array != nullptr && array->type == type &&
      (shape == nullptr ? array->shape.size() == 1 : array->shape == *shape)) {
    return array;
  }
  if (mode_ == LoadMode::kLenient && !in_tensor_) {
    report_.misshapen.push_back(PathTo(name));
    return nullptr;
  }
  Misfit(name, "is " + found->Kind() + ", but must be " + expected());
}

void StateVisitor::Array(std::string_view name, ElementType type, const std::vector<int64_t>& shape,
                         void* data) {
  if (loading()) {
    const StateArray* const found = TakeArray(name, type, &shape);
    if (found != nullptr) copies_.push_back({data, found->bytes.data(), found->bytes.size()});
    return;
  }
  int64_t size = Bytes(type);
  for (const int64_t n : shape) size *= n;
  const std::span bytes(static_cast<const std::byte*>(data), static_cast<size_t>(size));
  Save(name, StateArray{type, shape, bytes});
}

void StateVisitor::Custom(std::string_view name, const std::function<StateTree()>& save,
                          const std::function<std::function<void()>(const StateTree& found)>& load,
                          std::string_view kind) {
  if (!loading()) return Save(name, save());
  const StateTree* const found =
      Take(name, [&] { return kind.empty() ? "" : "; it must be " + std::string(kind); });
  if (found != nullptr) writes_.push_back(load(*found));
}

// ---- Nodes ----

void StateVisitor::Node(std::string_view name, const std::function<void()>& members) {
  if (!loading()) {
    StateTree node;
    StateTree* const outer = std::exchange(to_, &node);
    members();
    to_ = outer;
    if (!node.members().empty()) Save(name, std::move(node));
    return;
  }
  // What a strict load misses is a node without members, as one with some would have been kept.
  static const StateTree kNoMembers;
  const StateTree* const found = Found(name);
  const StateTree* from = mode_ == LoadMode::kStrict ? &kNoMembers : nullptr;
  if (found != nullptr) {
    from = found;
    if (!found->IsNode()) Fail(name, "is " + found->Kind() + ", but must be a node");
    seen_.push_back(found);
  }
  frames_.push_back(
      {.name = name, .from = from, .missing = found == nullptr, .seen = seen_.size()});
  members();
  NoteUnknown();
  seen_.resize(frames_.back().seen);
  frames_.pop_back();
}

void StateVisitor::Tensors(std::span<const Tensor> tensors,
                           const std::function<void(size_t)>& members) {
  const auto name_of = [this](const Tensor& t) -> const std::string& {
    const auto found = [this](const std::string& name) { return Found(name) != nullptr; };
    const auto alias = std::ranges::find_if(t.aliases, found);
    return found(t.name) || alias == t.aliases.end() ? t.name : *alias;
  };
  Node("tensors", [&] {
    for (size_t i = 0; i < tensors.size(); ++i) {
      TensorNode(name_of(tensors[i]), [&] { members(i); });
    }
  });
}

void StateVisitor::TensorNode(std::string_view name, const std::function<void()>& members) {
  if (!loading() || mode_ == LoadMode::kStrict) return Node(name, members);
  const size_t frames = frames_.size(), seen = seen_.size(), copies = copies_.size();
  const size_t writes = writes_.size(), missing = report_.missing.size();
  const size_t unknown = report_.unknown.size();
  in_tensor_ = true;
  try {
    Node(name, members);
    in_tensor_ = false;
  } catch (const LeaveTensor& left) {
    in_tensor_ = false;
    // As if the node were missing, but for the report.
    frames_.resize(frames);
    seen_.resize(seen);
    copies_.resize(copies);
    writes_.resize(writes);
    report_.missing.resize(missing);
    report_.unknown.resize(unknown);
    report_.misshapen.push_back(left.path);
    seen_.push_back(Found(name));
    frames_.push_back({.name = name, .from = nullptr, .missing = true, .noted = true});
    members();
    frames_.pop_back();
  }
}

}  // namespace kudari
