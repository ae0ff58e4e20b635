#include <filesystem>
#include <memory>

#include "lab/verbs/plot_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddPlot(CLI::App& app, Context& /*context*/) {
  struct Given {
    std::filesystem::path file, picture;
  };
  const auto given = std::make_shared<Given>();
  Verb verb(app, "plot", "Draw numbers of your own: lines, intervals, tables, dots on a surface");
  verb->add_option("file", given->file, "JSON file of charts; docs/lab.md says what it has")
      ->required();
  verb.Output("--svg", given->picture, "Draw the charts to this file, .svg or .png")->required();
  verb.Run([given] { PlotFile(given->file, given->picture); });
}

}  // namespace kudari::lab
