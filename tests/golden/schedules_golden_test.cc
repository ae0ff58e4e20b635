// Schedules and the plateau controller beside implementations that are not Kudari's, recorded in
// data/schedules/ by make_schedules.py.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "kudari/controllers.h"
#include "kudari/schedule.h"

namespace kudari {
namespace schedules_golden_test {

using nlohmann::json;

json Golden(const std::string& name) {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/schedules/" + name);
  return json::parse(file);
}

TEST(SchedulesGoldenTest, EveryStepIsThatOfTheOracle) {
  // A few roundings of numbers near one, which are what the oracles' own order of operations costs.
  constexpr double kTolerance = 16 * std::numeric_limits<double>::epsilon();
  const json golden = Golden("curves.json");
  EXPECT_GE(golden["cases"].size(), 100U);
  for (const json& c : golden["cases"]) {
    const Schedule s = ParseSchedule(c["text"].get<std::string>());
    const auto values = c["values"].get<std::vector<double>>();
    EXPECT_GE(values.size(), 5U);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(s(static_cast<int64_t>(i)), values[i],
                  kTolerance * std::max(1.0, std::abs(values[i])))
          << s.Text() << " at " << i << ", beside " << c["oracle"];
    }
  }
}

TEST(SchedulesGoldenTest, EveryCurveHasAnOracle) {
  const json golden = Golden("curves.json");
  std::string texts;
  for (const json& c : golden["cases"]) texts += " " + c["text"].get<std::string>();
  for (const Description& d : DescribeSchedules()) {
    if (d.name != "constant") {
      EXPECT_NE(texts.find(" " + d.name + "("), std::string::npos) << d.name;
    }
  }
}

TEST(SchedulesGoldenTest, ThePlateauIsTorchs) {
  const json golden = Golden("plateau.json");
  EXPECT_GE(golden["cases"].size(), 10U);
  for (const json& c : golden["cases"]) {
    SCOPED_TRACE(c["arguments"].dump());
    const json& a = c["arguments"];
    ReduceOnPlateauOptions options;
    options.factor = a.value("factor", options.factor);
    options.patience = a.value("patience", options.patience);
    options.cooldown = a.value("cooldown", options.cooldown);
    options.lowest = a.value("min_lr", options.lowest);
    options.eps = a.value("eps", options.eps);
    options.improvement.threshold = a.value("threshold", options.improvement.threshold);
    options.improvement.relative = a.value("threshold_mode", "rel") == "rel";
    options.improvement.maximize = a.value("mode", "min") == "max";
    ReduceOnPlateau plateau(1, options);
    std::set<double> seen;
    for (size_t i = 0; i < c["metrics"].size(); ++i) {
      const json& metric = c["metrics"][i];
      seen.insert(plateau.Observe(metric.is_null() ? NAN : metric.get<double>()));
      const json values = {plateau.value(), plateau.bad(), plateau.cooldown()};
      ASSERT_EQ(values, c["values"][i]) << "at " << i;
    }
    EXPECT_GE(seen.size(), 2U);
  }
}

}  // namespace schedules_golden_test
}  // namespace kudari
