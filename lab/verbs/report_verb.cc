#include <memory>

#include "lab/files/output_file.h"
#include "lab/report/report.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddReport(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ReportOptions>();
  Verb verb(app, "report", "Write a page that shows runs: curves, verdicts and recipes");
  verb->add_option("run", o->runs,
                   "Folders written by kudari train, or logs: JSON, tables, text of a console or "
                   "TensorBoard event files")
      ->required();
  verb.Output("--out", o->out, "Write the page to this file, .html")->required();
  verb->add_option("--map", o->maps,
                   "Name the column that holds a field, or several to be added up: "
                   "field=column+column")
      ->allow_extra_args(false);
  verb->add_option("--steps-per-epoch", o->steps_per_epoch,
                   "Number of steps per epoch, for logs without epochs")
      ->check(CLI::PositiveNumber);
  verb.Run([o] { WriteReport(*o, ConsoleBeside(o->out)); });
}

}  // namespace kudari::lab
