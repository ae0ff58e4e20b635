#ifndef KUDARI_STATE_H_
#define KUDARI_STATE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "kudari/tensor.h"

namespace kudari {

/// The element types of arrays, which are those of the safetensors format.
enum class ElementType : uint8_t {
  kBool,
  kUint8,  ///< also for bytes and the codes of 8-bit formats
  kInt8,
  kFloat8E5m2,
  kFloat8E4m3,
  kUint16,
  kInt16,
  kFloat16,
  kBFloat16,
  kUint32,
  kInt32,
  kFloat32,
  kUint64,
  kInt64,
  kFloat64
};

/// The name that safetensors uses: "BOOL", "U8", "F32" ...
std::string_view Name(ElementType type);
/// The number of bytes of an element.
int64_t Bytes(ElementType type);
/// The type with that name; nothing if there is none.
std::optional<ElementType> FindElementType(std::string_view name);
/// The element type of a parameter or gradient with that storage type.
ElementType ElementTypeOf(DType dtype);

/// The element type of a C++ array; std::byte maps to kUint8.
template <class T>
constexpr ElementType ElementTypeOf() {
  if constexpr (std::is_same_v<T, float>) {
    return ElementType::kFloat32;
  } else if constexpr (std::is_same_v<T, double>) {
    return ElementType::kFloat64;
  } else if constexpr (std::is_same_v<T, std::byte>) {
    return ElementType::kUint8;
  } else {
    static_assert(std::is_integral_v<T> && !std::is_same_v<T, bool>, "no type of array elements");
    constexpr ElementType kSigned[] = {ElementType::kInt8, ElementType::kInt16, ElementType::kInt32,
                                       ElementType::kInt64};
    constexpr ElementType kUnsigned[] = {ElementType::kUint8, ElementType::kUint16,
                                         ElementType::kUint32, ElementType::kUint64};
    constexpr size_t kIndex = std::bit_width(sizeof(T)) - 1;
    return std::is_signed_v<T> ? kSigned[kIndex] : kUnsigned[kIndex];
  }
}

/// Bytes by value. Unlike those of a vector, new ones have no values before they are written: the
/// first touch of memory takes the system longer than a copy, and threads can do it side by side.
class StateBytes {
 public:
  StateBytes() = default;
  /// So many bytes without values. Throws std::bad_alloc.
  explicit StateBytes(size_t size);
  /// A copy, by as many threads as OpenMP has if it is a large one.
  StateBytes(std::span<const std::byte> bytes);  // NOLINT(google-explicit-constructor): it is them
  StateBytes(const std::vector<std::byte>& bytes)  // NOLINT(google-explicit-constructor): them, too
      : StateBytes(std::span(bytes)) {}
  StateBytes(const StateBytes& other) : StateBytes(std::span(other.data(), other.size())) {}
  StateBytes(StateBytes&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  StateBytes& operator=(StateBytes other) noexcept {
    data_.swap(other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~StateBytes() = default;

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::byte* begin() { return data(); }
  std::byte* end() { return data() + size_; }
  const std::byte* begin() const { return data(); }
  const std::byte* end() const { return data() + size_; }
  std::byte& operator[](size_t i) { return data_[i]; }
  const std::byte& operator[](size_t i) const { return data_[i]; }

  friend bool operator==(const StateBytes& a, const StateBytes& b) {
    return std::ranges::equal(a, b);
  }

 private:
  std::unique_ptr<std::byte[]> data_;
  size_t size_ = 0;
};

/// An array by value, row-major and little-endian.
struct StateArray {
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape = {};  ///< {} is one element
  StateBytes bytes = {};

  /// A copy of `values` with that shape.
  template <class T>
  static StateArray Of(std::span<const T> values, std::vector<int64_t> shape) {
    return {ElementTypeOf<T>(), std::move(shape), std::as_bytes(values)};
  }
  /// A one-dimensional copy of `values`.
  template <class T>
  static StateArray Of(std::span<const T> values) {
    return Of(values, {static_cast<int64_t>(values.size())});
  }
  /// The elements. Throws Error if they have another type.
  template <class T>
  std::span<const T> As() const {
    CheckType(ElementTypeOf<T>());
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <class T>
  std::span<T> As() {
    CheckType(ElementTypeOf<T>());
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  friend bool operator==(const StateArray&, const StateArray&) = default;

 private:
  void CheckType(ElementType expected) const;
};

/// The types that a StateTree holds at its leaves.
template <class T>
concept StateValue =
    std::is_same_v<T, StateArray> || std::is_same_v<T, int64_t> || std::is_same_v<T, uint64_t> ||
    std::is_same_v<T, double> || std::is_same_v<T, bool> || std::is_same_v<T, std::string>;

/// The state of an object as a value: a tree of named nodes whose leaves are typed arrays and
/// scalars.
///
///     kudari::StateTree state = optimizer.State();
///     state.At("step").Int();                                  // 12
///     state.At("tensors/fc.weight/slots/exp_avg").Floats();    // a span
///     state.Set("tensors/fc.weight/step", int64_t{0});
///
/// A path is made of the names from the root, separated by slashes. In a name, "~1" stands for a
/// slash and "~0" for a tilde, as in JSON pointers.
class StateTree {
 public:
  using Members = std::map<std::string, StateTree, std::less<>>;
  using Value = std::variant<Members, StateArray, int64_t, uint64_t, double, bool, std::string>;

  /// A node without members.
  StateTree() = default;
  /// An array or a scalar. Throws Error if the bytes of an array do not match its shape.
  template <StateValue T>
  StateTree(T value) : value_(std::move(value)) {  // NOLINT(google-explicit-constructor): it is one
    if constexpr (std::is_same_v<T, StateArray>) CheckArray();
  }

  /// Whether this is a node rather than an array or a scalar.
  bool IsNode() const { return std::holds_alternative<Members>(value_); }
  const Value& value() const { return value_; }

  /// The value of this node as the type in question. Throws Error if it has another type.
  const Members& members() const;
  int64_t Int() const;
  uint64_t Uint() const;
  double Double() const;
  bool Bool() const;
  const std::string& Text() const;
  const StateArray& Array() const;
  StateArray& Array();
  /// The elements of a float32 array.
  std::span<const float> Floats() const { return Array().As<float>(); }
  std::span<float> Floats() { return Array().As<float>(); }

  /// The value at a path; null if there is none.
  const StateTree* Find(std::string_view path) const;
  /// The value at a path. Throws Error naming the path and the nearest name if there is none.
  const StateTree& At(std::string_view path) const;
  StateTree& At(std::string_view path);
  /// Sets the value at a path and creates the nodes above it. Throws Error if one of these exists
  /// but is not a node.
  void Set(std::string_view path, StateTree value);
  /// Removes the value at a path; returns false if there is none.
  bool Erase(std::string_view path);

  /// The member with exactly that name, whatever characters it has; null if there is none.
  const StateTree* Member(std::string_view name) const;
  /// Adds a member to a node. Throws Error if the name is taken or this is not a node.
  StateTree& Add(std::string_view name, StateTree value);

  /// The paths of all arrays and scalars, ordered by name.
  std::vector<std::string> Paths() const;
  /// The kind of this value, without its contents: "node", "F32 [2, 3]", "int64", "double",
  /// "string" ...
  std::string Kind() const;

  /// Compares bit by bit: a NaN equals itself, and 0 is not -0.
  friend bool operator==(const StateTree& a, const StateTree& b);

 private:
  void CheckArray() const;

  Value value_;
};

/// A name escaped for use as a path component.
std::string PathComponent(std::string_view name);
/// The unescaped names in a path.
std::vector<std::string> SplitPath(std::string_view path);

/// The first difference between two states, with its path and both values; empty if they are equal.
std::string FirstDifference(const StateTree& a, const StateTree& b);

/// A state with other paths, for example after a model's layers were renamed. In a pattern * stands
/// for any characters, and the same number of * in the new path, or fewer, for what these are, in
/// order. The first rule whose pattern is the whole path counts; a path that matches none stays.
///
///     Renamed(state, {{"tensors/encoder.*", "tensors/backbone.*"}})
///
/// Throws Error for a new path with more * than the pattern has, and if two values get one path.
StateTree Renamed(StateTree state, const std::vector<std::pair<std::string, std::string>>& rules);

/// How loading treats members that are missing or unknown.
enum class LoadMode {
  kStrict,  ///< both are errors
  kLenient  ///< a missing node, such as an added averager or tensor, leaves the object's own values
            ///< as they are, and so does an array of another type or shape: all values of a tensor
            ///< if it is one of them. Unknown members are ignored. The report lists all of these. A
            ///< value missing from a node that is present is an error.
};

/// The findings of a lenient load; empty after a strict one.
struct LoadReport {
  std::vector<std::string> missing = {};  ///< paths of nodes; the object kept its own values there
  std::vector<std::string> unknown = {};  ///< paths in the state that the object has no member for
  /// Paths of arrays whose type or shape is not the object's; it kept its own values there.
  std::vector<std::string> misshapen = {};

  friend bool operator==(const LoadReport&, const LoadReport&) = default;
};

/// The visitor that an object shows its state to, member by member, in its one method
///
///     void Visit(StateVisitor& visitor) {
///       visitor.Value("step", step_, 0);
///       visitor.Array("order", order_);
///       visitor.Node("scaler", scaler_);
///     }
///
/// Saving, loading, listing and comparing all follow from this method: StateOf(object) copies the
/// members, and LoadInto(object, state) checks that everything is present and fits before it writes
/// the first member. Members therefore still have their old values while Visit runs for loading;
/// use Then for work that needs the new ones. Visited members must stay at their addresses until
/// then.
class StateVisitor {
 public:
  /// Saves: copies visited members into `to`, an empty node.
  explicit StateVisitor(StateTree& to);
  /// Loads: checks visited members against `from`, which must live until Finish.
  StateVisitor(const StateTree& from, LoadMode mode);
  /// Writes the visited members. Throws Error, with nothing written, if the state has unknown
  /// members and loading is strict. Once it starts writing, it allocates nothing and cannot fail.
  LoadReport Finish();

  /// Whether this visitor loads rather than saves.
  bool loading() const { return to_ == nullptr; }

  /// Visits a scalar and returns its future value: the value itself when saving, the loaded one
  /// when loading. Throws Error if the loaded one is outside [low, high]; a NaN is only within the
  /// default range.
  int64_t Value(std::string_view name, int64_t& value,
                int64_t low = std::numeric_limits<int64_t>::min(),
                int64_t high = std::numeric_limits<int64_t>::max());
  uint64_t Value(std::string_view name, uint64_t& value);
  double Value(std::string_view name, double& value);
  double Value(std::string_view name, double& value, double low, double high);
  bool Value(std::string_view name, bool& value);
  void Value(std::string_view name, std::string& value);
  /// A number that may be unset, in which case the state lacks it. Loading throws Error for a NaN.
  void Value(std::string_view name, std::optional<double>& value);

  /// An array of exactly that type and shape, in memory that stays where it is.
  void Array(std::string_view name, ElementType type, const std::vector<int64_t>& shape,
             void* data);
  template <class T>
  void Array(std::string_view name, std::span<T> values, const std::vector<int64_t>& shape) {
    Array(name, ElementTypeOf<T>(), shape, values.data());
  }
  /// A one-dimensional array.
  template <class T>
  void Array(std::string_view name, std::span<T> values) {
    Array(name, values, {static_cast<int64_t>(values.size())});
  }
  /// A vector, which loading resizes to that shape.
  template <class T>
  void Array(std::string_view name, std::vector<T>& values, const std::vector<int64_t>& shape) {
    Vector(name, values, &shape);
  }
  /// A one-dimensional vector of any length.
  template <class T>
  void Array(std::string_view name, std::vector<T>& values) {
    Vector(name, values, nullptr);
  }

  /// A node whose members are visited by `members`.
  void Node(std::string_view name, const std::function<void()>& members);
  /// A node with the state of an object that has a Visit method.
  template <class T>
  requires requires(T& object, StateVisitor& visitor) { object.Visit(visitor); }
  void Node(std::string_view name, T& object) {
    Node(name, [&] { object.Visit(*this); });
  }
  /// A node "tensors" with a node for each tensor, whose members are visited by `members(index)`.
  /// Saving uses the tensor's name; loading accepts any of its names.
  void Tensors(std::span<const Tensor> tensors, const std::function<void(size_t)>& members);
  /// Whether to visit a member that is optional in a state: when saving, if it is `present`; when
  /// loading, if the state has it.
  bool Optional(std::string_view name, bool present) const {
    return loading() ? Found(name) != nullptr : present;
  }

  /// A member with a custom representation. `save` makes it; a node must have members. `load`
  /// checks what was found, throwing Error if it does not fit, and returns the function that writes
  /// it, which must not throw. `kind` describes the expected value in the message for a missing
  /// member.
  void Custom(std::string_view name, const std::function<StateTree()>& save,
              const std::function<std::function<void()>(const StateTree& found)>& load,
              std::string_view kind = {});
  /// When loading, `done` is called once the members visited before it have been written; it must
  /// not throw. It is not called for a node that stays as it is.
  void Then(std::function<void()> done);

  /// When loading: the member with that name in the current node of the state, or null if there is
  /// none. Null when saving.
  const StateTree* Found(std::string_view name) const;
  /// When loading leniently: whether the state lacks the current node, so that its part of the
  /// object stays as it is.
  bool leaving() const { return loading() && frames_.back().from == nullptr; }
  /// Throws Error "state: "path/name" what".
  [[noreturn]] void Fail(std::string_view name, const std::string& what) const;
  /// The same for a value of another type or shape. A lenient load leaves the tensor then, in whose
  /// node this is, as it is.
  [[noreturn]] void Misfit(std::string_view name, const std::string& what) const;

 private:
  struct Frame {
    std::string_view name;
    const StateTree* from;  // null for a node that stays as it is
    bool missing = false, noted = false;
    size_t seen = 0;  // where its members begin in seen_
  };
  struct Copy {
    void* to;
    const void* from;
    size_t size;
  };

  // Without a shape: one dimension of any length.
  template <class T>
  void Vector(std::string_view name, std::vector<T>& values, const std::vector<int64_t>* shape) {
    if (!loading()) {
      const std::span<const T> all(values);
      Save(name, shape == nullptr ? StateArray::Of(all) : StateArray::Of(all, *shape));
      return;
    }
    const StateArray* const found = TakeArray(name, ElementTypeOf<T>(), shape);
    if (found == nullptr) return;
    const std::span<const T> loaded = found->template As<T>();
    writes_.emplace_back([&values, fresh = std::vector<T>(loaded.begin(), loaded.end())]() mutable {
      values.swap(fresh);
    });
  }

  std::string PathTo(std::string_view name) const;
  template <class F>
  const StateTree* Take(std::string_view name, const F& expected);
  const StateArray* TakeArray(std::string_view name, ElementType type,
                              const std::vector<int64_t>* shape);
  void Save(std::string_view name, StateTree value);
  void TensorNode(std::string_view name, const std::function<void()>& members);
  void NoteMissing();
  void NoteUnknown();
  template <class T>
  T Scalar(std::string_view name, T& value, std::string_view kind);

  StateTree* to_ = nullptr;  // the current node when saving
  LoadMode mode_ = LoadMode::kStrict;
  LoadReport report_;
  bool in_tensor_ = false;  // a lenient load is in the node of a tensor
  std::vector<Frame> frames_;
  std::vector<const StateTree*> seen_;  // visited members of the open nodes
  std::vector<Copy> copies_;
  std::vector<std::function<void()>> writes_;
};

/// The state of an object with a method Visit(StateVisitor&).
template <class T>
StateTree StateOf(const T& object) {
  StateTree state;
  StateVisitor visitor(state);
  const_cast<T&>(object).Visit(visitor);  // which only reads when saving
  return state;
}

/// Replaces the state of such an object. Throws Error, with nothing changed, naming the path of the
/// first member that is missing, unknown, or of the wrong type or shape, and what it should be.
template <class T>
LoadReport LoadInto(T& object, const StateTree& state, LoadMode mode = LoadMode::kStrict) {
  StateVisitor visitor(state, mode);
  object.Visit(visitor);
  return visitor.Finish();
}

}  // namespace kudari

#endif  // KUDARI_STATE_H_
