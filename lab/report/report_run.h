#ifndef KUDARI_LAB_REPORT_REPORT_RUN_H_
#define KUDARI_LAB_REPORT_REPORT_RUN_H_

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lab/logs/run_log.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// How much of each run there is on a page, so that it stays small.
struct ReportLimits {
  size_t points = 24000;              ///< of all curves
  size_t layer_numbers = 24000;       ///< of the norms by layer
  size_t pictures = size_t{1} << 21;  ///< bytes of the files of pictures
};

/// A run as a page shows it.
struct ReportRun {
  /// "state", "step", "planned", "seconds", "findings", "seen", "not_judged", "notes", "axes",
  /// "curves", "constants", "layers", "recipe" and "pictures", as far as the run has them.
  nlohmann::ordered_json json = {};
  std::optional<Recipe> recipe = {};  ///< if the folder has one that can be read
};

/// Reads a folder of `kudari train`, or another log as ReadLog does. Throws Error as ReadLog.
ReportRun ReadReportRun(const std::filesystem::path& path, const RunLogOptions& options,
                        const ReportLimits& limits);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_REPORT_REPORT_RUN_H_
