#ifndef KUDARI_TORCH_ARCHIVE_H_
#define KUDARI_TORCH_ARCHIVE_H_

#include <torch/torch.h>

#include <filesystem>
#include <string>
#include <vector>

#include "kudari/state.h"
#include "kudari/torch.h"

namespace kudari::torch {

// Archives of LibTorch's own optimisers, as torch::save(torch::optim::AdamW, path) writes them, of
// SGD, Adam, AdamW, RMSprop and Adagrad. They hold hyper-parameters, step counts and buffers. They
// lack the names of parameters, which they number in the order that the optimiser was given, the
// class of the optimiser, the weights, and schedules.

/// The state in such an archive, in the words of kudari/torch_state.h. `optimizer` is the class,
/// "AdamW" for torch::optim::AdamW, and `names` are those of the parameters in the order that it
/// was given. Throws Error naming the file and what is wrong with it.
///
///     const kudari::StateTree old = kudari::torch::ReadTorchArchive("adamw.pt", "AdamW", *model);
///     kudari::torch::Optimizer optimizer(*model, kudari::SpecFromTorch(old));
///     optimizer.core().LoadState(kudari::StateFromTorch(old));
StateTree ReadTorchArchive(const std::filesystem::path& path, const std::string& optimizer,
                           const std::vector<std::string>& names);
/// The same for an optimiser that was given module.parameters().
StateTree ReadTorchArchive(const std::filesystem::path& path, const std::string& optimizer,
                           const ::torch::nn::Module& module);

/// Writes such an archive, completely or not at all, for torch::load into an optimiser of LibTorch
/// that was given optimizer.Parameters(): of the class that the rule has as its twin, and with a
/// group for each set of hyper-parameters. Schedules, clipping and the like are not LibTorch's, see
/// kudari::NotInTorch. Throws Error naming the rule if LibTorch has no such optimiser, or if there
/// would have to be several.
void WriteTorchArchive(const std::filesystem::path& path, const Optimizer& optimizer);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_ARCHIVE_H_
