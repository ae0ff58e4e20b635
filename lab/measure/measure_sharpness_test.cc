#include "lab/measure/measure_sharpness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "lab/measure/loss_surface.h"
#include "lab/models/models.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/read_svg.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace measure_sharpness_test {

namespace fs = std::filesystem;
using ::at::Tensor;
using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

at::Generator Random(uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

double Norm(const Tensor& v) { return v.norm().item<double>(); }

double Distance(const Tensor& a, const Tensor& b) { return Norm(a - b) / Norm(b); }

std::vector<Tensor> Everything(const Model& model) {
  std::vector<Tensor> all;
  for (const Tensor& p : model.parameters()) all.push_back(p.detach().clone());
  for (const Tensor& b : model.buffers()) all.push_back(b.clone());
  return all;
}

bool Same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::ranges::equal(a, b, [](const Tensor& x, const Tensor& y) { return x.equal(y); });
}

// The highest point of g.d + d.Hd / 2 in the ball |d| <= rho, which lies on its surface if H has a
// positive eigenvalue: there (mu - H) d = g with mu above all eigenvalues, found by bisection.
double HighestInBall(const Tensor& g, const Tensor& h, double rho) {
  const auto [values, vectors] = at::linalg_eigh(h, "L");
  const Tensor along = vectors.t().mv(g);
  double low = values.max().item<double>(), high = low + Norm(g) / rho;
  for (int i = 0; i < 200; ++i) {
    const double mu = (low + high) / 2;
    (Norm(along / (mu - values)) > rho ? low : high) = mu;
  }
  const Tensor d = along / (high - values);
  return (along.dot(d) + (values * d * d).sum() / 2).item<double>();
}

// A linear model with mean square loss on 700 samples, two batches, whose loss is a quadratic with
// gradient and Hessian in closed form. It is also the run in `dir_`.
class QuadraticTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSamples = 700, kIn = 3, kOut = 2, kSize = (kIn + 1) * kOut;

  QuadraticTest() {
    at::set_num_threads(1);  // the problem is too small for more
    ::torch::manual_seed(3);
    const Tensor scale = ::torch::tensor({3.0F, 1.0F, 0.3F});
    x_ = scale * ::torch::randn({kSamples, kIn}) + 0.5;
    y_ = ::torch::randn({kSamples, kOut});
    model_ = MakeModel(ModelNamed("linear"), {{kIn}, kOut});
    WriteRun("run");
    surface_ = std::make_unique<LossSurface>(*model_, Samples{x_, y_}, LossNamed("mse"), 0);

    // With a column of ones, for the biases; the weights, a row an output, come first.
    const Tensor inputs = ::torch::cat({x_, ::torch::ones({kSamples, 1})}, 1).to(at::kDouble);
    const Tensor block = 2 * inputs.t().mm(inputs) / (kSamples * kOut);
    hessian_ = at::zeros({kSize, kSize}, at::kDouble);
    const auto index = [](int64_t out, int64_t in) {
      return in < kIn ? out * kIn + in : kOut * kIn + out;
    };
    gradient_ = at::zeros({kSize}, at::kDouble);
    const auto weights = surface_->weights();
    Tensor error = -y_.to(at::kDouble);
    for (int64_t o = 0; o < kOut; ++o) {
      for (int64_t i = 0; i <= kIn; ++i) {
        error.select(1, o).add_(inputs.select(1, i) * weights[index(o, i)]);
        for (int64_t j = 0; j <= kIn; ++j) hessian_[index(o, i)][index(o, j)] = block[i][j];
      }
    }
    for (int64_t o = 0; o < kOut; ++o) {
      for (int64_t i = 0; i <= kIn; ++i) {
        gradient_[index(o, i)] =
            2 * inputs.select(1, i).dot(error.select(1, o)) / (kSamples * kOut);
      }
    }
    loss_ = (error * error).mean().item<double>();
  }

  // A folder as kudari train leaves it, with the model's present weights.
  void WriteRun(const std::string& name) const {
    fs::create_directories(dir_ / name);
    const auto floats = [](const Tensor& t) {
      return std::span<const float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
    };
    const std::vector<SafeTensor> data = {{"train/x", {kSamples, kIn}, floats(x_)},
                                          {"train/y", {kSamples, kOut}, floats(y_)},
                                          {"test/x", {kSamples, kIn}, floats(x_)},
                                          {"test/y", {kSamples, kOut}, floats(y_)}};
    WriteSafeTensors(dir_ / "data.safetensors", data);
    std::ofstream(dir_ / name / "recipe.toml")
        << "[model]\nname = \"linear\"\n[data]\nname = \"safetensors\"\nvalidation = 0.0\npath = \""
        << (dir_ / "data.safetensors").string()
        << "\"\n[optimizer]\nrule = \"sgd\"\n[train]\nsteps = 1\nthreads = 1\n";
    SaveWeights(*model_, dir_ / name / "model.safetensors");
  }

  // How far the loss rises by a step.
  double Rise(const Tensor& d) const {
    return (gradient_.dot(d) + d.dot(hessian_.mv(d)) / 2).item<double>();
  }

  SharpnessOptions Options() const {
    SharpnessOptions options;
    options.run = dir_ / "run";
    options.samples = 0;
    options.json = dir_ / "measures.json";
    return options;
  }

  json Measure(const SharpnessOptions& options) {
    printed_ =
        kudari::testing::Printed([&](std::FILE* console) { MeasureSharpness(options, console); });
    return json::parse(ReadTextFile(options.json));
  }

  static std::string MessageOf(const SharpnessOptions& options) {
    return kudari::testing::ErrorOf([&] {
      kudari::testing::Printed([&](std::FILE* console) { MeasureSharpness(options, console); });
    });
  }

  kudari::testing::TemporaryFolder dir_;
  Tensor x_, y_, gradient_, hessian_;
  double loss_ = 0;
  std::shared_ptr<Model> model_;
  std::unique_ptr<LossSurface> surface_;
  std::string printed_;
};

