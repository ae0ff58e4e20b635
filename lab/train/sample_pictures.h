#ifndef KUDARI_LAB_TRAIN_SAMPLE_PICTURES_H_
#define KUDARI_LAB_TRAIN_SAMPLE_PICTURES_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "lab/data/parts/image_input.h"
#include "lab/models/parts/generator.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// The number of images in a grid unless another one is asked for.
inline constexpr int64_t kSampleCount = 64;

/// A grid, as a PNG, of images that a generator makes from the random numbers of a seed. `images`
/// says what its samples are, and must be Known().
std::string SampleGrid(Generator& generator, const ImageInput& images, int64_t count,
                       uint64_t seed);

/// Keeps a picture of what the model of a run makes, if it makes images: SampleGrid with the same
/// seed, 1, at each evaluation and in the end, so that pictures show how the same images change.
class SamplePictures : public TrainObserver {
 public:
  /// `file` is in the run's folder, and is overwritten each time.
  SamplePictures(Session& session, std::filesystem::path file);

  /// Whether there is something to draw.
  bool draws() const { return generator_ != nullptr; }

  void OnShown(const ShownEvent& event) override;
  void OnEnd(const EndEvent& event) override;

 private:
  void Draw(Session& session) const;

  std::filesystem::path file_;
  ImageInput images_;
  Generator* generator_ = nullptr;  // the model, if it makes images
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SAMPLE_PICTURES_H_
