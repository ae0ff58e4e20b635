#include "lab/report/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string_view>

#include "lab/console/usage_error.h"
#include "lab/files/text_file.h"
#include "lab/report/downsample.h"
#include "lab/report/report_curves.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace report_test {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Printed;
using testing::TemporaryFolder;
using Json = nlohmann::ordered_json;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::string_view kDataBegin = "<script id=\"data\" type=\"application/json\">";

std::vector<LogPoint> RandomCurve(size_t size) {
  std::mt19937 random(3);
  std::normal_distribution<double> value;
  std::vector<LogPoint> curve;
  for (size_t i = 0; i < size; ++i) {
    curve.push_back({.step = static_cast<int64_t>(2 * i + 1), .value = value(random)});
  }
  return curve;
}

bool Has(const std::vector<LogPoint>& points, const LogPoint& point) {
  return std::ranges::any_of(points, [&](const LogPoint& p) {
    return p.step == point.step &&
           (p.value == point.value || (std::isnan(p.value) && std::isnan(point.value)));
  });
}

TEST(DownsampleTest, KeepsShortCurves) {
  const std::vector<LogPoint> curve = RandomCurve(20);
  EXPECT_EQ(Downsample(curve, 20).points, curve);
  EXPECT_TRUE(Downsample(curve, 20).means.empty());
  EXPECT_TRUE(Downsample({}, 5).points.empty());
}

TEST(DownsampleTest, KeepsTheEndsTheExtremesAndWhatIsNotFinite) {
  std::vector<LogPoint> curve = RandomCurve(10007);
  curve[5000].value = 100;
  curve[5001].value = -100;
  curve[7000].value = kNan;
  curve[9000].value = kInfinity;
  for (const size_t most : {5U, 37U, 500U, 3000U}) {
    SCOPED_TRACE(most);
    const SampledCurve sampled = Downsample(curve, most);
    EXPECT_LE(sampled.points.size(), most);
    EXPECT_EQ(sampled.means.size(), most / 5);
    EXPECT_EQ(sampled.points.front(), curve.front());
    EXPECT_EQ(sampled.points.back(), curve.back());
    EXPECT_TRUE(Has(sampled.points, curve[5000]));
    EXPECT_TRUE(Has(sampled.points, curve[5001]));
    EXPECT_TRUE(Has(sampled.points, curve[7000]));
    EXPECT_EQ(Has(sampled.points, curve[9000]), most > 5);  // the second one, in one part
    for (size_t i = 1; i < sampled.points.size(); ++i) {
      EXPECT_LT(sampled.points[i - 1].step, sampled.points[i].step);
    }
    for (const LogPoint& p : sampled.points)
      EXPECT_TRUE(Has({curve.at(static_cast<size_t>(p.step - 1) / 2)}, p));
  }
}

TEST(DownsampleTest, MeansAreThoseOfTheFiniteValuesOfEachPart) {
  std::vector<LogPoint> curve;
  for (const double value : {1., 2., 6., kNan, 3., 0., 7., 7., kInfinity, 7., 7., 7., kNan, kNan,
                             kNan, kNan, kNan, kNan}) {
    curve.push_back({.step = std::ssize(curve) + 1, .value = value});
  }
  const SampledCurve sampled = Downsample(curve, 15);
  ASSERT_EQ(sampled.means.size(), 3U);
  EXPECT_EQ(sampled.means[0], (LogPoint{4, 12. / 5}));
  EXPECT_EQ(sampled.means[1], (LogPoint{10, 7}));
  EXPECT_EQ(sampled.means[2].step, 16);
  EXPECT_TRUE(std::isnan(sampled.means[2].value));
  std::vector<int64_t> steps;
  for (const LogPoint& p : sampled.points) steps.push_back(p.step);
  EXPECT_THAT(steps, ElementsAre(1, 3, 4, 6, 7, 9, 12, 13, 18));
}

TEST(ReportCurvesTest, WhatIsLoggedAgainTakesThePlaceOfWhatWasLoggedBefore) {
  const LogReading reading = ParseLog("step,loss,beta\n1,5,1\n2,4,2\n3,9,3\n4,9,4\n3,3,5\n4,2,6\n",
                                      "log.csv", {.curves = true});
  ASSERT_EQ(reading.curves.size(), 2U);
  EXPECT_EQ(reading.curves[0].name, "loss");
  EXPECT_THAT(reading.curves[0].points,
              ElementsAre(LogPoint{1, 5}, LogPoint{2, 4}, LogPoint{3, 3}, LogPoint{4, 2}));
  EXPECT_THAT(reading.curves[1].points,
              ElementsAre(LogPoint{1, 1}, LogPoint{2, 2}, LogPoint{3, 5}, LogPoint{4, 6}));
  EXPECT_TRUE(ParseLog("step,loss\n1,5\n", "log.csv").curves.empty());
}

