// Runs that end anywhere and go on from their state are runs that did not end.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kudari/state.h"
#include "kudari/state_file.h"
#include "lab/train/components.h"
#include "lab/train/early_stop.h"
#include "lab/train/layer_norms.h"
#include "lab/train/live_doctor.h"
#include "lab/train/metrics_log.h"
#include "lab/train/numerics.h"
#include "lab/train/saved_weights.h"
#include "lab/train/trainer.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace resume_test {

using ::testing::HasSubstr;

// A trainer with every observer that has a state, and the results in a folder.
struct Observed {
  Observed(const Recipe& recipe, const std::filesystem::path& folder)
      : trainer(recipe),
        metrics(folder / "metrics.jsonl"),
        doctor(trainer.run().planned_steps, trainer.run().steps_per_epoch),
        early_stop(std::max<int64_t>(recipe.train.early_stopping, 1)),
        saved({folder / "model.safetensors"}) {
    trainer.Add(layers);
    if (recipe.optimizer.sharpness && recipe.optimizer.accumulate == 1) {
      components.emplace(trainer.session());
      trainer.Add(*components);
    }
    trainer.Add(numerics);
    trainer.Add(metrics);
    trainer.Add(doctor);
    if (recipe.train.early_stopping > 0) trainer.Add(early_stop);
    trainer.Add(saved);
  }

  // What was counted and found, as text.
  std::string Findings() {
    const Recipe& recipe = trainer.session().recipe();
    std::string text;
    for (const auto& row : numerics.Rows(recipe.optimizer.precision, recipe.train.weights)) {
      for (const std::string& cell : row) text += cell + "; ";
    }
    for (const Finding& f : doctor.AtTheEnd()) text += FindingLine(f) + "; ";
    return text + trainer.run().stopped;
  }

  Trainer trainer;
  LayerNorms layers;
  std::optional<ComponentTracker> components;
  NumericsCount numerics;
  MetricsLog metrics;
  LiveDoctor doctor;
  EarlyStop early_stop;
  SavedWeights saved;
};

class StateTest : public TrainFixture {
 protected:
  // Trains in one go and with ten ends at random steps, and compares everything that is left.
  void Compare(const Recipe& recipe) {
    std::filesystem::create_directories(dir_ / "whole");
    std::filesystem::create_directories(dir_ / "parts");
    Observed whole(recipe, dir_ / "whole");
    whole.trainer.Run();
    const int64_t steps = whole.trainer.run().steps;
    ASSERT_GE(steps, 20);

    std::mt19937_64 random(static_cast<uint64_t>(steps));
    std::set<int64_t> ends;
    while (ends.size() < 10) {
      ends.insert(1 + static_cast<int64_t>(random() % static_cast<uint64_t>(steps - 1)));
    }
    std::optional<StateTree> state;
    for (const int64_t end : ends) {
      Observed part(recipe, dir_ / "parts");
      GoOn(part, state);
      while (part.trainer.run().steps < end) ASSERT_TRUE(part.trainer.Step());
      const StateTree saved = StateOf(part.trainer);
      WriteState(dir_ / "state", saved);
      state = ReadState(dir_ / "state");
      EXPECT_EQ(FirstDifference(*state, saved), "");
      // What came after the state was saved, as before a crash, leaves nothing behind.
      part.trainer.Step();
    }
    Observed last(recipe, dir_ / "parts");
    GoOn(last, state);
    while (last.trainer.Step()) {
    }
    last.trainer.Finish();
    EXPECT_EQ(WithoutTime(Metrics("", "parts")), WithoutTime(Metrics("", "whole")));
    EXPECT_EQ(ReadTextFile(dir_ / "parts/model.safetensors"),
              ReadTextFile(dir_ / "whole/model.safetensors"));
    EXPECT_EQ(last.Findings(), whole.Findings());
    EXPECT_EQ(last.trainer.run().samples, whole.trainer.run().samples);
    EXPECT_EQ(last.trainer.run().gradients, whole.trainer.run().gradients);
    for (const Metric& metric : kMetrics) {
      const double found = last.trainer.run().best.*metric.value;
      const double expected = whole.trainer.run().best.*metric.value;
      EXPECT_TRUE(found == expected || (std::isnan(found) && std::isnan(expected))) << metric.name;
    }
  }

