#ifndef KUDARI_LAB_TRAIN_WEIGHTS_H_
#define KUDARI_LAB_TRAIN_WEIGHTS_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lab/models/models.h"

namespace kudari::lab {

/// Replaces every weight of a model by that of the same name in a safetensors file of F32, BF16 or
/// F16, rounded if need be. `path` is such a file, the index of several
/// (model.safetensors.index.json), a folder with one of them under their usual names, such as a
/// checkpoint or a run that has ended, or a folder of checkpoints or run with checkpoints, of which
/// the newest is taken. The running statistics of batch norms come from the file, too, and stay as
/// they are if it has none of them. Published files may name them as Model::Names says; weights
/// that are there twice must be equal. Names that match a pattern of `skip` (see Glob) are left as
/// they are, in the model and in the file, such as those of a head for other classes. Throws Error
/// if one of them lacks a tensor of the other, for another shape or dtype, or if a pattern matches
/// no parameter of the model.
void LoadWeights(Model& model, const std::filesystem::path& path,
                 const std::vector<std::string>& skip = {});

/// Writes a model's weights and the running statistics of its batch norms as float32, which holds
/// those of 16 bits exactly. Batch norms' counts of batches are left out, as nothing that reads the
/// file depends on them.
void SaveWeights(const Model& model, const std::filesystem::path& path,
                 const std::map<std::string, std::string>& metadata = {});

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_WEIGHTS_H_
