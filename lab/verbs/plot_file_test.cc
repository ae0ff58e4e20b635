#include "lab/verbs/plot_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/svg_boxes.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace plot_file_test {

using Json = nlohmann::ordered_json;
using kudari::testing::ErrorOf;
using kudari::testing::PlaceOf;
using kudari::testing::TextFaults;
using kudari::testing::TextsOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

Json LinesJson(const std::string& title) {
  return {{"title", title},
          {"x_label", "k"},
          {"y_label", "accuracy (%)"},
          {"log_x", true},
          {"x_ticks", {1, 5, 20}},
          {"y_least", 80},
          {"series",
           {{{"label", "SAM"}, {"x", {1, 5, 20}}, {"y", {91.1, 82.5, 78.3}}, {"error", {1, 1, 2}}},
            {{"label", "LookSAM"}, {"x", {1, 5, 20}}, {"y", {91.1, 91.7, 91.2}}}}}};
}

Json IntervalsJson() {
  return {{"kind", "intervals"},
          {"x_label", "accuracy (%)"},
          {"rows", {{{"label", "SGD"}, {"mean", 48}, {"error", 0.6}, {"values", {47, 49}}}}}};
}

Json TableJson() {
  return {{"kind", "table"},
          {"title", "AdamW"},
          {"columns", {"0.001", "0.01"}},
          {"rows", {{{"label", "3"}, {"values", {93, 92}}, {"marked", {0}}}}}};
}

Json SurfaceJson() {
  return {{"kind", "surface"},
          {"surface", "valleys"},
          {"title", "where runs end"},
          {"low", {-3, -3}},
          {"high", {3, 3}},
          {"dots", {{{"label", "SGD"}, {"x", {1, -1}}, {"y", {0, 0.1}}}}}};
}

std::string Drawn(const Json& chart, Json more = Json::object()) {
  more["charts"] = chart.is_array() ? chart : Json::array({chart});
  return PlotSvg(more.dump(), "f.json");
}

std::string Refused(const Json& chart) {
  return ErrorOf([&] { Drawn(chart); });
}

