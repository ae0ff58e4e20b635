#include <memory>

#include "lab/console/usage_error.h"
#include "lab/verbs/list.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

struct DescribeOptions {
  std::string name;
  std::filesystem::path json;
  bool all = false, schedules = false, markdown = false;
};

void Describe(const DescribeOptions& o) {
  if (o.name.empty() && !o.all && !o.schedules) {
    throw UsageError("describe: give a name that kudari list shows, --all or --schedules");
  } else if (!o.json.empty()) {
    DescribeJson(o.name, o.schedules, o.json);
  } else if (o.markdown && !o.name.empty()) {
    throw UsageError("describe: --markdown needs --all or --schedules");
  } else if (o.markdown && (o.all || o.schedules)) {
    std::fputs((o.all ? RulesPage() : SchedulesPage()).c_str(), stdout);
  } else if (o.all) {
    DescribeEverything(stdout);
  } else if (o.schedules) {
    DescribeEverySchedule(stdout);
  } else {
    DescribeByName(o.name, stdout);
  }
}

}  // namespace

void AddDescribe(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<DescribeOptions>();
  Verb verb(app, "describe",
            "Describe anything that kudari list shows in full: formula, options, cost, paper");
  CLI::Option* const name = verb->add_option("name", o->name, "Name, as kudari list shows it");
  CLI::Option* const all =
      verb->add_flag("--all", o->all, "Describe everything that kudari list shows");
  CLI::Option* const schedules =
      verb->add_flag("--schedules", o->schedules, "Describe every schedule")->excludes(name);
  verb->add_flag("--markdown", o->markdown,
                 "Print the page docs/rules.md (--all) or docs/schedules.md (--schedules)");
  all->excludes(name)->excludes(schedules);
  verb.Json(o->json, "every field");
  verb.Run([o] { Describe(*o); });
}

}  // namespace kudari::lab
