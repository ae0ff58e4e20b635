#ifndef KUDARI_LAB_LANDSCAPE_PAGE_DATA_H_
#define KUDARI_LAB_LANDSCAPE_PAGE_DATA_H_

#include <cstddef>
#include <nlohmann/json.hpp>

#include "lab/landscape/descent.h"
#include "lab/landscape/surfaces.h"

namespace kudari::lab {

/// With logarithmic levels, the lowest of the heights that are told apart, as a share of the
/// highest.
inline constexpr double kLeastShare = 1e-5;

/// A surface without its picture: texts, corners, start and minima.
nlohmann::ordered_json SurfaceJson(const Surface& surface);

/// The picture of a surface: for each cell of a grid a digit, its band, and the colours of bands.
nlohmann::ordered_json GridJson(const Surface& surface);

/// Every place of a run and the loss there: `x`, `y` and `loss`.
nlohmann::ordered_json WayJson(const Descent& descent);

/// The colour and the dashes of the k-th line.
nlohmann::ordered_json StyleJson(size_t k);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_PAGE_DATA_H_
