#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "kudari/messages.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/landscape/landscape.h"
#include "lab/landscape/surfaces.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

// Whether what the command is given is a run, since no function has that name.
bool IsRun(const std::string& name) {
  for (const Surface& surface : Surfaces()) {
    if (surface.name == name) return false;
  }
  return std::filesystem::is_directory(name) || name.find('/') != std::string::npos;
}

// The page that `make playground` writes, where a program finds it that was built or installed
// beside it; empty if it is not there.
std::filesystem::path FindPlayground() {
  std::error_code unknown;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", unknown);
  const std::filesystem::path folder = self.parent_path().parent_path();
  for (const char* const place : {"playground.html", "share/kudari/playground.html"}) {
    std::filesystem::path page = folder / place;
    if (!unknown && std::filesystem::is_regular_file(page, unknown)) return page;
  }
  return {};
}

}  // namespace

void AddLandscape(CLI::App& app, Context& context) {
  const auto o = std::make_shared<LandscapeOptions>();
  const auto of_run = std::make_shared<RunLandscapeOptions>();
  const auto start = std::make_shared<std::vector<double>>();
  Verb verb(app, "landscape",
            "Show the ways of optimisers down a function of two variables, or a run's own way");
  CLI::Option* const function =
      verb->add_option("function", o->function,
                       "Name of the function, or folder of a run; none: list the functions");
  CLI::Option* const runners =
      verb->add_option("--optimizers", o->runners,
                       "Names of rules or presets, with commas between them [sgd,momentum,adam]");
  runners->delimiter(',');
  std::vector<CLI::Option*> of_functions = {
      runners,
      verb->add_option(
          "--optimizer", o->tables,
          "One more optimiser: a name, or a table of a recipe with a label in front of it, "
          "such as 'slow={rule = \"sgd\", lr = 1e-3}'"),
      verb->add_option("--start", *start, "Coordinates of the start, X,Y [the function's]")
          ->delimiter(',')
          ->expected(2),
      verb->add_option("--steps", o->descent.steps, "Number of steps [200]"),
      verb->add_option("--noise", o->descent.noise,
                       "Standard deviation of the noise that each gradient has [0]")};
  std::vector<CLI::Option*> of_runs = {
      verb->add_option("--samples", of_run->samples,
                       "Number of training samples, counted from the first; 0: all [1024]"),
      verb->add_option("--points", of_run->points, "Number of points along each direction [25]")};
  verb->add_option("--seed", o->descent.seed, "Seed of the noise or of random directions [1]")
      ->needs(function);
  CLI::Option* const svg =
      verb.Output("--svg", o->svg, "Draw contours, paths and losses to this file, .svg or .png");
  svg->needs(function);
  verb->add_flag("--3d", o->view_3d, "Draw the surface from the side instead")->needs(svg);
  verb->add_flag("--animate", o->animated, "Draw a picture that plays the steps, .svg")->needs(svg);
  CLI::Option* const html =
      verb.Output("--html", o->html, "Write a page that shows the steps to this file");
  of_functions.push_back(html);
  const auto playground = std::make_shared<std::string>();
  of_functions.push_back(
      verb->add_option("--playground", *playground,
                       "The page of `make playground`, which --html becomes, or none: a page that "
                       "only plays the steps [what was built or installed with this program]")
          ->needs(html));
  verb.Json(o->json, "all steps")->needs(function);
  for (const auto* options : {&of_functions, &of_runs}) {
    for (CLI::Option* const option : *options) option->needs(function);
  }
  verb.Run([&context, o, of_run, function, runners, start, playground, of_functions, of_runs] {
    if (function->count() == 0) {
      ListSurfaces(stdout);
      return;
    }
    const bool run = IsRun(o->function);
    for (const CLI::Option* const option : run ? of_functions : of_runs) {
      if (option->count() == 0) continue;
      throw UsageError(fmt::format("landscape: {} is for {}, not for {}", option->get_name(),
                                   run ? "functions" : "the folders of runs", Quoted(o->function)));
    }
    if (run) {
      const Training& training = context.NeedTraining("landscape");
      of_run->run = o->function;
      of_run->seed = o->descent.seed;
      of_run->view_3d = o->view_3d;
      of_run->animated = o->animated;
      of_run->svg = o->svg;
      of_run->json = o->json;
      training.run_landscape(*of_run, ConsoleBeside(o->json));
      return;
    }
    if (runners->count() == 0 && o->tables.empty()) o->runners = {"sgd", "momentum", "adam"};
    if (!start->empty()) o->descent.start = Position{start->at(0), start->at(1)};
    if (playground->empty()) {
      o->playground = FindPlayground();
    } else if (*playground != "none") {
      o->playground = *playground;
    }
    ShowLandscape(*o, ConsoleBeside(o->json));
  });
}

}  // namespace kudari::lab
