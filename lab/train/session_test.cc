#include "lab/train/session.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kudari/controllers.h"
#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace session_test {

using nlohmann::json;
using ::testing::HasSubstr;

using SessionTest = TrainFixture;

TEST_F(SessionTest, AccumulationFlushesTheShortGroup) {
  // Batches of 16 in threes: 3, 3 and the last 2, of 16 and 8.
  Go(Options({"optimizer.accumulate=3", "train.shuffle=false"}, "a"));
  EXPECT_EQ(Metrics("lr", "a").size(), 6U);
  Go(Options({"train.batch_size=48", "train.shuffle=false"}, "b"));
  const auto a = Metrics("lr", "a"), b = Metrics("lr", "b");
  ASSERT_EQ(b.size(), a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-4);
  }
}

TEST_F(SessionTest, ReducesLearningRatesOnAPlateau) {
  // No evaluation is better than the first by that much; the third is one too many.
  std::vector<std::string> sets = {"train.plateau_threshold=0.99", "train.plateau_patience=1",
                                   "train.plateau_factor=0.5", "train.epochs=6",
                                   "optimizer.lr=1e-2 * linear(100)"};
  Go(Options(sets));
  const auto steps = Metrics("lr");
  ASSERT_EQ(steps.size(), 48U);
  for (size_t s = 0; s < steps.size(); ++s) {
    const size_t epoch = s / 8;
    const double share = epoch < 3 ? 1 : epoch < 5 ? 0.5 : 0.25;
    EXPECT_DOUBLE_EQ(steps[s]["lr"].get<double>(),
                     share * 1e-2 * (1 - static_cast<double>(s) / 100))
        << s;
  }

  // With other numbers it is the controller that the library has.
  sets = {"train.plateau_threshold=0.2", "train.plateau_patience=0", "train.plateau_cooldown=1",
          "train.plateau_factor=0.9",    "optimizer.lr=1e-2",        "train.epochs=20"};
  Go(Options(sets, "other"));
  ReduceOnPlateau plateau(1e-2, {.factor = 0.9,
                                 .improvement = {.threshold = 0.2, .relative = true},
                                 .patience = 0,
                                 .cooldown = 1});
  std::set<double> rates;
  for (const json& line : Metrics("", "other")) {
    if (line.contains("lr")) {
      EXPECT_DOUBLE_EQ(line["lr"].get<double>(), plateau.value()) << line["step"];
      rates.insert(plateau.value());
    }
    if (line.contains("val_loss")) plateau.Observe(line["val_loss"]);
  }
  EXPECT_GT(rates.size(), 4U);

  // Without any rate nothing moves, in no group.
  sets = {"train.plateau_threshold=0.99", "train.plateau_patience=1", "train.plateau_factor=0",
          "train.epochs=6", "optimizer.lr=1e-2 * linear(100)"};
  WriteRecipe(std::string(kRecipe) + "[[optimizer.group]]\nmatch = \"head.*\"\nlr = 3e-3\n");
  Go(Options(sets, "six"));
  sets[3] = "train.epochs=3";
  Go(Options(sets, "three"));
  EXPECT_EQ(ReadTextFile(dir_ / "six/model.safetensors"),
            ReadTextFile(dir_ / "three/model.safetensors"));
  EXPECT_THAT(MessageOf(Options({"train.plateau_factor=0.1", "data.validation=0"})),
              HasSubstr("train.plateau_factor needs validation data"));
  EXPECT_THAT(MessageOf(Options({"train.plateau_factor=2"})),
              HasSubstr("train.plateau_factor: 2 is outside [0, 1]"));
}

TEST_F(SessionTest, SophiaGetsEstimatesUnderLossScaling) {
  // The first steps overflow; estimates are of the plain loss in float32.
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const RunState result =
        Go(Options({"optimizer.rule=" + rule, "train.precision=f16", "hessian.every=1"}));
    EXPECT_FALSE(result.diverged);
    EXPECT_EQ(result.steps, 16);
  }
}

TEST_F(SessionTest, SophiaGetsEstimatesOfSixteenBitWeights) {
  for (const std::string rule : {"sophia", "sophia_h"}) {
    for (const std::string weights : {"bf16", "f16"}) {
      const RunState result =
          Go(Options({"optimizer.rule=" + rule, "train.weights=" + weights, "hessian.every=1"}));
      EXPECT_FALSE(result.diverged) << rule << weights;
      EXPECT_EQ(result.steps, 16);
    }
  }
}

