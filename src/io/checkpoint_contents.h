// The files of one checkpoint.
#ifndef KUDARI_IO_CHECKPOINT_CONTENTS_H_
#define KUDARI_IO_CHECKPOINT_CONTENTS_H_

#include <filesystem>
#include <string>
#include <vector>

#include "kudari/checkpoint.h"

namespace kudari::internal {

/// Writes and syncs the files of a state into an empty folder, the manifest last. The manifest has
/// all but files and tensors. `shown` is the folder's name in messages.
void WriteContents(const std::filesystem::path& folder, const std::string& shown,
                   const StateTree& state, CheckpointManifest manifest,
                   const CheckpointOptions& options);

/// Reads and verifies the files that a manifest lists, and puts what they hold into `state`, which
/// is empty, or null if nothing is to be kept. Throws Error for what is damaged.
void ReadContents(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                  StateTree* state);

}  // namespace kudari::internal

#endif  // KUDARI_IO_CHECKPOINT_CONTENTS_H_