TEST_F(QuadraticTest, LossGradientAndHessian) {
  const Tensor here = at::zeros({kSize}, at::kDouble);
  EXPECT_NEAR(surface_->LossAt(here), loss_, 1e-6 * loss_);
  EXPECT_TRUE(std::isnan(surface_->At(here).accuracy));
  EXPECT_LT(Distance(surface_->GradientAt(here), gradient_), 1e-5);
  const Tensor v = at::randn({kSize}, Random(1), at::kDouble);
  EXPECT_NEAR(surface_->LossAt(v) - loss_, Rise(v), 1e-5 * Rise(v));
  EXPECT_LT(Distance(surface_->GradientAt(v), gradient_ + hessian_.mv(v)), 1e-5);
  EXPECT_LT(Distance(surface_->HessianProduct(v), hessian_.mv(v)), 1e-5);
}

TEST_F(QuadraticTest, SamStepsHaveTheirClosedForms) {
  for (const double rho : {0.05, 2.0}) {
    const Tensor d = SamStep(surface_->GradientAt(at::zeros({kSize}, at::kDouble)), rho);
    EXPECT_NEAR(Norm(d), rho, 1e-9 * rho);
    const double rise = Rise(gradient_ * (rho / Norm(gradient_)));
    EXPECT_NEAR(surface_->LossAt(d) - loss_, rise, 1e-4 * rise);
  }
  EXPECT_EQ(Norm(SamStep(at::zeros({kSize}, at::kDouble), 1)), 0);
}

TEST_F(QuadraticTest, AdaptiveStepsLeaveBiasesUnscaled) {
  Tensor t = surface_->weights().abs() + 0.01;
  t.slice(0, kIn * kOut).fill_(1);
  const Tensor expected = 0.5 * t * t * gradient_ / (t * gradient_).norm();
  EXPECT_LT(Distance(AdaptiveStep(*surface_, gradient_, 0.5), expected), 1e-12);
}

