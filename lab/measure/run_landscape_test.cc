#include "lab/measure/run_landscape.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "lab/train/trajectory.h"
#include "tests/support/read_svg.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace run_landscape_test {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A straight line fitted to points of one: two parameters, so that a plane holds all there is.
class RunLandscapeTest : public TrainFixture {
 protected:
  static constexpr int kSamples = 20;

  RunLandscapeTest() {
    std::vector<float> x, y;
    for (int i = 0; i < kSamples; ++i) {
      x.push_back(static_cast<float>(i) / 10 - 0.5F);
      y.push_back(3 * x.back() + 1);
    }
    WriteSafeTensors(dir_ / "line.safetensors",
                     std::vector<SafeTensor>{{"train/x", {kSamples, 1}, x},
                                             {"train/y", {kSamples, 1}, y},
                                             {"test/x", {kSamples, 1}, x},
                                             {"test/y", {kSamples, 1}, y}});
    options_.run = dir_ / "out";
    options_.json = dir_ / "landscape.json";
    options_.svg = dir_ / "landscape.svg";
    options_.points = 5;
  }

  RunState TrainLine(std::vector<std::string> sets) {
    return Run(
        "[model]\nname = \"linear\"\n[data]\nname = \"safetensors\"\nvalidation = 0.0\npath = \"" +
            (dir_ / "line.safetensors").string() +
            "\"\n[optimizer]\nrule = \"momentum\"\nlr = 0.1\n[train]\nsteps = 40\n"
            "batch_size = 20\nthreads = 1\n",
        std::move(sets));
  }

  json Landscape() {
    console_ =
        kudari::testing::Printed([&](std::FILE* console) { ShowRunLandscape(options_, console); });
    return json::parse(ReadTextFile(options_.json));
  }

  std::string LandscapeError() {
    return kudari::testing::ErrorOf([&] { Landscape(); });
  }

  // Slope and intercept in a file of weights.
  static std::pair<double, double> LineIn(const fs::path& path) {
    const SafeTensorsFile file(path);
    double weight = NAN, bias = NAN;
    for (const SafeTensor& tensor : file.tensors()) {
      (tensor.name.find("weight") != std::string::npos ? weight : bias) =
          file.Floats(tensor.name)[0];
    }
    return {weight, bias};
  }

  static double LossOfLine(double weight, double bias) {
    double sum = 0;
    for (int i = 0; i < kSamples; ++i) {
      const double x = i / 10.0 - 0.5;
      sum += std::pow((weight - 3) * x + bias - 1, 2);
    }
    return sum / kSamples;
  }

  std::vector<WeightCopy> Copies() const { return WeightCopies(dir_ / "out/trajectory"); }

  RunLandscapeOptions options_;
};

TEST_F(RunLandscapeTest, ARunKeepsItsWeightsEverySoManySteps) {
  TrainLine({"train.trajectory_every=15"});
  std::vector<int64_t> steps;
  for (const WeightCopy& copy : Copies()) steps.push_back(copy.step);
  EXPECT_THAT(steps, ElementsAre(0, 15, 30));
  TrainLine({"train.trajectory_every=20"});  // deletes the copies of the run before
  EXPECT_EQ(Copies().size(), 3U);
  EXPECT_EQ(LineIn(Copies().back().file), LineIn(dir_ / "out/model.safetensors"));
  EXPECT_NE(LineIn(Copies().front().file), LineIn(dir_ / "out/model.safetensors"));
  TrainLine({});
  EXPECT_TRUE(Copies().empty());
}

TEST_F(RunLandscapeTest, ThePlaneOfTwoParametersHoldsTheWholeWay) {
  TrainLine({"train.trajectory_every=5"});
  const json landscape = Landscape();
  const json& way = landscape["way"];
  const std::vector<WeightCopy> copies = Copies();
  ASSERT_EQ(copies.size(), 9U);
  EXPECT_NEAR(landscape["shares"][0].get<double>() + landscape["shares"][1].get<double>(), 1, 1e-6);
  EXPECT_GT(landscape["shares"][0], landscape["shares"][1]);
  const auto [end_weight, end_bias] = LineIn(dir_ / "out/model.safetensors");
  EXPECT_NEAR(landscape["loss"], LossOfLine(end_weight, end_bias), 1e-6);
  for (size_t i = 0; i < copies.size(); ++i) {
    const auto [weight, bias] = LineIn(copies[i].file);
    EXPECT_EQ(way["step"][i], copies[i].step);
    EXPECT_NEAR(way["loss"][i], LossOfLine(weight, bias), 1e-5);
    EXPECT_NEAR(std::hypot(way["x"][i].get<double>(), way["y"][i].get<double>()),
                std::hypot(weight - end_weight, bias - end_bias), 1e-5);
  }
  EXPECT_LT(way["x"][0], 0);  // from the left
  EXPECT_GE(way["y"][0], 0);  // and above
  EXPECT_EQ(way["x"][8], 0);
  EXPECT_EQ(way["y"][8], 0);
}

