#ifndef KUDARI_SOURCES_SHARPNESS_METHODS_H_
#define KUDARI_SOURCES_SHARPNESS_METHODS_H_

#include <string>
#include <string_view>
#include <vector>

namespace kudari::internal {

/// How a sharpness-aware source moves the weights.
enum class Move {
  kBall,     ///< along the whole gradient, with length rho
  kLayers,   ///< layer by layer
  kAdaptive  ///< each weight in proportion to its magnitude
};

/// The description of a sharpness-aware source.
struct SharpnessMethod {
  std::string name;
  Move move = Move::kBall;
  bool cycles = false;           ///< has steps without a second pass
  bool reuses = false;           ///< reuses the last direction in those steps
  bool gap = false;              ///< also descends on the surrogate gap
  double rho = 0.05, alpha = 0;  ///< defaults, for a spec without them
  std::string summary, formula, paper, use = {};
  std::vector<std::string> options;  ///< the options of SharpnessSpec that it uses
  std::string alpha_doc = {};  ///< the meaning of alpha, where it differs from SharpnessOptions
};

/// The sharpness-aware sources.
const std::vector<SharpnessMethod>& SharpnessMethods();
/// Returns the method with that name; throws Error "source: unknown name ..." with the nearest one.
const SharpnessMethod& FindSharpnessMethod(std::string_view name);

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_SHARPNESS_METHODS_H_
