#ifndef KUDARI_CHECKPOINT_H_
#define KUDARI_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/state.h"

namespace kudari {

/// A file of a checkpoint, as its manifest describes it.
struct CheckpointFile {
  std::string name;  ///< a plain file name in the checkpoint's folder
  uint64_t bytes = 0;
  /// XXH3_64bits of the whole file; of a file of tensors, of its header followed by the checksums
  /// of its tensors, eight little-endian bytes each, so that tensors can be verified side by side.
  uint64_t xxh3 = 0;

  friend bool operator==(const CheckpointFile&, const CheckpointFile&) = default;
};

/// An array of a checkpoint, as its manifest describes it.
struct CheckpointTensor {
  std::string path;  ///< in the state
  std::string name;  ///< in the file; the path, or in files of the model the last name of it
  std::string file;
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape = {};
  uint64_t xxh3 = 0;  ///< XXH3_64bits of its bytes

  friend bool operator==(const CheckpointTensor&, const CheckpointTensor&) = default;
};

/// What a checkpoint says about itself, in its file manifest.json. Whoever saves sets the first
/// three members; SaveCheckpoint sets the others.
struct CheckpointManifest {
  int64_t step = 0;                            ///< at least 0
  std::map<std::string, double> metrics = {};  ///< for example {"val_loss", 0.31}; finite
  std::map<std::string, std::string> texts =
      {};  ///< whatever belongs to the state: a recipe, a spec

  int64_t serial = 0;  ///< counts the saves into a folder, from 1: the highest is the newest
  std::string library_version = {};
  std::vector<CheckpointFile> files = {};
  std::vector<CheckpointTensor> tensors = {};  ///< in the order of the files

  /// The bytes of all files.
  uint64_t Bytes() const;

  friend bool operator==(const CheckpointManifest&, const CheckpointManifest&) = default;
};

/// Which checkpoints of a folder survive a save. What no rule names is deleted after the new one is
/// complete.
struct CheckpointRetention {
  int64_t keep = 2;            ///< of the newest; 0 keeps all
  int64_t keep_every = 0;      ///< and those whose step is a multiple of this; 0 for none
  std::string keep_best = {};  ///< and the one with the lowest value of this metric, if not empty
  bool higher_is_better = false;  ///< ... or with the highest

  /// Throws Error naming a member that is out of range.
  void Check() const;
};

/// How SaveCheckpoint writes.
struct CheckpointOptions {
  CheckpointRetention retention = {};
  /// Paths of nodes whose arrays are a model. They go into files that other programs read as such,
  /// under their own names: model.safetensors or, where that would be larger than shard_bytes,
  /// model-00001-of-00002.safetensors ... with model.safetensors.index.json, as Hugging Face's
  /// libraries name them. All else goes into state.safetensors or shards of it.
  std::vector<std::string> model_nodes = {};
  /// Files are not larger than this, except where one array is; at least 1.
  uint64_t shard_bytes = 5'000'000'000;
};

/// Saves a state as a checkpoint: a new folder in `folder`, which is made if it is not there, and
/// returns its path, such as folder/step-120. The files are written and synced under a hidden name,
/// the manifest last, and then the checkpoint appears by one rename; a failure or a crash at any
/// moment leaves the checkpoints before it as they were, and files that others read or have mapped
/// are never written again. Afterwards the retention deletes old ones.
///
///     kudari::SaveCheckpoint("checkpoints", optimizer.State(), {.step = 120});
///     ...
///     const kudari::Checkpoint last = kudari::LoadCheckpoint("checkpoints");
///     optimizer.LoadState(last.state);
///
/// Throws Error for options or a manifest out of range, for names as WriteState does, if another
/// process is saving into the same folder, and for failures reported by the system; where only old
/// ones cannot be deleted, it says that the new one was saved.
std::filesystem::path SaveCheckpoint(const std::filesystem::path& folder, const StateTree& state,
                                     const CheckpointManifest& manifest,
                                     const CheckpointOptions& options = {});

/// A checkpoint that could not be used, and why.
struct DamagedCheckpoint {
  std::filesystem::path folder;
  std::string reason;

