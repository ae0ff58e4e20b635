// Texts and files of tokens: text.cc, token_files.cc and parts/tokens.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/splits.h"
#include "lab/data/parts/tokens.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace token_data_test {

namespace fs = std::filesystem;
using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> TokensOf(const TokenStream& stream) {
  std::vector<int64_t> tokens(static_cast<size_t>(stream.size()));
  stream.Read(0, tokens);
  return tokens;
}

// What the tokens stand for.
std::string TextOf(const Dataset& data) {
  std::string text;
  for (const int64_t token : TokensOf(*data.train.tokens)) {
    text += data.symbols.at(static_cast<size_t>(token));
  }
  return text;
}

class TokenData : public kudari::testing::DataFixture {
 protected:
  static Dataset Load(const std::string& name, const std::string& options) {
    return LoadData(DataOf("name = \"" + name + "\"\n" + options), 1);
  }
  // In pieces of two, and without validation samples unless the options say otherwise.
  static Dataset LoadText(std::string_view text, std::string options = "") {
    Write("t.txt", text);
    if (options.find("validation") == std::string::npos) options += "validation = 0\n";
    if (options.find("context") == std::string::npos) options += "context = 2\n";
    return Load("text", "path = \"t.txt\"\n" + options);
  }
};

TEST_F(TokenData, CharactersAreSortedAndGiveTheTextBack) {
  const std::string text = "b\u00e4a\u20acb \U0001F600a";
  const Dataset data = LoadText(text);
  EXPECT_EQ(data.name, "t.txt");
  EXPECT_THAT(data.symbols, ElementsAre(" ", "a", "b", "\u00e4", "\u20ac", "\U0001F600"));
  EXPECT_EQ(data.vocabulary, 6);
  EXPECT_EQ(data.classes, 6);
  EXPECT_TRUE(data.next_token);
  EXPECT_THAT(data.shape, ElementsAre(2));
  EXPECT_THAT(TokensOf(*data.train.tokens), ElementsAre(2, 3, 1, 4, 2, 0, 5, 1));
  EXPECT_EQ(TextOf(data), text);
  EXPECT_DOUBLE_EQ(data.bytes_per_token, 14.0 / 8);
}

TEST_F(TokenData, BytesGiveTheTextBack) {
  for (const bool utf8 : {true, false}) {
    std::string text = "a\u00e4";
    if (!utf8) {
      for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
    }
    // A text that is not UTF-8 has no characters.
    for (const char* tokenizer : {"bytes", "characters"}) {
      if (utf8 && tokenizer == std::string("characters")) continue;
      const Dataset data = LoadText(text, std::string("tokenizer = \"") + tokenizer + "\"\n");
      EXPECT_EQ(data.vocabulary, 256);
      EXPECT_EQ(TextOf(data), text);
      EXPECT_EQ(data.bytes_per_token, 1);
    }
  }
}

