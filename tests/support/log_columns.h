#ifndef KUDARI_TESTS_SUPPORT_LOG_COLUMNS_H_
#define KUDARI_TESTS_SUPPORT_LOG_COLUMNS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::testing {

/// What a log has of one kind, entry by entry.
inline std::vector<int64_t> Steps(const RunLog& log) {
  std::vector<int64_t> steps;
  for (const StepLog& s : log.steps) steps.push_back(s.step);
  return steps;
}

inline std::vector<double> Losses(const RunLog& log) {
  std::vector<double> losses;
  for (const StepLog& s : log.steps) losses.push_back(s.loss);
  return losses;
}

/// A loss and its step.
inline std::pair<int64_t, double> At(int64_t step, double loss) { return {step, loss}; }

inline std::vector<std::pair<int64_t, double>> LossesOf(const RunLog& log) {
  std::vector<std::pair<int64_t, double>> losses;
  for (const StepLog& s : log.steps) losses.emplace_back(s.step, s.loss);
  return losses;
}

inline std::vector<std::pair<int64_t, double>> ValidationOf(const RunLog& log) {
  std::vector<std::pair<int64_t, double>> losses;
  for (const EvaluationLog& e : log.evaluations) losses.emplace_back(e.step, e.loss);
  return losses;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_LOG_COLUMNS_H_
