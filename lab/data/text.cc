// A text whose next tokens are to be predicted. Tokens are its bytes, or the characters that occur
// in it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/quoted.h"
#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/data/parts/tokens.h"
#include "lab/files/unpack.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefaultFile = "tinyshakespeare.txt";

struct TextOptions {
  int64_t context = 64;
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
       .choices = {"characters", "bytes"},
       .doc = "characters: those that occur in the text, sorted; bytes: all 256, also for a text "
              "that is not UTF-8"},
      {.name = "test",
       .member = &O::test,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the text, its end, held out for the test; the validation share is before "
              "it"},
  };
  return table;
}

// The characters of a valid UTF-8 text.
std::vector<std::string_view> CharactersOf(std::string_view text) {
  const auto continues = [](char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; };
  std::vector<std::string_view> characters;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (end < text.size() && continues(text[end])) ++end;
    characters.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return characters;
}

std::vector<std::string> AllBytes() {
  std::vector<std::string> symbols;
  for (int byte = 0; byte < 256; ++byte) symbols.emplace_back(1, static_cast<char>(byte));
  return symbols;
}

// The tokens of the text, and what each token stands for.
std::pair<std::vector<int32_t>, std::vector<std::string>> Tokenise(std::string_view text,
                                                                   bool characters) {
  std::vector<int32_t> tokens;
  if (!characters) {
    for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
    return {std::move(tokens), AllBytes()};
  }
  const std::vector<std::string_view> all = CharactersOf(text);
  std::map<std::string_view, int32_t> numbers;
  for (const std::string_view c : all) numbers.emplace(c, 0);
  std::vector<std::string> symbols;
  for (auto& [character, number] : numbers) {
    number = static_cast<int32_t>(symbols.size());
    symbols.emplace_back(character);
  }
  for (const std::string_view c : all) tokens.push_back(numbers.at(c));
  return {std::move(tokens), std::move(symbols)};
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
  const std::string text = ReadUnpacked(path);
  const bool characters = options.tokenizer == "characters" && internal::IsUtf8(text);
  auto [tokens, symbols] = Tokenise(text, characters);
  if (tokens.empty()) throw Error(path.string() + ": is empty");
  const int64_t vocabulary = std::ssize(symbols);
  Dataset data{
      .name = path.filename().string(),
      .shape = {options.context},
      .classes = vocabulary,
      .vocabulary = vocabulary,
      .next_token = true,
      .bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(tokens.size()),
      .symbols = std::move(symbols)};
  SplitStream(data, InMemory(std::move(tokens)), config.validation, options.test);
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
