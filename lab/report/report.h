#ifndef KUDARI_LAB_REPORT_REPORT_H_
#define KUDARI_LAB_REPORT_REPORT_H_

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/logs/run_log.h"

namespace kudari::lab {

/// The most runs that one page shows.
inline constexpr size_t kMostReportRuns = 200;

/// What `kudari report` is asked for.
struct ReportOptions {
  std::vector<std::filesystem::path> runs = {};  ///< folders or logs, see ReadLog
  std::vector<std::string> maps = {};            ///< see ColumnsByField
  int64_t steps_per_epoch = 0;                   ///< 0: as the logs have it
  std::filesystem::path out = {};                ///< the page; "-" for standard output
};

/// Writes a page that shows the runs: summary, verdicts, curves, norms by layer, recipes and
/// pictures. It needs no other file and no network. Runs that cannot be read are listed in it with
/// the reason. Throws UsageError for no run or more than kMostReportRuns, and Error if none can be
/// read, with nothing written, or, after the page has been written, if some could not.
void WriteReport(const ReportOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_REPORT_REPORT_H_
