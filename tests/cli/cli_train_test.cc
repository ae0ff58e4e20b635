// Training runs as seen from a shell: signals, folders, rights, links, full disks and second
// processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "tests/cli/process.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace cli_train_test {

namespace fs = std::filesystem;
using kudari::testing::kNobody;
using kudari::testing::Kudari;
using kudari::testing::Outcome;
using kudari::testing::Program;
using kudari::testing::StartOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CliTrainTest : public ::testing::Test {
 protected:
  CliTrainTest() {
    std::ofstream(dir_ / "r.toml") << R"([model]
name = "linear"
[optimizer]
rule = "sgd"
lr = 0.01
[train]
epochs = 1
threads = 1
)";
  }

  // `kudari train r.toml`, in the test's folder.
  std::vector<std::string> Train(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", "r.toml"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Outcome Run(const std::vector<std::string>& arguments) const {
    return Kudari(arguments, {.folder = dir_.path()});
  }

  kudari::testing::TemporaryFolder dir_;
};

void WaitFor(const fs::path& file) {
  std::error_code none;
  while (!(fs::file_size(file, none) > 0 && !none)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_F(CliTrainTest, SignalsEndARunWithEverythingSaved) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string out = std::to_string(signal);
    Program program(Train({"--set", "train.epochs=1000000", "--out", out}),
                    {.folder = dir_.path()});
    WaitFor(dir_ / out / "metrics.jsonl");
    program.Send(signal);
    const Outcome outcome = program.Wait();
    EXPECT_EQ(outcome.code, 128 + signal) << outcome.error;
    EXPECT_THAT(outcome.out, HasSubstr("interrupted at step"));
    EXPECT_NO_THROW(SafeTensorsFile(dir_ / out / "model.safetensors"));
    EXPECT_THAT(outcome.out, HasSubstr("kudari train --resume " + out));

    const Outcome again = Run({"train", "--resume", out, "--time-limit", "0.01s"});
    EXPECT_EQ(again.code, 0) << again.error;
    EXPECT_THAT(again.out, AllOf(HasSubstr("resumed at step "), HasSubstr("time limit of 0.01s")));
    EXPECT_EQ(Run({"checkpoint", "verify", out}).code, 0);
    const Outcome runs = Run({"runs", "."});
    EXPECT_THAT(runs.out, AllOf(HasSubstr("stopped"), HasSubstr("kudari train --resume ./" + out)));
  }
  EXPECT_THAT(Run({"train", "--resume"}).error, HasSubstr("give the folder of a run"));
  EXPECT_THAT(Run({"train"}).error, HasSubstr("the recipe is missing"));
  EXPECT_THAT(Run(Train({"--time-limit", "5m"})).error, HasSubstr("is no time such as 90s"));
}