// What is learned is the training part's, and bytes per token are those of the other parts.
TEST_F(TokenData, LearnedPiecesGiveTheTextBack) {
  const auto text_of = [](const std::string& end) {
    std::string text;
    for (int i = 0; i < 200; ++i) text += i % 3 == 0 ? "the \u00e4 cat\n" : "a dog, ";
    return text + end;
  };
  const std::string options =
      "tokenizer = \"bpe\"\nvocabulary = 310\nvalidation = 0.2\ntest = 0.1\ncontext = 4\n";
  const std::string text = text_of(std::string(400, 'z'));
  const Dataset data = LoadText(text, options);
  EXPECT_LE(data.vocabulary, 310);
  EXPECT_EQ(data.vocabulary, std::ssize(data.symbols));
  EXPECT_EQ(TextOf(data), text);
  EXPECT_EQ(LoadText(text_of(std::string(400, 'q')), options).symbols, data.symbols);
  EXPECT_NE(LoadText("q" + text, options).symbols, data.symbols);

  // The training part ends at a token, and no piece of another part begins before it.
  const std::vector<int64_t> all = TokensOf(*data.train.tokens);
  const auto bytes_until = [&](int64_t end) {
    size_t bytes = 0;
    for (int64_t i = 0; i < end; ++i)
      bytes += data.symbols.at(static_cast<size_t>(all[static_cast<size_t>(i)])).size();
    return static_cast<double>(bytes);
  };
  const int64_t end = data.validation.begins.front();
  const auto size = static_cast<double>(text.size());
  EXPECT_NEAR(bytes_until(end) / size, 0.7, 0.002);
  EXPECT_NEAR(bytes_until(data.test.begins.front()) / size, 0.9, 0.002);
  EXPECT_LT(data.train.begins.back() + 4, end);
  EXPECT_DOUBLE_EQ(data.bytes_per_token,
                   (size - bytes_until(end)) / static_cast<double>(std::ssize(all) - end));
  // Without other parts they are those of the whole text.
  const Dataset whole = LoadText(text, "tokenizer = \"bpe\"\nvocabulary = 310\n");
  EXPECT_DOUBLE_EQ(whole.bytes_per_token, size / static_cast<double>(whole.train.tokens->size()));

  EXPECT_EQ(ErrorOf([&] { LoadText("a\nb\xff", options); }), "t.txt: line 2 is not UTF-8");
  EXPECT_EQ(ErrorOf([&] { LoadText("", options); }), "t.txt: is empty");
  EXPECT_EQ(ErrorOf([] { LoadText("abc", "tokenizer = \"bpe\"\n"); }),
            "data.vocabulary = 0 is outside [300, 131072] for data.tokenizer = \"bpe\"");
  EXPECT_EQ(ErrorOf([] { LoadText("abc", "vocabulary = 300\n"); }),
            "data.vocabulary = 300 must be 0 for data.tokenizer = \"characters\"");
}

