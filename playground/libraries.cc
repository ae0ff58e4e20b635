// What the module needs of libraries that are installed for another machine.

// toml++ without its parser, which reads files: the library asks tables, which questions bring.
#define TOML_ENABLE_PARSER 0
#define TOML_IMPLEMENTATION
#include <hwy/targets.h>
#include <toml++/toml.h>

#include <string_view>

#include "kudari/error.h"

// The library's presets are the only recipes in TOML that a question could ask for.
namespace toml {
inline namespace v3 {
inline namespace ex {

table parse(std::string_view /*text*/, std::string_view /*source*/) {
  throw kudari::Error("a page names a rule, not a preset");
}

}  // namespace ex
}  // namespace v3
}  // namespace toml

namespace hwy {

int64_t SupportedTargets() { return HWY_STATIC_TARGET; }

}  // namespace hwy
