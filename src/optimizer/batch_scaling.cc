#include "kudari/batch_scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/schedule_text.h"
#include "core/suggest.h"
#include "kudari/error.h"
#include "kudari/recipe.h"

namespace kudari {
namespace {

using internal::NumberOf;
using internal::NumberText;
using internal::SplitOutside;

constexpr std::array<std::string_view, 4> kNames = {"none", "linear", "sqrt", "adam_sde"};

/// What the SDE rule changes in a rule.
struct SdeOptions {
  std::string_view rule;
  std::vector<std::string_view> betas;
  /// eps is added to a root of squares, or to the squares themselves.
  bool inside_root = false;
};

const std::vector<SdeOptions>& SdeRules() {
  static const std::vector<SdeOptions> rules = {
      {"adam", {"beta1", "beta2"}},    {"adamw", {"beta1", "beta2"}},
      {"amsgrad", {"beta1", "beta2"}}, {"nadam", {"beta1", "beta2"}},
      {"radam", {"beta1", "beta2"}},   {"rmsprop", {"alpha"}},
      {"rmsprop_centered", {"alpha"}}, {"rmsprop_inside", {"alpha"}, true},
  };
  return rules;
}

const SdeOptions* FindSde(std::string_view rule) {
  const auto at = std::find_if(SdeRules().begin(), SdeRules().end(),
                               [rule](const SdeOptions& s) { return s.rule == rule; });
  return at == SdeRules().end() ? nullptr : &*at;
}

bool IsSgd(std::string_view rule) {
  constexpr std::array<std::string_view, 8> kSgd = {
      "sgd",  "momentum",     "nesterov",   "schedule_free_sgd",
      "lars", "lars_outside", "lars_joint", "larc"};
  return std::find(kSgd.begin(), kSgd.end(), rule) != kSgd.end();
}

void CheckKappa(double kappa) {
  if (!(kappa > 0) || !std::isfinite(kappa)) {
    throw Error("kappa = " + NumberText(kappa) + " is outside (0, inf)");
  }
}

double Constant(const Options& options, std::string_view name) {
  const Schedule& s = options.at(std::string(name));
  if (!s.IsConstant()) {
    throw Error("\"" + s.Text() + "\" is a schedule; adam_sde is defined for a number");
  }
  return s(0);
}

// Integers of schedules are numbers of steps, but for these.
bool CountsSteps(const OptionDescription& argument) {
  return argument.range.find("integer") != std::string::npos && argument.name != "cycles" &&
         argument.name != "width";
}

std::string ScaledText(std::string_view text, double kappa);

std::string ScaledArgument(const OptionDescription& described, std::string_view text,
                           double kappa) {
  if (described.range == "a schedule") return ScaledText(text, kappa);
  if (!CountsSteps(described)) return std::string(text);
  if (text.starts_with('[')) {
    std::string list;
    for (const std::string_view item : SplitOutside(text.substr(1, text.size() - 2), ", ")) {
      list += (list.empty() ? "[" : ", ") + ScaledArgument(described, item, kappa);
    }
    return list + "]";
  }
  const auto steps = static_cast<int64_t>(NumberOf(text).value());
  return std::to_string(ScaleSteps(steps, kappa));
}

// A number in a schedule that is for one step, or for as many as another argument says. It follows
// that number as it was rounded, so that the decay over the samples is what it was.
struct Rate {
  std::string_view schedule, name;
  std::string_view steps;  // empty: one
  bool factor;             // over these steps; otherwise what is added
};
constexpr Rate kRates[] = {
    {"exponential", "gamma", "steps", true},  {"exp_decay", "rate", "", false},
    {"exp_range", "gamma", "", true},         {"step", "gamma", "steps", true},
    {"inverse_time", "rate", "steps", false}, {"inverse_time_staircase", "rate", "steps", false}};

// Numbers for a step that are options of rules. In place of t they see kappa t.
constexpr std::array<std::string_view, 2> kRuleRates = {"lr_decay", "momentum_decay"};

// A call by its arguments in order.
struct Call {
  std::string_view name;
  const Description& described;
  std::vector<std::string> arguments;

