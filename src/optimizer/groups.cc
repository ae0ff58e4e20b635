// How tensors are treated: which group applies to each, and what those have in common that are
// treated alike.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "core/layer_ids.h"
#include "core/option_table.h"
#include "core/regex.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "optimizer/impl.h"

namespace kudari {
namespace {

using internal::Cohort;
using internal::TensorRecord;

/// Elements of a unit: a row of a matrix, a filter of a convolution, a whole vector.
int64_t UnitSize(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (size_t i = shape.size() <= 1 ? 0 : 1; i < shape.size(); ++i) size *= shape[i];
  return size;
}

/// Throws Error if a rule has a decay that cannot be independent of its learning rate.
void CheckDecoupled(const Cohort& cohort) {
  if (cohort.rule.decoupled_decay) return;
  for (size_t i = 0; i < cohort.schedules.size(); ++i) {
    const Schedule& s = cohort.schedules[i];
    if (cohort.rule.options[i].name != "weight_decay" || s == Schedule(0)) continue;
    throw Error(
        "decay = \"independent\" is for rules that subtract lr weight_decay p from the weights p, "
        "such as adamw; " +
        cohort.rule.name + " does not, and has weight_decay = " + s.Text());
  }
}

/// The number that an independent decay of a cohort is relative to.
double BaseLr(const Cohort& cohort) {
  const Schedule& lr = cohort.schedules[cohort.rule.OptionIndex("lr")];
  const double base = lr.LeadingNumber().value_or(0) * cohort.lr_scale;
  if (base != 0) return base;
  throw Error(
      "decay = \"independent\" needs a number other than 0 among the factors of lr, which "
      "the decay is relative to, as in 1e-3 * then(1, 500, cosine(100)); " +
      cohort.rule.name + " has lr = " + lr.Text() +
      (cohort.lr_scale == 1 ? "" : ", times " + NumberText(cohort.lr_scale)));
}

/// What a group says about the tensors that it has, as a recipe would.
std::string PatternsOf(const Group& group) {
  std::string text;
  const auto add = [&text](const char* key, const std::string& value) {
    text += (text.empty() ? "" : ", ") + std::string(key) + " = " + value;
  };
  const bool others =
      !group.match_regex.empty() || !group.classes.empty() || !group.modules.empty();
  if (group.match != "*" || !others) add("match", internal::TomlText(group.match));
  if (!group.match_regex.empty()) add("match_regex", internal::TomlText(group.match_regex));
  if (!group.classes.empty()) add("class", internal::TomlText(group.classes));
  if (!group.modules.empty()) add("modules", internal::TomlText(group.modules));
  return text;
}

/// Whether a cohort has a learning rate.
bool HasLr(const Cohort& cohort) {
  return std::ranges::any_of(cohort.rule.options,
                             [](const RuleEntry::Option& o) { return o.name == "lr"; });
}

/// Throws Error if a schedule has no values because its lengths are relative to a run.
void CheckNotRelative(std::string_view option, const Schedule& schedule) {
  if (schedule.IsResolved()) return;
  throw Error("SetSchedule: " + std::string(option) + " = \"" + schedule.Text() +
              "\" is relative to the length of a run; call Resolve({.steps = ...}) on it");
}

/// The index of an option of a cohort's rule, if it has it.
std::optional<size_t> OptionAt(const Cohort& cohort, std::string_view option) {
  const auto at = std::ranges::find(cohort.rule.options, option, &RuleEntry::Option::name);
  if (at == cohort.rule.options.end()) return std::nullopt;
  return static_cast<size_t>(at - cohort.rule.options.begin());
}

/// What Cohorts have that SetSchedule replaces.
struct Replaced {
  Cohort* cohort;
  size_t option;
  Schedule schedule;
  double value;

