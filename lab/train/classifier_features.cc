#include "lab/train/classifier_features.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "lab/models/parts/generator.h"
#include "lab/train/trained_model.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

// Why the run is no classifier of this data; "" if it is.
std::string Unfit(const TrainedModel& run, const Dataset& data) {
  const DataShape& shape = run.card.shape;
  if (dynamic_cast<const Generator*>(run.model.get()) != nullptr || shape.acts ||
      shape.next_token || shape.boxes > 0 || shape.outputs < 2 ||
      (run.recipe.train.loss != "auto" && run.recipe.train.loss != "cross_entropy")) {
    return fmt::format("\"{}\" is not a classifier trained with cross_entropy",
                       run.recipe.model.name());
  }
  if (run.card.name != data.name || shape.sample != data.shape) {
    return fmt::format("was trained on {} with samples of the shape [{}], not on {} with [{}]",
                       run.card.name, fmt::join(shape.sample, ", "), data.name,
                       fmt::join(data.shape, ", "));
  }
  if (run.card.input.scales.size() != data.scales.size()) {
    return "does not say how its images were scaled; train it again with this version";
  }
  return "";
}

// A value of every channel, [channels, 1, 1].
template <typename F>
Tensor OfChannels(const std::vector<ChannelScale>& scales, F value) {
  std::vector<double> values;
  for (const ChannelScale& scale : scales) values.push_back(value(scale));
  return ::torch::tensor(values, at::kFloat).view({-1, 1, 1});
}

}  // namespace

ImageFeatures ClassifierFeatures(const std::filesystem::path& run, const Dataset& data) {
  const TrainedModel trained = LoadRun(run);
  const std::string unfit = Unfit(trained, data);
  if (!unfit.empty()) {
    throw Error(fmt::format("train.classifier = {}: {}", run.string(), unfit));
  }
  auto probabilities = [model = trained.model](const Tensor& images) {
    return model->forward(images).to(at::kDouble).softmax(1);
  };
  if (data.scales.empty()) return probabilities;
  // The mean and deviation of the samples that either was trained on.
  const auto mean = [](const ChannelScale& scale) { return scale.mean; };
  const auto deviation = [](const ChannelScale& scale) { return scale.deviation; };
  const std::vector<ChannelScale>& then = trained.card.input.scales;
  const Tensor factor = OfChannels(data.scales, deviation) / OfChannels(then, deviation);
  const Tensor shift =
      (OfChannels(data.scales, mean) - OfChannels(then, mean)) / OfChannels(then, deviation);
  return [probabilities, factor, shift](const Tensor& images) {
    return probabilities(images * factor + shift);
  };
}

}  // namespace kudari::lab
