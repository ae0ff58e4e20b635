#include "lab/train/checkpoints.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/safetensors.h"
#include "kudari/state.h"
#include "lab/files/run_folder.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace checkpoints_test {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class CheckpointsTest : public TrainFixture {
 protected:
  TrainOptions Resumed(std::vector<std::string> sets, const std::string& out) const {
    TrainOptions options = Options(std::move(sets), out);
    options.force = false;
    options.resume = "";
    return options;
  }
  std::vector<int64_t> Steps(const std::string& out) const {
    std::vector<int64_t> steps;
    for (const CheckpointEntry& e : ListCheckpoints(CheckpointsOf(dir_ / out))) {
      EXPECT_EQ(e.damage, "");
      steps.push_back(e.manifest.step);
    }
    return steps;
  }
  // Ends a run as a crash after the newest checkpoint would: what came later stays in the files.
  void Cut(const std::string& out, int64_t step) const {
    for (const CheckpointEntry& e : ListCheckpoints(CheckpointsOf(dir_ / out))) {
      if (e.manifest.step > step) fs::remove_all(e.folder);
    }
    fs::remove(dir_ / out / "model.safetensors");
  }
  void ExpectSameResults(const std::string& a, const std::string& b) const {
    EXPECT_EQ(WithoutTime(Metrics("", a)), WithoutTime(Metrics("", b)));
    EXPECT_EQ(ReadTextFile(dir_ / a / "model.safetensors"),
              ReadTextFile(dir_ / b / "model.safetensors"));
  }
};

TEST_F(CheckpointsTest, AreSavedEverySoManyStepsAndAtTheEnd) {
  Go(Options({"train.save_every=5", "train.keep=0"}));
  EXPECT_THAT(Steps("out"), ElementsAre(16, 15, 10, 5));
  Go(Options({"train.save_every=5"}));
  EXPECT_THAT(Steps("out"), ElementsAre(16, 15));
  Go(Options({"train.save_every=0"}));
  EXPECT_FALSE(fs::exists(dir_ / "out/checkpoints"));
  Go(Options({}));
  EXPECT_FALSE(fs::exists(dir_ / "out/checkpoints")) << "a run of a second needs none";
  Go(Options({"train.save_every=1s", "train.steps=3"}));
  EXPECT_FALSE(fs::exists(dir_ / "out/checkpoints"));
  Go(Options({"train.save_every=0.000001s", "train.steps=3"}));
  EXPECT_THAT(Steps("out"), ElementsAre(3, 2));
}

TEST_F(CheckpointsTest, TheBestIsKept) {
  const std::vector<std::string> sets = {"train.save_every=0", "train.keep=1",
                                         "train.keep_best=true", "train.eval_every=2",
                                         "optimizer.lr=1e-2 * ramp(16, 1, 100)"};
  const RunState run = Go(Options(sets));
  const auto entries = ListCheckpoints(CheckpointsOf(dir_ / "out"));
  const auto best = std::ranges::find_if(entries, [&](const CheckpointEntry& e) {
    return e.manifest.metrics.contains("loss") && e.manifest.metrics.at("loss") == run.best.loss;
  });
  ASSERT_NE(best, entries.end());
  EXPECT_LE(entries.size(), 2U);
  const auto evaluations = Metrics("val_loss");
  double least = INFINITY;
  int64_t step = 0, saves = 0;
  for (const auto& e : evaluations) {
    if (e["val_loss"].is_null() || e["val_loss"].get<double>() >= least) continue;
    least = e["val_loss"].get<double>();
    step = e["step"].get<int64_t>();
    ++saves;
  }
  if (step < run.steps) ++saves;  // at the end
  EXPECT_EQ(entries.front().manifest.serial, saves) << "of the best evaluations alone";
  EXPECT_EQ(best->manifest.step, step);
  EXPECT_EQ(best->manifest.metrics.at("loss"), least);
}

