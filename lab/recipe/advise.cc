#include "lab/recipe/advise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <utility>

#include "kudari/batch_scaling.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/machine/memory_plan.h"
#include "lab/recipe/advice_chart.h"
#include "lab/recipe/advice_data.h"
#include "lab/recipe/read_recipe.h"
#include "lab/recipe/recipe_lr.h"

namespace kudari::lab {
namespace {

// Whether the list with that key has the name; without a list every name is meant.
bool Lists(const toml::table& table, std::string_view key, std::string_view name) {
  if (!table.contains(key)) return true;
  const toml::array& list = ArrayAt(table, key);
  return std::any_of(list.begin(), list.end(),
                     [name](const toml::node& n) { return n.value<std::string>() == name; });
}

// Replaces and adds keys.
void Merge(const toml::table& from, toml::table& into) {
  for (const auto& [key, value] : from) into.insert_or_assign(key, value);
}

void MergeAt(const toml::table& from, std::string_view key, toml::table& into) {
  if (from.contains(key)) Merge(TableAt(from, key), into);
}

struct Unit {
  std::string_view name;
  double factor;
};

// A number with one of the units, at least 1 in all.
int64_t ParseWithUnit(std::string_view option, std::string_view text, std::span<const Unit> units,
                      std::string_view examples) {
  const auto fail = [&](std::string_view what) {
    throw UsageError(fmt::format("{} {}: {}; write it as {}", option, text, what, examples));
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) fail("not a number");
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const auto known =
      std::find_if(units.begin(), units.end(), [unit](const Unit& u) { return u.name == unit; });
  if (known == units.end()) fail(fmt::format("unknown unit \"{}\"", unit));
  const double value = number * known->factor;
  constexpr double kMost = 9e18;
  if (!(value >= 1) || value > kMost) fail("outside [1, 9e18]");
  return std::llround(value);
}

// Where the chart led to.
struct Walk {
  std::vector<ChartStep> path;
  std::string setting, change;
  bool by_batch = false;  // it asked for the batch
};

const toml::table& AnswerTo(const toml::table& question, const AdviseOptions& options,
                            bool& assumed) {
  const std::string by = TextAt(question, "by");
  const toml::table* found = nullptr;
  std::string wanted;
  if (by == "task") wanted = options.task;
  if (by == "priority") wanted = options.priority;
  if (by == "batch" && options.batch > 0) {
    ForTables(question, "answer", [&](const toml::table& a) {
      if (static_cast<double>(options.batch) >= NumberAt(a, "from")) found = &a;
    });
    return *found;
  }
  assumed = wanted.empty();
  if (assumed) wanted = TextAt(question, "unknown");
  ForTables(question, "answer", [&](const toml::table& a) {
    if (TextOr(a, "is", TextOr(a, "name", "")) == wanted) found = &a;
  });
  if (found == nullptr) {
    throw UsageError(fmt::format("--{}: unknown {} \"{}\"{}", by, by, wanted,
                                 Suggest(wanted, AnswerNames(question))));
  }
  return *found;
}

Walk WalkChart(const AdviseOptions& options) {
  Walk walk;
  for (std::string next = "task"; !next.empty();) {
    const toml::table& question = ChartQuestion(next);
    bool assumed = false;
    const toml::table& answer = AnswerTo(question, options, assumed);
    walk.path.push_back({.question = TextAt(question, "ask"),
                         .answer = TextAt(answer, "says"),
                         .assumed = assumed,
                         .source = TextAt(question, "source"),
                         .note = TextOr(question, "note", "")});
    if (answer.contains("take")) walk.setting = SettingTaken(answer, options.task);
    if (answer.contains("change")) walk.change = TextAt(answer, "change");
    walk.by_batch = walk.by_batch || TextAt(question, "by") == "batch";
    next = TextOr(answer, "next", "");
  }
  return walk;
}

// The setting's learning rate for that number of parameters.
double BaseLr(const toml::table& setting, std::optional<int64_t> params) {
  double lr = NumberAt(setting, "lr");
  if (setting.contains("lr_by_params") && params) {
    bool found = false;
    ForTables(setting, "lr_by_params", [&](const toml::table& row) {
      if (found || static_cast<double>(*params) > NumberAt(row, "to")) return;
      found = true;
      lr = NumberAt(row, "lr");
    });
  }
  return lr;
}

// The same for that number of samples of a step.
double LearningRate(const toml::table& setting, double batch, double base) {
  const toml::array& range = ArrayAt(setting, "lr_batch");
  const double nearest = std::clamp(batch, range[0].value_or(1.0), range[1].value_or(1.0));
  const double followed = std::min(batch, setting["lr_until"].value_or(batch));
  const BatchRule rule = ParseBatchRule(TextAt(setting, "lr_scaling"));
  return ThreeDigits(ScaleLr(rule, base, followed / nearest));
}

// How long the warm-up of a run is, in whole steps.
int64_t WarmupOf(const toml::table& setting, int64_t steps) {
  return std::lround(NumberAt(setting, "warmup") * static_cast<double>(steps));
}

// A share of the run as a schedule has it, to a tenth of a percent.
std::string Share(double share) { return NumberText(std::round(share * 1000) / 10) + "%"; }

std::string LrText(const toml::table& setting, double lr) {
  const double warmup = NumberAt(setting, "warmup");
  const std::string decay = TextAt(setting, "decay");
  std::string text = NumberText(lr);
  const std::string rise = warmup > 0 ? fmt::format("warmup({})", Share(warmup)) : "";
  if (decay == "none" || decay == "step") {
    if (!rise.empty()) text += " * " + rise;
    if (decay == "none") return text;
    const double every = NumberAt(setting, "every");
    std::vector<std::string> drops;
    for (double at = every; at < 0.999; at += every) drops.push_back(Share(at));
    return text + fmt::format(" * multistep([{}], 0.1)", fmt::join(drops, ", "));
  }
  const std::string fall = fmt::format("{}(end, {})", decay, NumberText(NumberAt(setting, "last")));
  if (rise.empty()) return text + " * " + fall;
  return text + fmt::format(" * then({}, {}, {})", rise, Share(warmup), fall);
}

// The parts of a recipe, each a table.
struct Draft {
  toml::table optimizer, train, model, data;
  std::string lr_text;
  double lr = 0;
};

Recipe ToRecipe(const Draft& draft) {
  toml::table root;
  toml::table optimizer = draft.optimizer;
  optimizer.insert_or_assign("lr", draft.lr_text);
  root.insert_or_assign("model", draft.model);
  root.insert_or_assign("data", draft.data);
  root.insert_or_assign("train", draft.train);
  root.insert_or_assign("optimizer", optimizer);
  Recipe recipe = ReadRecipe(root, "advice");
  recipe.optimizer = Complete(recipe.optimizer);
  for (OptimizerSpec& spec : recipe.other_optimizers) spec = Complete(spec);
  return recipe;
}

// The draft on a rung of the memory ladder; nothing if the rung is not for its rule or its setting.
std::optional<Draft> OnRung(const toml::table& rung, const toml::table& setting,
                            const Draft& draft) {
  if (!Lists(rung, "rules", TextAt(draft.optimizer, "rule"))) return std::nullopt;
  if (!Lists(setting, "rungs", TextAt(rung, "title"))) return std::nullopt;
  Draft lower = draft;
  if (rung.contains("optimizer")) {
    // Only what is not the rule's own stays.
    lower.optimizer = TableAt(rung, "optimizer");
    for (const char* const key : {"no_decay", "source", "sharpness", "ema"}) {
      if (const toml::node* const node = draft.optimizer.get(key)) {
        lower.optimizer.insert_or_assign(key, *node);
      }
    }
  }
  if (rung.contains("lr_factor")) {
    lower.lr = ThreeDigits(draft.lr * NumberAt(rung, "lr_factor"));
    lower.lr_text = LrText(setting, lower.lr);
  }
  if (rung.contains("precision")) {
    lower.optimizer.insert_or_assign("precision", TableAt(rung, "precision"));
  }
  MergeAt(rung, "train", lower.train);
  return lower;
}

// The memory that a model with that number of parameters takes: square matrices, and a vector of
// what is left. Its memory is planned and never had: tensors lie one after the other at addresses
// that nothing reads. How long the run is does not matter to it.
MemoryPlan PlanFor(const Recipe& recipe, int64_t params) {
  constexpr int64_t kMatrices = 64;
  uintptr_t nowhere = 1 << 20;
  const DType type = recipe.train.weights == "f32"    ? DType::kFloat32
                     : recipe.train.weights == "bf16" ? DType::kBFloat16
                                                      : DType::kFloat16;
  const auto side =
      static_cast<int64_t>(std::sqrt(static_cast<double>(params) / static_cast<double>(kMatrices)));
  std::vector<Tensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.push_back({.name = name,
                       .shape = std::move(shape),
                       .dtype = type,
                       // NOLINTNEXTLINE(performance-no-int-to-ptr): it is no memory
                       .param = reinterpret_cast<void*>(nowhere)});
    tensors.back().grad = tensors.back().param;
    nowhere += static_cast<uintptr_t>(tensors.back().Size() * Bytes(type));
  };
  for (int64_t i = 0; side > 0 && i < kMatrices; ++i) {
    add(fmt::format("layer{}.weight", i), {side, side});
  }
  if (const int64_t rest = params - kMatrices * side * side; rest > 0) add("rest.bias", {rest});
  return Optimizer(std::move(tensors), Resolve(recipe.optimizer, {.steps = 1})).Memory();
}

// Steps down the ladder until it fits.
void ChooseRung(const toml::table& setting, size_t first, std::optional<int64_t> params,
                int64_t available, const Draft& draft, Advice& advice) {
  size_t index = 0;
  std::optional<Prediction> last;
  ForTables(AdviceData(), "rung", [&](const toml::table& rung) {
    if (index++ < first || (last && last->fits)) return;
    const std::optional<Draft> lower = OnRung(rung, setting, draft);
    if (!lower) return;
    if (last) advice.rungs_above.push_back(*last);
    advice.rung = TextAt(rung, "title");
    advice.recipe = ToRecipe(*lower);
    last = Prediction{.rung = advice.rung, .plan = {}, .available = available};
    if (params) last->plan = PlanFor(advice.recipe, *params);
    last->fits = available == 0 || last->plan.Total() <= available;
  });
  if (params) advice.prediction = std::move(last);
}

// The warm-up in steps, and what share of the run that is where rounding makes it another than the
// setting's.
std::string WarmupText(const toml::table& setting, int64_t steps) {
  constexpr double kNoticeable = 0.05;
  const double wanted = NumberAt(setting, "warmup");
  if (wanted == 0) return "none";
  const int64_t warmup = WarmupOf(setting, steps);
  const double share = static_cast<double>(warmup) / static_cast<double>(steps);
  if (std::abs(share / wanted - 1) < kNoticeable) {
    return fmt::format("{} of {}", Counted(warmup, "step"), steps);
  }
  const std::string length = fmt::format("{:g} % of {}", 100 * wanted, Counted(steps, "step"));
  if (warmup == 0) return fmt::format("none: {} is less than half a step", length);
  return fmt::format("{}: {}, rounded to whole steps", Counted(warmup, "step"), length);
}

// The value of what a reason is about, in the recipe; "" for what has none.
std::string ValueOf(const std::string& what, const toml::table& setting, const Recipe& recipe,
                    const Advice& advice) {
  const OptimizerSpec& spec = recipe.optimizer;
  const auto option = [&spec](const std::string& name) {
    const auto at = spec.options.find(name);
    return at == spec.options.end() ? std::string("not an option of ") + spec.rule
                                    : at->second.Text();
  };
  if (what == "rule") return spec.rule;
  if (what == "betas") return option("beta1") + ", " + option("beta2");
  if (what == "schedule") return option("lr");
  if (what == "warm-up") return WarmupText(setting, advice.steps);
  if (what == "clipping") return spec.clip_norm ? "clip_norm " + spec.clip_norm->Text() : "none";
  if (what == "batch") return std::to_string(recipe.train.batch_size);
  if (what == "epochs") return std::to_string(advice.epochs);
  if (what == "lr") return spec.options.at("lr").Factors().front().Text();
  return option(what);
}

void AddChoices(const toml::table& setting, Advice& advice) {
  const std::string rule = TextAt(TableAt(setting, "optimizer"), "rule");
  ForTables(setting, "why", [&](const toml::table& why) {
    const std::string what = TextAt(why, "what");
    const bool replaced = what == "rule" && rule != advice.recipe.optimizer.rule;
    advice.choices.push_back(
        {.what = what,
         .value = ValueOf(what, setting, advice.recipe, advice),
         .why = (replaced ? "to save memory, instead of " + rule + ": " : "") + TextAt(why, "text"),
         .source = TextAt(why, "source")});
  });
}

// `base_lr` is what the setting's range of learning rates is for.
void AddTuning(const toml::table& setting, double base_lr, Advice& advice) {
  ForTables(AdviceData(), "tune", [&](const toml::table& tune) {
    if (!Lists(tune, "rules", advice.recipe.optimizer.rule)) return;
    std::string range = TextAt(tune, "range");
    if (range == "$lr_range") {
      const toml::array& lr = ArrayAt(setting, "lr_range");
      const Schedule& lr_now = advice.recipe.optimizer.options.at("lr");
      const double factor = lr_now.LeadingNumber().value_or(base_lr) / base_lr;
      const double low = lr[0].value_or(0.0), high = lr[1].value_or(0.0);
      // Where the batch or the rung moved the learning rate, its range moves, too.
      range = fmt::format("{:.2g} to {:.2g}", low * factor, high * factor);
    }
    advice.tuning.push_back({.what = TextAt(tune, "what"),
                             .range = std::move(range),
                             .why = TextAt(tune, "text"),
                             .source = TextAt(tune, "source")});
  });
}

std::string RungText(std::string_view title) {
  std::string text;
  ForTables(AdviceData(), "rung", [&](const toml::table& rung) {
    if (TextAt(rung, "title") == title)
      text = TextAt(rung, "text") + " [" + TextAt(rung, "source") + "]";
  });
  return text;
}

std::string BytesText(const Prediction& p) {
  int64_t elements = 0;
  for (const TensorBytes& t : p.plan.tensors) elements += t.elements;
  const auto total = static_cast<double>(p.plan.Total());
  return fmt::format("{} ({:.2f} bytes per parameter)", SizeText(total),
                     total / static_cast<double>(elements));
}

std::string MemoryText(const Advice& advice, const AdviseOptions& options) {
  if (!advice.prediction) {
    return Wrapped("Unknown without --params. The recipe's storage: " + RungText(advice.rung), 2);
  }
  const Prediction& p = *advice.prediction;
  std::string text;
  if (p.available > 0) {
    const std::string taken = options.activations.empty()
                                  ? TextAt(TableAt(AdviceData(), "memory"), "activations_text")
                                  : "activations take " + options.activations + " of it";
    text += Wrapped(fmt::format("Of {}, {} are for weights, gradients and state: {}.",
                                options.memory, SizeText(static_cast<double>(p.available)), taken),
                    2);
  }
  for (const Prediction& above : advice.rungs_above) {
    text += Wrapped(fmt::format("{}: {}, too much.", above.rung, BytesText(above)), 2);
  }
  text += Wrapped(fmt::format("{}: {}{}.", p.rung, BytesText(p),
                              p.available == 0 ? "" : (p.fits ? ", fits" : ", too much as well")),
                  2);
  text += Wrapped(RungText(p.rung), 4);
  if (!p.fits) {
    int64_t gradients = 0;
    for (const TensorBytes& t : p.plan.tensors) gradients += t.gradient;
    text += Wrapped(
        fmt::format("Nothing on the ladder fits. Releasing gradients during backward "
                    "(kudari/torch_release.h) saves up to {}, but excludes clipping by norm; "
                    "beyond that use a smaller model, low-rank adapters or more machines.",
                    SizeText(static_cast<double>(gradients))),
        2);
  }
  const int64_t batch = advice.recipe.train.batch_size;
  if (batch % 2 == 0) {
    text += Wrapped(
        fmt::format("If activations of {} samples do not fit: train.batch_size = {} with "
                    "optimizer.accumulate = 2 is the same step except for batch norm [advanced 6].",
                    batch, batch / 2),
        2);
  }
  return text;
}

}  // namespace

