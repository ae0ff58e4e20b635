#include <memory>

#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddPlan(CLI::App& app, Context& context) {
  const auto o = std::make_shared<PlanOptions>();
  CLI::App* const verb = app.add_subcommand(
      "plan", "Print the memory that a recipe needs and the least time of an optimiser step");
  verb->add_option("recipe", o->recipe, "Recipe, a TOML file")->required();
  verb->add_option("--set", o->sets, "Change a value of the recipe: key=value")
      ->allow_extra_args(false);
  verb->callback([&context, o] { context.NeedTraining("plan").plan(*o, stdout); });
}

}  // namespace kudari::lab