TEST_F(CheckpointsTest, AResumedRunEndsAsIfItHadNotStopped) {
  const std::vector<std::string> sets = {"train.save_every=3", "train.keep=0", "model.dropout=0.1",
                                         "train.epochs=3", "optimizer.ema={decay=0.9}"};
  Go(Options(sets, "whole"));
  for (const int64_t step : {3, 9, 21}) {
    Go(Options(sets, "parts"));
    Cut("parts", step);
    const RunState run = Go(Resumed(sets, "parts"));
    EXPECT_EQ(run.steps, 24);
    EXPECT_THAT(console_, HasSubstr("resumed at step " + std::to_string(step)));
    ExpectSameResults("parts", "whole");
  }
  // With the run's own recipe.
  Go(Options(sets, "parts"));
  Cut("parts", 12);
  TrainOptions bare;
  bare.resume = dir_ / "parts";
  Go(bare);
  ExpectSameResults("parts", "whole");
  EXPECT_EQ(ReadTextFile(dir_ / "parts/recipe.toml"), ReadTextFile(dir_ / "whole/recipe.toml"));
}

TEST_F(CheckpointsTest, ResumingAFinishedRunSavesNothingAgain) {
  const std::vector<std::string> sets = {"train.save_every=8", "train.keep=0"};
  Go(Options(sets));
  const std::string log = ReadTextFile(dir_ / "out/metrics.jsonl");
  Go(Resumed(sets, "out"));
  EXPECT_THAT(Steps("out"), ElementsAre(16, 8));
  EXPECT_EQ(ReadTextFile(dir_ / "out/metrics.jsonl"), log);
}

TEST_F(CheckpointsTest, WeightsThatAreNotFiniteAreLoadedAndSaid) {
  const std::vector<std::string> sets = {"train.save_every=8"};
  Go(Options(sets));
  Checkpoint spoiled = LoadCheckpoint(CheckpointsOf(dir_ / "out") / "step-8");
  spoiled.state.At("session/model/parameters/head.weight").Floats()[3] = NAN;
  SaveCheckpoint(CheckpointsOf(dir_ / "out"), spoiled.state, spoiled.manifest);
  EXPECT_TRUE(Go(Resumed(sets, "out")).diverged);
  EXPECT_THAT(console_, AllOf(HasSubstr("resumed at step 8"),
                              HasSubstr("warning: the weight \"head.weight\" has values that are "
                                        "not finite")));
}

TEST_F(CheckpointsTest, NothingIsSavedOfARunThatHasDiverged) {
  const RunState run = Go(Options({"train.save_every=1", "train.keep=0", "optimizer.lr=1e30"}));
  ASSERT_TRUE(run.diverged);
  const std::vector<int64_t> saved = Steps("out");
  EXPECT_EQ(saved.size(), static_cast<size_t>(run.steps - 1));
  EXPECT_THAT(saved, Not(::testing::Contains(run.steps)));
}

TEST_F(CheckpointsTest, AStateThatDoesNotFitIsRefusedByWhatDiffers) {
  const std::vector<std::string> sets = {"train.save_every=8", "train.keep=0"};
  Go(Options(sets));
  const Checkpoint saved = LoadCheckpoint(CheckpointsOf(dir_ / "out") / "step-8");
  const auto refusal = [&](const std::function<void(StateTree&)>& change) {
    Checkpoint changed = saved;
    change(changed.state);
    Trainer trainer(ReadRecipe(sets));
    MetricsLog metrics(dir_ / "metrics.jsonl");
    trainer.Add(metrics);
    return kudari::testing::ErrorOf([&] { LoadRun(trainer, changed); });
  };
  EXPECT_EQ(refusal([](StateTree&) {}), "no error");
  EXPECT_EQ(refusal([](StateTree& s) { s.Erase("observers/doctor"); }), "no error");
  EXPECT_THAT(refusal([](StateTree& s) { s.Erase("observers/metrics"); }),
              HasSubstr("step-8: does not fit the recipe: the state has no \"observers/metrics\""));
  EXPECT_THAT(refusal([](StateTree& s) { s.Erase("session/batches"); }),
              HasSubstr("the state has no \"session/batches\""));
  EXPECT_THAT(refusal([](StateTree& s) {
                s.Set("session/model/parameters/head.weight",
                      StateArray::Of<float>(std::vector<float>(3)));
              }),
              HasSubstr("the state has \"session/model/parameters/head.weight\" of another shape"));
  EXPECT_THAT(refusal([](StateTree& s) { s.Set("session/more/x", int64_t{1}); }),
              HasSubstr("the state has \"session/more"));
}

