// Layer norms, components, numerics, the doctor and early stopping in whole runs.
#include <cmath>
#include <string>
#include <vector>

#include "lab/logs/run_log.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace observers_test {

using nlohmann::json;
using ::testing::HasSubstr;

using ObserversTest = TrainFixture;

TEST_F(ObserversTest, MeasuresLayersEverySoManySteps) {
  // With sgd an update is the learning rate times the gradient, but for the rounding of weights,
  // whatever scales the loss.
  for (const std::string precision : {"f32", "f16"}) {
    Go(Options({"optimizer.rule=sgd", "optimizer.lr=0.125", "train.layers_every=5",
                "train.precision=" + precision}));
    const std::vector<json> lines = Metrics("layers");
    ASSERT_EQ(lines.size(), 4U);  // of 16 steps
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(lines[i]["step"], 5 * i + 1);
      double squares = 0;
      for (const auto& [name, norms] : lines[i]["layers"].items()) {
        const double gradient = norms["grad"];
        EXPECT_GT(gradient, 0) << name;
        EXPECT_NEAR(norms["update"].get<double>(), 0.125 * gradient, 1e-3 * gradient) << name;
        squares += gradient * gradient;
      }
      const double all = lines[i]["grad_norm"];
      EXPECT_NEAR(std::sqrt(squares), all, 1e-5 * all);
    }
  }
  // The weights of the second measured step are those of the first and its update.
  Go(Options({"optimizer.rule=sgd", "optimizer.lr=0.125", "train.layers_every=1"}));
  const std::vector<json> lines = Metrics("layers");
  ASSERT_EQ(lines.size(), 16U);
  for (const auto& [name, norms] : lines[0]["layers"].items()) {
    const double before = norms["weight"], after = lines[1]["layers"][name]["weight"];
    EXPECT_LE(std::abs(after - before), norms["update"].get<double>() * (1 + 1e-5)) << name;
    EXPECT_NE(after, before) << name;
  }
  Go(Options({"train.layers_every=0"}));
  EXPECT_TRUE(Metrics("layers").empty());
}

TEST_F(ObserversTest, FrozenLayersHaveAGradientAndNoUpdate) {
  WriteRecipe(std::string(kRecipe) + "[[optimizer.group]]\nmatch = \"head.*\"\nfrozen_until = 5\n");
  Go(Options({"train.layers_every=1"}));
  const std::vector<json> lines = Metrics("layers");
  ASSERT_EQ(lines.size(), 16U);
  for (size_t i = 0; i < lines.size(); ++i) {
    double squares = 0;
    for (const auto& [name, norms] : lines[i]["layers"].items()) {
      const bool frozen = i < 5 && name.starts_with("head.");
      const double gradient = norms["grad"];
      EXPECT_GT(gradient, 0) << name;
      EXPECT_EQ(norms["update"].is_null(), frozen) << name << " in line " << i;
      squares += frozen ? 0 : gradient * gradient;
    }
    const double all = lines[i]["grad_norm"];  // without the frozen ones
    EXPECT_NEAR(std::sqrt(squares), all, 1e-5 * all);
  }
}

TEST_F(ObserversTest, LayersHaveTheTrustRatiosOfRulesThatHaveThem) {
  // lars, without momentum yet, takes lr trust |w| for a step at first, weight decay or not; biases
  // are not adapted, and larc's rate is lr where trust is large.
  Go(Options({"optimizer.rule=lars", "optimizer.lr=0.5", "optimizer.trust=0.01",
              "optimizer.weight_decay=0", "train.layers_every=5"}));
  for (const json& line : Metrics("layers")) {
    size_t adapted = 0;
    for (const auto& [name, norms] : line["layers"].items()) {
      if (!norms.contains("trust")) continue;
      ++adapted;
      EXPECT_FALSE(norms.contains("pinned")) << name;
      const double ratio = norms["trust"], weight = norms["weight"], grad = norms["grad"];
      EXPECT_NEAR(ratio, 0.01 * weight / grad, 1e-4 * ratio) << name;
      if (line["step"] == 1) {
        EXPECT_NEAR(norms["update"].get<double>(), 0.5 * 0.01 * weight, 1e-4 * weight) << name;
      }
    }
    EXPECT_GT(adapted, 0U);
    EXPECT_LT(adapted, line["layers"].size());
    EXPECT_FALSE(line["layers"]["head.bias"].contains("trust"));
  }
  Go(Options({"optimizer.rule=larc", "optimizer.lr=1e-4", "optimizer.trust=1000"}));
  const json larc = Metrics("layers")[0]["layers"]["head.weight"];
  EXPECT_EQ(larc["trust"], 1);
  EXPECT_EQ(larc["pinned"], true);
}

