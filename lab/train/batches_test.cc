#include "lab/train/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/state.h"
#include "lab/data/data.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace batches_test {

using ::at::Tensor;
using ::testing::HasSubstr;

constexpr int64_t kImages = 53, kClasses = 4;

// Images of five pixels a side, of which the first ends in the sample's number; from sample `bad`
// on there is an error, and `made` counts the calls.
class NumberedImages : public SampleSource {
 public:
  explicit NumberedImages(int64_t bad = kImages) : bad_(bad) {}

  int64_t size() const override { return kImages; }
  Batch Rows(std::span<const int64_t> rows) const override {
    ++made;
    std::vector<float> x;
    std::vector<int64_t> y;
    for (const int64_t row : rows) {
      if (row >= bad_) throw Error("image " + std::to_string(row) + " is damaged");
      for (int i = 0; i < 25; ++i) x.push_back(static_cast<float>(100 * row + i));
      y.push_back(row % kClasses);
    }
    return {::torch::tensor(x).view({-1, 1, 5, 5}), ::torch::tensor(y)};
  }

  mutable std::atomic<int> made = 0;

 private:
  int64_t bad_;
};

Augmenter MakeAugmenter(std::string_view table, uint64_t seed = 1) {
  const Dataset data{.name = "numbered", .shape = {1, 5, 5}, .classes = kClasses};
  const std::string text = "augment = " + std::string(table) + "\noptimizer = {rule = \"sgd\"}";
  return {ParseTrainRecipe(text, "r").augment, data, seed};
}

TrainConfig ConfigOf(int64_t batch_size, bool shuffle = true) {
  TrainConfig config;
  config.batch_size = batch_size;
  config.shuffle = shuffle;
  return config;
}

// The batches of epochs, one after the other.
std::vector<Batch> Deal(Batches& batches, int epochs) {
  std::vector<Batch> dealt;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    batches.StartEpoch();
    while (batches.More()) dealt.push_back(batches.Next());
  }
  return dealt;
}

void ExpectSame(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i].x.equal(b[i].x)) << i;
    EXPECT_TRUE(a[i].y.equal(b[i].y)) << i;
  }
}

TEST(Batches, AreTheSameForAnyNumberOfWorkers) {
  const Samples samples(std::make_shared<NumberedImages>());
  for (const char* const table :
       {"{}", "{flip = 0.5, crop = 1}", "{cutout = 2, mixup = 0.4, cutmix = 1}"}) {
    Batches alone(samples, ConfigOf(8), MakeAugmenter(table));
    const std::vector<Batch> expected = Deal(alone, 3);
    ASSERT_EQ(expected.size(), 3U * 7);
    EXPECT_EQ(expected.back().size(), kImages % 8);
    for (const int64_t workers : {1, 3}) {
      Batches batches(samples, ConfigOf(8), MakeAugmenter(table), workers);
      ExpectSame(Deal(batches, 3), expected);
    }
  }
}

TEST(Batches, WhatHappensToASampleDoesNotDependOnItsBatch) {
  const Samples samples(std::make_shared<NumberedImages>());
  const auto all = [&](int64_t size, int64_t workers) {
    Batches batches(samples, ConfigOf(size, false), MakeAugmenter("{flip = 0.5, crop = 2}"),
                    workers);
    std::vector<Tensor> x;
    for (const Batch& batch : Deal(batches, 2)) x.push_back(batch.x);
    return at::cat(x);
  };
  const Tensor expected = all(53, 0);
  EXPECT_FALSE(expected.narrow(0, 0, kImages).equal(expected.narrow(0, kImages, kImages)));
  EXPECT_TRUE(all(1, 0).equal(expected));
  EXPECT_TRUE(all(7, 1).equal(expected));
  EXPECT_TRUE(all(16, 3).equal(expected));
}

