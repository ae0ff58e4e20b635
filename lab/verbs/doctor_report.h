#ifndef KUDARI_LAB_VERBS_DOCTOR_H_
#define KUDARI_LAB_VERBS_DOCTOR_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace kudari::lab {

/// What `kudari doctor` is asked for.
struct DoctorOptions {
  std::filesystem::path run = {};  ///< see ReadLog
  std::vector<std::string> maps =
      {};                       ///< "field=column", where columns are not found by their names
  int64_t steps_per_epoch = 0;  ///< 0: as the log has it
  int64_t planned_steps = 0;    ///< 0: as the log has it
  std::filesystem::path json = {}, svg = {};  ///< files; empty: none
};

/// Reads the log of a run and prints what is wrong with it: each verdict with its evidence, a small
/// plot of it, what to do and where that is from; one line if nothing is. `json` has the same as
/// data, `svg` a picture (SVG or PNG) of the curves with the findings marked. Throws Error for bad
/// input.
void Doctor(const DoctorOptions& options, std::FILE* console);

/// Does that for several runs in place of `options.run`, and prints a table with a line for each:
/// what was read and the verdicts. `json` has a list with an object for each run; one that cannot
/// be read has "error", with the message, in place of what was read, and the others are not
/// affected. Throws UsageError if `svg` is given, and, after all of that, Error if a run could not
/// be read.
void DoctorTable(const DoctorOptions& options, const std::vector<std::filesystem::path>& runs,
                 std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_DOCTOR_H_