TEST_F(ObserversTest, FaultsTakeGradientsAway) {
  Go(Options({"fault.missing=blocks.0.fc1.*", "fault.zero=head.weight", "train.layers_every=5",
              "optimizer.weight_decay=0"}));
  for (const json& line : Metrics("layers")) {
    const json& layers = line["layers"];
    for (const char* name : {"blocks.0.fc1.weight", "blocks.0.fc1.bias"}) {
      EXPECT_TRUE(layers[name]["grad"].is_null()) << name;
      EXPECT_EQ(layers[name]["update"], 0) << name;
    }
    EXPECT_EQ(layers["head.weight"]["grad"], 0);
    EXPECT_EQ(layers["head.weight"]["update"], 0);
    EXPECT_GT(layers["head.bias"]["update"], 0);
  }
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +dead_tensors; kudari doctor "));
  EXPECT_EQ(MessageOf(Options({"fault.zero=no.*"})), "fault.zero = \"no.*\" matches no parameter");
}

TEST_F(ObserversTest, FaultsScaleTheFirstWeights) {
  const auto weights = [&](const std::string& scale) {
    Go(Options({"fault.init_scale=" + scale, "train.layers_every=100"}));
    return Metrics("layers")[0]["layers"];
  };
  const json one = weights("1"), four = weights("4");
  for (const auto& [name, norms] : one.items()) {
    const bool matrix = name.ends_with("weight") && name.find("norm") == std::string::npos;
    const double factor = (matrix || name == "pos_embed") && name != "head.weight" ? 4 : 1;
    EXPECT_NEAR(four[name]["weight"].get<double>(), factor * norms["weight"].get<double>(), 1e-4)
        << name;
  }
}

TEST_F(ObserversTest, AccumulationIsMeasuredAndMayBeASum) {
  const auto first = [&](const std::string& sum) {
    Go(Options({"optimizer.accumulate=4", "train.batch_size=8", "train.layers_every=1",
                "fault.sum_accumulation=" + sum}));
    return Metrics("micro_grad_norm")[0];
  };
  const json mean = first("false"), sum = first("true");
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +accumulation_sum; kudari doctor "));
  EXPECT_NEAR(sum["grad_norm"].get<double>(), 4 * mean["grad_norm"].get<double>(), 1e-4);
  EXPECT_NEAR(sum["micro_grad_norm"].get<double>(), mean["micro_grad_norm"].get<double>(), 1e-6);
  EXPECT_EQ(sum["loss"], mean["loss"]);
  // It is that of the first batch alone, without the loss's scale.
  Go(Options({"train.batch_size=8"}));
  const double alone = Metrics("grad_norm")[0]["grad_norm"];
  EXPECT_NEAR(mean["micro_grad_norm"].get<double>(), alone, 1e-6 * alone);
  Go(Options({"optimizer.accumulate=4", "train.batch_size=8", "train.layers_every=1",
              "train.precision=f16", "train.loss_scale=1024"}));
  EXPECT_NEAR(Metrics("micro_grad_norm")[0]["micro_grad_norm"].get<double>(), alone, 0.02 * alone);
  // Of one batch there is nothing to say.
  Go(Options({"train.layers_every=1"}));
  EXPECT_TRUE(Metrics("micro_grad_norm").empty());
}

