#include "kudari/batch_scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <utility>
#include <variant>

#include "core/schedule_curves.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "optimizer/spec_options.h"

namespace kudari {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"none", "linear", "sqrt", "adam_sde"};

void CheckKappa(double kappa) {
  if (!(kappa > 0) || !std::isfinite(kappa)) {
    throw Error("kappa = " + NumberText(kappa) + " is outside (0, inf)");
  }
}

Schedule Scaled(const Schedule& schedule, double kappa);

ArgumentValue ScaledArgument(const ScheduleArgument& argument, double kappa) {
  if (const auto* part = std::get_if<Schedule>(&argument.value)) return Scaled(*part, kappa);
  const auto scaled = [kappa](double steps) {
    return static_cast<double>(ScaleSteps(static_cast<int64_t>(steps), kappa));
  };
  // What is relative to the run is as many samples as before already.
  if (const auto* steps = std::get_if<double>(&argument.value)) {
    return argument.kind == ArgumentKind::kSteps ? scaled(*steps) : *steps;
  }
  if (const auto* list = std::get_if<std::vector<double>>(&argument.value)) {
    std::vector<double> all = *list;
    for (double& steps : all) steps = scaled(steps);
    return all;
  }
  if (const auto* list = std::get_if<std::vector<StepCount>>(&argument.value)) {
    std::vector<StepCount> all = *list;
    for (StepCount& count : all) {
      if (double* const steps = std::get_if<double>(&count)) *steps = scaled(*steps);
    }
    return all;
  }
  return argument.value;
}

// By how much the steps of that name became more, times kappa; 1 if they are relative to the run.
double Stretch(const std::vector<ScheduleArgument>& before,
               const std::vector<ScheduleArgument>& after, std::string_view name, double kappa) {
  const auto steps = [name](const std::vector<ScheduleArgument>& arguments) {
    const auto at = std::find_if(arguments.begin(), arguments.end(),
                                 [name](const ScheduleArgument& a) { return a.name == name; });
    return std::get_if<double>(&at->value);
  };
  const double* const now = steps(after);
  return now == nullptr ? 1 : kappa * (*now / *steps(before));
}

// One factor of a product. A factor or a rate follows the steps that it is for as they were
// rounded, so that the decay over the samples is what it was.
Schedule ScaledFactor(const Schedule& factor, double kappa) {
  const std::vector<ScheduleArgument> before = factor.Arguments();
  std::vector<ScheduleArgument> after = before;
  for (ScheduleArgument& a : after) a.value = ScaledArgument(a, kappa);
  double height = 1;  // what the curve has to be multiplied with to be as high as it was
  for (ScheduleArgument& a : after) {
    double* const x = std::get_if<double>(&a.value);
    if (a.kind == ArgumentKind::kFactor || a.kind == ArgumentKind::kRate) {
      const double stretch = a.per.empty() ? kappa : Stretch(before, after, a.per, kappa);
      if (stretch != 1) {
        *x = a.kind == ArgumentKind::kFactor ? std::pow(*x, stretch) : *x * stretch;
      }
    } else if (a.kind == ArgumentKind::kWidth) {
      // noam has its height from its warm-up and its number of steps, and is sqrt(kappa) times as
      // high with kappa times fewer of both; with the width times kappa it is as high as before.
      const double wanted = *x * kappa;
      *x = std::max(1.0, std::round(wanted));
      height = std::sqrt(*x / wanted);
    }
  }
  const auto same = [](const ScheduleArgument& a, const ScheduleArgument& b) {
    return a.value == b.value;
  };
  if (std::equal(before.begin(), before.end(), after.begin(), same)) return factor;
  const Schedule scaled = MakeSchedule(factor.Function(), after);
  return height == 1 ? scaled : height * scaled;
}

Schedule Scaled(const Schedule& schedule, double kappa) {
  std::vector<Schedule> factors = schedule.Factors();
  for (Schedule& f : factors) f = ScaledFactor(f, kappa);
  return internal::MakeProduct(factors);
}

// The product, as one number with the schedule's first factor if that is one.
Schedule Times(double factor, const Schedule& schedule) {
  if (factor == 1) return schedule;
  std::vector<Schedule> factors = schedule.Factors();
  if (!factors.front().IsConstant()) return factor * schedule;
  factors.front() = factor * factors.front()(0);
  return internal::MakeProduct(factors);
}

