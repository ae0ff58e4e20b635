#include "lab/measure/lr_find.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/lr_range.h"
#include "kudari/recipe.h"
#include "kudari/torch_lr_range.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/files/text_file.h"
#include "lab/recipe/edit_recipe.h"
#include "lab/recipe/explain.h"
#include "lab/recipe/recipe_lr.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/session.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kPlotWidth = 64, kPlotHeight = 12;

// One test and what is read off it.
struct Test {
  int64_t seed = 0;
  LrRange range;
  LrSuggestions read;
};

LrRangeOptions RangeOf(const LrFindOptions& o) {
  const auto choice = [](const char* name, const std::string& value, std::string_view first,
                         std::string_view second) {
    if (value == first || value == second) return value == second;
    throw UsageError(fmt::format("{} = \"{}\" must be {} or {}", name, value, first, second));
  };
  return {
      .start = o.start,
      .end = o.end,
      .steps = o.steps,
      .ramp = choice("--ramp", o.ramp, "exp", "linear") ? LrRamp::kLinear : LrRamp::kExponential,
      .smooth = o.smooth,
      .stop_at = choice("--stop", o.stop, "best", "first") ? LrStopAt::kFirst : LrStopAt::kBest};
}

void CheckFiles(const LrFindOptions& o) {
  if (!o.svg.empty()) CheckChartFile(o.svg);
  for (const auto& [name, file] :
       {std::pair{"--json", &o.json}, {"--svg", &o.svg}, {"--write", &o.write}}) {
    const fs::path folder = file->parent_path();
    if (folder.empty() || fs::is_directory(folder)) continue;
    throw UsageError(
        fmt::format("{} {}: there is no folder {}", name, file->string(), folder.string()));
  }
}

// Runs one test with the session's batches, epoch after epoch; says how far it is once a second has
// passed, and then every five.
LrRange RunTest(Session& session, const LrFindOptions& options, const std::string& what,
                Progress& progress) {
  using Clock = std::chrono::steady_clock;
  auto told = Clock::now();
  auto pause = std::chrono::seconds(1);
  kudari::torch::FindOptions find{.range = RangeOf(options),
                                  .match = options.group,
                                  .freeze_others = options.freeze,
                                  .scaler = session.scaler()};
  find.after_step = [&](const Report& report, const LrRange& range) {
    session.EndStep(report.skipped);
    if (!session.batches().More()) session.batches().StartEpoch();
    if (Clock::now() - told < pause || range.end != LrEnd::kNotYet || range.points.empty()) {
      return true;
    }
    told = Clock::now();
    pause = std::chrono::seconds(5);
    progress.Text(fmt::format("{}step {} of {}, lr {:.2e}, loss {:.4f}\n", what,
                              range.points.size(), options.steps, range.points.back().lr,
                              range.points.back().smoothed));
    return true;
  };
  session.model().train();
  session.batches().StartEpoch();
  return FindLearningRate(
      session.optimizer(), [&](Pass pass) { return session.NextLoss(pass); }, find);
}

std::string EndText(const LrRange& range) {
  const double lr = range.points.empty() ? range.options.start : range.points.back().lr;
  switch (range.end) {
    case LrEnd::kDiverged:
      return fmt::format("diverged at {:.2e}", lr);
    case LrEnd::kNonFinite:
      if (range.points.empty()) return "the loss is not finite";
      return fmt::format("the loss was no longer finite after {:.2e}", lr);
    case LrEnd::kStopped:
      return fmt::format("stopped at {:.2e}", lr);
    case LrEnd::kRamp:
    case LrEnd::kNotYet:
      break;
  }
  return "reached the end";
}

// Where x lies between low and high, by the logarithm, as one of `count` columns.
int Column(double x, double low, double high, int count) {
  const double share = std::log(x / low) / std::log(high / low);
  return std::clamp(static_cast<int>(std::lround(share * (count - 1))), 0, count - 1);
}