// Pieces follow each other, and the token after each is there to be its last target.
TEST_F(TokenData, PiecesHaveATargetForEachToken) {
  const auto stream = InMemory({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_THAT(Pieces(stream, 0, 10, 3).begins, ElementsAre(0, 3, 6));
  EXPECT_THAT(Pieces(stream, 0, 9, 3).begins, ElementsAre(0, 3));  // 6 to 8, but nothing after it
  EXPECT_THAT(Pieces(stream, 2, 6, 3).begins, ElementsAre(2));
  EXPECT_THAT(Pieces(stream, 2, 5, 3).begins, IsEmpty());
  EXPECT_THAT(Pieces(stream, 0, 10, 1).begins, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  std::vector<int64_t> piece(4);
  stream->Read(6, piece);
  EXPECT_THAT(piece, ElementsAre(6, 7, 8, 9));
}

TEST_F(TokenData, PartsOfATextDoNotOverlap) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i);
  const Dataset data =
      LoadText(text, "tokenizer = \"bytes\"\nvalidation = 0.2\ntest = 0.1\ncontext = 3\n");
  const auto check = [](const Split& split, int64_t begin, int64_t end) {
    ASSERT_EQ(split.samples, std::ssize(split.begins));
    EXPECT_EQ(split.samples, (end - begin - 1) / 3);
    EXPECT_EQ(split.begins.front(), begin);
    EXPECT_LT(split.begins.back() + 3, end);
  };
  check(data.train, 0, 70);
  check(data.validation, 70, 90);
  check(data.test, 90, 100);
}

TEST_F(TokenData, SamplesCanBeDrawn) {
  Dataset data = LoadText("abcdefghijklmnopq");
  KeepSamples(data, 3, 1);
  EXPECT_EQ(data.train.samples, 3);
  EXPECT_EQ(data.train.begins.size(), 3U);
  EXPECT_TRUE(std::ranges::is_sorted(data.train.begins));
  for (const int64_t begin : data.train.begins) EXPECT_EQ(begin % 2, 0);
  EXPECT_EQ(TextOf(data), "abcdefghijklmnopq");
  EXPECT_THAT(ErrorOf([&] { AddLabelNoise(data, 0.5, 1); }), HasSubstr("has other targets"));
}

TEST_F(TokenData, WrongTextsAreNamed) {
  EXPECT_EQ(ErrorOf([] { LoadText(""); }), "t.txt: is empty");
  EXPECT_EQ(ErrorOf([] { LoadText("ab"); }),
            "data.context = 2 is too long: the training part has 2 of the 2 tokens of t.txt, and a "
            "sample needs 3");
  EXPECT_EQ(
      ErrorOf([] { LoadText("abcdefghij", "validation = 0.2\n"); }),
      "data.context = 2 is too long: the validation part has 2 of the 10 tokens of t.txt, and "
      "a sample needs 3");
  EXPECT_EQ(ErrorOf([] { LoadText("abcdefghij", "test = 0.1\n"); }),
            "data.context = 2 is too long: the test part has 1 of the 10 tokens of t.txt, and a "
            "sample needs 3");
  EXPECT_THAT(ErrorOf([] { LoadText("abc", "test = 0.5\nvalidation = 0.5\n"); }),
              HasSubstr("data.validation = 0.5 is outside [0, 0.5)"));
  EXPECT_THAT(ErrorOf([] { LoadText("abc", "context = 0\n"); }),
              HasSubstr("context: 0 is outside [1, 1048576]"));
  EXPECT_THAT(ErrorOf([] { Load("text", "path = \"none.txt\"\n"); }), HasSubstr("none.txt"));
}

TEST_F(TokenData, TheUsualTextIsFound) {
  EXPECT_EQ(ErrorOf([] { Load("text", ""); }),
            "data: no tinyshakespeare.txt, plain, .gz or .xz, in .data, .data/text; download it "
            "with kudari data get tinyshakespeare, or name your own text with data.path, or set "
            "data.path in the recipe or KUDARI_DATA to the folder that holds it");
  const std::string text(400, 'x');
  Write("here/text/tinyshakespeare.txt", text);
  EXPECT_EQ(TextOf(Load("text", "path = \"here\"\n")), text);
  EXPECT_EQ(TextOf(Load("text", "path = \"here/text\"\n")), text);
  setenv("KUDARI_DATA", "here", 1);
  EXPECT_EQ(TextOf(Load("text", "")), text);
}

template <class T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// The header of llm.c's files.
std::string Header(int32_t version, int32_t count, int32_t magic = 20240520) {
  std::vector<int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return Bytes(header);
}

class TokenFiles : public TokenData {
 protected:
  static Dataset LoadFiles(std::string options = "") {
    if (options.find("validation") == std::string::npos) options += "validation = 0\n";
    if (options.find("context") == std::string::npos) options += "context = 2\n";
    if (options.find("vocabulary") == std::string::npos) options += "vocabulary = 70000\n";
    return Load("tokens", "path = \"d\"\n" + options);
  }
  static std::string Message(std::string_view train, const std::string& options = "") {
    Write("d/train.bin", train);
    return ErrorOf([&] { LoadFiles(options); });
  }
};

TEST_F(TokenFiles, OfNanoGptAndOfLlmCAreRead) {
  const std::vector<uint16_t> shorts = {1, 2, 65535, 4, 0, 6};
  const std::vector<uint32_t> longs = {1, 2, 69999, 4, 0, 6};
  for (const std::string& bytes :
       {Bytes(shorts), Header(1, 6) + Bytes(shorts), Header(7, 6) + Bytes(longs)}) {
    Write("d/train.bin", bytes);
    Write("d/val.bin", Bytes(std::vector<uint16_t>{7, 8, 9}));
    const Dataset data = LoadFiles("validation = 0.1\nbytes_per_token = 3.5\n");
    EXPECT_EQ(data.name, "d");
    EXPECT_EQ(data.vocabulary, 70000);
    EXPECT_EQ(data.classes, 70000);
    EXPECT_TRUE(data.next_token);
    EXPECT_EQ(data.bytes_per_token, 3.5);
    const int64_t large = bytes.ends_with(Bytes(longs)) ? 69999 : 65535;
    EXPECT_THAT(TokensOf(*data.train.tokens), ElementsAre(1, 2, large, 4, 0, 6));
    EXPECT_THAT(data.train.begins, ElementsAre(0, 2));
    EXPECT_THAT(TokensOf(*data.validation.tokens), ElementsAre(7, 8, 9));
    EXPECT_EQ(data.validation.samples, 1);
    EXPECT_EQ(data.test.samples, 0);
    std::vector<int64_t> piece(3);
    data.train.tokens->Read(2, piece);
    EXPECT_THAT(piece, ElementsAre(large, 4, 0));
  }
  Write("d/test.bin", Bytes(std::vector<uint16_t>{7, 8, 9, 1, 1}));
  EXPECT_EQ(LoadFiles().test.samples, 2);
}

// A file that is longer than the piece by which tokens are checked.
TEST_F(TokenFiles, AreReadWhole) {
  std::vector<uint16_t> tokens(200'001);
  std::mt19937 random(1);
  for (uint16_t& token : tokens) token = static_cast<uint16_t>(random());
  Write("d/train.bin", Bytes(tokens));
  EXPECT_EQ(TokensOf(*LoadFiles().train.tokens),
            std::vector<int64_t>(tokens.begin(), tokens.end()));
  EXPECT_EQ(LoadFiles().train.samples, 100'000);
  for (uint16_t& token : tokens) token = token % 50'257;
  tokens[170'000] = 50'257;
  EXPECT_EQ(Message(Bytes(tokens), "vocabulary = 50257\n"),
            "d/train.bin: token 170000 is 50257, "
            "which is outside [0, 50257), data.vocabulary");
}

TEST_F(TokenFiles, ThatAreDamagedAreNamed) {
  const std::vector<uint16_t> three = {1, 2, 3};
  EXPECT_EQ(Message(""), "d/train.bin: is empty");
  EXPECT_EQ(Message("abc"), "d/train.bin: has 3 bytes of tokens, which is not a multiple of 2");
  EXPECT_EQ(Message(Header(7, 3) + "abcde"),
            "d/train.bin: has 5 bytes of tokens, which is not a multiple of 4");
  EXPECT_EQ(Message(Header(1, 4) + Bytes(three)),
            "d/train.bin: has 3 tokens, but says that it has 4");
  EXPECT_EQ(Message(Header(1, -1) + Bytes(three)),
            "d/train.bin: has 3 tokens, but says that it has 4294967295");
  EXPECT_EQ(Message(Header(2, 3) + Bytes(three)),
            "d/train.bin: is a token file of version 2, but must have version 1 (uint16) or 7 "
            "(uint32)");
  EXPECT_EQ(Message(Header(7, 3) + Bytes(std::vector<uint32_t>{1, 2, 4294967295})),
            "d/train.bin: token 2 is 4294967295, which is outside [0, 70000), data.vocabulary");
  EXPECT_EQ(Message(Header(1, 0)),
            "data.context = 2 is too long: d/train.bin has 0 tokens, and a "
            "sample needs 3");
  EXPECT_EQ(Message(Bytes(three), "context = 3\n"),
            "data.context = 3 is too long: d/train.bin has 3 tokens, and a sample needs 4");
  // Without the magic number it is nanoGPT's, whose first tokens may be anything.
  EXPECT_EQ(Message(Header(9, 9, 1) + Bytes(three)), "no error");
  EXPECT_EQ(Message(Bytes(three), "validation = 0.1\n"), "d/val.bin: No such file or directory");
  fs::remove("d/train.bin");
  EXPECT_EQ(ErrorOf([] { LoadFiles(); }), "d/train.bin: No such file or directory");
  fs::create_directory("d/train.bin");
  EXPECT_EQ(ErrorOf([] { LoadFiles(); }), "d/train.bin: is not a regular file");
  EXPECT_EQ(ErrorOf([] { Load("tokens", ""); }),
            "data.path is missing: it must name a folder with train.bin and val.bin");
}

TEST_F(TokenFiles, ThatChangeAreNoticed) {
  Write("d/train.bin", Bytes(std::vector<uint16_t>{1, 2, 3, 4, 5}));
  const Dataset data = LoadFiles();
  std::vector<int64_t> piece(3);
  data.train.tokens->Read(2, piece);
  EXPECT_THAT(piece, ElementsAre(3, 4, 5));
  // Tokens that would index outside of an embedding.
  Write("d/train.bin", Bytes(std::vector<uint16_t>{1, 2, 3}));
  EXPECT_EQ(ErrorOf([&] { data.train.tokens->Read(2, piece); }),
            "d/train.bin: was changed while it was in use");
}

}  // namespace token_data_test
}  // namespace kudari::lab
