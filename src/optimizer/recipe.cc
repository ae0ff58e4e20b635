#include "kudari/recipe.h"

#include <algorithm>
#include <cmath>

#include "averagers/averagers.h"
#include "core/quoted.h"
#include "core/suggest.h"
#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/presets.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

using internal::TableReader;

const std::vector<std::string> kPolicies = {"propagate", "skip", "error"};
const std::vector<std::string> kDecays = {"rule", "independent"};
const std::vector<std::string> kScales = {"weight_ratio", "ratio_global", "unit_layer", "double"};
const std::vector<std::string> kLayers = {"tensor", "module"};
const std::vector<std::string> kDecompositions = {"global", "layer"};
const std::vector<std::string> kReused = {"direction", "random"};
const std::vector<std::string> kAdapted = {"weights", "all"};
const std::vector<std::string> kDirections = {"float32", "bfloat16"};
const std::vector<std::string> kStates = {"keep", "reset", "pullback"};
const std::vector<std::string> kMasters = {"none", "float32", "split8", "split16", "kahan"};
const std::vector<std::string> kRoundings = {"nearest", "stochastic"};
const std::vector<std::string> kFormats = {"float32", "bfloat16", "linear8", "softsign8",
                                           "dynamic8"};

const std::vector<std::string>& Sources() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = {"plain", "nesterov_lookahead"};
    all.insert(all.end(), Sharpness::Methods().begin(), Sharpness::Methods().end());
    return all;
  }();
  return names;
}

