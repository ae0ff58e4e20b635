#include "lab/landscape/landscape.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "kudari/optimizer.h"
#include "kudari/presets.h"
#include "kudari/recipe.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/read_svg.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace landscape_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Printed;
using testing::TemporaryFolder;

double Distance(Position a, Position b) { return std::hypot(a.x - b.x, a.y - b.y); }

std::string Shown(const LandscapeOptions& options) {
  return Printed([&](std::FILE* file) { ShowLandscape(options, file); });
}

TEST(SurfacesTest, GradientsAreThoseOfTheFunctions) {
  std::mt19937 random(1);
  for (const Surface& s : Surfaces()) {
    std::uniform_real_distribution<double> x(s.low.x, s.high.x), y(s.low.y, s.high.y);
    for (int i = 0; i < 20; ++i) {
      const Position at{x(random), y(random)}, slope = s.gradient(at);
      constexpr double kStep = 1e-6;
      const double dx = (s.loss({at.x + kStep, at.y}) - s.loss({at.x - kStep, at.y})) / (2 * kStep);
      const double dy = (s.loss({at.x, at.y + kStep}) - s.loss({at.x, at.y - kStep})) / (2 * kStep);
      EXPECT_NEAR(slope.x, dx, 1e-6 * (1 + std::abs(s.loss(at)))) << s.name;
      EXPECT_NEAR(slope.y, dy, 1e-6 * (1 + std::abs(s.loss(at)))) << s.name;
    }
  }
}

TEST(SurfacesTest, MinimaAreTheLowestPlacesOfWhatIsDrawn) {
  for (const Surface& s : Surfaces()) {
    for (const Position& m : s.minima) {
      EXPECT_LT(Distance(s.gradient(m), {}), 1e-7) << s.name;
      EXPECT_GE(s.loss(m), s.lowest - 1e-12) << s.name;
      EXPECT_GT(Curvature(s, m).x, 0) << s.name;
      EXPECT_GT(Curvature(s, m).y, 0) << s.name;
    }
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= 400; ++i) {
      for (int k = 0; k <= 400; ++k) {
        least = std::min(least, s.loss({s.low.x + (s.high.x - s.low.x) * i / 400,
                                        s.low.y + (s.high.y - s.low.y) * k / 400}));
      }
    }
    EXPECT_GE(least, s.lowest - 1e-12) << s.name;
    EXPECT_LE(least, s.lowest + 0.1) << s.name;
    EXPECT_TRUE(s.start.x > s.low.x && s.start.x < s.high.x && s.start.y > s.low.y &&
                s.start.y < s.high.y)
        << s.name;
  }
}

TEST(SurfacesTest, AnUnknownNameGetsTheNearest) {
  EXPECT_EQ(ErrorOf([] { FindSurface("rosenbrok"); }),
            "unknown function \"rosenbrok\"; did you mean \"rosenbrock\"?");
}

// Paths beside torch's in double; make_landscapes.py wrote them. Where torch's own in float32 are
// farther away, those of a float32 program may be, too.
TEST(DescentTest, PathsAreTorchs) {
  const auto golden =
      nlohmann::json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/data/landscapes.json"));
  const size_t every = golden["every"];
  size_t near = 0, places = 0;
  for (const auto& c : golden["cases"]) {
    const Surface& surface = FindSurface(c["function"].get<std::string>());
    OptimizerSpec spec(c["rule"].get<std::string>());
    spec.options.insert_or_assign("lr", c["lr"].get<double>());
    const Descent descent = Descend(surface, spec, {.steps = 200});
    double size = 1;  // of the coordinates that the run came by
    for (size_t i = 0; i < c["places"].size() && i * every < descent.places.size(); ++i) {
      const Position torch{c["places"][i][0], c["places"][i][1]};
      size = std::max(size, Distance(torch, {}));
      const double distance = Distance(descent.places[i * every], torch);
      const double own = c["float32"][i];
      EXPECT_LE(distance, std::max(1e-6 * size, 4 * own))
          << c["function"] << ' ' << c["rule"] << ", step " << i * every;
      near += distance <= 1e-6 * size ? 1 : 0;
      ++places;
    }
  }
  EXPECT_GT(places, 1500U);
  EXPECT_GT(near, places * 9 / 10);
}

