// A log of any format, its name in the first line, is either an Error or has steps from 1 on. What
// follows the name of an event file is the content of a record.

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kudari/error.h"
#include "lab/logs/run_log.h"
#include "tests/support/tfrecord.h"

namespace {

template <class T>
void CheckSteps(const std::vector<T>& entries, int64_t least) {
  for (const T& entry : entries) {
    if (entry.step >= least) continue;
    throw std::logic_error("step " + std::to_string(entry.step) + " is not at least " +
                           std::to_string(least));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return 0;
  const std::string name(text.substr(0, end));
  std::string contents(text.substr(end + 1));
  if (name.find("tfevents") != std::string::npos) contents = kudari::testing::Record(contents);
  try {
    const kudari::RunLog log = kudari::lab::ParseRunLog(contents, name);
    CheckSteps(log.steps, 1);
    CheckSteps(log.evaluations, 0);
    if (log.steps.empty() || log.steps_per_epoch < 0 || log.planned_steps < 0) {
      throw std::logic_error("a log without steps, or with a negative number of them");
    }
  } catch (const kudari::Error&) {
  }
  return 0;
}