TEST_F(CliTrainTest, ARunThatIsThereIsKept) {
  EXPECT_EQ(Run(Train()).code, 0);
  EXPECT_EQ(Run(Train()).code, 0);
  EXPECT_EQ(Run(Train({"--set", "optimizer.lr=3e38"})).code, 1);
  EXPECT_TRUE(fs::exists(dir_ / "runs/r/model.safetensors"));
  EXPECT_TRUE(fs::exists(dir_ / "runs/r-2/model.safetensors"));
  // A run that diverges has no weights, and certainly not those of another one.
  EXPECT_TRUE(fs::exists(dir_ / "runs/r-3/metrics.jsonl"));
  EXPECT_FALSE(fs::exists(dir_ / "runs/r-3/model.safetensors"));

  const std::string former = ReadTextFile(dir_ / "runs/r/metrics.jsonl");
  const Outcome refused = Run(Train({"--out", "runs/r"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.error, HasSubstr("--out runs/r: holds a run already (metrics.jsonl)"));
  EXPECT_EQ(ReadTextFile(dir_ / "runs/r/metrics.jsonl"), former);

  // With --force the former run goes, and what is not of a run stays.
  std::ofstream(dir_ / "runs/r/notes.txt") << "mine";
  EXPECT_EQ(Run(Train({"--out", "runs/r", "--force", "--set", "optimizer.lr=3e38"})).code, 1);
  EXPECT_FALSE(fs::exists(dir_ / "runs/r/model.safetensors"));
  EXPECT_NE(ReadTextFile(dir_ / "runs/r/metrics.jsonl"), former);
  EXPECT_EQ(ReadTextFile(dir_ / "runs/r/notes.txt"), "mine");
}

TEST_F(CliTrainTest, NothingIsWrittenThroughLinks) {
  std::ofstream(dir_ / "victim") << "mine";
  for (const char* const name : {"metrics.jsonl", "recipe.toml", "model.safetensors"}) {
    fs::create_directories(dir_ / "out");
    fs::create_symlink(dir_ / "victim", dir_ / "out" / name);
    EXPECT_EQ(Run(Train({"--out", "out"})).code, 2) << name;
    EXPECT_EQ(Run(Train({"--out", "out", "--force"})).code, 0) << name;
    EXPECT_FALSE(fs::is_symlink(dir_ / "out" / name));
    EXPECT_EQ(ReadTextFile(dir_ / "victim"), "mine") << name;
    fs::remove_all(dir_ / "out");
  }
  EXPECT_EQ(Run(Train({"--out", "out"})).code, 0);
  for (const char* const name : {"slice1.csv", "slice1.svg"}) {
    fs::create_symlink(dir_ / "victim", dir_ / "out" / name);
    const Outcome outcome = Run({"sharpness", "out", "--slice", "1", "--points", "3"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.error, HasSubstr("is a symbolic link"));
    EXPECT_EQ(ReadTextFile(dir_ / "victim"), "mine") << name;
    fs::remove(dir_ / "out" / name);
  }
}

TEST_F(CliTrainTest, TwoProcessesDoNotShareAFolder) {
  Program first(Train({"--set", "train.epochs=1000000", "--out", "out"}), {.folder = dir_.path()});
  WaitFor(dir_ / "out" / "metrics.jsonl");
  const Outcome second = Run(Train({"--out", "out", "--force"}));
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.error,
              AllOf(HasSubstr("--out out: process "), HasSubstr(" is writing a run there")));
  EXPECT_THAT(Run({"train", "--resume", "out"}).error,
              AllOf(HasSubstr("--resume out: process "), HasSubstr(" is writing a run there")));
  EXPECT_THAT(Run({"runs", "."}).out, HasSubstr("running"));
  first.Send(SIGINT);
  EXPECT_EQ(first.Wait().code, 130);
  std::ifstream metrics(dir_ / "out" / "metrics.jsonl");
  int64_t step = 0;
  for (std::string line; std::getline(metrics, line);) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("lr")) continue;
    EXPECT_EQ(json["step"].get<int64_t>(), ++step);
  }
  EXPECT_GT(step, 0);
}

TEST_F(CliTrainTest, AFolderThatIsRemovedDoesNotEndTraining) {
  Program program(
      Train({"--set", "train.epochs=1000000", "--set", "train.save_every=20", "--out", "out"}),
      {.folder = dir_.path()});
  WaitFor(dir_ / "out/checkpoints/step-40/manifest.json");
  fs::rename(dir_ / "out", dir_ / "gone");
  while (!fs::exists(dir_ / "out/checkpoints")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.Send(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.code, 130) << outcome.error;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("kudari train --resume out"),
                                 HasSubstr("written              out/model.safetensors\n")));
  const Outcome again = Run({"train", "--resume", "out", "--time-limit", "0.01s"});
  EXPECT_EQ(again.code, 0) << again.error;
  EXPECT_THAT(again.out, HasSubstr("out/metrics.jsonl is gone, and a new one begins after step"));
  EXPECT_TRUE(fs::exists(dir_ / "out/metrics.jsonl"));
}

