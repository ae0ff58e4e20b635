#include "kudari/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <new>

#include "kudari/error.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"

namespace kudari {
namespace state_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::IsEmpty;

TEST(ElementType, NamesAndSizes) {
  for (int i = 0; i <= static_cast<int>(ElementType::kFloat64); ++i) {
    const auto type = static_cast<ElementType>(i);
    EXPECT_EQ(FindElementType(Name(type)), type);
  }
  EXPECT_EQ(Name(ElementType::kBFloat16), "BF16");
  EXPECT_EQ(Bytes(ElementType::kBFloat16), 2);
  EXPECT_EQ(Bytes(ElementType::kInt64), 8);
  EXPECT_EQ(FindElementType("F33"), std::nullopt);
  EXPECT_EQ(ElementTypeOf(DType::kFloat16), ElementType::kFloat16);
  EXPECT_EQ(ElementTypeOf<uint16_t>(), ElementType::kUint16);
  EXPECT_EQ(ElementTypeOf<int64_t>(), ElementType::kInt64);
  EXPECT_EQ(ElementTypeOf<std::byte>(), ElementType::kUint8);
}

// ---- The value ----

StateTree Example() {
  StateTree state;
  state.Set("step", int64_t{12});
  state.Set("tensors/layer.weight/exp_avg",
            StateArray::Of<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}));
  state.Set("tensors/a~1b~0/exp_avg", StateArray::Of<float>(std::vector<float>{7}));
  state.Set("tensors/a~1b~0/dense", true);
  state.Set("schedule", std::string("0.1 * warmup(5)"));
  state.Set("seed", uint64_t{1} << 63U);
  state.Set("best", 0.25);
  return state;
}

TEST(StateTree, IsBuiltAndLookedUpByPath) {
  const StateTree state = Example();
  EXPECT_EQ(state.At("step").Int(), 12);
  EXPECT_EQ(state.At("seed").Uint(), uint64_t{1} << 63U);
  EXPECT_EQ(state.At("best").Double(), 0.25);
  EXPECT_EQ(state.At("schedule").Text(), "0.1 * warmup(5)");
  EXPECT_TRUE(state.At("tensors/a~1b~0/dense").Bool());
  EXPECT_EQ(state.At("tensors/layer.weight/exp_avg").Floats()[4], 5);
  EXPECT_EQ(state.At("tensors").Member("a/b~")->At("exp_avg").Floats()[0], 7);
  EXPECT_EQ(state.Find("tensors/other"), nullptr);
  EXPECT_EQ(state.Find("step/below"), nullptr);
  EXPECT_THAT(state.Paths(), ElementsAre("best", "schedule", "seed", "step", "tensors/a~1b~0/dense",
                                         "tensors/a~1b~0/exp_avg", "tensors/layer.weight/exp_avg"));
  for (const std::string& path : state.Paths()) EXPECT_NE(state.Find(path), nullptr) << path;
  EXPECT_EQ(state.At("tensors/layer.weight/exp_avg").Kind(), "F32 [2, 3]");
}

TEST(StateTree, Changes) {
  StateTree state = Example();
  state.At("tensors/layer.weight/exp_avg").Floats()[0] = 9;
  EXPECT_EQ(state.At("tensors/layer.weight/exp_avg").Floats()[0], 9);
  EXPECT_TRUE(state.Erase("tensors/a~1b~0"));
  EXPECT_FALSE(state.Erase("tensors/a~1b~0/dense"));
  EXPECT_EQ(state.At("tensors").members().size(), 1);
}

