// Any text is either a schedule, whose canonical text reads back as the same and whose values can
// be had, in a run if it is relative to one, or an Error.

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "kudari/error.h"
#include "kudari/schedule.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::optional<kudari::Schedule> schedule;
  try {
    schedule = kudari::ParseSchedule(text);
  } catch (const kudari::Error&) {
    return 0;
  }
  // From here on an Error is a failure: what was read must be readable again.
  const kudari::Schedule again = kudari::ParseSchedule(schedule->Text());
  if (!(again == *schedule)) {
    throw std::logic_error("\"" + schedule->Text() + "\" reads back as \"" + again.Text() + "\"");
  }
  if (!schedule->IsResolved()) {
    try {
      schedule = schedule->Resolve({.steps = 1000, .steps_per_epoch = 12.5});
    } catch (const kudari::Error&) {
      return 0;  // lengths that suit no run, or not this one
    }
  }
  const kudari::Schedule resolved = kudari::ParseSchedule(schedule->Text());
  if (!(resolved == *schedule) || !resolved.IsResolved()) {
    throw std::logic_error("\"" + schedule->Text() + "\" does not read back once it is resolved");
  }
  for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{1'000'000}, INT64_MAX}) {
    const double a = (*schedule)(step), b = resolved(step);
    if (a != b && (a == a || b == b)) {
      throw std::logic_error("\"" + schedule->Text() + "\" has two values at step " +
                             std::to_string(step));
    }
  }
  return 0;
}