// What a picture of the tests shows: all learning rates, and the smoothed losses up to a little
// above those of the first half of the steps, because what diverges would press the rest to the
// ground.
struct Window {
  double first_lr = std::numeric_limits<double>::infinity(), last_lr = 0;
  double low = first_lr, high = -first_lr;
};

Window WindowOf(const std::vector<Test>& tests) {
  Window w;
  for (const Test& test : tests) {
    const std::vector<LrPoint>& points = test.range.points;
    for (size_t i = 0; i < points.size(); ++i) {
      w.first_lr = std::min(w.first_lr, points[i].lr);
      w.last_lr = std::max(w.last_lr, points[i].lr);
      w.low = std::min(w.low, points[i].smoothed);
      if (2 * i <= points.size()) w.high = std::max(w.high, points[i].smoothed);
    }
  }
  w.high += 0.15 * (w.high - w.low);
  if (!(w.low < w.high)) w.high = w.low + 1;
  return w;
}

// The smoothed losses of all tests over the logarithm of the learning rate, and below it where the
// recommendation is.
std::string Drawing(const std::vector<Test>& tests, const std::optional<LrRecommendation>& choice) {
  const auto [first, last, low, high] = WindowOf(tests);
  if (!(first < last)) return "";
  std::vector<std::string> rows(kPlotHeight, std::string(kPlotWidth, ' '));
  for (const Test& test : tests) {
    for (const LrPoint& p : test.range.points) {
      if (p.smoothed > high) continue;
      const double share = (high - p.smoothed) / (high - low);
      const auto row = static_cast<size_t>(std::lround(share * (kPlotHeight - 1)));
      rows[row][static_cast<size_t>(Column(p.lr, first, last, kPlotWidth))] = '*';
    }
  }
  std::string text = "\nsmoothed loss\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool labelled = i == 0 || i + 1 == rows.size();
    text += fmt::format("{:>10} |{}\n",
                        labelled ? fmt::format("{:.4g}", i == 0 ? high : low) : std::string(),
                        rows[i].substr(0, rows[i].find_last_not_of(' ') + 1));
  }
  text += fmt::format("{:>10} +{}\n", "", std::string(kPlotWidth, '-'));
  if (choice) {
    const int column = Column(choice->lr, first, last, kPlotWidth);
    text += fmt::format("{:>10}  {}^ {:.3g}\n", "", std::string(static_cast<size_t>(column), ' '),
                        choice->lr);
  }
  const std::string left = fmt::format("{:.2e}", first), right = fmt::format("{:.2e}", last);
  return text + fmt::format("{:>10}  {}{:>{}}  learning rate\n", "", left, right,
                            kPlotWidth - static_cast<int>(left.size()));
}

std::string WarningText(LrWarning warning) {
  switch (warning) {
    case LrWarning::kTooShort:
      return "too few steps to suggest a learning rate: raise --steps, or lower --start if it "
             "diverged";
    case LrWarning::kTooNoisy:
      return "the loss falls by little more than its noise: use larger batches, more --steps or a "
             "larger --smooth";
    case LrWarning::kStillFalling:
      return "the loss was still falling when the test ended: raise --end";
    case LrWarning::kMinimumAtStart:
      return "the loss did not fall: lower --start, or look for what is wrong with the model";
    case LrWarning::kFlat:
      return "the loss falls by no more than noise does: raise --end, use larger batches, or look "
             "for what is wrong with the model";
    case LrWarning::kEndedFalling:
      return "the loss was no longer finite while it was still falling: look for an overflow or "
             "bad data, or lower --end";
    case LrWarning::kNeverFinite:
      return "the loss is not finite before any step: look for what is wrong with the model or "
             "the data";
  }
  return "";
}

std::string ReasonText(const LrRecommendation& choice, size_t tests) {
  std::string text(Name(choice.method));
  if (tests > 1) text += fmt::format(", the median of {} tests", tests);
  if (choice.reason == LrReason::kNoMinimum) text += "; the loss has no minimum to go by";
  if (choice.reason == LrReason::kAgreesBest) text += ", which agree best";
  return text;
}