TEST_F(CheckpointsTest, ATimeLimitStopsWithACheckpointToGoOnFrom) {
  const std::vector<std::string> sets = {"train.epochs=3"};
  Go(Options(sets, "whole"));
  TrainOptions limited = Options(sets, "parts");
  limited.time_limit = 1e-6;
  const RunState first = Go(limited);
  EXPECT_EQ(first.steps, 1);
  EXPECT_THAT(first.stopped, HasSubstr("time limit of"));
  EXPECT_THAT(console_, HasSubstr("kudari train --resume " + (dir_ / "parts").string()));
  EXPECT_THAT(Steps("parts"), ElementsAre(1));
  Go(Resumed(sets, "parts"));
  EXPECT_THAT(console_, Not(HasSubstr("to go on")));
  ExpectSameResults("parts", "whole");
}

TEST_F(CheckpointsTest, ADamagedCheckpointIsPassedOverAndSaid) {
  const std::vector<std::string> sets = {"train.save_every=4"};
  Go(Options(sets, "whole"));
  Go(Options(sets, "parts"));
  fs::resize_file(CheckpointsOf(dir_ / "parts") / "step-16/state.safetensors", 100);
  Go(Resumed(sets, "parts"));
  EXPECT_THAT(console_, AllOf(HasSubstr("warning: a newer checkpoint is damaged"),
                              HasSubstr("step-16/state.safetensors: has 100 bytes"),
                              HasSubstr("resumed at step 12")));
  ExpectSameResults("parts", "whole");
}

TEST_F(CheckpointsTest, ChangesThatAreSafeAreSaidAndOthersRefused) {
  Go(Options({"train.save_every=8", "train.keep=0"}));
  const std::string before = ReadTextFile(dir_ / "out/metrics.jsonl");
  EXPECT_THAT(MessageOf(Resumed({"model.dim=16"}, "out")),
              HasSubstr("model.dim = 16, was 8; a run cannot go on with another value"));
  EXPECT_THAT(MessageOf(Resumed({"optimizer.rule=sgd"}, "out")), HasSubstr("cannot go on"));
  EXPECT_THAT(MessageOf(Resumed({"train.early_stopping=2"}, "out")), HasSubstr("cannot go on"));
  EXPECT_THAT(MessageOf(Resumed({"train.batch_size=8"}, "out")),
              HasSubstr("train.batch_size = 8, was 16"));
  EXPECT_THAT(MessageOf(Resumed({"train.epochs=1"}, "out")),
              HasSubstr("the run has taken 16 steps, and the recipe plans 8"));
  EXPECT_EQ(ReadTextFile(dir_ / "out/metrics.jsonl"), before);
  EXPECT_THAT(Steps("out"), ElementsAre(16, 8));
  const RunState run =
      Go(Resumed({"train.epochs=3", "optimizer.lr=1e-3", "train.doctor=false"}, "out"));
  EXPECT_EQ(run.steps, 24);
  EXPECT_THAT(console_, AllOf(HasSubstr("changed: optimizer.lr = 0.001, was 0.01"),
                              HasSubstr("changed: train.epochs = 3, was 2"),
                              HasSubstr("changed: train.doctor = false, was true")));
  const auto steps = Metrics("lr");
  ASSERT_EQ(steps.size(), 24U);
  EXPECT_EQ(steps[15]["lr"], 1e-2);
  EXPECT_EQ(steps[16]["lr"], 1e-3);
}

TEST_F(CheckpointsTest, WhatCannotBeResumedIsAnErrorThatChangesNothing) {
  EXPECT_THAT(MessageOf(Resumed({}, "nowhere")), HasSubstr("is not a folder"));
  Go(Options({}));
  EXPECT_THAT(MessageOf(Resumed({}, "out")), HasSubstr("the run has no checkpoint"));
  TrainOptions options = Options({"train.save_every=8"});
  Go(options);
  options.resume = "";
  EXPECT_THAT(MessageOf(options), HasSubstr("--force"));
  options.force = false;
  options.resume = dir_ / "other";
  EXPECT_THAT(MessageOf(options), HasSubstr("goes on in that folder, not in --out"));
  options.resume = "";
  options.init = dir_ / "x";
  EXPECT_THAT(MessageOf(options), HasSubstr("--init"));
  {
    const RunFolder held = RunFolder::Resume(dir_ / "out");
    EXPECT_TRUE(IsRunning(dir_ / "out"));
    EXPECT_THAT(MessageOf(Resumed({"train.save_every=8"}, "out")),
                AllOf(HasSubstr("process " + std::to_string(getpid()) + " on "),
                      HasSubstr("is writing a run there")));
  }
  EXPECT_FALSE(IsRunning(dir_ / "out"));
  // A log that has lost lines that the state counts.
  fs::resize_file(dir_ / "out/metrics.jsonl", 10);
  EXPECT_THAT(MessageOf(Resumed({"train.save_every=8"}, "out")), HasSubstr("has 10 bytes, fewer"));
  // A checkpoint of something else.
  SaveCheckpoint(CheckpointsOf(dir_ / "out"), StateTree(), {.step = 99});
  EXPECT_THAT(MessageOf(Resumed({}, "out")), HasSubstr("it is not of kudari train"));
}