  std::string& operator[](std::string_view argument) {
    const auto at = std::find_if(described.options.begin(), described.options.end(),
                                 [&](const OptionDescription& o) { return o.name == argument; });
    return arguments.at(static_cast<size_t>(at - described.options.begin()));
  }
  double Number(std::string_view argument) { return NumberOf((*this)[argument]).value(); }
  std::string Text() const {
    std::string text = std::string(name) + "(";
    for (const std::string& a : arguments) text += (&a == arguments.data() ? "" : ", ") + a;
    return text + ")";
  }
};

void ScaleRate(const Rate& rate, Call& before, Call& after, double kappa) {
  double stretch = kappa;
  if (!rate.steps.empty()) stretch *= after.Number(rate.steps) / before.Number(rate.steps);
  if (stretch == 1) return;
  const double x = before.Number(rate.name);
  after[rate.name] = NumberText(rate.factor ? std::pow(x, stretch) : x * stretch);
}

// noam has its height from its warm-up and its number of steps, and is sqrt(kappa) times as high
// with kappa times fewer of both; with the width times kappa it is as high as before.
std::string ScaledNoam(Call& call, double kappa) {
  const double wanted = call.Number("width") * kappa;
  const double width = std::max(1.0, std::round(wanted));
  call["width"] = NumberText(width);
  if (width == wanted) return call.Text();
  return NumberText(std::sqrt(width / wanted)) + " * " + call.Text();
}

// A number or a call.
std::string ScaledFactor(std::string_view text, const std::vector<Description>& schedules,
                         double kappa) {
  const size_t open = text.find('(');
  if (open == std::string_view::npos) return std::string(text);
  const std::string_view name = text.substr(0, open);
  const std::vector<std::string_view> arguments =
      SplitOutside(text.substr(open + 1, text.size() - open - 2), ", ");
  const auto described = std::find_if(
      schedules.begin(), schedules.end(),
      [&](const Description& d) { return d.name == name && d.options.size() == arguments.size(); });
  if (described == schedules.end())
    throw Error("schedule: no form of \"" + std::string(text) + '"');
  Call before{name, *described, {arguments.begin(), arguments.end()}}, after = before;
  for (size_t i = 0; i < arguments.size(); ++i) {
    after.arguments[i] = ScaledArgument(described->options[i], arguments[i], kappa);
  }
  for (const Rate& rate : kRates) {
    if (rate.schedule == name) ScaleRate(rate, before, after, kappa);
  }
  return name == "noam" ? ScaledNoam(after, kappa) : after.Text();
}

std::string ScaledText(std::string_view text, double kappa) {
  static const std::vector<Description> schedules = DescribeSchedules();
  std::string scaled;
  for (const std::string_view factor : SplitOutside(text, " * ")) {
    scaled += (scaled.empty() ? "" : " * ") + ScaledFactor(factor, schedules, kappa);
  }
  return scaled;
}

// The product, as one number with the schedule's first factor if that is one.
Schedule Times(double factor, const Schedule& schedule) {
  if (factor == 1) return schedule;
  const std::string_view text = schedule.Text();
  const std::string_view first = SplitOutside(text, " * ").front();
  const std::optional<double> number = NumberOf(first);
  if (!number) return factor * schedule;
  return ParseSchedule(NumberText(factor * *number) + std::string(text.substr(first.size())));
}

// Scales the decays and eps of a rule by the SDE rule; `where` begins messages.
void ScaleMoments(Options& options, const std::string& rule, double kappa,
                  const std::string& where) {
  const SdeOptions* const sde = FindSde(rule);
  if (sde == nullptr) {
    std::string known;
    for (const SdeOptions& s : SdeRules()) {
      known += (known.empty() ? "" : ", ") + std::string(s.rule);
    }
    throw Error(where + "rule = \"" + rule + "\": adam_sde is defined for " + known +
                "; sqrt is the part of it that others can have");
  }
  try {
    for (const std::string_view beta : sde->betas) {
      if (!options.contains(std::string(beta))) continue;
      try {
        options.at(std::string(beta)) = ScaleBeta(Constant(options, beta), kappa);
      } catch (const Error& e) {
        throw Error(std::string(beta) + ": " + e.what());
      }
    }
    if (options.contains("eps")) {
      const double eps = ScaleEps(Constant(options, "eps"), kappa);
      options.at("eps") = sde->inside_root ? ScaleEps(eps, kappa) : eps;
    }
  } catch (const Error& e) {
    throw Error(where + e.what());
  }
}

// Scales the options of one rule; `where` begins messages.
void ScaleOptions(Options& options, const std::string& rule, double kappa, BatchRule batch_rule,
                  const std::string& where) {
  if (const auto lr = options.find("lr"); lr != options.end()) {
    lr->second = Times(ScaleLr(batch_rule, 1, kappa), lr->second);
  }
  if (batch_rule == BatchRule::kAdamSde) ScaleMoments(options, rule, kappa, where);
  for (auto& [name, schedule] : options) {
    schedule = ScaleSteps(schedule, kappa);
    if (std::find(kRuleRates.begin(), kRuleRates.end(), name) != kRuleRates.end()) {
      schedule = Times(kappa, schedule);
    }
  }
}

// Calls f(options, rule, batch rule, what messages begin with) for all that have options.
template <class F>
void ForRules(OptimizerSpec& spec, double kappa, std::optional<BatchRule> wanted, const F& f) {
  const auto chosen = [&](const std::string& rule, const Options& options) {
    return wanted ? *wanted : DefaultBatchRule(rule, options, kappa).rule;
  };
  // Groups without a rule of their own are scaled as the main options, which f may change, are.
  const BatchRule main = chosen(spec.rule, spec.options);
  if (!spec.rule.empty()) f(spec.options, spec.rule, main, std::string());
  if (spec.fallback) {
    auto& [rule, options] = *spec.fallback;
    f(options, rule, chosen(rule, options), std::string("fallback: "));
  }
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    Group& g = spec.groups[i];
    const bool own = !g.rule.empty() && g.rule != spec.rule;
    f(g.options, own ? g.rule : spec.rule, own ? chosen(g.rule, g.options) : main,
      "group " + std::to_string(i) + ": ");
  }
}

void ScaleOptional(std::optional<Schedule>& schedule, double kappa) {
  if (schedule) schedule = ScaleSteps(*schedule, kappa);
}

}  // namespace

