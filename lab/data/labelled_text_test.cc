// Texts with classes: labelled_text.cc, movie_reviews.cc and parts/labelled.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace labelled_text_test {

namespace fs = std::filesystem;
using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Tokens = std::vector<int64_t>;

// The samples of a split, without their padding.
std::vector<Tokens> SamplesOf(const Split& split, int64_t context) {
  std::vector<Tokens> samples;
  for (const int64_t begin : split.begins) {
    Tokens& tokens = samples.emplace_back(static_cast<size_t>(context));
    split.tokens->Read(begin, tokens);
    while (!tokens.empty() && tokens.back() == 0) tokens.pop_back();
  }
  return samples;
}

class LabelledData : public kudari::testing::DataFixture {
 protected:
  void SetUp() override {
    DataFixture::SetUp();
    // Tokens 4 to 29 are letters.
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n";
    Write("vocab.txt", vocabulary);
  }

  // train.tsv by WordPiece, without validation samples unless the options say otherwise.
  static Dataset Load(const std::string& options = "", uint64_t seed = 1) {
    std::string lines = "name = \"labelled-text\"\npath = \"train.tsv\"\n" + options + "\n";
    const auto add = [&](const std::string& key, const std::string& value) {
      if (options.find(key + " =") == std::string::npos) lines += key + " = " + value + "\n";
    };
    add("validation", "0");
    add("context", "8");
    if (options.find("bpe") == std::string::npos) add("vocabulary_file", "\"vocab.txt\"");
    return LoadData(DataOf(lines), seed);
  }
  static Dataset LoadText(std::string_view text, const std::string& options = "") {
    Write("train.tsv", text);
    return Load(options);
  }
  static std::string Error(std::string_view text, const std::string& options = "") {
    return ErrorOf([&] { LoadText(text, options); });
  }
};

constexpr const char* kTwo = "sentence\tlabel\na b\t1\nc\t0\n";

TEST_F(LabelledData, SamplesAreTokensBetweenMarks) {
  const Dataset data = LoadText("sentence\tlabel\r\nA b, \"c\tyes\r\n\r\nz y x w v u t\tno\r\n");
  EXPECT_EQ(data.name, "train.tsv");
  EXPECT_THAT(data.shape, ElementsAre(8));
  EXPECT_EQ(data.vocabulary, 30);
  EXPECT_EQ(data.separator, 3);
  EXPECT_EQ(data.classes, 2);
  EXPECT_FALSE(data.next_token);
  EXPECT_EQ(data.Shape().separator, 3);
  EXPECT_THAT(data.train.labels, ElementsAre(1, 0));
  EXPECT_THAT(SamplesOf(data.train, 8),
              ElementsAre(Tokens{2, 4, 5, 1, 1, 6, 3}, Tokens{2, 29, 28, 27, 26, 25, 24, 3}));
  EXPECT_THAT(data.validation.begins, IsEmpty());
  EXPECT_THAT(data.test.begins, IsEmpty());
}

TEST_F(LabelledData, PairsHaveTwoTexts) {
  const std::string text = "label\tq\ts\n0\ta b\tc d e f g\n1\tx\ty\n";
  const Dataset data = LoadText(text, "text = \"q\"\npair = \"s\"");
  EXPECT_THAT(SamplesOf(data.train, 8),
              ElementsAre(Tokens{2, 4, 5, 3, 6, 7, 8, 3}, Tokens{2, 27, 3, 28, 3}));
  EXPECT_THAT(data.train.labels, ElementsAre(0, 1));
}

TEST_F(LabelledData, ColumnsMayBeNumbersAndCellsQuoted) {
  const std::string options = "text = \"2\"\nlabel = \"-1\"\nheader = \"no\"\nseparator = \",\"";
  const Dataset data = LoadText("7,\"a, \"\"b\n\",10\n8,c,9\n9,d,-1\n", options);
  EXPECT_THAT(SamplesOf(data.train, 8),
              ElementsAre(Tokens{2, 4, 1, 1, 5, 3}, Tokens{2, 6, 3}, Tokens{2, 7, 3}));
  EXPECT_THAT(data.train.labels, ElementsAre(2, 1, 0));  // as numbers
  Write("train.tsv", "\xEF\xBB\xBFsentence\tlabel\na\tb10\nb\tb9\n");
  EXPECT_THAT(Load().train.labels, ElementsAre(0, 1));  // as texts
}