TEST(ReportCurvesTest, HaveTheNamesOfFieldsAndTheMostImportantAreFirst) {
  const LogReading reading = ParseLog(
      "step,speed,learning_rate,eval_loss,train/loss,time,phase,flag\n"
      "1,10,0.5,3,4,0.5,1,a\n2,12,0.5,2,3,1.5,1,b\n3,11,0.5,nan,7,2,1,c\n",
      "log.csv", {.curves = true});
  const Json curves = CurvesJson(reading, 1000);
  std::vector<std::string> names;
  for (const Json& curve : curves) names.push_back(curve["name"]);
  EXPECT_THAT(names, ElementsAre("loss", "val_loss", "lr", "speed"));
  EXPECT_EQ(curves[0]["low"], (Json{{"step", 2}, {"value", 3.}}));
  EXPECT_EQ(curves[0]["high"], (Json{{"step", 3}, {"value", 7.}}));
  EXPECT_EQ(curves[1]["values"].dump(), "[3.0,2.0,null]");
  EXPECT_EQ(curves[1]["not_finite"], 1);
  EXPECT_EQ(ConstantsJson(reading), (Json{{"phase", 1.}}));
  EXPECT_EQ(AxesJson(reading),
            (Json{{"seconds", {{"steps", {1, 2, 3}}, {"values", {.5, 1.5, 2.}}}}}));
}

TEST(ReportCurvesTest, LayersKeepTheHighestNorms) {
  std::vector<LayersLog> layers;
  for (int64_t step = 1; step <= 1000; ++step) {
    layers.push_back(
        {.step = step,
         .tensors = {{.name = "a", .grad = step == 777 ? 99. : 1, .weight = 2, .update = .5},
                     {.name = "b", .grad = kNan, .weight = 0, .update = .1}}});
  }
  const Json json = LayersJson(layers, 600);
  EXPECT_EQ(json["names"], (Json{"a", "b"}));
  EXPECT_EQ(json["steps"].size(), 100U);
  EXPECT_EQ(json["steps"][77], 771);
  EXPECT_EQ(json["grad"][0][77], 99.);
  EXPECT_EQ(json["grad"][0][76], 1.);
  EXPECT_EQ(json["ratio"][0][5], .25);
  EXPECT_TRUE(json["grad"][1][5].is_null());
  EXPECT_TRUE(json["ratio"][1][5].is_null());
  EXPECT_TRUE(LayersJson({}, 600).is_null());
  LogReading reading{.log = {.layers = {layers[776], layers[777]}}, .curves = {}};
  const Json curves = CurvesJson(reading, 100);
  ASSERT_EQ(curves.size(), 0U);  // both norms are constant
  EXPECT_NEAR(ConstantsJson(reading)["update_norm"].get<double>(), std::hypot(.5, .1), 1e-12);
}

class ReportTest : public ::testing::Test {
 protected:
  // A folder with a log, and a recipe if there is one.
  fs::path Run(const fs::path& name, const std::string& metrics, const std::string& recipe = "") {
    fs::create_directories(folder_ / name);
    std::ofstream(folder_ / name / "metrics.jsonl") << metrics;
    if (!recipe.empty()) std::ofstream(folder_ / name / "recipe.toml") << recipe;
    return folder_ / name;
  }

  static std::string Metrics(int64_t steps, double scale = 1) {
    std::string text;
    for (int64_t step = 1; step <= steps; ++step) {
      text += fmt::format(
          R"({{"step":{},"epoch":{},"loss":{},"lr":0.1,"grad_norm":1.5,"skipped":false,"seconds":{}}})"
          "\n",
          step, (step - 1) / 10 + 1, scale * (2 + 10 / static_cast<double>(step)),
          0.5 * static_cast<double>(step));
      if (step % 10 == 0)
        text +=
            fmt::format("{{\"step\":{},\"val_loss\":{}}}\n", step, 3 / static_cast<double>(step));
    }
    return text;
  }

  std::string Page(const std::vector<fs::path>& runs) {
    Printed([&](std::FILE* out) { WriteReport({.runs = runs, .out = page_}, out); });
    return ReadTextFile(page_);
  }

  static Json DataOf(const std::string& page) {
    const size_t begin = page.find(kDataBegin) + kDataBegin.size();
    return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  }

  TemporaryFolder folder_;
  fs::path page_ = folder_ / "page.html";
};

