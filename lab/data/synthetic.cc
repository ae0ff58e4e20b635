// Samples that are drawn from a formula with the seed, to try out models and optimisers without any
// file. moons, circles, blobs and regression follow scikit-learn's make_moons and so on.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/splits.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr int64_t kMostValues = int64_t{1} << 25;  // points times features

struct SyntheticOptions {
  std::string kind = "moons";
  int64_t points = 1000, features = 2, classes = 3, degree = 3;
  double noise = 0.1, test = 0.2;
};

const internal::OptionTable<SyntheticOptions>& SyntheticTable() {
  using O = SyntheticOptions;
  static const internal::OptionTable<O> table = {
      {.name = "kind",
       .member = &O::kind,
       .choices = {"regression", "sine", "polynomial", "blobs", "moons", "circles", "spirals",
                   "xor"},
       .doc =
           "regression: a linear function of normal features; sine, polynomial: a curve over one "
           "feature; the others: classes of points"},
      {.name = "points",
       .member = &O::points,
       .least = 10,
       .most = 10'000'000,
       .doc = "number of samples in all"},
      {.name = "noise",
       .member = &O::noise,
       .low = 0,
       .high = 1e6,
       .doc = "standard deviation of what is added to the target, or to each feature of a point"},
      {.name = "features",
       .member = &O::features,
       .least = 1,
       .most = 100'000,
       .doc = "number of features of regression and blobs"},
      {.name = "classes",
       .member = &O::classes,
       .least = 2,
       .most = 1000,
       .doc = "number of blobs or arms of spirals"},
      {.name = "degree",
       .member = &O::degree,
       .least = 0,
       .most = 20,
       .doc = "degree of the polynomial"},
      {.name = "test",
       .member = &O::test,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the samples, drawn with the seed, held out for the test"},
  };
  return table;
}

// Draws that are the same everywhere, unlike those of the standard library.
class Draws {
 public:
  explicit Draws(std::mt19937_64& random) : random_(random) {}

  /// In [low, high).
  double Uniform(double low, double high) {
    return low + (high - low) * static_cast<double>(random_() >> 11) * 0x1p-53;
  }
  /// By Box and Muller.
  double Normal() {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(0, 1)));
    return radius * std::cos(Uniform(0, 2 * kPi));
  }

 private:
  std::mt19937_64& random_;
};

// One sample of what is made.
struct Point {
  std::vector<double> x;
  int64_t label = 0;
  double y = 0;
};

// Makes the samples one after the other, without noise.
using Maker = std::function<Point(int64_t i)>;

Maker Regression(const SyntheticOptions& o, Draws& draws) {
  std::vector<double> weights;
  for (int64_t i = 0; i < o.features; ++i) weights.push_back(draws.Normal());
  const double bias = draws.Normal();
  return [weights = std::move(weights), bias, &draws](int64_t /*i*/) {
    Point p{.x = {}, .y = bias};
    for (const double w : weights) {
      p.x.push_back(draws.Normal());
      p.y += w * p.x.back();
    }
    return p;
  };
}

Maker Sine(const SyntheticOptions& /*o*/, Draws& draws) {
  return [&draws](int64_t /*i*/) {
    const double x = draws.Uniform(-kPi, kPi);
    return Point{.x = {x}, .y = std::sin(x)};
  };
}

Maker Polynomial(const SyntheticOptions& o, Draws& draws) {
  std::vector<double> coefficients;
  for (int64_t k = 0; k <= o.degree; ++k) coefficients.push_back(draws.Normal());
  return [coefficients = std::move(coefficients), &draws](int64_t /*i*/) {
    const double x = draws.Uniform(-1, 1);
    double y = 0;
    for (size_t k = coefficients.size(); k-- > 0;) y = y * x + coefficients[k];
    return Point{.x = {x}, .y = y};
  };
}

// As make_blobs: a class's centre is uniform in a cube, and its points are as far from it as the
// noise.
Maker Blobs(const SyntheticOptions& o, Draws& draws) {
  std::vector<std::vector<double>> centres(static_cast<size_t>(o.classes));
  for (auto& centre : centres) {
    for (int64_t i = 0; i < o.features; ++i) centre.push_back(draws.Uniform(-10, 10));
  }
  return [centres = std::move(centres)](int64_t i) {
    const int64_t label = i % std::ssize(centres);
    return Point{.x = centres[static_cast<size_t>(label)], .label = label};
  };
}

