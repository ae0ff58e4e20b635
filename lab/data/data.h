#ifndef KUDARI_LAB_DATA_DATA_H_
#define KUDARI_LAB_DATA_DATA_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// The tokens of a text one after the other, in memory or in a file.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  virtual int64_t size() const = 0;
  /// Copies the tokens from `begin` on; all of them must be there.
  virtual void Read(int64_t begin, std::span<int64_t> to) const = 0;
};

/// Fills in the values of a sample that stays on disk, which is known to it by a number. May be
/// called by several threads at once; throws Error naming a file that cannot be read.
using SampleReader = std::function<void(int64_t row, std::span<float> values)>;

/// Samples one after the other: x holds their values, or `read` gets them, or `tokens` and `begins`
/// say where each is in a text; either labels or targets hold what is to be learned, if that is not
/// the next token.
struct Split {
  std::vector<float> x = {};
  SampleReader read = {};
  std::vector<int64_t> rows = {};  ///< the number of each sample for `read`
  std::shared_ptr<const TokenStream> tokens = {};
  std::vector<int64_t> begins = {};  ///< the first token of each sample
  std::vector<int64_t> labels = {};  ///< classes from 0, one a sample
  std::vector<float> targets = {};   ///< regression: Dataset::target_size values a sample
  int64_t samples = 0;

  int64_t Size() const { return samples; }
};

/// How the values of a channel were scaled.
struct ChannelScale {
  double mean = 0, deviation = 1;

  float Scaled(double value) const { return static_cast<float>((value - mean) / deviation); }
  double Unscaled(float x) const { return x * deviation + mean; }
};

struct EnvironmentData;

/// A data set in memory, in files or, for policies, an environment to act in.
struct Dataset {
  std::string name;
  std::vector<int64_t> shape = {};  ///< of one sample; of an image {channels, height, width}
  int64_t classes = 0;              ///< 0: regression
  int64_t target_size = 0;          ///< values a sample in regression, else 0
  /// Above 0: samples are tokens below this, shape[0] of them.
  int64_t vocabulary = 0;
  int64_t separator = 0;  ///< the token that ends each text of a sample; 0: none does
  /// Each token of a sample is to predict the next one; then classes is vocabulary.
  bool next_token = false;
  std::vector<ChannelScale> scales = {};  ///< of an image's channels; empty: values as they were
  double brightest = 0;  ///< what white was in an image before it was scaled, 0 black; 0: unknown
  int64_t shorter = 0;   ///< of images from files: see ImageInput
  std::vector<std::string> class_names = {};  ///< also of boxes' classes; empty: they have numbers
  double bytes_per_token = 0;  ///< of the text that is to be predicted, on average; 0: unknown
  std::vector<std::string> symbols = {};  ///< the text of each token, if it is known
  /// Above 0: targets are this many boxes of five values, see lab/data/shapes.cc.
  int64_t boxes = 0, box_classes = 0;
  float low = -1, high = 1;  ///< range of the training samples' numbers
  /// For policies, instead of samples; then a split has as many "samples" as there are steps
  /// between two rounds of training or, for validation and test, episodes.
  std::shared_ptr<const EnvironmentData> environment = {};
  std::vector<std::string> skipped = {};  ///< files that are left out, and why
  Split train = {}, validation = {}, test = {};

  /// What a model has to give for a sample: a score a class, or a value a target.
  int64_t Outputs() const { return classes > 0 ? classes : target_size; }
  /// What it is to a model.
  DataShape Shape() const {
    return {.sample = shape,
            .outputs = Outputs(),
            .vocabulary = vocabulary,
            .separator = separator,
            .next_token = next_token,
            .boxes = boxes,
            .box_classes = box_classes,
            .acts = environment != nullptr,
            .discrete = classes > 0,
            .low = low,
            .high = high};
  }
};

/// The names that LoadData knows: those of lab/data, a file each.
std::vector<std::string> DataNames();

/// Loads a data set by name. `path` is a folder or file of the user's, or empty to look in the
/// usual places: $KUDARI_DATA, then where the set-up puts it. `validation` is the share in [0, 1)
/// that is held out of training, drawn with `seed` and with the same share of every class. Images
/// are scaled to mean 0 and deviation 1 a channel, as measured on the training samples.
///
/// Throws Error for an unknown name, for data that is not found, saying what to do, and for files
/// that are damaged, naming them.
Dataset LoadData(std::string_view name, const std::filesystem::path& path, uint64_t seed,
                 double validation);

/// Reduces the training samples to `samples` of them, 0 for all, drawn with `seed` alone and in
/// their order; they stay scaled as all of them were. Throws Error if there are fewer.
void KeepSamples(Dataset& data, int64_t samples, uint64_t seed);

/// Replaces the labels of a share of the training samples, in [0, 1) and rounded to a number of
/// samples, by another class each: symmetric noise. Samples and classes depend on `seed` alone; all
/// samples, and all classes but the true one, are equally likely, so that the share is that of
/// wrong labels. (Were the true class drawn, too, it would be that times (classes - 1) / classes.)
/// Throws Error naming the option for a share outside the range and for data without classes.
void AddLabelNoise(Dataset& data, double share, uint64_t seed);

/// The data that a recipe asks for: LoadData, KeepSamples and AddLabelNoise with one seed.
Dataset LoadData(const DataConfig& config, uint64_t seed);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_DATA_H_
