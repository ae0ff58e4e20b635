#include <memory>

#include "lab/verbs/torch_files.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddExportTorch(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<ExportTorchOptions>();
  Verb verb(app, "export-torch", "Go on in PyTorch: write a checkpoint for torch.load");
  verb->add_option("checkpoint", o->checkpoint,
                   "Checkpoint, or the run or folder whose newest is meant")
      ->required();
  verb->add_option("--out", o->out,
                   "File to write [the checkpoint's name with .pt], or folder [with -dcp]")
      ->type_name("FILE");
  verb->add_flag("--dcp", o->dcp, "Write a folder for torch.distributed.checkpoint");
  verb->add_option(
      "--names", o->names,
      "File with the parameters' names in the order of model.parameters(), one a line");
  verb->add_option("--part", o->part,
                   "Part of the model, such as generator, whose optimizer alone is written [all]");
  verb->add_option("--python", o->python, "Python with torch [" + UsualPython() + "]");
  verb.Force(o->force, "Overwrite the file or folder if it exists");
  verb.Run([o] { ExportTorch(*o, stdout); });
}

}  // namespace kudari::lab
