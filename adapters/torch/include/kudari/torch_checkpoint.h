#ifndef KUDARI_TORCH_CHECKPOINT_H_
#define KUDARI_TORCH_CHECKPOINT_H_

#include <torch/torch.h>

#include <filesystem>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/state.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"

namespace kudari::torch {

/// Saves a run as a checkpoint, see kudari::SaveCheckpoint, and returns its folder: the module's
/// parameters and buffers, in model.safetensors under the names that they have in the module, the
/// optimiser's state, the scaler's if there is one, and LibTorch's default generator for the CPU.
/// With what RunManifest adds to the manifest and RunOptions to the options.
///
///     kudari::torch::Save("checkpoints", *model, optimizer);
///     ...                                                        // in a new process:
///     kudari::torch::Load("checkpoints", *model, optimizer);
std::filesystem::path Save(const std::filesystem::path& folder, const ::torch::nn::Module& module,
                           const Optimizer& optimizer, const CheckpointManifest& manifest = {},
                           const CheckpointOptions& options = {});
std::filesystem::path Save(const std::filesystem::path& folder, const ::torch::nn::Module& module,
                           const Optimizer& optimizer, GradScaler& scaler,
                           const CheckpointManifest& manifest = {},
                           const CheckpointOptions& options = {});

/// What Load has found.
struct LoadedRun {
  std::filesystem::path folder;  ///< of the checkpoint
  CheckpointManifest manifest;
  /// What is missing or unknown after a lenient load. In both modes `random` is missing if the
  /// checkpoint has no state of the generator, as one from PyTorch, and the generator stays as it
  /// is.
  LoadReport report;
  /// Newer checkpoints that were passed over because they are damaged. Tell the user of them.
  std::vector<DamagedCheckpoint> damaged = {};
};

/// Loads the newest checkpoint of a folder, or the one that `folder` is, into a run of the same
/// form, in place: the next steps have the bits that they would have had. Everything is verified
/// and compared with the run first; throws Error, with nothing changed, for what does not fit, and
/// as LoadCheckpoint does.
LoadedRun Load(const std::filesystem::path& folder, ::torch::nn::Module& module,
               Optimizer& optimizer, LoadMode mode = LoadMode::kStrict);
LoadedRun Load(const std::filesystem::path& folder, ::torch::nn::Module& module,
               Optimizer& optimizer, GradScaler& scaler, LoadMode mode = LoadMode::kStrict);

/// The state that Save saves, for a kudari::CheckpointSaver, which writes while training goes on:
///
///     kudari::CheckpointSaver saver("checkpoints", kudari::torch::RunOptions());
///     saver.Save(kudari::torch::RunState(*model, optimizer),
///                kudari::torch::RunManifest(optimizer));
StateTree RunState(const ::torch::nn::Module& module, const Optimizer& optimizer,
                   const GradScaler* scaler = nullptr);
/// The manifest with the optimiser's count of steps, if its step is 0, and the texts `spec`, a
/// recipe of the optimiser, and `parameters`, their names in order with one a line, unless it has
/// texts of these names. `kudari export-torch` reads both.
CheckpointManifest RunManifest(const Optimizer& optimizer, CheckpointManifest manifest = {});
/// The options with the nodes of the model among model_nodes.
CheckpointOptions RunOptions(CheckpointOptions options = {});

/// A loss scaler's state in an archive and back, by torch::save and torch::load, as
/// Optimizer::save and Optimizer::load have the optimiser's.
::torch::serialize::OutputArchive& operator<<(::torch::serialize::OutputArchive& archive,
                                              const GradScaler& scaler);
::torch::serialize::InputArchive& operator>>(::torch::serialize::InputArchive& archive,
                                             GradScaler& scaler);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_CHECKPOINT_H_