  /// Exchanges it with what the cohort has.
  void Swap() {
    std::swap(cohort->schedules[option], schedule);
    std::swap(cohort->values[option], value);
    cohort->SetConstant();
  }
};

/// Throws Error if the factor on a cohort's learning rate has nothing to multiply or multiplies it
/// out of its range at a step.
void CheckLrScale(const Cohort& cohort, int64_t step, const std::string& where) {
  if (cohort.lr_scale == 1) return;
  const std::string text = where + "lr_scale = " + NumberText(cohort.lr_scale);
  if (!HasLr(cohort)) throw Error(text + ": the rule " + cohort.rule.name + " has no lr");
  const size_t k = cohort.rule.OptionIndex("lr");
  const double lr = cohort.schedules[k](step);
  CheckRange(text + " times lr = " + cohort.schedules[k].Text(), cohort.Scaled(k, lr),
             cohort.rule.options[k].low, cohort.rule.options[k].high);
}

}  // namespace

/// What AddTensor knows of the tensors before.
struct Optimizer::Impl::Building {
  const Registry& registry;
  std::vector<std::optional<internal::Regex>> expressions;  // of the groups
  std::vector<bool> matched;                                // groups that have a tensor
  std::vector<std::string> unmatched;                       // tensors that no group has
  std::map<std::tuple<int, TensorClass, int64_t, bool>, uint32_t> cohorts;
};

/// Finds how the tensors behind those with records are treated. The groups from `first_group` on
/// are for them alone.
void Optimizer::Impl::TreatTensors(size_t first_group, const Registry& registry) {
  Building building{registry, {}, std::vector<bool>(spec.groups.size()), {}, {}};
  for (const Group& g : spec.groups) {
    auto& expression = building.expressions.emplace_back();
    if (!g.match_regex.empty()) expression.emplace(g.match_regex);
  }
  std::vector<TensorClass> classes;
  for (const Tensor& t : tensor_list) {
    classes.push_back(t.tensor_class.value_or(Classify(t.name, t.shape)));
    for (const auto& [match, c] : spec.classes) {
      if (Matches(match, t)) classes.back() = c;
    }
  }
  if (spec.layer_decay != 1) CountLayers(classes);
  for (size_t i = 0; i < records.size(); ++i) {
    const int group = GroupOf(tensor_list[i], classes[i], building);
    if (group < static_cast<int>(first_group)) continue;
    const Group& g = spec.groups[static_cast<size_t>(group)];
    throw Error("AddTensors: group " + std::to_string(group) + " (" + PatternsOf(g) +
                ") matches tensor " + Quoted(tensor_list[i].name) +
                ", which the optimiser has already; added groups are for added tensors");
  }
  records.reserve(tensor_list.size());
  for (size_t i = records.size(); i < tensor_list.size(); ++i) AddTensor(i, classes[i], building);
  CheckGroups(building);
  freezes = std::ranges::any_of(cohorts, [](const Cohort& c) { return c.Freezes(); });
}

/// Finds the layers of all tensors, which must stay what they are for those with records.
void Optimizer::Impl::CountLayers(const std::vector<TensorClass>& classes) {
  std::vector<int64_t> counted = internal::LayersOf(tensor_list, classes, spec.layer_match);
  const int64_t last = counted.empty() ? 0 : *std::ranges::max_element(counted);
  if (!records.empty() &&
      (last != last_layer || !std::equal(layers.begin(), layers.end(), counted.begin()))) {
    throw Error("AddTensors: layer_decay = " + NumberText(spec.layer_decay) +
                " would count the layers of the tensors that there are differently, and change "
                "their learning rates; give the optimiser all tensors when it is made");
  }
  layers = std::move(counted);
  last_layer = last;
}

/// The last group that has the tensor.
int Optimizer::Impl::GroupOf(const Tensor& t, TensorClass tensor_class, Building& building) const {
  int group = kNoGroup;
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    const Group& g = spec.groups[i];
    const auto& expression = building.expressions[i];
    const auto named = [&](const std::string& name) {
      return Glob(g.match, name) && (!expression || expression->Search(name));
    };
    const auto held = [&](const std::string& glob) {
      return std::ranges::any_of(t.modules, [&](const std::string& m) { return Glob(glob, m); });
    };
    if (!g.classes.empty() && !internal::Contains(g.classes, tensor_class)) continue;
    if (!g.modules.empty() && std::ranges::none_of(g.modules, held)) continue;
    if (!named(t.name) && std::ranges::none_of(t.aliases, named)) continue;
    group = static_cast<int>(i);
    building.matched[i] = true;
  }
  return group;
}

