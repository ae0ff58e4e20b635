// Models with losses of their own, against tests/golden/make_own_losses.py and their definitions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/models/models.h"
#include "lab/models/parts/frechet.h"
#include "lab/models/parts/generator.h"
#include "lab/models/parts/policy.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace own_losses_test {

using ::at::Tensor;
using nlohmann::json;

json Golden() {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/own_losses.json");
  return json::parse(file);
}

// Numbers by the formula of the generator.
Tensor Formula(const std::vector<int64_t>& shape, double scale = 1, int64_t start = 0) {
  Tensor values = ::torch::empty(shape);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const auto n = static_cast<double>(start + i);
    values.view({-1})[i] = scale * std::sin(0.37 * n + 0.1 * std::sqrt(n));
  }
  return values;
}

std::string Word(bool value) { return value ? "true" : "false"; }

TEST(ActorCritic, LossIsCleanRls) {
  ::torch::manual_seed(1);
  constexpr int64_t kBatch = 8, kOutputs = 3;
  const json golden = Golden()["ppo"];
  ASSERT_EQ(golden.size(), 8U);
  for (const json& c : golden) {
    const bool discrete = c["discrete"];
    const auto model =
        MakeModel(ModelNamed("actor_critic", "hidden = []\nclip_vloss = " + Word(c["clip_vloss"]) +
                                                 "\nnorm_adv = " + Word(c["norm_adv"])),
                  {.sample = {kBatch}, .outputs = kOutputs, .acts = true, .discrete = discrete});
    auto parameters = model->named_parameters();
    // Sample i is the i-th unit vector, so that weights are outputs.
    const Tensor numbers =
        discrete ? ::torch::arange(kBatch).remainder(kOutputs).to(at::kFloat).unsqueeze(1)
                 : Formula({kBatch, kOutputs}, 1, 800);
    {
      const ::torch::NoGradGuard no_grad;
      parameters["actor.0.weight"].copy_(Formula({kBatch, kOutputs}).t());
      parameters["critic.0.weight"].copy_(Formula({1, kBatch}, 1, 100));
      if (!discrete) parameters["actor_logstd"].copy_(Formula({1, kOutputs}, 0.3, 300));
    }
    const Tensor rest = at::stack(
        {Formula({kBatch}, 0.5, 400) - 1.2, Formula({kBatch}, 1, 500), Formula({kBatch}, 1, 600),
         Formula({kBatch}, 1, 100) - Formula({kBatch}, 2, 700)},
        1);
    const Batch batch = {::torch::eye(kBatch), at::cat({numbers, rest}, 1)};
    const Tensor loss = model->TrainingLoss({.batch = batch});
    EXPECT_NEAR(loss.item<double>(), c["loss"].get<double>(), 1e-5) << c;
    loss.backward();
    EXPECT_GT(parameters["actor.0.weight"].grad().abs().sum().item<double>(), 0);
    EXPECT_GT(parameters["critic.0.weight"].grad().abs().sum().item<double>(), 0);
  }
}

TEST(ActorCritic, ActsAsItsProbabilitiesSay) {
  ::torch::manual_seed(1);
  const DataShape shape = {.sample = {2}, .outputs = 3, .acts = true};
  const auto model = MakeModel(ModelNamed("actor_critic", "hidden = []"), shape);
  const Tensor probability = ::torch::tensor({0.2F, 0.5F, 0.3F});
  {
    const ::torch::NoGradGuard no_grad;
    model->named_parameters()["actor.0.weight"].zero_();
    model->named_parameters()["actor.0.bias"].copy_(probability.log());
  }
  auto& policy = dynamic_cast<Policy&>(*model);
  const Tensor x = ::torch::zeros({20000, 2});
  at::Generator random = at::detail::createCPUGenerator(5);
  const Action drawn = policy.Act(x, random);
  const Tensor shares = drawn.action.flatten().to(at::kLong).bincount({}, 3) / 20000.0;
  EXPECT_TRUE(at::allclose(shares, probability.to(shares), 0, 0.015)) << shares;
  EXPECT_TRUE(at::allclose(drawn.log_prob.exp(),
                           probability.index_select(0, drawn.action.flatten().to(at::kLong)),
                           1e-5));
  EXPECT_TRUE(policy.Act(x, std::nullopt).action.eq(1).all().item<bool>());
  const Tensor again = policy.Act(x, at::detail::createCPUGenerator(5)).action;
  EXPECT_TRUE(again.equal(drawn.action));
}

