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

#include "core/quoted.h"
#include "core/suggest.h"
#include "core/toml_table.h"
#include "kudari/batch_scaling.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/recipe.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/machine/memory_plan.h"
#include "lab/recipe/read_recipe.h"
#include "lab/recipe/recipe_lr.h"

namespace kudari::lab {

// Written by CMake from advice.toml.
extern const std::string_view kAdviceToml;

namespace {

using internal::NumberText;

// advice.toml, in which every error is a programmer's.
const toml::table& Data() {
  static const toml::table data = internal::ParseToml(kAdviceToml, "advice.toml");
  return data;
}

[[noreturn]] void Missing(const toml::table& table, std::string_view key) {
  throw Error(fmt::format("advice.toml:{}: {}: missing or of the wrong type",
                          table.source().begin.line, key));
}

const toml::table& TableAt(const toml::table& table, std::string_view key) {
  const toml::node* const node = table.get(key);
  if (node == nullptr || !node->is_table()) Missing(table, key);
  return *node->as_table();
}

const toml::array& ArrayAt(const toml::table& table, std::string_view key) {
  const toml::node* const node = table.get(key);
  if (node == nullptr || !node->is_array()) Missing(table, key);
  return *node->as_array();
}

std::string Text(const toml::table& table, std::string_view key) {
  const auto text = table[key].value<std::string>();
  if (!text) Missing(table, key);
  return *text;
}

std::string TextOr(const toml::table& table, std::string_view key, std::string_view other) {
  return table[key].value_or(std::string(other));
}

double Number(const toml::table& table, std::string_view key) {
  const auto number = table[key].value<double>();
  if (!number) Missing(table, key);
  return *number;
}

// Calls f(table) for each table of a list.
template <class F>
void ForTables(const toml::table& table, std::string_view key, const F& f) {
  for (const toml::node& node : ArrayAt(table, key)) {
    if (!node.is_table()) Missing(table, key);
    f(*node.as_table());
  }
}

bool Lists(const toml::table& table, std::string_view key, std::string_view name) {
  const toml::node* const node = table.get(key);
  if (node == nullptr) return true;
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
    throw Error(fmt::format("{} {}: {}; write it as {}", option, text, what, examples));
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
};

const toml::table& Question(std::string_view id) {
  const toml::table* found = nullptr;
  ForTables(Data(), "question", [&](const toml::table& q) {
    if (Text(q, "id") == id) found = &q;
  });
  if (found == nullptr) throw Error(fmt::format("advice.toml: no question \"{}\"", id));
  return *found;
}

std::vector<std::string> AnswerNames(const toml::table& question) {
  std::vector<std::string> names;
  ForTables(question, "answer", [&](const toml::table& a) {
    if (a.contains("is")) names.push_back(Text(a, "is"));
  });
  return names;
}

const toml::table& AnswerTo(const toml::table& question, const AdviseOptions& options,
                            bool& assumed) {
  const std::string by = Text(question, "by");
  const toml::table* found = nullptr;
  std::string wanted;
  if (by == "task") wanted = options.task;
  if (by == "priority") wanted = options.priority;
  if (by == "batch" && options.batch > 0) {
    ForTables(question, "answer", [&](const toml::table& a) {
      if (static_cast<double>(options.batch) >= Number(a, "from")) found = &a;
    });
    return *found;
  }
  assumed = wanted.empty();
  if (assumed) wanted = Text(question, "unknown");
  ForTables(question, "answer", [&](const toml::table& a) {
    if (TextOr(a, "is", TextOr(a, "name", "")) == wanted) found = &a;
  });
  if (found == nullptr) {
    throw UsageError(fmt::format("--{}: unknown {} \"{}\"{}", by, by, wanted,
                                 internal::Suggest(wanted, AnswerNames(question))));
  }
  return *found;
}

Walk WalkChart(const AdviseOptions& options) {
  Walk walk;
  for (std::string next = "task"; !next.empty();) {
    const toml::table& question = Question(next);
    bool assumed = false;
    const toml::table& answer = AnswerTo(question, options, assumed);
    walk.path.push_back({.question = Text(question, "ask"),
                         .answer = Text(answer, "says"),
                         .assumed = assumed,
                         .source = Text(question, "source"),
                         .note = TextOr(question, "note", "")});
    if (answer.contains("take")) {
      walk.setting = Text(answer, "take");
      constexpr std::string_view kTask = "$task";
      if (walk.setting.starts_with(kTask)) {
        walk.setting.replace(0, kTask.size(), options.task);
      }
    }
    if (answer.contains("change")) walk.change = Text(answer, "change");
    next = TextOr(answer, "next", "");
  }
  return walk;
}

// The setting's learning rate for that number of parameters.
double BaseLr(const toml::table& setting, std::optional<int64_t> params) {
  double lr = Number(setting, "lr");
  if (setting.contains("lr_by_params") && params) {
    bool found = false;
    ForTables(setting, "lr_by_params", [&](const toml::table& row) {
      if (found || static_cast<double>(*params) > Number(row, "to")) return;
      found = true;
      lr = Number(row, "lr");
    });
  }
  return lr;
}

// The same for that number of samples of a step.
double LearningRate(const toml::table& setting, double batch, double base) {
  if (!setting.contains("lr_batch")) return base;
  const toml::array& range = ArrayAt(setting, "lr_batch");
  const double nearest = std::clamp(batch, range[0].value_or(1.0), range[1].value_or(1.0));
  const double lr = ScaleLr(ParseBatchRule(Text(setting, "lr_scaling")), base, batch / nearest);
  return ThreeDigits(lr);
}

// A share of the run as a schedule has it, to a tenth of a percent.
std::string Share(double share) { return NumberText(std::round(share * 1000) / 10) + "%"; }

std::string LrText(const toml::table& setting, double lr) {
  const double warmup = Number(setting, "warmup");
  const std::string decay = Text(setting, "decay");
  std::string text = NumberText(lr);
  const std::string rise = warmup > 0 ? fmt::format("warmup({})", Share(warmup)) : "";
  if (decay == "none" || decay == "step") {
    if (!rise.empty()) text += " * " + rise;
    if (decay == "none") return text;
    const double every = Number(setting, "every");
    std::vector<std::string> drops;
    for (double at = every; at < 0.999; at += every) drops.push_back(Share(at));
    return text + fmt::format(" * multistep([{}], 0.1)", fmt::join(drops, ", "));
  }
  const std::string fall = fmt::format("{}(end, {})", decay, NumberText(Number(setting, "last")));
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
  return recipe;
}

// The draft on a rung of the memory ladder; nothing if the rung is not for its rule.
std::optional<Draft> OnRung(const toml::table& rung, const toml::table& setting,
                            const Draft& draft) {
  if (!Lists(rung, "rules", Text(draft.optimizer, "rule"))) return std::nullopt;
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
    lower.lr = ThreeDigits(draft.lr * Number(rung, "lr_factor"));
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
  ForTables(Data(), "rung", [&](const toml::table& rung) {
    if (index++ < first || (last && last->fits)) return;
    const std::optional<Draft> lower = OnRung(rung, setting, draft);
    if (!lower) return;
    if (last) advice.rungs_above.push_back(*last);
    advice.rung = Text(rung, "title");
    advice.recipe = ToRecipe(*lower);
    last = Prediction{.rung = advice.rung, .plan = {}, .available = available};
    if (params) last->plan = PlanFor(advice.recipe, *params);
    last->fits = available == 0 || last->plan.Total() <= available;
  });
  if (params) advice.prediction = std::move(last);
}

// The value of what a reason is about, in the recipe; "" for what has none.
std::string ValueOf(const std::string& what, const Recipe& recipe, const Advice& advice) {
  const OptimizerSpec& spec = recipe.optimizer;
  const auto option = [&spec](const std::string& name) {
    const auto at = spec.options.find(name);
    return at == spec.options.end() ? std::string("not an option of ") + spec.rule
                                    : at->second.Text();
  };
  if (what == "rule") return spec.rule;
  if (what == "betas") return option("beta1") + ", " + option("beta2");
  if (what == "schedule") return option("lr");
  if (what == "warm-up") {
    const auto steps = WarmupSteps(spec.options.at("lr").Resolve({.steps = advice.steps}));
    return steps ? fmt::format("{} steps of {}", *steps, advice.steps) : "none";
  }
  if (what == "clipping") return spec.clip_norm ? "clip_norm " + spec.clip_norm->Text() : "none";
  if (what == "batch") return std::to_string(recipe.train.batch_size);
  if (what == "epochs") return std::to_string(recipe.train.epochs);
  if (what == "lr") return spec.options.at("lr").Factors().front().Text();
  return option(what);
}

void AddChoices(const toml::table& setting, Advice& advice) {
  const std::string rule = Text(TableAt(setting, "optimizer"), "rule");
  ForTables(setting, "why", [&](const toml::table& why) {
    const std::string what = Text(why, "what");
    const bool replaced = what == "rule" && rule != advice.recipe.optimizer.rule;
    advice.choices.push_back(
        {.what = what,
         .value = ValueOf(what, advice.recipe, advice),
         .why = (replaced ? "to save memory, instead of " + rule + ": " : "") + Text(why, "text"),
         .source = Text(why, "source")});
  });
}

// `base_lr` is what the setting's range of learning rates is for.
void AddTuning(const toml::table& setting, double base_lr, Advice& advice) {
  ForTables(Data(), "tune", [&](const toml::table& tune) {
    if (!Lists(tune, "rules", advice.recipe.optimizer.rule)) return;
    std::string range = Text(tune, "range");
    if (range == "$lr_range") {
      const toml::array& lr = ArrayAt(setting, "lr_range");
      const Schedule& lr_now = advice.recipe.optimizer.options.at("lr");
      const double factor = lr_now.LeadingNumber().value_or(base_lr) / base_lr;
      const double low = lr[0].value_or(0.0), high = lr[1].value_or(0.0);
      // Where the batch or the rung moved the learning rate, its range moves, too.
      range = fmt::format("{:.2g} to {:.2g}", low * factor, high * factor);
    }
    advice.tuning.push_back({.what = Text(tune, "what"),
                             .range = std::move(range),
                             .why = Text(tune, "text"),
                             .source = Text(tune, "source")});
  });
}

std::string RungText(std::string_view title) {
  std::string text;
  ForTables(Data(), "rung", [&](const toml::table& rung) {
    if (Text(rung, "title") == title) text = Text(rung, "text") + " [" + Text(rung, "source") + "]";
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
    return Wrapped(
        "Unknown without --params. The recipe's storage: " +
            RungText(advice.recipe.optimizer.precision == Precision{} ? "float32" : "seven bytes"),
        2);
  }
  const Prediction& p = *advice.prediction;
  std::string text;
  if (p.available > 0) {
    const std::string taken = options.activations.empty()
                                  ? Text(TableAt(Data(), "memory"), "activations_text")
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
  text += Wrapped(
      fmt::format("If activations of {} samples do not fit: train.batch_size = {} with "
                  "optimizer.accumulate = 2 is the same step except for batch norm [advanced 6].",
                  advice.recipe.train.batch_size,
                  std::max<int64_t>(1, advice.recipe.train.batch_size / 2)),
      2);
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
                                 fmt::join(AnswerNames(Question("task")), ", ")));
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
    const int64_t activations = options.activations.empty()
                                    ? std::llround(static_cast<double>(memory) *
                                                   Number(TableAt(Data(), "memory"), "activations"))
                                    : ParseBytes("--activations", options.activations);
    available = memory - activations;
    if (available <= 0) {
      throw UsageError(fmt::format("--activations {} leaves nothing of --memory {}",
                                   options.activations, options.memory));
    }
  }