TEST(StateTree, SaysWhatIsWrong) {
  StateTree state = Example();
  EXPECT_EQ(ErrorOf([&] { static_cast<void>(state.At("tensors/layer.wieght")); }),
            "state: there is no \"tensors/layer.wieght\"; did you mean \"layer.weight\"?");
  EXPECT_EQ(ErrorOf([&] { static_cast<void>(state.At("step").Double()); }),
            "state: a value is int64, not double");
  EXPECT_EQ(ErrorOf([&] { static_cast<void>(state.At("step").Floats()); }),
            "state: a value is int64, not an array");
  EXPECT_EQ(
      ErrorOf([&] { static_cast<void>(state.At("tensors/a~1b~0/exp_avg").Array().As<double>()); }),
      "state: an array is F32, not F64");
  EXPECT_EQ(ErrorOf([&] { state.Set("step/x", true); }), "state: \"step/x\" cannot be in int64");
  EXPECT_EQ(ErrorOf([&] { state.Set("a//b", true); }), "state: path \"a//b\" has an empty name");
  EXPECT_EQ(ErrorOf([&] { static_cast<void>(state.Find("a~2")); }),
            "state: path \"a~2\" has a ~ that is followed by neither 0 nor 1");
  EXPECT_EQ(ErrorOf([&] { state.Add("step", true); }),
            "state: a node has two members named \"step\"");
  EXPECT_EQ(ErrorOf([] {
              StateTree(StateArray{ElementType::kInt16, {3}, {}});
            }),
            "state: an array has 0 bytes, which does not match I16 [3]");
  EXPECT_EQ(ErrorOf([] {
              StateTree(StateArray{ElementType::kInt16, {-1}, {}});
            }),
            "state: an array has 0 bytes, which does not match I16 [-1]");
  EXPECT_THAT(ErrorOf([] {
                StateTree(StateArray{ElementType::kInt16, {0, INT64_MAX, 2}, {}});
              }),
              ::testing::HasSubstr("which does not match I16 [0, 9223372036854775807, 2]"));
}

// Small ones in one piece, and large ones in pieces by several threads.
TEST(StateBytes, ACopyIsTheSameAndApart) {
  constexpr size_t kMiB = size_t{1} << 20;
  for (const size_t size : {size_t{0}, size_t{1}, kMiB, 3 * kMiB + 5, 9 * kMiB - 1}) {
    StateBytes bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
    StateBytes copy = bytes;
    EXPECT_EQ(copy.size(), size);
    EXPECT_TRUE(copy == bytes) << size;
    if (size > 0) {
      copy[size - 1] ^= std::byte{1};
      EXPECT_FALSE(copy == bytes) << size;
    }
    const std::byte* const place = bytes.data();
    StateBytes moved = std::move(bytes);
    EXPECT_EQ(moved.data(), place);
    EXPECT_EQ(moved.size(), size);
    EXPECT_TRUE(bytes.empty());  // NOLINT(bugprone-use-after-move): it says what is left
    moved = copy;
    EXPECT_TRUE(moved == copy) << size;
  }
}

TEST(StateTree, ComparesBits) {
  const StateTree state = Example();
  EXPECT_EQ(state, Example());
  EXPECT_EQ(FirstDifference(state, Example()), "");
  const auto difference = [&](const char* path, const StateTree& value) {
    StateTree other = Example();
    other.Set(path, value);
    EXPECT_NE(state, other) << path;
    return FirstDifference(state, other);
  };
  EXPECT_EQ(difference("step", int64_t{13}), "\"step\": int64 12 and int64 13");
  EXPECT_EQ(difference("step", uint64_t{12}), "\"step\": int64 and uint64");
  EXPECT_EQ(difference("new", true), "\"new\" is in the second only");
  EXPECT_EQ(
      difference("tensors/a~1b~0/exp_avg", StateArray::Of<float>(std::vector<float>{7}, {1, 1})),
      "\"tensors/a~1b~0/exp_avg\": F32 [1] and F32 [1, 1]");
  EXPECT_EQ(difference("tensors/layer.weight/exp_avg",
                       StateArray::Of<float>(std::vector<float>{1, 2, 3, 4, 5.5, 7}, {2, 3})),
            "\"tensors/layer.weight/exp_avg\": element 4 is 5 and 5.5");
  StateTree less = Example();
  less.Erase("best");
  EXPECT_EQ(FirstDifference(state, less), "\"best\" is in the first only");

  StateTree a, b;
  a.Set("x", std::nan(""));
  b.Set("x", std::nan(""));
  EXPECT_EQ(a, b);
  a.Set("x", 0.0);
  b.Set("x", -0.0);
  EXPECT_NE(a, b);
  EXPECT_EQ(FirstDifference(a, b), "\"x\": double 0 and double -0");
}

