// What the losses of single batches show of the data.

#include <algorithm>
#include <cmath>

#include "doctor/view.h"

namespace kudari::internal {

// Batches at the same positions of each epoch whose loss stands out from that of their neighbours.
// Right on all 10 of the suite's development half, wrong on none of its other 200 runs; no other
// log that limits were set on has epochs of so few entries. With 3 in place of 4 sigmas it is wrong
// on one healthy run; the other limits can be moved by a third.
void FindBadData(const View& run, Findings& found) {
  constexpr size_t kLeastPositions = 8, kLeastEpochs = 4;
  constexpr double kLimit = 2.2, kSure = 5, kOften = 0.75, kSigmas = 4;
  if (run.log.steps_per_epoch < static_cast<int64_t>(kLeastPositions)) return;
  const auto positions = static_cast<size_t>(run.log.steps_per_epoch);
  const size_t epochs = run.size / positions;
  if (epochs < kLeastEpochs) return;
  // The loss over the median of the epoch around it, from the second epoch on.
  const std::vector<double> around = RunningMedian(run.loss, positions / 2);
  std::vector<std::vector<double>> by_position(positions);
  std::vector<double> logs;
  for (size_t i = positions; i < run.size; ++i) {
    const double ratio = run.loss[i] / around[i];
    if (!std::isfinite(ratio) || ratio <= 0) continue;
    by_position[static_cast<size_t>(run.Step(i) - 1) % positions].push_back(ratio);
    logs.push_back(std::log(ratio));
  }
  const double center = Median(logs);
  for (double& x : logs) x = std::abs(x - center);
  const double sigma = 1.4826 * Median(logs);
  std::vector<size_t> bad;
  double worst = 0;
  for (size_t p = 0; p < positions; ++p) {
    const auto& ratios = by_position[p];
    if (ratios.size() + 1 < kLeastEpochs) continue;
    const double median = Median(ratios);
    const auto high = [&](double r) { return std::log(r) > kSigmas / 2 * sigma; };
    const auto often = static_cast<double>(std::count_if(ratios.begin(), ratios.end(), high));
    if (median < kLimit || std::log(median) < kSigmas * sigma ||
        often < kOften * static_cast<double>(ratios.size())) {
      continue;
    }
    bad.push_back(p + 1);
    worst = std::max(worst, median);
  }
  if (bad.empty() || bad.size() > positions / 3) return;
  std::string where;
  for (const size_t p : bad) where += (where.empty() ? "" : ", ") + std::to_string(p);
  found.push_back(
      {Verdict::kDataProblem, Confidence(worst, kLimit, kSure), run.Step(0), run.Step(run.size - 1),
       "in every epoch the loss of " + std::string(bad.size() == 1 ? "batch " : "batches ") +
           where + " of " + std::to_string(positions) + " is up to " + Brief(worst) +
           " times that of the others"});
}

}  // namespace kudari::internal