/// Finds how one tensor is treated.
void Optimizer::Impl::AddTensor(size_t index, TensorClass tensor_class, Building& building) {
  const Tensor& t = tensor_list[index];
  int group = GroupOf(t, tensor_class, building);
  if (group == kNoGroup) {
    if (spec.strict) building.unmatched.push_back(t.name);
    if (spec.fallback && tensor_class != TensorClass::kMatrix &&
        tensor_class != TensorClass::kConvolution) {
      group = kFallbackGroup;
    }
  }
  if (group == kNoGroup && spec.rule.empty()) {
    throw Error("tensor \"" + t.name +
                "\" has no rule: it is in no group, and the spec's own rule is missing");
  }
  const auto layer = layers.empty() ? std::nullopt : std::optional(layers[index]);
  const bool float64 = t.dtype == DType::kFloat64;
  TensorRecord s{.cohort = CohortOf(group, tensor_class, layer, float64, building),
                 .tensor_class = tensor_class,
                 .storage = nullptr,
                 .size = t.Size(),
                 .clips = spec.agc.has_value(),
                 .centralizes = spec.centralize && t.shape.size() > 1 && UnitSize(t.shape) > 1};
  if (spec.agc) {
    for (const std::string& match : spec.agc->exclude) s.clips = s.clips && !Matches(match, t);
  }
  const int64_t unit = (s.clips || s.centralizes) && s.size > 0 ? UnitSize(t.shape) : 0;
  Cohort& c = cohorts[s.cohort];
  internal::CheckFloat64(t, tensor_class, c.rule, spec);
  ++c.users;
  s.storage = StorageOf(t, s, SlotSizes(c, t));
  if (unit > 0 || c.rule.norms > 0 || !c.rule.memory.empty() || spec.precision.check ||
      spec.precision.rounding == Rounding::kStochastic) {
    s.extra = std::make_unique<internal::Extra>(internal::Extra{.unit = unit});
    for (size_t k = 0; k < c.rule.memory.size(); ++k) {
      s.extra->memory[k] = c.rule.memory[k].second;
    }
  }
  records.push_back(std::move(s));
}

/// Throws Error if a group that names tensors or modules has none, or, if the spec is strict, if no
/// group has a tensor.
void Optimizer::Impl::CheckGroups(const Building& building) const {
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    const Group& g = spec.groups[i];
    if (building.matched[i]) continue;
    if (g.match == "*" && g.match_regex.empty() && g.modules.empty()) continue;
    std::set<std::string> known;
    for (const Tensor& t : tensor_list) {
      if (g.match != "*" || !g.match_regex.empty()) {
        known.insert(t.name);
        known.insert(t.aliases.begin(), t.aliases.end());
      } else {
        known.insert(t.modules.begin(), t.modules.end());
      }
    }
    const std::string& wanted = g.match != "*"          ? g.match
                                : g.match_regex.empty() ? g.modules.front()
                                                        : g.match_regex;
    throw Error("group " + std::to_string(i) + " (" + PatternsOf(g) + ") matches no tensor" +
                Suggest(wanted, std::vector<std::string>(known.begin(), known.end())));
  }
  if (building.unmatched.empty()) return;
  std::string groups;
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    groups += (i == 0 ? "" : "; ") + std::to_string(i) + ": " + PatternsOf(spec.groups[i]);
  }
  throw Error("strict = true: no group matches " + QuotedList(building.unmatched) +
              (groups.empty() ? "; there are no groups" : "; the groups are " + groups));
}

/// The cohort of a group's tensors of a class and a layer; made when it is first needed.
uint32_t Optimizer::Impl::CohortOf(int group, TensorClass tensor_class,
                                   std::optional<int64_t> layer, bool float64, Building& building) {
  const std::tuple kind(group, tensor_class, layer.value_or(-1), float64);
  const auto known = building.cohorts.find(kind);
  if (known != building.cohorts.end()) return known->second;
  const std::string* rule = &spec.rule;
  const Options* options = &spec.options;
  std::optional<Schedule> l1 = spec.l1, l2 = spec.l2;
  const Group* g = nullptr;
  if (group == kFallbackGroup) {
    rule = &spec.fallback->rule;
    options = &spec.fallback->options;
  } else if (group != kNoGroup) {
    g = &spec.groups[static_cast<size_t>(group)];
    rule = &g->rule;
    options = &g->options;
    if (g->l1) l1 = g->l1;
    if (g->l2) l2 = g->l2;
  }
  Cohort cohort{.rule = building.registry.Find(*rule),
                .group = group,
                .adapts = true,
                .float64 = float64,
                .schedules = {},
                .original = {},
                .values = {},
                .ages = {},
                .coeffs = {}};
  if (cohort.rule.squares_gradient) cohort.limit = kMostSquared;
  if (cohort.rule.norms > 0) {
    const bool vector = tensor_class == TensorClass::kBias || tensor_class == TensorClass::kNorm;
    cohort.adapts = spec.no_adapt ? !internal::Contains(*spec.no_adapt, tensor_class)
                                  : cohort.rule.adapts_vectors || !vector;
  }
  const bool decays = cohort.adapts && !internal::Contains(spec.no_decay, tensor_class);
  for (const RuleEntry::Option& o : cohort.rule.options) {
    const bool off = o.name == "weight_decay" && !decays;
    cohort.schedules.push_back(off ? Schedule(0) : options->at(o.name));
  }
  cohort.original = cohort.schedules;
  if (decays) {
    cohort.l1 = l1.value_or(0);
    cohort.l2 = l2.value_or(0);
  }
  cohort.penalized = !(cohort.l1 == Schedule(0) && cohort.l2 == Schedule(0));
  SetScaleAndFreeze(g, layer, cohort);
  if (spec.decay == Decay::kIndependent) {
    CheckDecoupled(cohort);
    if (cohort.rule.decoupled_decay && decays) cohort.base_lr = BaseLr(cohort);
  }
  cohort.SetConstant();
  backend_->Choose(cohort);
  cohort.values.resize(cohort.schedules.size());
  for (size_t i = 0; i < cohort.schedules.size(); ++i) cohort.SetValue(i, cohort.schedules[i](0));
  cohort.l1_now = cohort.l1(0);
  cohort.l2_now = cohort.l2(0);
  const uint32_t index = internal::AddCohort(cohorts, std::move(cohort));
  building.cohorts.emplace(kind, index);
  return index;
}

