#ifndef KUDARI_TESTS_SUPPORT_TRAINING_RUN_H_
#define KUDARI_TESTS_SUPPORT_TRAINING_RUN_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kudari/doctor.h"
#include "tests/support/random.h"

namespace kudari::testing {

inline constexpr int64_t kSteps = 400, kEpoch = 20;

/// Norms of as many tensors as there are gradients.
inline LayersLog Layers(int64_t step, const std::vector<double>& grads, double update = 0.003) {
  LayersLog log{.step = step};
  for (size_t i = 0; i < grads.size(); ++i) {
    log.tensors.push_back({.name = "layer" + std::to_string(i) + ".weight",
                           .grad = grads[i],
                           .weight = 5,
                           .update = 5 * update});
  }
  return log;
}

/// A run that learns: from 2.3 to 0.05, with noise, after a warm-up and with a cosine.
inline RunLog Sound(uint64_t seed = 1) {
  Random random(seed);
  RunLog log{.steps_per_epoch = kEpoch, .planned_steps = kSteps};
  for (int64_t s = 1; s <= kSteps; ++s) {
    const double t = static_cast<double>(s) / kSteps;
    const double loss = 2.25 * std::exp(-5 * t) + 0.05;
    log.steps.push_back({.step = s,
                         .loss = loss * (1 + 0.05 * static_cast<double>(random.Float())),
                         .lr = 1e-3 * std::min(1.0, 20 * t) * (1 + std::cos(3.14 * t)) / 2,
                         .grad_norm = loss,
                         .micro_grad_norm = 1.3 * loss});
    if (s % kEpoch == 0) log.evaluations.push_back({.step = s, .loss = loss + 0.03});
    if (s % 10 == 1) log.layers.push_back(Layers(s, {0.1, 0.2, 0.1, 0.2, 0.3, 0.3}));
  }
  return log;
}

inline std::vector<Finding> FindingsOf(const RunLog& log) { return Diagnose(log).findings; }

/// What the notes are about.
inline std::vector<std::string> SubjectsOf(const std::vector<Note>& notes) {
  std::vector<std::string> subjects;
  for (const Note& n : notes) subjects.push_back(n.subject);
  return subjects;
}

inline std::vector<Verdict> VerdictsOf(const RunLog& log) {
  std::vector<Verdict> verdicts;
  for (const Finding& f : FindingsOf(log)) verdicts.push_back(f.verdict);
  return verdicts;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_TRAINING_RUN_H_
