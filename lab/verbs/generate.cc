#include "lab/verbs/generate.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/models/parts/generator.h"
#include "lab/train/sample_pictures.h"
#include "lab/train/trained_model.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

// The value of an option, or what it is unless it is given.
template <class T>
T ValueOf(const char* name, const std::optional<T>& given, T usual, T low, T high) {
  const T value = given.value_or(usual);
  if (value >= low && value <= high) return value;
  throw UsageError(fmt::format("{} {:g}: is outside [{:g}, {:g}]", name, static_cast<double>(value),
                               static_cast<double>(low), static_cast<double>(high)));
}

// Options for another kind of model than the run's.
void CheckUnused(const GenerateOptions& options, bool images) {
  const std::pair<const char*, bool> text[] = {{"--prompt", options.prompt.has_value()},
                                               {"--tokens", options.tokens.has_value()},
                                               {"--temperature", options.temperature.has_value()},
                                               {"--top-k", options.top_k.has_value()}};
  const std::pair<const char*, bool> picture[] = {{"--count", options.count.has_value()},
                                                  {"--out", !options.out.empty()}};
  for (const auto& [name, given] : images
                                       ? std::span<const std::pair<const char*, bool>>(text)
                                       : std::span<const std::pair<const char*, bool>>(picture)) {
    if (!given) continue;
    throw UsageError(fmt::format("{} is for models that {}, and {} has one that {}", name,
                                 images ? "write texts" : "make images", options.run.string(),
                                 images ? "makes images" : "writes texts"));
  }
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
      throw UsageError(
          fmt::format("--prompt: the run's data has no token for {}", Quoted(text.substr(0, 4))));
    }
    tokens.push_back(token);
    text.remove_prefix(longest);
  }
  return tokens;
}

// The next token by its logits, [vocabulary].
int64_t Draw(Tensor logits, double temperature, int64_t top_k, const at::Generator& random) {
  if (temperature == 0) return logits.argmax().item<int64_t>();
  logits = logits / temperature;
  if (top_k > 0 && top_k < logits.size(0)) {
    const Tensor least = std::get<0>(logits.topk(top_k)).min();
    logits = logits.masked_fill(logits < least, -INFINITY);
  }
  return logits.softmax(0).multinomial(1, true, random).item<int64_t>();
}

// A token as it is shown: control characters are escaped. A token need not be a whole character.
std::string Shown(const std::string& symbol) {
  const auto control = [](char c) { return static_cast<uint8_t>(c) < ' ' || c == '\x7f'; };
  return std::ranges::any_of(symbol, control) ? Printable(symbol) : symbol;
}

void Write(std::string_view text, std::FILE* output) {
  const bool failed = std::fwrite(text.data(), 1, text.size(), output) != text.size();
  if (failed || std::fflush(output) != 0) {
    throw Error("standard output: " + std::generic_category().message(errno));
  }
}

void GenerateText(const TrainedModel& run, const GenerateOptions& options, std::FILE* output) {
  constexpr int64_t kMostTokens = 1'000'000, kMostOfThem = 1'000'000'000;
  CheckUnused(options, false);
  const int64_t wanted = ValueOf<int64_t>("--tokens", options.tokens, 500, 1, kMostTokens);
  const double temperature = ValueOf<double>("--temperature", options.temperature, 1, 0, 100);
  const int64_t top_k = ValueOf<int64_t>("--top-k", options.top_k, 0, 0, kMostOfThem);
  const DataCard& card = run.card;
  if (card.symbols.empty()) {
    throw Error(fmt::format("{}: the tokens of its data, {}, have no known texts",
                            options.run.string(), card.name));
  }
  const std::string prompt = options.prompt.value_or("");
  std::vector<int64_t> tokens =
      Encode(prompt.empty() ? card.symbols.front() : prompt, card.symbols);
  const at::Generator random = at::detail::createCPUGenerator(static_cast<uint64_t>(options.seed));
  Write(prompt, output);
  const int64_t context = card.shape.sample.at(0);
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t seen = std::min(context, static_cast<int64_t>(tokens.size()));
    const Tensor x = ::torch::tensor(at::ArrayRef<int64_t>(tokens)).slice(0, -seen).unsqueeze(0);
    const Tensor logits = run.model->forward(x).select(1, seen - 1).squeeze(0).to(at::kFloat);
    tokens.push_back(Draw(logits, temperature, top_k, random));
    Write(Shown(card.symbols[static_cast<size_t>(tokens.back())]), output);
  }
  Write("\n", output);
}

void GenerateImages(const TrainedModel& run, Generator& generator, const GenerateOptions& options,
                    std::FILE* output) {
  constexpr int64_t kMostImages = 10'000;
  CheckUnused(options, true);
  const int64_t count = ValueOf<int64_t>("--count", options.count, kSampleCount, 1, kMostImages);
  if (!run.card.input.Known()) {
    throw Error(fmt::format("{}: makes samples of {}, which are no images with a known white",
                            options.run.string(), run.card.name));
  }
  if (options.out.extension() != ".png") {
    throw UsageError(
        options.out.empty()
            ? "--out is missing: the PNG to write, NAME.png"
            : fmt::format("--out {}: must be the name of a PNG, NAME.png", options.out.string()));
  }
  WriteOutput(options.out,
              SampleGrid(generator, run.card.input, count, static_cast<uint64_t>(options.seed)));
  fmt::print(output, "written {}, {}\n", Printable(options.out.string()), Counted(count, "image"));
}

}  // namespace

void Generate(const GenerateOptions& options, std::FILE* output) {
  if (options.seed < 0) {
    throw UsageError(fmt::format("--seed {}: is outside [0, ...]", options.seed));
  }
  const TrainedModel run = LoadRun(options.run);
  const ::torch::NoGradGuard no_grad;
  if (run.card.shape.next_token) return GenerateText(run, options, output);
  if (auto* const generator = dynamic_cast<Generator*>(run.model.get())) {
    return GenerateImages(run, *generator, options, output);
  }
  throw Error(fmt::format(
      "{}: is no run of a language model or of one that makes images: \"{}\" was trained on {}",
      options.run.string(), run.recipe.model.name(), run.card.name));
}

}  // namespace kudari::lab