int64_t ParseCount(std::string_view option, std::string_view text) {
  static constexpr std::array<Unit, 7> kUnits = {
      {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"B", 1e9}, {"G", 1e9}, {"T", 1e12}}};
  return ParseWithUnit(option, text, kUnits, "124M, 1.3B or 85000");
}

int64_t ParseBytes(std::string_view option, std::string_view text) {
  static constexpr std::array<Unit, 12> kUnits = {{{"", 1},
                                                   {"B", 1},
                                                   {"kB", 1e3},
                                                   {"KB", 1e3},
                                                   {"MB", 1e6},
                                                   {"GB", 1e9},
                                                   {"TB", 1e12},
                                                   {"KiB", 0x1p10},
                                                   {"kiB", 0x1p10},
                                                   {"MiB", 0x1p20},
                                                   {"GiB", 0x1p30},
                                                   {"TiB", 0x1p40}}};
  return ParseWithUnit(option, text, kUnits, "16GiB, 80GB or a number of bytes");
}

Advice GiveAdvice(const AdviseOptions& options) {
  if (options.task.empty()) {
    throw UsageError(fmt::format("--task is missing; give one of {}",
                                 fmt::join(AnswerNames(ChartQuestion("task")), ", ")));
  }
  if (options.batch < 0) {
    throw UsageError(fmt::format("--batch = {} is outside [1, ...]", options.batch));
  }
  if (options.epochs < 0) {
    throw UsageError(fmt::format("--epochs = {} is outside [1, ...]", options.epochs));
  }
  std::optional<int64_t> params, samples;
  if (!options.params.empty()) params = ParseCount("--params", options.params);
  if (!options.samples.empty()) samples = ParseCount("--samples", options.samples);
  if (!options.memory.empty() && !params) throw UsageError("--memory also needs --params");
  if (!options.activations.empty() && options.memory.empty()) {
    throw UsageError("--activations also needs --memory");
  }
  int64_t available = 0;
  if (!options.memory.empty()) {
    const int64_t memory = ParseBytes("--memory", options.memory);
    const int64_t activations =
        options.activations.empty()
            ? std::llround(static_cast<double>(memory) *
                           NumberAt(TableAt(AdviceData(), "memory"), "activations"))
            : ParseBytes("--activations", options.activations);
    available = memory - activations;
    if (available <= 0) {
      throw UsageError(fmt::format("--activations {} leaves nothing of --memory {}",
                                   options.activations, options.memory));
    }
  }

  const Walk walk = WalkChart(options);
  const toml::table& setting = TableAt(TableAt(AdviceData(), "setting"), walk.setting);
  Advice advice;
  advice.title = TextAt(setting, "title");
  advice.path = walk.path;
  advice.setting = walk.setting;
  advice.nearest = TextAt(setting, "nearest");

  const toml::table& lab = TableAt(AdviceData(), "lab");
  const int64_t batch =
      options.batch > 0 ? options.batch : std::llround(NumberAt(setting, "batch"));
  const int64_t epochs =
      options.epochs > 0 ? options.epochs : std::llround(NumberAt(setting, "epochs"));
  const bool own_data = setting.contains("data");
  const int64_t trained =
      samples.value_or(std::llround(NumberAt(own_data ? setting : lab, "samples")));
  advice.epochs = epochs;
  advice.steps = (trained + batch - 1) / batch * epochs;

  Draft draft;
  draft.optimizer = TableAt(setting, "optimizer");
  draft.train = toml::table{{"batch_size", batch}, {"epochs", epochs}};
  draft.model = TableAt(setting, "model");
  draft.data = own_data ? TableAt(setting, "data") : toml::table{{"name", TextAt(lab, "data")}};
  // The steps of the user's data, not of the lab's, and of a setting's samples, which need not be
  // an epoch of its data.
  if (samples || own_data) {
    draft.train = toml::table{{"batch_size", batch}, {"steps", advice.steps}};
  }
  MergeAt(setting, "train", draft.train);
  const double base_lr = BaseLr(setting, params);
  draft.lr = LearningRate(setting, static_cast<double>(batch), base_lr);
  draft.lr_text = LrText(setting, draft.lr);
  size_t first_rung = 0;
  if (!walk.change.empty()) {
    const toml::table& change = TableAt(TableAt(AdviceData(), "change"), walk.change);
    MergeAt(change, "optimizer", draft.optimizer);
    MergeAt(change, "train", draft.train);
    MergeAt(change, "data", draft.data);
    if (change.contains("ladder")) {
      first_rung = static_cast<size_t>(NumberAt(change, "ladder"));
    }
    advice.notes.push_back(TextAt(change, "title") + ": " + TextAt(change, "text") + " [" +
                           TextAt(change, "source") + "]");
  }
  ChooseRung(setting, first_rung, params, available, draft, advice);
  AddChoices(setting, advice);
  if (const toml::table& large = TableAt(AdviceData(), "large");
      !walk.by_batch && static_cast<double>(batch) >= NumberAt(large, "from")) {
    advice.choices.push_back({.what = "large batch",
                              .value = Counted(batch, "sample"),
                              .why = TextAt(large, "text"),
                              .source = TextAt(large, "source")});
  }
  AddTuning(setting, base_lr, advice);
  return advice;
}