// ---- Objects with state ----

struct Inner {
  double scale = 1;
  std::optional<double> best;
  void Visit(StateVisitor& v) {
    v.Value("scale", scale, 0, 8);
    v.Value("best", best);
  }
};

struct Outer {
  int64_t step = 0;
  uint64_t seed = 0;
  bool warm = false;
  double value = 0;
  std::string rule = "sgd";
  std::vector<int64_t> order;
  std::vector<float> weights = std::vector<float>(6);
  std::vector<uint16_t> halves = std::vector<uint16_t>(2);
  std::vector<std::pair<std::string, Inner>> parts = {{"a", {}}, {"b/c", {}}};
  bool has_direction = false;
  std::vector<float> direction;
  int loads = 0;

  void Visit(StateVisitor& v) {
    v.Value("step", step, 0);
    v.Value("seed", seed);
    v.Value("warm", warm);
    v.Value("value", value);
    v.Value("rule", rule);
    v.Array("order", order);
    v.Array("weights", std::span(weights), {2, 3});
    v.Array("halves", ElementType::kBFloat16, {2}, halves.data());
    v.Node("parts", [&] {
      for (auto& [name, part] : parts) v.Node(name, part);
    });
    const bool has = v.Optional("direction", has_direction);
    if (has) v.Array("direction", direction, {2});
    v.Then([this, has] {
      has_direction = has;
      ++loads;
    });
  }
};

Outer Filled() {
  Outer x;
  x.step = 7;
  x.seed = ~uint64_t{0};
  x.warm = true;
  x.value = std::nan("");
  x.rule = "adamw";
  x.order = {3, 1, 2};
  x.weights = {1, 2, 3, 4, 5, 6};
  x.halves = {0x3F80, 0x4000};
  x.parts[0].second = {2, -0.5};
  x.parts[1].second = {3, std::nullopt};
  x.has_direction = true;
  x.direction = {8, 9};
  return x;
}

TEST(StateVisitor, SavesAndLoads) {
  const Outer filled = Filled();
  const StateTree state = StateOf(filled);
  EXPECT_THAT(state.Paths(),
              ElementsAre("direction", "halves", "order", "parts/a/best", "parts/a/scale",
                          "parts/b~1c/scale", "rule", "seed", "step", "value", "warm", "weights"));
  EXPECT_EQ(state.At("halves").Kind(), "BF16 [2]");
  Outer loaded;
  loaded.parts[1].second.best = 5;
  EXPECT_EQ(LoadInto(loaded, state), LoadReport());
  EXPECT_EQ(FirstDifference(StateOf(loaded), state), "");
  EXPECT_EQ(loaded.loads, 1);
  EXPECT_EQ(loaded.order, filled.order);
  EXPECT_EQ(loaded.halves, filled.halves);
  EXPECT_EQ(loaded.parts[1].second.best, std::nullopt);

  const StateTree empty = StateOf(Outer());
  LoadInto(loaded, empty);
  EXPECT_EQ(FirstDifference(StateOf(loaded), empty), "");
  EXPECT_FALSE(loaded.has_direction);
}

