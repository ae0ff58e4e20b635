#include <memory>

#include "lab/verbs/list.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddList(CLI::App& app, Context& /*context*/) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* const verb = app.add_subcommand(
      "list",
      "List rules (update formulas), sources (how gradients are made), scales (clipping), "
      "averagers (of weights), schedules, presets and recipe tables");
  verb->add_flag("--json", *json, "Print JSON with every field");
  verb->callback([json] { List(*json, stdout); });
}

}  // namespace kudari::lab
