#include <memory>

#include "kudari/schedule.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/verbs/schedule_table.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddSchedule(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ScheduleOptions>();
  const auto examples = std::make_shared<bool>(false);
  Verb verb(app, "schedule", "Print a schedule's values and its curve");
  CLI::Option* const text =
      verb->add_option("text", o->text, "Schedule, such as \"0.1 * cosine(900)\"");
  CLI::Option* const steps =
      verb->add_option("--steps", o->steps, "Number of steps of the training");
  verb->add_option("--steps-per-epoch", o->steps_per_epoch,
                   "Number of steps of an epoch, for lengths such as 30ep");
  verb->add_option(
      "--every", o->every,
      "Number of steps between rows of the table [round steps, and those where the curve bends]");
  CLI::Option* const csv = verb->add_flag("--csv", o->csv, "Print all values as CSV");
  verb.Json(o->json, "all values")->excludes(csv);
  CLI::Option* const svg =
      verb.Output("--svg", o->file, "Draw the curve to this file, .svg or .png");
  verb->add_flag("--examples", *examples, "Only draw an example of every schedule")
      ->needs(svg)
      ->excludes(text);
  verb.Run([o, examples, text, steps] {
    if (*examples) {
      DrawEverySchedule(o->file);
      return;
    }
    if (text->count() > 0) ParseSchedule(o->text);  // what is wrong with it comes first
    if (text->count() == 0 || steps->count() == 0) {
      throw UsageError(
          "schedule: give a text and --steps, as in \"0.1 * cosine(900)\" --steps 1000");
    }
    ShowSchedule(*o, ConsoleBeside(o->json));
  });
}

}  // namespace kudari::lab