TEST_F(LabelledData, FilesAreTheSamplesOfTheirParts) {
  fs::create_directory("in");
  Write("in/train.tsv", kTwo);
  Write("in/dev.tsv", "label\tsentence\n0\td\n");
  Write("test.tsv", "sentence\tlabel\ne\t1\nf\t1\n");
  const Dataset data = LoadData(
      DataOf("name = \"labelled-text\"\npath = \"in/train.tsv\"\ncontext = 8\n"
             "vocabulary_file = \"vocab.txt\"\nvalidation_file = \"dev.tsv\"\ntest_file = \"" +
             (fs::current_path() / "test.tsv").string() + "\""),
      1);
  EXPECT_EQ(data.train.samples, 2);
  EXPECT_THAT(SamplesOf(data.validation, 8), ElementsAre(Tokens{2, 7, 3}));
  EXPECT_THAT(data.validation.labels, ElementsAre(0));
  EXPECT_THAT(SamplesOf(data.test, 8), ElementsAre(Tokens{2, 8, 3}, Tokens{2, 9, 3}));
  EXPECT_THAT(data.test.labels, ElementsAre(1, 1));
}

// Class 0 has the words a to j, class 1 the others, each 20 times.
std::string Letters() {
  std::string text = "sentence\tlabel\n";
  for (int i = 0; i < 400; ++i) {
    text += std::string(1, static_cast<char>('a' + i % 20)) + (i % 20 < 10 ? "\t0\n" : "\t1\n");
  }
  return text;
}

TEST_F(LabelledData, SharesAreDrawnWithTheSameShareOfEachClass) {
  Write("train.tsv", Letters());
  const std::string options = "validation = 0.2\ntest = 0.1";
  const Dataset data = Load(options);
  std::set<int64_t> begins;
  for (const auto& [split, samples] : std::map<const Split*, int64_t>{
           {&data.train, 280}, {&data.validation, 80}, {&data.test, 40}}) {
    EXPECT_EQ(split->samples, samples);
    EXPECT_EQ(std::ranges::count(split->labels, 1), samples / 2);
    begins.insert(split->begins.begin(), split->begins.end());
    const auto found = SamplesOf(*split, 8);
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(split->labels[i], found[i].at(1) < 14 ? 0 : 1);
    }
  }
  EXPECT_EQ(begins.size(), 400U);
  EXPECT_EQ(Load(options).test.begins, data.test.begins);
  EXPECT_NE(Load(options, 2).test.begins, data.test.begins);
}

TEST_F(LabelledData, PiecesAreLearnedFromTrainingSamples) {
  std::string text = "sentence\tlabel\n";
  for (int i = 0; i < 60; ++i) text += std::string(i % 2 == 0 ? "good film\t1\n" : "bad film\t0\n");
  Write("train.tsv", text);
  Write("dev.tsv", "sentence\tlabel\nqqqqqq film\t1\nfilm\t0\n");
  const std::string options =
      "tokenizer = \"bpe\"\nvocabulary = 300\ncontext = 16\nvalidation_file = \"dev.tsv\"";
  const Dataset data = Load(options);
  EXPECT_LE(data.vocabulary, 300);
  EXPECT_EQ(data.separator, 3);
  // Each word is a piece, but that of the validation is bytes.
  EXPECT_EQ(SamplesOf(data.train, 16)[0].size(), 4U);
  EXPECT_EQ(SamplesOf(data.validation, 16)[1].size(), 3U);
  EXPECT_GT(SamplesOf(data.validation, 16)[0].size(), 9U);
  // Other texts for validation change nothing of it.
  Write("dev.tsv", "sentence\tlabel\nzzzz\t1\n");
  EXPECT_EQ(SamplesOf(Load(options).train, 16), SamplesOf(data.train, 16));
}