  const Walk walk = WalkChart(options);
  const toml::table& setting = TableAt(TableAt(Data(), "setting"), walk.setting);
  Advice advice;
  advice.title = Text(setting, "title");
  advice.path = walk.path;
  advice.setting = walk.setting;
  advice.nearest = Text(setting, "nearest");

  const toml::table& lab = TableAt(Data(), "lab");
  const int64_t batch = options.batch > 0 ? options.batch : std::llround(Number(setting, "batch"));
  const int64_t epochs =
      options.epochs > 0 ? options.epochs : std::llround(Number(setting, "epochs"));
  const int64_t trained = samples.value_or(std::llround(Number(lab, "samples")));
  advice.steps = (trained + batch - 1) / batch * epochs;

  Draft draft;
  draft.optimizer = TableAt(setting, "optimizer");
  draft.train = toml::table{{"batch_size", batch}, {"epochs", epochs}};
  draft.model = TableAt(setting, "model");
  draft.data = toml::table{{"name", Text(lab, "data")}};
  // The steps of the user's data, not of the lab's.
  if (samples) draft.train = toml::table{{"batch_size", batch}, {"steps", advice.steps}};
  const double base_lr = BaseLr(setting, params);
  draft.lr = LearningRate(setting, static_cast<double>(batch), base_lr);
  draft.lr_text = LrText(setting, draft.lr);
  size_t first_rung = 0;
  if (!walk.change.empty()) {
    const toml::table& change = TableAt(TableAt(Data(), "change"), walk.change);
    MergeAt(change, "optimizer", draft.optimizer);
    MergeAt(change, "train", draft.train);
    if (change.contains("ladder")) {
      first_rung = static_cast<size_t>(Number(change, "ladder"));
    }
    advice.notes.push_back(Text(change, "title") + ": " + Text(change, "text") + " [" +
                           Text(change, "source") + "]");
  }
  ChooseRung(setting, first_rung, params, available, draft, advice);
  AddChoices(setting, advice);
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
  return text + fmt::format("=> {}\n\n", advice.title);
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
          ? fmt::format("Its schedule follows the run, {} steps on the lab's own "
                        "data; give --samples for your data.",
                        advice.steps)
          : fmt::format("Its schedule follows the run, the {} steps that your {} samples take.",
                        advice.steps, options.samples),
      2);
  text += "\nSources\n";
  ForTables(Data(), "cited", [&](const toml::table& cited) {
    text += Wrapped(Text(cited, "name") + ": " + Text(cited, "is"), 2);
  });
  return text;
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
  json["recipe"] = ToToml(advice.recipe);
  return JsonText(json, 2) + "\n";
}

