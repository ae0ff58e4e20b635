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
  std::filesystem::path run = {};  ///< see ReadRunLog
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

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_DOCTOR_H_
