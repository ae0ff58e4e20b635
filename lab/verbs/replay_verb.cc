#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/replay.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddReplay(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ReplayOptions>();
  Verb verb(app, "replay", "Apply an optimiser to recorded gradients");
  verb->add_option("--recipe", o->recipe, "Recipe, a TOML file with an [optimizer] table");
  verb->add_option("--params", o->params, "Parameters to start from (safetensors)");
  verb->add_option("--checkpoint", o->checkpoint,
                   "Checkpoint to go on from, in place of --recipe and --params");
  verb->add_option("--grads", o->grads, "Gradients named <step>/<parameter> (safetensors)")
      ->required();
  verb.Output("--out", o->out, "Write the final parameters to this file (safetensors)")->required();
  verb.Output("--state-out", o->state_out,
              "Write the optimiser's state, named <parameter>/<slot>, to this file (safetensors)");
  verb->add_option("--save", o->save, "Save a checkpoint at the end in this folder");
  verb.Json(o->json, "a summary");
  verb.Run([o] { Replay(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