TEST_F(CheckpointsTest, ASaveThatFailsIsSaidAndTrainingGoesOn) {
  const std::vector<std::string> sets = {"train.save_every=4"};
  // The folder of checkpoints cannot be made, since a file is in its place.
  std::ofstream(dir_ / "file") << "no folder";
  Trainer trainer(ReadRecipe(sets));
  MetricsLog metrics(dir_ / "metrics.jsonl");
  trainer.Add(metrics);
  std::vector<std::string> warnings;
  Checkpoints checkpoints(trainer, metrics, dir_ / "file/below",
                          [&](const std::string& why) { warnings.push_back(why); });
  trainer.Start();
  while (trainer.Step()) checkpoints.AfterStep();
  EXPECT_FALSE(checkpoints.SaveNow());
  EXPECT_TRUE(checkpoints.failed());
  EXPECT_EQ(trainer.run().steps, 16);
  ASSERT_GE(warnings.size(), 4U);
  EXPECT_THAT(warnings.front(),
              AllOf(HasSubstr("saving the checkpoint of step 4 failed: "), HasSubstr("below")));
  // Once the cause is gone, it saves.
  fs::remove(dir_ / "file");
  EXPECT_TRUE(checkpoints.SaveNow());
  EXPECT_FALSE(checkpoints.failed());
  EXPECT_EQ(LoadCheckpoint(dir_ / "file/below").manifest.step, 16);
}

TEST_F(CheckpointsTest, NothingIsWrittenThroughALink) {
  fs::create_directories(dir_ / "victim");
  fs::create_directories(dir_ / "out");
  fs::create_directory_symlink(dir_ / "victim", dir_ / "out/checkpoints");
  TrainOptions options = Options({"train.save_every=8"});
  options.force = false;
  EXPECT_THAT(MessageOf(options), HasSubstr("holds a run already (checkpoints)"));
  Go(Options({"train.save_every=8"}));
  EXPECT_TRUE(fs::is_empty(dir_ / "victim"));
  EXPECT_FALSE(fs::is_symlink(dir_ / "out/checkpoints"));
  fs::remove_all(dir_ / "out/checkpoints/step-8");
  fs::rename(dir_ / "out/checkpoints", dir_ / "elsewhere");
  fs::create_directory_symlink(dir_ / "elsewhere", dir_ / "out/checkpoints");
  Go(Resumed({"train.save_every=8", "train.epochs=3"}, "out"));
  EXPECT_THAT(console_, HasSubstr("is a symbolic link, and nothing is written through links"));
  EXPECT_EQ(ListCheckpoints(dir_ / "elsewhere").size(), 1U);
}

TEST_F(CheckpointsTest, InitTakesTheWeightsOfARunOrACheckpoint) {
  Go(Options({"train.save_every=8", "train.keep=0"}, "a"));
  TrainOptions options = Options({"optimizer.lr=0", "train.steps=1"}, "b");
  options.init = dir_ / "a";
  Go(options);
  EXPECT_EQ(ReadTextFile(dir_ / "a/model.safetensors"), ReadTextFile(dir_ / "b/model.safetensors"));
  // Without the final weights, the newest checkpoint's.
  fs::remove(dir_ / "a/model.safetensors");
  Go(options);
  const SafeTensorsFile last(CheckpointsOf(dir_ / "a") / "step-16/model.safetensors");
  const SafeTensorsFile found(dir_ / "b/model.safetensors");
  EXPECT_THAT(found.Floats("head.weight"), ::testing::ElementsAreArray(last.Floats("head.weight")));
  options.init = CheckpointsOf(dir_ / "a") / "step-8";
  Go(options);
  const SafeTensorsFile early(options.init / "model.safetensors");
  const SafeTensorsFile taken(dir_ / "b/model.safetensors");
  EXPECT_THAT(taken.Floats("head.weight"),
              ::testing::ElementsAreArray(early.Floats("head.weight")));
  options.init = dir_ / "nothing";
  fs::create_directories(options.init);
  EXPECT_THAT(MessageOf(options), HasSubstr("has neither model.safetensors nor checkpoints"));
}

