#ifndef KUDARI_LAB_LOGS_RUN_PROGRESS_H_
#define KUDARI_LAB_LOGS_RUN_PROGRESS_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "kudari/doctor.h"

namespace kudari::lab {

/// Where a run of `kudari train` stands.
struct RunProgress {
  /// "running", "finished", "stopped", "broken off" or "diverged"; "unreadable: " and why if the
  /// log is damaged.
  std::string state = {};
  int64_t step = 0, planned = 0;                           ///< planned is 0 if it is not known
  std::optional<double> val_loss = {}, val_accuracy = {};  ///< the best of each
  std::optional<int64_t> checkpoint = {};  ///< the step of the newest that is not damaged
};

/// How far the run in a folder is, whose log has been read.
RunProgress ProgressOf(const std::filesystem::path& folder, const RunLog& log);

/// The same, which reads the log.
RunProgress ReadProgress(const std::filesystem::path& folder);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_PROGRESS_H_
