#include <memory>

#include "lab/files/output_file.h"
#include "lab/landscape/landscape.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddLandscape(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<LandscapeOptions>();
  const auto start = std::make_shared<std::vector<double>>();
  Verb verb(app, "landscape", "Show the ways of optimisers down a function of two variables");
  CLI::Option* const function =
      verb->add_option("function", o->function, "Name of the function; none: list them all");
  CLI::Option* const runners =
      verb->add_option("--optimizers", o->runners,
                       "Names of rules or presets, with commas between them [sgd,momentum,adam]");
  runners->delimiter(',')->needs(function);
  verb->add_option(
          "--optimizer", o->tables,
          "One more optimiser: a name, or a table of a recipe with a label in front of it, "
          "such as 'slow={rule = \"sgd\", lr = 1e-3}'")
      ->needs(function);
  verb->add_option("--start", *start, "Coordinates of the start, X,Y [the function's]")
      ->delimiter(',')
      ->expected(2)
      ->needs(function);
  verb->add_option("--steps", o->descent.steps, "Number of steps [200]")->needs(function);
  verb->add_option("--noise", o->descent.noise,
                   "Standard deviation of the noise that each gradient has [0]")
      ->needs(function);
  verb->add_option("--seed", o->descent.seed, "Seed of the noise [1]")->needs(function);
  CLI::Option* const svg =
      verb.Output("--svg", o->svg, "Draw contours, paths and losses to this file, .svg or .png");
  svg->needs(function);
  verb->add_flag("--3d", o->view_3d, "Draw the surface from the side instead")->needs(svg);
  verb->add_flag("--animate", o->animated, "Draw a picture that plays the steps, .svg")->needs(svg);
  verb.Output("--html", o->html, "Write a page that plays the steps to this file")->needs(function);
  verb.Json(o->json, "all steps")->needs(function);
  verb.Run([o, function, runners, start] {
    if (function->count() == 0) {
      ListSurfaces(stdout);
      return;
    }
    if (runners->count() == 0 && o->tables.empty()) o->runners = {"sgd", "momentum", "adam"};
    if (!start->empty()) o->descent.start = Position{start->at(0), start->at(1)};
    ShowLandscape(*o, ConsoleBeside(o->json));
  });
}

}  // namespace kudari::lab