TEST(Vae, LossIsTheNegativeBound) {
  ::torch::manual_seed(1);
  const json golden = Golden()["vae"];
  for (const char* beta : {"1.0", "0.5"}) {
    const auto model =
        MakeModel(ModelNamed("vae", std::string("hidden = 5\nlatent = 3\nbeta = ") + beta),
                  {.sample = {6}, .outputs = 1, .low = 0, .high = 1});
    auto parameters = model->named_parameters();
    const ::torch::NoGradGuard no_grad;
    int64_t start = 0;
    for (const char* name : {"fc1", "fc21", "fc22", "fc3", "fc4"}) {
      Tensor weight = parameters[std::string(name) + ".weight"];
      weight.copy_(Formula(weight.sizes().vec(), 1, start));
      start += 1000;
    }
    parameters["fc22.bias"].fill_(-80);
    const Batch batch = {(Formula({4, 6}, 1, 50) + 1) / 2, {}};
    const double expected = golden[std::string(beta) == "1.0" ? "loss" : "half_beta"];
    const at::Generator random = at::detail::createCPUGenerator(1);
    const Tensor loss = model->TrainingLoss({.batch = batch, .random = random});
    EXPECT_NEAR(loss.item<double>(), expected, 1e-5 * expected);
    bool given = false;
    const auto score =
        model->EvaluateOn([&]() -> Batch { return std::exchange(given, true) ? Batch() : batch; });
    EXPECT_NEAR(score->loss, expected, 1e-5 * expected);
  }
}

TEST(Frechet, DistanceIsThatOfTheMatrixRoot) {
  const Tensor a = Formula({20, 4}).to(at::kDouble);
  const Tensor b = Formula({30, 4}, 0.7, 1000).to(at::kDouble) + 0.2;
  EXPECT_NEAR(FrechetDistance(a, b), Golden()["frechet"].get<double>(), 1e-5);
  // Rounding errors of small eigenvalues are as large as their roots allow, and differ from one
  // processor to another.
  const double rounding = 4 * std::sqrt(std::numeric_limits<double>::epsilon());
  EXPECT_NEAR(FrechetDistance(b, a), FrechetDistance(a, b), rounding);
  EXPECT_NEAR(FrechetDistance(a, a), 0, rounding);
}

TEST(Frechet, FeaturesAreAlwaysTheSame) {
  const Tensor images = ::torch::randn({3, 2, 8, 8});
  ::torch::manual_seed(1);
  const Tensor one = FixedFeatures(2)(images);
  ::torch::manual_seed(2);
  EXPECT_TRUE(FixedFeatures(2)(images).equal(one));
  EXPECT_EQ(one.sizes(), (std::vector<int64_t>{3, 64}));
}

TEST(Dcgan, PartsPlayAgainstEachOther) {
  ::torch::manual_seed(1);
  const DataShape shape = {.sample = {2, 28, 20}, .outputs = 10, .low = -0.4F, .high = 2.8F};
  const auto model = MakeModel(ModelNamed("dcgan", "width = 4\nlatent = 5"), shape);
  const Tensor x = ::torch::rand({6, 2, 28, 20}) * 3.2 - 0.4;
  EXPECT_EQ(model->forward(x).sizes(), (std::vector<int64_t>{6, 1}));
  auto& generator = dynamic_cast<Generator&>(*model);
  const Tensor made = generator.Generate(4, at::detail::createCPUGenerator(3));
  EXPECT_EQ(made.sizes(), (std::vector<int64_t>{4, 2, 28, 20}));
  EXPECT_GE(made.min().item<float>(), -0.4001F);
  EXPECT_LE(made.max().item<float>(), 2.8001F);

  const Batch batch = {x, {}};
  const auto loss = [&](size_t part) {
    for (const Tensor& p : model->parameters()) p.mutable_grad() = Tensor();
    const at::Generator random = at::detail::createCPUGenerator(7);
    const Tensor value = model->TrainingLoss({.batch = batch, .part = part, .random = random});
    value.backward();
    return value.item<double>();
  };
  // The discriminator's loss leaves the generator alone: what it made is taken as given.
  EXPECT_NEAR(loss(0), 2 * std::log(2.0), 0.5);
  for (const Tensor& p : model->Part(1).parameters()) EXPECT_FALSE(p.grad().defined());
  for (const Tensor& p : model->Part(0).parameters()) EXPECT_TRUE(p.grad().defined());
  EXPECT_NEAR(loss(1), std::log(2.0), 0.5);
  for (const Tensor& p : model->Part(1).parameters()) EXPECT_TRUE(p.grad().defined());

  const auto error = [](const DataShape& data) {
    return kudari::testing::ErrorOf([&] { MakeModel(ModelNamed("dcgan"), data); });
  };
  EXPECT_EQ(
      error({.sample = {1, 30, 30}, .outputs = 2}),
      "model.name = \"dcgan\" needs images whose sides can be halved until both are from 4 to "
      "7, such as 28 x 28 or 64 x 64, not 30 x 30");
  EXPECT_EQ(
      error({.sample = {5}, .outputs = 2}),
      "model.name = \"dcgan\" needs images [channels, height, width]; a sample of the data has "
      "the shape [5]");
}

