#ifndef KUDARI_LAB_VERBS_TORCH_FILES_H_
#define KUDARI_LAB_VERBS_TORCH_FILES_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

namespace kudari::lab {

/// The Python that runs torch: the one that was found when the program was built, if it is still
/// there, or python3.
std::string UsualPython();

/// What `kudari import-torch` is asked for.
struct ImportTorchOptions {
  std::filesystem::path file;   ///< of torch.save, or a folder of torch.distributed.checkpoint
  std::filesystem::path out;    ///< folder of checkpoints; empty: the file's name with -kudari
  std::filesystem::path names;  ///< names of the parameters; empty: those in the file
  std::string optimizer;        ///< torch's class; "": what its options tell
  std::string part;             ///< the one of several optimizers; "": all of them as one
  std::optional<int64_t> step;  ///< steps taken; unset: what the file says
  std::string python;           ///< "": UsualPython
};

/// Saves a state dict of PyTorch's as a checkpoint that LoadState takes in strict mode, with its
/// spec in the manifest. Throws Error for what torch or Kudari cannot load, and then writes
/// nothing.
void ImportTorch(const ImportTorchOptions& options, std::FILE* console);

/// What `kudari export-torch` is asked for.
struct ExportTorchOptions {
  std::filesystem::path checkpoint;  ///< a checkpoint, or a run or folder of them
  std::filesystem::path out;    ///< empty: the checkpoint's name with .pt or, for a folder, -dcp
  std::filesystem::path names;  ///< names in the model's order; empty: what the checkpoint says
  std::string part;             ///< the part whose optimiser is meant; "": all of them
  bool dcp = false;             ///< write a folder of torch.distributed.checkpoint
  bool force = false;           ///< overwrite the file, or such a folder
  std::string python;           ///< "": UsualPython
};

/// Writes a checkpoint for torch.load or torch.distributed.checkpoint. Throws Error for a
/// checkpoint that cannot be loaded and for an optimiser that PyTorch does not have, and then
/// writes nothing.
void ExportTorch(const ExportTorchOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TORCH_FILES_H_
