#ifndef KUDARI_LAB_DOCTOR_H_
#define KUDARI_LAB_DOCTOR_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "kudari/doctor.h"
#include "lab/metrics.h"

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

/// A finding in one line, for the progress of a run.
std::string FindingLine(const Finding& finding);

/// What is wrong with a run while it goes on.
class LiveDoctor {
 public:
  LiveDoctor(int64_t planned_steps, int64_t steps_per_epoch);

  void Add(const StepRecord& record);
  void Add(const EvaluationLog& evaluation) { log_.evaluations.push_back(evaluation); }

  /// Sure findings whose verdict was not given before. Looks only if the log has grown by a tenth
  /// since it last did, so that all looks together cost as much as a few of the whole log.
  std::vector<Finding> New();

  /// All findings; of a run that was stopped before its planned end as of one that goes on.
  std::vector<Finding> AtTheEnd() const;

 private:
  RunLog log_;
  size_t seen_ = 0;
  std::vector<Verdict> given_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DOCTOR_H_