// As make_moons: two half circles, each of evenly spaced points with both ends.
Maker Moons(const SyntheticOptions& o, Draws& /*draws*/) {
  return [outer = o.points / 2, inner = o.points - o.points / 2](int64_t i) {
    const bool second = i >= outer;
    const double angle = kPi * static_cast<double>(second ? i - outer : i) /
                         static_cast<double>((second ? inner : outer) - 1);
    if (second) return Point{.x = {1 - std::cos(angle), 0.5 - std::sin(angle)}, .label = 1};
    return Point{.x = {std::cos(angle), std::sin(angle)}};
  };
}

// As make_circles with its factor of 0.8.
Maker Circles(const SyntheticOptions& o, Draws& /*draws*/) {
  return [outer = o.points / 2, inner = o.points - o.points / 2](int64_t i) {
    const bool second = i >= outer;
    const double angle = 2 * kPi * static_cast<double>(second ? i - outer : i) /
                         static_cast<double>(second ? inner : outer);
    const double radius = second ? 0.8 : 1;
    return Point{.x = {radius * std::cos(angle), radius * std::sin(angle)}, .label = second};
  };
}

// Arms that leave the centre in evenly spaced directions and turn by four radians.
Maker Spirals(const SyntheticOptions& o, Draws& /*draws*/) {
  return [arms = o.classes, length = (o.points + o.classes - 1) / o.classes](int64_t i) {
    const int64_t arm = i % arms, place = i / arms;
    const double radius =
        static_cast<double>(place) / static_cast<double>(std::max<int64_t>(length - 1, 1));
    const double angle =
        4 * radius + 2 * kPi * static_cast<double>(arm) / static_cast<double>(arms);
    return Point{.x = {radius * std::cos(angle), radius * std::sin(angle)}, .label = arm};
  };
}

// Class 1 where the two features have different signs.
Maker Xor(const SyntheticOptions& /*o*/, Draws& draws) {
  return [&draws](int64_t /*i*/) {
    const double x = draws.Uniform(-1, 1), y = draws.Uniform(-1, 1);
    return Point{.x = {x, y}, .label = (x < 0) != (y < 0)};
  };
}

struct Kind {
  Maker (*make)(const SyntheticOptions& options, Draws& draws);
  int64_t classes;  // 0: regression; -1: as many as the options say
};

const std::map<std::string, Kind>& Kinds() {
  static const std::map<std::string, Kind> kinds = {
      {"regression", {&Regression, 0}}, {"sine", {&Sine, 0}},   {"polynomial", {&Polynomial, 0}},
      {"blobs", {&Blobs, -1}},          {"moons", {&Moons, 2}}, {"circles", {&Circles, 2}},
      {"spirals", {&Spirals, -1}},      {"xor", {&Xor, 2}}};
  return kinds;
}

Dataset LoadSynthetic(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<SyntheticOptions>(config.options);
  CheckShare(config.validation, 1 - options.test);
  if (options.features > kMostValues / options.points) {
    throw Error("data.features = " + std::to_string(options.features) + " is outside [1, " +
                std::to_string(kMostValues / options.points) +
                "] for data.points = " + std::to_string(options.points));
  }
  const Kind kind = Kinds().at(options.kind);
  std::mt19937_64 random(seed);
  Draws draws(random);
  const Maker make = kind.make(options, draws);
  Dataset data{.name = options.kind,
               .classes = kind.classes < 0 ? options.classes : kind.classes,
               .target_size = kind.classes == 0 ? 1 : 0};
  for (int64_t i = 0; i < options.points; ++i) {
    Point point = make(i);
    data.shape = {std::ssize(point.x)};
    if (kind.classes == 0) {
      const double noise = options.noise > 0 ? options.noise * draws.Normal() : 0;
      data.train.targets.push_back(static_cast<float>(point.y + noise));
    } else {
      data.train.labels.push_back(point.label);
      for (double& x : point.x) x += options.noise > 0 ? options.noise * draws.Normal() : 0;
    }
    for (const double x : point.x) data.train.x.push_back(static_cast<float>(x));
  }
  data.train.samples = options.points;
  data.test = TakeOut(data.train, data.classes, options.test, random);
  data.validation =
      TakeOut(data.train, data.classes, config.validation / (1 - options.test), random);
  return data;
}

}  // namespace

DataEntry DescribeSynthetic() {
  return {.name = "synthetic",
          .doc = "samples drawn from a formula, without any file",
          .options = MakeOwnOptions(SyntheticOptions(), SyntheticTable()),
          .load = &LoadSynthetic,
          .source = {.contents = "made from a formula"}};
}

}  // namespace kudari::lab
