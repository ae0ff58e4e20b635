// A text whose next tokens are to be predicted. Tokens are its bytes, the characters that occur in
// it, or pieces that are learned from its training part.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/data.h"
#include "lab/data/parts/byte_pairs.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/data/parts/tokens.h"
#include "lab/data/parts/utf8.h"
#include "lab/files/unpack.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefaultFile = "tinyshakespeare.txt";

struct TextOptions {
  int64_t context = 64, vocabulary = 0;
  std::string tokenizer = "characters";
  double test = 0;
};

const internal::OptionTable<TextOptions>& TextTable() {
  using O = TextOptions;
  static const internal::OptionTable<O> table = {
      {.name = "context",
       .member = &O::context,
       .least = 1,
       .most = 1 << 20,
       .doc = "number of tokens of a sample"},
      {.name = "tokenizer",
       .member = &O::tokenizer,
       .choices = {"characters", "bytes", "bpe"},
       .doc =
           "characters: those that occur in the text, sorted; bytes: all 256, also for a text "
           "that is not UTF-8; bpe: pieces learned from the training part by byte-pair encoding, "
           "with bytes for what has none"},
      {.name = "vocabulary",
       .member = &O::vocabulary,
       .least = 0,
       .most = kMostPieces,
       .doc = "bpe: the most tokens that are learned, at least 300; else 0"},
      {.name = "test",
       .member = &O::test,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the text, its end, held out for the test; the validation share is before "
              "it"},
  };
  return table;
}

std::vector<std::string> AllBytes() {
  std::vector<std::string> symbols;
  for (int byte = 0; byte < 256; ++byte) symbols.emplace_back(1, static_cast<char>(byte));
  return symbols;
}

// A text as tokens.
struct Tokens {
  std::vector<int32_t> tokens = {};
  std::vector<std::string> symbols = {};  // what each stands for
  std::array<int64_t, 2> ends = {};       // of the training and the validation part
  double bytes_per_token = 0;             // where it is measured
};

Tokens ByCharacters(std::string_view text) {
  const std::vector<std::string_view> all = CharactersOf(text);
  std::map<std::string_view, int32_t> numbers;
  for (const std::string_view c : all) numbers.emplace(c, 0);
  Tokens made;
  for (auto& [character, number] : numbers) {
    number = static_cast<int32_t>(made.symbols.size());
    made.symbols.emplace_back(character);
  }
  for (const std::string_view c : all) made.tokens.push_back(numbers.at(c));
  return made;
}

Tokens ByBytes(std::string_view text) {
  Tokens made{.symbols = AllBytes()};
  for (const char c : text) made.tokens.push_back(static_cast<uint8_t>(c));
  return made;
}

// The parts are shares of the text's bytes, but no character is cut, and are encoded each by
// itself. Since the pieces fit the training part best, bytes per token are those of the others.
Tokens ByPieces(std::string_view text, int64_t vocabulary, double validation, double test) {
  std::array<int64_t, 2> ends = PartEnds(std::ssize(text), validation, test);
  std::array<std::string_view, 3> parts;
  size_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    size_t end = i < ends.size() ? static_cast<size_t>(ends.at(i)) : text.size();
    while (end < text.size() && IsWithinCharacter(text[end])) ++end;
    parts.at(i) = text.substr(begin, end - begin);
    begin = end;
  }
  const BytePairs pairs({parts.data(), 1}, vocabulary, BytePairs::Style::kExact);
  Tokens made{.symbols = pairs.Symbols()};
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::vector<int32_t> tokens = pairs.Encode(parts.at(i));
    made.tokens.insert(made.tokens.end(), tokens.begin(), tokens.end());
    if (i < made.ends.size()) made.ends.at(i) = std::ssize(made.tokens);
  }
  const auto trained = static_cast<size_t>(made.ends[0]);
  const bool held = made.tokens.size() > trained;
  const size_t bytes = text.size() - (held ? parts[0].size() : 0);
  const size_t tokens = made.tokens.size() - (held ? trained : 0);
  made.bytes_per_token = static_cast<double>(bytes) / static_cast<double>(tokens);
  return made;
}

Tokens Tokenise(std::string_view text, const fs::path& path, const TextOptions& options,
                double validation) {
  CheckPieces(options.tokenizer, options.vocabulary);
  if (text.empty()) throw Error(path.string() + ": is empty");
  if (options.tokenizer == "bpe") {
    CheckUtf8(text, path);
    return ByPieces(text, options.vocabulary, validation, options.test);
  }
  const bool characters = options.tokenizer == "characters" && IsUtf8(text);
  Tokens made = characters ? ByCharacters(text) : ByBytes(text);
  const int64_t size = std::ssize(made.tokens);
  made.ends = PartEnds(size, validation, options.test);
  made.bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(size);
  return made;
}

// A file, or the usual text in a folder.
fs::path FindText(const fs::path& path) {
  std::error_code ignored;
  if (!path.empty() && !fs::is_directory(path, ignored)) return path;
  const std::string name(kDefaultFile);
  const Place place{.file = name,
                    .subfolders = {"text"},
                    .how =
                        "download it with kudari data get tinyshakespeare, or name your own text "
                        "with data.path"};
  return Require(FindFolder(path, place), name);
}

Dataset LoadText(const DataConfig& config, uint64_t /*seed*/) {
  const auto& options = ValuesOf<TextOptions>(config.options);
  CheckShare(config.validation, 1 - options.test);
  const fs::path path = FindText(config.path);
  Tokens made = Tokenise(ReadUnpacked(path), path, options, config.validation);
  const int64_t vocabulary = std::ssize(made.symbols);
  Dataset data{.name = path.filename().string(),
               .shape = {options.context},
               .classes = vocabulary,
               .vocabulary = vocabulary,
               .next_token = true,
               .bytes_per_token = made.bytes_per_token,
               .symbols = std::move(made.symbols)};
  SplitStream(data, InMemory(std::move(made.tokens)), made.ends, config.validation, options.test);
  return data;
}

}  // namespace

DataEntry DescribeText() {
  return {.name = "text",
          .doc = "the next tokens of a text file, tinyshakespeare.txt unless path names another",
          .options = MakeOwnOptions(TextOptions(), TextTable()),
          .load = &LoadText,
          .source = {.name = "tinyshakespeare",
                     .folder = "text",
                     .contents = "1,115,394 characters of Shakespeare's plays, 65 different ones",
                     .home = "https://github.com/karpathy/char-rnn",
                     .licence = "MIT, the text is in the public domain",
                     .files = {{.address = "https://raw.githubusercontent.com/karpathy/char-rnn/"
                                           "master/data/tinyshakespeare/input.txt",
                                .checksum = "86c4e6aa9db7c042ec79f339dcb96d42"
                                            "b0075e16b8fc2e86bf0ca57e2dc565ed",
                                .bytes = 1115394,
                                .kept = {"tinyshakespeare.txt"}}}},
          .find = &FindText};
}

}  // namespace kudari::lab