TEST(StateVisitor, LoadsAllOrNothing) {
  const StateTree good = StateOf(Filled());
  const auto error = [&](const std::function<void(StateTree&)>& spoil) {
    StateTree state = good;
    spoil(state);
    Outer object;
    const StateTree before = StateOf(object);
    std::string text = ErrorOf([&] { LoadInto(object, state); });
    EXPECT_EQ(FirstDifference(StateOf(object), before), "") << text;
    EXPECT_EQ(object.loads, 0);
    return text;
  };
  const auto with = [&](const char* path, const StateTree& value) {
    return error([&](StateTree& s) { s.Set(path, value); });
  };
  const auto without = [&](const char* path) {
    return error([&](StateTree& s) { s.Erase(path); });
  };
  EXPECT_EQ(with("step", int64_t{-1}), "state: \"step\" = -1 is outside [0, 9223372036854775807]");
  EXPECT_EQ(with("step", 1.0), "state: \"step\" is double, but must be int64");
  EXPECT_EQ(with("parts/b~1c/scale", 9.0), "state: \"parts/b~1c/scale\" = 9 is outside [0, 8]");
  EXPECT_EQ(with("parts/a/scale", std::nan("")),
            "state: \"parts/a/scale\" = nan is outside [0, 8]");
  EXPECT_EQ(with("parts/a/best", true), "state: \"parts/a/best\" is bool, but must be double");
  EXPECT_EQ(with("parts/a", true), "state: \"parts/a\" is bool, but must be a node");
  EXPECT_EQ(with("rule", true), "state: \"rule\" is bool, but must be string");
  EXPECT_EQ(with("weights", StateArray::Of<float>(std::vector<float>(6), {3, 2})),
            "state: \"weights\" is F32 [3, 2], but must be F32 [2, 3]");
  EXPECT_EQ(with("halves", StateArray::Of<uint16_t>(std::vector<uint16_t>(2))),
            "state: \"halves\" is U16 [2], but must be BF16 [2]");
  EXPECT_EQ(with("order", StateArray::Of<int64_t>(std::vector<int64_t>(4), {2, 2})),
            "state: \"order\" is I64 [2, 2], but must be I64 of one dimension");
  EXPECT_EQ(with("direction", StateArray::Of<float>(std::vector<float>(1))),
            "state: \"direction\" is F32 [1], but must be F32 [2]");
  EXPECT_EQ(without("weights"), "state: \"weights\" is missing; it must be F32 [2, 3]");
  EXPECT_EQ(without("step"), "state: \"step\" is missing; it must be int64");
  EXPECT_EQ(without("parts/b~1c"), "state: \"parts/b~1c\" is missing");
  EXPECT_EQ(without("parts"), "state: \"parts\" is missing");
  EXPECT_EQ(with("parts/d/scale", 1.0), "state: \"parts/d\" (a node) is unknown");
  EXPECT_EQ(with("zeal", int64_t{1}), "state: \"zeal\" (int64) is unknown");
  Outer object;
  EXPECT_EQ(ErrorOf([&] { LoadInto(object, StateTree(1.0)); }),
            "state: is double, but must be a node");
}

TEST(StateVisitor, LeavesWhatIsMissingIfLenient) {
  StateTree state = StateOf(Filled());
  state.Erase("parts/a");
  state.Set("parts/z/scale", 1.0);
  state.Set("zeal", true);
  Outer object;
  object.parts[0].second = {5, 6.0};
  const LoadReport report = LoadInto(object, state, LoadMode::kLenient);
  EXPECT_THAT(report.missing, ElementsAre("parts/a"));
  EXPECT_THAT(report.unknown, ElementsAre("parts/z", "zeal"));
  EXPECT_EQ(object.parts[0].second.scale, 5);
  EXPECT_EQ(object.parts[0].second.best, 6.0);
  EXPECT_EQ(object.parts[1].second.scale, 3);
  EXPECT_EQ(object.step, 7);
  EXPECT_EQ(object.loads, 1);

  // A part of a node that is there is no such thing.
  state.Erase("parts/b~1c/scale");
  state.Set("parts/b~1c/best", 1.0);
  const StateTree before = StateOf(object);
  EXPECT_EQ(ErrorOf([&] { LoadInto(object, state, LoadMode::kLenient); }),
            "state: \"parts/b~1c/scale\" is missing; it must be double");
  EXPECT_EQ(FirstDifference(StateOf(object), before), "");

  state.Erase("parts");
  const LoadReport all = LoadInto(object, state, LoadMode::kLenient);
  EXPECT_THAT(all.missing, ElementsAre("parts"));
  EXPECT_EQ(object.parts[1].second.scale, 3);
}

