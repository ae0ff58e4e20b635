#ifndef KUDARI_CORE_SCHEDULE_TEXT_H_
#define KUDARI_CORE_SCHEDULE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace kudari::internal {

// Canonical texts of schedules, Schedule::Text(), taken apart.

/// The parts between separators that stand outside all brackets: a product's factors with " * ", a
/// call's arguments with ", ".
std::vector<std::string_view> SplitOutside(std::string_view text, std::string_view separator);

/// The number that the whole text is, if it is one.
std::optional<double> NumberOf(std::string_view text);

/// The product of the numbers among a product's factors, if there are any: 2e-3 of
/// 2e-3 * warmup(100).
std::optional<double> LeadingNumber(std::string_view text);

/// The steps of the first warm-up that a text names.
std::optional<int64_t> WarmupSteps(std::string_view text);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SCHEDULE_TEXT_H_