size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST_F(ReportTest, ShowsRunsTheirStatesAndWhereTheirRecipesDiffer) {
  const fs::path a = Run("x/a", Metrics(40) + "{\"step\":40,\"test_loss\":0.1}\n",
                         "model = {name = \"mlp\"}\noptimizer = {rule = \"adamw\", lr = 0.1}\n");
  const fs::path b = Run("b", Metrics(30) + "{\"step\":31,\"lo",  // is being written
                         "model = {name = \"mlp\"}\noptimizer = {rule = \"adamw\", lr = 0.2}\n");
  const fs::path other = Run("y/a", Metrics(20));
  const Json json = DataOf(Page({a, b, other}));
  ASSERT_EQ(json["runs"].size(), 3U);
  EXPECT_EQ(json["runs"][0]["name"], a.string());  // two have this name
  EXPECT_EQ(json["runs"][1]["name"], "b");
  EXPECT_EQ(json["runs"][0]["state"], "finished");
  EXPECT_EQ(json["runs"][1]["state"], "broken off");
  EXPECT_EQ(json["runs"][1]["step"], 30);
  EXPECT_EQ(json["runs"][0]["seconds"], 20.);
  EXPECT_EQ(json["runs"][0]["axes"]["epoch"], (Json{{"steps", {0, 40}}, {"values", {0., 4.}}}));
  EXPECT_NE(json["runs"][0]["colour"], json["runs"][1]["colour"]);
  EXPECT_EQ(json["differences"],
            (Json{{{"key", "optimizer.lr"}, {"values", {"0.1", "0.2", nullptr}}}}));
  const Json& loss = json["runs"][0]["curves"][0];
  EXPECT_EQ(loss["name"], "loss");
  EXPECT_EQ(loss["count"], 40);
  EXPECT_EQ(loss["values"][2], 5.333333);
}

TEST_F(ReportTest, FindingsAreThoseOfTheDoctor) {
  std::string diverging;
  for (int step = 1; step <= 200; ++step) {
    diverging += fmt::format("{{\"step\":{},\"loss\":{}}}\n", step,
                             step < 100   ? "2"
                             : step < 150 ? fmt::format("{}", step * step)
                                          : "NaN");
  }
  const fs::path run = Run("run", diverging);
  const std::vector<Finding> findings = Diagnose(ReadRunLog(run)).findings;
  ASSERT_FALSE(findings.empty());
  const Json json = DataOf(Page({run}))["runs"][0];
  ASSERT_EQ(json["findings"].size(), findings.size());
  for (size_t i = 0; i < findings.size(); ++i) {
    EXPECT_EQ(json["findings"][i]["verdict"], InfoOf(findings[i]).name);
    EXPECT_EQ(json["findings"][i]["action"], InfoOf(findings[i]).action);
    EXPECT_EQ(json["findings"][i]["first_step"], findings[i].first_step);
  }
  EXPECT_EQ(json["state"], "diverged");
}

TEST_F(ReportTest, NoTextBecomesMarkup) {
  const std::string name = "script><img src=x onerror=alert(1)>\n\"q\" & 'r' \xff";
  const fs::path run = Run(fs::path("odd<") / name,
                           R"({"step":1,"loss":2,"</script><b>":3})"
                           "\n"
                           R"({"step":2,"loss":1,"</script><b>":4})"
                           "\n",
                           "# </script><script>alert(2)</script>\nmodel = {name = \"mlp\"}\n"
                           "optimizer = {rule = \"adamw\"}\n");
  const std::string page = Page({run});
  EXPECT_EQ(CountOf(page, "</script"), 3U);
  EXPECT_EQ(CountOf(page, "<script"), 3U);
  EXPECT_EQ(CountOf(page, "<img"), 0U);
  const Json json = DataOf(page)["runs"][0];
  EXPECT_EQ(json["name"], "script><img src=x onerror=alert(1)>\n\"q\" & 'r' \xef\xbf\xbd");
  EXPECT_THAT(json["path"].get<std::string>(), HasSubstr("odd</script>"));
  EXPECT_EQ(json["curves"][1]["name"], "</script><b>");
  EXPECT_THAT(json["recipe"].get<std::string>(), HasSubstr("</script><script>alert(2)"));
}

TEST_F(ReportTest, AsksForNothingOnTheNetwork) {
  const std::string page = Page({Run("a", Metrics(20))});
  EXPECT_EQ(CountOf(page, "<link"), 0U);
  EXPECT_EQ(CountOf(page, "src="), 0U);
  EXPECT_EQ(CountOf(page, "@import"), 0U);
  EXPECT_EQ(CountOf(page, "KUDARI_"), 0U);  // every place is filled
  EXPECT_THAT(page, HasSubstr("Copyright (c) 2022 Leon Sorokin"));
}

