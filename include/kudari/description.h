#ifndef KUDARI_DESCRIPTION_H_
#define KUDARI_DESCRIPTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kudari/language.h"

namespace kudari {

/// One option of a described item. The default is written as in a recipe, and is "" if the option
/// is required; `range` describes the permitted values.
struct OptionDescription {
  std::string name = {}, default_value = {}, range = {}, doc = {};
};

/// A readable description of a rule, source, scale, averager, format, schedule or preset, as
/// printed by `kudari list` and `kudari describe`.
struct Description {
  /// "rule", "source", "scale", "averager", "format", "schedule" or "preset".
  std::string kind = {};
  std::string name = {}, summary = {}, formula = {}, paper = {};
  std::string use = {};      ///< when to use it
  std::string torch = {};    ///< how it differs from torch
  std::string example = {};  ///< for a schedule: a call that shows it over a hundred steps
  std::vector<OptionDescription> options = {};
  std::vector<std::string> state = {};  ///< names of its float32 state buffers
  /// For a rule: bytes per parameter; negative if they depend on the shape.
  int64_t state_bytes = 0, bytes_read = 0, bytes_written = 0;
};

}  // namespace kudari

#endif  // KUDARI_DESCRIPTION_H_