  static void GoOn(Observed& run, const std::optional<StateTree>& state) {
    if (state) {
      LoadInto(run.trainer, *state);
      EXPECT_EQ(FirstDifference(StateOf(run.trainer), *state), "");
    }
    run.trainer.Start();
  }
};

TEST_F(StateTest, DropoutEmaAndLookSam) {
  Compare(ReadRecipe({"model.dropout=0.2", "optimizer.source=looksam", "optimizer.sharpness.k=3",
                      "optimizer.sharpness.alpha=0.3", "optimizer.ema={decay=0.9}",
                      "train.layers_every=3", "train.epochs=3"}));
}

TEST_F(StateTest, BatchNormSwaAndPlateau) {
  WriteRecipe(ResNetRecipe());
  Compare(ReadRecipe({"optimizer.rule=nesterov", "optimizer.lr=0.05 * warmup(5)",
                      "optimizer.swa={start=4, every=3}", "train.eval_every=5",
                      "train.plateau_factor=0.5", "train.plateau_threshold=0.9",
                      "train.plateau_patience=0", "train.plateau_cooldown=1", "train.epochs=3"}));
}

TEST_F(StateTest, LossScalingAndEightBits) {
  Compare(ReadRecipe({"model.dim=64", "train.precision=f16", "train.loss_scale=3e9",
                      "train.growth_interval=3", "train.weights=bf16",
                      "optimizer.precision={master=\"split8\", state=\"linear8\", check=true}",
                      "train.epochs=3"}));
}

TEST_F(StateTest, HessianLookaheadAndAccumulation) {
  Compare(ReadRecipe({"optimizer.rule=sophia", "hessian.every=2", "model.dropout=0.1",
                      "optimizer.lookahead={k=3, alpha=0.5}", "optimizer.accumulate=2",
                      "train.layers_every=2", "train.early_stopping=4", "train.epochs=6"}));
}

TEST_F(StateTest, StochasticRoundingSamAndSmallChanges) {
  Compare(ReadRecipe({"train.weights=bf16", "optimizer.precision.rounding=stochastic",
                      "optimizer.precision.check=true", "optimizer.source=sam",
                      "train.min_loss_change=1e-4", "train.eval_every=4",
                      "optimizer.lr=1e-2 * cosine(40)", "train.epochs=5"}));
}

TEST_F(StateTest, TwoOptimisersThatPlayAgainstEachOther) {
  Compare(ParseTrainRecipe(R"toml(
model = {name = "dcgan", width = 4, latent = 6}
data = {name = "digits", samples = 96}
train = {epochs = 7, batch_size = 32, eval_every = 5, threads = 1, save = "best"}
optimizer = {rule = "adam", lr = 1e-3, generator = {lr = "2e-3 * linear(end)", ema = {decay = 0.8}}}
)toml",
                           "gan"));
}

TEST_F(StateTest, RolloutsOfAPolicy) {
  Compare(ParseTrainRecipe(R"toml(
model = {name = "actor_critic", hidden = [8]}
data = {name = "cartpole", num_envs = 3, num_steps = 10, update_epochs = 3, episodes = 4}
train = {steps = 33, batch_size = 10, eval_every = 6, threads = 1}
optimizer = {rule = "adam", lr = "1e-2 * linear(end)", clip_norm = 0.5}
)toml",
                           "rl"));
}

TEST_F(StateTest, ALanguageModelAndADetector) {
  std::ofstream(dir_ / "text") << std::string(40, 'a') + std::string(30, 'b') +
                                      "the end of it, or not";
  Compare(ParseTrainRecipe(R"toml(
model = {name = "rnn", dim = 8, layers = 2, dropout = 0.2}
data = {name = "text", context = 3, validation = 0.3}
train = {epochs = 4, batch_size = 2, threads = 1}
optimizer = {rule = "adamw", lr = 1e-2}
)toml",
                           "text", {.sets = {"data.path=" + (dir_ / "text").string()}}));
  Compare(ParseTrainRecipe(R"toml(
model = {name = "detector", width = 4}
data = {name = "shapes", size = 16, images = 60, test_images = 8}
train = {epochs = 4, batch_size = 8, threads = 1, save = "best"}
optimizer = {rule = "momentum", lr = 1e-2}
)toml",
                           "boxes"));
}