size_t IndexOf(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

std::vector<std::string> RuleNames(const Registry& registry) {
  std::vector<std::string> names;
  for (const RuleEntry& r : registry.rules()) names.push_back(r.name);
  return names;
}

/// `options` with those that the table has replaced.
Options ReadOptions(TableReader& reader, const RuleEntry& rule, Options options = {}) {
  for (const RuleEntry::Option& o : rule.options) {
    const auto value = reader.ScheduleOf(o.name);
    if (!value) continue;
    const double first = (*value)(0);
    if (!(o.low <= first && first <= o.high)) {
      reader.Fail(o.name, value->Text() + " is outside " + RangeText(o.low, o.high));
    }
    options.insert_or_assign(o.name, *value);
  }
  return options;
}

std::optional<std::vector<TensorClass>> ReadClasses(TableReader& reader, std::string_view key) {
  const auto names = reader.Strings(key);
  if (!names) return std::nullopt;
  std::vector<TensorClass> classes;
  for (const std::string& name : *names) {
    try {
      classes.push_back(ParseTensorClass(name));
    } catch (const Error& e) {
      reader.Fail(key, e.what());
    }
  }
  return classes;
}

std::optional<Schedule> ReadLimit(TableReader& reader, std::string_view key) {
  auto value = reader.ScheduleOf(key);
  if (value && !((*value)(0) >= 0)) reader.Fail(key, value->Text() + " is outside [0, inf)");
  return value;
}

/// Reads a rule and its options; options of another rule mean nothing to it.
void ReadRule(TableReader& reader, const Registry& registry, std::string& rule, Options& options) {
  const auto name = reader.Choice("rule", RuleNames(registry));
  if (name && *name != rule) {
    rule = *name;
    options.clear();
  }
  if (!rule.empty()) options = ReadOptions(reader, registry.Find(rule), std::move(options));
}

// The following take what a preset says and return it with what the table says.

Fallback ReadFallback(TableReader& reader, const Registry& registry, Fallback fallback) {
  ReadRule(reader, registry, fallback.rule, fallback.options);
  reader.Finish();
  return fallback;
}

LookaheadSpec ReadLookahead(TableReader& reader, LookaheadSpec spec) {
  spec.k = reader.Integer("k", 1, INT64_MAX).value_or(spec.k);
  spec.alpha = reader.Number("alpha", 0, 1).value_or(spec.alpha);
  if (const auto state = reader.Choice("state", kStates)) {
    spec.state = static_cast<LookaheadState>(IndexOf(kStates, *state));
  }
  reader.Finish();
  return spec;
}

EmaSpec ReadEma(TableReader& reader, EmaSpec spec) {
  spec.decay = reader.Number("decay", 0, kBelow1).value_or(spec.decay);
  spec.warmup = reader.Bool("warmup").value_or(spec.warmup);
  reader.Finish();
  return spec;
}

SwaSpec ReadSwa(TableReader& reader, SwaSpec spec) {
  spec.start = reader.Integer("start", 0, INT64_MAX).value_or(spec.start);
  spec.every = reader.Integer("every", 1, INT64_MAX).value_or(spec.every);
  reader.Finish();
  return spec;
}

SharpnessSpec ReadSharpness(TableReader& reader, SharpnessSpec spec) {
  if (auto rho = ReadLimit(reader, "rho")) spec.rho = std::move(rho);
  spec.k = reader.Integer("k", 1, INT64_MAX).value_or(spec.k);
  if (auto alpha = ReadLimit(reader, "alpha")) spec.alpha = std::move(alpha);
  if (const auto scale = reader.Choice("layer_scale", kScales)) {
    spec.layer_scale = static_cast<LayerScale>(IndexOf(kScales, *scale));
  }
  if (const auto layer = reader.Choice("layer", kLayers)) {
    spec.layer = static_cast<LayerUnit>(IndexOf(kLayers, *layer));
  }
  if (const auto by = reader.Choice("decompose", kDecompositions)) {
    spec.decompose_layers = *by == "layer";
  }
  if (const auto reuse = reader.Choice("reuse", kReused))
    spec.random_direction = *reuse == "random";
  spec.eta = reader.Number("eta", 0, kInfinity).value_or(spec.eta);
  if (const auto adapt = reader.Choice("adapt", kAdapted)) spec.adapt_biases = *adapt == "all";
  spec.exclude = ReadClasses(reader, "exclude").value_or(spec.exclude);
  if (const auto direction = reader.Choice("direction", kDirections)) {
    spec.direction = static_cast<StateFormat>(IndexOf(kFormats, *direction));
  }
  for (TableReader& item : reader.Tables("group")) {
    SharpnessSpec::Radius group;
    group.match = item.String("match").value_or(group.match);
    group.classes = ReadClasses(item, "class").value_or(group.classes);
    const auto rho = ReadLimit(item, "rho");
    if (!rho) item.Fail("rho", "is missing");
    group.rho = *rho;
    item.Finish();
    spec.groups.push_back(std::move(group));
  }
  reader.Finish();
  return spec;
}

AdaptiveClip ReadAgc(TableReader& reader, AdaptiveClip agc) {
  if (const auto clip = ReadLimit(reader, "clip")) agc.clip = *clip;
  agc.eps = reader.Number("eps", 0, kInfinity).value_or(agc.eps);
  agc.exclude = reader.Strings("exclude").value_or(agc.exclude);
  reader.Finish();
  return agc;
}

Precision ReadPrecision(TableReader& reader, Precision precision) {
  if (const auto master = reader.Choice("master", kMasters)) {
    precision.master = static_cast<Master>(IndexOf(kMasters, *master));
  }
  if (const auto rounding = reader.Choice("rounding", kRoundings)) {
    precision.rounding = static_cast<Rounding>(IndexOf(kRoundings, *rounding));
  }
  precision.seed = reader.Integer("seed", INT64_MIN, INT64_MAX).value_or(precision.seed);
  if (const auto state = reader.Choice("state", kFormats)) {
    precision.state = static_cast<StateFormat>(IndexOf(kFormats, *state));
  }
  if (auto slots = reader.Table("slots")) {
    for (const std::string& slot : slots->Keys()) {
      const auto format = slots->Choice(slot, kFormats);
      precision.slots.insert_or_assign(slot, static_cast<StateFormat>(IndexOf(kFormats, *format)));
    }
  }
  precision.exclude = ReadClasses(reader, "exclude").value_or(precision.exclude);
  precision.check = reader.Bool("check").value_or(precision.check);
  reader.Finish();
  return precision;
}

Group ReadGroup(TableReader reader, const std::string& base_rule, const Registry& registry) {
  Group group;
  group.match = reader.String("match").value_or("*");
  group.classes = ReadClasses(reader, "class").value_or(group.classes);
  group.rule = reader.Choice("rule", RuleNames(registry)).value_or("");
  const std::string& rule = group.rule.empty() ? base_rule : group.rule;
  if (rule.empty()) reader.Fail("rule", "is missing, here and in [optimizer]");
  group.options = ReadOptions(reader, registry.Find(rule));
  group.l1 = ReadLimit(reader, "l1");
  group.l2 = ReadLimit(reader, "l2");
  reader.Finish();
  return group;
}

Options Filled(const RuleEntry& rule, const Options& options, const Options* inherited) {
  Options filled;
  for (const RuleEntry::Option& o : rule.options) filled.emplace(o.name, o.default_value);
  if (inherited != nullptr) {
    for (const auto& [name, value] : *inherited) filled.at(name) = value;
  }
  for (const auto& [name, value] : options) {
    const RuleEntry::Option& o = rule.options[rule.OptionIndex(name)];
    CheckRange(rule.name + ": " + name, value(0), o.low, o.high);
    filled.at(name) = value;
  }
  return filled;
}

// A TOML string on one line. toml++'s own formatter loses a newline at the start of a text.
std::string Quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  if (!internal::IsUtf8(text)) {
    throw Error(internal::Quoted(text) + " is not UTF-8, as recipes are");
  }
  std::string quoted = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') quoted += '\\';
    if (code < 0x20 || code == 0x7f) {
      quoted.append("\\u00").append({kHex[code / 16], kHex[code % 16]});
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string ValueText(const Schedule& s) {
  // A number that is not a schedule in quotes is written as a float: as an integer it would lose
  // the sign of -0 and could not reach 2^63.
  const double first = s(0);
  if (!std::isfinite(first) || !(s == Schedule(first))) return Quoted(s.Text());
  const bool integer = s.Text().find_first_of(".e") == std::string::npos;
  return s.Text() + (integer ? ".0" : "");
}

std::string ClassList(const std::vector<TensorClass>& classes) {
  std::string text = "[";
  for (size_t i = 0; i < classes.size(); ++i) {
    text += (i == 0 ? "\"" : ", \"") + std::string(Name(classes[i])) + "\"";
  }
  return text + "]";
}

std::string StringList(const std::vector<std::string>& strings) {
  std::string text = "[";
  for (size_t i = 0; i < strings.size(); ++i) text += (i == 0 ? "" : ", ") + Quoted(strings[i]);
  return text + "]";
}

std::string FallbackText(const Fallback& fallback) {
  std::string text = "{rule = " + Quoted(fallback.rule);
  for (const auto& [name, value] : fallback.options) text += ", " + name + " = " + ValueText(value);
  return text + "}";
}

std::string AveragerLines(const OptimizerSpec& spec) {
  std::string text;
  if (const auto& lookahead = spec.lookahead) {
    text += "lookahead = {k = " + std::to_string(lookahead->k) +
            ", alpha = " + ValueText(lookahead->alpha) +
            ", state = " + Quoted(kStates.at(static_cast<size_t>(lookahead->state))) + "}\n";
  }
  if (const auto& ema = spec.ema) {
    text += "ema = {decay = " + ValueText(ema->decay) +
            ", warmup = " + (ema->warmup ? "true" : "false") + "}\n";
  }
  if (const auto& swa = spec.swa) {
    text += "swa = {start = " + std::to_string(swa->start) +
            ", every = " + std::to_string(swa->every) + "}\n";
  }
  return text;
}

std::string SharpnessText(const SharpnessSpec& spec) {
  std::string text = "{";
  if (spec.rho) text += "rho = " + ValueText(*spec.rho) + ", ";
  text += "k = " + std::to_string(spec.k);
  if (spec.alpha) text += ", alpha = " + ValueText(*spec.alpha);
  text += ", layer_scale = " + Quoted(kScales.at(static_cast<size_t>(spec.layer_scale))) +
          ", layer = " + Quoted(kLayers.at(static_cast<size_t>(spec.layer))) +
          ", decompose = " + Quoted(spec.decompose_layers ? "layer" : "global") +
          ", reuse = " + Quoted(spec.random_direction ? "random" : "direction") +
          ", eta = " + ValueText(spec.eta) +
          ", adapt = " + Quoted(spec.adapt_biases ? "all" : "weights") +
          ", exclude = " + ClassList(spec.exclude) +
          ", direction = " + Quoted(kFormats.at(static_cast<size_t>(spec.direction)));
  std::string groups;
  for (const SharpnessSpec::Radius& group : spec.groups) {
    groups += (groups.empty() ? "{match = " : ", {match = ") + Quoted(group.match);
    if (!group.classes.empty()) groups += ", class = " + ClassList(group.classes);
    groups += ", rho = " + ValueText(group.rho) + "}";
  }
  return text + ", group = [" + groups + "]}";
}

std::string PrecisionText(const Precision& precision) {
  const auto format_of = [](StateFormat f) { return Quoted(kFormats.at(static_cast<size_t>(f))); };
  std::string slots;
  for (const auto& [slot, format] : precision.slots) {
    slots += (slots.empty() ? "" : ", ") + Quoted(slot) + " = " + format_of(format);
  }
  return "{master = " + Quoted(Name(precision.master)) +
         ", rounding = " + Quoted(kRoundings.at(static_cast<size_t>(precision.rounding))) +
         ", seed = " + std::to_string(precision.seed) + ", state = " + format_of(precision.state) +
         ", slots = {" + slots + "}, exclude = " + ClassList(precision.exclude) +
         ", check = " + (precision.check ? "true" : "false") + "}";
}

std::string OptionLines(const Options& options) {
  std::string text;
  for (const auto& [name, value] : options) text += name + " = " + ValueText(value) + "\n";
  return text;
}

std::string PenaltyLines(const std::optional<Schedule>& l1, const std::optional<Schedule>& l2) {
  std::string text;
  if (l1) text += "l1 = " + ValueText(*l1) + "\n";
  if (l2) text += "l2 = " + ValueText(*l2) + "\n";
  return text;
}

}  // namespace

std::string_view Name(Master master) { return kMasters.at(static_cast<size_t>(master)); }

OptimizerSpec ParseRecipe(std::string_view text, std::string_view source,
                          const Registry& registry) {
  const toml::table document = internal::ParseToml(text, source);
  TableReader root(document, "", source);
  auto table = root.Table("optimizer");
  if (!table) root.Fail("optimizer", "the table [optimizer] is missing");
  TableReader& reader = *table;

  OptimizerSpec spec;
  if (const auto preset = reader.Choice("preset", PresetNames())) {
    spec = Preset(*preset, registry);
  }
  ReadRule(reader, registry, spec.rule, spec.options);
  if (auto l1 = ReadLimit(reader, "l1")) spec.l1 = std::move(l1);
  if (auto l2 = ReadLimit(reader, "l2")) spec.l2 = std::move(l2);
  if (const auto decay = reader.Choice("decay", kDecays)) {
    spec.decay = static_cast<Decay>(IndexOf(kDecays, *decay));
  }
  spec.no_decay = ReadClasses(reader, "no_decay").value_or(spec.no_decay);
  if (auto no_adapt = ReadClasses(reader, "no_adapt")) spec.no_adapt = std::move(no_adapt);
  if (auto table = reader.Table("fallback")) {
    spec.fallback = ReadFallback(*table, registry, spec.fallback.value_or(Fallback()));
  }
  if (auto clip_norm = ReadLimit(reader, "clip_norm")) spec.clip_norm = std::move(clip_norm);
  spec.clip_norm_eps = reader.Number("clip_norm_eps", 0, kInfinity).value_or(spec.clip_norm_eps);
  if (auto table = reader.Table("agc")) {
    spec.agc = ReadAgc(*table, spec.agc.value_or(AdaptiveClip()));
  }
  spec.centralize = reader.Bool("centralize").value_or(spec.centralize);
  if (auto clip_value = ReadLimit(reader, "clip_value")) spec.clip_value = std::move(clip_value);
  if (const auto policy = reader.Choice("nonfinite", kPolicies)) {
    spec.nonfinite = static_cast<NonFinite>(IndexOf(kPolicies, *policy));
  }
  spec.measure_norm = reader.Bool("measure_norm").value_or(spec.measure_norm);
  spec.source = reader.Choice("source", Sources()).value_or(spec.source);
  if (auto table = reader.Table("sharpness")) {
    if (spec.source == Sources()[0] || spec.source == Sources()[1]) {
      reader.Fail("sharpness", "is for sharpness-aware sources; source is \"" + spec.source + "\"");
    }
    spec.sharpness = ReadSharpness(*table, spec.sharpness.value_or(SharpnessSpec()));
  }
  spec.accumulate = reader.Integer("accumulate", 1, INT64_MAX).value_or(spec.accumulate);
  if (auto table = reader.Table("precision")) {
    spec.precision = ReadPrecision(*table, spec.precision);
  }
  if (auto table = reader.Table("lookahead")) {
    spec.lookahead = ReadLookahead(*table, spec.lookahead.value_or(LookaheadSpec()));
  }
  if (auto table = reader.Table("ema")) spec.ema = ReadEma(*table, spec.ema.value_or(EmaSpec()));
  if (auto table = reader.Table("swa")) spec.swa = ReadSwa(*table, spec.swa.value_or(SwaSpec()));
  for (TableReader& item : reader.Tables("classify")) {
    const auto match = item.String("match");
    if (!match) item.Fail("match", "is missing");
    const auto classes = ReadClasses(item, "class");
    if (!classes || classes->size() != 1) item.Fail("class", "must be one class");
    spec.classes.emplace_back(*match, classes->front());
    item.Finish();
  }
  for (const TableReader& item : reader.Tables("group")) {
    spec.groups.push_back(ReadGroup(item, spec.rule, registry));
  }
  if (spec.rule.empty() && spec.groups.empty()) reader.Fail("rule", "is missing");
  reader.Finish();
  return spec;
}

OptimizerSpec Complete(const OptimizerSpec& spec, const Registry& registry) {
  OptimizerSpec full = spec;
  if (!spec.rule.empty()) {
    full.options = Filled(registry.Find(spec.rule), spec.options, nullptr);
  } else if (!spec.options.empty()) {
    throw Error("options without a rule: \"" + spec.options.begin()->first + "\"");
  } else if (spec.groups.empty()) {
    throw Error("rule is missing");
  }
  if (full.fallback) {
    Fallback& fallback = *full.fallback;
    fallback.options = Filled(registry.Find(fallback.rule), fallback.options, nullptr);
  }
  for (Group& group : full.groups) {
    if (group.rule.empty()) group.rule = spec.rule;
    if (group.rule.empty()) throw Error("group \"" + group.match + "\": rule is missing");
    const Options* inherited = group.rule == spec.rule ? &full.options : nullptr;
    group.options = Filled(registry.Find(group.rule), group.options, inherited);
    if (group.l1) CheckRange("group \"" + group.match + "\": l1", (*group.l1)(0), 0, kInfinity);
    if (group.l2) CheckRange("group \"" + group.match + "\": l2", (*group.l2)(0), 0, kInfinity);
  }
  if (spec.l1) CheckRange("l1", (*spec.l1)(0), 0, kInfinity);
  if (spec.l2) CheckRange("l2", (*spec.l2)(0), 0, kInfinity);
  if (spec.clip_norm) CheckRange("clip_norm", (*spec.clip_norm)(0), 0, kInfinity);
  CheckRange("clip_norm_eps", spec.clip_norm_eps, 0, kInfinity);
  if (spec.agc) {
    CheckRange("agc.clip", spec.agc->clip(0), 0, kInfinity);
    CheckRange("agc.eps", spec.agc->eps, 0, kInfinity);
  }
  if (spec.clip_value) CheckRange("clip_value", (*spec.clip_value)(0), 0, kInfinity);
  if (IndexOf(Sources(), spec.source) == Sources().size()) {
    throw Error("source: unknown name \"" + spec.source + "\"" +
                internal::Suggest(spec.source, Sources()));
  }
  if (IndexOf(Sharpness::Methods(), spec.source) < Sharpness::Methods().size()) {
    full.sharpness = Sharpness::Complete(spec.source, spec.sharpness.value_or(SharpnessSpec()));
  } else if (spec.sharpness) {
    throw Error("sharpness is for sharpness-aware sources; source is \"" + spec.source + "\"");
  }
  internal::CheckCount("accumulate", spec.accumulate, 1);
  if (spec.precision.master != Master::kNone && spec.precision.rounding == Rounding::kStochastic &&
      spec.precision.state != StateFormat::kBFloat16) {
    throw Error("precision.rounding = \"stochastic\" has nothing to round: precision.master = \"" +
                std::string(Name(spec.precision.master)) + "\" keeps what parameters lack");
  }
  static_cast<void>(internal::MakeAveragers(spec));  // their constructors check
  return full;
}

std::string ToToml(const OptimizerSpec& spec) {
  std::string text = "[optimizer]\n";
  if (!spec.rule.empty()) text += "rule = " + Quoted(spec.rule) + "\n";
  text += OptionLines(spec.options);
  text += PenaltyLines(spec.l1, spec.l2);
  text += "decay = " + Quoted(kDecays.at(static_cast<size_t>(spec.decay))) + "\n";
  text += "no_decay = " + ClassList(spec.no_decay) + "\n";
  if (spec.no_adapt) text += "no_adapt = " + ClassList(*spec.no_adapt) + "\n";
  if (spec.fallback) text += "fallback = " + FallbackText(*spec.fallback) + "\n";
  if (spec.clip_norm) text += "clip_norm = " + ValueText(*spec.clip_norm) + "\n";
  text += "clip_norm_eps = " + ValueText(spec.clip_norm_eps) + "\n";
  if (spec.agc) {
    text += "agc = {clip = " + ValueText(spec.agc->clip) + ", eps = " + ValueText(spec.agc->eps) +
            ", exclude = " + StringList(spec.agc->exclude) + "}\n";
  }
  text += std::string("centralize = ") + (spec.centralize ? "true" : "false") + "\n";
  if (spec.clip_value) text += "clip_value = " + ValueText(*spec.clip_value) + "\n";
  text += "nonfinite = " + Quoted(kPolicies.at(static_cast<size_t>(spec.nonfinite))) + "\n";
  text += std::string("measure_norm = ") + (spec.measure_norm ? "true" : "false") + "\n";
  text += "source = " + Quoted(spec.source) + "\n";
  if (spec.sharpness) text += "sharpness = " + SharpnessText(*spec.sharpness) + "\n";
  text += "accumulate = " + std::to_string(spec.accumulate) + "\n";
  text += "precision = " + PrecisionText(spec.precision) + "\n";
  text += AveragerLines(spec);
  for (const auto& [match, tensor_class] : spec.classes) {
    text += "\n[[optimizer.classify]]\nmatch = " + Quoted(match) + "\nclass = \"" +
            std::string(Name(tensor_class)) + "\"\n";
  }
  for (const Group& group : spec.groups) {
    text += "\n[[optimizer.group]]\nmatch = " + Quoted(group.match) + "\n";
    if (!group.classes.empty()) text += "class = " + ClassList(group.classes) + "\n";
    if (!group.rule.empty()) text += "rule = " + Quoted(group.rule) + "\n";
    text += OptionLines(group.options) + PenaltyLines(group.l1, group.l2);
  }
  return text;
}

}  // namespace kudari