TEST(PlotFileTest, DrawsEveryKind) {
  const std::string lines = Drawn(LinesJson("over k"));
  EXPECT_THAT(TextsOf(lines), IsSupersetOf({"over k", "SAM", "LookSAM", "5", "accuracy (%)"}));
  EXPECT_THAT(lines, HasSubstr("is cut off at 80; it goes down to 76.3"));
  EXPECT_THAT(TextsOf(Drawn(IntervalsJson())), IsSupersetOf({"SGD", "accuracy (%)"}));
  EXPECT_THAT(TextsOf(Drawn(TableJson())), IsSupersetOf({"AdamW", "93", "0.01", "3"}));
  const std::string surface = Drawn(SurfaceJson());
  EXPECT_THAT(TextsOf(surface), IsSupersetOf({"where runs end", "SGD", "loss above the lowest"}));
  for (const std::string& svg : {lines, surface}) EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(PlotFileTest, ChartsStandInRows) {
  const Json charts = {LinesJson("first"), LinesJson("second")};
  const std::string below = Drawn(charts);
  EXPECT_EQ(PlaceOf(below, "first").x, PlaceOf(below, "second").x);
  EXPECT_LT(PlaceOf(below, "first").y + 300, PlaceOf(below, "second").y);
  const std::string beside = Drawn(charts, {{"columns", 2}});
  EXPECT_EQ(PlaceOf(beside, "first").y, PlaceOf(beside, "second").y);
  const std::vector<std::string> texts = TextsOf(beside);
  EXPECT_EQ(std::ranges::count(texts, "SAM"), 1) << "a common legend";
  const std::string tables = Drawn({TableJson(), TableJson()}, {{"columns", 2}, {"note", "n"}});
  const std::vector<std::string> twice = TextsOf(tables);
  EXPECT_EQ(std::ranges::count(twice, "AdamW"), 2);
  EXPECT_THAT(TextFaults(tables), IsEmpty());
}

TEST(PlotFileTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf([] { PlotSvg("{", "f.json"); }), "f.json: is not JSON, or truncated");
  EXPECT_EQ(ErrorOf([] { PlotSvg("[]", "f.json"); }), "f.json: must be an object with \"charts\"");
  EXPECT_EQ(ErrorOf([] { PlotSvg("{}", "f.json"); }), "f.json: charts: is missing");
  EXPECT_EQ(ErrorOf([] { PlotSvg(R"({"charts": [null]})", "f.json"); }),
            "f.json: \"charts\" is null, which is no value");
  EXPECT_EQ(Refused(Json::array()), "f.json: charts: has 0 entries, which is outside [1, 64]");
  EXPECT_THAT(Refused({{"kind", "pie"}}),
              HasSubstr("f.json: charts[0].kind: unknown name \"pie\""));
  Json chart = LinesJson("t");
  chart["series"][1].erase("x");
  EXPECT_EQ(Refused(chart), "f.json: charts[0].series[1].x: is missing");
  chart = LinesJson("t");
  chart["series"][1]["y"].push_back(1);
  EXPECT_EQ(Refused({LinesJson("t"), chart}),
            "f.json: charts[1].series[1].y: has 4 numbers, and x has 3");
  chart = LinesJson("t");
  chart["series"][0]["error"][1] = -1;
  EXPECT_THAT(Refused(chart), HasSubstr("charts[0].series[0].error: -1 is outside [0, "));
  chart = LinesJson("t");
  chart["serie"] = 1;
  EXPECT_EQ(Refused(chart), "f.json: charts[0].serie: unknown key; did you mean \"series\"?");
  chart = LinesJson("t");
  chart["x_ticks"] = {0, 1};
  EXPECT_THAT(Refused(chart), HasSubstr("x_ticks: 0 is outside"));
  chart = TableJson();
  chart["rows"][0]["values"] = {1};
  EXPECT_EQ(Refused(chart), "f.json: charts[0].rows[0].values: has 1 numbers, and columns has 2");
  chart = SurfaceJson();
  chart["surface"] = "valley";
  EXPECT_THAT(Refused(chart), HasSubstr("did you mean \"valleys\"?"));
  chart = SurfaceJson();
  chart["high"] = {-3, 3};
  EXPECT_EQ(Refused(chart),
            "f.json: charts[0].low: (-3, -3) is not to the left of and below high, (-3, 3)");
  chart = IntervalsJson();
  chart["rows"][0].erase("mean");
  EXPECT_EQ(Refused(chart), "f.json: charts[0].rows[0].mean: is missing");
  // What is only found as it is drawn.
  chart = LinesJson("all below zero");
  chart["log_y"] = true;
  chart["y_least"] = 1;
  for (Json& series : chart["series"]) series["y"] = {-1, -2, -3};
  EXPECT_EQ(Refused(chart), "f.json: chart \"all below zero\": there is nothing to draw");
}

TEST(PlotFileTest, LimitsWhatItReads) {
  EXPECT_EQ(ErrorOf([] { PlotSvg(std::string((size_t{1} << 22) + 1, ' '), "f.json"); }),
            "f.json: has 4194305 bytes, which is outside [0, 4194304]");
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_EQ(ErrorOf([&] { PlotSvg("{\"charts\": " + deep + "}", "f.json"); }),
            "f.json: \"charts\" is nested more than 100 levels deep");
}

TEST(PlotFileTest, WritesAPictureOfAFile) {
  const kudari::testing::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "f.json";
  std::ofstream(file) << Json({{"charts", {TableJson()}}}).dump();
  PlotFile(file, folder.path() / "f.svg");
  EXPECT_EQ(ReadTextFile(folder.path() / "f.svg"), Drawn(TableJson()));
  EXPECT_THAT(ErrorOf([&] { PlotFile(file, folder.path() / "f.gif"); }), HasSubstr(".svg or .png"));
  EXPECT_THAT(ErrorOf([&] { PlotFile(folder.path() / "none.json", folder.path() / "g.svg"); }),
              HasSubstr("none.json"));
}

}  // namespace plot_file_test
}  // namespace kudari::lab
