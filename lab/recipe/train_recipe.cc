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
#include "core/quoted.h"
#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/files/text_file.h"
#include "lab/recipe/read_recipe.h"

namespace kudari::lab {
namespace {

using internal::OptionTable;
using internal::TableReader;

constexpr int64_t kMany = 1'000'000'000;
constexpr int64_t kDefaultEpochs = 10;
constexpr std::string_view kDefaultModel = "vit", kDefaultData = "digits";

const OptionTable<DataConfig>& DataOptions() {
  using D = DataConfig;
  static const OptionTable<D> options = {
      {.name = "path",
       .member = &D::path,
       .doc = "file or folder to read it from; empty: where the set-up puts it"},
      {.name = "validation",
       .member = &D::validation,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the data that is held out of training for validation"},
      {.name = "samples",
       .member = &D::samples,
       .least = 0,
       .most = kMany,
       .doc = "train on this many of the training samples, drawn with the seed; 0: on all"},
      {.name = "label_noise",
       .member = &D::label_noise,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the training labels that are replaced by one of the other classes, drawn "
              "evenly; validation and test stay as they are"},
  };
  return options;
}

const OptionTable<TrainConfig>& TrainOptionTable() {
  using T = TrainConfig;
  static const OptionTable<T> options = {
      {.name = "epochs",
       .member = &T::epochs,
       .least = 0,
       .most = kMany,
       .doc = "passes over the training data; 0: as many as steps needs; 10 if neither is given"},
      {.name = "steps",
       .member = &T::steps,
       .least = 0,
       .most = kMany,
       .doc = "optimiser steps; 0: as many as epochs needs; of two limits the first to be reached "
              "ends the run"},
      {.name = "batch_size",
       .member = &T::batch_size,
       .least = 1,
       .most = kMany,
       .doc = "samples of one gradient; a step has optimizer.accumulate times as many"},
      {.name = "seed",
       .member = &T::seed,
       .least = 0,
       .most = INT64_MAX,
       .doc = "decides about the split of the data, label noise, the initial weights and the order "
              "of samples"},
      {.name = "shuffle", .member = &T::shuffle, .doc = "a new order of samples for every epoch"},
      {.name = "eval_every",
       .member = &T::eval_every,
       .least = 0,
       .most = kMany,
       .doc = "steps between evaluations; 0: once an epoch"},
      {.name = "layers_every",
       .member = &T::layers_every,
       .least = 0,
       .most = kMany,
       .doc = "steps between those whose norms of gradient, weights and update metrics.jsonl has "
              "for each parameter; 0: never"},
      {.name = "threads",
       .member = &T::threads,
       .least = 0,
       .most = 1024,
       .doc = "threads; 0: one for each core"},
      {.name = "loss",
       .member = &T::loss,
       .choices = {"auto", "cross_entropy", "mse"},
       .doc = "auto: cross_entropy for classes, mse for other targets"},
      {.name = "label_smoothing",
       .member = &T::label_smoothing,
       .low = 0,
       .high = kBelow1,
       .doc = "share of each label that cross_entropy spreads over all classes in training"},
      {.name = "init",
       .member = &T::init,
       .doc = "safetensors file with the initial weights; empty: random ones"},
      {.name = "min_grad_norm",
       .member = &T::min_grad_norm,
       .low = 0,
       .high = kInfinity,
       .doc = "stop after a step whose gradient norm, before clipping, is below this; 0: never"},
      {.name = "min_loss_change",
       .member = &T::min_loss_change,
       .low = 0,
       .high = kInfinity,
       .doc =
           "stop when the mean training loss between two evaluations differs from that before by "
           "less than this; 0: never"},
      {.name = "early_stopping",
       .member = &T::early_stopping,
       .least = 0,
       .most = kMany,
       .doc = "stop after this many evaluations without a new lowest validation loss; 0: never"},
      {.name = "plateau_factor",
       .member = &T::plateau_factor,
       .low = 0,
       .high = 1,
       .doc =
           "multiply all learning rates with this when the validation loss stops getting better, "
           "as torch's ReduceLROnPlateau; 1: never"},
      {.name = "plateau_patience",
       .member = &T::plateau_patience,
       .least = 0,
       .most = kMany,
       .doc = "evaluations in a row without a better validation loss before the rates are reduced"},
      {.name = "plateau_threshold",
       .member = &T::plateau_threshold,
       .low = 0,
       .high = kInfinity,
       .doc = "share of the lowest validation loss by which a better one is lower"},
      {.name = "plateau_cooldown",
       .member = &T::plateau_cooldown,
       .least = 0,
       .most = kMany,
       .doc = "evaluations after a reduction that do not count"},
      {.name = "precision",
       .member = &T::precision,
       .choices = {"f32", "bf16", "f16"},
       .doc = "in which the model computes, by autocast if it is not f32, which is the type of the "
              "weights; the loss and the optimiser compute in f32"},
      {.name = "weights",
       .member = &T::weights,
       .choices = {"f32", "bf16", "f16"},
       .doc =
           "in which weights and their gradients are stored, those of layer norms always in f32; "
           "optimizer.precision says what keeps the digits that 16 bits lack"},
      {.name = "loss_scale",
       .member = &T::loss_scale,
       .low = GradScalerOptions().min_scale,
       .high = std::numeric_limits<float>::max(),
       .choices = {"auto", "dynamic", "none"},
       .doc = "what the loss is multiplied with before it is differentiated, so that small "
              "gradients survive in f16; a step whose gradient overflows is skipped; dynamic: "
              "found in training; auto: dynamic if precision or weights is f16, none otherwise"},
      {.name = "growth_interval",
       .member = &T::growth_interval,
       .least = 1,
       .most = kMany,
       .doc = "steps without overflow after which a dynamic loss scale doubles"},
      {.name = "doctor",
       .member = &T::doctor,
       .doc = "say in training, after evaluations, what looks wrong; see kudari doctor"},
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
       .doc = "steps per estimate"},
      {.name = "estimator",
       .member = &H::estimator,
       .choices = {"auto", "gnb", "hutchinson"},
       .doc = "gnb: Gauss-Newton-Bartlett, by labels drawn from the model; hutchinson: by "
              "differentiating twice; auto: the one that the rule is made for"},
  };
  return options;
}

const OptionTable<FaultConfig>& FaultOptions() {
  using F = FaultConfig;
  static const OptionTable<F> options = {
      {.name = "missing",
       .member = &F::missing,
       .doc = "parameters (a glob on their names) that get no gradient, as behind a detach()"},
      {.name = "zero",
       .member = &F::zero,
       .doc = "parameters (a glob on their names) whose gradient is zero, as behind dead units"},
      {.name = "init_scale",
       .member = &F::init_scale,
       .low = 0,
       .high = kInfinity,
       .doc = "factor of the initial weights of all matrices and filters but the last"},
      {.name = "sum_accumulation",
       .member = &F::sum_accumulation,
       .doc = "sum the gradients of optimizer.accumulate batches in place of their mean"},
      {.name = "bad_begin",
       .member = &F::bad_begin,
       .low = 0,
       .high = 1,
       .doc = "where a bad stretch of the training samples begins, as a share of all"},
      {.name = "bad_end",
       .member = &F::bad_end,
       .low = 0,
       .high = 1,
       .doc = "where it ends; not above bad_begin: there is none"},
      {.name = "bad",
       .member = &F::bad,
       .choices = {"labels", "inputs"},
       .doc = "what is wrong in it: labels drawn at random, or inputs ten times too large"},
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
    reader.Fail(key, fmt::format("is no option of {} \"{}\", only of {}", table, chosen.name(),
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

// The part of a dotted path before the first dot, which is cut off `path`.
std::string_view TakeComponent(std::string_view& path) {
  const size_t dot = path.find('.');
  const std::string_view part = path.substr(0, dot);
  path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  return part;
}

// Parses a value as TOML; what is none is text.
toml::table ParseValue(std::string_view value) {
  try {
    toml::table parsed = internal::ParseToml(fmt::format("value = {}", value), "--set");
    if (parsed.size() == 1) return parsed;
  } catch (const Error&) {
    // A schedule, a name or a path.
  }
  return toml::table{{"value", std::string(value)}};
}

// Makes the change of one "key=value".
void ApplySet(std::string_view set, toml::table& root) {
  constexpr auto kMostParts = std::ptrdiff_t{100};
  const size_t equals = set.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw Error(fmt::format("--set {}: must be key=value, such as train.epochs=3", set));
  }
  if (!internal::IsUtf8(set)) throw Error(fmt::format("--set {}: is not UTF-8", set));
  const toml::table parsed = ParseValue(set.substr(equals + 1));
  std::string_view path = set.substr(0, equals);
  const std::ptrdiff_t parts = 1 + std::ranges::count(path, '.');
  if (parts > kMostParts) {
    throw Error(fmt::format("--set {}: its key has {} parts, which is outside [1, {}]",
                            internal::OneLine(set), parts, kMostParts));
  }
  toml::node* at = &root;
  while (true) {
    const std::string_view part = TakeComponent(path);
    if (toml::table* table = at->as_table()) {
      if (path.empty()) {
        table->insert_or_assign(part, *parsed.get("value"));
        return;
      }
      at = &table->insert(part, toml::table{}).first->second;
    } else {
      toml::array* list = at->as_array();
      size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (list == nullptr || error != std::errc() || end != part.data() + part.size() ||
          index >= list->size() || path.empty()) {
        throw Error(fmt::format("--set {}: there is no \"{}\" to set", set, part));
      }
      at = list->get(index);
    }
  }
}

}  // namespace

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
  recipe.hessian = ReadTable(reader, "hessian", HessianOptions());
  recipe.train = ReadTable(reader, "train", TrainOptionTable());
  recipe.fault = ReadTable(reader, "fault", FaultOptions());
  reader.Table("optimizer");
  reader.Finish();
  if (recipe.train.epochs == 0 && recipe.train.steps == 0) recipe.train.epochs = kDefaultEpochs;
  recipe.optimizer = ReadSpec(reader);
  return recipe;
}

Recipe ParseTrainRecipe(std::string_view toml, std::string_view source,
                        const std::vector<std::string>& sets, const LabRegistry& registry) {
  toml::table document = internal::ParseToml(toml, source);
  for (const std::string& set : sets) ApplySet(set, document);
  return ReadRecipe(document, source, registry);
}

Recipe ReadTrainRecipe(const std::filesystem::path& file, const std::vector<std::string>& sets) {
  return ParseTrainRecipe(ReadTextFile(file), file.string(), sets);
}

std::string ToToml(const Recipe& recipe) {
  return WriteChosen("model", recipe.model) + recipe.model.options.Lines() + "\n" +
         WriteChosen("data", recipe.data) + internal::OptionLines(DataOptions(), recipe.data) +
         recipe.data.options.Lines() + "\n" +
         WriteTable("hessian", HessianOptions(), recipe.hessian) + "\n" +
         WriteTable("train", TrainOptionTable(), recipe.train) + "\n" +
         (recipe.fault == FaultConfig()
              ? ""
              : WriteTable("fault", FaultOptions(), recipe.fault) + "\n") +
         kudari::ToToml(Complete(recipe.optimizer));
}

std::vector<Description> DescribeRecipe(const LabRegistry& registry) {
  const auto described = [](const auto& options, const auto& defaults) {
    return internal::DescribeOptions("", options, defaults);
  };
  return {
      DescribeTable("model", "what is trained", DescribeChosen(registry.models, kDefaultModel, {})),
      DescribeTable(
          "data", "what it is trained on",
          DescribeChosen(registry.data, kDefaultData, described(DataOptions(), DataConfig()))),
      DescribeTable("hessian", "how rules that use the Hessian's diagonal get it",
                    described(HessianOptions(), HessianConfig())),
      DescribeTable("train", "how it is trained", described(TrainOptionTable(), TrainConfig())),
      DescribeTable("fault", "what goes wrong on purpose",
                    described(FaultOptions(), FaultConfig()))};
}

}  // namespace kudari::lab
