#ifndef KUDARI_LAB_VERBS_CHECKPOINT_REPORT_H_
#define KUDARI_LAB_VERBS_CHECKPOINT_REPORT_H_

#include <cstdio>
#include <filesystem>

#include "kudari/checkpoint.h"

namespace kudari::lab {

// A folder is a checkpoint, holds several, or is that of a run.

/// Prints the checkpoints of a folder or, of a single one, what it holds.
void ShowCheckpoints(const std::filesystem::path& folder, std::FILE* out);
/// The same as JSON, to a file or "-".
void ShowCheckpointsJson(const std::filesystem::path& folder, const std::filesystem::path& file);

/// Verifies all checksums, prints a line for each checkpoint, and returns whether all are good.
/// Names arrays with values that are not finite, which are no damage.
bool VerifyCheckpoints(const std::filesystem::path& folder, std::FILE* out);

/// Prints what differs between two checkpoints, the newest of a folder that holds several: options
/// of their recipes, and values by path, with the largest difference of floating-point arrays.
/// Returns whether they have the same state.
bool DiffCheckpoints(const std::filesystem::path& a, const std::filesystem::path& b,
                     std::FILE* out);

/// Deletes what the retention does not keep, and prints what was deleted and what is left.
void PruneCheckpointsOf(const std::filesystem::path& folder, const CheckpointRetention& retention,
                        std::FILE* out);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_CHECKPOINT_REPORT_H_
