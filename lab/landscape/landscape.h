#ifndef KUDARI_LAB_LANDSCAPE_LANDSCAPE_H_
#define KUDARI_LAB_LANDSCAPE_LANDSCAPE_H_

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/landscape/descent.h"

namespace kudari::lab {

/// What `kudari landscape` is asked for.
struct LandscapeOptions {
  std::string function = {};              ///< the name of a surface
  std::vector<std::string> runners = {};  ///< names of optimisers, as ReadRunner takes them
  std::vector<std::string> tables = {};   ///< more of them, which may be tables
  DescentOptions descent = {};
  bool view_3d = false;             ///< the picture shows the surface from the side
  bool animated = false;            ///< the picture plays the steps
  std::filesystem::path svg = {};   ///< of a picture, .svg or .png; empty: none
  std::filesystem::path html = {};  ///< of a page that shows the steps; empty: none
  /// The page that `make playground` writes, which `html` then is, beginning with these runs;
  /// empty: a page that only plays the steps.
  std::filesystem::path playground = {};
  std::filesystem::path json = {};  ///< of all steps, "-" for standard output; empty: none
};

/// The most optimisers that one picture can tell apart.
inline constexpr size_t kMostRunners = 12;

/// One optimiser on the surface.
struct Course {
  Runner runner;  ///< its spec has the learning rate
  Descent descent;
  std::optional<Descent> evaluated = {};  ///< of the weights to evaluate, if they are others
};

/// Runs the optimisers on the surface, each with the learning rate it was given or with the best of
/// a few, and prints a table: where each ends, and how soon it has come down by 99 %, and the same
/// of the weights to evaluate where they are others. Writes what the options ask for. Throws
/// UsageError for an unknown function, for no optimisers and for more than kMostRunners, and Error
/// as ReadRunner and Descend do and for a playground that is another page, before anything is
/// written; and as DrawLandscape and WriteOutput do.
void ShowLandscape(const LandscapeOptions& options, std::FILE* console);

/// Prints the names of the surfaces with what each is good for.
void ListSurfaces(std::FILE* console);

/// Contours of a surface from one corner to another.
ContourChart SurfaceMap(const Surface& surface, Position low, Position high);

/// A page, complete in itself, that plays the steps of these courses.
std::string LandscapePage(const Surface& surface, const std::vector<Course>& courses);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_LANDSCAPE_H_
