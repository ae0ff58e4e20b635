// The next tokens of files that were tokenised before, as nanoGPT's and llm.c's scripts write them:
// train.bin, val.bin and perhaps test.bin in a folder. They stay on disk.
#include <cstdint>
#include <filesystem>
#include <string>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/tokens.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

struct TokenOptions {
  int64_t context = 256, vocabulary = 50257;
  double bytes_per_token = 0;
};

const internal::OptionTable<TokenOptions>& TokenTable() {
  using O = TokenOptions;
  static const internal::OptionTable<O> table = {
      {.name = "context",
       .member = &O::context,
       .least = 1,
       .most = 1 << 20,
       .doc = "number of tokens of a sample"},
      {.name = "vocabulary",
       .member = &O::vocabulary,
       .least = 1,
       .most = 1 << 30,
       .doc = "number of different tokens; 50257: those of GPT-2"},
      {.name = "bytes_per_token",
       .member = &O::bytes_per_token,
       .low = 0,
       .high = kInfinity,
       .doc = "bytes of text per token on average, for bits per byte; 0: not known"},
  };
  return table;
}

// The pieces of a file; none if it may be missing and is.
Split ReadPart(const fs::path& path, const TokenOptions& options, bool required) {
  if (!required && !fs::exists(path)) return {};
  const auto tokens = OpenTokens(path, options.vocabulary);
  Split split = Pieces(tokens, 0, tokens->size(), options.context);
  if (split.samples > 0) return split;
  throw Error("data.context = " + std::to_string(options.context) +
              " is too long: " + path.string() + " has " + std::to_string(tokens->size()) +
              " tokens, and a sample needs " + std::to_string(options.context + 1));
}

Dataset LoadTokenFiles(const DataConfig& config, uint64_t /*seed*/) {
  const auto& options = ValuesOf<TokenOptions>(config.options);
  const fs::path folder = config.path;
  if (folder.empty()) {
    throw Error("data.path is missing: it must name a folder with train.bin and val.bin");
  }
  Dataset data{.name = folder.filename().string(),
               .shape = {options.context},
               .classes = options.vocabulary,
               .vocabulary = options.vocabulary,
               .next_token = true,
               .bytes_per_token = options.bytes_per_token};
  data.train = ReadPart(folder / "train.bin", options, true);
  data.validation = ReadPart(folder / "val.bin", options, config.validation > 0);
  data.test = ReadPart(folder / "test.bin", options, false);
  return data;
}

}  // namespace

DataEntry DescribeTokenFiles() {
  return {
      .name = "tokens",
      .doc = "the next tokens of nanoGPT's or llm.c's train.bin and val.bin, in the folder path",
      .options = MakeOwnOptions(TokenOptions(), TokenTable()),
      .load = &LoadTokenFiles};
}

}  // namespace kudari::lab
