#ifndef KUDARI_LAB_VERBS_RUNS_H_
#define KUDARI_LAB_VERBS_RUNS_H_

#include <cstdio>
#include <filesystem>

namespace kudari::lab {

/// Prints the runs of `kudari train` in a folder: whether each is going on, finished, diverged or
/// was interrupted, how far it is, its best evaluation, and the checkpoint from which it can go on.
/// Throws Error if the folder cannot be read.
void ListRuns(const std::filesystem::path& folder, std::FILE* out);
/// The same as JSON, to a file or "-".
void ListRunsJson(const std::filesystem::path& folder, const std::filesystem::path& file);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_RUNS_H_
