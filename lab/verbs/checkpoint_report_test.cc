#include "lab/verbs/checkpoint_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kudari/checkpoint.h"
#include "lab/files/run_folder.h"
#include "lab/files/text_file.h"
#include "lab/verbs/runs.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace checkpoint_report_test {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Printed;

StateTree StateWith(int64_t step, std::vector<float> weights) {
  StateTree state;
  state.Set("step", step);
  state.Set("w", StateArray::Of<float>(weights));
  state.Set("codes", StateArray::Of<uint8_t>(std::vector<uint8_t>{1, 2, 3}));
  return state;
}

class CheckpointReportTest : public ::testing::Test {
 protected:
  void Save(int64_t step, std::vector<float> weights, const std::string& recipe = "") {
    CheckpointManifest about{.step = step, .metrics = {{"loss", 0.5}}};
    if (!recipe.empty()) about.texts["recipe"] = recipe;
    SaveCheckpoint(CheckpointsOf(run_), StateWith(step, std::move(weights)), about,
                   {.retention = {.keep = 0}});
  }

  testing::TemporaryFolder dir_;
  fs::path run_ = dir_ / "run";
};

TEST_F(CheckpointReportTest, ShowsAllOrOne) {
  Save(1, {1, 2});
  Save(2, {1, 3});
  const std::string all = Printed([&](std::FILE* out) { ShowCheckpoints(run_, out); });
  EXPECT_THAT(all, AllOf(HasSubstr("step-2 "), HasSubstr("step-1 "), HasSubstr("loss 0.5")));
  EXPECT_LT(all.find("step-2 "), all.find("step-1 "));
  const std::string one =
      Printed([&](std::FILE* out) { ShowCheckpoints(CheckpointsOf(run_) / "step-2", out); });
  EXPECT_THAT(one, AllOf(HasSubstr("state.safetensors"), HasSubstr("codes  U8   [3]"),
                         HasSubstr("saved by  Kudari 0.1.0")));
  ShowCheckpointsJson(run_, dir_ / "json");
  const auto json = nlohmann::json::parse(ReadTextFile(dir_ / "json"));
  EXPECT_EQ(json[0]["step"], 2);
  EXPECT_EQ(json[1]["tensors"][1]["path"], "w");
  EXPECT_THAT(ErrorOf([&] { ShowCheckpoints(dir_ / "none", stdout); }),
              HasSubstr("is not a folder"));
  EXPECT_THAT(ErrorOf([&] { ShowCheckpoints(dir_.path(), stdout); }),
              HasSubstr("has no checkpoint"));
}

TEST_F(CheckpointReportTest, VerifiesAndNamesWhatIsNotFinite) {
  Save(1, {1, NAN});
  Save(2, {1, 3});
  bool good = false;
  const auto verify = [&](std::FILE* out) { good = VerifyCheckpoints(run_, out); };
  EXPECT_THAT(Printed(verify),
              AllOf(HasSubstr("step-1: good; not finite: w\n"), HasSubstr("step-2: good\n")));
  EXPECT_TRUE(good);
  fs::resize_file(CheckpointsOf(run_) / "step-2/state.safetensors", 20);
  EXPECT_THAT(Printed(verify), HasSubstr("state.safetensors: has 20 bytes"));
  EXPECT_FALSE(good);
  std::ofstream(CheckpointsOf(run_) / "step-2/manifest.json") << "{}";
  EXPECT_THAT(Printed(verify), HasSubstr("manifest.json: is damaged"));
  EXPECT_FALSE(good);
  EXPECT_THAT(Printed([&](std::FILE* out) { ShowCheckpoints(run_, out); }), HasSubstr("damaged: "));
}

