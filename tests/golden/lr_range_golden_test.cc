// Learning-rate range tests beside torch-lr-finder's own and fastai's formulas; make_lr_range.py
// wrote the data.
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "kudari/lr_range.h"

namespace kudari {
namespace lr_range_golden_test {

using nlohmann::json;

json Data() {
  std::ifstream file(std::string(KUDARI_SOURCE_DIR) + "/tests/golden/data/lr_range.json");
  return json::parse(file);
}

void ExpectLr(const LrSuggestions& suggestions, LrMethod method, double expected) {
  const LrSuggestion* const s = suggestions.Find(method);
  ASSERT_NE(s, nullptr) << Name(method);
  EXPECT_NEAR(s->lr / expected, 1, 1e-12) << Name(method);
}

TEST(LrRangeGoldenTest, TorchLrFinder) {
  const json data = Data();
  ASSERT_EQ(data["torch_lr_finder"].size(), 3U);
  for (const json& c : data["torch_lr_finder"]) {
    const bool linear = c["mode"] == "linear";
    LrRangeTest test({.start = c["start"],
                      .end = c["end"],
                      .steps = c["steps"],
                      .ramp = linear ? LrRamp::kLinear : LrRamp::kExponential,
                      .smooth = 1 - c["smooth"].get<double>(),
                      .smoothing = LrSmoothing::kFromFirst,
                      .stop_factor = c["diverge"]});
    for (const json& loss : c["loss"]) {
      if (!test.Running()) break;
      test.Add(loss.is_null() ? std::numeric_limits<double>::infinity() : loss.get<double>());
    }
    const auto& points = test.range().points;
    ASSERT_EQ(points.size(), c["lr"].size()) << c["mode"];
    for (size_t i = 0; i < points.size(); ++i) {
      EXPECT_NEAR(points[i].lr / c["lr"][i].get<double>(), 1, 1e-12) << i;
      EXPECT_NEAR(points[i].smoothed / c["smoothed"][i].get<double>(), 1, 1e-12) << i;
    }
    if (linear) continue;  // its slope is by the step, where ours is by the logarithm
    ExpectLr(SuggestLearningRates(test.range(),
                                  {.skip_first = 10, .skip_last = 5, .slope = LrSlope::kCentral}),
             LrMethod::kSteepest, c["steepest"]);
  }
}

TEST(LrRangeGoldenTest, Fastai) {
  const json data = Data();
  ASSERT_EQ(data["fastai"].size(), 4U);
  for (const json& c : data["fastai"]) {
    LrRangeTest test({.start = c["start"],
                      .end = c["end"],
                      .steps = c["steps"],
                      .ramp_end = LrRampEnd::kBefore,
                      .smooth = 0});
    for (const double loss : c["smoothed"]) test.Add(loss);
    EXPECT_FALSE(test.Running()) << c["name"];  // where fastai ends, Kudari does
    const LrSuggestions suggestions = SuggestLearningRates(test.range());
    for (const LrMethod method : kLrMethods) {
      ExpectLr(suggestions, method, c[std::string(Name(method))]);
    }
  }
}

}  // namespace lr_range_golden_test
}  // namespace kudari
