#ifndef KUDARI_LAB_DATA_PARTS_SPLITS_H_
#define KUDARI_LAB_DATA_PARTS_SPLITS_H_

#include <cstdint>
#include <filesystem>
#include <random>
#include <string_view>
#include <vector>

#include "lab/data/data.h"

namespace kudari::lab {

// The standard library's shuffle and distributions differ between implementations; these do not.

/// A number below n > 0, all equally likely.
uint64_t Below(uint64_t n, std::mt19937_64& random);

/// The numbers from 0 to size - 1 in random order.
std::vector<int64_t> Permutation(int64_t size, std::mt19937_64& random);

/// Samples of a split, in the order of `rows`.
Split Gather(const Split& from, const std::vector<int64_t>& rows);

/// Moves a share of every class of `from`, rounded, into the split that is returned; without
/// classes all samples are one. At least one sample of a class stays. Both keep the order of the
/// samples.
Split TakeOut(Split& from, int64_t classes, double share, std::mt19937_64& random);

/// Scales `count` values of each sample, from the first of them on, to mean 0 and deviation 1 over
/// the training samples, all of them together, and returns how. Values that are all the same become
/// 0.
ChannelScale Standardize(Dataset& data, size_t first, size_t count);

/// Scales every channel of images to mean 0 and deviation 1 over the training samples, and keeps
/// how.
void Standardize(Dataset& data);

/// Throws Error unless data.validation is in [0, below).
void CheckShare(double validation, double below);

/// What is left to do for images that come with test samples: takes out the validation samples and
/// scales.
void Finish(Dataset& data, uint64_t seed, double validation);

/// Appends bytes as numbers from 0 to 255.
void AppendPixels(std::string_view bytes, std::vector<float>& x);

/// Appends a label below `classes`. Throws Error naming the file and the sample for another.
void AppendLabel(const std::filesystem::path& path, uint8_t label, int64_t classes, Split& split);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_SPLITS_H_
