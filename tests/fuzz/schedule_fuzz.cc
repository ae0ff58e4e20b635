// Any text is either a schedule, whose canonical text reads back as the same and whose values can
// be had, or an Error.

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
  for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{1'000'000}, INT64_MAX}) {
    const double a = (*schedule)(step), b = again(step);
    if (a != b && (a == a || b == b)) {
      throw std::logic_error("\"" + schedule->Text() + "\" has two values at step " +
                             std::to_string(step));
    }
  }
  return 0;
}
