#include <memory>

#include "lab/files/output_file.h"
#include "lab/recipe/advise.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddAdvise(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<AdviseOptions>();
  Verb verb(app, "advise", "Recommend an optimiser and its settings, with reasons");
  verb->add_option("--task", o->task,
                   "Kind of task: cnn, detection, transformer, finetune, gan, rl or other");
  verb->add_option("--batch", o->batch, "Number of samples per step [by task]")
      ->check(CLI::PositiveNumber);
  verb->add_option("--params", o->params, "Number of parameters of the model, such as 124M");
  verb->add_option("--memory", o->memory, "Memory that training may use, such as 16GiB");
  verb->add_option("--activations", o->activations,
                   "Part of --memory that activations use [a quarter]");
  verb->add_option("--samples", o->samples, "Number of training samples, such as 1.28M");
  verb->add_option("--epochs", o->epochs, "Number of passes over the samples [by task]")
      ->check(CLI::PositiveNumber);
  verb->add_option("--priority", o->priority, "What matters most: accuracy, memory or speed");
  verb->add_option("--bandwidth", o->bandwidth,
                   "Memory bandwidth in bytes per second, such as 40GB [measured]");
  verb->add_flag("--explain", o->explain, "First print the path through the decision chart");
  verb.Output("--write", o->write, "Write the recommended recipe to this file");
  verb.Json(o->json, "the advice");
  verb.Run([o] { Advise(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