std::string Table(const std::vector<Test>& tests, const std::vector<LrAgreement>& agreements) {
  std::vector<std::vector<std::string>> rows = {{"suggestion", tests.size() > 1 ? "median" : "lr"}};
  if (tests.size() > 1) {
    for (const char* title : {"mean", "lowest", "highest", "tests"}) rows[0].emplace_back(title);
  }
  for (const LrAgreement& a : agreements) {
    rows.push_back({std::string(Name(a.method)), fmt::format("{:.3g}", a.median)});
    if (tests.size() == 1) continue;
    for (const double lr : {a.geometric_mean, a.lowest, a.highest}) {
      rows.back().push_back(fmt::format("{:.3g}", lr));
    }
    rows.back().push_back(fmt::format("{} of {}", a.tests, tests.size()));
  }
  return "\n" + TextTable(rows);
}

std::string Warnings(const std::vector<Test>& tests) {
  std::string text;
  for (const LrWarning warning : kLrWarnings) {
    std::vector<int64_t> seeds;
    for (const Test& test : tests) {
      const auto& w = test.read.warnings;
      if (std::find(w.begin(), w.end(), warning) != w.end()) seeds.push_back(test.seed);
    }
    if (seeds.empty()) continue;
    const std::string where =
        seeds.size() == tests.size() ? "" : fmt::format(" (seed {})", fmt::join(seeds, ", "));
    text += fmt::format("warning: {}{}\n", WarningText(warning), where);
  }
  return text;
}

Json ToJson(const LrFindOptions& o, const std::vector<Test>& tests,
            const std::vector<LrAgreement>& agreements,
            const std::optional<LrRecommendation>& choice,
            const std::vector<std::string>& parameters) {
  Json runs = Json::array(), suggestions = Json::array();
  for (const Test& test : tests) {
    Json points = Json::array(), read = Json::object(), warnings = Json::array();
    for (const LrPoint& p : test.range.points) {
      points.push_back({{"lr", p.lr}, {"loss", p.loss}, {"smoothed", p.smoothed}});
    }
    for (const LrSuggestion& s : test.read.suggestions) read[std::string(Name(s.method))] = s.lr;
    for (const LrWarning w : test.read.warnings) warnings.push_back(Name(w));
    runs.push_back({{"seed", test.seed},
                    {"end", Name(test.range.end)},
                    {"suggestions", read},
                    {"warnings", warnings},
                    {"points", points}});
  }
  for (const LrAgreement& a : agreements) {
    suggestions.push_back({{"method", Name(a.method)},
                           {"tests", a.tests},
                           {"median", a.median},
                           {"geometric_mean", a.geometric_mean},
                           {"lowest", a.lowest},
                           {"highest", a.highest}});
  }
  Json recommendation;
  if (choice) {
    recommendation = {{"lr", choice->lr},
                      {"method", Name(choice->method)},
                      {"reason", ReasonText(*choice, tests.size())}};
  }
  return {{"recipe", o.recipe.string()},
          {"options",
           {{"start", o.start},
            {"end", o.end},
            {"steps", o.steps},
            {"ramp", o.ramp},
            {"stop", o.stop},
            {"smooth", o.smooth},
            {"seeds", o.seeds},
            {"group", o.group},
            {"freeze", o.freeze}}},
          {"parameters", parameters},
          {"recommendation", recommendation},
          {"suggestions", suggestions},
          {"tests", runs}};
}

// The smoothed losses of all tests, with what they suggest marked and the recommendation most.
void Draw(const std::vector<Test>& tests, const std::vector<LrAgreement>& agreements,
          const std::optional<LrRecommendation>& choice, const std::string& title,
          const fs::path& file) {
  LineChart chart{.title = fmt::format("Learning-rate range test of {}", title),
                  .x_label = "learning rate",
                  .y_label = "smoothed loss",
                  .log_x = true,
                  .points = false,
                  .y_most = WindowOf(tests).high};
  for (const Test& test : tests) {
    Series& s = chart.series.emplace_back();
    s.label = fmt::format("seed {}", test.seed);
    for (const LrPoint& p : test.range.points) {
      s.x.push_back(p.lr);
      s.y.push_back(p.smoothed);
    }
  }
  for (const LrAgreement& a : agreements) {
    const bool best = choice && choice->method == a.method;
    chart.marks.push_back(
        {.label = fmt::format("{}{} {:.3g}", best ? "recommended: " : "", Name(a.method), a.median),
         .from = a.median,
         .to = a.median,
         .strong = best});
  }
  DrawChart(chart, file);
}

}  // namespace