// By a user whom rights hold back, as they do not root.
TEST_F(CliTrainTest, AFolderThatIsReadOnlyForAWhileDoesNotEndTraining) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can start a program as another user";
  ASSERT_EQ(chown(dir_.path().c_str(), kNobody, kNobody), 0);
  const StartOptions nobody{.folder = dir_.path(), .as_nobody = true};
  const Outcome plan = Kudari({"plan", "r.toml"}, nobody);
  if (plan.code != 0) GTEST_SKIP() << "nobody cannot run the program: " << plan.error;

  Program program(
      Train({"--set", "train.epochs=1000000", "--set", "train.save_every=20", "--out", "out"}),
      nobody);
  const fs::path checkpoints = dir_ / "out/checkpoints";
  const auto saved = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(checkpoints)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with('.')) names.insert(name);
    }
    return names;
  };
  const auto log_grows = [&](uintmax_t bytes) {
    const uintmax_t before = fs::file_size(dir_ / "out/metrics.jsonl");
    while (fs::file_size(dir_ / "out/metrics.jsonl") < before + bytes) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  WaitFor(checkpoints / "step-40/manifest.json");
  ASSERT_EQ(chown(checkpoints.c_str(), 0, 0), 0);
  const std::set<std::string> before = saved();
  log_grows(20000);  // more than a hundred steps
  EXPECT_EQ(saved(), before);
  ASSERT_EQ(chown(checkpoints.c_str(), kNobody, kNobody), 0);
  log_grows(20000);
  EXPECT_NE(saved(), before);
  program.Send(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.code, 130) << outcome.error;
  EXPECT_THAT(outcome.out, ::testing::ContainsRegex("saving the checkpoint of step [0-9]+ failed: "
                                                    "out/checkpoints/[^ ]*: cannot be [a-z ]*: "
                                                    "Permission denied"));
  for (const std::string& name : saved()) {
    EXPECT_EQ(Run({"checkpoint", "verify", "out/checkpoints/" + name}).code, 0) << name;
  }
  const Outcome again = Kudari({"train", "--resume", "out", "--time-limit", "0.01s"}, nobody);
  EXPECT_EQ(again.code, 0) << again.error;
}

TEST_F(CliTrainTest, AFullDiskDoesNotEndTraining) {
  // 650 weights fit, and the metrics of a hundred epochs do not.
  const Outcome outcome = Kudari(Train({"--out", "out", "--set", "train.epochs=20"}),
                                 {.folder = dir_.path(), .largest_file = 16384});
  EXPECT_EQ(outcome.code, 1) << outcome.out << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("metrics.jsonl: File too large; training goes on without it"));
  EXPECT_THAT(outcome.out, HasSubstr("reached the end"));
  EXPECT_NO_THROW(SafeTensorsFile(dir_ / "out" / "model.safetensors"));
  // And where not even the weights fit, that is said, and nothing half-written is left.
  const Outcome small =
      Kudari(Train({"--out", "small"}), {.folder = dir_.path(), .largest_file = 2048});
  EXPECT_EQ(small.code, 1);
  EXPECT_THAT(small.error, HasSubstr("model.safetensors: cannot be written: File too large"));
  for (const auto& entry : fs::directory_iterator(dir_ / "small")) {
    EXPECT_THAT(entry.path().filename().string(), ::testing::AnyOf("metrics.jsonl", "recipe.toml"));
  }
  // Output that reaches nobody is an error in the end, but no reason to stop.
  const Outcome full =
      Kudari(Train({"--out", "full"}), {.folder = dir_.path(), .output = "/dev/full"});
  EXPECT_EQ(full.code, 1);
  EXPECT_THAT(full.error, HasSubstr("standard output cannot be written"));
  EXPECT_NO_THROW(SafeTensorsFile(dir_ / "full" / "model.safetensors"));
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"plan", "r.toml"},
           Train({"--explain"}),
           {"lr-find", "r.toml", "--steps", "30"},
           {"scale", "r.toml", "--batch", "128", "--check", "--check-epochs", "1"}}) {
    const Outcome outcome = Kudari(arguments, {.folder = dir_.path(), .output = "/dev/full"});
    EXPECT_EQ(outcome.code, 1) << arguments[0];
    EXPECT_THAT(outcome.error, HasSubstr("standard output cannot be written")) << arguments[0];
  }
}

