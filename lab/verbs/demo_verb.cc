#include <memory>

#include "lab/demo/demo.h"
#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddDemo(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<DemoOptions>();
  Verb verb(app, "demo", "Show what optimisation courses teach, by pictures and numbers");
  CLI::Option* const name =
      verb->add_option("name", o->name, "Name of the demonstration; none: list them all");
  verb->add_option_function<std::string>(
          "--set", [o](const std::string& set) { o->sets.push_back(set); },
          "Change a parameter of the demonstration; may be repeated")
      ->type_name("NAME=VALUE")
      ->trigger_on_parse()
      ->needs(name);
  verb->add_option("--seed", o->seed, "Seed of what is random [1]")->needs(name);
  verb.Output("--svg", o->svg, "Draw the picture to this file, .svg or .png")->needs(name);
  verb.Json(o->json, "all numbers and lines")->needs(name);
  verb.Run([o, name] {
    if (name->count() == 0) {
      ListDemos(stdout);
    } else {
      ShowDemo(*o, ConsoleBeside(o->json));
    }
  });
}

}  // namespace kudari::lab