std::string_view Name(BatchRule rule) { return kNames[static_cast<size_t>(rule)]; }

std::vector<std::string> BatchRuleNames() { return {kNames.begin(), kNames.end()}; }

BatchRule ParseBatchRule(std::string_view name) {
  const auto* const at = std::find(kNames.begin(), kNames.end(), name);
  if (at == kNames.end()) {
    throw Error("unknown batch rule \"" + std::string(name) + "\"" +
                internal::Suggest(name, BatchRuleNames()));
  }
  return static_cast<BatchRule>(at - kNames.begin());
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
                internal::NumberText(std::round(1e6 / (1 - beta)) / 1e6) +
                "; use sqrt, or a smaller batch");
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
    return ParseSchedule(ScaledText(schedule.Text(), kappa));
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

BatchChoice DefaultBatchRule(std::string_view rule, const Options& options, double kappa) {
  CheckKappa(kappa);
  if (IsSgd(rule)) {
    return {BatchRule::kLinear,
            "a step of " + std::string(rule) +
                " that averages kappa times the samples may be kappa times as long, within limits "
                "(Goyal et al., arXiv:1706.02677)"};
  }
  if (const SdeOptions* const sde = FindSde(rule)) {
    double limit = kInfinity;
    for (const std::string_view beta : sde->betas) {
      const auto at = options.find(std::string(beta));
      if (at == options.end()) continue;
      if (!at->second.IsConstant()) {
        return {BatchRule::kSqrt, std::string(beta) +
                                      " is a schedule, for which adam_sde is not defined; its "
                                      "learning rate is that of sqrt"};
      }
      limit = std::min(limit, 1 / (1 - at->second(0)));
    }
    // As ScaleBeta decides, whose product of kappa and 1 - beta is rounded another way.
    if (kappa == 1 || kappa < limit * (1 - 1e-12)) {
      return {BatchRule::kAdamSde,
              std::string(rule) +
                  " keeps its dynamics if betas and eps follow the batch, too (Malladi et al., "
                  "arXiv:2205.10287)"};
    }
    return {BatchRule::kSqrt,
            "adam_sde ends at kappa = " + NumberText(std::round(limit * 1e6) / 1e6) +
                ", where a beta would be 0; its learning rate is that of sqrt"};
  }
  return {BatchRule::kSqrt, "the square root is what is used for " + std::string(rule) +
                                ", without a derivation, and changes less than the linear rule"};
}

