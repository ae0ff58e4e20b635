// Samples from formulas: synthetic.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/files/text_file.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace synthetic_test {

using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Dataset Load(const std::string& options, uint64_t seed = 1) {
  return LoadData(DataOf("name = \"synthetic\"\n" + options), seed);
}

// All samples in the order in which they were made.
Dataset All(const std::string& options, uint64_t seed = 1) {
  return Load("validation = 0\ntest = 0\n" + options, seed);
}

// Coefficients of the least squares fit of the targets by columns, and the mean squared residual.
struct Fit {
  std::vector<double> coefficients;
  double residual = 0;
};
Fit LeastSquares(const std::vector<std::vector<double>>& rows, const std::vector<float>& y) {
  const size_t n = rows[0].size();
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1));
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) a[i][j] += rows[r][i] * rows[r][j];
      a[i][n] += rows[r][i] * y[r];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < n; ++k) {
      if (k == i) continue;
      const double factor = a[k][i] / a[i][i];
      for (size_t j = 0; j <= n; ++j) a[k][j] -= factor * a[i][j];
    }
  }
  Fit fit;
  for (size_t i = 0; i < n; ++i) fit.coefficients.push_back(a[i][n] / a[i][i]);
  for (size_t r = 0; r < rows.size(); ++r) {
    double error = -y[r];
    for (size_t i = 0; i < n; ++i) error += fit.coefficients[i] * rows[r][i];
    fit.residual += error * error / static_cast<double>(rows.size());
  }
  return fit;
}

TEST(Synthetic, MoonsAndCirclesAreThoseOfScikitLearn) {
  const auto golden = nlohmann::json::parse(
      ReadTextFile(std::string(KUDARI_SOURCE_DIR) + "/tests/golden/data/lab_data/synthetic.json"));
  EXPECT_EQ(golden.size(), 4U);
  for (const auto& [name, points] : golden.items()) {
    const std::string kind = name.substr(0, name.find(' ')), count = name.substr(kind.size() + 1);
    const Dataset data = All("kind = \"" + kind + "\"\nnoise = 0\npoints = " + count + "\n");
    EXPECT_EQ(data.name, kind);
    EXPECT_THAT(data.shape, ElementsAre(2));
    EXPECT_EQ(data.classes, 2);
    EXPECT_EQ(data.train.labels, points["y"].get<std::vector<int64_t>>()) << name;
    ASSERT_EQ(data.train.x.size(), 2 * points["x"].size());
    for (size_t i = 0; i < data.train.x.size(); ++i) {
      EXPECT_NEAR(data.train.x[i], points["x"][i / 2][i % 2].get<double>(), 1e-7) << name << i;
    }
  }
}

TEST(Synthetic, RegressionIsLinear) {
  for (const double noise : {0.0, 0.5}) {
    const Dataset data =
        All("kind = \"regression\"\nfeatures = 3\npoints = 5000\nnoise = " + std::to_string(noise) +
            "\n");
    EXPECT_EQ(data.classes, 0);
    EXPECT_EQ(data.target_size, 1);
    std::vector<std::vector<double>> rows;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < data.train.x.size(); i += 3) {
      const auto* const x = &data.train.x[i];
      rows.push_back({1, x[0], x[1], x[2]});
      sum += x[1];
      squares += x[1] * x[1];
    }
    EXPECT_NEAR(sum / 5000, 0, 5 / std::sqrt(5000.0));
    EXPECT_NEAR(squares / 5000, 1, 5 * std::sqrt(2 / 5000.0));
    const Fit fit = LeastSquares(rows, data.train.targets);
    EXPECT_NEAR(fit.residual, noise * noise, noise > 0 ? 0.25 * 5 * std::sqrt(2 / 5000.0) : 1e-12);
  }
}

TEST(Synthetic, CurvesAreTheirFunctions) {
  const Dataset sine = All("kind = \"sine\"\nnoise = 0\n");
  EXPECT_THAT(sine.shape, ElementsAre(1));
  for (size_t i = 0; i < sine.train.x.size(); ++i) {
    EXPECT_LE(std::abs(sine.train.x[i]), std::numbers::pi_v<float>);
    EXPECT_NEAR(sine.train.targets[i], std::sin(sine.train.x[i]), 1e-6);
  }
  const auto residual = [](int degree) {
    const Dataset data = All("kind = \"polynomial\"\nnoise = 0\ndegree = 4\n");
    std::vector<std::vector<double>> rows;
    for (const float x : data.train.x) {
      EXPECT_LE(std::abs(x), 1);
      rows.emplace_back();
      for (int k = 0; k <= degree; ++k) rows.back().push_back(std::pow(x, k));
    }
    return LeastSquares(rows, data.train.targets).residual;
  };
  EXPECT_LT(residual(4), 1e-12);
  EXPECT_GT(residual(3), 1e-5);
}

