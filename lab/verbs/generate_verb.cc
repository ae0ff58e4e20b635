#include <memory>

#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddGenerate(CLI::App& app, Context& context) {
  const auto o = std::make_shared<GenerateOptions>();
  Verb verb(app, "generate", "Let the model of a run go on with a text, or make images");
  verb->add_option("run", o->run, "Folder written by kudari train")->required();
  verb->add_option("--prompt", o->prompt, "Text to begin with [none]");
  verb->add_option("--tokens", o->tokens, "Number of tokens to generate [500]");
  verb->add_option("--temperature", o->temperature,
                   "Divisor of the logits; 0: always the most probable token [1]");
  verb->add_option("--top-k", o->top_k, "Number of most probable tokens to draw from; 0: all [0]");
  verb->add_option("--count", o->count, "Number of images to make [64]");
  verb.Output("--out", o->out, "Write a grid of images, which the run's model makes, as PNG");
  verb->add_option("--seed", o->seed, "Seed of the draws [1]");
  verb.Run([&context, o] { context.NeedTraining("generate").generate(*o, stdout); });
}

}  // namespace kudari::lab
