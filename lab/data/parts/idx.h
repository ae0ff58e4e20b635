#ifndef KUDARI_LAB_DATA_PARTS_IDX_H_
#define KUDARI_LAB_DATA_PARTS_IDX_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "lab/data/data.h"

namespace kudari::lab {

/// Loads images in the form of MNIST, in ten classes, from a folder: train-images-idx3-ubyte,
/// train-labels-idx1-ubyte and the same of t10k, plain, .gz or .xz. Channels are standardised.
/// Throws Error naming the file that is damaged.
Dataset LoadIdx(const std::string& name, const std::filesystem::path& folder, uint64_t seed,
                double validation);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_IDX_H_
