#include "lab/train/image_predictor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "kudari/error.h"
#include "lab/models/parts/generator.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

// Why a run says nothing of pictures, and what it is good for; "" if it does.
std::string Unfit(const TrainedModel& run) {
  const DataShape& shape = run.card.shape;
  const std::string& model = run.recipe.model.name();
  if (shape.acts) {
    return fmt::format("\"{}\" is a policy for the environment {}", model, run.card.name);
  }
  if (shape.next_token) {
    return fmt::format("\"{}\" is a language model, for kudari generate", model);
  }
  if (shape.vocabulary > 0) return fmt::format("the samples of {} are texts", run.card.name);
  if (dynamic_cast<const Generator*>(run.model.get()) != nullptr) {
    return fmt::format("\"{}\" makes samples, by kudari generate", model);
  }
  if (shape.sample.size() != 3) {
    return fmt::format("the samples of {} are numbers of the shape [{}], not images", run.card.name,
                       fmt::join(shape.sample, ", "));
  }
  if (!run.card.input.Known()) {
    return fmt::format("its weights do not say what is black and what is white in the images of {}",
                       run.card.name);
  }
  return "";
}

}  // namespace

ImagePredictor::ImagePredictor(const std::filesystem::path& run) : run_(LoadRun(run)) {
  const std::string unfit = Unfit(run_);
  if (!unfit.empty()) throw Error(fmt::format("{}: cannot predict: {}", run.string(), unfit));
  finder_ = dynamic_cast<BoxFinder*>(run_.model.get());
}

Tensor ImagePredictor::Input(const Image& image) const {
  const std::vector<int64_t>& shape = run_.card.shape.sample;
  Tensor x = ::torch::empty({1, shape[0], shape[1], shape[2]});
  run_.card.input.Read(image, {x.data_ptr<float>(), static_cast<size_t>(x.numel())});
  return x;
}

Tensor ImagePredictor::Outputs(const Image& image) {
  const ::torch::NoGradGuard no_grad;
  return run_.model->forward(Input(image)).squeeze(0);
}

std::vector<ClassScore> ImagePredictor::Classes(const Image& image) {
  const std::string& loss = run_.recipe.train.loss;
  Tensor scores = Outputs(image).to(at::kDouble);
  if (loss == "auto" || loss == "cross_entropy") scores = scores.softmax(0);
  if (loss == "bce_with_logits") scores = scores.sigmoid();
  std::vector<ClassScore> classes;
  for (int64_t i = 0; i < scores.size(0); ++i) classes.push_back({i, scores[i].item<double>()});
  std::ranges::stable_sort(classes, std::ranges::greater(), &ClassScore::score);
  return classes;
}

std::vector<ObjectBox> ImagePredictor::Boxes(const Image& image, double threshold) {
  const ::torch::NoGradGuard no_grad;
  std::vector<ObjectBox> boxes = finder_->Find(Input(image), threshold).front();
  const auto pixels = [](double share, int64_t side) {
    return std::clamp(share, 0.0, 1.0) * static_cast<double>(side);
  };
  for (ObjectBox& box : boxes) {
    box.left = pixels(box.left, image.width);
    box.right = pixels(box.right, image.width);
    box.top = pixels(box.top, image.height);
    box.bottom = pixels(box.bottom, image.height);
  }
  return boxes;
}

}  // namespace kudari::lab
