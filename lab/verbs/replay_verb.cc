#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/replay.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddReplay(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ReplayOptions>();
  Verb verb(app, "replay", "Apply an optimiser to recorded gradients");
  verb->add_option("--recipe", o->recipe, "Recipe, a TOML file with an [optimizer] table")
      ->required();
  verb->add_option("--params", o->params, "Parameters to start from (safetensors)")->required();
  verb->add_option("--grads", o->grads, "Gradients named <step>/<parameter> (safetensors)")
      ->required();
  verb.Output("--out", o->out, "Write the final parameters to this file (safetensors)")->required();
  verb.Output("--state-out", o->state_out,
              "Write the optimiser's state, named <parameter>/<slot>, to this file (safetensors)");
  verb.Json(o->json, "a summary");
  verb.Run([o] { Replay(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
