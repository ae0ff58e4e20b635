#ifndef KUDARI_LAB_TRAIN_IMAGE_PREDICTOR_H_
#define KUDARI_LAB_TRAIN_IMAGE_PREDICTOR_H_

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "lab/files/decode_image.h"
#include "lab/models/parts/box_finder.h"
#include "lab/train/trained_model.h"

namespace kudari::lab {

/// A class and how probable it is.
struct ClassScore {
  int64_t label = 0;
  double score = 0;
};

/// The model of a run, asked about pictures, which become what its training samples were.
class ImagePredictor {
 public:
  /// Throws Error as LoadRun, and for a run whose model does not say what is in an image.
  explicit ImagePredictor(const std::filesystem::path& run);

  const Recipe& recipe() const { return run_.recipe; }
  const DataCard& card() const { return run_.card; }
  /// Whether it finds boxes, rather than a class.
  bool finds_boxes() const { return finder_ != nullptr; }

  /// A batch of one, as the model takes it.
  at::Tensor Input(const Image& image) const;
  /// What the model gives for a class each, before it is made a probability.
  at::Tensor Outputs(const Image& image);
  /// All classes, the most probable first. Their scores add up to 1 if the loss was cross_entropy;
  /// otherwise each is a probability by itself or, for losses of differences, the output.
  std::vector<ClassScore> Classes(const Image& image);
  /// The boxes that are at least as sure as the threshold, within the picture and in its pixels.
  std::vector<ObjectBox> Boxes(const Image& image, double threshold);

 private:
  TrainedModel run_;
  BoxFinder* finder_ = nullptr;  // the model, if it is one
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_IMAGE_PREDICTOR_H_
