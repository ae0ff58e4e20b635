#include <memory>

#include "lab/files/output_file.h"
#include "lab/recipe/scale.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddScale(CLI::App& app, Context& context) {
  const auto o = std::make_shared<ScaleOptions>();
  const auto check = std::make_shared<bool>(false);
  Verb verb(app, "scale", "Adapt a recipe to another batch size");
  verb.Recipe(o->recipe);
  verb->add_option("--batch", o->batch, "Number of samples per step, over all ranks")->required();
  verb->add_option("--rule", o->rule,
                   "Scaling rule: linear, sqrt, adam_sde or none [by optimiser]");
  verb->add_option("--accumulate", o->accumulate,
                   "Number of gradients accumulated per step [unchanged]");
  verb->add_option("--ranks", o->ranks, "Number of processes that share a step [1]");
  verb->add_option("--from-ranks", o->from_ranks,
                   "Number of processes that the recipe was made for [1]");
  verb.Changes(o->changes);
  verb.Output("--write", o->write, "Write the new recipe to this file");
  verb.Json(o->json, "the comparison");
  verb.Output("--svg", o->svg,
              "Draw the learning rate against the batch size to this file, .svg or .png");
  verb->add_flag("--check", *check, "Train both recipes for a few epochs and compare them");
  verb->add_option("--check-epochs", o->check_epochs, "Number of epochs of --check [3]")
      ->check(CLI::Range(1, 1000000));
  verb.Run([&context, o, check] {
    std::FILE* const console = ConsoleBeside(o->json);
    const Training* const training = *check ? &context.NeedTraining("scale --check") : nullptr;
    const Scaling scaling = Scale(*o, console);
    if (training != nullptr) training->check_scaling(scaling, *o, console);
  });
}

}  // namespace kudari::lab
