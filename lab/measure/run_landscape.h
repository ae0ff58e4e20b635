#ifndef KUDARI_LAB_MEASURE_RUN_LANDSCAPE_H_
#define KUDARI_LAB_MEASURE_RUN_LANDSCAPE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>

namespace kudari::lab {

/// What `kudari landscape RUN` is asked for.
struct RunLandscapeOptions {
  std::filesystem::path run = {};   ///< folder of results of kudari train
  int64_t samples = 1024;           ///< of the training samples; 0, or more than all: all
  int64_t points = 25;              ///< along each direction, in [3, 201]
  int64_t seed = 1;                 ///< of random directions, at least 0
  bool view_3d = false;             ///< the picture shows the surface from the side
  bool animated = false;            ///< the picture plays the run
  std::filesystem::path svg = {};   ///< of a picture, .svg or .png; empty: none
  std::filesystem::path json = {};  ///< of all numbers, "-" for standard output; empty: none
};

/// Measures the training loss around the weights in which a run ended, over a plane through them,
/// prints what the plane shows and writes what the options ask for. If the run kept copies of its
/// weights (train.trajectory_every), the plane is spanned by the two directions that hold most of
/// the squared distances between the copies and the end (principal components about the end; Li et
/// al., arXiv:1712.09913, section 7), and the run's way is projected onto it; otherwise by two
/// random directions, normalised filter by filter. Throws UsageError for options out of range, and
/// Error for a run that cannot be read, for copies of another model, and as DrawLandscape does.
void ShowRunLandscape(const RunLandscapeOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_RUN_LANDSCAPE_H_