/// Sets what multiplies the learning rate and when the tensors are frozen, by their group, null for
/// none, and their layer.
void Optimizer::Impl::SetScaleAndFreeze(const Group* group, std::optional<int64_t> layer,
                                        Cohort& cohort) const {
  std::string where;
  if (group != nullptr) {
    where = "group " + std::to_string(cohort.group) + ": ";
    cohort.lr_scale = group->lr_scale;
    if (group->frozen_until) cohort.frozen_until = std::get<int64_t>(*group->frozen_until);
    if (group->frozen_from) cohort.frozen_from = std::get<int64_t>(*group->frozen_from);
    if (group->frozen) cohort.frozen_until = internal::kNever;
  }
  if (layer) {
    const double scale =
        std::max(spec.layer_decay_min_scale,
                 std::pow(spec.layer_decay, static_cast<double>(last_layer - *layer)));
    where += "layer " + std::to_string(*layer) + ": ";
    cohort.lr_scale *= scale;
    if (scale < spec.layer_decay_no_opt_scale) cohort.frozen_until = internal::kNever;
  }
  CheckLrScale(cohort, 0, where);
}

uint32_t internal::AddCohort(std::vector<Cohort>& cohorts, Cohort cohort) {
  const auto same = [&cohort](const Cohort& c) {
    return c.group == cohort.group && c.schedules == cohort.schedules &&
           c.original == cohort.original && c.adapts == cohort.adapts &&
           c.float64 == cohort.float64 && c.base_lr == cohort.base_lr && c.l1 == cohort.l1 &&
           c.l2 == cohort.l2 && c.lr_scale == cohort.lr_scale &&
           c.frozen_until == cohort.frozen_until && c.frozen_from == cohort.frozen_from;
  };
  auto at = std::find_if(cohorts.begin(), cohorts.end(), same);
  if (at == cohorts.end()) {
    at = std::find_if(cohorts.begin(), cohorts.end(), [](const Cohort& c) { return c.users == 0; });
    if (at == cohorts.end()) {
      cohorts.push_back(std::move(cohort));
      at = cohorts.end() - 1;
    } else {
      *at = std::move(cohort);
    }
  }
  return static_cast<uint32_t>(at - cohorts.begin());
}

void internal::MoveTo(std::vector<Cohort>& cohorts, uint32_t& at, Cohort cohort) {
  cohort.users = 0;
  const uint32_t to = AddCohort(cohorts, std::move(cohort));
  --cohorts[at].users;
  at = to;
  ++cohorts[to].users;
}

/// The cohort of a tensor with other schedules, of which those that change are checked at `step`.
Cohort Optimizer::Impl::WithSchedules(size_t index, std::vector<Schedule> schedules,
                                      int64_t step) const {
  const TensorRecord& s = records[index];
  Cohort cohort = cohorts[s.cohort];
  const std::string& rule = cohort.rule.name;
  std::string changed;
  for (size_t k = 0; k < schedules.size(); ++k) {
    if (schedules[k] == cohort.schedules[k]) continue;
    const RuleEntry::Option& o = cohort.rule.options[k];
    changed += (changed.empty() ? "" : ", ") + o.name;
    CheckRange(rule + ": " + o.name, schedules[k](step), o.low, o.high);
    cohort.SetValue(k, schedules[k](step));
  }
  cohort.schedules = std::move(schedules);
  CheckLrScale(cohort, step, "SetSchedule: ");
  if (spec.decay == Decay::kIndependent) CheckDecoupled(cohort);
  if (SlotSizes(cohort, tensor_list[index]) != s.storage->sizes) {
    throw Error("SetSchedule: " + rule + ": " + changed + " determines the size of the state");
  }
  cohort.SetConstant();
  return cohort;
}