// The rules that adam_sde is defined for.
std::string SdeRules(const Registry& registry) {
  std::vector<std::string> names;
  for (const RuleEntry& r : registry.rules()) {
    if (r.batch_rule == BatchRule::kAdamSde) names.push_back(r.name);
  }
  std::sort(names.begin(), names.end());
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

// An option by the SDE rule; it must not be a schedule.
double ScaledBySde(const RuleEntry::Option& option, const Schedule& value, double kappa) {
  if (!value.IsConstant()) {
    throw Error("\"" + value.Text() + "\" is a schedule; adam_sde is defined for numbers only");
  }
  if (option.role == Role::kDecay) return ScaleBeta(value(0), kappa);
  const double eps = ScaleEps(value(0), kappa);
  return option.role == Role::kEpsInside ? ScaleEps(eps, kappa) : eps;
}

// Scales the decays and eps of a rule by the SDE rule; `where` begins messages.
void ScaleMoments(Options& options, const RuleEntry& rule, double kappa, const std::string& where,
                  const Registry& registry) {
  if (rule.batch_rule != BatchRule::kAdamSde) {
    throw Error(where + "rule = \"" + rule.name + "\": adam_sde is defined for " +
                SdeRules(registry) + "; sqrt is the part of it that applies to other rules");
  }
  for (const RuleEntry::Option& o : rule.options) {
    const bool scaled =
        o.role == Role::kDecay || o.role == Role::kEps || o.role == Role::kEpsInside;
    const auto value = options.find(o.name);
    if (!scaled || value == options.end()) continue;
    try {
      value->second = ScaledBySde(o, value->second, kappa);
    } catch (const Error& e) {
      throw Error(where + o.name + ": " + e.what());
    }
  }
}

// Scales the options of one rule; `where` begins messages.
void ScaleOptions(Options& options, const RuleEntry& rule, double kappa, BatchRule batch_rule,
                  const std::string& where, const Registry& registry) {
  if (const auto lr = options.find("lr"); lr != options.end()) {
    lr->second = Times(ScaleLr(batch_rule, 1, kappa), lr->second);
  }
  if (batch_rule == BatchRule::kAdamSde) ScaleMoments(options, rule, kappa, where, registry);
  for (auto& [name, schedule] : options) {
    schedule = ScaleSteps(schedule, kappa);
    const bool rate = rule.options[rule.OptionIndex(name)].role == Role::kRate;
    if (rate) schedule = Times(kappa, schedule);
  }
}

// Calls f(options, rule, batch rule, what messages begin with) for all that have options.
template <class F>
void ForRules(OptimizerSpec& spec, double kappa, std::optional<BatchRule> wanted,
              const Registry& registry, const F& f) {
  const auto chosen = [&](const std::string& rule, const Options& options) {
    return wanted ? *wanted : DefaultBatchRule(rule, options, kappa, registry).rule;
  };
  // Groups without a rule of their own are scaled as the main options, which f may change, are.
  const BatchRule main = chosen(spec.rule, spec.options);
  if (!spec.rule.empty()) f(spec.options, registry.Find(spec.rule), main, std::string());
  if (spec.fallback) {
    auto& [rule, options] = *spec.fallback;
    f(options, registry.Find(rule), chosen(rule, options), std::string("fallback: "));
  }
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    Group& g = spec.groups[i];
    const bool own = !g.rule.empty() && g.rule != spec.rule;
    f(g.options, registry.Find(own ? g.rule : spec.rule), own ? chosen(g.rule, g.options) : main,
      "group " + std::to_string(i) + ": ");
  }
}

// Scales an option of a stage: numbers of steps, those in a schedule, and averages.
template <class C>
void ScaleOption(const internal::Option<C>& option, C& config, double kappa) {
  const auto scale = [&](auto member) {
    if constexpr (requires { config.*member; }) {
      auto& value = config.*member;
      using T = std::remove_reference_t<decltype(value)>;
      if constexpr (std::is_same_v<T, Schedule>) {
        value = ScaleSteps(value, kappa);
      } else if constexpr (std::is_same_v<T, std::optional<Schedule>>) {
        if (value) value = ScaleSteps(*value, kappa);
      } else if constexpr (std::is_same_v<T, int64_t>) {
        if (option.role == Role::kSteps) value = ScaleSteps(value, kappa);
      } else if constexpr (std::is_same_v<T, double>) {
        if (option.role == Role::kDecay) value = ScaleAverage(value, kappa);
      } else if constexpr (std::is_same_v<T, std::optional<StepNumber>>) {
        // What is relative to the run is as many samples as before already.
        int64_t* const steps = value ? std::get_if<int64_t>(&*value) : nullptr;
        if (steps != nullptr) *steps = ScaleSteps(*steps, kappa);
      }
    }
  };
  std::visit(scale, option.member);
}