TEST(Synthetic, BlobsLieAroundTheirCentres) {
  const Dataset data =
      All("kind = \"blobs\"\nclasses = 4\nfeatures = 3\npoints = 4000\nnoise = 0.5\n");
  EXPECT_EQ(data.classes, 4);
  EXPECT_THAT(data.shape, ElementsAre(3));
  std::set<long> centres;
  for (size_t label = 0; label < 4; ++label) {
    double sum = 0, squares = 0;
    for (size_t i = label; i < 4000; i += 4) {
      EXPECT_EQ(data.train.labels[i], static_cast<int64_t>(label));
      sum += data.train.x[3 * i];
      squares += data.train.x[3 * i] * data.train.x[3 * i];
    }
    const double mean = sum / 1000;
    EXPECT_LT(std::abs(mean), 10.1);
    EXPECT_NEAR(squares / 1000 - mean * mean, 0.25, 0.25 * 5 * std::sqrt(2 / 1000.0));
    centres.insert(std::lround(100 * mean));
  }
  EXPECT_EQ(centres.size(), 4U);
}

TEST(Synthetic, SpiralsTurnOutwards) {
  const Dataset data = All("kind = \"spirals\"\nclasses = 3\npoints = 300\nnoise = 0\n");
  EXPECT_EQ(data.classes, 3);
  for (size_t i = 0; i < 300; ++i) {
    const double x = data.train.x[2 * i], y = data.train.x[2 * i + 1], radius = std::hypot(x, y);
    EXPECT_NEAR(radius, std::floor(static_cast<double>(i) / 3) / 99, 1e-6);
    const double angle =
        4 * radius + 2 * std::numbers::pi / 3 * static_cast<double>(data.train.labels[i]);
    EXPECT_NEAR(x, radius * std::cos(angle), 1e-6);
    EXPECT_NEAR(y, radius * std::sin(angle), 1e-6);
  }
}

TEST(Synthetic, XorIsTheSignOfTheProduct) {
  const Dataset data = All("kind = \"xor\"\nnoise = 0\n");
  int64_t ones = 0;
  for (size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(data.train.labels[i], data.train.x[2 * i] * data.train.x[2 * i + 1] < 0 ? 1 : 0);
    ones += data.train.labels[i];
  }
  EXPECT_NEAR(static_cast<double>(ones), 500, 5 * std::sqrt(250.0));
}

TEST(Synthetic, DependsOnTheSeedAlone) {
  for (const char* kind :
       {"regression", "sine", "polynomial", "blobs", "moons", "circles", "spirals", "xor"}) {
    const std::string options = std::string("kind = \"") + kind + "\"\n";
    const Dataset a = Load(options, 3), b = Load(options, 3), c = Load(options, 4);
    EXPECT_EQ(a.train.x, b.train.x) << kind;
    EXPECT_EQ(a.test.x, b.test.x) << kind;
    EXPECT_NE(a.train.x, c.train.x) << kind;
    EXPECT_NEAR(static_cast<double>(a.train.samples), 600, 2) << kind;
    EXPECT_NEAR(static_cast<double>(a.validation.samples), 200, 2) << kind;
    EXPECT_NEAR(static_cast<double>(a.test.samples), 200, 2) << kind;
  }
}

// A known draw, so that a change of the formulas shows.
TEST(Synthetic, IsTheSameEverywhere) {
  const Dataset data = All("kind = \"regression\"\nfeatures = 1\npoints = 10\n", 7);
  EXPECT_NEAR(data.train.x[0], 0.51917237, 1e-6);
  EXPECT_NEAR(data.train.targets[0], 1.36854959, 1e-6);
}

TEST(Synthetic, OptionsAreChecked) {
  EXPECT_THAT(ErrorOf([] { Load("kind = \"moon\"\n"); }), HasSubstr("did you mean \"moons\"?"));
  EXPECT_THAT(ErrorOf([] { Load("points = 9\n"); }), HasSubstr("points: 9 is outside [10, "));
  EXPECT_THAT(ErrorOf([] { Load("noise = -1\n"); }), HasSubstr("noise"));
  EXPECT_EQ(ErrorOf([] { Load("points = 10000000\nfeatures = 4\n"); }),
            "data.features = 4 is outside [1, 3] for data.points = 10000000");
  EXPECT_EQ(ErrorOf([] { Load("validation = 0.8\n"); }),
            "data.validation = 0.8 is outside [0, 0.8)");
}

}  // namespace synthetic_test
}  // namespace kudari::lab
