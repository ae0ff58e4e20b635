#ifndef KUDARI_LAB_LANDSCAPE_DESCENT_H_
#define KUDARI_LAB_LANDSCAPE_DESCENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/spec.h"
#include "lab/landscape/surfaces.h"

namespace kudari::lab {

/// How runs on a surface go, for all optimisers alike.
struct DescentOptions {
  std::optional<Position> start = {};  ///< unset: the surface's
  int64_t steps = 200;                 ///< at least 1
  double noise = 0;  ///< standard deviation of what is added to each coordinate of the gradient
  int64_t seed = 1;  ///< of the noise, at least 0
};

/// An optimiser that is run on a surface.
struct Runner {
  std::string label;
  OptimizerSpec spec;
  bool lr_given = true;  ///< otherwise BestLearningRate has to choose it
};

/// Where a run came by: the weights and the loss, without noise, before the first step and after
/// each. It ends early at the first loss that is not finite, which is the last one.
struct Descent {
  std::vector<Position> places;
  std::vector<double> losses;

  bool Diverged(int64_t steps) const { return std::ssize(places) <= steps; }
};

/// What a run came to, in words: "diverged at step 7", "left the picture at step 3", or how far it
/// ended from a minimum.
std::string EndText(const Surface& surface, const Descent& descent, int64_t steps);

/// Reads an optimiser as the command line has it: the name of a rule or of a preset, or a recipe's
/// [optimizer] as an inline table, `{rule = "sgd", lr = 0.01}`, with a label in front of it if
/// wanted, `slow={rule = "sgd", lr = 0.01}`. Throws Error as ParseRecipe does, and if
/// there is no rule.
Runner ReadRunner(std::string_view text);

/// Steps the two coordinates, a tensor of shape [1, 2], with the library's optimiser in float32.
/// Rules that use the diagonal of the Hessian are given that of Curvature after every tenth step,
/// the first one included. `watch` sees the optimiser before the first step and after each. Throws
/// Error as Optimizer does, and UsageError for options out of range.
Descent Descend(
    const Surface& surface, const OptimizerSpec& spec, const DescentOptions& options,
    const std::function<void(Optimizer&)>& watch = [](Optimizer& /*optimizer*/) {});

/// Follows the weights to evaluate on a surface, beside those that are trained: averages, and what
/// schedule-free rules evaluate. Its Watch is for Descend.
class EvaluatedWay {
 public:
  explicit EvaluatedWay(const Surface& surface) : surface_(&surface) {}

  void Watch(Optimizer& optimizer);
  /// Where they came by, as the trained ones did; nothing if they were the same.
  std::optional<Descent> Way() const;

 private:
  const Surface* surface_;
  Descent descent_ = {};
  bool differs_ = false;
};

/// The learning rates that BestLearningRate tries: 1, 2 and 5 times powers of ten.
std::vector<double> LearningRates();

/// The smallest of LearningRates() with which a run is about as low as with the best in the second
/// half of its steps, on average: within a thousandth of the height of the start. Runs that leave
/// the picture of a surface without a lower bound are equal. Throws Error if every run diverges.
double BestLearningRate(const Surface& surface, const OptimizerSpec& spec,
                        const DescentOptions& options);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_DESCENT_H_