TEST_F(CheckpointReportTest, SaysWhatDiffers) {
  const std::string recipe = "model = {name = \"linear\"}\noptimizer = {rule = \"sgd\", lr = ";
  Save(1, {1, 2, 3}, recipe + "1.0}\n");
  Save(2, {1, 2.5, 3}, recipe + "2.0}\n");
  bool same = true;
  const auto diff = [&](int64_t a, int64_t b) {
    return Printed([&](std::FILE* out) {
      const fs::path all = CheckpointsOf(run_);
      same = DiffCheckpoints(all / ("step-" + std::to_string(a)),
                             all / ("step-" + std::to_string(b)), out);
    });
  };
  EXPECT_THAT(diff(1, 2), AllOf(HasSubstr("recipe: optimizer.lr = 1, then 2\n"),
                                HasSubstr("w     1 of 3 elements differ, by at most 0.5\n"),
                                HasSubstr("step  "), Not(HasSubstr("codes"))));
  EXPECT_FALSE(same);
  EXPECT_EQ(diff(2, 2), "the states are equal\n");
  EXPECT_TRUE(same);
  SaveCheckpoint(CheckpointsOf(run_), StateTree(), {.step = 3});
  EXPECT_THAT(diff(2, 3), HasSubstr("codes  U8 [3], only in "));
}

TEST_F(CheckpointReportTest, Prunes) {
  for (const int64_t step : {1, 2, 3}) Save(step, {1});
  const std::string text =
      Printed([&](std::FILE* out) { PruneCheckpointsOf(run_, {.keep = 1}, out); });
  EXPECT_THAT(text, AllOf(HasSubstr("deleted " + (CheckpointsOf(run_) / "step-2").string()),
                          HasSubstr("kept " + (CheckpointsOf(run_) / "step-3").string())));
  EXPECT_FALSE(fs::exists(CheckpointsOf(run_) / "step-1"));
  EXPECT_THAT(ErrorOf([&] { PruneCheckpointsOf(CheckpointsOf(run_) / "step-3", {}, stdout); }),
              HasSubstr("is one checkpoint"));
}

TEST_F(CheckpointReportTest, ListsRuns) {
  EXPECT_THAT(ErrorOf([&] { ListRuns(dir_ / "none", stdout); }), HasSubstr("none: "));
  EXPECT_THAT(Printed([&](std::FILE* out) { ListRuns(dir_.path(), out); }),
              HasSubstr("holds no runs"));
  const auto make = [&](const std::string& name, const std::string& tail) {
    fs::create_directories(dir_ / name);
    std::ofstream(dir_ / name / "recipe.toml")
        << "optimizer = {rule = \"sgd\"}\ntrain = {steps = 4, epochs = 0}\n";
    std::ofstream(dir_ / name / "metrics.jsonl")
        << R"({"step":1,"epoch":1,"loss":1.5,"lr":0.1})"
        << "\n"
        << R"({"step":1,"val_loss":0.75,"val_accuracy":0.5})"
        << "\n"
        << tail;
  };
  make("broken", "");
  make("diverged", "{\"step\":2,\"epoch\":1,\"loss\":null,\"lr\":0.1}\n");
  make("finished", "{\"step\":1,\"test_loss\":0.5,\"test_accuracy\":0.5}\n");
  make("run", "{\"step\":1,\"test_loss\":0.5,\"test_accuracy\":0.5}\n");
  Save(1, {1});
  make("unreadable", "{\n{\n");
  const std::string text = Printed([&](std::FILE* out) { ListRuns(dir_.path(), out); });
  EXPECT_THAT(text, AllOf(HasSubstr("run         1/4   0.7500    50.00%   1           stopped\n"),
                          ::testing::ContainsRegex("broken +1/4 .* - +broken off\n"),
                          ::testing::ContainsRegex("diverged .* diverged\n"),
                          ::testing::ContainsRegex("finished .* finished\n"),
                          ::testing::ContainsRegex("unreadable .* unreadable: "),
                          HasSubstr("to go on: kudari train --resume " + run_.string() + "\n")));
  EXPECT_THAT(text, Not(HasSubstr("--resume " + (dir_ / "finished").string())));
  {
    const RunFolder held = RunFolder::Resume(run_);
    EXPECT_THAT(Printed([&](std::FILE* out) { ListRuns(dir_.path(), out); }),
                HasSubstr("running\n"));
  }
  ListRunsJson(dir_.path(), dir_ / "json");
  const auto json = nlohmann::json::parse(ReadTextFile(dir_ / "json"));
  ASSERT_EQ(json.size(), 5U);
  EXPECT_EQ(json[3]["name"], "run");
  EXPECT_EQ(json[3]["can_go_on"], true);
  EXPECT_EQ(json[3]["checkpoint_step"], 1);
  EXPECT_EQ(json[0]["checkpoint_step"], nullptr);
}

}  // namespace checkpoint_report_test
}  // namespace kudari::lab
