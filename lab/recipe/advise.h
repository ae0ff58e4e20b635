#ifndef KUDARI_LAB_RECIPE_ADVISE_H_
#define KUDARI_LAB_RECIPE_ADVISE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/optimizer.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// What `kudari advise` is asked for, as on the command line.
struct AdviseOptions {
  std::string task = {};
  int64_t batch = 0;             ///< samples of a step; 0: what suits the task
  std::string params = {};       ///< number of parameters, "124M"; empty: unknown
  std::string memory = {};       ///< for weights, gradients, state and activations, "16GiB"
  std::string activations = {};  ///< how much of it these take; empty: a share of it
  std::string samples = {};      ///< of the training data, "1.28M"; empty: the lab's own data
  int64_t epochs = 0;            ///< 0: what suits the task
  std::string priority = {};     ///< "accuracy", "memory" or "speed"; empty: none
  std::string bandwidth = {};    ///< bytes a second, "40GB"; empty: measured here
  bool explain = false;          ///< walk through the chart
  std::filesystem::path json =
      {};  ///< file for the advice as JSON, "-" for standard output; empty: none
  std::filesystem::path write = {};  ///< where the recipe goes; empty: nowhere
};

/// 124M or 1.3B as a number: k, M, B or G, and T for powers of a thousand. Throws Error naming
/// `option` for anything else and for less than 1.
int64_t ParseCount(std::string_view option, std::string_view text);

/// 16GiB, 80GB or 1048576 in bytes: B, kB, MB, GB, TB, and KiB, MiB, GiB, TiB for powers of 1024.
/// Throws Error naming `option` for anything else and for less than 1.
int64_t ParseBytes(std::string_view option, std::string_view text);

/// One question of the chart and its answer.
struct ChartStep {
  std::string question, answer;  ///< in words
  bool assumed = false;          ///< nothing was said
  std::string source, note;
};

/// One thing that the advice says.
struct Choice {
  std::string what, value, why, source;
};

/// What to tune, and in which range.
struct Tuning {
  std::string what, range, why, source;
};

/// What weights, gradients and state take, and how long a step of the optimiser is.
struct Prediction {
  std::string rung;       ///< name of the rung of the memory ladder
  MemoryPlan plan;        ///< of a model with that number of parameters
  int64_t available = 0;  ///< of the memory, activations taken off; 0: not asked
  bool fits = true;
};

/// The advice. Everything that it says comes from advice.toml.
struct Advice {
  std::string title;
  std::vector<ChartStep> path;
  std::vector<Choice> choices;
  std::vector<Tuning> tuning;
  std::string setting;  ///< its name in advice.toml
  std::string rung;     ///< of the memory ladder
  std::string nearest;  ///< what the recipe trains in place of the user's model
  std::vector<std::string> notes;
  std::optional<Prediction> prediction;  ///< if the number of parameters is known
  std::vector<Prediction> rungs_above;   ///< those that did not fit
  Recipe recipe;
  int64_t steps = 0;  ///< of the whole run
};

/// The advice for a request. Throws Error naming the option for unknown names, with the nearest
/// one, and for numbers that are none.
Advice GiveAdvice(const AdviseOptions& options);

/// The advice in words. `bandwidth` is in bytes a second; `measured`: here, by this program.
std::string AdviceText(const Advice& advice, const AdviseOptions& options, double bandwidth,
                       bool measured);

/// The advice as JSON, with the path through the chart and the recipe as text.
std::string AdviceJson(const Advice& advice);

/// The chart as it was walked.
std::string PathText(const Advice& advice);

/// Prints PathText if asked for, AdviceText, and writes the recipe. Throws Error for bad input,
/// before any file is touched.
void Advise(const AdviseOptions& options, std::FILE* console);

/// A request for every path through the chart, without memory.
std::vector<AdviseOptions> EveryPath();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_ADVISE_H_
