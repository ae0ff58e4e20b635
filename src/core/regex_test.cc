#include "core/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"

namespace kudari::internal {
namespace regex_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

bool Finds(std::string_view pattern, std::string_view text) { return Regex(pattern).Search(text); }

TEST(RegexTest, FindsPartsOfNames) {
  EXPECT_TRUE(Finds("", ""));
  EXPECT_TRUE(Finds("", "x"));
  EXPECT_TRUE(Finds("lay", "a.layer.b"));
  EXPECT_FALSE(Finds("^lay", "a.layer.b"));
  EXPECT_TRUE(Finds("^a\\.layer\\.b$", "a.layer.b"));
  EXPECT_FALSE(Finds("^a\\.layer$", "a.layer.b"));
  EXPECT_TRUE(Finds("^blocks\\.([0-9]|1[01])\\.", "blocks.11.norm.weight"));
  EXPECT_FALSE(Finds("^blocks\\.([0-9]|1[01])\\.", "blocks.12.norm.weight"));
  EXPECT_TRUE(Finds("(?:q|k|v)_proj\\.weight$", "layers.3.attn.k_proj.weight"));
  EXPECT_TRUE(Finds("\\bnorm\\b", "a.norm.b"));
  EXPECT_FALSE(Finds("\\bnorm\\b", "a.norm1.b"));
  EXPECT_TRUE(Finds("\\Bnorm", "layernorm"));
  EXPECT_TRUE(Finds("^[^.]+$", "weight"));
  EXPECT_FALSE(Finds("^[^.]+$", "a.weight"));
  EXPECT_TRUE(Finds("^\\d{2,3}$", "123"));
  EXPECT_FALSE(Finds("^\\d{2,3}$", "1234"));
  EXPECT_FALSE(Finds("^\\d{2}$", "1"));
  EXPECT_TRUE(Finds("^\\d{2,}$", "123456"));
  EXPECT_TRUE(Finds("^a{0}b$", "b"));
  EXPECT_TRUE(Finds("下り", "x下りy"));
  EXPECT_FALSE(Finds("^.$", "\n"));
  EXPECT_TRUE(Finds("[\\]\\-a]", "-"));
  EXPECT_TRUE(Finds("[a-]", "-"));
}

/// Expressions and texts over a few characters, with every construct, as std::regex sees them.
TEST(RegexTest, IsStdsRegex) {
  const std::vector<std::string> parts = {"a",    "b",   ".",      "[ab]",   "[^a]", "\\d",  "\\w",
                                          "\\.",  "1",   "(ab|b)", "(?:a|)", "^",    "$",    "|",
                                          "(a*)", "\\b", "\\B",    "[a-b1]", "\\W",  "(b|1)"};
  const std::vector<std::string> quantifiers = {"",    "",      "",      "*",    "+",  "?",
                                                "{2}", "{1,2}", "{0,1}", "{1,}", "*?", "+?"};
  kudari::testing::Random random(7);
  const auto below = [&random](size_t n) {
    return static_cast<size_t>((random.Float() + 1) / 2 * static_cast<float>(n)) % n;
  };
  int compared = 0, found = 0;
  for (int k = 0; k < 20000; ++k) {
    std::string pattern;
    const size_t length = 1 + below(6);
    for (size_t i = 0; i < length; ++i) {
      const std::string& part = parts[below(parts.size())];
      const bool repeats =
          part != "^" && part != "$" && part != "|" && part != "\\b" && part != "\\B";
      pattern += part + (repeats ? quantifiers[below(quantifiers.size())] : "");
    }
    const std::regex oracle(pattern, std::regex::ECMAScript);
    const Regex regex(pattern);
    for (int j = 0; j < 5; ++j) {
      std::string text;
      const size_t size = below(8);
      for (size_t i = 0; i < size; ++i) text += "ab1."[below(4)];
      const bool expected = std::regex_search(text, oracle);
      EXPECT_EQ(regex.Search(text), expected) << pattern << " in \"" << text << "\"";
      ++compared;
      found += expected ? 1 : 0;
    }
  }
  EXPECT_GT(found, compared / 5);
  EXPECT_LT(found, compared * 4 / 5);
}

TEST(RegexTest, ErrorsNameTheColumn) {
  const auto error = [](std::string_view pattern) { return ErrorOf([&] { Regex{pattern}; }); };
  EXPECT_EQ(error("a(b"), "regular expression \"a(b\", column 2: \"(\" without \")\"");
  EXPECT_THAT(error("ab)"), HasSubstr("column 3: \")\" without \"(\""));
  EXPECT_THAT(error("a[b"), HasSubstr("column 2: \"[\" without \"]\""));
  EXPECT_THAT(error("[a\\"), HasSubstr("at the end"));
  EXPECT_THAT(error("*a"), HasSubstr("column 1: nothing to repeat"));
  EXPECT_THAT(error("a**"), HasSubstr("column 3: nothing to repeat"));
  EXPECT_THAT(error("^*"), HasSubstr("column 2: nothing to repeat"));
  EXPECT_THAT(error("a{2,1}"), HasSubstr("ends below its beginning"));
  EXPECT_THAT(error("a{"), HasSubstr("expected a number"));
  EXPECT_THAT(error("a{1"), HasSubstr("expected \"}\""));
  EXPECT_THAT(error("a{99999999999999999999}"), HasSubstr("too large"));
  EXPECT_THAT(error("[b-a]"), HasSubstr("range"));
  EXPECT_THAT(error("[a-\\d]"), HasSubstr("range"));
  EXPECT_THAT(error("[]"), HasSubstr("empty class"));
  EXPECT_THAT(error("[é]"), HasSubstr("ASCII"));
  EXPECT_THAT(error("a]"), HasSubstr("must be written"));
  EXPECT_THAT(error("\\"), HasSubstr("at the end"));
  EXPECT_THAT(error("\\q"), HasSubstr("unknown escape"));
  EXPECT_THAT(error("(a)\\1"), HasSubstr("back-references are not supported"));
  EXPECT_THAT(error("(?=a)"), HasSubstr("look-ahead"));
  EXPECT_THAT(error("(?<n>a)"), HasSubstr("look-ahead"));
  EXPECT_THAT(error(std::string(1001, 'a')), HasSubstr("1001 bytes; it must have at most 1000"));
  EXPECT_THAT(error(std::string(200, '(') + std::string(200, ')')), HasSubstr("too deeply"));
  EXPECT_THAT(error("((a{1000}){1000}){1000}"), HasSubstr("more than 2000 instructions"));
}

// Backtracking would take exponential time here, and recursion the whole stack.
TEST(RegexTest, LongTextsAreNothingSpecial) {
  const std::string text(100000, 'a');
  EXPECT_FALSE(Finds("^(a*)*b$", text));
  EXPECT_FALSE(Finds("^(a|a)*b$", text));
  EXPECT_FALSE(Finds("(a?){30}b", text));
  EXPECT_TRUE(Finds("^(.|a)*$", text));
}

}  // namespace regex_test
}  // namespace kudari::internal
