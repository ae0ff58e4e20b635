#include "lab/measure/run_landscape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/measure/loss_surface.h"
#include "lab/measure/trained_loss.h"
#include "lab/train/trajectory.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::at::Tensor;

// A way through a plane: where each copy of the weights is in it, and the loss at the copy itself.
struct Way {
  std::vector<int64_t> steps;
  std::vector<double> x, y, loss;
};

// A plane through the end of a run, spanned by two vectors of length 1 unless they are random.
struct Plane {
  Tensor first, second;
  double first_share = 0, second_share = 0;  // of the squared distances between way and end
  Way way;                                   // empty: the directions are random
};

void CheckOptions(const RunLandscapeOptions& o) {
  constexpr int64_t kMostPoints = 201;
  if (o.points < 3 || o.points > kMostPoints) {
    throw UsageError(fmt::format("--points = {} is outside [3, {}]", o.points, kMostPoints));
  }
  if (o.samples < 0) throw UsageError(fmt::format("--samples = {} must be at least 0", o.samples));
  if (o.seed < 0) throw UsageError(fmt::format("--seed = {} must be at least 0", o.seed));
  if (!o.svg.empty()) CheckChartFile(o.svg);
  CheckRunFolder(o.run);
}

std::string CopiesText(size_t count) {
  return count == 1 ? "1 copy" : fmt::format("{} copies", count);
}

// The weights in a file as a displacement from those of the surface, in float32.
Tensor Displacement(const LossSurface& surface, const fs::path& path) {
  const SafeTensorsFile file(path);
  std::vector<Tensor> parts;
  for (const auto& [name, weights] : surface.parameters()) {
    const std::span<const float> values = file.Floats(name);
    if (std::ssize(values) != weights.numel()) {
      throw Error(fmt::format("{}: \"{}\" has {} elements, and the run's model {}", path.string(),
                              name, values.size(), weights.numel()));
    }
    parts.push_back(at::tensor(at::ArrayRef<float>(values.data(), values.size())));
  }
  return (at::cat(parts).to(at::kDouble) - surface.weights()).to(at::kFloat);
}

// The copies as rows.
Tensor Displacements(const LossSurface& surface, const std::vector<WeightCopy>& copies) {
  constexpr int64_t kMostBytes = int64_t{2} << 30;
  const int64_t bytes = std::ssize(copies) * surface.size() * int64_t{sizeof(float)};
  if (bytes > kMostBytes) {
    throw Error(
        fmt::format("{} of the weights take {}; at most {} fit: train with a larger "
                    "train.trajectory_every",
                    CopiesText(copies.size()), SizeText(static_cast<double>(bytes)),
                    SizeText(static_cast<double>(kMostBytes))));
  }
  std::vector<Tensor> rows;
  for (const WeightCopy& copy : copies) rows.push_back(Displacement(surface, copy.file));
  return at::stack(rows);
}

// The plane that holds most of the way, by the eigenvectors of the copies' products with each
// other. The way begins at the left, and above.
Plane PrincipalPlane(const TrainedLoss& trained, const std::vector<WeightCopy>& copies,
                     Progress& progress) {
  const LossSurface& surface = trained.surface();
  const Tensor rows = Displacements(surface, copies);
  const Tensor products = rows.mm(rows.t()).to(at::kDouble);
  const auto eigen = at::linalg_eigh(products, "L");
  const Tensor& values = std::get<0>(eigen);  // rising
  const Tensor& vectors = std::get<1>(eigen);
  const double sum = values.clamp_min(0).sum().item<double>();
  if (!(sum > 0)) throw Error(trained.name() + ": the weights were the same at every copy");
  Plane plane;
  const auto direction = [&](int64_t from_last, double sign, double& share) {
    const int64_t column = values.size(0) - 1 - from_last;
    if (column < 0) return at::zeros({surface.size()}, at::kDouble);
    share = std::max(values[column].item<double>(), 0.0) / sum;
    Tensor along = rows.t().mv(vectors.select(1, column).to(at::kFloat)).to(at::kDouble);
    const double length = along.norm().item<double>();
    if (length > 0) along /= length;
    const double start = rows[0].to(at::kDouble).dot(along).item<double>();
    return start * sign < 0 ? -along : along;
  };
  plane.first = direction(0, -1, plane.first_share);
  plane.second = direction(1, 1, plane.second_share);
  MeasureProgress measured(progress, trained.name() + ": copy", std::ssize(copies));
  for (size_t i = 0; i < copies.size(); ++i) {
    const Tensor displacement = rows[static_cast<int64_t>(i)].to(at::kDouble);
    plane.way.steps.push_back(copies[i].step);
    plane.way.x.push_back(displacement.dot(plane.first).item<double>());
    plane.way.y.push_back(displacement.dot(plane.second).item<double>());
    plane.way.loss.push_back(surface.LossAt(displacement));
    measured.Done();
  }
  return plane;
}

Plane RandomPlane(const LossSurface& surface, int64_t seed) {
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
  Plane plane;
  plane.first = FilterNormalized(surface, random);
  plane.second = FilterNormalized(surface, random);
  return plane;
}

