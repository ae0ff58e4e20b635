#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddSharpness(CLI::App& app, Context& context) {
  const auto o = std::make_shared<SharpnessOptions>();
  Verb verb(app, "sharpness", "Measure how sharp the minimum is in which a run ended");
  verb->add_option("run", o->run, "Folder written by kudari train")->required();
  verb->add_option("--samples", o->samples,
                   "Number of training samples, counted from the first; 0: all [1024]");
  verb->add_option("--rho", o->rho, "Radius of the ball around the weights [0.05]");
  verb->add_option("--adaptive-rho", o->adaptive_rho,
                   "Radius of the ball measured in units of the weights [0.5]");
  verb->add_option("--steps", o->steps, "Number of steps of the ascent in the ball [10]");
  verb->add_option("--draws", o->draws,
                   "Number of random directions, and of random sign vectors [20]");
  verb->add_option("--seed", o->seed, "Seed of the random directions and signs [1]");
  CLI::Option* const json = verb.Json(o->json, "the measures");
  CLI::Option* const slice = verb->add_option(
      "--slice", o->slice,
      "Number of random directions, 1 or 2, along which to draw the loss instead of measuring");
  slice->excludes(json);
  verb->add_option("--with", o->with, "Folder of a second run, drawn in the same picture")
      ->needs(slice);
  verb->add_option("--out", o->out, "Folder for the picture and its numbers [the run's]")
      ->needs(slice);
  verb->add_option("--points", o->points,
                   "Number of points along each direction, odd [51; 21 in 2-D]")
      ->needs(slice);
  verb->add_option("--range", o->range,
                   "Length of each direction in units of the filters' norms [1]")
      ->needs(slice);
  verb.Force(o->force, "Overwrite files that exist");
  verb.Run([&context, o, slice] {
    const Training& training = context.NeedTraining("sharpness");
    (slice->count() > 0 ? training.slice : training.sharpness)(*o, ConsoleBeside(o->json));
  });
}

}  // namespace kudari::lab