// Weights in several files, as Hugging Face's libraries save large models.
TEST_F(CheckpointsTest, InitReadsShards) {
  Go(Options({}, "a"));
  const SafeTensorsFile whole(dir_ / "a/model.safetensors");
  StateTree state;
  for (const SafeTensor& t : whole.tensors()) {
    state.Set("model/" + t.name, StateArray{*FindElementType(t.dtype), t.shape, t.bytes});
  }
  const fs::path saved =
      SaveCheckpoint(dir_ / "shards", state, {}, {.model_nodes = {"model"}, .shard_bytes = 1000});
  EXPECT_FALSE(fs::exists(saved / "model.safetensors"));
  TrainOptions options = Options({"optimizer.lr=0", "train.steps=1"}, "b");
  for (const fs::path& init : {saved, saved / "model.safetensors.index.json"}) {
    options.init = init;
    Go(options);
    EXPECT_EQ(ReadTextFile(dir_ / "a/model.safetensors"),
              ReadTextFile(dir_ / "b/model.safetensors"));
  }
  std::ofstream(saved / "model.safetensors.index.json")
      << R"({"weight_map": {"head.weight": "../../etc/passwd"}})";
  EXPECT_THAT(MessageOf(options), HasSubstr("\"../../etc/passwd\", which is no plain file name"));
}

// Each source with each averager, with and without loss scaling, in float32 and in bits of 8 and
// 16: a trainer that takes over the state at any of 40 steps takes the same next step.
TEST_F(CheckpointsTest, AtEveryStepOfEverySourceAveragerAndPrecision) {
  const std::vector<std::string> sources = {
      "plain", "nesterov_lookahead", "sam", "sam_k", "looksam", "layersam",
      "asam",  "look_layersam",      "gsam"};
  const std::vector<std::string> averagers = {"", "ema={decay=0.9}", "swa={start=5, every=3}",
                                              "lookahead={k=3, alpha=0.5}"};
  const std::vector<std::vector<std::string>> precisions = {
      {},
      {"train.weights=bf16", "model.dim=32",
       "optimizer.precision={master=\"split8\", state=\"linear8\"}"}};
  for (const std::string& source : sources) {
    for (const std::string& averager : averagers) {
      for (const auto& precision : precisions) {
        for (const bool scaled : {false, true}) {
          SCOPED_TRACE(source + " " + averager + (precision.empty() ? "" : " coded") +
                       (scaled ? " scaled" : ""));
          std::vector<std::string> sets = precision;
          sets.insert(sets.end(),
                      {"train.steps=40", "train.epochs=0", "data.samples=64", "train.batch_size=8",
                       "train.eval_every=10", "optimizer.source=" + source});
          if (!averager.empty()) sets.push_back("optimizer." + averager);
          if (source == "nesterov_lookahead") {
            sets.insert(sets.end(), {"optimizer.rule=momentum", "optimizer.lr=0.05"});
          }
          if (scaled)
            sets.insert(sets.end(), {"train.loss_scale=dynamic", "train.growth_interval=7"});
          const Recipe recipe = ReadRecipe(sets);
          Trainer trainer(recipe), other(recipe);
          trainer.Start();
          other.Start();
          other.Step();
          for (bool more = true; more;) {
            LoadInto(other, StateOf(trainer));
            more = trainer.Step();
            ASSERT_EQ(other.Step(), more);
            StateTree expected = StateOf(trainer), found = StateOf(other);
            expected.Erase("run/seconds");
            found.Erase("run/seconds");
            ASSERT_EQ(FirstDifference(found, expected), "") << trainer.run().steps;
          }
          ASSERT_EQ(trainer.run().steps, 40);
        }
      }
    }
  }
}

}  // namespace checkpoints_test
}  // namespace kudari::lab
