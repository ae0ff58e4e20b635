#include "lab/data/parts/byte_pairs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/errors.h"

namespace kudari::lab {
namespace byte_pairs_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Decoded(const BytePairs& pairs, const std::vector<int32_t>& tokens) {
  const std::vector<std::string> symbols = pairs.Symbols();
  std::string text;
  for (const int32_t token : tokens) text += symbols.at(static_cast<size_t>(token));
  return text;
}

BytePairs Learn(const std::vector<std::string>& texts, int64_t vocabulary,
                BytePairs::Style style = BytePairs::Style::kExact) {
  return {std::vector<std::string_view>(texts.begin(), texts.end()), vocabulary, style};
}

// Words of a few kinds in an order that is drawn.
std::string Words(int count) {
  std::mt19937_64 random(3);
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += std::vector<std::string>{"low", "lower", "newest", "widest", "größer"}[random() % 5];
    text += i % 9 == 8 ? "\n" : " ";
  }
  return text;
}

TEST(BytePairsTest, ExactPiecesGiveEveryTextBack) {
  const BytePairs pairs = Learn({Words(300)}, 330);
  std::string any;
  for (int byte = 0; byte < 128; ++byte) any += static_cast<char>(byte);
  std::mt19937_64 random(1);
  std::string drawn;
  for (int i = 0; i < 2000; ++i) {
    drawn += std::vector<std::string>{
        "lower",      " ",      "\n",      "\t",   "\u2581", "\u2585",
        "\U0001F600", "\u00e4", "e\u0301", "\r\n", "  ",     "\ufb01"}[random() % 12];
  }
  for (const std::string& text :
       {Words(50), any, drawn, std::string("  two  spaces  "), std::string("\n\n\u2581\u2581 \n"),
        std::string("<0x41><unk><s>")}) {
    EXPECT_EQ(Decoded(pairs, pairs.Encode(text)), text);
  }
  EXPECT_THAT(pairs.Encode(""), SizeIs(0));
}

// Sennrich et al., algorithm 1, written down here, on words like the paper's.
TEST(BytePairsTest, TheMostFrequentPairsAreJoined) {
  std::string text;
  for (const auto& [word, count] : std::vector<std::pair<std::string, int>>{
           {"low", 5}, {"lowest", 2}, {"newer", 6}, {"wider", 3}}) {
    for (int i = 0; i < count; ++i) text += word + "\n";
  }
  // Counted here: pairs of symbols, of which the most frequent is joined.
  std::map<std::vector<std::string>, int> words = {{{"l", "o", "w"}, 5},
                                                   {{"l", "o", "w", "e", "s", "t"}, 2},
                                                   {{"n", "e", "w", "e", "r"}, 6},
                                                   {{"w", "i", "d", "e", "r"}, 3}};
  std::vector<std::string> joined;
  for (int merge = 0; merge < 3; ++merge) {
    std::map<std::pair<std::string, std::string>, int> pairs;
    for (const auto& [word, count] : words) {
      for (size_t i = 1; i < word.size(); ++i) pairs[{word[i - 1], word[i]}] += count;
    }
    const auto best =
        std::ranges::max_element(pairs, {}, [](const auto& pair) { return pair.second; });
    joined.push_back(best->first.first + best->first.second);
    std::map<std::vector<std::string>, int> next;
    for (const auto& [word, count] : words) {
      std::vector<std::string> pieces;
      for (const std::string& piece : word) {
        if (!pieces.empty() && pieces.back() == best->first.first && piece == best->first.second) {
          pieces.back() += piece;
        } else {
          pieces.push_back(piece);
        }
      }
      next[pieces] += count;
    }
    words = std::move(next);
  }
  const std::vector<std::string> symbols = Learn({text}, 400).Symbols();
  // After the bytes come the pieces in the order in which they were joined.
  EXPECT_EQ(std::vector<std::string>(symbols.begin() + 256, symbols.begin() + 259), joined);
}

