#include "kudari/messages.h"

#include <gtest/gtest.h>

#include <vector>

#include "kudari/error.h"
#include "kudari/registry.h"
#include "kudari/schedule.h"
#include "tests/support/errors.h"

namespace kudari::internal {
namespace quoted_test {

using kudari::testing::ErrorOf;

TEST(Quoted, PrintableTextStaysAsItIs) {
  for (const char* const text : {"", "layer.0.weight", "a \"b\" \\x1b", "\xc3\xa4 \xe2\x82\xac",
                                 "\xf0\x9f\x98\x80", "two\nlines\tand a tab", "\xc2\xa0"}) {
    EXPECT_EQ(Printable(text), text);
    EXPECT_TRUE(IsUtf8(text));
  }
}

TEST(Quoted, ControlCharactersAreShown) {
  EXPECT_EQ(Printable("\x1b[2Jred"), "\\x1b[2Jred");
  EXPECT_EQ(Printable(std::string_view("a\0b\r\x7f", 5)), "a\\x00b\\x0d\\x7f");
  EXPECT_EQ(Printable("\xc2\x9b[2J"), "\\xc2\\x9b[2J");  // the same in 8 bits
  EXPECT_TRUE(IsUtf8("\x1b\xc2\x9b"));
  EXPECT_EQ(OneLine("a\nb\tc"), "a\\x0ab\\x09c");
}

// A lone continuation, one that is missing, overlong forms, a surrogate, beyond Unicode, no lead.
TEST(Quoted, WhatIsNotUtf8IsShown) {
  for (const std::string bad : {"\x80", "\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf",
                                "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\xaf", "\xff"}) {
    EXPECT_FALSE(IsUtf8("a" + bad));
    EXPECT_EQ(Printable("a" + bad + "b").find_first_not_of("ab\\x0123456789cdef"),
              std::string::npos)
        << Printable("a" + bad + "b");
    EXPECT_TRUE(Printable("a" + bad + "b").ends_with('b'));
  }
  EXPECT_EQ(Printable("\xe4pfel"), "\\xe4pfel");
  EXPECT_EQ(Printable("\xe2\x82"), "\\xe2\\x82");
}

TEST(SameNameTest, OnlyTheCaseOfAsciiLettersMayDiffer) {
  EXPECT_TRUE(SameName("AdamW", "adamw"));
  EXPECT_TRUE(SameName("", ""));
  EXPECT_FALSE(SameName("adamw", "adam"));
  EXPECT_FALSE(SameName("adam_w", "adamw"));
  EXPECT_FALSE(SameName("a@z[", "a`z{"));  // which lie beside the letters
}

TEST(Quoted, LongTextsAreCut) {
  EXPECT_EQ(Quoted(std::string(100, 'x')), '"' + std::string(100, 'x') + '"');
  EXPECT_EQ(Quoted(std::string(101, 'x')), '"' + std::string(100, 'x') + "...\"");
  std::string umlauts;
  for (int i = 0; i < 101; ++i) umlauts += "\xc3\xa4";
  EXPECT_EQ(OneLine(umlauts), umlauts.substr(0, 200) + "...");
  EXPECT_EQ(QuotedList(std::vector<std::string>{"a", "\x1b"}), "\"a\", \"\\x1b\"");
  EXPECT_EQ(QuotedList(std::vector<std::string>(13, "a")),
            "\"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\" and 3 more");
  EXPECT_EQ(QuotedList({}), "");
}

TEST(Quoted, ErrorsShowWhatTheyAreGiven) {
  EXPECT_STREQ(Error("x: \x1b[31m\xff\nis wrong").what(), "x: \\x1b[31m\\xff\nis wrong");
  EXPECT_STREQ(Error(Error("\x1b").what()).what(), "\\x1b");
  const std::string longest = Error("begin" + std::string(1 << 20, 'x') + "end").what();
  EXPECT_EQ(longest, "begin" + std::string(995, 'x') + " ... " + std::string(997, 'x') + "end");
  EXPECT_EQ(Error(std::string(4000, 'x')).what(), std::string(4000, 'x'));
}

TEST(Quoted, NamesInMessages) {
  const std::string bad = "\x1b]0;title\x07" + std::string(1'000'000, 'x');
  const std::string shown = "\"\\x1b]0;title\\x07" + std::string(90, 'x') + "...\"";
  EXPECT_TRUE(ErrorOf([&] { ParseTensorClass(bad); }).starts_with("unknown class " + shown));
  EXPECT_TRUE(ErrorOf([&] { Registry::Builtin().Find(bad); }).starts_with("unknown rule " + shown));
  EXPECT_LT(ErrorOf([&] { Registry::Builtin().Find(bad); }).size(), 1500);
  EXPECT_LT(ErrorOf([&] { ParseSchedule(bad); }).size(), 500);
  EXPECT_LT(ErrorOf([&] { ParseSchedule(std::string(1'000'000, 'x') + "(1)"); }).size(), 3000);
}

}  // namespace quoted_test
}  // namespace kudari::internal
