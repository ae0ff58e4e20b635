#include "lab/train/objective.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "kudari/rules/all.h"
#include "kudari/spec.h"

namespace kudari::lab {
namespace objective_test {

using ::at::Tensor;

// Every buffer and parameter of a model.
std::map<std::string, Tensor> Contents(const Model& model) {
  std::map<std::string, Tensor> all;
  for (const auto& item : model.named_parameters()) all[item.key()] = item.value().detach().clone();
  for (const auto& item : model.named_buffers()) all[item.key()] = item.value().clone();
  return all;
}

bool SameContents(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.equal(y.second);
  });
}

// A residual network after three steps with batches of 16 out of 48 samples.
class EvaluatedWeightsTest : public ::testing::Test {
 protected:
  void Train(const OptimizerSpec& spec) {
    ::torch::manual_seed(4);
    model_ = MakeModel(ModelNamed("resnet", "depth = 8\nwidth = 4"), {{2, 8, 8}, 3});
    samples_ = {2 * ::torch::randn({48, 2, 8, 8}) + 1, ::torch::randint(3, {48}, ::torch::kInt64)};
    optimizer_ = std::make_unique<kudari::torch::Optimizer>(*model_, spec);
    for (int64_t step = 0; step < 3; ++step) {
      const Tensor x = samples_.All().x.narrow(0, 16 * step, 16),
                   y = samples_.All().y.narrow(0, 16 * step, 16);
      optimizer_->Step([&]() -> Evaluation {
        const Tensor loss = LossOf(LossNamed("cross_entropy"), Forward(*model_, x, {}), y, 0);
        loss.backward();
        return loss.item<double>();
      });
    }
  }

  Samples samples_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<kudari::torch::Optimizer> optimizer_;
};

TEST_F(EvaluatedWeightsTest, TrainedOnesKeepTheirStatistics) {
  Train(Sgd{.lr = 0.1});
  const auto trained = Contents(*model_);
  const EvaluatedWeights view(*optimizer_, *model_, samples_, {}, {});
  EXPECT_TRUE(SameContents(Contents(*model_), trained));
}

TEST_F(EvaluatedWeightsTest, AveragedOnesGetTheirOwn) {
  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.ema = EmaSpec{.decay = 0.5};
  Train(spec);
  const auto trained = Contents(*model_);
  TrainConfig config;
  config.shuffle = false;
  const auto channel_mean = [&] {
    const Tensor kernel = model_->named_parameters()["conv1.weight"];
    return at::conv2d(samples_.All().x, kernel, {}, 1, 1).mean({0, 2, 3}).detach();
  };
  const Tensor trained_mean = channel_mean();
  // One batch of all samples; three of 16; all of three, where the last is left out.
  for (const int64_t batch : {64, 48, 16, 30}) {
    config.batch_size = batch;
    {
      const EvaluatedWeights view(*optimizer_, *model_, samples_, config, {});
      const Tensor mean = model_->named_buffers()["bn1.running_mean"];
      EXPECT_FALSE(mean.equal(trained.at("bn1.running_mean")));
      EXPECT_EQ(at::allclose(mean, channel_mean(), 1e-4, 1e-5), batch != 30) << batch;
      EXPECT_FALSE(at::allclose(mean, trained_mean, 1e-4, 1e-5));
      EXPECT_TRUE(model_->is_training());
      const auto shown = Contents(*model_);
      EXPECT_GT(Evaluate(*model_, samples_, LossNamed("cross_entropy"), {}).loss, 0);
      EXPECT_TRUE(SameContents(Contents(*model_), shown));
    }
    EXPECT_TRUE(SameContents(Contents(*model_), trained));
  }
}

// As torch's update_bn with the training data's loader: of the images as they are trained on.
TEST_F(EvaluatedWeightsTest, StatisticsAreThoseOfAugmentedImages) {
  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.ema = EmaSpec{.decay = 0.5};
  Train(spec);
  const Dataset data{.name = "noise", .shape = {2, 8, 8}, .classes = 3};
  AugmentConfig augment;
  augment.flip = 1;
  TrainConfig config;
  config.batch_size = 48;
  const auto channel_mean = [&](const Tensor& x) {
    const Tensor kernel = model_->named_parameters()["conv1.weight"];
    return at::conv2d(x, kernel, {}, 1, 1).mean({0, 2, 3}).detach();
  };
  const EvaluatedWeights view(*optimizer_, *model_, samples_, config, {}, {augment, data, 1});
  const Tensor mean = model_->named_buffers()["bn1.running_mean"];
  const Tensor x = samples_.All().x;
  EXPECT_TRUE(at::allclose(mean, channel_mean(x.flip(3)), 1e-4, 1e-5));
  EXPECT_FALSE(at::allclose(mean, channel_mean(x), 1e-4, 1e-5));
}

TEST(LossOf, ProbabilitiesOfClassesAreTargets) {
  ::torch::manual_seed(2);
  const Tensor output = ::torch::randn({5, 3});
  const Tensor classes = ::torch::tensor({0, 2, 1, 1, 0}, ::torch::kInt64);
  const Tensor certain = ::torch::one_hot(classes, 3).to(at::kFloat);
  const Tensor mixed = 0.3 * certain + 0.7 * certain.roll(1, 0);
  for (const double smoothing : {0.0, 0.1}) {
    // Written out: the cross-entropy with the smoothed probabilities.
    const Tensor smooth = mixed * (1 - smoothing) + smoothing / 3;
    const double expected = -(smooth * ::torch::log_softmax(output, 1)).sum().item<double>() / 5;
    const Loss loss = LossNamed("cross_entropy");
    EXPECT_NEAR(LossOf(loss, output, mixed, smoothing).item<double>(), expected, 1e-6);
    for (const std::string& name : LabRegistry::Builtin().losses.Names()) {
      EXPECT_NEAR(LossOf(LossNamed(name), output, certain, smoothing).item<double>(),
                  LossOf(LossNamed(name), output, classes, smoothing).item<double>(), 1e-6)
          << name;
    }
  }
  EXPECT_NEAR(LossOf(LossNamed("mse"), output, mixed, 0).item<double>(),
              (output - mixed).square().mean().item<double>(), 1e-6);
}

TEST_F(EvaluatedWeightsTest, ThoseOfTheRuleGetTheirOwnAndAnExceptionPutsBack) {
  Train(ScheduleFreeSgd{.lr = 0.1});
  const auto trained = Contents(*model_);
  EXPECT_THROW(
      {
        const EvaluatedWeights view(*optimizer_, *model_, samples_, {}, {});
        EXPECT_FALSE(
            model_->named_buffers()["bn1.running_var"].equal(trained.at("bn1.running_var")));
        throw std::runtime_error("no");
      },
      std::runtime_error);
  EXPECT_TRUE(SameContents(Contents(*model_), trained));
  const Samples wrong{samples_.All().x.narrow(1, 0, 1), samples_.All().y};
  EXPECT_ANY_THROW(EvaluatedWeights(*optimizer_, *model_, wrong, {}, {}));
  EXPECT_TRUE(SameContents(Contents(*model_), trained));
}

}  // namespace objective_test
}  // namespace kudari::lab