TEST_F(QuadraticTest, AscentApproachesTheHighestPointInTheBall) {
  for (const double rho : {0.05, 2.0}) {
    int64_t reports = 0;
    const double best = AscentSharpness(*surface_, gradient_, loss_, rho, 100, [&] { ++reports; });
    const double highest = HighestInBall(gradient_, hessian_, rho);
    EXPECT_LE(best, highest * (1 + 1e-4)) << rho;
    EXPECT_GE(best, highest * (1 - 1e-2)) << rho;
    EXPECT_EQ(reports, 100);
    const double first = Rise(gradient_ * (rho / Norm(gradient_)));
    EXPECT_GE(AscentSharpness(*surface_, gradient_, loss_, rho, 1, [] {}), first * (1 - 1e-4));
  }
}

TEST_F(QuadraticTest, RandomDirectionsHaveTheRowsNormsOfTheWeights) {
  at::Generator random = Random(7);
  const Tensor direction = FilterNormalized(*surface_, random);
  const auto parts = surface_->Split(direction);
  const Tensor& weight = surface_->parameters()[0].second;
  for (int64_t row = 0; row < kOut; ++row) {
    EXPECT_NEAR(Norm(parts[0][row]), Norm(weight[row].detach()), 1e-5 * Norm(parts[0][row]));
  }
  EXPECT_EQ(Norm(parts[1]), 0);
  EXPECT_GT(Distance(FilterNormalized(*surface_, random), direction), 0.1);
  random.set_current_seed(7);
  EXPECT_TRUE(FilterNormalized(*surface_, random).equal(direction));
}

TEST_F(QuadraticTest, CommandMeasuresWhatIsKnown) {
  SharpnessOptions options = Options();
  options.draws = 50;
  options.rho = 0.5;
  options.steps = 40;
  const std::string model = ReadTextFile(dir_ / "run/model.safetensors");
  const json m = Measure(options);
  EXPECT_EQ(ReadTextFile(dir_ / "run/model.safetensors"), model);
  EXPECT_EQ(m["samples"], kSamples);
  EXPECT_EQ(m["options"]["seed"], 1);
  EXPECT_EQ(m["options"]["draws"], 50);
  EXPECT_TRUE(m["accuracy"].is_null());
  EXPECT_NEAR(m["loss"].get<double>(), loss_, 1e-6 * loss_);
  EXPECT_NEAR(m["gradient_norm"].get<double>(), Norm(gradient_), 1e-5 * Norm(gradient_));
  const double sam = Rise(gradient_ * (0.5 / Norm(gradient_)));
  EXPECT_NEAR(m["sam_sharpness"].get<double>(), sam, 1e-4 * sam);
  EXPECT_GE(m["ascent_sharpness"], m["sam_sharpness"]);
  const double highest = HighestInBall(gradient_, hessian_, 0.5);
  EXPECT_NEAR(m["ascent_sharpness"].get<double>(), highest, 0.01 * highest);
  const Tensor values = at::linalg_eigvalsh(hessian_);
  const double top = values.max().item<double>();
  EXPECT_NEAR(m["largest_eigenvalue"]["value"].get<double>(), top, 1e-5 * top);
  EXPECT_NEAR(m["smallest_eigenvalue"]["value"].get<double>(), values.min().item<double>(),
              1e-5 * top);
  EXPECT_EQ(m["largest_magnitude_eigenvalue"], m["largest_eigenvalue"]);
  EXPECT_LT(m["largest_eigenvalue"]["residual"], 1e-3 * top);
  EXPECT_TRUE(m["converged"]);
  EXPECT_LE(m["hessian_products"], kSize + 2);

  const auto near = [](const json& estimate, double expected) {
    const double error = estimate["standard_error"];
    EXPECT_NEAR(estimate["mean"].get<double>(), expected, 4 * error + 1e-5 * expected);
    EXPECT_LT(error, 0.2 * expected);
  };
  const double trace = hessian_.trace().item<double>();
  near(m["trace"], trace);
  const Tensor diagonal = hessian_.diagonal();
  ASSERT_EQ(m["tensors"].size(), 2U);
  near(m["tensors"][0]["trace"], diagonal.slice(0, 0, kIn * kOut).sum().item<double>());
  near(m["tensors"][1]["trace"], diagonal.slice(0, kIn * kOut).sum().item<double>());
  EXPECT_EQ(m["tensors"][0]["name"], "head.weight");
  EXPECT_EQ(m["tensors"][1]["elements"], kOut);
  const double bias_gradient = Norm(gradient_.slice(0, kIn * kOut));
  EXPECT_NEAR(m["tensors"][1]["gradient_norm"].get<double>(), bias_gradient, 1e-5);
  // The mean of d.Hd / 2 over the sphere of radius rho.
  near(m["average_sharpness"], 0.5 * 0.5 * trace / (2 * kSize));
  for (const char* text : {"SAM sharpness, rho 0.5", "head.bias", "converged", "trace, 50 draws"}) {
    EXPECT_THAT(printed_, HasSubstr(text));
  }
}

