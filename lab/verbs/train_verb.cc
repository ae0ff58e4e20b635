#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddTrain(CLI::App& app, Context& context) {
  const auto o = std::make_shared<TrainOptions>();
  const auto track = std::make_shared<std::string>();
  Verb verb(app, "train", "Train a model as a recipe describes");
  verb.Recipe(o->recipe);
  verb.Changes(o->changes);
  verb->add_option("--out", o->out,
                   "Folder for the results [runs/<recipe>, or a new one beside it]");
  verb.Force(o->force, "Delete the run that the folder holds, and overwrite files");
  verb.Json(o->json, "the summary");
  verb.Output("--export", o->export_file, "Also write the final weights to this file");
  verb->add_flag("--explain", o->explain, "Print how each parameter is treated, and stop");
  verb->add_option(
          "--track", *track,
          "Additional statistics to log: components, of a sharpness-aware gradient's parts")
      ->check(CLI::IsMember({"components"}));
  verb.Run([&context, o, track] {
    o->track_components = !track->empty();
    context.exit_code = context.NeedTraining("train").train(*o, ConsoleBeside(o->json)).exit_code;
  });
}

}  // namespace kudari::lab