TEST(BytePairsTest, ManyTokensAreFewerThanCharacters) {
  const std::string text = Words(1000);
  const BytePairs few = Learn({text}, 275), many = Learn({text}, 400);
  EXPECT_THAT(few.Symbols(), SizeIs(275));
  EXPECT_LT(std::ssize(few.Encode(text)), std::ssize(text));
  EXPECT_LT(std::ssize(many.Encode(text)), std::ssize(few.Encode(text)) / 2);
  // All pairs are joined before there are so many.
  EXPECT_LT(std::ssize(many.Symbols()), 400);
  for (const std::vector<int32_t>& tokens : {few.Encode(text), many.Encode(text)}) {
    for (const int32_t token : tokens) ASSERT_GE(token, 0);
  }
}

TEST(BytePairsTest, TheSameTextsGiveTheSamePieces) {
  const std::string text = Words(500);
  EXPECT_EQ(Learn({text}, 350).Symbols(), Learn({text}, 350).Symbols());
  EXPECT_EQ(Learn({text}, 350).Encode(text), Learn({text}, 350).Encode(text));
}

TEST(BytePairsTest, SamplesHaveMarksAndMayBeLowerCase) {
  const std::string text = Words(300);
  const std::vector<std::string_view> texts = {text};
  const auto lower = LearnBytePairs(texts, 320, true), cased = LearnBytePairs(texts, 320, false);
  EXPECT_EQ(lower->size(), 320);
  EXPECT_EQ(lower->begin(), 2);
  EXPECT_EQ(lower->separator(), 3);
  EXPECT_EQ(lower->Encode("LOWER  \ufb01"), lower->Encode(" lower fi"));
  EXPECT_NE(cased->Encode("LOWER"), cased->Encode("lower"));
  for (const char* const any : {"lower", "[PAD][UNK]<unk><s></s>", "\u2581\U0001F600\u0378 x"}) {
    for (const int32_t token : lower->Encode(any)) EXPECT_GT(token, 3) << any;
  }
  EXPECT_THAT(lower->Encode(" \n"), SizeIs(0));
}

TEST(BytePairsTest, LongWordsAreLearnedFrom) {
  std::string text;
  for (int i = 0; i < 30000; ++i) text += i % 3 == 0 ? "\u4e00" : "\u4e8c";
  const BytePairs pairs = Learn({text, "x"}, 320);
  EXPECT_EQ(Decoded(pairs, pairs.Encode(text)), text);
  EXPECT_LT(pairs.Encode(text).size(), 30000U / 3);
}

TEST(BytePairsTest, NothingIsPrinted) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  Learn({Words(100), std::string("a\0b", 3), "\u2585"}, 320).Encode("\u2585 x");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

TEST(BytePairsTest, WhatCannotBeLearnedIsNamed) {
  std::string characters;
  for (char32_t c = 0x4E00; c < 0x4E00 + 200; ++c) {
    characters += {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
                   static_cast<char>(0x80 | (c & 0x3F))};
  }
  EXPECT_THAT(ErrorOf([&] { Learn({characters}, 300); }),
              HasSubstr("data.vocabulary = 300 is not what SentencePiece can learn from the "
                        "training texts: "));
  EXPECT_EQ(ErrorOf([] {
              Learn({"", "\n"}, 300);
            }),
            "data.tokenizer = \"bpe\": the training texts are empty");
  EXPECT_EQ(ErrorOf([] { CheckPieces("bpe", 299); }),
            "data.vocabulary = 299 is outside [300, 131072] for data.tokenizer = \"bpe\"");
  EXPECT_EQ(ErrorOf([] { CheckPieces("bytes", 400); }),
            "data.vocabulary = 400 must be 0 for data.tokenizer = \"bytes\"");
  EXPECT_EQ(ErrorOf([] { CheckPieces("bytes", 0); }), "no error");
}

}  // namespace byte_pairs_test
}  // namespace kudari::lab
