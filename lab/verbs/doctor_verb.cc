#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/doctor_report.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddDoctor(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<DoctorOptions>();
  Verb verb(app, "doctor", "Diagnose a training run: say what is wrong with it");
  verb->add_option(
          "run", o->run,
          "Folder written by kudari train, or a log: JSON lines, CSV or TensorBoard event files")
      ->required();
  verb->add_option("--map", o->maps, "Name the column that holds a field: field=column")
      ->allow_extra_args(false);
  verb->add_option("--steps-per-epoch", o->steps_per_epoch,
                   "Number of steps per epoch, for a log without epochs")
      ->check(CLI::PositiveNumber);
  verb->add_option("--planned-steps", o->planned_steps,
                   "Number of steps planned for the run, for the log of a run that has not ended")
      ->check(CLI::PositiveNumber);
  verb.Json(o->json, "the findings");
  verb.Output("--svg", o->svg, "Draw the curves to this file, .svg or .png");
  verb.Run([o] { Doctor(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
