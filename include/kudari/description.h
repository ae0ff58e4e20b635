#ifndef KUDARI_DESCRIPTION_H_
#define KUDARI_DESCRIPTION_H_

#include <cstdint>
#include <string>
#include <vector>

namespace kudari {

/// One option of a described thing: its name, default as it is written in a recipe ("" if it must
/// be given), range in words and meaning.
struct OptionDescription {
  std::string name = {}, default_value = {}, range = {}, doc = {};
};

/// What a rule, source, scale, averager, format, schedule or preset is, in words: what `kudari
/// list` and `kudari describe` print.
struct Description {
  /// "rule", "source", "scale", "averager", "format", "schedule" or "preset".
  std::string kind = {};
  std::string name = {}, summary = {}, formula = {}, paper = {};
  std::string use = {};      ///< when to use it
  std::string torch = {};    ///< what differs from torch
  std::string example = {};  ///< of a schedule: a call that shows it over a hundred steps
  std::vector<OptionDescription> options = {};
  std::vector<std::string> state = {};  ///< names of float32 buffers
  /// Of a rule, for each parameter; negative: it depends on the shape.
  int64_t state_bytes = 0, bytes_read = 0, bytes_written = 0;
};

}  // namespace kudari

#endif  // KUDARI_DESCRIPTION_H_