TEST(StateVisitor, LeavesArraysOfAnotherShapeIfLenient) {
  StateTree state = StateOf(Filled());
  state.Set("weights", StateArray::Of<float>(std::vector<float>(4), {2, 2}));
  state.Set("direction", StateArray::Of<double>(std::vector<double>(2)));
  Outer object;
  object.weights.assign(6, 0.5F);
  object.has_direction = true;
  object.direction = {1, 2};
  const StateTree before = StateOf(object);
  const LoadReport report = LoadInto(object, state, LoadMode::kLenient);
  EXPECT_THAT(report.misshapen, ElementsAre("weights", "direction"));
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_THAT(report.unknown, IsEmpty());
  EXPECT_EQ(FirstDifference(StateOf(object).At("weights"), before.At("weights")), "");
  EXPECT_EQ(FirstDifference(StateOf(object).At("direction"), before.At("direction")), "");
  EXPECT_EQ(object.step, 7);
}

TEST(StateTree, PathsAreRenamed) {
  StateTree state;
  state.Set("tensors/encoder.0.weight/step", int64_t{1});
  state.Set("tensors/encoder.1.weight/step", int64_t{2});
  state.Set("tensors/head.weight/step", int64_t{3});
  state.Set("step", int64_t{4});
  const StateTree renamed = Renamed(state, {{"tensors/encoder.*.weight/*", "tensors/layers.*.w/*"},
                                            {"tensors/encoder.*", "never"},
                                            {"step", "steps"},
                                            {"*/head.weight/step", "head"}});
  EXPECT_THAT(renamed.Paths(),
              ElementsAre("head", "steps", "tensors/layers.0.w/step", "tensors/layers.1.w/step"));
  EXPECT_EQ(renamed.At("tensors/layers.1.w/step").Int(), 2);
  EXPECT_EQ(renamed.At("head").Int(), 3);
  EXPECT_EQ(FirstDifference(Renamed(state, {}), state), "");
  EXPECT_EQ(ErrorOf([&] {
              Renamed(state, {{"tensors/*", "*/*"}});
            }),
            "state: the new path \"*/*\" has more * than the pattern \"tensors/*\"");
  EXPECT_EQ(ErrorOf([&] {
              Renamed(state, {{"tensors/*", "one"}});
            }),
            "state: two values would have the path \"one\"");
}

TEST(StateVisitor, ANodeWithoutMembersIsNone) {
  Outer object;
  object.parts.clear();
  const StateTree state = StateOf(object);
  EXPECT_EQ(state.Find("parts"), nullptr);
  Outer loaded = Filled();
  loaded.parts.clear();
  EXPECT_THAT(LoadInto(loaded, state, LoadMode::kLenient).missing, IsEmpty());
  LoadInto(loaded, state);
  EXPECT_EQ(loaded.order, object.order);
}

TEST(StateVisitor, ANodeOfNothingButWhatMayBeMissingIsLoaded) {
  struct Outer {
    struct {
      std::optional<double> best;
      bool kept = true;
      void Visit(StateVisitor& v) {
        v.Value("best", best);
        v.Then([this, has = v.Optional("kept", kept)] { kept = has; });
      }
    } inner;
    void Visit(StateVisitor& v) { v.Node("inner", inner); }
  };
  Outer object;
  object.inner.best = 3;
  LoadInto(object, StateTree());
  EXPECT_EQ(object.inner.best, std::nullopt);
  EXPECT_FALSE(object.inner.kept);
}

TEST(StateVisitor, ANameIsVisitedOnce) {
  struct Twice {
    int64_t a = 1, b = 2;
    void Visit(StateVisitor& v) {
      v.Value("x", a);
      v.Value("x", b);
    }
  };
  EXPECT_EQ(ErrorOf([] { StateOf(Twice()); }), "state: a node has two members named \"x\"");
}

// Whichever allocation fails, the object is as it was.
TEST(StateVisitor, ChangesNothingWithoutMemory) {
  const StateTree state = StateOf(Filled());
  const StateTree before = StateOf(Outer());
  int64_t n = 1;
  for (bool failed = true; failed; ++n) {
    Outer object;
    {
      const testing::FailingAllocation failing(n);
      try {
        LoadInto(object, state);
      } catch (const std::bad_alloc&) {
      }
      failed = failing.failed();
    }
    ASSERT_EQ(FirstDifference(StateOf(object), failed ? before : state), "") << n;
  }
  EXPECT_GT(n, 10);
}

}  // namespace state_test
}  // namespace kudari