std::string PathText(const Advice& advice) {
  std::string text;
  int number = 0;
  for (const ChartStep& step : advice.path) {
    text += fmt::format("{}. {} -> {}{} [{}]\n", ++number, step.question, step.answer,
                        step.assumed ? " (not given)" : "", step.source);
    if (!step.note.empty()) text += Wrapped(step.note, 3);
  }
  return text + fmt::format("=> {}\n", advice.title);
}

std::string AdviceText(const Advice& advice, const AdviseOptions& options, double bandwidth,
                       bool measured) {
  std::string text = advice.title + "\n\n";
  for (const Choice& c : advice.choices) {
    text += fmt::format("{:<13} {}\n", c.what, c.value) + Wrapped(c.why + " [" + c.source + "]", 4);
  }
  const TrainConfig& train = advice.recipe.train;
  text += fmt::format("{:<13} computing in {}, weights in {}\n", "precision", train.precision,
                      train.weights);
  for (const std::string& note : advice.notes) text += Wrapped(note, 4);

  text += "\nMemory, without activations\n" + MemoryText(advice, options);
  if (advice.prediction) {
    const MemoryPlan& plan = advice.prediction->plan;
    const auto moved = static_cast<double>(plan.bytes_read + plan.bytes_written);
    text += Wrapped(
        fmt::format(
            "An optimiser step moves {}, which takes at least {:.3g} ms at {:.3g} GB/s, {}.",
            SizeText(moved), 1e3 * moved / bandwidth, bandwidth / 1e9,
            measured ? "as measured here" : "as given"),
        2);
  }

  text += "\nWhat to tune, in this order\n";
  int number = 0;
  for (const Tuning& t : advice.tuning) {
    text += fmt::format("  {}. {}: {}\n", ++number, t.what, t.range) +
            Wrapped(t.why + " [" + t.source + "]", 5);
  }
  text += "\nThe recipe\n" + Wrapped(advice.nearest + ".", 2);
  text += Wrapped(
      options.samples.empty()
          ? fmt::format(
                "Its schedule follows the run, {} on the lab's own data; give --samples for "
                "your data.",
                Counted(advice.steps, "step"))
          : fmt::format("Its schedule follows the run, the {} that your {} samples make.",
                        Counted(advice.steps, "step"), options.samples),
      2);
  return text + "\n" + CitedText();
}