OptimizerSpec ScaleBatch(const OptimizerSpec& spec, double kappa, std::optional<BatchRule> rule,
                         const Registry& registry) {
  CheckKappa(kappa);
  OptimizerSpec scaled = Complete(spec, registry);
  ForRules(
      scaled, kappa, rule,
      [kappa](Options& options, const std::string& name, BatchRule batch_rule,
              const std::string& where) { ScaleOptions(options, name, kappa, batch_rule, where); });
  ScaleOptional(scaled.l1, kappa);
  ScaleOptional(scaled.l2, kappa);
  for (Group& group : scaled.groups) {
    ScaleOptional(group.l1, kappa);
    ScaleOptional(group.l2, kappa);
  }
  ScaleOptional(scaled.clip_norm, kappa);
  ScaleOptional(scaled.clip_value, kappa);
  if (scaled.agc) scaled.agc->clip = ScaleSteps(scaled.agc->clip, kappa);
  if (scaled.sharpness) {
    ScaleOptional(scaled.sharpness->rho, kappa);
    ScaleOptional(scaled.sharpness->alpha, kappa);
    for (auto& radius : scaled.sharpness->groups) radius.rho = ScaleSteps(radius.rho, kappa);
  }
  if (scaled.ema) scaled.ema->decay = ScaleAverage(scaled.ema->decay, kappa);
  if (scaled.swa) {
    scaled.swa->start = ScaleSteps(scaled.swa->start, kappa);
    scaled.swa->every = ScaleSteps(scaled.swa->every, kappa);
  }
  return scaled;
}

std::vector<std::string> KeptByScaleBatch(const OptimizerSpec& spec, double kappa,
                                          std::optional<BatchRule> rule, const Registry& registry) {
  CheckKappa(kappa);
  OptimizerSpec complete = Complete(spec, registry);
  std::vector<std::string> kept;
  ForRules(complete, kappa, rule,
           [&](const Options& options, const std::string& name, BatchRule batch_rule,
               const std::string& where) {
             const SdeOptions* const sde =
                 batch_rule == BatchRule::kAdamSde ? FindSde(name) : nullptr;
             for (const RuleEntry::Option& o : registry.Find(name).options) {
               // adafactor's exponent of the number of updates; sophia's size of a batch.
               const bool counts = o.doc.starts_with("decay of") || o.name == "beta2_decay" ||
                                   o.name == "batch_size";
               if (!counts || !options.contains(o.name)) continue;
               const auto scaled = [&](std::string_view beta) { return beta == o.name; };
               if (sde && std::any_of(sde->betas.begin(), sde->betas.end(), scaled)) continue;
               kept.push_back(where + o.name);
             }
           });
  if (complete.ema && complete.ema->warmup) kept.emplace_back("ema.warmup");
  if (complete.lookahead) kept.emplace_back("lookahead.k");
  const std::string& source = complete.source;
  if (source == "looksam" || source == "look_layersam" || source == "sam_k") {
    kept.emplace_back("sharpness.k");
  }
  return kept;
}

}  // namespace kudari
