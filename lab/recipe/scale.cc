#include "lab/recipe/scale.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "kudari/batch_scaling.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/files/text_file.h"
#include "lab/recipe/edit_recipe.h"

namespace kudari::lab {
namespace {

// A run to see a schedule in that is relative to one; how long the recipe's own is depends on data
// that scaling does not read. Epochs are a hundredth of it.
RunLength RunOf(double steps) {
  const double whole = std::max(1.0, std::round(steps));
  return {.steps = static_cast<int64_t>(whole), .steps_per_epoch = whole / 100};
}

// The largest value of a schedule, as far as its steps are looked at.
double Peak(const Schedule& schedule) {
  if (schedule.IsConstant()) return schedule(0);
  constexpr int64_t kSteps = 100'000;
  const Schedule resolved = schedule.Resolve(RunOf(kSteps));
  double peak = resolved(0);
  for (int64_t s = 1; s < kSteps; ++s) peak = std::max(peak, resolved(s));
  return peak;
}

// A value of the rule's options, if there is one and it is a number.
std::optional<double> Constant(const OptimizerSpec& spec, const std::string& name) {
  const auto at = spec.options.find(name);
  if (at == spec.options.end() || !at->second.IsConstant()) return std::nullopt;
  return at->second(0);
}

// Beyond the batches for which the guide scales a learning rate.
void AddLargeBatchNote(const Scaling& s, std::vector<std::string>& notes) {
  constexpr int64_t kLarge = 1024;
  const std::string& rule = s.before.optimizer.rule;
  if (s.new_batch <= kLarge || s.kappa <= 1 || rule.empty()) return;
  const std::string& other = Registry::Builtin().Find(rule).large_batch;
  if (other.empty()) return;
  notes.push_back(
      fmt::format("beyond {} samples use {} instead of {} (Optimizer Selection Guide and Best "
                  "Practices, section "
                  "3.3).",
                  kLarge, other, rule));
}

void AddWarmupNotes(const Recipe& before, const Recipe& after, double kappa, bool lr_grows,
                    std::vector<std::string>& notes) {
  const auto lr = after.optimizer.options.find("lr");
  if (kappa <= 1 || lr == after.optimizer.options.end()) return;
  const bool relative = !lr->second.IsResolved();
  const std::optional<int64_t> warmup = WarmupSteps(lr->second.Resolve(RunOf(10'000)));
  if (!warmup && lr_grows) {
    notes.emplace_back(
        "warm-up: a larger learning rate needs one, and there is none. Put warmup(5%) into lr: "
        "the first five epochs (Goyal et al., arXiv:1706.02677), or 1 to 5 % of all steps "
        "(Optimisation Methods, 2025, section 6.2).");
  }
  if (!warmup) return;
  if (relative) {
    notes.emplace_back(
        "warm-up: it has the same samples as before; lengthen it first if the loss rises at the "
        "start.");
    return;
  }
  std::string note =
      fmt::format("warm-up: {} steps became {}, over the same number of samples",
                  WarmupSteps(before.optimizer.options.at("lr")).value_or(0), *warmup);
  if (const auto beta2 = Constant(after.optimizer, "beta2")) {
    const auto wanted = static_cast<int64_t>(std::lround(2 / (1 - *beta2)));
    if (*warmup < wanted) {
      note += fmt::format(
          "; 2 / (1 - beta2) = {} steps is what the second moment needs unless you know better (Ma "
          "& Yarats, arXiv:1910.04209): lengthen it first if the loss rises at the start",
          wanted);
    }
  } else {
    note += "; lengthen it first if the loss rises at the start";
  }
  notes.push_back(note + ".");
}

// Calls f(what names begin with, before, after) for all tables of options.
template <class F>
void ForOptions(const OptimizerSpec& before, const OptimizerSpec& after, const F& f) {
  f(std::string(), before.options, after.options);
  if (before.fallback)
    f(std::string("fallback."), before.fallback->options, after.fallback->options);
  for (size_t i = 0; i < before.groups.size(); ++i) {
    f(fmt::format("group.{}.", i), before.groups[i].options, after.groups[i].options);
  }
}

// What is not the same function of the samples as before.
void AddScheduleNotes(const Recipe& before, const Recipe& after, double kappa,
                      std::vector<std::string>& notes) {
  constexpr double kNoticeable = 0.05;
  constexpr int64_t kSteps = 10'000;
  const auto compare = [&](const std::string& prefix, const Options& old, const Options& now) {
    for (const auto& [name, schedule] : old) {
      if (schedule.IsConstant() || schedule.Text() == now.at(name).Text()) continue;
      // Compare shapes: the values differ by what the batch rule does.
      const double error =
          ScheduleError(schedule.Resolve(RunOf(kSteps * kappa)),
                        ScaleSteps(schedule, kappa).Resolve(RunOf(kSteps)), kappa, kSteps);
      if (error <= kNoticeable) continue;
      notes.push_back(fmt::format(
          "{}{}: its schedule cannot be scaled exactly in whole steps: after the same number of "
          "samples it differs from the old one by up to {:.0f} % of its peak. Check it.",
          prefix, name, 100 * error));
    }
  };
  ForOptions(before.optimizer, after.optimizer, compare);
}

// Of any of the rules.
bool UsesHessian(const OptimizerSpec& spec) {
  const auto uses = [](const std::string& rule) {
    return !rule.empty() && Registry::Builtin().Find(rule).hessian != HessianEstimate::kNone;
  };
  return uses(spec.rule) || (spec.fallback && uses(spec.fallback->rule)) ||
         std::any_of(spec.groups.begin(), spec.groups.end(),
                     [&](const Group& g) { return uses(g.rule); });
}

// `wanted` is the batch rule that was asked for, `rule` that of the spec's own learning rate.
void AddOtherNotes(const Recipe& before, const Recipe& after, double kappa,
                   std::optional<BatchRule> wanted, BatchRule rule,
                   std::vector<std::string>& notes) {
  const OptimizerSpec& old = before.optimizer;
  const OptimizerSpec& spec = after.optimizer;
  if (kappa == 1) return;
  const std::optional<double> decay = Constant(spec, "weight_decay");
  const bool independent = old.decay == Decay::kIndependent;
  const double less = independent ? kappa : kappa / ScaleLr(rule, 1, kappa);
  if (decay && *decay > 0 && less != 1) {
    notes.push_back(
        fmt::format("weight_decay stays {}. {} it, summed over the run, is now 1/{:.3g} as large; "
                    "{:.3g} would keep it{}.",
                    NumberText(*decay), independent ? "The shape of lr times" : "lr times", less,
                    *decay * less, independent ? "" : ", as nanochat does"));
  }
  if (old.ema) {
    notes.push_back(
        fmt::format("ema.decay: {} became {:.6g}, which averages over the same number of samples "
                    "(Busbridge et al., arXiv:2307.13813).",
                    NumberText(old.ema->decay), spec.ema->decay));
  }
  const auto& traits = before.model.entry->traits;
  if (traits && traits(before.model).batch_norm) {
    notes.emplace_back(
        "batch norm computes its statistics over train.batch_size samples, so accumulation and "
        "ranks do not affect it, but a larger train.batch_size does.");
  }
  std::vector<std::string> kept = KeptByScaleBatch(old, kappa, wanted);
  if (UsesHessian(old)) kept.emplace_back("hessian.every");
  const auto scaling = LossScaling(before.train);
  if (scaling && scaling->dynamic) kept.emplace_back("train.growth_interval");
  if (!kept.empty()) {
    notes.push_back(
        fmt::format("{}: unchanged, although counted in steps or a rate per step, and a step now "
                    "has {:.4g} times the samples.",
                    fmt::join(kept, ", "), kappa));
  }
  if (before.train.epochs > 0) {
    notes.emplace_back(
        "train.epochs stays. The number of steps per epoch is rounded up, since the last batch may "
        "be short, so a run may have a few more steps than its schedule.");
  }
  notes.emplace_back(
      "Scaling rules carry a tuned setting over to a similar batch size; linear scaling has its "
      "limits (Optimizer Selection Guide and Best Practices, section 3.3), and most "
      "hyper-parameters "
      "should be tuned again for another batch size (Godbole et al., Deep Learning Tuning "
      "Playbook, "
      "\"Changing the batch size requires re-tuning most hyperparameters\").");
}

// Batches from a quarter of the old one to beyond the new one, by factors of two, both among them.
std::vector<double> BatchLadder(const Scaling& s) {
  const auto old_batch = static_cast<double>(s.old_batch),
             new_batch = static_cast<double>(s.new_batch);
  std::vector<double> batches;
  const double low = std::min(old_batch, new_batch) / 2, high = std::max(old_batch, new_batch) * 2;
  double k = 1;
  while (old_batch * k > low) k /= 2;
  // Steps of more than a factor of two where there would be too many rows.
  const double octaves = std::log2(high / low);
  const double factor = std::exp2(std::ceil(octaves / 10));
  for (; old_batch * k <= high; k *= factor) {
    if (old_batch * k >= 1) batches.push_back(old_batch * k);
  }
  batches.push_back(old_batch);
  batches.push_back(new_batch);
  std::sort(batches.begin(), batches.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  return batches;
}

// Whether Adam's SDE rule is defined for the recipe's betas.
bool SdeReaches(const Scaling& s, double kappa) {
  return DefaultBatchRule(s.before.optimizer.rule, s.before.optimizer.options, kappa).rule ==
         BatchRule::kAdamSde;
}

constexpr std::array kDrawn = {std::pair{BatchRule::kLinear, 'o'},
                               std::pair{BatchRule::kSqrt, '+'}};

// Learning rates by batch, both axes logarithmic, for a terminal.
std::string Picture(const Scaling& s, double lr) {
  constexpr int kWidth = 57, kHeight = 13;
  const std::vector<double> batches = BatchLadder(s);
  const double first = std::log(batches.front()), last = std::log(batches.back());
  const auto old_batch = static_cast<double>(s.old_batch);
  const double low = std::log(ScaleLr(BatchRule::kLinear, lr, batches.front() / old_batch));
  const double high = std::log(ScaleLr(BatchRule::kLinear, lr, batches.back() / old_batch));
  std::vector<std::string> rows(kHeight, std::string(kWidth, ' '));
  const auto row = [&](double y) {
    return std::clamp(
        static_cast<int>(std::lround((high - std::log(y)) / (high - low) * (kHeight - 1))), 0,
        kHeight - 1);
  };
  const auto column = [&](double batch) {
    return std::clamp(
        static_cast<int>(std::lround((std::log(batch) - first) / (last - first) * (kWidth - 1))), 0,
        kWidth - 1);
  };
  for (const auto& [rule, mark] : kDrawn) {
    for (int c = 0; c < kWidth; ++c) {
      const double batch = std::exp(first + (last - first) * c / (kWidth - 1));
      rows[static_cast<size_t>(row(ScaleLr(rule, lr, batch / old_batch)))][static_cast<size_t>(c)] =
          mark;
    }
  }
  const auto put = [&](double batch, BatchRule rule, char mark) {
    rows[static_cast<size_t>(row(ScaleLr(rule, lr, batch / old_batch)))]
        [static_cast<size_t>(column(batch))] = mark;
  };
  put(old_batch, BatchRule::kNone, 'A');
  put(static_cast<double>(s.new_batch), ParseBatchRule(s.rule), 'B');
  std::string text =
      "lr by batch size, both logarithmic: o linear, + sqrt and adam_sde, A before, B after\n";
  for (int r = 0; r < kHeight; ++r) {
    const double y = std::exp(high - (high - low) * r / (kHeight - 1));
    const std::string label = r % 4 == 0 ? fmt::format("{:.2g}", y) : "";
    const std::string& line = rows[static_cast<size_t>(r)];
    const size_t end = line.find_last_not_of(' ');
    text +=
        fmt::format("{:>9} |{}\n", label, line.substr(0, end == std::string::npos ? 0 : end + 1));
  }
  text += fmt::format("{:>9} +{}\n", "", std::string(kWidth, '-'));
  text += fmt::format("{:>9}  {:<28}{:>29}\n", "", NumberText(batches.front()),
                      NumberText(batches.back()));
  return text;
}

// Decays and eps by the SDE rule, or that there are none.
std::string MomentsText(const Scaling& s, double kappa) {
  if (!SdeReaches(s, kappa)) return "not defined";
  // Groups and the fallback may have rules that the batch rule is not defined for.
  const OptimizerSpec main(s.before.optimizer.rule, s.before.optimizer.options);
  const OptimizerSpec spec = ScaleBatch(main, kappa, BatchRule::kAdamSde);
  std::string text;
  for (const RuleEntry::Option& o : Registry::Builtin().Find(spec.rule).options) {
    if (o.role != Role::kDecay && o.role != Role::kEps && o.role != Role::kEpsInside) continue;
    if (const auto value = Constant(spec, o.name)) {
      text += fmt::format("{}{} {:.6g}", text.empty() ? "" : ", ", o.name, *value);
    }
  }
  return text;
}

std::string LrTable(const Scaling& s, double lr) {
  const bool sde = SdeReaches(s, 1);
  std::string text = fmt::format("{:>10} {:>9} {:>12} {:>12}{}\n", "batch", "kappa", "linear",
                                 "sqrt", sde ? "  adam_sde: lr as sqrt" : "");
  for (const double batch : BatchLadder(s)) {
    const double kappa = batch / static_cast<double>(s.old_batch);
    std::string mark;
    if (batch == static_cast<double>(s.new_batch)) mark = "  <- after";
    if (batch == static_cast<double>(s.old_batch)) mark = "  <- before";
    text +=
        fmt::format("{:>10} {:>9.4g} {:>12.4g} {:>12.4g}{}{}\n", NumberText(batch), kappa,
                    ScaleLr(BatchRule::kLinear, lr, kappa), ScaleLr(BatchRule::kSqrt, lr, kappa),
                    sde ? "  " + MomentsText(s, kappa) : "", mark);
  }
  return text;
}

// A schedule's text with fewer digits of the number that it is or begins with.
std::string Shown(const Schedule& schedule) {
  const std::string& text = schedule.Text();
  const Schedule first = schedule.Factors().front();
  return first.IsConstant() ? fmt::format("{:.6g}{}", first(0), text.substr(first.Text().size()))
                            : text;
}

struct Change {
  std::string name, before, after;
};

// Options of both, those that differ and the learning rate.
void AddOptions(const std::string& prefix, const Options& before, const Options& after,
                std::vector<Change>& rows) {
  for (const auto& [name, schedule] : before) {
    const std::string old = Shown(schedule), now = Shown(after.at(name));
    if (name == "lr" || old != now) rows.push_back({prefix + name, old, now});
  }
}

std::vector<Change> Rows(const Scaling& s) {
  const auto number = [](int64_t x) { return std::to_string(x); };
  const Recipe &a = s.before, &b = s.after;
  std::vector<Change> rows = {
      {"samples per step", number(s.old_batch), number(s.new_batch)},
      {"train.batch_size", number(a.train.batch_size), number(b.train.batch_size)},
      {"optimizer.accumulate", number(a.optimizer.accumulate), number(b.optimizer.accumulate)}};
  const int64_t old_ranks = s.old_batch / (a.train.batch_size * a.optimizer.accumulate);
  const int64_t new_ranks = s.new_batch / (b.train.batch_size * b.optimizer.accumulate);
  if (old_ranks != 1 || new_ranks != 1)
    rows.push_back({"ranks", number(old_ranks), number(new_ranks)});
  ForOptions(a.optimizer, b.optimizer,
             [&rows](const std::string& prefix, const Options& before, const Options& after) {
               AddOptions(prefix, before, after, rows);
             });
  const auto differing = [&rows](std::string name, std::string old, std::string now) {
    if (old != now) rows.push_back({std::move(name), std::move(old), std::move(now)});
  };
  const auto before = StageValues(a.optimizer), after = StageValues(b.optimizer);
  for (size_t i = 0; i < before.size(); ++i) {
    differing(before[i].first, Shown(before[i].second), Shown(after[i].second));
  }
  differing("train.steps", number(a.train.steps), number(b.train.steps));
  differing("train.eval_every", number(a.train.eval_every), number(b.train.eval_every));
  return rows;
}

void CheckPositive(const char* option, int64_t value) {
  if (value < 1) throw UsageError(fmt::format("{} = {} is outside [1, ...]", option, value));
}

}  // namespace

Scaling ScaleRecipe(const Recipe& recipe, const ScaleOptions& options) {
  CheckPositive("--batch", options.batch);
  CheckPositive("--ranks", options.ranks);
  CheckPositive("--from-ranks", options.from_ranks);
  if (options.accumulate != 0) CheckPositive("--accumulate", options.accumulate);
  Scaling s;
  s.before = recipe;
  s.before.optimizer = Complete(recipe.optimizer);
  const int64_t accumulate =
      options.accumulate > 0 ? options.accumulate : recipe.optimizer.accumulate;
  s.old_batch = recipe.train.batch_size * recipe.optimizer.accumulate * options.from_ranks;
  s.new_batch = options.batch;
  if (options.batch % (accumulate * options.ranks) != 0) {
    throw UsageError(
        fmt::format("--batch {} is not a multiple of {}, accumulate {} times {} rank{}: choose "
                    "another --batch, --accumulate or --ranks",
                    options.batch, accumulate * options.ranks, accumulate, options.ranks,
                    options.ranks == 1 ? "" : "s"));
  }
  s.kappa = static_cast<double>(s.new_batch) / static_cast<double>(s.old_batch);
  const BatchChoice choice =
      DefaultBatchRule(s.before.optimizer.rule, s.before.optimizer.options, s.kappa);
  std::optional<BatchRule> wanted;
  if (!options.rule.empty()) AsUsage([&] { wanted = ParseBatchRule(options.rule); });
  const BatchRule rule = wanted.value_or(choice.rule);
  s.rule = Name(rule);
  s.reason = wanted && *wanted != choice.rule
                 ? fmt::format("requested by --rule; the default would be {}", Name(choice.rule))
                 : choice.reason;

  s.after = s.before;
  s.after.optimizer = ScaleBatch(s.before.optimizer, s.kappa, wanted);
  s.after.optimizer.accumulate = accumulate;
  s.after.train.batch_size = options.batch / (accumulate * options.ranks);
  s.after.train.steps = ScaleSteps(s.before.train.steps, s.kappa);
  s.after.train.eval_every = ScaleSteps(s.before.train.eval_every, s.kappa);
  AddLargeBatchNote(s, s.notes);
  AddWarmupNotes(s.before, s.after, s.kappa, rule != BatchRule::kNone, s.notes);
  AddScheduleNotes(s.before, s.after, s.kappa, s.notes);
  AddOtherNotes(s.before, s.after, s.kappa, wanted, rule, s.notes);
  return s;
}

std::string ScalingText(const Scaling& s) {
  std::string text = fmt::format("kappa = {} / {} = {} (new / old batch size), rule {}: {}.\n\n",
                                 s.new_batch, s.old_batch, NumberText(s.kappa), s.rule, s.reason);
  const std::vector<Change> rows = Rows(s);
  size_t name = 0, before = 6;
  for (const Change& r : rows) {
    name = std::max(name, r.name.size());
    before = std::max(before, r.before.size());
  }
  text += fmt::format("{:<{}}  {:<{}}  {}\n", "", name, "before", before, "after");
  for (const Change& r : rows) {
    text += fmt::format("{:<{}}  {:<{}}  {}\n", r.name, name, r.before, before, r.after);
  }
  if (const auto lr = s.before.optimizer.options.find("lr");
      lr != s.before.optimizer.options.end()) {
    const double peak = Peak(lr->second);
    if (peak > 0) {
      text += "\nThe largest lr by batch size:\n" + LrTable(s, peak) + "\n" + Picture(s, peak);
    }
  }
  if (!s.notes.empty()) text += '\n';
  for (const std::string& note : s.notes) text += "- " + Wrapped(note, 2).substr(2);
  return text;
}

std::string ScalingJson(const Scaling& s) {
  nlohmann::ordered_json json = {{"old_batch", s.old_batch},
                                 {"new_batch", s.new_batch},
                                 {"kappa", s.kappa},
                                 {"rule", s.rule},
                                 {"reason", s.reason},
                                 {"notes", s.notes},
                                 {"changes", nlohmann::ordered_json::array()}};
  for (const Change& r : Rows(s)) {
    json["changes"].push_back({{"name", r.name}, {"before", r.before}, {"after", r.after}});
  }
  json["recipe"] = ToToml(s.after);
  return JsonText(json, 2) + "\n";
}

Scaling Scale(const ScaleOptions& options, std::FILE* console) {
  if (!options.svg.empty()) CheckChartFile(options.svg);
  const Recipe recipe = ReadTrainRecipe(options.recipe, options.changes);
  CheckOneOptimizer(recipe, "scale");
  Scaling s = ScaleRecipe(recipe, options);
  std::fputs(ScalingText(s).c_str(), console);
  if (!options.json.empty()) WriteOutput(options.json, ScalingJson(s));
  if (!options.svg.empty()) {
    const auto lr = s.before.optimizer.options.find("lr");
    if (lr == s.before.optimizer.options.end()) throw UsageError("--svg: the optimiser has no lr");
    const double peak = Peak(lr->second);
    LineChart chart{.title = "Learning rate by batch size",
                    .x_label = "samples per step",
                    .y_label = "largest learning rate",
                    .log_x = true,
                    .log_y = true,
                    .x_ticks = BatchLadder(s)};
    for (const BatchRule rule : {BatchRule::kLinear, BatchRule::kSqrt, BatchRule::kAdamSde}) {
      Series series{.label = std::string(Name(rule))};
      for (const double batch : BatchLadder(s)) {
        const double kappa = batch / static_cast<double>(s.old_batch);
        if (rule == BatchRule::kAdamSde && !SdeReaches(s, kappa)) continue;
        series.x.push_back(batch);
        series.y.push_back(ScaleLr(rule, peak, kappa));
      }
      if (series.x.size() > 1) chart.series.push_back(std::move(series));
    }
    for (const auto& [label, batch] : {std::pair{"before", s.old_batch}, {"after", s.new_batch}}) {
      const auto at = static_cast<double>(batch);
      chart.marks.push_back({.label = fmt::format("{} {}", label, batch), .from = at, .to = at});
    }
    DrawChart(chart, options.svg);
    fmt::print(console, "\nwritten {}\n", Printable(options.svg.string()));
  }
  if (!options.write.empty()) {
    WriteFileAtomically(options.write, EditRecipe(ReadTextFile(options.recipe), s.after));
    fmt::print(console, "\nwritten {}\n", Printable(options.write.string()));
  }
  return s;
}

}  // namespace kudari::lab
