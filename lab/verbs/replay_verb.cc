#include <memory>

#include "lab/verbs/replay.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddReplay(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ReplayOptions>();
  CLI::App* const verb = app.add_subcommand("replay", "Apply an optimiser to recorded gradients");
  verb->add_option("--recipe", o->recipe, "Recipe, a TOML file with an [optimizer] table")
      ->required();
  verb->add_option("--params", o->params, "Parameters to start from (safetensors)")->required();
  verb->add_option("--grads", o->grads, "Gradients named <step>/<parameter> (safetensors)")
      ->required();
  verb->add_option("--out", o->out, "Write the final parameters to this file (safetensors)")
      ->required();
  verb->add_option(
      "--state-out", o->state_out,
      "Write the optimiser's state, named <parameter>/<slot>, to this file (safetensors)");
  verb->callback([o] { Replay(*o, stdout); });
}

}  // namespace kudari::lab
