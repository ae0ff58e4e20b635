#ifndef KUDARI_LAB_DATA_PARTS_AUGMENT_H_
#define KUDARI_LAB_DATA_PARTS_AUGMENT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "lab/data/data.h"
#include "lab/data/parts/draws.h"
#include "lab/data/parts/image_ops.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The box that torchvision's RandomResizedCrop draws: after ten draws that do not fit, the largest
/// one in the middle with an aspect ratio in the range.
Region DrawResizedCrop(const ResizedCropConfig& config, const ImageShape& shape, Draws& draws);

/// The box that torchvision's RandomErasing draws, of 2 % to 33 % of the image and an aspect ratio
/// in [0.3, 3.3]; an empty one after ten draws that are not smaller than the image.
Region DrawErasing(const ImageShape& shape, Draws& draws);

/// The box that torchvision's v2.CutMix exchanges where images keep `share` of their pixels.
Region DrawCutMix(const ImageShape& shape, double share, Draws& draws);

/// Changes training samples at random, as a recipe's [augment] table says. What happens to a sample
/// depends on the seed, the epoch and the sample's number alone, and how a batch is mixed on those
/// of its first sample; each kind of change has draws of its own, so that none alters the others'.
/// A value that several threads may use at the same time.
class Augmenter {
 public:
  /// Changes nothing.
  Augmenter() = default;
  /// Throws Error naming the key if the data cannot be changed in such a way: what is not an image,
  /// has no classes to mix, is smaller than the change, or whose brightness is not known.
  Augmenter(const AugmentConfig& config, const Dataset& data, uint64_t seed);

  /// Whether it changes anything.
  bool active() const { return active_; }
  /// Whether it mixes samples, so that labels become probabilities.
  bool mixes() const { return config_.mixup > 0 || config_.cutmix > 0; }
  /// The classes of the data; 0 if there are none.
  int64_t classes() const { return classes_; }

  /// Changes a sample, in this order: resized_crop or crop, flip, randaugment, cutout, erasing.
  void Change(int64_t epoch, int64_t sample, std::span<float> x) const;
  /// Mixes `samples` samples, of which the first has the number `first`, each with the one before
  /// it; returns the share of itself that each keeps, which is also that of its label.
  double Mix(int64_t epoch, int64_t first, int64_t samples, std::span<float> x) const;

 private:
  enum class Purpose : uint64_t {
    kCrop = 1,
    kResizedCrop,
    kFlip,
    kRandAugment,
    kCutout,
    kErasing,
    kMix
  };

  Draws DrawsFor(Purpose purpose, int64_t epoch, int64_t sample) const;
  void ChangeBytes(Draws draws, std::span<float> x) const;
  // Visits `size` values of an image with the scale of their channel.
  template <class Visit>
  void ForChannels(size_t size, const Visit& visit) const;

  AugmentConfig config_;
  bool active_ = false;
  uint64_t seed_ = 0;
  ImageShape shape_;
  int64_t classes_ = 0;
  std::vector<ChannelScale> scales_;  // of each channel; empty if the data has none
  double brightest_ = 0;
  std::vector<float> black_;  // of each channel
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_AUGMENT_H_
