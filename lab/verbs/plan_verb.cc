#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddPlan(CLI::App& app, Context& context) {
  const auto o = std::make_shared<PlanOptions>();
  Verb verb(app, "plan",
            "Print the memory that a recipe needs and the least time of an optimiser step");
  verb.Recipe(o->recipe);
  verb.Changes(o->changes);
  verb.Json(o->json, "the plan");
  verb.Run([&context, o] { context.NeedTraining("plan").plan(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