// Whether an option is not a switch that is off.
template <class C>
bool IsOn(const internal::Option<C>& option, const C& config) {
  const auto* const flag = std::get_if<bool C::*>(&option.member);
  return flag == nullptr || config.**flag;
}

}  // namespace

std::string_view Name(BatchRule rule) { return kNames[static_cast<size_t>(rule)]; }

std::vector<std::string> BatchRuleNames() { return {kNames.begin(), kNames.end()}; }

BatchRule ParseBatchRule(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<BatchRule>(i);
  }
  throw Error("unknown batch rule \"" + std::string(name) + "\"" + Suggest(name, BatchRuleNames()));
}

double ScaleLr(BatchRule rule, double lr, double kappa) {
  CheckKappa(kappa);
  if (rule == BatchRule::kNone) return lr;
  return rule == BatchRule::kLinear ? lr * kappa : lr * std::sqrt(kappa);
}

double ScaleBeta(double beta, double kappa) {
  CheckKappa(kappa);
  CheckRange("beta", beta, 0, kBelow1);
  const double rest = kappa * (1 - beta);
  if (rest >= 1 && kappa != 1) {
    throw Error("kappa (1 - beta) = " + NumberText(kappa) + " * (1 - " + NumberText(beta) +
                ") is not below 1: adam_sde is defined for kappa < " +
                NumberText(std::round(1e6 / (1 - beta)) / 1e6) + "; use sqrt, or a smaller batch");
  }
  return kappa == 1 ? beta : 1 - rest;
}

double ScaleEps(double eps, double kappa) {
  CheckKappa(kappa);
  return eps / std::sqrt(kappa);
}

double ScaleAverage(double decay, double kappa) {
  CheckKappa(kappa);
  return std::pow(decay, kappa);
}

int64_t ScaleSteps(int64_t steps, double kappa) {
  CheckKappa(kappa);
  if (steps == 0) return 0;
  const double scaled = std::round(static_cast<double>(steps) / kappa);
  constexpr double kMost = 9007199254740992;  // 2^53: what a schedule takes
  if (scaled > kMost) {
    throw Error("steps = " + std::to_string(steps) + " / kappa " + NumberText(kappa) +
                " is more than 2^53");
  }
  return std::max<int64_t>(1, static_cast<int64_t>(scaled));
}

Schedule ScaleSteps(const Schedule& schedule, double kappa) {
  CheckKappa(kappa);
  if (kappa == 1) return schedule;
  try {
    return Scaled(schedule, kappa);
  } catch (const Error& e) {
    throw Error("\"" + schedule.Text() + "\" with its steps divided by " + NumberText(kappa) +
                ": " + e.what());
  }
}

double ScheduleError(const Schedule& before, const Schedule& after, double kappa, int64_t steps) {
  CheckKappa(kappa);
  constexpr int64_t kPoints = 1000, kWindow = 8;
  const int64_t stride = std::max<int64_t>(1, steps / kPoints);
  double largest = 0, error = 0;
  for (int64_t s = 0; s < steps; s += stride) {
    double low = kInfinity, high = -kInfinity;
    for (int64_t k = -kWindow; k <= kWindow; ++k) {
      const double at = kappa * (static_cast<double>(s) + static_cast<double>(k) / kWindow);
      const auto step = static_cast<int64_t>(k < 0 ? std::floor(at) : std::ceil(at));
      const double x = before(std::max<int64_t>(0, step));
      low = std::min(low, x);
      high = std::max(high, x);
    }
    largest = std::max({largest, std::abs(low), std::abs(high)});
    error = std::max({error, low - after(s), after(s) - high});
  }
  return largest == 0 ? error : error / largest;
}

