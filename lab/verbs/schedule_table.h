#ifndef KUDARI_LAB_VERBS_SCHEDULE_H_
#define KUDARI_LAB_VERBS_SCHEDULE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kudari::lab {

/// What `kudari schedule` is asked for.
struct ScheduleOptions {
  std::string text = "";       ///< as ParseSchedule reads it
  int64_t steps = 0;           ///< updates of the training, at least 1
  double steps_per_epoch = 0;  ///< for lengths in epochs; 0: unknown
  int64_t every = 0;           ///< of the table; 0: chosen, and joints as well
  bool csv = false;            ///< every step, or every `every`-th, and nothing else
  std::filesystem::path json =
      {};  ///< file for these as JSON, "-" for standard output; empty: none
  std::filesystem::path file = {};  ///< of a picture, .svg or .png; empty: none
};

inline constexpr int64_t kMostScheduleSteps = 10'000'000;

/// Prints what a schedule is over a training, for which relative lengths are resolved: extremes,
/// the curve and a table of values at round steps, at joints, at which the curve bends or jumps,
/// and at the last step. Throws Error with the column for bad text, for options out of range, and
/// as DrawChart does.
void ShowSchedule(const ScheduleOptions& options, std::FILE* console);

/// Steps at which values that belong to consecutive steps from 0 on bend or jump, the last before a
/// jump and the first after it; none if there are more than a few.
std::vector<int64_t> Joints(std::span<const double> values);

/// A curve of values as rows of block characters, `columns` wide without the axis, each column the
/// mean of its steps. What is not finite is left out.
std::string BlockChart(std::span<const double> values, int columns, int rows);

/// Draws the example of every schedule over a hundred steps in one picture.
void DrawEverySchedule(const std::filesystem::path& file);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_SCHEDULE_H_
