#include <filesystem>
#include <memory>
#include <vector>

#include "lab/files/output_file.h"
#include "lab/verbs/doctor_report.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddDoctor(CLI::App& app, Context& /*context*/) {
  struct Given {
    DoctorOptions options;
    std::vector<std::filesystem::path> runs;
  };
  const auto given = std::make_shared<Given>();
  DoctorOptions* const o = &given->options;
  Verb verb(app, "doctor", "Diagnose training runs: say what is wrong with them");
  verb->add_option("run", given->runs,
                   "Folders written by kudari train, or logs: JSON, tables, text of a console or "
                   "TensorBoard event files; of several a table is printed")
      ->required();
  verb->add_option("--map", o->maps,
                   "Name the column that holds a field, or several to be added up: "
                   "field=column+column")
      ->allow_extra_args(false);
  verb->add_option("--steps-per-epoch", o->steps_per_epoch,
                   "Number of steps per epoch, for a log without epochs")
      ->check(CLI::PositiveNumber);
  verb->add_option("--planned-steps", o->planned_steps,
                   "Number of steps planned for the run, for the log of a run that has not ended")
      ->check(CLI::PositiveNumber);
  verb.Json(o->json, "the findings");
  verb.Output("--svg", o->svg, "Draw the curves to this file, .svg or .png");
  verb.Run([given] {
    DoctorOptions& options = given->options;
    std::FILE* const console = ConsoleBeside(options.json);
    if (given->runs.size() > 1) return DoctorTable(options, given->runs, console);
    options.run = given->runs[0];
    Doctor(options, console);
  });
}

}  // namespace kudari::lab
