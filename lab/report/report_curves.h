#ifndef KUDARI_LAB_REPORT_REPORT_CURVES_H_
#define KUDARI_LAB_REPORT_REPORT_CURVES_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>

#include "kudari/doctor.h"
#include "lab/logs/run_log.h"

namespace kudari::lab {

/// The most curves of a run that are drawn, the most important ones.
inline constexpr size_t kMostCurves = 100;

/// The curves of a log read with RunLogOptions::curves, the most important first, with at most
/// `points` points in all but at least 50 each. Columns of known fields have the fields' names, and
/// the norms of all tensors together are "update_norm" and "weight_norm". Each is an object with
/// "name", "title", "higher" (whether higher is better), "log" (whether it is best seen on a
/// logarithmic axis), "count", "not_finite", "first", "last", "low" and "high" (each step and
/// value), "steps" and "values" and, if it has been downsampled, "mean_steps" and "mean_values".
nlohmann::ordered_json CurvesJson(const LogReading& reading, size_t points);

/// Columns that have the same value throughout, at least twice, and no schedule: value by name.
nlohmann::ordered_json ConstantsJson(const LogReading& reading);

/// What else steps are measured in: "epoch", "seconds" and "gradients", as far as they are known,
/// each with "steps" and "values" between which lines are straight.
nlohmann::ordered_json AxesJson(const LogReading& reading);

/// The norms by layer: "names", "steps", and "grad", "update" and "ratio" (of the update to the
/// weights) with a list for each layer; where steps are put together, the highest. It has at most
/// `numbers` numbers but at least ten steps, if there are so many. Null if there are none.
nlohmann::ordered_json LayersJson(std::span<const LayersLog> layers, size_t numbers);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_REPORT_REPORT_CURVES_H_