BatchChoice DefaultBatchRule(std::string_view rule, const Options& options, double kappa,
                             const Registry& registry) {
  CheckKappa(kappa);
  if (rule.empty()) return {BatchRule::kSqrt, "each group has its own rule and batch rule"};
  const RuleEntry& entry = registry.Find(rule);
  if (entry.batch_rule == BatchRule::kLinear) {
    return {BatchRule::kLinear,
            "a step of " + std::string(rule) +
                " that averages kappa times the samples may be kappa times as long, within limits "
                "(Goyal et al., arXiv:1706.02677)"};
  }
  if (entry.batch_rule == BatchRule::kAdamSde) {
    double limit = kInfinity;
    for (const RuleEntry::Option& beta : entry.options) {
      const auto at = options.find(beta.name);
      if (beta.role != Role::kDecay || at == options.end()) continue;
      if (!at->second.IsConstant()) {
        return {BatchRule::kSqrt, beta.name +
                                      " is a schedule, for which adam_sde is not defined; its "
                                      "learning rate is that of sqrt"};
      }
      limit = std::min(limit, 1 / (1 - at->second(0)));
    }
    // As ScaleBeta decides, whose product of kappa and 1 - beta is rounded another way.
    if (kappa == 1 || kappa < limit * (1 - 1e-12)) {
      return {BatchRule::kAdamSde, std::string(rule) +
                                       " keeps its dynamics if betas and eps follow the batch as "
                                       "well (Malladi et al., arXiv:2205.10287)"};
    }
    return {BatchRule::kSqrt,
            "adam_sde is defined up to kappa = " + NumberText(std::round(limit * 1e6) / 1e6) +
                ", where a beta would be 0; its learning rate is that of sqrt"};
  }
  return {BatchRule::kSqrt, "the square root is customary for " + std::string(rule) +
                                ", without a derivation, and changes less than the linear rule"};
}

OptimizerSpec ScaleBatch(const OptimizerSpec& spec, double kappa, std::optional<BatchRule> rule,
                         const Registry& registry) {
  CheckKappa(kappa);
  OptimizerSpec scaled = Complete(spec, registry);
  ForRules(scaled, kappa, rule, registry,
           [&](Options& options, const RuleEntry& entry, BatchRule batch_rule,
               const std::string& where) {
             ScaleOptions(options, entry, kappa, batch_rule, where, registry);
           });
  internal::ForTables(scaled,
                      [&](const std::string& /*prefix*/, auto& config, const auto& options) {
                        for (const auto& option : options) ScaleOption(option, config, kappa);
                      });
  return scaled;
}

std::vector<std::pair<std::string, Schedule>> StageValues(const OptimizerSpec& spec) {
  std::vector<std::pair<std::string, Schedule>> values;
  internal::ForTables(spec, [&](const std::string& prefix, const auto& config,
                                const auto& options) {
    using C = std::remove_cvref_t<decltype(config)>;
    for (const internal::Option<C>& o : options) {
      const auto* const schedule = std::get_if<Schedule C::*>(&o.member);
      const auto* const optional = std::get_if<std::optional<Schedule> C::*>(&o.member);
      if (schedule != nullptr) {
        values.emplace_back(prefix + o.name, config.**schedule);
      } else if (optional != nullptr && config.**optional) {
        values.emplace_back(prefix + o.name, *(config.**optional));
      } else if (const auto* const step = std::get_if<std::optional<StepNumber> C::*>(&o.member)) {
        if (!(config.**step)) continue;
        if (const auto* const count = std::get_if<int64_t>(&*(config.**step))) {
          values.emplace_back(prefix + o.name, static_cast<double>(*count));
        }
      } else if (o.role == Role::kSteps || o.role == Role::kDecay) {
        values.emplace_back(prefix + o.name,
                            ParseSchedule(internal::OptionText(o, config).value_or("0")));
      }
    }
  });
  return values;
}

std::vector<std::string> KeptByScaleBatch(const OptimizerSpec& spec, double kappa,
                                          std::optional<BatchRule> rule, const Registry& registry) {
  CheckKappa(kappa);
  OptimizerSpec complete = Complete(spec, registry);
  std::vector<std::string> kept;
  ForRules(complete, kappa, rule, registry,
           [&](const Options& options, const RuleEntry& entry, BatchRule batch_rule,
               const std::string& where) {
             const bool sde =
                 batch_rule == BatchRule::kAdamSde && entry.batch_rule == BatchRule::kAdamSde;
             for (const RuleEntry::Option& o : entry.options) {
               const bool counts = o.role == Role::kCounts || (o.role == Role::kDecay && !sde);
               if (counts && options.contains(o.name)) kept.push_back(where + o.name);
             }
           });
  const auto stages = std::ssize(kept);
  const internal::SourceEntry& source = internal::FindSource(complete.source);
  internal::ForTables(
      complete, [&](const std::string& prefix, const auto& config, const auto& options) {
        for (const auto& o : options) {
          const bool unused = prefix == "sharpness." && !source.UsesSharpness(o.name);
          if (o.role == Role::kCounts && !unused && IsOn(o, config))
            kept.push_back(prefix + o.name);
        }
      });
  std::sort(kept.begin() + stages, kept.end());
  return kept;
}

}  // namespace kudari
