#include <memory>

#include "kudari/error.h"
#include "kudari/schedule.h"
#include "lab/verbs/schedule_table.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddSchedule(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ScheduleOptions>();
  const auto examples = std::make_shared<bool>(false);
  CLI::App* const verb = app.add_subcommand("schedule", "Print a schedule's values and its curve");
  CLI::Option* const text = verb->add_option("text", o->text, "The schedule");
  CLI::Option* const steps = verb->add_option("--steps", o->steps, "Steps of the training");
  verb->add_option("--steps-per-epoch", o->steps_per_epoch,
                   "Steps of an epoch, for lengths such as 30ep");
  verb->add_option("--every", o->every,
                   "Steps between lines of the table [round ones, and where curves join]");
  CLI::Option* const csv = verb->add_flag("--csv", o->csv, "Print all values as CSV");
  verb->add_flag("--json", o->json, "Print all values as JSON")->excludes(csv);
  CLI::Option* const svg =
      verb->add_option("--svg", o->file, "Draw the curve to this file, .svg or .png");
  verb->add_flag("--examples", *examples, "Draw an example of every schedule, and nothing else")
      ->needs(svg)
      ->excludes(text);
  verb->callback([o, examples, text, steps] {
    if (*examples) {
      DrawEverySchedule(o->file);
      return;
    }
    if (text->count() > 0) ParseSchedule(o->text);  // what is wrong with it comes first
    if (text->count() == 0 || steps->count() == 0) {
      throw Error("schedule: give a text and --steps, as in \"0.1 * cosine(900)\" --steps 1000");
    }
    ShowSchedule(*o, stdout);
  });
}

}  // namespace kudari::lab
