// Any text is either a recipe, whose complete form reads back as the same, or an Error.

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "kudari/error.h"
#include "kudari/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::optional<kudari::OptimizerSpec> complete;
  try {
    complete = kudari::Complete(kudari::ParseRecipe(text));
  } catch (const kudari::Error&) {
    return 0;
  }
  // From here on an Error is a failure: what was accepted must be writable and readable.
  const std::string written = kudari::ToToml(*complete);
  const kudari::OptimizerSpec again = kudari::ParseRecipe(written, "written");
  if (!(again == *complete)) throw std::logic_error("another recipe reads back from\n" + written);
  if (!(kudari::Complete(again) == again)) throw std::logic_error("not complete:\n" + written);
  return 0;
}