TEST(DescentTest, EverySourceAveragerAndRuleRunsOnASurface) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    OptimizerSpec spec(rule.name);
    spec.options.insert_or_assign("lr", BestLearningRate(FindSurface("bowl"), spec, {.steps = 50}));
    const Descent descent = Descend(FindSurface("bowl"), spec, {.steps = 50});
    EXPECT_LT(descent.losses.back(), descent.losses.front() / 2) << rule.name;
    EXPECT_EQ(descent.places.size(), 51U) << rule.name;
  }
  for (const char* table : {"{rule = \"sgd\", lr = 0.05, source = \"looksam\"}",
                            "{rule = \"sgd\", lr = 0.05, accumulate = 2}",
                            "{rule = \"adam\", lr = 0.2, lookahead = {k = 5}}", "ranger"}) {
    const Runner runner = ReadRunner(table);
    EXPECT_LT(Descend(FindSurface("bowl"), runner.spec, {.steps = 50}).losses.back(), 17) << table;
  }
}

TEST(DescentTest, RulesAreGivenTheHessianInTheirOwnForm) {
  const Surface& bowl = FindSurface("bowl");
  for (const char* rule : {"sophia", "sophia_h"}) {
    OptimizerSpec spec(rule);
    spec.options.insert_or_assign("lr", 0.05);
    std::array<float, 2> w = {3, 2}, dw{}, diagonal = {2, 4};
    Optimizer optimizer({{.name = "w", .shape = {1, 2}, .param = w.data(), .grad = dw.data()}},
                        Complete(spec));
    if (std::string(rule) == "sophia") {  // the square, times the batch size, is the diagonal
      const double batch = optimizer.Value(0, "batch_size");
      for (float& d : diagonal) d = static_cast<float>(std::sqrt(d / batch));
    }
    const Descent descent = Descend(bowl, spec, {.steps = 40});
    for (size_t step = 0; step < 40; ++step) {
      dw = {2 * w[0], 4 * w[1]};
      optimizer.Step();
      if (step % 10 == 0) optimizer.UpdateHessian(std::array<const float*, 1>{diagonal.data()});
      EXPECT_LT(Distance(descent.places[step + 1], {w[0], w[1]}), 1e-5) << rule << ' ' << step;
    }
  }
}

TEST(DescentTest, NoiseIsThatOfTheSeedAndTheSameInBothPasses) {
  const Surface& bowl = FindSurface("bowl");
  OptimizerSpec spec("sgd");
  spec.options.insert_or_assign("lr", 0.1);
  const auto end = [&](double noise, int64_t seed) {
    return Descend(bowl, spec, {.steps = 20, .noise = noise, .seed = seed}).places.back();
  };
  EXPECT_EQ(Distance(end(1, 5), end(1, 5)), 0);
  EXPECT_GT(Distance(end(1, 5), end(1, 6)), 1e-3);
  // In a bowl both gradients of SAM have the same noise, so a step without a radius is SGD's.
  spec.source = "sam";
  spec.sharpness = {.rho = 0};
  const Position sam = end(1, 5);
  spec.source = "plain";
  spec.sharpness.reset();
  EXPECT_EQ(Distance(sam, end(1, 5)), 0);
  // The mean of many ends is where a run without noise ends.
  Position mean;
  for (int64_t seed = 0; seed < 400; ++seed) {
    mean.x += end(1, seed).x / 400;
    mean.y += end(1, seed).y / 400;
  }
  EXPECT_LT(Distance(mean, end(0, 1)), 0.05);
}

TEST(DescentTest, BestLearningRateIsTheSmallestOfThoseThatEndAsLow) {
  const Surface& ravine = FindSurface("ravine");
  const OptimizerSpec spec("sgd");
  const double best = BestLearningRate(ravine, spec, {});
  // Beyond 2 / 50 steps across the ravine grow.
  EXPECT_EQ(best, 0.02);
  const auto end = [&](double lr) {
    OptimizerSpec tried = spec;
    tried.options.insert_or_assign("lr", lr);
    return Descend(ravine, tried, {}).losses.back();
  };
  for (const double lr : LearningRates()) EXPECT_FALSE(end(lr) < end(best) - 0.1) << lr;
  EXPECT_GT(end(0.01), end(best) + 0.05);
  // In a bowl larger ones end lower still, by nothing that matters.
  EXPECT_EQ(BestLearningRate(FindSurface("bowl"), spec, {}), 0.02);
}

