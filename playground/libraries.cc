// What the module needs of libraries that are installed for another machine.

// toml++ without its parser, which reads files: the library asks tables, and the module has none.
#define TOML_ENABLE_PARSER 0
#define TOML_IMPLEMENTATION
#include <hwy/targets.h>
#include <toml++/toml.h>

namespace hwy {

int64_t SupportedTargets() { return HWY_STATIC_TARGET; }

}  // namespace hwy
