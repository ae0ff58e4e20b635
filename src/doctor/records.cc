// What the records of single steps show: accumulation, loss scaling, rounding.

#include <algorithm>
#include <cmath>

#include "doctor/view.h"

namespace kudari::internal {
namespace {

// Right on 1 real log, wrong on none; that the scale is below 1 is a definition. A scale below 1
// does not keep gradients from vanishing, and one that has come down there step by
// step found no scale at which they are finite: they are not, whatever the scale.
bool FindScaleCollapse(const View& run, Findings& found) {
  constexpr size_t kLeastDrops = 3;
  size_t drops = 0, first = run.size, last = 0;
  for (size_t i = 1; i < run.size; ++i) {
    if (!(run.log.steps[i].loss_scale < run.log.steps[i - 1].loss_scale)) continue;
    if (drops++ == 0) first = i;
    last = i;
  }
  if (drops < kLeastDrops || !(run.log.steps.back().loss_scale < 1)) return false;
  found.push_back({Verdict::kLossScaleThrash, 0.9, run.Step(first), run.Step(last),
                   "the loss scale fell " + std::to_string(drops) + " times, from " +
                       Brief(run.log.steps[first - 1].loss_scale) + " to " +
                       Brief(run.log.steps.back().loss_scale) +
                       ": gradients overflow at any scale"});
  return true;
}

}  // namespace

// The norm of the whole gradient is 0 to the end and the loss does not fall: nothing is trained.
// Where it does fall, the norm was not measured. That it is 0 is a definition: none of the logs
// that limits were set on has it.
void FindNoGradient(const View& run, Findings& found) {
  constexpr size_t kLeast = 3;
  size_t begin = run.size;
  while (begin > 0 && run.log.steps[begin - 1].grad_norm == 0) --begin;
  if (run.size - begin < kLeast) return;
  constexpr double kErrors = 2;
  const Slope fall = run.FallIn(begin, run.size);
  if (!(fall.change <= kErrors * fall.error)) return;  // nor where the losses are not finite
  found.push_back({Verdict::kDeadTensors, 0.9, run.Step(begin), run.Step(run.size - 1),
                   "the gradient is 0 in all of the last " + std::to_string(run.size - begin) +
                       " entries: nothing is trained"});
}

// The norm of a mean of gradients is at most the largest of theirs. That of the first stands for
// it, so the quotient is above 1 in some steps, but not in most. Right on all 8 runs of the suite's
// development half, wrong on none of the 202 others, also with a limit of 1.2 or 1.5.
void FindSummedAccumulation(const View& run, Findings& found) {
  constexpr double kLimit = 1.35, kSure = 2;
  constexpr size_t kLeast = 3;
  std::vector<double> quotients;
  std::vector<int64_t> steps;
  for (const StepLog& s : run.log.steps) {
    const double q = s.grad_norm / s.micro_grad_norm;
    if (!std::isfinite(q) || s.skipped) continue;
    quotients.push_back(q);
    steps.push_back(s.step);
  }
  if (quotients.size() < kLeast) return;
  const double median = Median(quotients);
  if (median < kLimit) return;
  found.push_back({Verdict::kAccumulationSum, Confidence(median, kLimit, kSure), steps.front(),
                   steps.back(),
                   "the accumulated gradient is " + Brief(median) +
                       " times as long as that of one of its batches (median of " +
                       std::to_string(steps.size()) + " steps); a mean is shorter"});
}

// Finding the scale costs a few steps at the beginning; later an overflow in two thousand steps is
// what dynamic scaling is made for. Right on all 8 runs of the suite's development half, wrong on
// none of the 202 others, also with a limit of 0.027 or 0.06; of unseen recipes it misses 1 of 2.
void FindScaleThrash(const View& run, Findings& found) {
  if (FindScaleCollapse(run, found)) return;
  constexpr double kLimit = 0.04, kSure = 0.2;
  constexpr size_t kLeast = 3, kSearch = 24;
  size_t begin = 0;
  while (begin < std::min(run.size, kSearch) && run.log.steps[begin].skipped) ++begin;
  size_t skipped = 0, last = begin, first = run.size;
  for (size_t i = begin; i < run.size; ++i) {
    if (!run.log.steps[i].skipped) continue;
    ++skipped;
    last = i;
    first = std::min(first, i);
  }
  if (skipped < kLeast) return;
  const double share = static_cast<double>(skipped) / static_cast<double>(run.size - begin);
  if (share < kLimit) return;
  found.push_back({Verdict::kLossScaleThrash, Confidence(share, kLimit, kSure), run.Step(first),
                   run.Step(last),
                   std::to_string(skipped) + " of " + std::to_string(run.size - begin) +
                       " steps were skipped by overflow, the last at a loss scale of " +
                       Brief(run.log.steps[last].loss_scale)});
}

// Towards the end of a schedule all updates become small, so only steps near its height count.
// Right on all 8 runs of the suite's development half, wrong on none of the 202 others, also with a
// limit of 0.2 or 0.45.
void FindLostUpdates(const View& run, Findings& found) {
  constexpr double kLimit = 0.3, kSure = 0.8, kRate = 0.5;
  std::vector<double> lost;
  size_t first = run.size, last = 0;
  for (size_t i = 0; i < run.size; ++i) {
    if (std::isnan(run.log.steps[i].lost) || run.Rate(i) < kRate) continue;
    lost.push_back(run.log.steps[i].lost);
    first = std::min(first, i);
    last = i;
  }
  const double median = Median(lost);
  if (!(median >= kLimit)) return;
  found.push_back(
      {Verdict::kUpdatesLost, Confidence(median, kLimit, kSure), run.Step(first), run.Step(last),
       Brief(100 * median) +
           " % of the weights that should have changed in a step did not, for lack of digits"});
}

}  // namespace kudari::internal
