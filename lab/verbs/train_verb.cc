#include <memory>
#include <optional>
#include <string>

#include "lab/console/duration.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddTrain(CLI::App& app, Context& context) {
  const auto o = std::make_shared<TrainOptions>();
  const auto track = std::make_shared<std::string>();
  Verb verb(app, "train", "Train a model as a recipe describes");
  verb->add_option("recipe", o->recipe, "Recipe; with --resume, the run's own unless given");
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
  const auto resumed = std::make_shared<std::string>();
  CLI::Option* const resume =
      verb->add_option("--resume", *resumed,
                       "Go on with the run in this folder, from its last checkpoint [the newest "
                       "run of the recipe]")
          ->type_name("[RUN]")
          ->expected(0, 1);
  verb->add_option("--init", o->init,
                   "Start from the weights of this file, checkpoint or run, instead of train.init");
  const auto limit = std::make_shared<std::string>();
  verb->add_option("--time-limit", *limit,
                   "Time, such as 90min or 2h, after which training stops with a checkpoint to go "
                   "on from [none]");
  verb.Run([&context, o, track, resume, resumed, limit] {
    if (resume->count() > 0) o->resume = *resumed;
    if (o->recipe.empty() && !o->resume) throw UsageError("train: the recipe is missing");
    if (!limit->empty()) {
      const std::optional<double> seconds = ParseDuration(*limit);
      if (!seconds) {
        throw UsageError("--time-limit " + *limit + ": is no time such as 90s, 5min or 2h");
      }
      o->time_limit = *seconds;
    }
    o->track_components = !track->empty();
    context.exit_code = context.NeedTraining("train").train(*o, ConsoleBeside(o->json)).exit_code;
  });
}

}  // namespace kudari::lab
