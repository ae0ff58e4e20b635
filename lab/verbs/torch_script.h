#ifndef KUDARI_LAB_VERBS_TORCH_SCRIPT_H_
#define KUDARI_LAB_VERBS_TORCH_SCRIPT_H_

#include <span>
#include <string_view>

namespace kudari::lab {

/// A file of lab/python.
struct TorchModule {
  std::string_view name;  ///< such as torch_state.py, which is the one to run
  std::string_view text;
};

/// The script that reads and writes files of PyTorch's.
extern const std::span<const TorchModule> kTorchModules;

/// The Python that was found when the program was built; "" if none was.
extern const std::string_view kBuiltWithPython;

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TORCH_SCRIPT_H_