TEST_F(RunLandscapeTest, TheGridHasTheLossAtEachPlace) {
  TrainLine({"train.trajectory_every=5"});
  const json landscape = Landscape();
  const json &way = landscape["way"], &grid = landscape["grid"];
  const std::vector<WeightCopy> copies = Copies();
  // Two copies say which parameters a place in the plane has.
  const auto [end_weight, end_bias] = LineIn(dir_ / "out/model.safetensors");
  const auto [w0, b0] = LineIn(copies[0].file);
  const auto [w1, b1] = LineIn(copies[1].file);
  const double x0 = way["x"][0], y0 = way["y"][0], x1 = way["x"][1], y1 = way["y"][1];
  const double determinant = x0 * y1 - x1 * y0;
  ASSERT_GT(std::abs(determinant), 1e-3);
  ASSERT_EQ(grid["loss"].size(), 25U);
  for (size_t row = 0; row < 5; ++row) {
    for (size_t column = 0; column < 5; ++column) {
      const double x = grid["x"][column], y = grid["y"][row];
      const double s = (x * y1 - x1 * y) / determinant, t = (x0 * y - x * y0) / determinant;
      const double weight = end_weight + s * (w0 - end_weight) + t * (w1 - end_weight);
      const double bias = end_bias + s * (b0 - end_bias) + t * (b1 - end_bias);
      const double loss = LossOfLine(weight, bias);
      EXPECT_NEAR(grid["loss"][5 * row + column], loss, 1e-3 * (1 + loss));
    }
  }
  for (size_t i = 0; i < copies.size(); ++i) {  // the way is within the picture
    EXPECT_GT(way["x"][i], grid["x"][0]);
    EXPECT_LT(way["x"][i], grid["x"][4]);
    EXPECT_GT(way["y"][i], grid["y"][0]);
    EXPECT_LT(way["y"][i], grid["y"][4]);
  }
}

TEST_F(RunLandscapeTest, LargerModelsAreSeenInPart) {
  Go(Options({"train.trajectory_every=4"}));
  const json landscape = Landscape();
  EXPECT_EQ(landscape["way"]["step"], json({0, 4, 8, 12, 16}));
  const double share = landscape["shares"][0].get<double>() + landscape["shares"][1].get<double>();
  EXPECT_GT(share, 0.5);
  EXPECT_LT(share, 1);
  EXPECT_THAT(console_, HasSubstr("5 copies of the weights; the plane holds"));
  EXPECT_THAT(kudari::testing::TextsOf(ReadTextFile(options_.svg)),
              Contains(HasSubstr("First direction of the way")));
}

TEST_F(RunLandscapeTest, WithoutCopiesTheDirectionsAreRandom) {
  Go(Options({}));
  const json landscape = Landscape();
  EXPECT_TRUE(landscape["way"]["step"].empty());
  EXPECT_EQ(landscape["grid"]["x"], json({-1.0, -0.5, 0.0, 0.5, 1.0}));
  EXPECT_EQ(landscape["grid"]["loss"][12], landscape["loss"]);
  EXPECT_THAT(console_, HasSubstr("train.trajectory_every=N"));
  EXPECT_EQ(Landscape(), landscape);
  options_.seed = 2;
  EXPECT_NE(Landscape()["grid"]["loss"], landscape["grid"]["loss"]);
}

TEST_F(RunLandscapeTest, PicturesAreSeenFromAsideOrPlayed) {
  TrainLine({"train.trajectory_every=5"});
  options_.animated = true;
  Landscape();
  EXPECT_THAT(ReadTextFile(options_.svg), HasSubstr("<animate"));
  options_.animated = false;
  options_.view_3d = true;
  Landscape();
  EXPECT_THAT(ReadTextFile(options_.svg), Not(HasSubstr("<animate")));
}

TEST_F(RunLandscapeTest, TooManyCopiesAreRefusedBeforeARunIsDeleted) {
  TrainLine({});
  const auto before = LineIn(dir_ / "out/model.safetensors");
  EXPECT_THAT(kudari::testing::ErrorOf([&] {
                TrainLine({"train.trajectory_every=1", "train.steps=1000"});
              }),
              HasSubstr("train.trajectory_every = 1 would keep 1001 copies of the weights; at most "
                        "1000 are kept, so it has to be at least 2"));
  EXPECT_EQ(LineIn(dir_ / "out/model.safetensors"), before);
  EXPECT_TRUE(Copies().empty());
  CheckTrajectory(1, 999);
  CheckTrajectory(2, 1000);
}

TEST_F(RunLandscapeTest, ErrorsSayWhatIsWrong) {
  options_.points = 2;
  EXPECT_THAT(LandscapeError(), HasSubstr("--points = 2 is outside [3, 201]"));
  options_.points = 5;
  options_.samples = -1;
  EXPECT_THAT(LandscapeError(), HasSubstr("--samples = -1"));
  options_.samples = 0;
  options_.run = dir_ / "none";
  EXPECT_THAT(LandscapeError(), HasSubstr("none: there is no such folder"));
  options_.run = dir_ / "out";
  TrainLine({"train.trajectory_every=20"});
  const std::vector<float> wrong = {1, 2, 3};
  const SafeTensorsFile model(dir_ / "out/model.safetensors");
  std::vector<SafeTensor> tensors;
  for (const SafeTensor& t : model.tensors())
    tensors.emplace_back(t.name, std::vector<int64_t>{3}, wrong);
  WriteSafeTensors(Copies()[1].file, tensors);
  EXPECT_THAT(LandscapeError(), HasSubstr("has 3 elements, and the run's model 1"));
}

}  // namespace run_landscape_test
}  // namespace kudari::lab
