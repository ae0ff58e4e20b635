#include "lab/recipe/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>
#include <variant>

#include "core/quoted.h"
#include "core/suggest.h"
#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/files/text_file.h"

namespace kudari::lab {
namespace {

using internal::TableReader;
using Integers = std::vector<int64_t>;

constexpr int64_t kMany = 1'000'000'000;
constexpr int64_t kDefaultEpochs = 10;

// One option of table C: where it lives, what it may be and for which values of `name` it exists.
template <class C>
struct Option {
  std::string name;
  std::variant<double C::*, int64_t C::*, bool C::*, std::string C::*, Integers C::*> member;
  double low = 0, high = 0;               // of a number, which may also stand for a choice
  int64_t least = 0, most = 0;            // of an integer or a list of them
  std::vector<std::string> choices = {};  // of a string; empty: any
  std::vector<std::string> only = {};     // values of `name`; empty: all
  std::vector<std::pair<std::string, int64_t>> defaults = {};  // of an integer, by value of `name`
  std::string doc;
};

const std::vector<Option<ModelConfig>>& ModelOptions() {
  using M = ModelConfig;
  static const std::vector<Option<M>> options = {
      {.name = "name",
       .member = &M::name,
       .choices = {"linear", "mlp", "vit", "resnet"},
       .doc = "linear: one layer; mlp: hidden layers with GELU; vit: pre-norm vision transformer; "
              "resnet: the residual network for CIFAR, with batch norm"},
      {.name = "hidden",
       .member = &M::hidden,
       .least = 1,
       .most = kMany,
       .only = {"mlp"},
       .doc = "width of each hidden layer"},
      {.name = "patch",
       .member = &M::patch,
       .least = 1,
       .most = kMany,
       .only = {"vit"},
       .doc = "side of the square patches that become tokens; must divide the image"},
      {.name = "dim",
       .member = &M::dim,
       .least = 1,
       .most = kMany,
       .only = {"vit"},
       .doc = "width of a token"},
      {.name = "depth",
       .member = &M::depth,
       .least = 1,
       .most = kMany,
       .only = {"vit", "resnet"},
       .defaults = {{"resnet", 8}},
       .doc = "transformer blocks of a vit; layers of a resnet, 6 n + 2 for three stages of n "
              "residual blocks"},
      {.name = "width",
       .member = &M::width,
       .least = 1,
       .most = kMany,
       .only = {"resnet"},
       .doc = "channels of the first stage; the second and the third have two and four times as "
              "many"},
      {.name = "heads",
       .member = &M::heads,
       .least = 1,
       .most = kMany,
       .only = {"vit"},
       .doc = "attention heads of a block; must divide dim"},
      {.name = "mlp_ratio",
       .member = &M::mlp_ratio,
       .least = 1,
       .most = kMany,
       .only = {"vit"},
       .doc = "hidden width of a block's MLP, in units of dim"},
      {.name = "pool",
       .member = &M::pool,
       .choices = {"mean", "class"},
       .only = {"vit"},
       .doc = "what the head sees: the mean of the tokens, or a class token of its own"},
      {.name = "norm",
       .member = &M::norm,
       .choices = {"none", "batch"},
       .only = {"mlp"},
       .doc = "what stands between a hidden layer and its GELU"},
      {.name = "dropout",
       .member = &M::dropout,
       .low = 0,
       .high = kBelow1,
       .only = {"mlp", "vit"},
       .doc = "probability that an activation is dropped in training"},
  };
  return options;
}

const std::vector<Option<DataConfig>>& DataOptions() {
  using D = DataConfig;
  static const std::vector<Option<D>> options = {
      {.name = "name",
       .member = &D::name,
       .choices = {"digits", "mnist", "cifar10", "safetensors"},
       .doc = "data set"},
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

const std::vector<Option<TrainConfig>>& TrainOptionTable() {
  using T = TrainConfig;
  static const std::vector<Option<T>> options = {
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

const std::vector<Option<HessianConfig>>& HessianOptions() {
  using H = HessianConfig;
  static const std::vector<Option<H>> options = {
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

const std::vector<Option<FaultConfig>>& FaultOptions() {
  using F = FaultConfig;
  static const std::vector<Option<F>> options = {
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
bool Applies(const Option<C>& option, const C& config) {
  if constexpr (requires { config.name; }) {
    return option.only.empty() ||
           std::find(option.only.begin(), option.only.end(), config.name) != option.only.end();
  }
  return true;
}

// Sets the default that an option has for the configuration's name.
template <class C>
void SetDefault(const Option<C>& option, C& config) {
  if constexpr (requires { config.name; }) {
    for (const auto& [name, value] : option.defaults) {
      if (name == config.name) config.*std::get<int64_t C::*>(option.member) = value;
    }
  }
}

// Reads one option's value into the member, with the reader's checks.
template <class C>
void Read(TableReader& reader, const Option<C>& option, C& config) {
  const auto set = [&](auto& member, auto value) {
    if (value) member = *std::move(value);
  };
  struct Visitor {
    TableReader& reader;
    const Option<C>& o;
    C& config;
    decltype(set)& assign;
    void operator()(double C::*m) { assign(config.*m, reader.Number(o.name, o.low, o.high)); }
    void operator()(int64_t C::*m) { assign(config.*m, reader.Integer(o.name, o.least, o.most)); }
    void operator()(bool C::*m) { assign(config.*m, reader.Bool(o.name)); }
    void operator()(std::string C::*m) {
      if (o.choices.empty()) return assign(config.*m, reader.String(o.name));
      assign(config.*m, o.high > 0 ? reader.ChoiceOrNumber(o.name, o.choices, o.low, o.high)
                                   : reader.Choice(o.name, o.choices));
    }
    void operator()(Integers C::*m) { assign(config.*m, reader.Integers(o.name, o.least, o.most)); }
  };
  std::visit(Visitor{reader, option, config, set}, option.member);
}

// The value as it is written in TOML.
template <class C>
std::string ValueText(const Option<C>& option, const C& config) {
  struct Visitor {
    const Option<C>& o;
    const C& config;
    std::string operator()(double C::*m) { return internal::NumberText(config.*m); }
    std::string operator()(int64_t C::*m) { return std::to_string(config.*m); }
    std::string operator()(bool C::*m) { return config.*m ? "true" : "false"; }
    std::string operator()(std::string C::*m) {
      const bool is_choice =
          std::find(o.choices.begin(), o.choices.end(), config.*m) != o.choices.end();
      if (o.high > 0 && !is_choice) return config.*m;  // a number
      std::ostringstream text;
      text << toml::value<std::string>(config.*m);
      return text.str();
    }
    std::string operator()(Integers C::*m) {
      return fmt::format("[{}]", fmt::join(config.*m, ", "));
    }
  };
  return std::visit(Visitor{option, config}, option.member);
}

template <class C>
std::string RangeOf(const Option<C>& o) {
  struct Visitor {
    const Option<C>& o;
    std::string operator()(double C::*) { return RangeText(o.low, o.high); }
    std::string operator()(int64_t C::*) { return fmt::format("[{}, {}]", o.least, o.most); }
    std::string operator()(bool C::*) { return "true or false"; }
    std::string operator()(std::string C::*) {
      if (o.choices.empty()) return "text";
      const std::string number =
          o.high > 0 ? fmt::format(" or in {}", RangeText(o.low, o.high)) : "";
      return fmt::format("{}{}", fmt::join(o.choices, ", "), number);
    }
    std::string operator()(Integers C::*) { return fmt::format("list of >= {}", o.least); }
  };
  return std::visit(Visitor{o}, o.member);
}

template <class C>
C ReadTable(TableReader& root, std::string_view name, const std::vector<Option<C>>& options) {
  C config;
  std::optional<TableReader> table = root.Table(name);
  if (!table) return config;
  for (const auto& option : options) {  // of which the name is the first
    SetDefault(option, config);
    Read(*table, option, config);
  }
  table->Finish();
  for (const auto& option : options) {
    if constexpr (requires { config.name; }) {
      if (table->Has(option.name) && !Applies(option, config)) {
        table->Fail(option.name, fmt::format("is no option of {} \"{}\", only of {}", name,
                                             config.name, fmt::join(option.only, " and ")));
      }
    }
  }
  return config;
}

template <class C>
std::string WriteTable(std::string_view name, const std::vector<Option<C>>& options,
                       const C& config) {
  std::string text = fmt::format("[{}]\n", name);
  for (const auto& option : options) {
    if (!Applies(option, config)) continue;
    text += fmt::format("{} = {}\n", option.name, ValueText(option, config));
  }
  return text;
}

template <class C>
Description DescribeTable(std::string name, std::string summary,
                          const std::vector<Option<C>>& options) {
  Description d;
  d.kind = "recipe table";
  d.name = std::move(name);
  d.summary = std::move(summary);
  for (const auto& o : options) {
    const std::string only = o.only.empty() ? "" : fmt::format("{}: ", fmt::join(o.only, ", "));
    std::string defaults = ValueText(o, C{});
    for (const auto& [owner, value] : o.defaults) defaults += fmt::format(", {}: {}", owner, value);
    d.options.push_back({o.name, std::move(defaults), RangeOf(o), only + o.doc});
  }
  return d;
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
    toml::table parsed = toml::parse(fmt::format("value = {}", value));
    if (parsed.size() == 1) return parsed;
  } catch (const toml::parse_error&) {
    // A schedule, a name or a path.
  }
  return toml::table{{"value", std::string(value)}};
}

// Makes the change of one "key=value".
void ApplySet(std::string_view set, toml::table& root) {
  const size_t equals = set.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw Error(fmt::format("--set {}: must be key=value, such as train.epochs=3", set));
  }
  if (!internal::IsUtf8(set)) throw Error(fmt::format("--set {}: is not UTF-8", set));
  const toml::table parsed = ParseValue(set.substr(equals + 1));
  std::string_view path = set.substr(0, equals);
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

// The [optimizer] table on one line, the one on which it begins in the recipe.
std::string OptimizerText(toml::table& root) {
  toml::table* table = root["optimizer"].as_table();
  if (table == nullptr) return "";
  table->is_inline(true);
  std::ostringstream text;
  const auto line = table->source().begin.line;
  if (line > 1) text << std::string(line - 1, '\n');
  text << "optimizer = " << *table;
  return text.str();
}

}  // namespace

std::optional<GradScalerOptions> LossScaling(const TrainConfig& config) {
  const bool dynamic =
      config.loss_scale == "auto" && (config.precision == "f16" || config.weights == "f16");
  if (dynamic || config.loss_scale == "dynamic") {
    return GradScalerOptions{.growth_interval = config.growth_interval};
  }
  if (config.loss_scale == "auto" || config.loss_scale == "none") return std::nullopt;
  return GradScalerOptions{.init_scale = std::stod(config.loss_scale), .dynamic = false};
}

Recipe ParseTrainRecipe(std::string_view toml, std::string_view source,
                        const std::vector<std::string>& sets) {
  toml::table root = internal::ParseToml(toml, source);
  for (const std::string& set : sets) ApplySet(set, root);
  TableReader reader(root, "", source);
  Recipe recipe;
  recipe.model = ReadTable(reader, "model", ModelOptions());
  recipe.data = ReadTable(reader, "data", DataOptions());
  recipe.hessian = ReadTable(reader, "hessian", HessianOptions());
  recipe.train = ReadTable(reader, "train", TrainOptionTable());
  recipe.fault = ReadTable(reader, "fault", FaultOptions());
  reader.Table("optimizer");
  reader.Finish();
  if (recipe.train.epochs == 0 && recipe.train.steps == 0) recipe.train.epochs = kDefaultEpochs;
  recipe.optimizer = ParseRecipe(sets.empty() ? toml : OptimizerText(root), source);
  return recipe;
}

Recipe ReadTrainRecipe(const std::filesystem::path& file, const std::vector<std::string>& sets) {
  return ParseTrainRecipe(ReadTextFile(file), file.string(), sets);
}

std::string ToToml(const Recipe& recipe) {
  return WriteTable("model", ModelOptions(), recipe.model) + "\n" +
         WriteTable("data", DataOptions(), recipe.data) + "\n" +
         WriteTable("hessian", HessianOptions(), recipe.hessian) + "\n" +
         WriteTable("train", TrainOptionTable(), recipe.train) + "\n" +
         (recipe.fault == FaultConfig()
              ? ""
              : WriteTable("fault", FaultOptions(), recipe.fault) + "\n") +
         kudari::ToToml(Complete(recipe.optimizer));
}

std::vector<Description> DescribeRecipe() {
  return {DescribeTable("model", "what is trained", ModelOptions()),
          DescribeTable("data", "what it is trained on", DataOptions()),
          DescribeTable("hessian", "how rules that use the Hessian's diagonal get it",
                        HessianOptions()),
          DescribeTable("train", "how it is trained", TrainOptionTable()),
          DescribeTable("fault", "what goes wrong on purpose", FaultOptions())};
}

}  // namespace kudari::lab