TEST_F(QuadraticTest, SeedAndSamplesDecide) {
  SharpnessOptions options = Options();
  const json first = Measure(options);
  EXPECT_EQ(Measure(options), first);
  options.seed = 2;
  EXPECT_NE(Measure(options)["trace"], first["trace"]);
  options.samples = 100;
  const json some = Measure(options);
  EXPECT_EQ(some["samples"], 100);
  const Samples part = {x_.narrow(0, 0, 100), y_.narrow(0, 0, 100)};
  const LossSurface surface(*model_, part, LossNamed("mse"), 0);
  EXPECT_EQ(some["loss"].get<double>(), surface.LossAt(at::zeros({kSize}, at::kDouble)));
  options.samples = 100000;
  EXPECT_EQ(Measure(options)["samples"], kSamples);
}

// The surface is that of the loss that was trained on, spoiled samples included; what else training
// had is said.
TEST_F(QuadraticTest, FaultyRunsAreMeasuredOnWhatTheyWereTrainedOn) {
  SharpnessOptions options = Options();
  Measure(options);
  EXPECT_EQ(printed_.find("the loss leaves out"), std::string::npos);
  std::string recipe = ReadTextFile(dir_ / "run/recipe.toml");
  recipe.replace(recipe.find("[train]"), 7, "l2 = 0.1\n[train]\nprecision = \"bf16\"");
  std::ofstream(dir_ / "run/recipe.toml")
      << recipe
      << "[fault]\nbad = \"inputs\"\nbad_begin = 0.25\nbad_end = 0.5\nzero = \"head.bias\"\n";
  const json m = Measure(options);
  Tensor spoiled = x_.clone();
  spoiled.narrow(0, kSamples / 4, kSamples / 4).mul_(10);
  const LossSurface surface(*model_, Samples{spoiled, y_}, LossNamed("mse"), 0);
  const Tensor here = at::zeros({kSize}, at::kDouble);
  EXPECT_EQ(m["loss"].get<double>(), surface.LossAt(here));
  EXPECT_GT(m["loss"].get<double>(), 1.2 * loss_);
  EXPECT_EQ(m["gradient_norm"].get<double>(), Norm(surface.GradientAt(here)));
  EXPECT_THAT(printed_,
              HasSubstr("700 of 700 training samples of safetensors, with the inputs that "
                        "fault.bad spoils\nthe loss leaves out 16-bit arithmetic and weights, "
                        "penalties (l1, l2), fault.zero, which training used\n"));
}

