#include "lab/recipe/train_recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>
#include <variant>

#include "core/option_table.h"
#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/console/duration.h"
#include "lab/console/usage_error.h"
#include "lab/files/text_file.h"
#include "lab/recipe/read_recipe.h"
#include "lab/recipe/recipe_changes.h"
#include "lab/recipe/score.h"

namespace kudari::lab {
namespace {

using internal::OptionTable;
using internal::TableOf;
using internal::TableReader;

constexpr int64_t kMany = 1'000'000'000;
constexpr int64_t kDefaultEpochs = 10;
constexpr double kLeastScale = 1e-3, kMostRatio = 100, kMostAlpha = 1000;
constexpr std::string_view kDefaultModel = "vit", kDefaultData = "digits";

const OptionTable<DataConfig>& DataOptions() {
  using D = DataConfig;
  static const OptionTable<D> options = {
      {.name = "path",
       .member = &D::path,
       .doc = "file or folder of the data; empty: where `make setup` puts it"},
      {.name = "validation",
       .member = &D::validation,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the data held out for validation"},
      {.name = "samples",
       .member = &D::samples,
       .least = 0,
       .most = kMany,
       .doc = "number of training samples to use, drawn with the seed; 0: all"},
      {.name = "label_noise",
       .member = &D::label_noise,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the training labels replaced by another class, drawn uniformly; validation "
              "and test labels stay as they are"},
  };
  return options;
}

const OptionTable<ResizedCropConfig>& ResizedCropOptions() {
  using R = ResizedCropConfig;
  static const OptionTable<R> options = {
      {.name = "min_scale",
       .member = &R::min_scale,
       .low = kLeastScale,
       .high = 1,
       .doc = "least share of the image; 1: no resized crop"},
      {.name = "max_scale",
       .member = &R::max_scale,
       .low = kLeastScale,
       .high = 1,
       .doc = "greatest share of the image"},
      {.name = "min_ratio",
       .member = &R::min_ratio,
       .low = 1 / kMostRatio,
       .high = kMostRatio,
       .doc = "least ratio of width to height"},
      {.name = "max_ratio",
       .member = &R::max_ratio,
       .low = 1 / kMostRatio,
       .high = kMostRatio,
       .doc = "greatest ratio of width to height"},
  };
  return options;
}

const OptionTable<RandAugmentConfig>& RandAugmentOptions() {
  using R = RandAugmentConfig;
  static const OptionTable<R> options = {
      {.name = "n",
       .member = &R::n,
       .least = 0,
       .most = 16,
       .doc = "number of operations, drawn from 14; 0: none"},
      {.name = "magnitude",
       .member = &R::magnitude,
       .least = 0,
       .most = 30,
       .doc = "strength of the operations"},
  };
  return options;
}

const OptionTable<AugmentConfig>& AugmentOptions() {
  using A = AugmentConfig;
  static const OptionTable<A> options = {
      {.name = "flip",
       .member = &A::flip,
       .low = 0,
       .high = 1,
       .doc = "probability of mirroring an image from left to right"},
      {.name = "crop",
       .member = &A::crop,
       .least = 0,
       .most = kMany,
       .doc = "number of black pixels added at each side before a random crop to the old size; 0: "
              "no crop"},
      {.name = "resized_crop",
       .member = TableOf<&A::resized_crop, &ResizedCropOptions>(),
       .range = "table of min_scale, max_scale in [0.001, 1] and min_ratio, max_ratio in [0.01, "
                "100]",
       .doc = "ranges of a random box, as shares of the image's area and as width by height, that "
              "is enlarged to the whole image, bilinearly; min_scale = 1: none"},
      {.name = "randaugment",
       .member = TableOf<&A::randaugment, &RandAugmentOptions>(),
       .range = "table of n in [0, 16] and magnitude in [0, 30]",
       .doc = "RandAugment: number of operations per image, drawn from 14, and their strength; n = "
              "0: none"},
      {.name = "cutout",
       .member = &A::cutout,
       .least = 0,
       .most = kMany,
       .doc = "side of a square, in pixels, around a random pixel, that is set to the mean colour; "
              "0: none"},
      {.name = "random_erasing",
       .member = &A::random_erasing,
       .low = 0,
       .high = 1,
       .doc = "probability of setting a random rectangle of 2 % to 33 % of an image to the mean "
              "colour"},
      {.name = "mixup",
       .member = &A::mixup,
       .low = 0,
       .high = kMostAlpha,
       .doc = "alpha of the beta distribution that shares for mixing samples and labels of a batch "
              "are drawn from; 0: no Mixup"},
      {.name = "cutmix",
       .member = &A::cutmix,
       .low = 0,
       .high = kMostAlpha,
       .doc = "the same for exchanging a box of the images; with mixup, each batch is mixed in one "
              "of the two ways, with equal probability; 0: no CutMix"},
  };
  return options;
}

std::vector<std::string> LossNames() {
  std::vector<std::string> names = LabRegistry::Builtin().losses.Names();
  names.insert(names.begin(), "auto");
  return names;
}

std::vector<std::string> MonitorNames() {
  std::vector<std::string> names = {"auto"};
  for (const Metric& metric : kMetrics) names.emplace_back(metric.name);
  return names;
}

void ReadSaveEvery(TableReader& reader, std::string_view key, TrainConfig& config) {
  if (!reader.HasText(key)) {
    if (const auto steps = reader.Integer(key, 0, kMany)) config.save_every = {.steps = *steps};
    return;
  }
  const std::string text = *reader.String(key);
  const std::optional<double> seconds = ParseDuration(text);
  if (!seconds) {
    reader.Fail(key,
                fmt::format("= {} is no time such as \"90s\", \"5min\" or \"2h\"", Quoted(text)));
  }
  config.save_every = {.seconds = *seconds};
}

std::optional<std::string> SaveEveryText(const TrainConfig& config) {
  const auto& [steps, seconds] = config.save_every;
  return seconds > 0 ? internal::TomlText(DurationUnits(seconds)) : std::to_string(steps);
}

const OptionTable<TrainConfig>& TrainOptionTable() {
  using T = TrainConfig;
  static const OptionTable<T> options = {
      {.name = "epochs",
       .member = &T::epochs,
       .least = 0,
       .most = kMany,
       .doc = "number of passes over the training data; 0: as many as steps needs; 10 if neither "
              "is given"},
      {.name = "steps",
       .member = &T::steps,
       .least = 0,
       .most = kMany,
       .doc = "number of optimiser steps; 0: as many as epochs needs; if both are given, the run "
              "ends at the first limit reached"},
      {.name = "batch_size",
       .member = &T::batch_size,
       .least = 1,
       .most = kMany,
       .doc = "number of samples per gradient; a step uses optimizer.accumulate times as many"},
      {.name = "seed",
       .member = &T::seed,
       .least = 0,
       .most = INT64_MAX,
       .doc =
           "seed of the data split, the label noise, the initial weights and the order of samples"},
      {.name = "shuffle",
       .member = &T::shuffle,
       .doc = "whether every epoch has a new order of samples"},
      {.name = "eval_every",
       .member = &T::eval_every,
       .least = 0,
       .most = kMany,
       .doc = "number of steps between evaluations; 0: one evaluation per epoch"},
      {.name = "layers_every",
       .member = &T::layers_every,
       .least = 0,
       .most = kMany,
       .doc = "number of steps between measurements of each parameter's gradient, weight and "
              "update norms for metrics.jsonl; 0: never"},
      {.name = "trajectory_every",
       .member = &T::trajectory_every,
       .least = 0,
       .most = kMany,
       .doc = "number of steps between copies of the weights, which `kudari landscape RUN` draws "
              "the way of; 0: none"},
      {.name = "threads",
       .member = &T::threads,
       .least = 0,
       .most = 1024,
       .doc = "number of threads; 0: one for a small model, otherwise one per core"},
      {.name = "workers",
       .member = &T::workers,
       .least = -1,
       .most = 64,
       .doc = "number of threads that prepare the next batches; 0: the training thread prepares "
              "each batch when it needs it; -1: one if there is augmentation or data that is not "
              "in memory and the machine has more than one core, otherwise 0"},
      {.name = "loss",
       .member = &T::loss,
       .choices = LossNames(),
       .doc = "loss function; auto: cross_entropy for classes, mse for other targets"},
      {.name = "label_smoothing",
       .member = &T::label_smoothing,
       .low = 0,
       .high = kBelow1,
       .doc = "share of each label that cross_entropy and bce_with_logits spread over all classes "
              "during training"},
      {.name = "init",
       .member = &T::init,
       .doc =
           "safetensors file with the initial weights, or a checkpoint or run that has one; empty: "
           "random ones"},
      {.name = "init_skip",
       .member = &T::init_skip,
       .doc = "patterns of names, such as \"fc.*\", that keep their random weights whatever "
              "train.init has"},
      {.name = "classifier",
       .member = &T::classifier,
       .doc = "run of a classifier, trained on the same data set, whose probabilities of classes "
              "frechet_distance compares; empty: features of a small network with random weights"},
      {.name = "min_grad_norm",
       .member = &T::min_grad_norm,
       .low = 0,
       .high = kInfinity,
       .doc = "stop after a step whose gradient norm, before clipping, is below this; 0: never"},
      {.name = "min_loss_change",
       .member = &T::min_loss_change,
       .low = 0,
       .high = kInfinity,
       .doc = "stop when the mean training loss changes by less than this from one evaluation "
              "interval to the next; 0: never"},
      {.name = "early_stopping",
       .member = &T::early_stopping,
       .least = 0,
       .most = kMany,
       .doc = "stop after this many evaluations without a better value of monitor; "
              "0: never"},
      {.name = "monitor",
       .member = &T::monitor,
       .choices = MonitorNames(),
       .doc = "value of an evaluation that early_stopping and plateau_factor follow; auto: the "
              "loss, or what the task is about instead, such as episode_return"},
      {.name = "save",
       .member = &T::save,
       .choices = {"auto", "last", "best"},
       .doc = "weights that are tested and saved: the last, or those of the evaluation with the "
              "best value of monitor; auto: best with early_stopping, otherwise last"},
      {.name = "plateau_factor",
       .member = &T::plateau_factor,
       .low = 0,
       .high = 1,
       .doc = "factor by which all learning rates are multiplied when the validation loss stops "
              "improving, as in torch's ReduceLROnPlateau; 1: never"},
      {.name = "plateau_patience",
       .member = &T::plateau_patience,
       .least = 0,
       .most = kMany,
       .doc = "number of consecutive evaluations without a better validation loss before the rates "
              "are reduced"},
      {.name = "plateau_threshold",
       .member = &T::plateau_threshold,
       .low = 0,
       .high = kInfinity,
       .doc = "relative improvement on the lowest validation loss that counts as better"},
      {.name = "plateau_cooldown",
       .member = &T::plateau_cooldown,
       .least = 0,
       .most = kMany,
       .doc = "number of evaluations after a reduction that do not count"},
      {.name = "precision",
       .member = &T::precision,
       .choices = {"f32", "bf16", "f16"},
       .doc = "type that the model computes in, by autocast; f32: the type of the weights, without "
              "autocast; the loss and the optimiser compute in f32"},
      {.name = "weights",
       .member = &T::weights,
       .choices = {"f32", "bf16", "f16"},
       .doc = "type in which weights and their gradients are stored; those of layer norms are "
              "always f32; optimizer.precision says how the digits that 16 bits lack are kept"},
      {.name = "loss_scale",
       .member = &T::loss_scale,
       .low = GradScalerOptions().min_scale,
       .high = std::numeric_limits<float>::max(),
       .choices = {"auto", "dynamic", "none"},
       .doc =
           "factor that the loss is multiplied by before differentiation, so that small gradients "
           "survive in f16; a step whose gradient overflows is skipped; dynamic: adjusted during "
           "training; auto: dynamic if precision or weights is f16, otherwise none"},
      {.name = "growth_interval",
       .member = &T::growth_interval,
       .least = 1,
       .most = kMany,
       .doc = "number of steps without overflow after which a dynamic loss scale doubles"},
      {.name = "doctor",
       .member = &T::doctor,
       .doc = "whether to report what looks wrong after each evaluation; see kudari doctor"},
      {.name = "save_every",
       .member = internal::Within<T>{ReadSaveEvery, SaveEveryText},
       .range = "number of steps, or a time such as \"90s\", \"5min\" or \"2h\"",
       .doc = "steps or time between checkpoints, from which `kudari train --resume` goes on; 0: "
              "only where the run is interrupted"},
      {.name = "keep",
       .member = &T::keep,
       .least = 0,
       .most = kMany,
       .doc = "number of checkpoints that are kept, the newest; 0: all"},
      {.name = "keep_best",
       .member = &T::keep_best,
       .doc = "whether to save a checkpoint at each evaluation with the best value of monitor so "
              "far, and to keep the best one besides the newest"},
  };
  return options;
}

const OptionTable<HessianConfig>& HessianOptions() {
  using H = HessianConfig;
  static const OptionTable<H> options = {
      {.name = "every",
       .member = &H::every,
       .least = 1,
       .most = kMany,
       .doc = "number of steps per estimate"},
      {.name = "estimator",
       .member = &H::estimator,
       .choices = {"auto", "gnb", "hutchinson"},
       .doc = "gnb: Gauss-Newton-Bartlett, from labels drawn from the model; hutchinson: by "
              "differentiating twice; auto: the one that the rule is designed for"},
  };
  return options;
}

const OptionTable<FaultConfig>& FaultOptions() {
  using F = FaultConfig;
  static const OptionTable<F> options = {
      {.name = "missing",
       .member = &F::missing,
       .doc = "glob on the names of parameters that get no gradient, as behind a detach()"},
      {.name = "zero",
       .member = &F::zero,
       .doc = "glob on the names of parameters whose gradient is zero, as behind dead units"},
      {.name = "init_scale",
       .member = &F::init_scale,
       .low = 0,
       .high = kInfinity,
       .doc = "factor on the initial weights of all matrices and filters except the last"},
      {.name = "sum_accumulation",
       .member = &F::sum_accumulation,
       .doc =
           "whether the gradients of optimizer.accumulate batches are summed instead of averaged"},
      {.name = "bad_begin",
       .member = &F::bad_begin,
       .low = 0,
       .high = 1,
       .doc = "start of a bad stretch of the training samples, as a share of all"},
      {.name = "bad_end",
       .member = &F::bad_end,
       .low = 0,
       .high = 1,
       .doc = "end of the bad stretch; there is none unless this is above bad_begin"},
      {.name = "bad",
       .member = &F::bad,
       .choices = {"labels", "inputs"},
       .doc = "what is wrong in the bad stretch: labels drawn at random, or inputs ten times too "
              "large"},
  };
  return options;
}

template <class C>
C ReadTable(TableReader& root, std::string_view name, const OptionTable<C>& options) {
  C config;
  std::optional<TableReader> table = root.Table(name);
  if (!table) return config;
  internal::ReadOptions(*table, options, config);
  table->Finish();
  return config;
}

template <class Entry>
bool HasOption(const Entry& entry, std::string_view name) {
  return std::ranges::any_of(entry.options.Describe(),
                             [name](const OptionDescription& o) { return o.name == name; });
}

// Reads the name of an entry and the options that it has for itself. `table` is the reader's name.
template <class Entry>
Chosen<Entry> ReadChosen(TableReader& reader, std::string_view table, const EntryList<Entry>& list,
                         Chosen<Entry> chosen) {
  if (const auto name = reader.Choice("name", list.Names())) chosen = list.Find(*name);
  chosen.options.Read(reader);
  for (const std::string& key : reader.Keys()) {
    if (HasOption(*chosen.entry, key)) continue;
    std::vector<std::string> owners;
    for (const auto& entry : list.entries()) {
      if (HasOption(*entry, key)) owners.push_back(entry->name);
    }
    if (owners.empty()) continue;
    reader.Fail(key, fmt::format("is not an option of {} \"{}\", only of {}", table, chosen.name(),
                                 fmt::join(owners, " and ")));
  }
  return chosen;
}

ModelConfig ReadModel(TableReader& root, const LabRegistry& registry) {
  ModelConfig model = registry.models.Find(kDefaultModel);
  if (std::optional<TableReader> table = root.Table("model")) {
    model = ReadChosen(*table, "model", registry.models, std::move(model));
    table->Finish();
  }
  return model;
}

DataConfig ReadData(TableReader& root, const LabRegistry& registry) {
  DataConfig data(registry.data.Find(kDefaultData));
  if (std::optional<TableReader> table = root.Table("data")) {
    static_cast<Chosen<DataEntry>&>(data) =
        ReadChosen<DataEntry>(*table, "data", registry.data, data);
    internal::ReadOptions(*table, DataOptions(), data);
    table->Finish();
  }
  return data;
}

template <class C>
std::string WriteTable(std::string_view name, const OptionTable<C>& options, const C& config) {
  return fmt::format("[{}]\n{}", name, internal::OptionLines(options, config));
}

// The optimiser of one part: [optimizer.NAME] over what [optimizer] has for all.
OptimizerSpec ReadPartSpec(const toml::table& document, const std::vector<std::string>& parts,
                           const std::string& part, std::string_view source) {
  const toml::table* const given = document["optimizer"].as_table();
  toml::table merged = given != nullptr ? *given : toml::table();
  for (const std::string& each : parts) merged.erase(each);
  const toml::node* const own = given != nullptr ? given->get(part) : nullptr;
  if (own != nullptr && own->is_table()) {
    toml::table copy = *own->as_table();
    MergeTables(copy, merged);
  }
  const toml::table root{{"optimizer", std::move(merged)}};
  TableReader reader(root, "", fmt::format("{}: {}", source, part));
  return ReadSpec(reader);
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// [optimizer] or, if the model has parts, a table [optimizer.NAME] for each.
std::string OptimizerTables(const Recipe& recipe) {
  std::string text;
  for (const auto& [part, spec] : OptimizersOf(recipe)) {
    std::string whole = kudari::ToToml(Complete(*spec));
    if (part.empty()) return whole;
    constexpr std::string_view kTable = "optimizer";
    for (const std::string_view line : Lines(whole)) {
      const size_t begin = line.find_first_not_of('[');
      const bool header = begin > 0 && line.substr(begin).starts_with(kTable);
      text += header ? fmt::format("{}.{}{}\n", line.substr(0, begin + kTable.size()), part,
                                   line.substr(begin + kTable.size()))
                     : std::string(line) + "\n";
    }
  }
  return text;
}

template <class Entry>
std::string WriteChosen(std::string_view table, const Chosen<Entry>& chosen) {
  return fmt::format("[{}]\nname = {}\n", table, internal::TomlText(chosen.name()));
}

Description DescribeTable(std::string name, std::string summary,
                          std::vector<OptionDescription> options) {
  return {.kind = "recipe table",
          .name = std::move(name),
          .summary = std::move(summary),
          .options = std::move(options)};
}

// The options of a table that names an entry: its name, those that all entries have, and those that
// some have, which say whose they are.
template <class Entry>
std::vector<OptionDescription> DescribeChosen(const EntryList<Entry>& list,
                                              std::string_view default_name,
                                              const std::vector<OptionDescription>& common) {
  std::vector<std::string> docs;
  std::vector<std::pair<OptionDescription, std::vector<std::string>>> own;
  for (const auto& entry : list.entries()) {
    docs.push_back(fmt::format("{}: {}", entry->name, entry->doc));
    for (const OptionDescription& o : entry->options.Describe()) {
      const auto at = std::ranges::find_if(own, [&o](const auto& pair) {
        const OptionDescription& other = pair.first;
        return other.name == o.name && other.default_value == o.default_value &&
               other.range == o.range && other.doc == o.doc;
      });
      if (at != own.end()) {
        at->second.push_back(entry->name);
      } else {
        own.push_back({o, {entry->name}});
      }
    }
  }
  std::vector<OptionDescription> all = {{"name", internal::TomlText(default_name),
                                         internal::ChoiceList(list.Names()),
                                         fmt::format("{}", fmt::join(docs, "; "))}};
  all.insert(all.end(), common.begin(), common.end());
  for (auto& [option, owners] : own) {
    option.doc = fmt::format("{}: {}", fmt::join(owners, ", "), option.doc);
    all.push_back(std::move(option));
  }
  return all;
}

}  // namespace

bool SavesBest(const TrainConfig& config) {
  return config.save == "best" || (config.save == "auto" && config.early_stopping > 0);
}

std::optional<GradScalerOptions> LossScaling(const TrainConfig& config) {
  if (const auto* scale = std::get_if<double>(&config.loss_scale)) {
    return GradScalerOptions{.init_scale = *scale, .dynamic = false};
  }
  const auto& word = std::get<std::string>(config.loss_scale);
  const bool half = config.precision == "f16" || config.weights == "f16";
  if (word == "none" || (word == "auto" && !half)) return std::nullopt;
  return GradScalerOptions{.growth_interval = config.growth_interval};
}

DataConfig::DataConfig() : DataConfig(LabRegistry::Builtin().data.Find(kDefaultData)) {}

ModelConfig ModelNamed(std::string_view name, std::string_view options,
                       const LabRegistry& registry) {
  toml::table table = internal::ParseToml(options, "model");
  table.insert_or_assign("name", std::string(name));
  const toml::table root{{"model", std::move(table)}};
  TableReader reader(root, "", "recipe");
  return ReadModel(reader, registry);
}

Recipe ReadRecipe(const toml::table& document, std::string_view source,
                  const LabRegistry& registry) {
  TableReader reader(document, "", source);
  Recipe recipe;
  recipe.model = ReadModel(reader, registry);
  recipe.data = ReadData(reader, registry);
  recipe.augment = ReadTable(reader, "augment", AugmentOptions());
  recipe.hessian = ReadTable(reader, "hessian", HessianOptions());
  recipe.train = ReadTable(reader, "train", TrainOptionTable());
  recipe.fault = ReadTable(reader, "fault", FaultOptions());
  reader.Table("optimizer");
  reader.Finish();
  if (recipe.train.epochs == 0 && recipe.train.steps == 0) recipe.train.epochs = kDefaultEpochs;
  const std::vector<std::string> parts = TraitsOf(recipe.model).parts;
  if (parts.empty()) {
    recipe.optimizer = ReadSpec(reader);
    return recipe;
  }
  for (const std::string& part : parts) {
    OptimizerSpec spec = ReadPartSpec(document, parts, part, source);
    if (part == parts.front()) {
      recipe.optimizer = std::move(spec);
    } else if (spec.accumulate != recipe.optimizer.accumulate) {
      throw Error(fmt::format("{}: optimizer.{}.accumulate = {} must be {}, as of {}", source, part,
                              spec.accumulate, recipe.optimizer.accumulate, parts.front()));
    } else {
      recipe.other_optimizers.push_back(std::move(spec));
    }
  }
  return recipe;
}

void CheckOneOptimizer(const Recipe& recipe, std::string_view what) {
  const std::vector<std::string> parts = TraitsOf(recipe.model).parts;
  if (parts.empty()) return;
  throw Error(
      fmt::format("{} needs a recipe with one optimiser; the parts of model \"{}\" ({}) "
                  "have one each",
                  what, recipe.model.name(), fmt::join(parts, ", ")));
}

std::vector<std::pair<std::string, const OptimizerSpec*>> OptimizersOf(const Recipe& recipe) {
  const std::vector<std::string> parts = TraitsOf(recipe.model).parts;
  std::vector<std::pair<std::string, const OptimizerSpec*>> all = {
      {parts.empty() ? "" : parts.front(), &recipe.optimizer}};
  for (size_t i = 1; i < parts.size(); ++i) {
    all.emplace_back(parts[i], &recipe.other_optimizers.at(i - 1));
  }
  return all;
}

Recipe ParseTrainRecipe(std::string_view toml, std::string_view source,
                        const RecipeChanges& changes, const LabRegistry& registry) {
  toml::table document = internal::ParseToml(toml, source);
  ApplyChanges(changes, document);
  return ReadRecipe(document, source, registry);
}

Recipe ReadTrainRecipe(const std::filesystem::path& file, const RecipeChanges& changes) {
  return ParseTrainRecipe(ReadTextFile(file), file.string(), changes);
}

std::string ToToml(const Recipe& recipe) {
  return WriteChosen("model", recipe.model) + recipe.model.options.Lines() + "\n" +
         WriteChosen("data", recipe.data) + internal::OptionLines(DataOptions(), recipe.data) +
         recipe.data.options.Lines() + "\n" +
         (recipe.augment == AugmentConfig()
              ? ""
              : WriteTable("augment", AugmentOptions(), recipe.augment) + "\n") +
         WriteTable("hessian", HessianOptions(), recipe.hessian) + "\n" +
         WriteTable("train", TrainOptionTable(), recipe.train) + "\n" +
         (recipe.fault == FaultConfig()
              ? ""
              : WriteTable("fault", FaultOptions(), recipe.fault) + "\n") +
         OptimizerTables(recipe);
}

std::vector<Description> DescribeRecipe(const LabRegistry& registry) {
  const auto described = [](const auto& options, const auto& defaults) {
    return internal::DescribeOptions("", options, defaults);
  };
  return {DescribeTable("model", "the model to train",
                        DescribeChosen(registry.models, kDefaultModel, {})),
          DescribeTable(
              "data", "the data to train on",
              DescribeChosen(registry.data, kDefaultData, described(DataOptions(), DataConfig()))),
          DescribeTable("augment", "how training samples are changed at random",
                        described(AugmentOptions(), AugmentConfig())),
          DescribeTable("hessian", "how rules that use the Hessian's diagonal obtain it",
                        described(HessianOptions(), HessianConfig())),
          DescribeTable("train", "how to train", described(TrainOptionTable(), TrainConfig())),
          DescribeTable("fault", "faults injected on purpose",
                        described(FaultOptions(), FaultConfig()))};
}

}  // namespace kudari::lab
