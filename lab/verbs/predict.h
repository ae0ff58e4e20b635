#ifndef KUDARI_LAB_VERBS_PREDICT_H_
#define KUDARI_LAB_VERBS_PREDICT_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <vector>

namespace kudari::lab {

/// What `kudari predict` is asked for.
struct PredictOptions {
  std::filesystem::path run = {};
  std::vector<std::filesystem::path> files = {};  ///< pictures, and folders of them
  std::optional<int64_t> top = {};       ///< number of classes, the most probable ones; absent: 3
  std::optional<double> threshold = {};  ///< of the score of boxes; absent: 0.25
  std::filesystem::path json = {};  ///< file for the results, "-" for standard output; empty: none
  std::filesystem::path out = {};   ///< SVG of the pictures with what was found; empty: none
};

/// Says what the model of a run finds in pictures: prints the most probable classes of each or, of
/// a detector, the boxes in it. What is wrong with a picture goes to `errors`, and the others still
/// get their turn. Returns whether nothing was wrong. Throws Error for bad options and for a run
/// that is of no use here, before any picture is read.
bool Predict(const PredictOptions& options, std::FILE* console, std::FILE* errors);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_PREDICT_H_