void Optimizer::Impl::SetSchedule(size_t index, std::string_view option, const Schedule& schedule) {
  CheckIndex(index);
  CheckNotRelative(option, schedule);
  TensorRecord& s = records[index];
  std::vector<Schedule> schedules = cohorts[s.cohort].schedules;
  schedules[cohorts[s.cohort].rule.OptionIndex(option)] = schedule;
  internal::MoveTo(cohorts, s.cohort, WithSchedules(index, std::move(schedules), step_count));
}

/// Throws Error unless `group` is as in TensorPlan::group.
void Optimizer::Impl::CheckGroup(std::string_view what, std::optional<int> group) const {
  if (!group || *group == kNoGroup || *group == kFallbackGroup) return;
  const auto count = static_cast<int>(spec.groups.size());
  if (0 <= *group && *group < count) return;
  throw Error(std::string(what) + ": group = " + std::to_string(*group) +
              " is none of kNoGroup, kFallbackGroup and the spec's groups [0, " +
              std::to_string(count) + ")");
}

/// Replaces an option's schedule in whole cohorts, so that the number of tensors does not matter.
/// It is checked in its place, and what was there is put back if it does not fit.
void Optimizer::Impl::SetSchedule(std::string_view option, const Schedule& schedule,
                                  std::optional<int> group) {
  CheckGroup("SetSchedule", group);
  CheckNotRelative(option, schedule);
  std::vector<Replaced> replaced;
  const Cohort* without = nullptr;
  for (Cohort& c : cohorts) {
    if (c.users == 0 || (group && c.group != *group)) continue;
    if (const auto k = OptionAt(c, option)) {
      const RuleEntry::Option& o = c.rule.options[*k];
      CheckRange(c.rule.name + ": " + o.name, schedule(step_count), o.low, o.high);
      replaced.push_back({&c, *k, schedule, 0});
    } else {
      without = &c;
    }
  }
  if (replaced.empty() && without != nullptr) without->rule.OptionIndex(option);  // throws
  if (replaced.empty()) throw Error("SetSchedule: no tensor is in the group");
  for (Replaced& r : replaced) {
    r.value = r.cohort->values[r.option];
    r.Swap();
    r.cohort->SetValue(r.option, schedule(step_count));
  }
  try {
    for (const Replaced& r : replaced) CheckReplaced(*r.cohort, option);
  } catch (...) {
    for (Replaced& r : replaced) r.Swap();
    throw;
  }
}

/// Throws Error if a cohort does not suit its tensors any more.
void Optimizer::Impl::CheckReplaced(const Cohort& cohort, std::string_view option) const {
  CheckLrScale(cohort, step_count, "SetSchedule: ");
  if (spec.decay == Decay::kIndependent) CheckDecoupled(cohort);
  if (cohort.rule.whole == nullptr || option == "lr") return;
  const auto index = static_cast<uint32_t>(&cohort - cohorts.data());
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].cohort != index) continue;
    if (SlotSizes(cohort, tensor_list[i]) == records[i].storage->sizes) continue;
    throw Error("SetSchedule: " + cohort.rule.name + ": " + std::string(option) +
                " determines the size of the state");
  }
}

/// The learning rate of a group at the next step; see Optimizer::Lr.
double Optimizer::Impl::Lr(std::optional<int> group) const {
  CheckGroup("Lr", group);
  const Cohort* first = nullptr;
  for (const TensorRecord& s : records) {
    const Cohort& c = cohorts[s.cohort];
    if (group ? c.group != *group : !HasLr(c)) continue;
    if (first == nullptr) first = &c;
    if (group || c.group == kNoGroup) {
      first = &c;
      break;
    }
  }
  if (first == nullptr)
    throw Error("Lr: no tensor " + std::string(group ? "is in the group" : "has one"));
  return first->schedules[first->rule.OptionIndex("lr")](step_count);
}

}  // namespace kudari
