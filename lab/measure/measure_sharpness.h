#ifndef KUDARI_LAB_MEASURE_SHARPNESS_H_
#define KUDARI_LAB_MEASURE_SHARPNESS_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>

namespace kudari::lab {

/// What `kudari sharpness` is asked for.
struct SharpnessOptions {
  std::filesystem::path run;  ///< folder of results of kudari train
  int64_t samples =
      1024;           ///< number of training samples, from the first on; 0, or more than all: all
  double rho = 0.05;  ///< radius of the ball, above 0
  double adaptive_rho = 0.5;   ///< the same in units of the weights
  int64_t steps = 10;          ///< of the ascent, at least 1
  int64_t draws = 20;          ///< of random directions and of signs, at least 2
  int64_t seed = 1;            ///< of everything random, at least 0
  std::filesystem::path json;  ///< where the measures go as JSON; empty: nowhere
  // Slices only.
  int64_t slice = 1;           ///< dimensions, 1 or 2
  std::filesystem::path with;  ///< a second run in the picture of slice 1; empty: none
  bool force = false;          ///< overwrite files of an earlier slice
  std::filesystem::path out;   ///< folder of the CSV and the picture; empty: that of the run
  int64_t points = 0;          ///< along each direction, odd, at least 3; 0: 51, in 2-D 21
  double range = 1;            ///< from -range to range, above 0
};

/// Measures how sharp the minimum is in which a training run ended, and prints a table: the loss L
/// at the weights w of model.safetensors, the norm of its gradient g, how far it rises within the
/// ball of radius rho (L(w + rho g / |g|) - L(w), the highest point of an ascent, the mean over
/// random directions, each taken both ways, and ASAM's step in the ball in units of the weights),
/// both ends of the Hessian's spectrum by Lanczos, at most 50 products, and its trace by Hutchinson
/// with random signs, of the whole and of each tensor's diagonal block. L is the training loss of
/// the recipe, with its label smoothing, over training samples of the recipe's own split, in
/// evaluation mode and float32; see LossSurface. Throws Error for bad input, and for a loss that is
/// not finite.
void MeasureSharpness(const SharpnessOptions& options, std::FILE* console);

/// Draws the loss along one or two random directions that are normalised filter by filter: writes
/// slice1.csv (alpha, loss, accuracy, and with a second run loss2, accuracy2 along a direction of
/// its own) or slice2.csv (alpha, beta, loss, accuracy), then slice1.svg or slice2.svg. Throws
/// Error as MeasureSharpness does, and as DrawChart does, with the CSV written.
void SliceLoss(const SharpnessOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_SHARPNESS_H_