TEST_F(LabelledData, WrongFilesAreNamed) {
  EXPECT_EQ(Error(""), "train.tsv: is empty");
  EXPECT_EQ(Error("\n\r\n"), "train.tsv: is empty");
  EXPECT_EQ(Error("sentence\tlabel\n"), "train.tsv: has no lines below its header");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\nb\n"),
            "train.tsv: line 3 has 1 cells, but the first has 2");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\n\nb\t0\t\n"),
            "train.tsv: line 4 has 3 cells, but the first has 2");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\nb\xff\t1\n"), "train.tsv: line 3 is not UTF-8");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\n\t0\n"),
            "train.tsv: line 3, column 1 (\"sentence\") is empty");
  EXPECT_EQ(Error("a\t\nb\t1\n", "text = \"1\"\nlabel = \"2\"\nheader = \"no\""),
            "train.tsv: line 1, column 2 is empty");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\n \u200b\t0\n"),
            "train.tsv: line 3 has a text without a token");
  EXPECT_EQ(Error("q\ts\tlabel\na\t\t1\n", "text = \"q\"\npair = \"s\""),
            "train.tsv: line 2, column 2 (\"s\") is empty");
  EXPECT_EQ(Error("sentence\tlabel\na\t1\nb\t1\n"),
            "train.tsv: column \"label\" has 1 different labels, which is outside [2, 1000]");
  EXPECT_EQ(Error("text\tlabel\na\t1\n"),
            "data.text: \"sentence\" is not a column of train.tsv; known: text, label");
  EXPECT_THAT(Error("sentence\tclass\na\t1\n"),
              StartsWith("data.label: \"label\" is not a column of train.tsv"));
  EXPECT_THAT(Error(kTwo, "pair = \"3\""), StartsWith("data.pair: \"3\" is outside [1, 2]"));
  EXPECT_THAT(Error("sentence,label\n\"a,1\n", "separator = \",\""),
              StartsWith("train.tsv: line 3 is damaged: "));
  EXPECT_EQ(ErrorOf([] { LoadData(DataOf("name = \"labelled-text\""), 1); }),
            "data.path is missing: it must name a file of labelled texts");
}

TEST_F(LabelledData, LabelsAreThoseOfTheTrainingFile) {
  Write("dev.tsv", "sentence\tlabel\na\t1\nb\t2\n");
  for (const char* const option : {"validation_file", "test_file"}) {
    EXPECT_EQ(Error(kTwo, std::string(option) + " = \"dev.tsv\""),
              "dev.tsv: line 3 has the label \"2\", but those of train.tsv are \"0\", \"1\"");
  }
  Write("dev.tsv", "sentence\na\n");
  EXPECT_THAT(Error(kTwo, "validation_file = \"dev.tsv\""),
              StartsWith("data.label: \"label\" is not a column of dev.tsv"));
  EXPECT_EQ(Error(kTwo, "validation_file = \"none.tsv\""),
            "none.tsv: cannot be opened: No such file or directory");
}

TEST_F(LabelledData, OptionsThatDoNotFitAreErrors) {
  EXPECT_EQ(Error(kTwo, "vocabulary_file = \"\""),
            "data.vocabulary_file is missing: data.tokenizer = \"wordpiece\" needs the file of its "
            "tokens");
  EXPECT_EQ(Error(kTwo, "tokenizer = \"bpe\"\nvocabulary = 300\nvocabulary_file = \"vocab.txt\""),
            "data.vocabulary_file has no effect: data.tokenizer = \"bpe\" learns its tokens");
  EXPECT_EQ(Error(kTwo, "tokenizer = \"bpe\""),
            "data.vocabulary = 0 is outside [300, 131072] for data.tokenizer = \"bpe\"");
  EXPECT_EQ(Error(kTwo, "vocabulary = 300"),
            "data.vocabulary = 300 must be 0 for data.tokenizer = \"wordpiece\"");
  EXPECT_EQ(Error(kTwo, "test = 0.5\ntest_file = \"train.tsv\""),
            "data.test = 0.5 has no effect: data.test_file has the test samples");
  EXPECT_EQ(Error(kTwo, "test = 0.5\nvalidation = 0.5"),
            "data.validation = 0.5 is outside [0, 0.5)");
  EXPECT_THAT(Error(kTwo, "context = 7"), HasSubstr("data.context: 7 is outside [8, 65536]"));
  std::string many = "sentence\tlabel\n";
  for (int i = 0; i < 5000; ++i) many += i % 2 == 0 ? "a\t0\n" : "b\t1\n";
  EXPECT_EQ(Error(many, "context = 65536"),
            "data.context = 65536: 5000 samples of so many tokens are more than 268435456 tokens, "
            "the most that are kept in memory");
}

