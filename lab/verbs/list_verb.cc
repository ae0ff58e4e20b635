#include <memory>

#include "lab/verbs/list.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddList(CLI::App& app, Context& /*context*/) {
  const auto json = std::make_shared<std::filesystem::path>();
  Verb verb(app, "list",
            "List rules (update formulas), sources (how gradients are made), scales (clipping), "
            "averagers (of weights), schedules, presets and recipe tables");
  verb.Json(*json, "every field");
  verb.Run([json] { json->empty() ? List(stdout) : ListJson(*json); });
}

}  // namespace kudari::lab