// From which value to which each axis goes: the way with a margin, and neither axis much shorter
// than the other; without a way, one length of the directions to each side.
std::pair<std::vector<double>, std::vector<double>> Axes(const Way& way, int64_t points) {
  constexpr double kMargin = 0.2, kLeastShare = 0.6;
  struct Range {
    double low = 0, high = 0;
  };
  const auto range_of = [](const std::vector<double>& values) {
    if (values.empty()) return Range{-1, 1};
    const auto [low, high] = std::ranges::minmax(values);
    return Range{std::min(low, 0.0), std::max(high, 0.0)};
  };
  Range x = range_of(way.x), y = range_of(way.y);
  const double longest = std::max(x.high - x.low, y.high - y.low);
  std::pair<std::vector<double>, std::vector<double>> axes;
  for (auto [range, axis] : {std::pair{x, &axes.first}, std::pair{y, &axes.second}}) {
    const double length = range.high - range.low;
    const double margin =
        way.x.empty() ? 0 : std::max(kMargin * longest, (kLeastShare * longest - length) / 2);
    for (int64_t i = 0; i < points; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(points - 1);
      axis->push_back(range.low - margin + share * (length + 2 * margin));
    }
  }
  return axes;
}

std::string DirectionLabel(std::string_view which, double share) {
  return share > 0 ? fmt::format("{} direction of the way, {} of it", which, Percent(share))
                   : fmt::format("{} random direction", which);
}

ContourChart MapOf(const TrainedLoss& trained, const Plane& plane,
                   const RunLandscapeOptions& options, Progress& progress) {
  ContourChart map{.title = "Training loss of " + trained.name(),
                   .x_label = DirectionLabel("First", plane.first_share),
                   .y_label = DirectionLabel("Second", plane.second_share),
                   .z_label = "training loss",
                   .log_z = true};
  std::tie(map.x, map.y) = Axes(plane.way, options.points);
  MeasureProgress measured(progress, trained.name() + ": point", options.points * options.points);
  for (const double y : map.y) {
    for (const double x : map.x) {
      map.z.push_back(trained.surface().LossAt(x * plane.first + y * plane.second));
      measured.Done();
    }
  }
  if (plane.way.x.empty()) {
    map.points = {{"saved weights", 0, 0}};
  } else {
    map.points = {{.x = 0, .y = 0}};  // without a label, which would lie on the way
    map.paths = {{trained.name(), plane.way.x, plane.way.y}};
  }
  return map;
}

std::string Summary(const TrainedLoss& trained, const Plane& plane) {
  const Way& way = plane.way;
  if (way.steps.empty()) {
    return "the run kept no copies of its weights, so the directions are random; train with "
           "--set train.trajectory_every=N for its way\n";
  }
  std::vector<std::vector<std::string>> rows = {{"step", "training loss", "distance to the end"}};
  const size_t stride = std::max<size_t>(1, (way.steps.size() + 8) / 9);
  for (size_t i = 0; i < way.steps.size(); i += stride) {
    rows.push_back({fmt::format("{}", way.steps[i]), fmt::format("{:.4g}", way.loss[i]),
                    fmt::format("{:.3g} in the plane", std::hypot(way.x[i], way.y[i]))});
  }
  rows.push_back({"end", fmt::format("{:.4g}", trained.score().loss), "0"});
  return fmt::format(
      "{} of the weights; the plane holds {} of their squared distances to the end "
      "({} and {})\n\n{}",
      CopiesText(way.steps.size()), Percent(plane.first_share + plane.second_share),
      Percent(plane.first_share), Percent(plane.second_share), TextTable(rows));
}

}  // namespace

void ShowRunLandscape(const RunLandscapeOptions& options, std::FILE* console) {
  CheckOptions(options);
  Progress progress(console);
  const TrainedLoss trained(options.run, options.samples);
  progress.Text(trained.Heading());
  const std::vector<WeightCopy> copies = WeightCopies(options.run / "trajectory");
  const Plane plane = copies.empty() ? RandomPlane(trained.surface(), options.seed)
                                     : PrincipalPlane(trained, copies, progress);
  progress.Text(Summary(trained, plane));
  if (options.svg.empty() && options.json.empty()) return;
  const ContourChart map = MapOf(trained, plane, options, progress);
  if (!options.json.empty()) {
    const nlohmann::ordered_json json = {{"run", options.run.string()},
                                         {"samples", trained.used()},
                                         {"loss", trained.score().loss},
                                         {"shares", {plane.first_share, plane.second_share}},
                                         {"way",
                                          {{"step", plane.way.steps},
                                           {"x", plane.way.x},
                                           {"y", plane.way.y},
                                           {"loss", plane.way.loss}}},
                                         {"grid", {{"x", map.x}, {"y", map.y}, {"loss", map.z}}}};
    WriteOutput(options.json, JsonText(json, 2) + "\n");
  }
  if (options.svg.empty()) return;
  if (options.view_3d) {
    DrawSurface(map, options.svg);
  } else if (map.paths.empty()) {
    DrawChart(map, options.svg);
  } else {
    LineChart curve{.title = "", .x_label = "step", .y_label = "training loss", .log_y = true};
    curve.series = {{.label = trained.name(),
                     .x = {plane.way.steps.begin(), plane.way.steps.end()},
                     .y = plane.way.loss}};
    DrawLandscape(map, curve, options.animated, options.svg);
  }
}

}  // namespace kudari::lab
