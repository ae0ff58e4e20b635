#include "lab/landscape/page_data.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lab/draw/contours.h"
#include "lab/draw/line_style.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// The band of each cell, a digit counted from the lowest: of equal height in the loss or in its
// logarithm.
std::string BandDigits(const Surface& surface, const HeightGrid& grid, int count) {
  const double most = *std::ranges::max_element(grid.height) - surface.lowest;
  const double least = most * kLeastShare;
  std::string bands;
  for (const double loss : grid.height) {
    const double height = std::max(loss - surface.lowest, 0.0);
    const double share = surface.log_levels
                             ? std::log(std::max(height, least) / least) / std::log(most / least)
                             : height / most;
    bands += std::to_string(std::clamp(static_cast<int>(share * count), 0, count - 1));
  }
  return bands;
}

}  // namespace

Json SurfaceJson(const Surface& surface) {
  Json json = {{"function", surface.name},
               {"formula", surface.formula},
               {"shows", surface.shows},
               {"low", {surface.low.x, surface.low.y}},
               {"high", {surface.high.x, surface.high.y}},
               {"start", {surface.start.x, surface.start.y}},
               {"minima", Json::array()},
               {"lowest", surface.lowest},
               {"log_levels", surface.log_levels}};
  for (const Position& m : surface.minima) json["minima"].push_back({m.x, m.y});
  return json;
}

Json GridJson(const Surface& surface) {
  constexpr size_t kColumns = 320, kRows = 240;
  constexpr int kBands = 10;
  Json json = {
      {"columns", kColumns},
      {"rows", kRows},
      {"colours", Json::array()},
      {"bands",
       BandDigits(surface, GridOf(surface.loss, surface.low, surface.high, kColumns, kRows),
                  kBands)}};
  for (int band = 0; band < kBands; ++band) {
    json["colours"].push_back(Viridis(static_cast<double>(band) / (kBands - 1)));
  }
  return json;
}

Json WayJson(const Descent& descent) {
  Json x = Json::array(), y = Json::array();
  for (const Position& place : descent.places) {
    x.push_back(place.x);
    y.push_back(place.y);
  }
  return {{"x", std::move(x)}, {"y", std::move(y)}, {"loss", descent.losses}};
}

Json StyleJson(size_t k) {
  const LineStyle style = StyleOf(k);
  return {{"colour", style.colour}, {"dashes", style.dashes}};
}

}  // namespace kudari::lab