class MovieReviews : public LabelledData {
 protected:
  static Dataset Load(const std::string& options = "") {
    return LoadData(DataOf("name = \"movie-reviews\"\nvalidation = 0\ncontext = 8\n"
                           "vocabulary_file = \"vocab.txt\"\n" +
                           options),
                    1);
  }
};

TEST_F(MovieReviews, AreSignsOfRatings) {
  const std::string file = "movieReviewSnippets_GroundTruth.txt";
  Write(".data/movie-reviews/" + file,
        "1\t2.26\tA b\r\n2\t-0.6\tc \t d\r\n3\t0\te\r\n4\t-0.0\tf\r\n5\t1e-3\t\"g\r\n");
  const Dataset data = Load();
  EXPECT_EQ(data.name, "movie-reviews");
  EXPECT_EQ(data.classes, 2);
  EXPECT_THAT(data.train.labels, ElementsAre(1, 0, 1));
  EXPECT_THAT(SamplesOf(data.train, 8),
              ElementsAre(Tokens{2, 4, 5, 3}, Tokens{2, 6, 7, 3}, Tokens{2, 1, 10, 3}));
  EXPECT_EQ(Load("path = \".data/movie-reviews\"").train.samples, 3);

  const auto error = [&](const std::string& text) {
    Write(file, text);
    return ErrorOf([] { Load("path = \".\""); });
  };
  EXPECT_EQ(
      error("1\t1\ta\n2\ta\tb\n"),
      "./" + file + ": line 2 is \"2\\x09a\\x09b\", but must be a number, a rating and a text");
  for (const char* const line : {"1", "1\t2", "\t\tx", "1\t2 \tx"}) {
    EXPECT_THAT(error(line), HasSubstr("but must be a number, a rating and a text"));
  }
  EXPECT_EQ(error("1\t0\ta\n"), "./" + file + ": has no ratings");
  EXPECT_EQ(error("1\t1\t\n"), "./" + file + ": line 1 has a text without a token");
  EXPECT_EQ(error("1\t1\ta\n2\t1\t\xff\n"), "./" + file + ": line 2 is not UTF-8");
  fs::remove_all(".data");
  EXPECT_THAT(ErrorOf([] { Load(); }),
              HasSubstr("download it with kudari data get movie-reviews, or set data.path"));
}

// Outside of the fixture, which hides $KUDARI_DATA.
TEST(MovieReviewsFile, HasAsManyAsThePageSays) {
  const auto entry = LabRegistry::Builtin().data.Get("movie-reviews");
  DataConfig config = DataOf(
      "name = \"movie-reviews\"\nvalidation = 0\ncontext = 64\ntokenizer = \"bpe\"\n"
      "vocabulary = 400\n");
  try {
    entry->find({});
  } catch (const kudari::Error&) {
    GTEST_SKIP() << "the file is not on this machine; kudari data get movie-reviews";
  }
  const Dataset data = LoadData(config, 1);
  EXPECT_EQ(data.train.samples, 10568);
  EXPECT_EQ(std::ranges::count(data.train.labels, 1), 5242);
  EXPECT_EQ(std::ranges::count(data.train.labels, 0), 5326);
}

}  // namespace labelled_text_test
}  // namespace kudari::lab