TEST_F(QuadraticTest, ErrorsSayWhatIsWrong) {
  SharpnessOptions options = Options();
  options.run = dir_ / "none";
  EXPECT_THAT(MessageOf(options), HasSubstr("none: there is no such folder"));
  fs::create_directories(dir_ / "none");
  EXPECT_THAT(MessageOf(options), HasSubstr("recipe.toml: cannot be opened: No such file"));
  fs::copy(dir_ / "run/recipe.toml", dir_ / "none/recipe.toml");
  EXPECT_THAT(MessageOf(options), HasSubstr("model.safetensors"));
  const std::vector<float> values(4);
  WriteSafeTensors(dir_ / "none/model.safetensors",
                   std::vector<SafeTensor>{{"head.weight", {2, 2}, values}});
  EXPECT_THAT(MessageOf(options), HasSubstr("tensor \"head.weight\" has the shape [2, 2]"));
  {
    const ::torch::NoGradGuard no_grad;
    model_->parameters()[0][0][0] = std::nan("");
  }
  SaveWeights(*model_, dir_ / "none/model.safetensors");
  EXPECT_THAT(MessageOf(options), HasSubstr("none: the training loss is nan"));
  EXPECT_FALSE(fs::exists(options.json));

  const auto message = [&](const std::function<void(SharpnessOptions&)>& change) {
    SharpnessOptions changed = Options();
    change(changed);
    return MessageOf(changed);
  };
  EXPECT_EQ(message([](auto& o) { o.rho = 0; }), "--rho = 0 must be above 0 and finite");
  EXPECT_EQ(message([](auto& o) { o.adaptive_rho = INFINITY; }),
            "--adaptive-rho = inf must be above 0 and finite");
  EXPECT_EQ(message([](auto& o) { o.range = -1; }), "--range = -1 must be above 0 and finite");
  EXPECT_EQ(message([](auto& o) { o.draws = 1; }), "--draws = 1 must be at least 2");
  EXPECT_EQ(message([](auto& o) { o.steps = 0; }), "--steps = 0 must be at least 1");
  EXPECT_EQ(message([](auto& o) { o.samples = -1; }), "--samples = -1 must be at least 0");
  EXPECT_EQ(message([](auto& o) { o.seed = -1; }), "--seed = -1 must be at least 0");
  EXPECT_EQ(message([](auto& o) { o.slice = 3; }), "--slice = 3 must be 1 or 2");
  EXPECT_EQ(message([](auto& o) { o.points = 10; }), "--points = 10 must be odd and in [3, 10001]");
  EXPECT_EQ(message([](auto& o) {
              o.slice = 2;
              o.with = o.run;
            }),
            "--with needs --slice 1");
}

// The rows of a CSV without its heading, which is compared.
std::vector<std::vector<double>> Rows(const fs::path& file, const std::string& heading) {
  std::istringstream in(ReadTextFile(file));
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, heading);
  std::vector<std::vector<double>> rows;
  while (std::getline(in, line)) {
    std::istringstream cells(line);
    auto& row = rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(std::stod(cell));
  }
  return rows;
}

TEST_F(QuadraticTest, SlicesGoThroughTheLoss) {
  SharpnessOptions options = Options();
  options.points = 5;
  options.range = 2;
  options.out = dir_ / "pictures";
  kudari::testing::Printed([&](std::FILE* console) { SliceLoss(options, console); });
  const auto line = Rows(options.out / "slice1.csv", "alpha,loss,accuracy");
  at::Generator random = Random(1);
  const Tensor direction = FilterNormalized(*surface_, random);
  ASSERT_EQ(line.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    const double alpha = static_cast<double>(i) - 2;
    EXPECT_EQ(line[i][0], alpha);
    EXPECT_NEAR(line[i][1], loss_ + Rise(alpha * direction), 1e-5 * line[i][1]);
  }
  EXPECT_THAT(kudari::testing::TextsOf(ReadTextFile(options.out / "slice1.svg")), Contains("run"));

  options.slice = 2;
  options.points = 3;
  kudari::testing::Printed([&](std::FILE* console) { SliceLoss(options, console); });
  const auto plane = Rows(options.out / "slice2.csv", "alpha,beta,loss,accuracy");
  const Tensor other = FilterNormalized(*surface_, random);
  ASSERT_EQ(plane.size(), 9U);
  for (const auto& row : plane) {
    const Tensor d = row[0] * direction + row[1] * other;
    EXPECT_NEAR(row[2], loss_ + Rise(d), 1e-5 * row[2]);
  }
  EXPECT_TRUE(fs::exists(options.out / "slice2.svg"));
}

TEST_F(QuadraticTest, SecondRunsShareThePicture) {
  {
    const ::torch::NoGradGuard no_grad;
    model_->parameters()[0].mul_(3);
  }
  WriteRun("other");
  SharpnessOptions options = Options();
  options.points = 3;
  options.with = dir_ / "other";
  kudari::testing::Printed([&](std::FILE* console) { SliceLoss(options, console); });
  const auto rows = Rows(options.run / "slice1.csv", "alpha,loss,accuracy,loss2,accuracy2");
  EXPECT_NEAR(rows[1][1], loss_, 1e-6 * loss_);
  const LossSurface other(*model_, {x_, y_}, LossNamed("mse"), 0);
  EXPECT_EQ(rows[1][3], other.LossAt(at::zeros({kSize}, at::kDouble)));
  at::Generator random = Random(1);
  EXPECT_EQ(rows[2][3], other.LossAt(FilterNormalized(other, random)));
  EXPECT_THAT(kudari::testing::TextsOf(ReadTextFile(options.run / "slice1.svg")),
              IsSupersetOf({"run", "other"}));
}

