#ifndef KUDARI_LAB_VERBS_REPLAY_H_
#define KUDARI_LAB_VERBS_REPLAY_H_

#include <cstdio>
#include <filesystem>

namespace kudari::lab {

/// What `kudari replay` is asked for; all but the recipe are safetensors files.
struct ReplayOptions {
  std::filesystem::path recipe = {};     ///< its [optimizer] table is used
  std::filesystem::path params = {};     ///< the parameters to start from
  std::filesystem::path grads = {};      ///< "<step>/<parameter>", steps from 1
  std::filesystem::path out = {};        ///< where the final parameters go
  std::filesystem::path state_out = {};  ///< where "<parameter>/<slot>" go; empty: nowhere
  std::filesystem::path json =
      {};  ///< file for a summary as JSON, "-" for standard output; or empty
  std::filesystem::path checkpoint = {};  ///< to go on from, in place of recipe and params
  std::filesystem::path save = {};        ///< folder for a checkpoint at the end; empty: none
};

/// Applies an optimiser to recorded gradients. With a checkpoint, the first recorded step comes
/// after those that it has had. A step without a tensor for a parameter is a missing gradient.
/// Schedules that are relative to the run are resolved for the last recorded step. Throws Error for
/// bad input, and then writes nothing.
void Replay(const ReplayOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_REPLAY_H_
