#include "lab/verbs/generate.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/quoted.h"
#include "kudari/error.h"
#include "kudari/range.h"
#include "lab/console/usage_error.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/data_card.h"
#include "lab/train/weights.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

void CheckOptions(const GenerateOptions& options) {
  constexpr int64_t kMostTokens = 1'000'000;
  const auto check = [](const char* name, double value, double low, double high) {
    if (value >= low && value <= high) return;
    throw UsageError(fmt::format("{} {:g}: is outside [{:g}, {:g}]", name, value, low, high));
  };
  check("--tokens", static_cast<double>(options.tokens), 1, static_cast<double>(kMostTokens));
  check("--temperature", options.temperature, 0, 100);
  check("--top-k", static_cast<double>(options.top_k), 0, 1e9);
}

// The tokens of a text: at each place the longest symbol that is there.
std::vector<int64_t> Encode(std::string_view text, const std::vector<std::string>& symbols) {
  std::vector<int64_t> tokens;
  while (!text.empty()) {
    size_t longest = 0;
    int64_t token = 0;
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i].size() <= longest || !text.starts_with(symbols[i])) continue;
      longest = symbols[i].size();
      token = static_cast<int64_t>(i);
    }
    if (longest == 0) {
      throw UsageError(fmt::format("--prompt: the run's data has no token for {}",
                                   internal::Quoted(text.substr(0, 4))));
    }
    tokens.push_back(token);
    text.remove_prefix(longest);
  }
  return tokens;
}

// The next token by its logits, [vocabulary].
int64_t Draw(Tensor logits, const GenerateOptions& options, const at::Generator& random) {
  if (options.temperature == 0) return logits.argmax().item<int64_t>();
  logits = logits / options.temperature;
  if (options.top_k > 0 && options.top_k < logits.size(0)) {
    const Tensor least = std::get<0>(logits.topk(options.top_k)).min();
    logits = logits.masked_fill(logits < least, -INFINITY);
  }
  return logits.softmax(0).multinomial(1, true, random).item<int64_t>();
}

// A token as it is shown: control characters are escaped. A token need not be a whole character.
std::string Shown(const std::string& symbol) {
  const auto control = [](char c) { return static_cast<uint8_t>(c) < ' ' || c == '\x7f'; };
  return std::ranges::any_of(symbol, control) ? internal::Printable(symbol) : symbol;
}

void Write(std::string_view text, std::FILE* output) {
  const bool failed = std::fwrite(text.data(), 1, text.size(), output) != text.size();
  if (failed || std::fflush(output) != 0) {
    throw Error("standard output: " + std::generic_category().message(errno));
  }
}

}  // namespace

void Generate(const GenerateOptions& options, std::FILE* output) {
  CheckOptions(options);
  const std::filesystem::path weights = options.run / "model.safetensors";
  const Recipe recipe = ReadTrainRecipe(options.run / "recipe.toml");
  const DataCard card = ReadCard(weights);
  if (!card.shape.next_token) {
    throw Error(fmt::format("{}: is no run of a language model: its data is {}",
                            options.run.string(), card.name));
  }
  if (card.symbols.empty()) {
    throw Error(fmt::format("{}: the tokens of its data, {}, have no known texts",
                            options.run.string(), card.name));
  }
  std::vector<int64_t> tokens =
      Encode(options.prompt.empty() ? card.symbols.front() : options.prompt, card.symbols);
  const std::shared_ptr<Model> model = MakeModel(recipe.model, card.shape);
  LoadWeights(*model, weights);
  model->eval();
  const ::torch::NoGradGuard no_grad;
  const at::Generator random = at::detail::createCPUGenerator(options.seed);
  Write(options.prompt, output);
  const int64_t context = card.shape.sample.at(0);
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t seen = std::min(context, static_cast<int64_t>(tokens.size()));
    const Tensor x = ::torch::tensor(at::ArrayRef<int64_t>(tokens)).slice(0, -seen).unsqueeze(0);
    const Tensor logits = model->forward(x).select(1, seen - 1).squeeze(0).to(at::kFloat);
    tokens.push_back(Draw(logits, options, random));
    Write(Shown(card.symbols[static_cast<size_t>(tokens.back())]), output);
  }
  Write("\n", output);
}

}  // namespace kudari::lab