TEST(Batches, GoOnFromTheirStateWithAnyNumberOfWorkers) {
  const Samples samples(std::make_shared<NumberedImages>());
  const Augmenter augmenter = MakeAugmenter("{flip = 0.5, crop = 1, mixup = 0.3}");
  Batches whole(samples, ConfigOf(8), augmenter);
  const std::vector<Batch> expected = Deal(whole, 3);
  std::vector<Batch> dealt;
  std::optional<StateTree> state;
  // Each part goes some way into what comes after its state was taken.
  for (const int64_t workers : {2, 0, 1, 3, 1, 2}) {
    Batches part(samples, ConfigOf(8), augmenter, workers);
    // It has prepared others before it is loaded.
    part.StartEpoch();
    part.Next();
    Batches fresh(samples, ConfigOf(8), augmenter);
    if (!state) state = StateOf(fresh);
    LoadInto(part, *state);
    EXPECT_EQ(FirstDifference(StateOf(part), *state), "");
    const auto next = [&] {
      if (dealt.empty() || !part.More()) part.StartEpoch();
      return part.Next();
    };
    for (int i = 0; i < 3; ++i) dealt.push_back(next());
    state = StateOf(part);
    if (part.More()) part.Next();
  }
  ExpectSame(dealt, {expected.begin(), expected.begin() + 18});
}

TEST(Batches, AnEpochThatIsLeftLeavesNothingBehind) {
  const Samples samples(std::make_shared<NumberedImages>());
  Batches alone(samples, ConfigOf(8), MakeAugmenter("{crop = 1}"));
  Batches ahead(samples, ConfigOf(8), MakeAugmenter("{crop = 1}"), 2);
  for (Batches* const batches : {&alone, &ahead}) {
    batches->StartEpoch();
    batches->Next();
  }
  ExpectSame(Deal(ahead, 2), Deal(alone, 2));
}

TEST(Batches, AnErrorComesWithItsBatch) {
  for (const int64_t workers : {0, 1, 3}) {
    const Samples samples(std::make_shared<NumberedImages>(20));
    Batches batches(samples, ConfigOf(8, false), {}, workers);
    batches.StartEpoch();
    EXPECT_EQ(batches.Next().size(), 8);
    EXPECT_EQ(batches.Next().size(), 8);
    EXPECT_EQ(kudari::testing::ErrorOf([&] { batches.Next(); }), "image 20 is damaged");
    EXPECT_EQ(kudari::testing::ErrorOf([&] { batches.Next(); }), "image 24 is damaged");
  }
}

TEST(Batches, FewArePreparedAhead) {
  for (const int64_t workers : {1, 3}) {
    const auto source = std::make_shared<NumberedImages>();
    {
      Batches batches(Samples(source), ConfigOf(1), {}, workers);
      batches.StartEpoch();
      EXPECT_EQ(source->made, 0);
      for (int i = 0; i < 5; ++i) batches.Next();
    }
    EXPECT_GE(source->made, 5);
    EXPECT_LE(source->made, 5 + 2 * workers);
  }
}

TEST(Batches, WorkersLeaveTheTrainersThreadsAlone) {
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  Batches batches(Samples(std::make_shared<NumberedImages>()), ConfigOf(8), {}, 2);
  Deal(batches, 2);
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(threads);
}

TEST(Batches, MixedLabelsAreProbabilitiesOfTwoClasses) {
  const Samples samples(std::make_shared<NumberedImages>());
  for (const char* const table : {"{mixup = 0.4}", "{cutmix = 1}", "{mixup = 1, cutmix = 1}"}) {
    Batches batches(samples, ConfigOf(8, false), MakeAugmenter(table));
    bool mixed = false;
    int64_t first = 0;
    for (const Batch& batch : Deal(batches, 1)) {
      ASSERT_EQ(batch.y.sizes(), (std::vector<int64_t>{batch.size(), kClasses}));
      EXPECT_EQ(batch.y.scalar_type(), at::kFloat);
      EXPECT_TRUE(at::allclose(batch.y.sum(1), at::ones({batch.size()})));
      // Mixup keeps the same share of each sample, and so does CutMix.
      const double share = batch.y[0][first % kClasses].item<double>();
      mixed = mixed || (share > 0.01 && share < 0.99);
      first += batch.size();
    }
    EXPECT_TRUE(mixed) << table;
  }
}