TEST(Detector, FindsTheBoxesThatItIsTold) {
  ::torch::manual_seed(1);
  const auto model =
      MakeModel(ModelNamed("detector", "width = 8"),
                {.sample = {3, 32, 32}, .outputs = 10, .boxes = 2, .box_classes = 3});
  // Two images with a bright square each, which another box beside it in the first.
  Tensor x = ::torch::zeros({2, 3, 32, 32});
  x.index_put_({0, 0, ::torch::indexing::Slice(4, 14), ::torch::indexing::Slice(4, 14)}, 3);
  x.index_put_({0, 1, ::torch::indexing::Slice(18, 30), ::torch::indexing::Slice(16, 28)}, 3);
  x.index_put_({1, 2, ::torch::indexing::Slice(10, 26), ::torch::indexing::Slice(2, 18)}, 3);
  const Tensor y =
      ::torch::tensor({{0.F, 4 / 32.F, 4 / 32.F, 14 / 32.F, 14 / 32.F, 1.F, 16 / 32.F, 18 / 32.F,
                        28 / 32.F, 30 / 32.F},
                       {2.F, 2 / 32.F, 10 / 32.F, 18 / 32.F, 26 / 32.F, -1.F, 0.F, 0.F, 0.F, 0.F}});
  const Batch batch = {x, y};
  ::torch::optim::Adam adam(model->parameters(), 5e-3);
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    adam.zero_grad();
    const Tensor loss = model->TrainingLoss({.batch = batch});
    loss.backward();
    adam.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  EXPECT_LT(last, 0.2 * first);
  const ::torch::NoGradGuard no_grad;
  model->eval();
  bool given = false;
  const auto score =
      model->EvaluateOn([&]() -> Batch { return std::exchange(given, true) ? Batch() : batch; });
  EXPECT_GT(score->map, 0.9);
  // Without boxes there is still a loss.
  const Batch empty = {x, ::torch::full({2, 10}, -1.F)};
  EXPECT_TRUE(std::isfinite(model->TrainingLoss({.batch = empty}).item<double>()));
}

TEST(Models, SayWhatDataTheyNeed) {
  ::torch::manual_seed(1);
  const auto error = [](const char* name, const DataShape& data) {
    return kudari::testing::ErrorOf([&] { MakeModel(ModelNamed(name), data); });
  };
  const DataShape images = {.sample = {3, 32, 32}, .outputs = 10};
  DataShape boxes = images, acts = {.sample = {4}, .outputs = 2, .acts = true};
  boxes.boxes = 3;
  EXPECT_EQ(error("detector", images),
            "model.name = \"detector\" needs boxes in images; the data set has none");
  EXPECT_EQ(error("vit", boxes),
            "model.name = \"vit\" needs a class or value for each sample; the data set has boxes");
  EXPECT_EQ(error("mlp", acts),
            "model.name = \"mlp\" needs samples; the data set has an environment");
  EXPECT_EQ(
      error("actor_critic", images),
      "model.name = \"actor_critic\" needs an environment to act in; the data set has samples");
  const DataShape text = {.sample = {8}, .outputs = 5, .vocabulary = 5, .next_token = true};
  EXPECT_EQ(error("mlp", text), "model.name = \"mlp\" needs numbers; the data set has tokens");
}

}  // namespace own_losses_test
}  // namespace kudari::lab
