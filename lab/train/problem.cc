#include "lab/train/problem.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "lab/train/weights.h"

namespace kudari::lab {
namespace {

// The model before its first step, but for the type of its weights.
std::shared_ptr<Model> FreshModel(const Recipe& recipe, const Dataset& data) {
  const TrainConfig& train = recipe.train;
  ::torch::manual_seed(static_cast<uint64_t>(train.seed));
  std::shared_ptr<Model> model = MakeModel(recipe.model, data.Shape());
  static const int kAll = at::get_num_threads();
  at::set_num_threads(ThreadsFor(train, model->ParameterCount(), kAll));
  SpoilWeights(recipe.fault, *model);
  return model;
}

}  // namespace

int ThreadsFor(const TrainConfig& train, int64_t parameters, int all) {
  constexpr int64_t kWorthwhile = int64_t{1} << 22;  // products of a linear model in a step
  if (train.threads > 0) return static_cast<int>(train.threads);
  return parameters < kWorthwhile / train.batch_size ? 1 : all;
}

Problem::Problem(Recipe recipe)
    : recipe_(std::move(recipe)),
      data_(LoadTrainingData(recipe_)),
      training_(ToSamples(data_.train, data_)),
      validation_(ToSamples(data_.validation, data_)),
      test_(ToSamples(data_.test, data_)),
      augmenter_(recipe_.augment, data_, static_cast<uint64_t>(recipe_.train.seed)),
      loss_(ChooseLoss(recipe_.train, data_)),
      compute_(ComputeOf(recipe_.train)),
      model_(FreshModel(recipe_, data_)),
      faults_(recipe_.fault, *model_) {
  model_->StoreWeights(compute_.weights);
  if (!recipe_.train.init.empty()) LoadWeights(*model_, recipe_.train.init);
}

RunLength Problem::length() const {
  const TrainConfig& train = recipe_.train;
  const auto groups = [](int64_t whole, int64_t size) { return (whole + size - 1) / size; };
  const int64_t epoch =
      groups(groups(training_.size(), train.batch_size), recipe_.optimizer.accumulate);
  int64_t steps = train.epochs == 0 ? train.steps : train.epochs * epoch;
  if (train.steps > 0) steps = std::min(steps, train.steps);
  return {steps, static_cast<double>(epoch)};
}

}  // namespace kudari::lab