TEST_F(SessionTest, SophiaGetsEstimatesOfTheHessian) {
  // Weights after the run; without estimates every step has full length.
  const auto weights = [this](std::vector<std::string> sets, const std::string& out) {
    sets.emplace_back("train.steps=6");
    Go(Options(sets, out));
    return ReadTextFile(dir_ / out / "model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const std::string set = "optimizer.rule=" + rule;
    const std::string never = weights({set, "hessian.every=7"}, rule + "-never");
    const std::string some = weights({set, "hessian.every=2"}, rule + "-some");
    EXPECT_NE(some, never);
    EXPECT_EQ(weights({set, "hessian.every=2"}, rule + "-again"), some);
    const std::string own = rule == "sophia" ? "gnb" : "hutchinson";
    EXPECT_EQ(weights({set, "hessian={every=2, estimator=\"" + own + "\"}"}, rule + "-own"), some);
  }
  EXPECT_EQ(MessageOf(Options({"optimizer.rule=sophia", "train.loss=mse"})),
            "hessian.estimator = \"gnb\" needs train.loss = \"cross_entropy\"");
  EXPECT_EQ(MessageOf(Options(
                {"optimizer.rule=sophia", "optimizer.fallback={rule=\"sophia_h\", lr=1e-3}"})),
            "hessian.estimator = \"auto\": the recipe's rules need different ones");
}

// With steps of no length nothing but the batches of training moves the statistics.
TEST_F(SessionTest, EstimatesOfTheHessianLeaveStatisticsAlone) {
  WriteRecipe(ResNetRecipe());
  const auto model = [this](const std::string& rule, const std::string& every) {
    Go(Options({"optimizer.rule=" + rule, "optimizer.lr=0", "hessian.every=" + every}));
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    EXPECT_EQ(model(rule, "1"), model(rule, "1000")) << rule;
  }
}

TEST_F(SessionTest, SophiaGetsEstimatesAtTheWeightsThemselves) {
  const auto train = [this](std::vector<std::string> sets, int64_t gradients) {
    sets.insert(sets.end(), {"train.steps=6", "optimizer.sharpness.k=2"});
    EXPECT_EQ(Go(Options(sets)).gradients, gradients);
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const std::string set = "optimizer.rule=" + rule, every = "hessian.every=2";
    const std::string looksam = "optimizer.source=looksam";
    // A ball without radius changes no weight, so estimates are those of a run without a source.
    Go(Options({set, every, "train.steps=6"}));
    const std::string plain = ReadTextFile(dir_ / "out/model.safetensors");
    EXPECT_EQ(train({set, every, looksam, "optimizer.sharpness.rho=0"}, 9), plain) << rule;
    const std::string sharp = train({set, every, looksam, "optimizer.sharpness.rho=0.5"}, 9);
    EXPECT_NE(sharp, plain) << rule;
    EXPECT_NE(train({set, "hessian.every=7", looksam, "optimizer.sharpness.rho=0.5"}, 9), sharp);
  }
}

TEST_F(SessionTest, PerturbedPassesSeeTheBatchesOfTheStep) {
  // Two batches of 8, accumulated, are one of 16 in both passes, in whatever order they come.
  const auto weights = [this](const std::vector<std::string>& changes) {
    std::vector<std::string> sets = {
        "optimizer.rule=sgd",          "optimizer.source=looksam",      "train.steps=6",
        "optimizer.sharpness.rho=0.5", "optimizer.sharpness.alpha=0.3", "optimizer.sharpness.k=2"};
    sets.insert(sets.end(), changes.begin(), changes.end());
    const RunState result = Go(Options(sets));
    EXPECT_EQ(result.steps, 6);
    std::vector<float> all;
    const SafeTensorsFile file(dir_ / "out/model.safetensors");
    for (const SafeTensor& t : file.tensors()) {
      const auto values = file.Floats(t.name);
      all.insert(all.end(), values.begin(), values.end());
    }
    return std::pair(all, result.gradients);
  };
  const auto [whole, whole_gradients] = weights({});
  const auto [halves, half_gradients] = weights({"train.batch_size=8", "optimizer.accumulate=2"});
  const auto [plain, plain_gradients] = weights({"optimizer.sharpness.rho=0"});
  EXPECT_EQ(whole_gradients, 9);
  EXPECT_EQ(half_gradients, 18);
  double most = 0, moved = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(whole[i]) - halves[i]));
    moved = std::max(moved, std::abs(static_cast<double>(whole[i]) - plain[i]));
  }
  EXPECT_LT(most, 1e-5);
  EXPECT_GT(moved, 1e-3);
  EXPECT_THAT(console_, ::testing::ContainsRegex("gradients +9, 1.5 a step"));
}

TEST_F(SessionTest, StatisticsStayThoseOfPlainPasses) {
  // With steps of no length, sam leaves what a plain run leaves.
  WriteRecipe(ResNetRecipe());
  const auto model = [this](const std::string& source) {
    Go(Options({"optimizer.source=" + source, "optimizer.lr=0"}));
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  EXPECT_EQ(model("sam"), model("plain"));
}

TEST_F(SessionTest, SmallModelsTakeOneThread) {
  const Session small(ReadRecipe({"train.threads=0"}));
  EXPECT_EQ(at::get_num_threads(), 1);
  const Session asked(ReadRecipe({"train.threads=3"}));
  EXPECT_EQ(at::get_num_threads(), 3);
  TrainConfig train;
  train.batch_size = 64;
  EXPECT_EQ(ThreadsFor(train, 26'122, 8), 1);
  EXPECT_EQ(ThreadsFor(train, 1'000'000, 8), 8);
  train.threads = 2;
  EXPECT_EQ(ThreadsFor(train, 1'000'000, 8), 2);
}

}  // namespace session_test
}  // namespace kudari::lab
