#include <memory>

#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddTrain(CLI::App& app, Context& context) {
  const auto o = std::make_shared<TrainOptions>();
  const auto track = std::make_shared<std::string>();
  CLI::App* const verb = app.add_subcommand("train", "Train a model as a recipe describes");
  verb->add_option("recipe", o->recipe, "Recipe, a TOML file")->required();
  verb->add_option("--set", o->sets, "Change a value of the recipe: key=value")
      ->allow_extra_args(false);
  verb->add_option("--out", o->out, "Folder for the results [runs/<recipe>]");
  verb->add_option("--export", o->export_file, "Also write the final weights to this file");
  verb->add_flag("--explain", o->explain, "Print how each parameter is treated, and stop");
  verb->add_option(
          "--track", *track,
          "Additional statistics to log: components, of a sharpness-aware gradient's parts")
      ->check(CLI::IsMember({"components"}));
  verb->callback([&context, o, track] {
    o->track_components = !track->empty();
    context.exit_code = context.NeedTraining("train").train(*o, stdout).diverged ? 1 : 0;
  });
}

}  // namespace kudari::lab
