#include <memory>

#include "lab/verbs/torch_files.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddImportTorch(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ImportTorchOptions>();
  Verb verb(app, "import-torch", "Go on from a state dict of PyTorch's: save it as a checkpoint");
  verb->add_option(
          "file", o->file,
          "What torch.save has written, or a folder of torch.distributed.checkpoint: an "
          "optimizer's state dict, or a dict with it and the model's, scheduler's and scaler's")
      ->required();
  verb->add_option("--out", o->out, "Folder of checkpoints [the file's name with -kudari]");
  verb->add_option("--names", o->names,
                   "File with the parameters' names in the optimizer's order, one a line");
  verb->add_option("--optimizer", o->optimizer,
                   "Class of the optimizer, where its options do not tell: Adam or AdamW");
  verb->add_option("--part", o->part,
                   "Name of the one optimizer, of several in the file, that is taken [all as one]");
  verb->add_option("--step", o->step, "Steps that were taken [what the file says]");
  verb->add_option("--python", o->python, "Python with torch [" + UsualPython() + "]");
  verb.Run([o] { ImportTorch(*o, stdout); });
}

}  // namespace kudari::lab
