#include "core/option_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace kudari::internal {
namespace option_table_test {

using kudari::testing::ErrorOf;

enum class Colour { kRed, kGreen };

struct Inner {
  int64_t count = 2;
  friend bool operator==(const Inner&, const Inner&) = default;
};

struct Outer {
  double share = 0.5;
  bool fast = false, wide = false;
  std::string path = {};
  Integers sizes = {3};
  Strings names = {};
  Schedule rate = 0.1;
  std::optional<Schedule> limit = {};
  Classes classes = {};
  std::optional<Classes> others = {};
  WordOrNumber scale = "auto";
  Colour colour = Colour::kRed;
  std::optional<Inner> inner = {};
  friend bool operator==(const Outer&, const Outer&) = default;
};

const OptionTable<Inner>& InnerOptions() {
  static const OptionTable<Inner> table = {
      {.name = "count", .member = &Inner::count, .least = 1, .most = INT64_MAX, .doc = "how many"}};
  return table;
}

const OptionTable<Outer>& OuterOptions() {
  using O = Outer;
  static const OptionTable<O> table = {
      {.name = "share", .member = &O::share, .low = 0, .high = kBelow1, .doc = "a"},
      {.name = "fast", .member = &O::fast, .doc = "b"},
      {.name = "form", .member = WordOf<&O::wide>(), .choices = {"narrow", "wide"}, .doc = "c"},
      {.name = "path", .member = &O::path, .doc = "d"},
      {.name = "sizes", .member = &O::sizes, .least = 1, .most = 9, .doc = "e"},
      {.name = "names", .member = &O::names, .doc = "f"},
      {.name = "rate", .member = &O::rate, .low = 0, .high = kInfinity, .doc = "g"},
      {.name = "limit", .member = &O::limit, .low = 0, .high = 1, .doc = "h"},
      {.name = "classes", .member = &O::classes, .doc = "i"},
      {.name = "others", .member = &O::others, .doc = "j"},
      {.name = "scale",
       .member = &O::scale,
       .low = 1,
       .high = 64,
       .choices = {"auto", "none"},
       .doc = "k"},
      {.name = "colour", .member = WordOf<&O::colour>(), .choices = {"red", "green"}, .doc = "l"},
      {.name = "inner", .member = TableOf<&O::inner, &InnerOptions>(), .doc = "m"}};
  return table;
}

Outer Read(const std::string& toml, Outer outer = {}) {
  const toml::table table = ParseToml(toml, "t");
  TableReader reader(table, "", "t");
  ReadOptions(reader, OuterOptions(), outer);
  reader.Finish();
  return outer;
}

constexpr const char* kAll =
    "share = 0.25\nfast = true\nform = \"wide\"\npath = \"a\\\"\\\\b\"\nsizes = [4, 5]\n"
    "names = [\"x*\"]\nrate = \"0.5 * warmup(3)\"\nlimit = 1.0\nclasses = [\"bias\"]\n"
    "others = []\nscale = 8\ncolour = \"green\"\ninner = {count = 7}\n";

TEST(OptionTable, WhatIsWrittenIsRead) {
  const Outer outer = Read(kAll);
  EXPECT_EQ(outer.share, 0.25);
  EXPECT_TRUE(outer.fast && outer.wide);
  EXPECT_EQ(outer.rate, 0.5 * Warmup(3));
  EXPECT_EQ(outer.others, Classes());
  EXPECT_EQ(outer.colour, Colour::kGreen);
  EXPECT_EQ(outer.inner, Inner{7});
  EXPECT_EQ(std::get<double>(outer.scale), 8);
  EXPECT_EQ(OptionLines(OuterOptions(), outer), kAll);
  // What is unset is not written, and what is absent stays.
  EXPECT_EQ(OptionLines(OuterOptions(), Outer()),
            "share = 0.5\nfast = false\nform = \"narrow\"\npath = \"\"\nsizes = [3]\nnames = []\n"
            "rate = 0.1\nclasses = []\nscale = \"auto\"\ncolour = \"red\"\n");
  EXPECT_EQ(Read("share = 0.125", outer).inner, Inner{7});
  EXPECT_EQ(Read("inner = {}", outer).inner, Inner{7});
  EXPECT_EQ(Read("inner = {}").inner, Inner{});
}

TEST(OptionTable, ErrorsNameTheOptionAndItsRange) {
  const auto error = [](const std::string& toml) { return ErrorOf([&] { Read(toml); }); };
  EXPECT_EQ(error("share = 1"), "t:1: share: 1 is outside [0, 1)");
  EXPECT_EQ(error("limit = \"2 * linear(3)\""), "t:1: limit: 2 * linear(3, 0) is outside [0, 1]");
  EXPECT_EQ(error("sizes = [1, 10]"), "t:1: sizes: 10 is outside [1, 9]");
  EXPECT_EQ(error("scale = 65"), "t:1: scale: 65 is outside [1, 64]");
  EXPECT_EQ(error("form = \"wid\""), "t:1: form: unknown name \"wid\"; did you mean \"wide\"?");
  EXPECT_EQ(error("inner = {count = 0}"), "t:1: inner.count: 0 is outside [1, ...]");
  EXPECT_EQ(error("inner = {cuont = 3}"), "t:1: inner.cuont: unknown key; did you mean \"count\"?");
  const auto checked = [](const Outer& outer) {
    return ErrorOf([&] { CheckOptions("it.", OuterOptions(), outer); });
  };
  EXPECT_EQ(checked({.share = 1}), "it.share = 1 is outside [0, 1)");
  EXPECT_EQ(checked({.rate = -1}), "it.rate = -1 is outside [0, inf)");
  EXPECT_EQ(checked({.limit = 2}), "it.limit = 2 is outside [0, 1]");
  EXPECT_EQ(checked({.colour = static_cast<Colour>(2)}), "it.colour must be \"red\" or \"green\"");
  EXPECT_EQ(ErrorOf([] { CheckOptions("", InnerOptions(), Inner{0}); }),
            "count = 0 is outside [1, ...]");
  EXPECT_NO_THROW(CheckOptions("it.", OuterOptions(), Read(kAll)));
}

TEST(OptionTable, RangesAreSaidInWords) {
  std::vector<std::string> ranges;
  for (const OptionDescription& d : DescribeOptions("p.", OuterOptions(), Outer())) {
    ranges.push_back(d.name + " " + d.default_value + ": " + d.range);
  }
  EXPECT_THAT(ranges, ::testing::ElementsAre(
                          "p.share 0.5: [0, 1)", "p.fast false: true or false",
                          "p.form \"narrow\": \"narrow\" or \"wide\"", "p.path \"\": text",
                          "p.sizes [3]: list of >= 1", "p.names []: globs",
                          "p.rate 0.1: [0, inf), or a schedule", "p.limit : [0, 1], or a schedule",
                          "p.classes []: classes", "p.others : classes",
                          "p.scale \"auto\": \"auto\" or \"none\", or in [1, 64]",
                          "p.colour \"red\": \"red\" or \"green\"", "p.inner : a table"));
}

// Numbers are read back as they were, with the sign of a zero.
TEST(OptionTable, NumbersKeepTheirBits) {
  EXPECT_EQ(TomlText(0.0), "0");
  EXPECT_EQ(TomlText(-0.0), "-0.0");
  EXPECT_EQ(TomlText(9223372036854775808.0).find_first_of(".e") != std::string::npos, true);
  EXPECT_EQ(TomlText(Schedule(3)), "3.0");
}

}  // namespace option_table_test
}  // namespace kudari::internal