TEST(Batches, WorkersAreThereWhereThereIsWorkForThem) {
  const Samples files(std::make_shared<NumberedImages>());
  const Samples memory(at::zeros({3, 2}), at::zeros({3}, at::kLong));
  const int64_t few = std::thread::hardware_concurrency() > 1 ? 1 : 0;
  TrainConfig config;
  EXPECT_EQ(WorkersFor(config, memory, {}), 0);
  EXPECT_EQ(WorkersFor(config, memory.First(2), {}), 0);
  EXPECT_EQ(WorkersFor(config, memory, MakeAugmenter("{flip = 1}")), few);
  EXPECT_EQ(WorkersFor(config, files, {}), few);
  EXPECT_EQ(WorkersFor(config, files.First(2), {}), few);
  config.workers = 5;
  EXPECT_EQ(WorkersFor(config, memory, {}), 5);
  config.workers = 0;
  EXPECT_EQ(WorkersFor(config, files, {}), 0);
}

class AugmentedTraining : public TrainFixture {
 protected:
  // What a run logs, without the time.
  std::vector<nlohmann::json> Log(std::vector<std::string> sets) {
    Go(Options(std::move(sets)));
    return WithoutTime(Metrics());
  }
};

// Perturbed passes see the batch of the plain one, whatever was prepared in the meantime.
TEST_F(AugmentedTraining, RunsAreTheSameForAnyNumberOfWorkers) {
  for (const std::string& more :
       {std::string("optimizer.source=sam"), std::string("optimizer.accumulate=2"),
        std::string("train.label_smoothing=0.1"), std::string("train.loss=mse")}) {
    const std::vector<std::string> sets = {"augment={flip=0.5, crop=1, mixup=0.4, cutmix=1}", more};
    const auto with = [&](const std::string& workers) {
      std::vector<std::string> all = sets;
      all.push_back("train.workers=" + workers);
      return Log(all);
    };
    const auto alone = with("0");
    EXPECT_EQ(with("1"), alone) << more;
    EXPECT_EQ(with("3"), alone) << more;
    EXPECT_EQ(with("-1"), alone) << more;
    EXPECT_NE(Log({more}), alone) << more;
  }
}

TEST_F(AugmentedTraining, TheHessianIsEstimatedFromMixedLabels) {
  for (const char* const rule : {"sophia", "sophia_h"}) {
    const RunState run = Go(Options({std::string("optimizer.rule=") + rule, "hessian.every=2",
                                     "augment={flip=0.5, mixup=0.4}"}));
    EXPECT_EQ(run.stopped, "reached the end") << rule;
    EXPECT_TRUE(std::isfinite(run.test.loss)) << rule;
  }
}

TEST_F(AugmentedTraining, NothingIsEvaluatedWithIt) {
  // Without a learning rate the weights, and what is measured, are those of a run without it.
  const auto scores = [&](const std::string& augment) {
    std::vector<nlohmann::json> evaluations;
    for (const nlohmann::json& line :
         Log({"optimizer.lr=0", "optimizer.weight_decay=0", "augment=" + augment})) {
      if (line.contains("val_loss"))
        evaluations.push_back({line["val_loss"], line["val_accuracy"]});
    }
    return evaluations;
  };
  const auto plain = scores("{}");
  EXPECT_EQ(plain.size(), 2U);
  EXPECT_EQ(scores("{cutout=4, mixup=1}"), plain);
}

TEST_F(AugmentedTraining, WhatDoesNotFitIsAnError) {
  EXPECT_EQ(MessageOf(Options({"augment.crop=4"})),
            "augment.crop = 4 is outside [0, 3] for images of 4 by 4 pixels");
  EXPECT_THAT(MessageOf(Options({"augment.randaugment.n=1"})),
              HasSubstr("augment.randaugment needs images whose brightness is known"));
  EXPECT_THAT(MessageOf(Options({"train.workers=65"})),
              HasSubstr("train.workers: 65 is outside [-1, 64]"));
}

}  // namespace batches_test
}  // namespace kudari::lab
