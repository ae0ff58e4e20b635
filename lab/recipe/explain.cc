#include "lab/recipe/explain.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/console/progress.h"

namespace kudari::lab {
namespace {

// Where the recipe says how a parameter is treated.
std::string SourceOf(const TensorPlan& plan) {
  if (plan.group == kNoGroup) return "recipe";
  if (plan.group == kFallbackGroup) return "fallback";
  return fmt::format("group {}", plan.group);
}

// Why a parameter has its class.
std::string ReasonOf(const Tensor& tensor, const OptimizerSpec& spec) {
  std::string reason = ClassReason(tensor.name, tensor.shape);
  const TensorClass by_name = Classify(tensor.name, tensor.shape);
  if (tensor.tensor_class.value_or(by_name) != by_name) reason = "type of its module";
  for (const auto& [match, tensor_class] : spec.classes) {
    if (Matches(match, tensor)) reason = fmt::format("recipe says so for \"{}\"", match);
  }
  return reason;
}

// Whether a rule with a trust ratio uses it for the parameter; "-" for rules without.
std::string AdaptsText(const TensorPlan& plan, const OptimizerSpec& spec) {
  const RuleEntry& rule = Registry::Builtin().Find(plan.rule);
  if (rule.norms == 0) return "-";
  const TensorClass c = plan.tensor_class;
  const bool vector = c == TensorClass::kBias || c == TensorClass::kNorm;
  const bool adapts = spec.no_adapt ? std::find(spec.no_adapt->begin(), spec.no_adapt->end(), c) ==
                                          spec.no_adapt->end()
                                    : rule.adapts_vectors || !vector;
  return adapts ? "yes" : "no";
}

// When a parameter is frozen: "always", "until 100", "from 200", "until 100, from 200" or "-".
std::string FrozenText(const TensorPlan& plan) {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  if (plan.frozen_until == kNever || plan.frozen_from <= plan.frozen_until) return "always";
  std::vector<std::string> parts;
  if (plan.frozen_until > 0) parts.push_back(fmt::format("until {}", plan.frozen_until));
  if (plan.frozen_from < kNever) parts.push_back(fmt::format("from {}", plan.frozen_from));
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string OptionsText(const Options& options) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : options) parts.push_back(name + " = " + value.Text());
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

double OptionOf(const TensorPlan& plan, std::string_view name) {
  for (const auto& [option, value] : plan.options) {
    if (option == name) return value;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::string ExplainText(const Optimizer& optimizer, const OptimizerSpec& spec) {
  const OptimizerSpec complete = Complete(spec);
  const std::vector<TensorPlan> plan = optimizer.Plan();
  std::vector<std::vector<std::string>> rows = {
      {"parameter", "shape", "class", "because", "rule", "from", "lr", "decay", "adapts"}};
  // Columns that most recipes have no use for.
  const bool layers = std::ranges::any_of(plan, [](const auto& p) { return p.layer.has_value(); });
  const bool scales = std::ranges::any_of(plan, [](const auto& p) { return p.lr_scale != 1; });
  const bool freezes =
      std::ranges::any_of(plan, [](const auto& p) { return FrozenText(p) != "-"; });
  const auto add_columns = [&](const std::string& layer, const std::string& scale,
                               const std::string& frozen) {
    if (layers) rows.back().push_back(layer);
    if (scales) rows.back().push_back(scale);
    if (freezes) rows.back().push_back(frozen);
  };
  add_columns("layer", "lr_scale", "frozen");
  for (size_t i = 0; i < plan.size(); ++i) {
    const auto value = [&](const char* name) {
      const double x = OptionOf(plan[i], name);
      return std::isnan(x) ? "-" : fmt::format("{:.6g}", x);
    };
    rows.push_back({plan[i].name,
                    fmt::format("[{}]", fmt::join(optimizer.tensors()[i].shape, ", ")),
                    std::string(Name(plan[i].tensor_class)),
                    ReasonOf(optimizer.tensors()[i], complete), plan[i].rule, SourceOf(plan[i]),
                    value("lr"), value("weight_decay"), AdaptsText(plan[i], complete)});
    add_columns(plan[i].layer ? std::to_string(*plan[i].layer) : "-",
                fmt::format("{:.6g}", plan[i].lr_scale), FrozenText(plan[i]));
  }
  std::vector<std::vector<std::string>> rules;
  const auto add = [&](int group, const std::string& rule, const Options& options) {
    const auto uses = [group](const TensorPlan& p) { return p.group == group; };
    const auto count = std::count_if(plan.begin(), plan.end(), uses);
    if (count == 0) return;
    rules.push_back({SourceOf(*std::find_if(plan.begin(), plan.end(), uses)),
                     fmt::format("{} of {}", count, plan.size()), rule, OptionsText(options)});
  };
  const auto with_penalties = [&](Options options, const Group& group) {
    const auto& l1 = group.l1 ? group.l1 : complete.l1;
    const auto& l2 = group.l2 ? group.l2 : complete.l2;
    if (l1) options.insert_or_assign("l1", *l1);
    if (l2) options.insert_or_assign("l2", *l2);
    if (group.lr_scale != 1) options.insert_or_assign("lr_scale", group.lr_scale);
    return options;
  };
  add(-1, complete.rule, with_penalties(complete.options, {}));
  if (const auto& fallback = complete.fallback) {
    add(-2, fallback->rule, with_penalties(fallback->options, {}));
  }
  for (size_t i = 0; i < complete.groups.size(); ++i) {
    const Group& group = complete.groups[i];
    add(static_cast<int>(i), group.rule, with_penalties(group.options, group));
  }
  rules.insert(rules.begin(), {"from", "parameters", "rule", "options"});
  std::string notes =
      "lr and decay (weight_decay) are those of the first step. The class determines whether decay "
      "applies\n(no_decay), the fallback and, for rules with a trust ratio, whether that is used "
      "(adapts).\n";
  if (scales) notes += "lr is already multiplied by lr_scale.\n";
  if (freezes) {
    notes +=
        "A frozen parameter stays as it is: before the step behind \"until\", and from the step "
        "behind "
        "\"from\" on.\n";
  }
  return fmt::format("{}\n{}\n{}", TextTable(rows), TextTable(rules), notes);
}

std::string ScheduleLines(const OptimizerSpec& spec, const RunLength& run) {
  std::string lines;
  const auto add = [&](const std::string& prefix, const Options& options) {
    for (const auto& [name, schedule] : options) {
      if (schedule.IsResolved()) continue;
      lines += fmt::format("optimizer.{}{} is {}\n", prefix, name, schedule.Resolve(run).Text());
    }
  };
  add("", spec.options);
  if (spec.fallback) add("fallback.", spec.fallback->options);
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    const Group& group = spec.groups[i];
    add(fmt::format("group.{}.", i), group.options);
    for (const auto& [name, step] :
         {std::pair{"frozen_until", group.frozen_until}, {"frozen_from", group.frozen_from}}) {
      if (!step || !std::holds_alternative<RunSteps>(*step)) continue;
      lines += fmt::format("optimizer.group.{}.{} is {}\n", i, name, ResolveStep(*step, run));
    }
  }
  for (const std::string& misfit : ScheduleMisfits(spec, run)) {
    lines += fmt::format("warning: optimizer.{}\n", misfit);
  }
  return lines;
}

std::string OptimizerText(const OptimizerSpec& spec) {
  std::vector<std::string> parts;
  const auto add = [&](const std::string& rule, const Options& options) {
    const auto lr = options.find("lr");
    parts.push_back(lr == options.end() ? rule : fmt::format("{}, lr {}", rule, lr->second.Text()));
  };
  if (!spec.rule.empty()) add(spec.rule, spec.options);
  for (const Group& group : spec.groups) {
    if (!group.rule.empty() && group.rule != spec.rule) add(group.rule, group.options);
  }
  if (spec.source != "plain") parts.push_back("source " + spec.source);
  if (spec.accumulate > 1) parts.push_back(fmt::format("accumulate {}", spec.accumulate));
  if (spec.clip_norm) parts.push_back("clip_norm " + spec.clip_norm->Text());
  if (spec.clip_value) parts.push_back("clip_value " + spec.clip_value->Text());
  if (spec.agc) parts.push_back("agc " + spec.agc->clip.Text());
  if (spec.centralize) parts.emplace_back("centralize");
  if (spec.lookahead) parts.emplace_back("lookahead");
  if (spec.ema) parts.emplace_back("ema");
  if (spec.swa) parts.emplace_back("swa");
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace kudari::lab