TEST_F(CliTrainTest, ValuesOfOptionsOutOfRangeAreUsageErrors) {
  EXPECT_EQ(Run(Train({"--out", "out"})).code, 0);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"lr-find", "r.toml", "--ramp", "log"}, "--ramp = \"log\" must be exp or linear"},
      {{"lr-find", "r.toml", "--steps", "1"}, "steps = 1 is outside [2, 1e+06]"},
      {{"lr-find", "r.toml", "--seeds", "0"}, "--seeds = 0 must be at least 1"},
      {{"sharpness", "out", "--rho", "-1"}, "--rho = -1 must be above 0 and finite"},
      {{"sharpness", "out", "--slice", "3"}, "--slice = 3 must be 1 or 2"},
      {Train({"--track", "components"}), "--track components needs a sharpness-aware source"},
      {Train({"--set", "train.epochs"}), "--set train.epochs: must be key=value"}};
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_THAT(outcome.error, HasSubstr(message));
  }
}

TEST_F(CliTrainTest, TheSummaryIsJson) {
  const Outcome outcome = Run(Train({"--out", "out", "--json"}));
  EXPECT_EQ(outcome.code, 0);
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["steps"], json["planned_steps"]);
  EXPECT_EQ(json["diverged"], false);
  EXPECT_GT(json["test"]["accuracy"].get<double>(), 0.5);
  EXPECT_THAT(json["files"].dump(), HasSubstr("out/model.safetensors"));
  EXPECT_THAT(outcome.error, HasSubstr("results in out"));
  const auto plan = nlohmann::json::parse(Run({"plan", "r.toml", "--json"}).out);
  EXPECT_EQ(plan["parameters"], json["parameters"]);
  EXPECT_EQ(plan["bytes"]["weights"], 4 * plan["parameters"].get<int64_t>());
}

TEST_F(CliTrainTest, APresetAndAnotherRuleContradict) {
  const Outcome outcome = Run(Train({"--set", "optimizer.preset=ranger"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("optimizer.rule: \"sgd\" contradicts preset = \"ranger\""));
  EXPECT_FALSE(fs::exists(dir_ / "runs"));
  const Outcome ranger = Run(Train({"--set", "optimizer.preset=ranger", "--unset", "optimizer.rule",
                                    "--unset", "optimizer.lr"}));
  EXPECT_EQ(ranger.code, 0) << ranger.error;
  EXPECT_THAT(ranger.out, HasSubstr("; lookahead"));
}

TEST_F(CliTrainTest, EarlyStoppingSavesTheBestWeights) {
  // The rate rises until training destroys what it has learnt.
  const Outcome outcome =
      Run(Train({"--out", "out", "--json", "--set", "optimizer.lr=ramp(690, 0.01, 30)", "--set",
                 "train.epochs=30", "--set", "train.early_stopping=5"}));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const auto json = nlohmann::json::parse(outcome.out);
  const auto saved = json["saved_step"].get<int64_t>(), steps = json["steps"].get<int64_t>();
  ASSERT_LT(saved, steps);
  EXPECT_THAT(outcome.error, HasSubstr("those after step " + std::to_string(saved)));
  // A run that is as long as the best evaluation saves the same.
  EXPECT_EQ(Run(Train({"--out", "short", "--set", "optimizer.lr=ramp(690, 0.01, 30)", "--set",
                       "train.steps=" + std::to_string(saved), "--set", "train.epochs=0"}))
                .code,
            0);
  EXPECT_EQ(ReadTextFile(dir_ / "out/model.safetensors"),
            ReadTextFile(dir_ / "short/model.safetensors"));
}

}  // namespace cli_train_test
}  // namespace kudari::lab
