#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddLrFind(CLI::App& app, Context& context) {
  const auto o = std::make_shared<LrFindOptions>();
  Verb verb(app, "lr-find", "Find a learning rate by range tests, in which it rises step by step");
  verb.Recipe(o->recipe);
  verb.Changes(o->changes);
  verb->add_option("--start", o->start, "First learning rate [1e-7]");
  verb->add_option("--end", o->end, "Last learning rate [10]");
  verb->add_option("--steps", o->steps, "Number of steps from the first rate to the last [100]");
  verb->add_option("--ramp", o->ramp, "Shape of the rise: exp or linear [exp]");
  verb->add_option("--stop", o->stop,
                   "Stop at four times which smoothed loss: best or first [best]");
  verb->add_option("--smooth", o->smooth, "Weight of past losses in the smoothed loss [0.98]");
  verb->add_option("--seeds", o->seeds,
                   "Number of tests, with seeds counting up from the recipe's [1]");
  verb->add_option("--group", o->group,
                   "Glob on names: raise the rate of these parameters [those with optimizer.lr]");
  verb->add_flag("--freeze", o->freeze, "Do not train the other parameters");
  verb.Json(o->json, "all numbers");
  verb.Output("--svg", o->svg, "Draw the curve to this file, .svg or .png");
  verb.Output("--write", o->write,
              "Write the recipe with the recommended learning rate to this file");
  verb.Run([&context, o] { context.NeedTraining("lr-find").lr_find(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