  friend bool operator==(const DamagedCheckpoint&, const DamagedCheckpoint&) = default;
};

/// A checkpoint that was loaded.
struct Checkpoint {
  std::filesystem::path folder;  ///< its own, also if it was found among others
  CheckpointManifest manifest = {};
  StateTree state = {};
  /// Newer ones that were passed over because they are damaged. Tell the user of them.
  std::vector<DamagedCheckpoint> damaged = {};
};

/// Loads the newest checkpoint of a folder or, if `folder` has a manifest.json, the one that it is.
/// Sizes and checksums of all files and tensors are verified; a damaged checkpoint is passed over
/// for the one before it, if `folder` holds several. The folder may have been copied, moved and
/// renamed. Throws Error naming each checkpoint and what is wrong with it if there is none to load,
/// and for one of a newer format, which another version of Kudari can read.
Checkpoint LoadCheckpoint(const std::filesystem::path& folder);

/// A checkpoint in a folder, as far as its manifest tells.
struct CheckpointEntry {
  std::filesystem::path folder;
  CheckpointManifest manifest = {};
  std::string damage = {};  ///< what is wrong with the manifest, which is then empty
};

/// The checkpoints of a folder, the newest first and those with damaged manifests last. Reads the
/// manifests alone. Throws Error if the folder cannot be read.
std::vector<CheckpointEntry> ListCheckpoints(const std::filesystem::path& folder);

/// Reads the manifest of a checkpoint. Throws Error naming the file and what is wrong with it: a
/// flipped bit anywhere, a newer format, a file name that leaves the folder ...
CheckpointManifest ReadManifest(const std::filesystem::path& checkpoint);

/// The same from the text of a manifest; `name` stands for the file in messages.
CheckpointManifest ParseManifest(std::string_view text, std::string_view name);

/// Verifies sizes and checksums of a checkpoint without keeping its arrays. Throws Error naming the
/// first file or tensor that is not as the manifest says.
void VerifyCheckpoint(const std::filesystem::path& checkpoint);

/// Deletes what the retention does not keep and returns the deleted folders. Checkpoints whose
/// manifest is damaged are left alone. Throws Error if another process is saving there, and for
/// failures reported by the system.
std::vector<std::filesystem::path> PruneCheckpoints(const std::filesystem::path& folder,
                                                    const CheckpointRetention& retention);

/// Saves checkpoints in a thread of its own, while training goes on. Until a save has ended it
/// holds the state that it was given, which is the copy that State() makes.
///
///     kudari::CheckpointSaver saver("checkpoints", {.retention = {.keep = 3}});
///     ...                                              // in the training loop:
///     if (step % 1000 == 0) saver.Save(optimizer.State(), {.step = step});
///     saver.Saved();                                   // throws if a save has failed
///     ...
///     saver.Wait();                                    // after the last step
class CheckpointSaver {
 public:
  /// Throws Error for options out of range.
  explicit CheckpointSaver(std::filesystem::path folder, CheckpointOptions options = {});
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;
  /// Waits for the save that is being made. Its failure is lost then; call Wait before.
  ~CheckpointSaver();

  /// Begins a save; waits for the one before. Throws Error, and begins nothing, if that one failed
  /// and nobody has been told.
  void Save(StateTree state, CheckpointManifest manifest);
  /// Replaces the retention of the saves to come. Throws Error if it is out of range.
  void SetRetention(CheckpointRetention retention);
  /// Whether a save is being made.
  bool saving() const;
  /// The checkpoint that has been saved since the last call; nothing if there is none yet. Does not
  /// wait. Throws the Error that a save has failed with, once.
  std::optional<std::filesystem::path> Saved();
  /// The same, once the save that is being made has ended.
  std::optional<std::filesystem::path> Wait();

 private:
  struct Work;

  std::filesystem::path folder_;
  CheckpointOptions options_;
  std::unique_ptr<Work> work_;  // the save that is being made, or has ended and not been told of
};

}  // namespace kudari

#endif  // KUDARI_CHECKPOINT_H_
