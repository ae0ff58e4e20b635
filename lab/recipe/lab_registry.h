#ifndef KUDARI_LAB_RECIPE_LAB_REGISTRY_H_
#define KUDARI_LAB_RECIPE_LAB_REGISTRY_H_

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/description.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace at {
class Tensor;
}  // namespace at

namespace kudari::internal {
class TableReader;
}  // namespace kudari::internal

namespace kudari::lab {

/// The options that one model, or one data set, has for itself: a struct with the table of its
/// members, see own_options.h. A value that is copied, compared, read and written without knowing
/// the struct.
class OwnOptions {
 public:
  /// The struct's values and what is done with them.
  struct Held {
    virtual ~Held() = default;
    virtual std::shared_ptr<const Held> Read(internal::TableReader& reader) const = 0;
    virtual std::string Lines() const = 0;
    virtual std::vector<OptionDescription> Describe() const = 0;
  };

  /// None.
  OwnOptions() = default;
  explicit OwnOptions(std::shared_ptr<const Held> held) : held_(std::move(held)) {}
  const Held* held() const { return held_.get(); }

  /// Takes those that the reader's table has, with errors that name them and their ranges.
  void Read(internal::TableReader& reader);
  /// "name = value", a line each, as TOML.
  std::string Lines() const;
  /// In words, with the present values as defaults.
  std::vector<OptionDescription> Describe() const;

  friend bool operator==(const OwnOptions& a, const OwnOptions& b) {
    return a.Lines() == b.Lines();
  }

 private:
  std::shared_ptr<const Held> held_;
};

/// An entry of a registry with values for its options.
template <class Entry>
struct Chosen {
  std::shared_ptr<const Entry> entry;
  OwnOptions options;

  const std::string& name() const { return entry->name; }

  friend bool operator==(const Chosen& a, const Chosen& b) {
    return a.name() == b.name() && a.options == b.options;
  }
};

/// Entries by name: a value, copied to add entries of one's own.
template <class Entry>
class EntryList {
 public:
  /// `key` is where recipes name one of them, "model.name".
  explicit EntryList(std::string_view key) : key_(key) {}

  /// Throws Error if the name is taken.
  void Add(Entry entry) {
    if (Has(entry.name)) throw Error(key_ + " = " + Quoted(entry.name) + " is already taken");
    entries_.push_back(std::make_shared<const Entry>(std::move(entry)));
  }
  /// The entry with its options as they are at first. Throws Error with the nearest name.
  Chosen<Entry> Find(std::string_view name) const {
    const auto entry = Get(name);
    return {entry, entry->options};
  }
  /// The entry itself. Throws Error with the nearest name.
  std::shared_ptr<const Entry> Get(std::string_view name) const {
    for (const auto& entry : entries_) {
      if (entry->name == name) return entry;
    }
    throw Error(key_ + ": unknown name " + Quoted(name) + Suggest(name, Names()));
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : entries_) names.push_back(entry->name);
    return names;
  }
  const std::vector<std::shared_ptr<const Entry>>& entries() const { return entries_; }

 private:
  bool Has(std::string_view name) const {
    const auto same = [name](const auto& entry) { return entry->name == name; };
    return std::any_of(entries_.begin(), entries_.end(), same);
  }

  std::string key_;
  std::vector<std::shared_ptr<const Entry>> entries_;
};

class Model;
struct ModelEntry;
using ModelConfig = Chosen<ModelEntry>;

/// What a model does in training alone, or by batch, and what it is for.
struct ModelTraits {
  bool batch_norm = false, dropout = false;
  bool tokens = false;      ///< samples are tokens, not numbers
  bool next_token = false;  ///< it has an output for each token of a sample, not one for all
  bool boxes = false;       ///< it finds boxes in images
  bool acts = false;        ///< it is a policy that acts in an environment
  /// Its loss is its own, see Model::TrainingLoss, and not the recipe's train.loss.
  bool own_loss = false;
  /// Training changes what the loss means, so that it need not fall: the doctor has nothing to say.
  bool moving_loss = false;
  /// Names of the parts that have an optimiser each, [optimizer.NAME], and are stepped in this
  /// order: modules of the model with these names. None: [optimizer] is for the whole model.
  std::vector<std::string> parts = {};
};

