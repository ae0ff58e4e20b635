#include "core/toml_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/support/errors.h"

namespace kudari::internal {
namespace toml_table_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string MessageOf(const std::string& text) {
  return ErrorOf([&] { ParseToml(text, "r.toml"); });
}

const std::string kTooDeep =
    ": is nested more than 100 levels deep by dots of keys, lists and tables";

// Without a limit most of these end the process: its stack is used up.
TEST(ParseTomlTest, DepthHasALimit) {
  EXPECT_EQ(MessageOf(Repeated("a.", 40'000) + "a = 1\n"), "r.toml:1:202" + kTooDeep);
  EXPECT_EQ(MessageOf("x = 1\n[" + Repeated("a.", 40'000) + "a]\n"), "r.toml:2:201" + kTooDeep);
  EXPECT_EQ(MessageOf("x = 1\n[[" + Repeated("a . ", 40'000) + "a]]\n"), "r.toml:2:397" + kTooDeep);
  EXPECT_EQ(MessageOf("x = 1\n" + Repeated("\"a\".", 20'000) + "a = 1\n"),
            "r.toml:2:404" + kTooDeep);
  EXPECT_EQ(MessageOf("a = " + std::string(80'000, '[')), "r.toml:1:105" + kTooDeep);
  EXPECT_EQ(MessageOf(std::string(80'000, '[')), "r.toml:1:101" + kTooDeep);
  EXPECT_EQ(MessageOf("a = " + Repeated("{a = ", 16'000)), "r.toml:1:505" + kTooDeep);
  // No key is long, but each is inside of the one before. Columns count characters, not bytes.
  const std::string key = Repeated("b.", 60) + "b = {";
  EXPECT_EQ(MessageOf(Repeated(key, 200)), "r.toml:1:205" + kTooDeep);
  EXPECT_EQ(MessageOf("\"\u00e9\" = [{" + key + key), "r.toml:1:209" + kTooDeep);
}

TEST(ParseTomlTest, WhatIsWithinTheLimitIsRead) {
  EXPECT_EQ(ParseToml(Repeated("a.", 100) + "a = 1", "r.toml").size(), 1u);
  EXPECT_EQ(MessageOf("a = " + std::string(100, '[') + std::string(100, ']')), "no error");
  // Dots of numbers, texts and comments nest nothing, and what has been closed does not count.
  EXPECT_EQ(MessageOf("a = [" + Repeated("0.5, ", 1000) + "0.5]\n"), "no error");
  std::string lines;
  for (int i = 0; i < 1000; ++i) {
    const std::string k = "k" + std::to_string(i);
    lines.append(k)
        .append(".b.c = 1.5\n")
        .append(k)
        .append(".d = {e.f = [[1.5], [{}]], g = 2.5}\n");
  }
  EXPECT_EQ(MessageOf(lines), "no error");
  const std::string dots(1000, '.');
  for (const std::string quote : {R"(")", "'", R"(""")", "'''"}) {
    EXPECT_EQ(MessageOf("a = " + quote + dots + quote + " # " + dots + "\nb = 1"), "no error");
  }
  EXPECT_EQ(MessageOf("a = \"\"\"\n\\\"\"\" " + dots + "\n\"\"\"\n"), "no error");
  EXPECT_EQ(MessageOf("a = \"\\\" " + dots + "\"\n"), "no error");
}

// What follows a text counts, however the text ends.
TEST(ParseTomlTest, NothingHidesBehindAText) {
  const std::string deep = ", " + Repeated("b.", 40'000) + "b = 1}";
  for (const std::string text :
       {R"("")", R"('')", R"("x")", R"('\')", R"("\\")", R"("'")", R"('"')", R"("""""")",
        R"('''''')", R"("""x"""")", R"("""x""""")", R"('''x'''')", R"('''x''''')", R"('''\''')",
        R"("""""x""")", R"("""\"""")"}) {
    EXPECT_THAT(MessageOf("a = {a = " + text + deep), HasSubstr(kTooDeep)) << text;
    EXPECT_EQ(MessageOf("a = {a = " + text + ", b = 1}"), "no error") << text;
  }
  EXPECT_THAT(MessageOf("# it's\n" + Repeated("b.", 40'000) + "b = 1"), HasSubstr(kTooDeep));
  EXPECT_THAT(MessageOf("a = 'open\n" + Repeated("b.", 40'000) + "b = 1"), StartsWith("r.toml:2:"));
}

TEST(ParseTomlTest, LengthHasALimit) {
  const std::string text = "a = 1\n#" + std::string((1 << 20) - 7, ' ');
  EXPECT_EQ(MessageOf(text), "no error");
  EXPECT_EQ(MessageOf(text + " "), "r.toml: has 1048577 bytes, which is outside [0, 1048576]");
}

TEST(ParseTomlTest, ErrorsSayWhere) {
  EXPECT_THAT(MessageOf("a = 1\nb = = 2\n"), StartsWith("r.toml:2:5: "));
}

}  // namespace toml_table_test
}  // namespace kudari::internal
