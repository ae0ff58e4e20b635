#include "lab/train/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kudari/error.h"
#include "lab/models/parts/frechet.h"
#include "lab/train/classifier_features.h"
#include "lab/train/rollouts.h"
#include "lab/train/weights.h"

namespace kudari::lab {
namespace {

// The samples of one of the data's splits, or what an environment has instead.
Samples SamplesOf(Split& split, const Dataset& data, const TrainConfig& train) {
  if (!data.environment) return ToSamples(split, data);
  const auto seed = static_cast<uint64_t>(train.seed);
  if (&split == &data.train) return Samples(Rollouts(data.environment, seed));
  if (split.samples == 0) return {};
  return Samples(Episodes(data.environment, seed + (&split == &data.test ? 2 : 1)));
}

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

// Has the model judged by the outputs of train.classifier.
void JudgeByClassifier(const Recipe& recipe, const Dataset& data, Model& model) {
  if (recipe.train.classifier.empty()) return;
  auto* const judged = dynamic_cast<JudgedByFeatures*>(&model);
  if (judged == nullptr) {
    throw Error(
        fmt::format("train.classifier has no effect: model.name = \"{}\" has no frechet_distance",
                    recipe.model.name()));
  }
  judged->SetFeatures(ClassifierFeatures(recipe.train.classifier, data));
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
      training_(SamplesOf(data_.train, data_, recipe_.train)),
      validation_(SamplesOf(data_.validation, data_, recipe_.train)),
      test_(SamplesOf(data_.test, data_, recipe_.train)),
      augmenter_(recipe_.augment, data_, static_cast<uint64_t>(recipe_.train.seed)),
      loss_(ChooseLoss(recipe_.train, data_)),
      compute_(ComputeOf(recipe_.train)),
      traits_(TraitsOf(recipe_.model)),
      model_(FreshModel(recipe_, data_)),
      faults_(recipe_.fault, *model_) {
  if (data_.environment && (compute_.weights != at::kFloat || compute_.autocast)) {
    throw Error(
        fmt::format("train.precision and train.weights must be \"f32\" for the environment "
                    "{}",
                    data_.name));
  }
  const TrainConfig& given = recipe_.train;
  if (traits_.own_loss && (given.loss != "auto" || given.label_smoothing > 0)) {
    throw Error(fmt::format("train.{} has no effect: model.name = \"{}\" has a loss of its own",
                            given.loss != "auto" ? "loss" : "label_smoothing",
                            recipe_.model.name()));
  }
  if (data_.environment && recipe_.train.workers > 0) {
    throw Error(
        fmt::format("train.workers = {} must be 0 for the environment {}, which is stepped "
                    "between epochs",
                    recipe_.train.workers, data_.name));
  }
  JudgeByClassifier(recipe_, data_, *model_);
  model_->StoreWeights(compute_.weights);
  training_.Attach(*model_);
  const TrainConfig& train = recipe_.train;
  if (!train.init.empty()) {
    LoadWeights(*model_, train.init, train.init_skip);
  } else if (!train.init_skip.empty()) {
    throw Error("train.init_skip: needs train.init, the file of which it skips a part");
  }
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