/// The traits of a model with its options.
ModelTraits TraitsOf(const ModelConfig& config);

/// What data is to a model: what it is given, and what it has to give.
struct DataShape {
  std::vector<int64_t> sample = {};  ///< of an image {channels, height, width}, of a text {context}
  int64_t outputs = 0;               ///< scores or values, for a sample or for each of its tokens
  int64_t vocabulary = 0;            ///< above 0: a sample is tokens below this
  int64_t separator = 0;             ///< the token that ends each text of a sample; 0: none does
  bool next_token = false;           ///< there is an output for each token
  /// Above 0: at most this many boxes, of so many classes, are to be found in an image.
  int64_t boxes = 0, box_classes = 0;
  bool acts = false;         ///< outputs are actions in an environment
  bool discrete = true;      ///< of actions: they are numbered, and outputs are how many
  float low = -1, high = 1;  ///< range of the samples' numbers
};

/// A model that recipes may name.
struct ModelEntry {
  std::string name;
  std::string doc;                                             ///< what it is
  OwnOptions options = {};                                     ///< with their defaults
  std::function<ModelTraits(const ModelConfig&)> traits = {};  ///< absent: none
  /// Builds it with fresh weights from torch's generator, see MakeModel.
  using Builder = std::shared_ptr<Model>(const ModelConfig& config, const DataShape& data);
  std::function<Builder> build = {};  ///< absent in a program without LibTorch
};

/// `entry`, which is then built so.
ModelEntry Built(ModelEntry entry, ModelEntry::Builder* build);

/// A loss that recipes may name, as train.loss.
struct LossEntry {
  std::string name;
  std::string doc;  ///< what it is
  bool needs_classes = false;
  bool smooths_labels = false;  ///< has a use for train.label_smoothing
  /// The mean loss of outputs, [n, outputs], and what they should be: classes, [n] of int64, which
  /// only losses that need them get, or values as the outputs, for those losses probabilities of
  /// classes. Absent in a program without LibTorch.
  std::function<at::Tensor(const at::Tensor& output, const at::Tensor& y, double label_smoothing)>
      mean = {};
};

struct Dataset;
struct DataConfig;

/// A file that a data set comes in.
struct Download {
  std::string address;   ///< where it is, http or https
  std::string checksum;  ///< of the file, in hexadecimal digits: 64 for SHA-256, 32 for MD5
  int64_t bytes = 0;     ///< its size
  /// What it is called here; of an archive, the paths in it of the files that are kept, each under
  /// its last name. The one that shows that the data is there comes last.
  std::vector<std::string> kept;
  bool archive = false;    ///< tar or zip, which is unpacked
  std::string inner = {};  ///< the path in it of the archive that holds the files; empty: it does
};

/// Where a data set comes from, if it can be downloaded.
struct DataSource {
  std::string name = {};      ///< as in `kudari data get`, mostly that of the entry
  std::string folder = {};    ///< in .data or $KUDARI_DATA, where it is put
  std::string contents = {};  ///< numbers of samples and classes, or what makes them
  std::string home = {}, licence = {};
  std::vector<Download> files = {};
};

/// A data set that recipes may name.
struct DataEntry {
  std::string name;
  std::string doc;          ///< what it is
  OwnOptions options = {};  ///< with their defaults, besides those that all data sets have
  /// Reads it, see LoadData.
  std::function<Dataset(const DataConfig& config, uint64_t seed)> load = {};
  DataSource source = {};  ///< without files if it cannot be downloaded
  /// The file or folder that is read for a data.path, which may be empty. Throws Error, saying
  /// where it looked, if there is none. Absent: the data has no files, or the user must name them.
  std::function<std::filesystem::path(const std::filesystem::path& path)> find = {};
};

/// What recipes may name.
struct LabRegistry {
  EntryList<ModelEntry> models{"model.name"};
  EntryList<DataEntry> data{"data.name"};
  EntryList<LossEntry> losses{"train.loss"};

  /// The models of lab/models and the data sets of lab/data, a file each, and the losses of
  /// lab/models/parts/losses.cc. CMake writes it from the names of the files.
  static const LabRegistry& Builtin();
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_LAB_REGISTRY_H_