void Advise(const AdviseOptions& options, std::FILE* console) {
  const Advice advice = GiveAdvice(options);
  double bandwidth = 1;
  const bool measured = options.bandwidth.empty();
  if (!measured) {
    bandwidth = static_cast<double>(ParseBytes("--bandwidth", options.bandwidth));
  } else if (advice.prediction) {
    bandwidth =
        MeasureBandwidth(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  }
  if (options.explain) std::fputs(PathText(advice).c_str(), console);
  std::fputs(AdviceText(advice, options, bandwidth, measured).c_str(), console);
  if (!options.json.empty()) WriteOutput(options.json, AdviceJson(advice));
  if (!options.write.empty()) {
    WriteFileAtomically(options.write,
                        fmt::format("# {}. Written by kudari advise: {}.\n\n{}", advice.title,
                                    advice.nearest, ToToml(advice.recipe)));
    fmt::print(console, "\nwritten {}\n", internal::Printable(options.write.string()));
  }
}

std::vector<AdviseOptions> EveryPath() {
  std::vector<AdviseOptions> paths;
  for (const std::string& task : AnswerNames(Question("task"))) {
    std::vector<int64_t> batches = {0};
    std::vector<std::string> priorities = {""};
    std::string next;
    ForTables(Question("task"), "answer", [&](const toml::table& a) {
      if (Text(a, "is") == task) next = TextOr(a, "next", "");
    });
    while (!next.empty()) {
      const toml::table& question = Question(next);
      next.clear();
      ForTables(question, "answer", [&](const toml::table& a) {
        if (Text(question, "by") == "batch") batches.push_back(std::llround(Number(a, "from")));
        if (Text(question, "by") == "priority") priorities.push_back(Text(a, "is"));
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