TEST_F(ObserversTest, TheDoctorSpeaksWhileTrainingAndCanBeSilent) {
  const std::vector<std::string> wild = {"optimizer.rule=sgd", "optimizer.lr=1e4", "train.loss=mse",
                                         "train.epochs=20"};
  Go(Options(wild));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +diverged; kudari doctor "));
  EXPECT_THAT(ReadRunLog(dir_ / "out").first_nonfinite, ::testing::Not(::testing::IsEmpty()));
  std::vector<std::string> silent = wild;
  silent.emplace_back("train.doctor=false");
  Go(Options(silent));
  EXPECT_EQ(console_.find("doctor"), std::string::npos);
  Go(Options({"train.label_smoothing=0", "data.label_noise=0.5", "train.epochs=40",
              "optimizer.weight_decay=0"}));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor, at step [0-9]+: overfitting \\("));
  // That a rate is too low is known at the end, not before.
  Go(Options({"optimizer.lr=1e-7", "train.epochs=8"}));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor, at step 64: lr_too_low \\("));
  EXPECT_THAT(console_, ::testing::Not(::testing::ContainsRegex("doctor, at step [1-5]")));
}

TEST_F(ObserversTest, ItsLogCanBeRead) {
  Go(Options({"optimizer.rule=lamb", "train.layers_every=5"}));
  const std::vector<json> lines = Metrics("lr");
  const RunLog log = ReadRunLog(dir_ / "out");
  ASSERT_EQ(log.steps.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(log.steps[i].step, lines[i]["step"]);
    EXPECT_EQ(log.steps[i].loss, lines[i]["loss"]);
    EXPECT_EQ(log.steps[i].lr, lines[i]["lr"]);
    EXPECT_EQ(log.steps[i].grad_norm, lines[i]["grad_norm"]);
  }
  ASSERT_EQ(log.evaluations.size(), 2U);
  EXPECT_EQ(log.evaluations[1].accuracy, Metrics("val_accuracy")[1]["val_accuracy"]);
  const json layers = Metrics("layers")[1];
  ASSERT_EQ(log.layers.size(), 4U);
  EXPECT_EQ(log.layers[1].step, 6);
  ASSERT_EQ(log.layers[1].tensors.size(), layers["layers"].size());
  for (const LayerLog& layer : log.layers[1].tensors) {
    const json& norms = layers["layers"][layer.name];
    EXPECT_EQ(layer.grad, norms["grad"]);
    EXPECT_EQ(layer.trust, norms["trust"]);
    EXPECT_EQ(layer.pinned, norms.contains("pinned"));
  }
  EXPECT_EQ(log.steps_per_epoch, 8);
  EXPECT_EQ(log.planned_steps, 16);
}

TEST_F(ObserversTest, NumericsNameWhatIsLostAndWhatToDo) {
  // Steps of 1e-5 are nothing to most bfloat16 weights, and all right with 8 more bits.
  std::vector<std::string> sets = {"train.weights=bf16", "optimizer.lr=1e-5",
                                   "optimizer.precision.check=true"};
  Go(Options(sets, "none"));
  for (const json& step : Metrics("lr", "none")) {
    const json& numerics = step["numerics"];
    EXPECT_GT(numerics["lost"].get<double>(), 0.5);
    EXPECT_EQ(numerics["saturated"], 0);
    EXPECT_GT(numerics["tensors"]["pos_embed"]["lost"].get<double>(), 0.5);
    EXPECT_LE(numerics["tensors"]["pos_embed"]["lost"].get<double>(), 1);
  }
  EXPECT_THAT(console_, ::testing::ContainsRegex("lost updates +[5-9][0-9]\\.[0-9]+%; most in "));
  EXPECT_THAT(console_,
              HasSubstr("the learning rate is too small for bf16 weights: keep the digits "
                        "they lack (optimizer.precision.master = \"split8\")"));
  const double without = Metrics("lr", "none").back()["numerics"]["lost"];
  std::vector<std::string> random = sets;
  random.emplace_back("optimizer.precision.rounding=stochastic");
  Go(Options(random, "random"));
  EXPECT_THAT(console_, HasSubstr("harmless: weights are rounded stochastically"));
  sets.emplace_back("optimizer.precision.master=split8");
  Go(Options(sets, "split8"));
  EXPECT_LT(Metrics("lr", "split8").back()["numerics"]["lost"].get<double>(), 0.2 * without);
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("too small for bf16 weights: keep")));
  Go(Options({}, "off"));
  EXPECT_TRUE(Metrics("numerics", "off").empty());
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("lost updates")));
}

TEST_F(ObserversTest, TracksComponents) {
  TrainOptions options = Options({"optimizer.source=sam", "optimizer.sharpness.k=3",
                                  "optimizer.sharpness.rho=0.5", "train.precision=f16"});
  options.track_components = true;
  const RunState result = Go(options);
  const std::vector<json> lines = Metrics("components");
  ASSERT_EQ(static_cast<int64_t>(lines.size()), (result.steps + 2) / 3);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"], 3 * i + 1);
    const json& c = lines[i]["components"];
    const double s = c["norm"]["g_s"], h = c["norm"]["g_h"], v = c["norm"]["g_v"];
    EXPECT_NEAR(s * s, h * h + v * v, 1e-9 * s * s);
    EXPECT_GT(v, 0);
    EXPECT_NEAR(s, lines[i]["grad_norm"], 1e-5 * s);
    EXPECT_EQ(c.contains("change"), i > 0);
    if (i == 0) continue;
    for (const char* const name : {"g_s", "g_h", "g_v"}) {
      // |a - b|^2 = |a|^2 + |b|^2 - 2 |a| |b| cos
      const double now = c["norm"][name], former = lines[i - 1]["components"]["norm"][name];
      const double change = c["change"][name];
      EXPECT_NEAR(change * change,
                  now * now + former * former - 2 * now * former * c["cosine"][name].get<double>(),
                  1e-9 * (now * now + former * former));
      EXPECT_NEAR(c["relative"][name].get<double>() * former, change, 1e-9 * change);
    }
  }
  options.changes.sets.emplace_back("optimizer.source=plain");
  options.changes.sets.erase(options.changes.sets.begin() + 1, options.changes.sets.begin() + 3);
  EXPECT_THAT(MessageOf(options), HasSubstr("--track components needs a sharpness-aware source"));
  options = Options({"optimizer.source=sam", "optimizer.accumulate=2"});
  options.track_components = true;
  EXPECT_THAT(MessageOf(options), HasSubstr("needs optimizer.accumulate = 1, not 2"));
}

TEST_F(ObserversTest, StopsEarlyOnValidation) {
  // A step of no length never improves on the first evaluation.
  const RunState result =
      Go(Options({"optimizer.lr=0", "train.epochs=50", "train.early_stopping=3"}));
  EXPECT_THAT(result.stopped, HasSubstr("train.early_stopping"));
  EXPECT_EQ(result.steps, 4 * 8);
  EXPECT_THAT(MessageOf(Options({"train.early_stopping=3", "data.validation=0"})),
              HasSubstr("train.early_stopping needs validation data"));
}

}  // namespace observers_test
}  // namespace kudari::lab
