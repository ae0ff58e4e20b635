#include "lab/data/parts/augment.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/rand_augment.h"

namespace kudari::lab {
namespace {

constexpr int kAttempts = 10;
constexpr double kErasedLeast = 0.02, kErasedMost = 0.33;
constexpr double kErasedNarrow = 0.3, kErasedWide = 3.3;

int64_t Rounded(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

// The first option that needs an image; none is "".
std::string NeedingImages(const AugmentConfig& c) {
  if (c.flip > 0) return "flip";
  if (c.crop > 0) return "crop";
  if (c.resized_crop.min_scale < 1) return "resized_crop";
  if (c.cutout > 0) return "cutout";
  if (c.random_erasing > 0) return "random_erasing";
  if (c.randaugment.n > 0) return "randaugment";
  return c.cutmix > 0 ? "cutmix" : "";
}

void CheckOrder(const char* what, double least, double most) {
  if (least <= most) return;
  throw Error(std::string("augment.resized_crop.min_") + what + " = " + NumberText(least) +
              " is above augment.resized_crop.max_" + what + " = " + NumberText(most));
}

void CheckRanges(const AugmentConfig& c, const ImageShape& shape) {
  if (c.crop > 0 && c.resized_crop.min_scale < 1) {
    throw Error("augment.crop and augment.resized_crop exclude each other");
  }
  const int64_t side = std::min(shape.height, shape.width);
  for (const auto& [name, value, most] :
       {std::tuple{"crop", c.crop, side - 1}, {"cutout", c.cutout, side}}) {
    if (value <= most) continue;
    throw Error(std::string("augment.") + name + " = " + std::to_string(value) +
                " is outside [0, " + std::to_string(most) + "] for images of " +
                std::to_string(shape.height) + " by " + std::to_string(shape.width) + " pixels");
  }
}

void CheckMixing(const AugmentConfig& c, const Dataset& data) {
  if (c.mixup == 0 && c.cutmix == 0) return;
  const std::string key = c.mixup > 0 ? "augment.mixup" : "augment.cutmix";
  if (data.vocabulary > 0) {
    throw Error(key + " needs numbers to mix; the data set " + data.name + " has tokens");
  }
  if (data.classes == 0) {
    throw Error(key + " needs classes; the data set " + data.name + " has other targets");
  }
}

void CheckBytes(const Dataset& data) {
  if (data.brightest == 0) {
    throw Error("augment.randaugment needs images whose brightness is known; the data set " +
                data.name + " does not say what white is");
  }
  if (data.shape[0] == 1 || data.shape[0] == 3) return;
  throw Error("augment.randaugment needs images with 1 or 3 channels; the data set " + data.name +
              " has " + std::to_string(data.shape[0]));
}

}  // namespace

Region DrawResizedCrop(const ResizedCropConfig& config, const ImageShape& shape, Draws& draws) {
  const auto height = static_cast<double>(shape.height), width = static_cast<double>(shape.width);
  for (int i = 0; i < kAttempts; ++i) {
    const double area = height * width * draws.Uniform(config.min_scale, config.max_scale);
    const double ratio =
        std::exp(draws.Uniform(std::log(config.min_ratio), std::log(config.max_ratio)));
    const int64_t w = Rounded(std::sqrt(area * ratio)), h = Rounded(std::sqrt(area / ratio));
    if (w < 1 || w > shape.width || h < 1 || h > shape.height) continue;
    const int64_t top = draws.Below(shape.height - h + 1);
    return {top, draws.Below(shape.width - w + 1), h, w};
  }
  const double ratio = std::clamp(width / height, config.min_ratio, config.max_ratio);
  const int64_t w = std::clamp<int64_t>(Rounded(height * ratio), 1, shape.width);
  const int64_t h = std::clamp<int64_t>(Rounded(width / ratio), 1, shape.height);
  return {(shape.height - h) / 2, (shape.width - w) / 2, h, w};
}

Region DrawErasing(const ImageShape& shape, Draws& draws) {
  for (int i = 0; i < kAttempts; ++i) {
    const double area =
        static_cast<double>(shape.area()) * draws.Uniform(kErasedLeast, kErasedMost);
    const double ratio = std::exp(draws.Uniform(std::log(kErasedNarrow), std::log(kErasedWide)));
    const int64_t h = Rounded(std::sqrt(area * ratio)), w = Rounded(std::sqrt(area / ratio));
    if (h >= shape.height || w >= shape.width) continue;
    const int64_t top = draws.Below(shape.height - h + 1);
    return {top, draws.Below(shape.width - w + 1), h, w};
  }
  return {};
}

Region DrawCutMix(const ImageShape& shape, double share, Draws& draws) {
  const int64_t x = draws.Below(shape.width), y = draws.Below(shape.height);
  const double part = 0.5 * std::sqrt(1 - share);
  const auto half_width = static_cast<int64_t>(part * static_cast<double>(shape.width));
  const auto half_height = static_cast<int64_t>(part * static_cast<double>(shape.height));
  const int64_t left = std::max<int64_t>(x - half_width, 0);
  const int64_t top = std::max<int64_t>(y - half_height, 0);
  return {top, left, std::min(y + half_height, shape.height) - top,
          std::min(x + half_width, shape.width) - left};
}

Augmenter::Augmenter(const AugmentConfig& config, const Dataset& data, uint64_t seed)
    : config_(config), seed_(seed), classes_(data.classes) {
  CheckOrder("scale", config.resized_crop.min_scale, config.resized_crop.max_scale);
  CheckOrder("ratio", config.resized_crop.min_ratio, config.resized_crop.max_ratio);
  CheckMixing(config, data);
  const bool images = data.vocabulary == 0 && data.shape.size() == 3;
  const std::string key = NeedingImages(config);
  active_ = mixes() || !key.empty();
  if (!images && !key.empty()) {
    throw Error("augment." + key + " needs images; a sample of the data set " + data.name + " is " +
                (data.vocabulary > 0 ? "a text" : "of the shape " + ShapeText(data.shape)));
  }
  if (data.boxes > 0 && !key.empty()) {
    throw Error("augment." + key + ": the boxes of the data set " + data.name +
                " do not change with its images");
  }
  if (!images) return;
  shape_ = {data.shape[0], data.shape[1], data.shape[2]};
  CheckRanges(config, shape_);
  if (config.randaugment.n > 0) CheckBytes(data);
  brightest_ = data.brightest;
  scales_ = data.scales;
  black_.resize(static_cast<size_t>(shape_.channels));
  for (size_t c = 0; c < scales_.size(); ++c) black_[c] = scales_[c].Scaled(0);
}

Draws Augmenter::DrawsFor(Purpose purpose, int64_t epoch, int64_t sample) const {
  return Draws({seed_, static_cast<uint64_t>(epoch), static_cast<uint64_t>(sample),
                static_cast<uint64_t>(purpose)});
}

void Augmenter::Change(int64_t epoch, int64_t sample, std::span<float> x) const {
  const auto draws = [&](Purpose purpose) { return DrawsFor(purpose, epoch, sample); };
  if (config_.resized_crop.min_scale < 1) {
    Draws crop = draws(Purpose::kResizedCrop);
    EnlargeBox(shape_, DrawResizedCrop(config_.resized_crop, shape_, crop), x);
  }
  if (config_.crop > 0) {
    Draws crop = draws(Purpose::kCrop);
    const int64_t top = crop.Below(2 * config_.crop + 1) - config_.crop;
    CropShifted(shape_, top, crop.Below(2 * config_.crop + 1) - config_.crop, black_, x);
  }
  if (config_.flip > 0 && draws(Purpose::kFlip).Happens(config_.flip)) FlipHorizontally(shape_, x);
  if (config_.randaugment.n > 0) ChangeBytes(draws(Purpose::kRandAugment), x);
  if (config_.cutout > 0) {
    Draws cutout = draws(Purpose::kCutout);
    const int64_t side = config_.cutout, top = cutout.Below(shape_.height) - side / 2;
    FillBox(shape_, {top, cutout.Below(shape_.width) - side / 2, side, side}, 0, x);
  }
  if (config_.random_erasing > 0) {
    Draws erasing = draws(Purpose::kErasing);
    if (erasing.Happens(config_.random_erasing)) {
      FillBox(shape_, DrawErasing(shape_, erasing), 0, x);
    }
  }
}

template <class Visit>
void Augmenter::ForChannels(size_t size, const Visit& visit) const {
  const auto area = static_cast<size_t>(shape_.area());
  for (size_t start = 0; start < size; start += area) {
    const ChannelScale scale = scales_.empty() ? ChannelScale() : scales_[start / area];
    for (size_t i = start; i < start + area; ++i) visit(scale, i);
  }
}

// Bytes of 0 to 255, whatever white is in the data.
void Augmenter::ChangeBytes(Draws draws, std::span<float> x) const {
  const double unit = 255 / brightest_;
  std::vector<uint8_t> bytes(x.size());
  ForChannels(x.size(), [&](const ChannelScale& scale, size_t i) {
    const double value = scale.Unscaled(x[i]) * unit;
    bytes[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(value), 0.0, 255.0));
  });
  bool changed = false;
  for (int64_t i = 0; i < config_.randaugment.n; ++i) {
    const auto op = static_cast<ImageOp>(draws.Below(std::ssize(kImageOps)));
    const double magnitude = MagnitudeOf(op, config_.randaugment.magnitude, shape_);
    const bool negative = HasSign(op) && draws.Happens(0.5);
    Apply(op, negative ? -magnitude : magnitude, shape_, bytes);
    changed = changed || op != ImageOp::kIdentity;
  }
  if (!changed) return;
  ForChannels(x.size(),
              [&](const ChannelScale& scale, size_t i) { x[i] = scale.Scaled(bytes[i] / unit); });
}

double Augmenter::Mix(int64_t epoch, int64_t first, int64_t samples, std::span<float> x) const {
  Draws draws = DrawsFor(Purpose::kMix, epoch, first);
  const bool cutmix = config_.mixup == 0 || (config_.cutmix > 0 && draws.Happens(0.5));
  const double share = draws.Beta(cutmix ? config_.cutmix : config_.mixup);
  if (!cutmix) {
    MixSamples(samples, share, x);
    return share;
  }
  const Region box = DrawCutMix(shape_, share, draws);
  ExchangeBox(shape_, box, samples, x);
  return 1 - static_cast<double>(box.height * box.width) / static_cast<double>(shape_.area());
}

}  // namespace kudari::lab
