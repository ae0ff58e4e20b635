// BERT's tokeniser against Hugging Face's (tests/golden/make_wordpiece.py).
#include "lab/data/parts/wordpiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/data/parts/labelled.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace wordpiece_test {

using kudari::testing::ErrorOf;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Strings = std::vector<std::string>;
using Numbers = std::vector<int32_t>;

class WordPieceTest : public kudari::testing::DataFixture {
 protected:
  static const json& Golden() {
    static const json golden = [] {
      std::ifstream file(std::filesystem::path(KUDARI_SOURCE_DIR) /
                         "tests/golden/data/wordpiece.json");
      return json::parse(file);
    }();
    return golden;
  }
  static std::unique_ptr<const Tokenizer> Read(const Strings& tokens, bool lowercase = true) {
    std::string text;
    for (const std::string& token : tokens) text += token + "\n";
    Write("vocab.txt", text);
    return ReadWordPieces("vocab.txt", lowercase);
  }
};

TEST_F(WordPieceTest, WordsAndTokensAreTheOracles) {
  for (const bool lowercase : {true, false}) {
    const auto tokenizer = Read(Golden()["vocabulary"], lowercase);
    EXPECT_EQ(tokenizer->size(), std::ssize(Golden()["vocabulary"]));
    for (const json& c : Golden()["cases"]) {
      const std::string text = c["text"];
      SCOPED_TRACE(text);
      EXPECT_EQ(BertWords(text, lowercase), c[lowercase ? "lower_words" : "words"].get<Strings>());
      EXPECT_EQ(tokenizer->Encode(text), c[lowercase ? "lower" : "tokens"].get<Numbers>());
    }
  }
  EXPECT_GT(Golden()["cases"].size(), 300U);
}

TEST_F(WordPieceTest, SamplesAreTheOracles) {
  const auto tokenizer = Read(Golden()["vocabulary"]);
  for (const json& c : Golden()["pairs"]) {
    SCOPED_TRACE(c.dump());
    const bool pair = !c["second"].is_null();
    const LabelledText text{.text = c["first"], .pair = pair ? c["second"] : ""};
    Numbers tokens = SampleTokens(*tokenizer, text, pair, c["context"]);
    tokens.resize(c["context"]);
    EXPECT_EQ(tokens, c["tokens"].get<Numbers>());
    int64_t separators = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(tokens[i] != 0, c["mask"][i] == 1);
      const int64_t type = tokens[i] == 0 ? 0 : std::min<int64_t>(separators, 1);
      EXPECT_EQ(type, c["types"][i]);
      separators += tokens[i] == tokenizer->separator() ? 1 : 0;
    }
  }
}

// _truncate_seq_pair of BERT's run_classifier.py.
TEST_F(WordPieceTest, OfTwoTextsTheLongerIsCutFirst) {
  const auto tokenizer = Read(Golden()["vocabulary"]);
  for (int a = 1; a < 12; ++a) {
    for (int b = 1; b < 12; ++b) {
      const LabelledText text{.text = std::string(static_cast<size_t>(a), '.'),
                              .pair = std::string(static_cast<size_t>(b), ',')};
      int first = a, second = b;
      while (first + second > 13 - 3) {
        if (first > second) {
          --first;
        } else {
          --second;
        }
      }
      const Numbers tokens = SampleTokens(*tokenizer, text, true, 13);
      EXPECT_EQ(std::ranges::count(tokens, tokenizer->Encode(".")[0]), first);
      EXPECT_EQ(std::ranges::count(tokens, tokenizer->Encode(",")[0]), second);
    }
  }
}

TEST_F(WordPieceTest, TextsWithoutWordsAreEmpty) {
  const auto tokenizer = Read({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"});
  for (const char* const text : {"", " \t\n", "\u200b\u0007", "\u0301"}) {
    EXPECT_THAT(tokenizer->Encode(text), IsEmpty()) << text;
  }
  EXPECT_THAT(tokenizer->Encode("a ab [UNK]"), ElementsAre(4, 1, 1, 1, 1));
  EXPECT_THAT(Read({"[PAD]\r", "[UNK]\r", "[CLS]\r", "[SEP]\r", "a\r"})->Encode("a"),
              ElementsAre(4));
}

TEST_F(WordPieceTest, WrongVocabulariesAreNamed) {
  const auto error = [](const Strings& tokens) { return ErrorOf([&] { Read(tokens); }); };
  EXPECT_EQ(error({"[PAD]", "[CLS]", "[SEP]", "a"}),
            "vocab.txt: is no vocabulary of WordPiece: it has no token [UNK]");
  EXPECT_EQ(error({"[PAD]", "[UNK]", "[SEP]", "a"}),
            "vocab.txt: is no vocabulary of WordPiece: it has no token [CLS]");
  EXPECT_EQ(error({"[PAD]", "[UNK]", "[CLS]", "a"}),
            "vocab.txt: is no vocabulary of WordPiece: it has no token [SEP]");
  EXPECT_EQ(error({}), "vocab.txt: is no vocabulary of WordPiece: it has no token [PAD]");
  EXPECT_EQ(error({"a", "[PAD]", "[UNK]", "[CLS]", "[SEP]"}),
            "vocab.txt: line 2 has the token [PAD], which must be on line 1");
  EXPECT_EQ(error({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[CLS]"}),
            "vocab.txt: line 5 has \"[CLS]\", which line 3 has already");
  EXPECT_EQ(ErrorOf([] { ReadWordPieces("none.txt", true); }),
            "none.txt: cannot be opened: No such file or directory");
}

}  // namespace wordpiece_test
}  // namespace kudari::lab
