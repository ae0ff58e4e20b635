#ifndef KUDARI_LAB_CONSOLE_DURATION_H_
#define KUDARI_LAB_CONSOLE_DURATION_H_

#include <optional>
#include <string>
#include <string_view>

namespace kudari::lab {

/// The seconds of a time as people give it, such as "90s", "5min", "2h", "1h30min" or "1.5d";
/// nothing if the text is not a time of more than 0 and at most ten years.
std::optional<double> ParseDuration(std::string_view text);

/// The shortest text that ParseDuration reads as these seconds: "5min".
std::string DurationUnits(double seconds);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_CONSOLE_DURATION_H_
