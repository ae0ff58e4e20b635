#ifndef KUDARI_SOURCES_SHARPNESS_METHODS_H_
#define KUDARI_SOURCES_SHARPNESS_METHODS_H_

#include <string>
#include <string_view>
#include <vector>

namespace kudari::internal {

/// How a sharpness-aware source moves the weights.
enum class Move {
  kBall,     ///< along the whole gradient, to the length rho
  kLayers,   ///< layer by layer
  kAdaptive  ///< each weight by its magnitude
};

/// A sharpness-aware source, described.
struct SharpnessMethod {
  std::string name;
  Move move = Move::kBall;
  bool cycles = false;           ///< has steps without a second pass
  bool reuses = false;           ///< in which it reuses the direction of the last one
  bool gap = false;              ///< descends on the surrogate gap, too
  double rho = 0.05, alpha = 0;  ///< if the spec has none
  std::string summary, formula, paper, use = {};
  std::vector<std::string> options;  ///< of SharpnessSpec, those that it uses
  std::string alpha_doc = {};        ///< what alpha is, where it is not what SharpnessOptions says
};

/// The sharpness-aware sources.
const std::vector<SharpnessMethod>& SharpnessMethods();
/// Throws Error "source: unknown name ..." with the nearest one.
const SharpnessMethod& FindSharpnessMethod(std::string_view name);

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_SHARPNESS_METHODS_H_