TEST(DescentTest, DivergenceEndsTheRun) {
  OptimizerSpec spec("sgd");
  spec.options.insert_or_assign("lr", 10.0);
  const Descent descent = Descend(FindSurface("rosenbrock"), spec, {});
  EXPECT_TRUE(descent.Diverged(200));
  EXPECT_LT(descent.places.size(), 20U);
  EXPECT_FALSE(std::isfinite(descent.losses.back()));
  EXPECT_EQ(descent.places.size(), descent.losses.size());
}

TEST(DescentTest, OptionsHaveRanges) {
  const Surface& bowl = FindSurface("bowl");
  const auto error = [&](const DescentOptions& options) {
    return ErrorOf([&] { Descend(bowl, OptimizerSpec("sgd"), options); });
  };
  EXPECT_EQ(error({.steps = 0}), "--steps = 0 is outside [1, 100000]");
  EXPECT_EQ(error({.noise = -1}), "--noise = -1 is outside [0, inf)");
  EXPECT_EQ(error({.noise = std::nan("")}), "--noise = nan is outside [0, inf)");
  EXPECT_EQ(error({.seed = -1}), "--seed = -1 is outside [0, ...]");
  EXPECT_EQ(error({.start = Position{5, 0}}),
            "--start = (5, 0) is outside of bowl, where x is in [-4, 4] and y in [-3, 3]");
}

TEST(RunnerTest, NamesAndTables) {
  EXPECT_EQ(ReadRunner("adam").spec.rule, "adam");
  EXPECT_FALSE(ReadRunner("adam").lr_given);
  EXPECT_EQ(ReadRunner("ranger").spec, Preset("ranger"));
  const Runner sam = ReadRunner("{rule = \"sgd\", lr = 0.1, source = \"sam\"}");
  EXPECT_EQ(sam.label, "sgd + sam");
  EXPECT_EQ(sam.spec.source, "sam");
  EXPECT_TRUE(sam.lr_given);
  EXPECT_EQ(ReadRunner("slow = {rule = \"sgd\"}").label, "slow");
  EXPECT_FALSE(ReadRunner("slow={rule = \"sgd\"}").lr_given);
  EXPECT_THAT(ErrorOf([] { ReadRunner("adan"); }), HasSubstr("did you mean \"adam\"?"));
  EXPECT_THAT(ErrorOf([] { ReadRunner("a\"b"); }), HasSubstr("unknown rule"));
  EXPECT_EQ(ErrorOf([] { ReadRunner("x={group = [{match = \"*\", rule = \"sgd\"}]}"); }),
            "x: rule is missing");
  EXPECT_THAT(ErrorOf([] { ReadRunner("x={rule = \"sgd\", momentun = 1}"); }),
              HasSubstr("momentun"));
}