TEST(Spectrum, FindsBothEnds) {
  const Tensor random = at::randn({60, 60}, Random(2), at::kDouble);
  const Tensor basis = std::get<0>(at::linalg_qr(random));
  Tensor values = at::linspace(-1, 1, 60, at::kDouble);
  values[0] = -5;
  values[59] = 3;
  const Tensor matrix = basis.mm(values.diag()).mm(basis.t());
  int64_t products = 0;
  const auto product = [&](const Tensor& v) {
    ++products;
    return matrix.mv(v);
  };
  const Tensor start = at::randn({60}, Random(3), at::kDouble);
  const kudari::lab::Spectrum s = ExtremeEigenvalues(product, start, 50);
  EXPECT_TRUE(s.converged);
  EXPECT_LT(s.products, 40);
  EXPECT_EQ(s.products, products);
  EXPECT_NEAR(s.largest.value, 3, 1e-4);
  EXPECT_NEAR(s.smallest.value, -5, 1e-4);
  EXPECT_LT(s.largest.residual, 1e-2);
  EXPECT_LT(s.smallest.residual, 1e-2);
  EXPECT_EQ(s.OfLargestMagnitude().value, s.smallest.value);
  // From within, and said to be so.
  const kudari::lab::Spectrum few = ExtremeEigenvalues(product, start, 5);
  EXPECT_FALSE(few.converged);
  EXPECT_EQ(few.products, 5);
  EXPECT_LT(few.largest.value, 3);
  EXPECT_GT(few.largest.residual, 1e-2);
  // A matrix whose every vector is an eigenvector needs one product.
  const kudari::lab::Spectrum scalar =
      ExtremeEigenvalues([](const Tensor& v) { return 2 * v; }, start, 50);
  EXPECT_EQ(scalar.products, 3);
  EXPECT_NEAR(scalar.largest.value, 2, 1e-12);
}

// The Hessian of the smoothed cross-entropy times v, by a difference of gradients in double so
// close that no unit of a network switches; leaves the model as it is.
Tensor DifferenceOfGradients(Model& model, const Samples& samples, const Tensor& v) {
  const auto before = Everything(model);
  model.to(at::kDouble);
  const auto move = [&](double step) {
    const ::torch::NoGradGuard no_grad;
    int64_t begin = 0;
    for (Tensor& p : model.parameters()) {
      p.add_(v.narrow(0, begin, p.numel()).view(p.sizes()), step);
      begin += p.numel();
    }
  };
  const auto gradient = [&] {
    namespace f = ::torch::nn::functional;
    const Tensor loss =
        f::cross_entropy(model.forward(samples.All().x.to(at::kDouble)), samples.All().y,
                         f::CrossEntropyFuncOptions().label_smoothing(0.1));
    std::vector<Tensor> flat;
    for (const Tensor& g : ::torch::autograd::grad({loss}, model.parameters())) {
      flat.push_back(g.flatten());
    }
    return at::cat(flat);
  };
  const double step = 1e-8;
  move(step);
  Tensor difference = gradient();
  move(-2 * step);
  difference = (difference - gradient()) / (2 * step);
  model.to(at::kFloat);
  const ::torch::NoGradGuard no_grad;
  size_t i = 0;
  for (Tensor& p : model.parameters()) p.copy_(before[i++]);
  for (Tensor& b : model.buffers()) b.copy_(before[i++]);
  return difference;
}