std::string AdviceJson(const Advice& advice) {
  using Json = nlohmann::ordered_json;
  Json json = {{"title", advice.title},    {"path", Json::array()}, {"choices", Json::array()},
               {"tuning", Json::array()},  {"notes", advice.notes}, {"steps", advice.steps},
               {"nearest", advice.nearest}};
  for (const ChartStep& s : advice.path) {
    json["path"].push_back({{"question", s.question},
                            {"answer", s.answer},
                            {"assumed", s.assumed},
                            {"source", s.source}});
  }
  for (const Choice& c : advice.choices) {
    json["choices"].push_back(
        {{"what", c.what}, {"value", c.value}, {"why", c.why}, {"source", c.source}});
  }
  for (const Tuning& t : advice.tuning) {
    json["tuning"].push_back(
        {{"what", t.what}, {"range", t.range}, {"why", t.why}, {"source", t.source}});
  }
  if (advice.prediction) {
    const MemoryPlan& plan = advice.prediction->plan;
    json["memory"] = {{"rung", advice.prediction->rung},
                      {"total_bytes", plan.Total()},
                      {"available_bytes", advice.prediction->available},
                      {"fits", advice.prediction->fits},
                      {"bytes_per_step", plan.bytes_read + plan.bytes_written}};
  }
  ForTables(AdviceData(), "cited", [&json](const toml::table& cited) {
    json["sources"][TextAt(cited, "name")] = TextAt(cited, "is");
  });
  json["recipe"] = ToToml(advice.recipe);
  return JsonText(json, 2) + "\n";
}

