// Optimisers that share the tensors of a step, as processes do: together they come to the bits of
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"

namespace kudari {
namespace ownership_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;

const Model::Shapes kShapes = {{"a", {200, 100}}, {"b", {50}}, {"c", {400, 400}}, {"d", {30, 30}}};

/// A sum over threads.
class Sum {
 public:
  explicit Sum(int threads) : barrier_(threads) {}

  void operator()(std::span<double> values) {
    {
      const std::lock_guard lock(mutex_);
      total_.resize(values.size());
      for (size_t i = 0; i < values.size(); ++i) total_[i] += values[i];
    }
    barrier_.arrive_and_wait();
    std::copy(total_.begin(), total_.end(), values.begin());
    barrier_.arrive_and_wait();
    const std::lock_guard lock(mutex_);
    total_.clear();
  }

 private:
  std::barrier<> barrier_;
  std::mutex mutex_;
  std::vector<double> total_;
};

/// Two optimisers with a model each, of which the first owns a and d and the second b and c.
class Pair {
 public:
  explicit Pair(const OptimizerSpec& spec) {
    for (size_t r = 0; r < 2; ++r) {
      optimizers.emplace_back(models[r].tensors, spec);
      std::vector<bool> owned;
      for (size_t i = 0; i < kShapes.size(); ++i) owned.push_back(Owner(i) == r);
      optimizers[r].SetOwnership(owned, [this](std::span<double> x) { sum_(x); });
    }
  }

  static size_t Owner(size_t tensor) { return tensor == 1 || tensor == 2 ? 1 : 0; }

  /// Steps both with these gradients, of which each sees its own alone, and gives each the weights
  /// of the other.
  std::vector<Report> Step(const Model& from) {
    std::vector<Report> reports(2);
    std::vector<std::jthread> threads;
    for (size_t r = 0; r < 2; ++r) {
      for (size_t i = 0; i < kShapes.size(); ++i) {
        models[r].grads[i] = from.grads[i];
        const bool null = from.tensors[i].grad == nullptr || Owner(i) != r;
        optimizers[r].tensors()[i].grad = null ? nullptr : models[r].grads[i].data();
      }
      threads.emplace_back([this, r, &reports] { reports[r] = optimizers[r].Step(); });
    }
    threads.clear();
    for (size_t i = 0; i < kShapes.size(); ++i) {
      models[1 - Owner(i)].params[i].assign(models[Owner(i)].params[i].begin(),
                                            models[Owner(i)].params[i].end());
    }
    return reports;
  }

  Model models[2] = {Model(kShapes), Model(kShapes)};
  std::vector<Optimizer> optimizers;

 private:
  Sum sum_ = Sum(2);
};

OptimizerSpec SpecWith(std::string rule) {
  OptimizerSpec spec(std::move(rule));
  spec.clip_norm = 0.5;
  spec.ema = EmaSpec{};
  return spec;
}

TEST(Ownership, TwoComeToTheBitsOfOne) {
  for (const std::string rule : {"adamw", "lamb", "adafactor"}) {
    SCOPED_TRACE(rule);
    Model model(kShapes);
    Optimizer one(model.tensors, SpecWith(rule));
    Pair pair(SpecWith(rule));
    for (int step = 0; step < 4; ++step) {
      model.NextGradient();
      // Its owner alone says that a tensor has no gradient.
      one.tensors()[3].grad = model.tensors[3].grad = step == 2 ? nullptr : model.grads[3].data();
      const Report expected = one.Step();
      for (const Report& report : pair.Step(model)) {
        EXPECT_EQ(report.grad_norm, expected.grad_norm);
        EXPECT_EQ(report.factor, expected.factor);
      }
      EXPECT_EQ(pair.models[0].params, model.params);
      EXPECT_EQ(pair.models[1].params, model.params);
    }
    // Each has the state and the averages of what it owns.
    const StateTree state = one.State();
    for (size_t i = 0; i < kShapes.size(); ++i) {
      const std::string tensor = "tensors/" + kShapes[i].first, average = "averagers/ema/" + tensor;
      const StateTree own = pair.optimizers[Pair::Owner(i)].State();
      const StateTree other = pair.optimizers[1 - Pair::Owner(i)].State();
      EXPECT_EQ(FirstDifference(own.At(tensor), state.At(tensor)), "");
      EXPECT_EQ(FirstDifference(own.At(average), state.At(average)), "");
      EXPECT_THAT(other.At(tensor).Paths(), ::testing::ElementsAre("step"));
      EXPECT_EQ(other.Find(average), nullptr);
    }
  }
}

// Where each has all gradients, as sharpness-aware sources need, accumulation sums all of them.
TEST(Ownership, SharpnessSeesEveryGradient) {
  OptimizerSpec spec("momentum");
  spec.accumulate = 2;
  spec.source = "sam";
  Model one_model(kShapes), two_model(kShapes);
  Optimizer one(one_model.tensors, spec), two(two_model.tensors, spec);
  two.SetOwnership({true, false, false, true}, [](std::span<double>) {});
  const auto step = [](Optimizer& optimizer, Model& model) {
    optimizer.Step([&model](Pass) {
      model.NextGradient();
      for (size_t i = 0; i < kShapes.size(); ++i) {
        for (size_t k = 0; k < model.grads[i].size(); ++k) model.grads[i][k] += model.params[i][k];
      }
      return Evaluation(1, 4);
    });
  };
  step(one, one_model);
  step(two, two_model);
  EXPECT_EQ(two_model.params[0], one_model.params[0]);
  EXPECT_EQ(two_model.params[3], one_model.params[3]);
  EXPECT_EQ(two_model.params[1], Model(kShapes).params[1]);
}

TEST(Ownership, BothSkipWhatIsNotFinite) {
  OptimizerSpec spec("sgd");
  spec.nonfinite = NonFinite::kSkip;
  Model model(kShapes);
  Pair pair(spec);
  model.NextGradient();
  model.grads[2][130'000] = NAN;
  for (const Report& report : pair.Step(model)) {
    EXPECT_TRUE(report.skipped);
    EXPECT_EQ(report.first_nonfinite, "c");
  }
  EXPECT_EQ(pair.models[0].params, Model(kShapes).params);
}

TEST(Ownership, ASumThatThrowsChangesNothing) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, SpecWith("adamw"));
  optimizer.SetOwnership({true, false, true, false},
                         [](std::span<double>) { throw Error("the network is down"); });
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }), "the network is down");
  EXPECT_EQ(optimizer.steps(), 0);
  EXPECT_EQ(model.params, Model(kShapes).params);
}

TEST(Ownership, BadCallsAreRefused) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, OptimizerSpec("adamw"));
  const auto sum = [](std::span<double>) {};
  EXPECT_EQ(ErrorOf([&] { optimizer.SetOwnership({true}, sum); }),
            "SetOwnership: 1 flags for 4 tensors");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetOwnership(std::vector<bool>(4), nullptr); }),
            "SetOwnership: sum is empty");
  OptimizerSpec ahead("momentum");
  ahead.source = "nesterov_lookahead";
  EXPECT_THAT(
      ErrorOf([&] { Optimizer(model.tensors, ahead).SetOwnership(std::vector<bool>(4), sum); }),
      HasSubstr("nesterov_lookahead"));
  optimizer.Step();
  EXPECT_THAT(ErrorOf([&] { optimizer.SetOwnership(std::vector<bool>(4), sum); }),
              HasSubstr("\"a\" already has state"));
}

}  // namespace ownership_test
}  // namespace kudari
