#include <memory>

#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddPredict(CLI::App& app, Context& context) {
  const auto o = std::make_shared<PredictOptions>();
  Verb verb(app, "predict", "Say what the model of a run finds in pictures of yours");
  verb->add_option("run", o->run, "Folder written by kudari train")->required();
  verb->add_option("files", o->files, "Pictures, PNG or JPEG, and folders of them")->required();
  verb->add_option("--top", o->top, "Number of classes to show, the most probable ones [3]");
  verb->add_option("--threshold", o->threshold, "Lowest score of a detector's boxes [0.25]");
  verb.Json(o->json, "what was found");
  verb.Output("--out", o->out, "Draw the pictures with what was found into this SVG");
  verb.Run([&context, o] {
    const bool sound = context.NeedTraining("predict").predict(*o, ConsoleBeside(o->json), stderr);
    if (!sound) context.exit_code = 1;
  });
}

}  // namespace kudari::lab