// Networks: products with the Hessian against differences of gradients, in evaluation mode, after
// which everything is as before.
TEST(LossSurface, NetworksAreDifferentiatedTwice) {
  for (const ModelConfig& config :
       {ModelNamed("mlp", "hidden = [8]\ndropout = 0.5"),
        ModelNamed("vit", "patch = 2\ndim = 8\nheads = 2\ndepth = 1\ndropout = 0.5"),
        ModelNamed("resnet", "depth = 8\nwidth = 4")}) {
    ::torch::manual_seed(5);
    const auto model = MakeModel(config, {{1, 8, 8}, 3});
    const Samples samples = {::torch::randn({40, 1, 8, 8}),
                             ::torch::randint(3, {40}, ::torch::kInt64)};
    model->forward(samples.All().x);  // moves the running statistics off their defaults
    const auto before = Everything(*model);
    {
      const LossSurface surface(*model, samples, LossNamed("cross_entropy"), 0.1);
      const Tensor here = at::zeros({surface.size()}, at::kDouble);
      const Tensor v = at::randn({surface.size()}, Random(6), at::kDouble);
      const Tensor product = surface.HessianProduct(v);
      EXPECT_LT(Distance(product, DifferenceOfGradients(*model, samples, v)), 1e-4)
          << config.name();
      // No dropout: the same again.
      EXPECT_EQ(surface.LossAt(here), surface.LossAt(here)) << config.name();
      EXPECT_TRUE(at::globalContext().userEnabledFlashSDP());
    }
    EXPECT_TRUE(Same(Everything(*model), before)) << config.name();
    EXPECT_TRUE(model->is_training());
    const LossSurface surface(*model, samples, LossNamed("cross_entropy"), 0);
    const Score score = surface.At(at::zeros({surface.size()}, at::kDouble));
    const Score expected = Evaluate(*model, samples, LossNamed("cross_entropy"), {});
    EXPECT_NEAR(score.loss, expected.loss, 1e-6) << config.name();
    EXPECT_NEAR(score.accuracy, expected.accuracy, 1e-12) << config.name();
  }
}

// Fails from its second batch on, with one weight that only its bits tell from 0.
class Failing : public Model {
 public:
  Failing() { weight_ = register_parameter("weight", ::torch::tensor({{-0.0F, 0.1F}})); }
  Tensor forward(const Tensor& x) override {
    if (++calls_ == 2) throw std::runtime_error("fails");
    return x.mm(weight_.t());
  }

 private:
  Tensor weight_;
  int calls_ = 0;
};

TEST(LossSurface, ExceptionsLeaveTheWeights) {
  const Samples samples = {::torch::randn({600, 2}), ::torch::randn({600, 1})};
  const Tensor step = at::ones({2}, at::kDouble);
  const std::vector<std::function<void(const LossSurface&)>> calls = {
      [&](const LossSurface& s) { s.LossAt(step); },
      [&](const LossSurface& s) { s.GradientAt(step); },
      [&](const LossSurface& s) { s.HessianProduct(step); }};
  for (const auto& call : calls) {
    Failing model;
    const LossSurface surface(model, samples, LossNamed("mse"), 0);
    EXPECT_THROW(call(surface), std::runtime_error);
    const Tensor weight = model.parameters()[0].detach();
    EXPECT_TRUE(std::signbit(weight[0][0].item<float>()));
    EXPECT_EQ(weight[0][0].item<float>(), 0);
    EXPECT_EQ(weight[0][1].item<float>(), 0.1F);
    EXPECT_TRUE(at::globalContext().userEnabledFlashSDP());
  }
}

TEST(LossSurface, RefusesWhatItCannotMeasure) {
  const auto model = MakeModel(ModelNamed("linear"), {{3}, 2});
  EXPECT_EQ(kudari::testing::ErrorOf([&] { LossSurface(*model, {}, LossNamed("mse"), 0); }),
            "the loss surface needs samples");
  model->StoreWeights(at::kHalf);
  EXPECT_THAT(
      kudari::testing::ErrorOf([&] {
        LossSurface(*model, {::torch::randn({4, 3}), ::torch::randn({4, 2})}, LossNamed("mse"), 0);
      }),
      HasSubstr("needs float32 weights; \"head.weight\" has others"));
}

}  // namespace measure_sharpness_test
}  // namespace kudari::lab