TEST_F(ReportTest, ShowsPicturesOfTheFolder) {
  const fs::path run = Run("a", Metrics(20));
  std::ofstream(run / "1.png") << "Man";
  std::ofstream(run / "2.png") << "Ma";
  std::ofstream(run / "3.svg") << "M";
  std::ofstream(run / "4.png") << std::string(3 << 20, 'x');
  const Json json = DataOf(Page({run}))["runs"][0];
  ASSERT_EQ(json["pictures"].size(), 3U);
  EXPECT_EQ(json["pictures"][0]["data"], "data:image/png;base64,TWFu");
  EXPECT_EQ(json["pictures"][1]["data"], "data:image/png;base64,TWE=");
  EXPECT_EQ(json["pictures"][2]["data"], "data:image/svg+xml;base64,TQ==");
  EXPECT_THAT(json["notes"][0].get<std::string>(), HasSubstr("4.png is left out"));
}

TEST_F(ReportTest, RunsThatCannotBeReadAreListedAndNamed) {
  const fs::path good = Run("good", Metrics(20)), empty = Run("empty", ""),
                 damaged = Run("damaged", "{\"step\":1,\"loss\":1}\nnonsense\n{\"step\":2}\n");
  EXPECT_THAT(ErrorOf([&] {
                Page({good, damaged, empty});
              }),
              AllOf(HasSubstr("2 of 3 runs"), HasSubstr("damaged"), HasSubstr("empty")));
  const Json json = DataOf(ReadTextFile(page_));
  EXPECT_FALSE(json["runs"][0].contains("error"));
  EXPECT_THAT(json["runs"][1]["error"].get<std::string>(), HasSubstr(damaged.string()));
  EXPECT_THAT(json["runs"][2]["error"].get<std::string>(), HasSubstr(empty.string()));

  fs::remove(page_);
  fs::create_directory(folder_ / "nothing");
  EXPECT_THAT(ErrorOf([&] { Page({folder_ / "nothing"}); }),
              HasSubstr((folder_ / "nothing").string()));
  EXPECT_THAT(ErrorOf([&] { Page({folder_ / "gone"}); }), HasSubstr("gone"));
  EXPECT_THAT(ErrorOf([&] { Page({damaged}); }), HasSubstr("metrics.jsonl"));
  EXPECT_FALSE(fs::exists(page_));
}

TEST_F(ReportTest, ARecipeThatCannotBeReadIsShownAllTheSame) {
  const fs::path run = Run("a", "step,loss\n1,2\n2,1\n", "");
  fs::rename(run / "metrics.jsonl", run / "metrics.csv");
  std::ofstream(run / "recipe.toml") << "of = \"another program\"\n";
  const Json json = DataOf(Page({run}));
  EXPECT_EQ(json["runs"][0]["recipe"], "of = \"another program\"\n");
  EXPECT_FALSE(json["runs"][0].contains("state"));
  EXPECT_THAT(json["runs"][0]["notes"].dump(), HasSubstr("could not be compared"));
  EXPECT_TRUE(json["differences"].empty());
}

TEST_F(ReportTest, TooManyRunsAreRefused) {
  const fs::path run = Run("a", Metrics(20));
  EXPECT_THAT(ErrorOf([&] { Page(std::vector<fs::path>(kMostReportRuns + 1, run)); }),
              HasSubstr("201 runs, which is not in [1, 200]"));
  EXPECT_THAT(ErrorOf([&] { Page({}); }), HasSubstr("0 runs"));
  EXPECT_EQ(DataOf(Page(std::vector<fs::path>(kMostReportRuns, run)))["runs"].size(), 200U);
}

TEST_F(ReportTest, AHundredThousandStepsAreBelowAMegabyteAndKeepTheirSpikes) {
  std::string metrics;
  for (int64_t step = 1; step <= 100'000; ++step) {
    const double x = static_cast<double>(step);
    metrics +=
        fmt::format(R"({{"step":{},"loss":{},"lr":{},"grad_norm":{},"speed":{},"seconds":{}}})"
                    "\n",
                    step, step == 54'321 ? 1234.5 : 2 + std::sin(x), 1 / x, 1 + std::cos(x),
                    std::sin(x * x), x / 100);
  }
  const std::string page = Page({Run("long", metrics)});
  EXPECT_LT(page.size(), 1'000'000U);
  const Json loss = DataOf(page)["runs"][0]["curves"][0];
  EXPECT_EQ(loss["count"], 100'000);
  EXPECT_EQ(loss["high"], (Json{{"step", 54'321}, {"value", 1234.5}}));
  const auto spike = std::ranges::find(loss["values"], Json(1234.5));
  ASSERT_NE(spike, loss["values"].end());
  const auto at = static_cast<size_t>(spike - loss["values"].begin());
  EXPECT_EQ(loss["steps"][at], 54'321);
}

}  // namespace report_test
}  // namespace kudari::lab