TEST_F(StateTest, AugmentationPreparedByWorkers) {
  Compare(
      ReadRecipe({"augment={flip=0.5, crop=1, cutout=2, mixup=0.4, cutmix=1}", "train.workers=3",
                  "optimizer.source=sam", "model.dropout=0.1", "train.epochs=3"}));
}

TEST_F(StateTest, WhatDoesNotFitIsNamedAndChangesNothing) {
  std::filesystem::create_directories(dir_ / "whole");
  const Recipe recipe = ReadRecipe({"train.early_stopping=3", "train.plateau_factor=0.5"});
  Observed run(recipe, dir_ / "whole");
  run.trainer.Start();
  run.trainer.Step();
  const StateTree state = StateOf(run.trainer);
  const auto message = [&](const std::function<void(StateTree&)>& change) {
    StateTree changed = state;
    change(changed);
    Observed other(recipe, dir_ / "whole");
    const StateTree before = StateOf(other.trainer);
    std::string error = kudari::testing::ErrorOf([&] { LoadInto(other.trainer, changed); });
    EXPECT_EQ(FirstDifference(StateOf(other.trainer), before), "");
    return error;
  };
  EXPECT_THAT(message([](StateTree& s) { s.Erase("session/batches/next"); }),
              HasSubstr("session/batches/next"));
  EXPECT_THAT(message([](StateTree& s) { s.Set("session/batches/next", int64_t{1000}); }),
              HasSubstr("session/batches/next"));
  EXPECT_THAT(
      message([](StateTree& s) { s.At("session/batches/order").Array().As<int64_t>()[0] = 7; }),
      HasSubstr("session/batches/order"));
  EXPECT_THAT(message([](StateTree& s) { s.Set("session/batches/random", std::string("x")); }),
              HasSubstr("session/batches/random"));
  EXPECT_THAT(message([](StateTree& s) {
                s.Set("session/random", StateArray::Of(std::span<const uint8_t>()));
              }),
              HasSubstr("session/random"));
  EXPECT_THAT(message([](StateTree& s) { s.Erase("session/model/parameters/head.bias"); }),
              HasSubstr("session/model/parameters/head.bias"));
  EXPECT_THAT(message([](StateTree& s) { s.Set("session/none", int64_t{1}); }),
              HasSubstr("session/none"));
  EXPECT_THAT(message([](StateTree& s) { s.Erase("observers/early_stop/bad"); }),
              HasSubstr("observers/early_stop/bad"));
  EXPECT_THAT(message([](StateTree& s) {
                s.Set("observers/doctor/log/steps",
                      StateArray::Of(std::span<const double>(std::vector<double>(3))));
              }),
              HasSubstr("must have 8 columns"));

  // A file that has lost what the run had logged is left as it is.
  std::filesystem::resize_file(dir_ / "whole/metrics.jsonl", 10);
  Observed other(recipe, dir_ / "whole");
  LoadInto(other.trainer, state);
  EXPECT_THAT(kudari::testing::ErrorOf([&] { other.trainer.Start(); }),
              HasSubstr("metrics.jsonl: has 10 bytes, fewer than"));
  EXPECT_EQ(std::filesystem::file_size(dir_ / "whole/metrics.jsonl"), 10U);
}

TEST_F(StateTest, RunsThatReachedTheirEndTakeNoMoreSteps) {
  const Recipe recipe = ReadRecipe({"train.steps=3"});
  Trainer trainer(recipe), again(recipe);
  trainer.Run();
  LoadInto(again, StateOf(trainer));
  again.Run();
  EXPECT_EQ(again.run().steps, 3);
  EXPECT_EQ(again.run().stopped, "reached the end");
  EXPECT_EQ(again.run().test.loss, trainer.run().test.loss);
}

}  // namespace resume_test
}  // namespace kudari::lab