void LrFind(const LrFindOptions& options, std::FILE* console) {
  Progress progress(console);
  const LrRangeOptions range_options = RangeOf(options);
  AsUsage([&] { LrRampSchedule(range_options); });
  if (options.seeds < 1)
    throw UsageError(fmt::format("--seeds = {} must be at least 1", options.seeds));
  CheckFiles(options);
  Recipe recipe = ReadTrainRecipe(options.recipe, options.changes);
  CheckOneOptimizer(recipe, "lr-find");

  std::vector<Test> tests;
  LrPlace place;
  std::vector<std::string> parameters;
  const std::string name = options.recipe.stem().string();
  for (int64_t k = 0; k < options.seeds; ++k) {
    Recipe seeded = recipe;
    seeded.train.seed += k;
    Session session(seeded);
    if (k == 0) {
      const kudari::Optimizer& core = session.optimizer().core();
      const std::vector<size_t> ramped = kudari::torch::RampedParameters(core, options.group);
      for (const size_t i : ramped) parameters.push_back(core.tensors()[i].name);
      if (!options.write.empty()) {
        place = FindLrPlace(core.Plan(), ramped, options.group);
        WithLearningRate(recipe, place, 1);  // throws if it cannot be put there
      }
      progress.Text(
          fmt::format("{}: {} with {} parameters on {}, batches of {}{}; {}\nlearning rates from "
                      "{:g} to {:g} in {} steps, for {} of {} parameter tensors\n",
                      name, seeded.model.name(), session.model().ParameterCount(),
                      session.data().name, seeded.train.batch_size,
                      seeded.optimizer.accumulate > 1
                          ? fmt::format(", {} per step", seeded.optimizer.accumulate)
                          : "",
                      OptimizerText(Resolve(seeded.optimizer, session.length())), options.start,
                      options.end, options.steps, ramped.size(), core.tensors().size()));
    }
    const std::string what =
        options.seeds > 1 ? fmt::format("seed {}: ", seeded.train.seed) : std::string();
    LrRange range = RunTest(session, options, what, progress);
    progress.Text(fmt::format("{}{} steps, {}\n", what, range.points.size(), EndText(range)));
    LrSuggestions read = SuggestLearningRates(range);
    tests.push_back({seeded.train.seed, std::move(range), std::move(read)});
  }

  std::vector<LrSuggestions> read;
  for (const Test& test : tests) read.push_back(test.read);
  const std::vector<LrAgreement> agreements = AgreementOf(read);
  std::optional<LrRecommendation> choice = RecommendLearningRate(read);
  if (choice) choice->lr = ThreeDigits(choice->lr);
  progress.Text(Drawing(tests, choice) + Table(tests, agreements) + "\n" + Warnings(tests));
  progress.Text(choice ? fmt::format("recommended: {:g} ({})\n", choice->lr,
                                     ReasonText(*choice, tests.size()))
                       : std::string("no learning rate can be recommended\n"));

  if (!options.json.empty()) {
    WriteOutput(options.json,
                JsonText(ToJson(options, tests, agreements, choice, parameters), 1) + "\n");
  }
  if (!options.svg.empty()) Draw(tests, agreements, choice, name, options.svg);
  if (!options.write.empty()) {
    if (!choice) throw UsageError("--write: there is no learning rate to write");
    const Recipe changed = WithLearningRate(recipe, place, choice->lr);
    WriteFileAtomically(options.write, EditRecipe(ReadTextFile(options.recipe), changed));
    progress.Text(fmt::format("written: {}, {}\n", options.write.string(), place.Key()));
  }
}

}  // namespace kudari::lab
