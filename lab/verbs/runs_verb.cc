#include <memory>

#include "lab/verbs/runs.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddRuns(CLI::App& app, Context& /*context*/) {
  const auto folder = std::make_shared<std::filesystem::path>("runs");
  const auto json = std::make_shared<std::filesystem::path>();
  Verb verb(app, "runs", "List runs with their state, step and best evaluation");
  verb->add_option("folder", *folder, "Folder that holds the folders of runs [runs]");
  verb.Json(*json, "them");
  verb.Run(
      [folder, json] { json->empty() ? ListRuns(*folder, stdout) : ListRunsJson(*folder, *json); });
}

}  // namespace kudari::lab