void Advise(const AdviseOptions& options, std::FILE* console) {
  std::vector<std::string> pages;
  if (options.chart) pages.push_back(ChartText());
  if (options.table) pages.push_back(QuickReference());
  if (!pages.empty() && options.task.empty() && options.json.empty() && options.write.empty()) {
    fmt::print(console, "{}", fmt::join(pages, "\n"));
    return;
  }
  const Advice advice = GiveAdvice(options);
  double bandwidth = 1;
  const bool measured = options.bandwidth.empty();
  if (!measured) {
    bandwidth = static_cast<double>(ParseBytes("--bandwidth", options.bandwidth));
  } else if (advice.prediction) {
    bandwidth =
        MeasureBandwidth(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  }
  if (options.explain) pages.push_back(PathText(advice));
  for (const std::string& page : pages) fmt::print(console, "{}\n", page);
  std::fputs(AdviceText(advice, options, bandwidth, measured).c_str(), console);
  if (!options.json.empty()) WriteOutput(options.json, AdviceJson(advice));
  if (!options.write.empty()) {
    WriteFileAtomically(options.write,
                        fmt::format("# {}. Written by kudari advise: {}.\n\n{}", advice.title,
                                    advice.nearest, ToToml(advice.recipe)));
    fmt::print(console, "\nwritten {}\n", Printable(options.write.string()));
  }
}

std::vector<AdviseOptions> EveryPath() {
  std::vector<AdviseOptions> paths;
  for (const std::string& task : AnswerNames(ChartQuestion("task"))) {
    std::vector<int64_t> batches = {0};
    std::vector<std::string> priorities = {""};
    std::string next;
    ForTables(ChartQuestion("task"), "answer", [&](const toml::table& a) {
      if (TextAt(a, "is") == task) next = TextOr(a, "next", "");
    });
    while (!next.empty()) {
      const toml::table& question = ChartQuestion(next);
      next.clear();
      ForTables(question, "answer", [&](const toml::table& a) {
        if (TextAt(question, "by") == "batch") batches.push_back(std::llround(NumberAt(a, "from")));
        if (TextAt(question, "by") == "priority") priorities.push_back(TextAt(a, "is"));
        next = TextOr(a, "next", next);
      });
    }
    for (const int64_t batch : batches) {
      for (const std::string& priority : priorities) {
        paths.push_back({.task = task, .batch = batch, .priority = priority});
      }
    }
  }
  return paths;
}

}  // namespace kudari::lab
