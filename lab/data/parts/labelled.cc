#include "lab/data/parts/labelled.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/splits.h"
#include "lab/data/parts/tokens.h"
#include "lab/data/parts/wordpiece.h"

namespace kudari::lab {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 28;  // of all samples, with their padding

void CheckTokenizer(const LabelledOptions& options) {
  const bool file = options.tokenizer == "wordpiece";
  CheckPieces(options.tokenizer, options.vocabulary);
  if (file == !options.vocabulary_file.empty()) return;
  throw Error(file ? "data.vocabulary_file is missing: data.tokenizer = \"wordpiece\" needs the "
                     "file of its tokens"
                   : "data.vocabulary_file has no effect: data.tokenizer = " +
                         Quoted(options.tokenizer) + " learns its tokens");
}

struct Member {
  const LabelledFile* file;
  const LabelledText* text;
};

// Appends the texts of a file to all of them. The begins of its split are, for now, their numbers.
Split Number(const LabelledFile& file, std::vector<Member>& all) {
  Split split{.samples = std::ssize(file.texts)};
  for (const LabelledText& text : file.texts) {
    split.begins.push_back(std::ssize(all));
    split.labels.push_back(text.label);
    all.push_back({&file, &text});
  }
  return split;
}

std::unique_ptr<const Tokenizer> MakeTokenizer(const LabelledOptions& options,
                                               const std::vector<Member>& all, const Split& train) {
  if (options.tokenizer == "wordpiece") {
    return ReadWordPieces(options.vocabulary_file, options.lowercase);
  }
  std::vector<std::string_view> views;
  for (const int64_t number : train.begins) {
    const LabelledText& text = *all[static_cast<size_t>(number)].text;
    for (const std::string* part : {&text.text, &text.pair}) {
      if (!part->empty()) views.emplace_back(*part);
    }
  }
  return LearnBytePairs(views, options.vocabulary, options.lowercase);
}

}  // namespace

std::vector<int32_t> SampleTokens(const Tokenizer& tokenizer, const LabelledText& text, bool pair,
                                  int64_t context) {
  std::vector<int32_t> first = tokenizer.Encode(text.text), second;
  if (pair) second = tokenizer.Encode(text.pair);
  if (first.empty() || (pair && second.empty())) return {};
  const auto most = static_cast<size_t>(context) - (pair ? 3 : 2);
  while (first.size() + second.size() > most) {
    (first.size() > second.size() ? first : second).pop_back();
  }
  std::vector<int32_t> tokens = {tokenizer.begin()};
  tokens.insert(tokens.end(), first.begin(), first.end());
  tokens.push_back(tokenizer.separator());
  if (!pair) return tokens;
  tokens.insert(tokens.end(), second.begin(), second.end());
  tokens.push_back(tokenizer.separator());
  return tokens;
}

Dataset MakeLabelled(const LabelledTexts& texts, const LabelledOptions& options, double validation,
                     uint64_t seed) {
  CheckTokenizer(options);
  const bool draw_test = texts.test.texts.empty();
  const bool draw_validation = texts.validation.texts.empty();
  const double test = draw_test ? options.test : 0;
  if (draw_validation) CheckShare(validation, 1 - test);
  std::vector<Member> all;
  Dataset data{.name = texts.name, .shape = {options.context}, .classes = texts.classes};
  data.train = Number(texts.train, all);
  data.validation = Number(texts.validation, all);
  data.test = Number(texts.test, all);
  const int64_t count = std::ssize(all);
  if (count > kMostTokens / options.context) {
    throw Error("data.context = " + std::to_string(options.context) + ": " + std::to_string(count) +
                " samples of so many tokens are more than " + std::to_string(kMostTokens) +
                " tokens, the most that are kept in memory");
  }
  std::mt19937_64 random(seed);
  if (draw_test) data.test = TakeOut(data.train, data.classes, test, random);
  if (draw_validation) {
    data.validation = TakeOut(data.train, data.classes, validation / (1 - test), random);
  }
  const auto tokenizer = MakeTokenizer(options, all, data.train);
  data.vocabulary = tokenizer->size();
  data.separator = tokenizer->separator();
  std::vector<int32_t> tokens(static_cast<size_t>(count * options.context));
  for (int64_t i = 0; i < count; ++i) {
    const auto& [file, text] = all[static_cast<size_t>(i)];
    const auto sample = SampleTokens(*tokenizer, *text, texts.pairs, options.context);
    if (sample.empty()) {
      throw Error(file->path.string() + ": line " + std::to_string(text->line) +
                  " has a text without a token");
    }
    std::ranges::copy(sample, tokens.begin() + i * options.context);
  }
  const auto stream = InMemory(std::move(tokens));
  for (Split* split : {&data.train, &data.validation, &data.test}) {
    split->tokens = stream;
    for (int64_t& begin : split->begins) begin *= options.context;
  }
  return data;
}

}  // namespace kudari::lab