TEST(LandscapeTest, SaysWhereEachEnds) {
  const std::string shown = Shown(
      {.function = "rosenbrock", .runners = {"adam"}, .tables = {"wild={rule = \"sgd\", lr = 1}"}});
  EXPECT_THAT(shown, HasSubstr("rosenbrock: (1 - x)^2 + 100 (y - x^2)^2"));
  EXPECT_THAT(shown, HasSubstr("200 steps from (-1.2, 1), where the loss is 24.2"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("\nadam +[0-9.]+ \\* +[0-9]+ .* from the minimum\n"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("\nwild +1 .*diverged at step [0-9]+\n"));
  EXPECT_THAT(Shown({.function = "saddle", .runners = {"sgd"}}), HasSubstr("left the picture at"));
}

TEST(LandscapeTest, AveragesAreARowOfTheirOwn) {
  const TemporaryFolder folder;
  const LandscapeOptions options{
      .function = "bowl",
      .tables = {"mean={rule = \"sgd\", lr = 0.1, swa = {}}", "plain={rule = \"sgd\", lr = 0.1}"},
      .descent = {.steps = 4},
      .svg = folder.path() / "ways.svg",
      .json = folder.path() / "steps.json"};
  const std::string shown = Shown(options);
  const auto json = nlohmann::json::parse(ReadTextFile(options.json));
  const auto& run = json["runs"][0];
  double x = 0;
  for (size_t step = 1; step <= 4; ++step) x += run["x"][step].get<double>() / 4;
  EXPECT_NEAR(run["evaluated"]["x"][4], x, 1e-6) << "the mean of all places after steps";
  EXPECT_FALSE(json["runs"][1].contains("evaluated"));
  const size_t row = shown.find("\n  to evaluate ");
  ASSERT_NE(row, shown.npos) << shown;
  EXPECT_THAT(shown.substr(row, shown.find('\n', row + 1) - row),
              HasSubstr(fmt::format("{:.4g}", run["evaluated"]["loss"][4].get<double>())));
  EXPECT_EQ(shown.find("  to evaluate ", row + 3), shown.npos) << "only where weights differ";
  EXPECT_THAT(testing::TextsOf(ReadTextFile(options.svg)),
              ::testing::IsSupersetOf({"mean", "mean, to evaluate", "plain"}));
}

TEST(LandscapeTest, WritesEveryStepAsJson) {
  const TemporaryFolder folder;
  Shown({.function = "bowl",
         .runners = {"sgd"},
         .descent = {.steps = 3},
         .json = folder.path() / "steps.json"});
  const auto json = nlohmann::json::parse(ReadTextFile(folder.path() / "steps.json"));
  EXPECT_EQ(json["function"], "bowl");
  ASSERT_EQ(json["runs"].size(), 1U);
  const auto& run = json["runs"][0];
  EXPECT_EQ(run["label"], "sgd");
  ASSERT_EQ(run["x"].size(), 4U);
  const double lr = std::stod(run["lr"].get<std::string>());
  for (size_t i = 0; i + 1 < 4; ++i) {
    const double x = run["x"][i], y = run["y"][i];
    EXPECT_NEAR(run["x"][i + 1], x - lr * 2 * x, 1e-6);
    EXPECT_NEAR(run["y"][i + 1], y - lr * 4 * y, 1e-6);
    EXPECT_NEAR(run["loss"][i], x * x + 2 * y * y, 1e-6);
  }
}

TEST(LandscapeTest, ThePageHasTheStepsAndAsksForNothing) {
  const TemporaryFolder folder;
  Shown({.function = "bowl",
         .tables = {"</script><b>&={rule = \"sgd\", lr = 0.1}"},
         .descent = {.steps = 2},
         .html = folder.path() / "page.html"});
  const std::string page = ReadTextFile(folder.path() / "page.html");
  EXPECT_THAT(page, Not(HasSubstr("KUDARI_DATA")));
  EXPECT_THAT(page, Not(HasSubstr("</script><b>")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  const std::string open = "<script id=\"data\" type=\"application/json\">";
  const size_t begin = page.find(open) + open.size();
  const auto data =
      nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(data["runs"][0]["label"], "</script><b>&");
  EXPECT_EQ(data["runs"][0]["x"].size(), 3U);
  // The lowest band lies around the minimum, in the middle, and the highest in the corners.
  const size_t columns = data["grid"]["columns"], rows = data["grid"]["rows"];
  const std::string bands = data["grid"]["bands"];
  ASSERT_EQ(bands.size(), columns * rows);
  EXPECT_EQ(bands[rows / 2 * columns + columns / 2], '0');
  EXPECT_EQ(bands[0], '9');
}

TEST(LandscapeTest, ThePlaygroundBeginsWithTheCommand) {
  const TemporaryFolder folder;
  const std::string open = "<script id=\"settings\" type=\"application/json\">";
  std::ofstream(folder.path() / "playground.html") << "<p>" << open << "null</script></p>";
  Shown({.function = "ravine",
         .runners = {"adam"},
         .tables = {"</script>&={rule = \"sgd\", lr = 0.01, clip_norm = 1}"},
         .descent = {.start = Position{-5, 0.5}, .steps = 30, .noise = 0.1, .seed = 4},
         .html = folder.path() / "page.html",
         .playground = folder.path() / "playground.html"});
  const std::string page = ReadTextFile(folder.path() / "page.html");
  const std::string begin = "<p>" + open, end = "</script></p>";
  ASSERT_TRUE(page.starts_with(begin) && page.ends_with(end)) << page;
  EXPECT_EQ(page.find("</"), page.size() - end.size());
  const auto settings =
      nlohmann::json::parse(page.substr(begin.size(), page.size() - begin.size() - end.size()));
  EXPECT_EQ(settings["function"], "ravine");
  EXPECT_EQ(settings["start"], nlohmann::json({-5, 0.5}));
  EXPECT_EQ(settings["steps"], 30);
  EXPECT_EQ(settings["noise"], 0.1);
  EXPECT_EQ(settings["seed"], 4);
  ASSERT_EQ(settings["optimizers"].size(), 2U);
  EXPECT_EQ(settings["optimizers"][0]["label"], "adam");
  EXPECT_EQ(settings["optimizers"][0]["lr_given"], false);
  EXPECT_GT(settings["optimizers"][0]["optimizer"]["lr"], 0);
  EXPECT_EQ(settings["optimizers"][1]["label"], "</script>&");
  EXPECT_EQ(settings["optimizers"][1]["lr_given"], true);
  EXPECT_EQ(settings["optimizers"][1]["optimizer"],
            nlohmann::json({{"rule", "sgd"}, {"lr", 0.01}, {"clip_norm", 1}}));
}

TEST(LandscapeTest, PicturesHavePathsAndLosses) {
  const TemporaryFolder folder;
  const auto svg = [&](LandscapeOptions options) {
    options.svg = folder.path() / "picture.svg";
    Shown(options);
    return ReadTextFile(options.svg);
  };
  EXPECT_THAT(testing::TextsOf(svg({.function = "bowl", .runners = {"sgd", "adam"}})),
              ::testing::IsSupersetOf({"bowl: x^2 + 2 y^2", "sgd", "adam", "step"}));
  EXPECT_THAT(svg({.function = "bowl", .runners = {"sgd"}, .animated = true}),
              HasSubstr("animateMotion"));
  EXPECT_THAT(testing::TextsOf(svg({.function = "sharp", .runners = {"sgd"}, .view_3d = true})),
              ::testing::Contains("loss above the lowest"));
  // A run that stays at a minimum has no loss with a logarithm.
  EXPECT_THAT(
      svg({.function = "himmelblau", .runners = {"sgd"}, .descent = {.start = Position{3, 2}}}),
      HasSubstr("class=\"curves\""));
}

TEST(LandscapeTest, BadRequestsWriteNothing) {
  const TemporaryFolder folder;
  const auto error = [&](LandscapeOptions options) {
    options.json = folder.path() / "steps.json";
    std::string text = ErrorOf([&] { Shown(options); });
    EXPECT_FALSE(std::filesystem::exists(options.json)) << text;
    return text;
  };
  EXPECT_THAT(error({.function = "bowl"}), HasSubstr("0 optimisers, which is not in [1, 12]"));
  EXPECT_THAT(error({.function = "bowl", .runners = std::vector<std::string>(100, "sgd")}),
              HasSubstr("100 optimisers, which is not in [1, 12]"));
  EXPECT_THAT(error({.function = "bow", .runners = {"sgd"}}), HasSubstr("\"bowl\""));
  EXPECT_THAT(error({.function = "bowl", .runners = {"sgd"}, .svg = "a.jpg"}),
              HasSubstr("a picture must be named .svg or .png"));
  EXPECT_THAT(error({.function = "bowl", .runners = {"sgd"}, .animated = true, .svg = "a.png"}),
              HasSubstr("can play the steps"));
  EXPECT_THAT(error({.function = "bowl", .tables = {"x={rule = \"sgd\", lr = -1}"}}),
              HasSubstr("lr"));
  const std::filesystem::path other = folder.path() / "other.html";
  const LandscapeOptions options = {.function = "bowl",
                                    .runners = {"sgd"},
                                    .html = folder.path() / "page.html",
                                    .playground = other};
  EXPECT_THAT(error(options), HasSubstr("other.html"));
  std::ofstream(other) << "<p>another page</p>";
  EXPECT_EQ(error(options), other.string() + ": is not the page that `make playground` writes");
  EXPECT_FALSE(std::filesystem::exists(options.html));
}

}  // namespace landscape_test
}  // namespace kudari::lab
