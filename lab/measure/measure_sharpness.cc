#include "lab/measure/measure_sharpness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/files/run_folder.h"
#include "lab/measure/loss_surface.h"
#include "lab/measure/trained_loss.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::at::Tensor;
using Json = nlohmann::ordered_json;

constexpr int64_t kHessianProducts = 50;
constexpr int64_t kPoints1 = 51, kPoints2 = 21;

void CheckOptions(const SharpnessOptions& o) {
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    if (value < least)
      throw UsageError(fmt::format("{} = {} must be at least {}", name, value, least));
  };
  const auto positive = [](const char* name, double value) {
    if (!(value > 0 && std::isfinite(value))) {
      throw UsageError(fmt::format("{} = {} must be above 0 and finite", name, value));
    }
  };
  at_least("--samples", o.samples, 0);
  at_least("--seed", o.seed, 0);
  at_least("--steps", o.steps, 1);
  at_least("--draws", o.draws, 2);
  positive("--rho", o.rho);
  positive("--adaptive-rho", o.adaptive_rho);
  positive("--range", o.range);
  if (o.slice != 1 && o.slice != 2)
    throw UsageError(fmt::format("--slice = {} must be 1 or 2", o.slice));
  constexpr int64_t kMostPoints = 10'001;
  if (o.points != 0 && (o.points < 3 || o.points > kMostPoints || o.points % 2 == 0)) {
    throw UsageError(
        fmt::format("--points = {} must be odd and in [3, {}]", o.points, kMostPoints));
  }
  if (!o.with.empty() && o.slice != 1) throw UsageError("--with needs --slice 1");
  CheckRunFolder(o.run);
  if (!o.with.empty()) CheckRunFolder(o.with);
}

at::Generator Random(int64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
}

// All that MeasureSharpness measures.
struct Measures {
  double gradient_norm = 0, sam = 0, ascent = 0, adaptive = 0;
  Estimate average, trace;
  Spectrum spectrum;

  struct Part {
    std::string name;
    int64_t elements = 0;
    double weight_norm = 0, gradient_norm = 0;
    Estimate trace;
  };
  std::vector<Part> parts;
};

// Each direction is taken both ways, so that the slope, which has no part in the mean, adds no
// noise.
Estimate AverageSharpness(const LossSurface& surface, double loss, const SharpnessOptions& options,
                          Progress& progress) {
  at::Generator random = Random(options.seed);
  MeasureProgress work(progress, "random directions: pair", options.draws);
  std::vector<double> rises;
  for (int64_t i = 0; i < options.draws; ++i) {
    const Tensor gaussian = at::randn({surface.size()}, random, at::kDouble);
    const Tensor d = gaussian * (options.rho / gaussian.norm());
    rises.push_back((surface.LossAt(d) + surface.LossAt(-d)) / 2 - loss);
    work.Done();
  }
  return EstimateOf(rises);
}

// The trace of the whole Hessian, and of each tensor's block, which the parts get.
Estimate Trace(const LossSurface& surface, const SharpnessOptions& options, Progress& progress,
               std::vector<Measures::Part>& parts) {
  at::Generator random = Random(options.seed);
  MeasureProgress work(progress, "trace: draw", options.draws);
  std::vector<double> whole;
  std::vector<std::vector<double>> blocks(parts.size());
  for (int64_t i = 0; i < options.draws; ++i) {
    const Tensor signs = 2 * at::randint(0, 2, {surface.size()}, random, at::kDouble) - 1;
    const Tensor terms = signs * surface.HessianProduct(signs);
    whole.push_back(terms.sum().item<double>());
    const std::vector<Tensor> split = surface.Split(terms);
    for (size_t k = 0; k < split.size(); ++k) blocks[k].push_back(split[k].sum().item<double>());
    work.Done();
  }
  for (size_t k = 0; k < parts.size(); ++k) parts[k].trace = EstimateOf(blocks[k]);
  return EstimateOf(whole);
}

Measures Measure(const TrainedLoss& trained, const SharpnessOptions& options, Progress& progress) {
  const LossSurface& surface = trained.surface();
  const double loss = trained.score().loss;
  Measures m;
  const Tensor here = at::zeros({surface.size()}, at::kDouble);
  const Tensor gradient = surface.GradientAt(here);
  m.gradient_norm = gradient.norm().item<double>();
  m.sam = surface.LossAt(SamStep(gradient, options.rho)) - loss;
  m.adaptive = surface.LossAt(AdaptiveStep(surface, gradient, options.adaptive_rho)) - loss;
  MeasureProgress ascent(progress, "ascent: step", options.steps);
  m.ascent =
      AscentSharpness(surface, gradient, loss, options.rho, options.steps, [&] { ascent.Done(); });
  m.average = AverageSharpness(surface, loss, options, progress);
  MeasureProgress products(progress, "spectrum: product", kHessianProducts);
  at::Generator random = Random(options.seed);
  m.spectrum = ExtremeEigenvalues(
      [&](const Tensor& v) {
        Tensor product = surface.HessianProduct(v);
        products.Done();
        return product;
      },
      at::randn({surface.size()}, random, at::kDouble), kHessianProducts);
  const std::vector<Tensor> weights = surface.Split(surface.weights());
  const std::vector<Tensor> gradients = surface.Split(gradient);
  for (size_t k = 0; k < weights.size(); ++k) {
    m.parts.push_back({surface.parameters()[k].first,
                       weights[k].numel(),
                       weights[k].norm().item<double>(),
                       gradients[k].norm().item<double>(),
                       {}});
  }
  m.trace = Trace(surface, options, progress, m.parts);
  return m;
}

std::string Text(const Estimate& e) { return fmt::format("{:.4g} +- {:.2g}", e.mean, e.error); }

std::string Text(const Eigenvalue& e) {
  return fmt::format("{:.5g}, residual {:.2g}", e.value, e.residual);
}

std::string Table(const TrainedLoss& trained, const Measures& m, const SharpnessOptions& o) {
  std::vector<std::vector<std::string>> rows = {
      {"loss", fmt::format("{:.5g}", trained.score().loss)},
      {"norm of the gradient", fmt::format("{:.4g}", m.gradient_norm)},
      {fmt::format("SAM sharpness, rho {:g}", o.rho), fmt::format("{:.4g}", m.sam)},
      {fmt::format("  by ascent, {} steps", o.steps), fmt::format("{:.4g}", m.ascent)},
      {fmt::format("  mean of {} directions", o.draws), Text(m.average)},
      {fmt::format("adaptive sharpness, rho {:g}", o.adaptive_rho),
       fmt::format("{:.4g}", m.adaptive)},
      {"largest eigenvalue", Text(m.spectrum.largest)},
      {"smallest eigenvalue", Text(m.spectrum.smallest)},
      {"largest in magnitude", Text(m.spectrum.OfLargestMagnitude())},
      {"products with the Hessian",
       fmt::format(
           "{}, {}", m.spectrum.products,
           m.spectrum.converged ? "converged" : "not converged: true ends lie further out")},
      {fmt::format("trace, {} draws", o.draws), Text(m.trace)}};
  if (std::isfinite(trained.score().accuracy)) {
    rows.insert(rows.begin() + 1, {"accuracy", Percent(trained.score().accuracy)});
  }
  std::vector<std::vector<std::string>> tensors = {
      {"tensor", "elements", "|w|", "|g|", "trace of its block"}};
  for (const Measures::Part& part : m.parts) {
    tensors.push_back({part.name, fmt::format("{}", part.elements),
                       fmt::format("{:.4g}", part.weight_norm),
                       fmt::format("{:.3g}", part.gradient_norm), Text(part.trace)});
  }
  return "\n" + TextTable(rows) + "\n" + TextTable(tensors);
}

Json ToJson(const Estimate& e) { return {{"mean", e.mean}, {"standard_error", e.error}}; }

Json ToJson(const Eigenvalue& e) { return {{"value", e.value}, {"residual", e.residual}}; }

Json ToJson(const TrainedLoss& trained, const Measures& m, const SharpnessOptions& o) {
  Json tensors = Json::array();
  for (const Measures::Part& part : m.parts) {
    tensors.push_back({{"name", part.name},
                       {"elements", part.elements},
                       {"weight_norm", part.weight_norm},
                       {"gradient_norm", part.gradient_norm},
                       {"trace", ToJson(part.trace)}});
  }
  return {{"run", o.run.string()},
          {"options",
           {{"samples", o.samples},
            {"rho", o.rho},
            {"adaptive_rho", o.adaptive_rho},
            {"steps", o.steps},
            {"draws", o.draws},
            {"seed", o.seed}}},
          {"samples", trained.used()},
          {"parameters", trained.surface().size()},
          {"loss", trained.score().loss},
          {"accuracy", trained.score().accuracy},
          {"gradient_norm", m.gradient_norm},
          {"sam_sharpness", m.sam},
          {"ascent_sharpness", m.ascent},
          {"average_sharpness", ToJson(m.average)},
          {"adaptive_sharpness", m.adaptive},
          {"largest_eigenvalue", ToJson(m.spectrum.largest)},
          {"smallest_eigenvalue", ToJson(m.spectrum.smallest)},
          {"largest_magnitude_eigenvalue", ToJson(m.spectrum.OfLargestMagnitude())},
          {"hessian_products", m.spectrum.products},
          {"converged", m.spectrum.converged},
          {"trace", ToJson(m.trace)},
          {"tensors", tensors}};
}

// Evenly from -range to range; the middle is 0 exactly.
std::vector<double> Steps(int64_t points, double range) {
  std::vector<double> steps;
  const int64_t half = points / 2;
  for (int64_t i = -half; i <= half; ++i) {
    steps.push_back(range * static_cast<double>(i) / static_cast<double>(half));
  }
  return steps;
}

std::vector<Score> Line(const TrainedLoss& trained, const std::vector<double>& alphas,
                        const SharpnessOptions& options, Progress& progress) {
  at::Generator random = Random(options.seed);
  const Tensor direction = FilterNormalized(trained.surface(), random);
  MeasureProgress work(progress, trained.name() + ": point", std::ssize(alphas));
  std::vector<Score> scores;
  for (const double alpha : alphas) {
    scores.push_back(trained.surface().At(alpha * direction));
    work.Done();
  }
  return scores;
}

Series LossSeries(const std::string& label, const std::vector<double>& alphas,
                  const std::vector<Score>& scores) {
  Series series{.label = label, .x = alphas};
  for (const Score& score : scores) series.y.push_back(score.loss);
  return series;
}

// Picture and CSV of slice 1, after which the console is told.
void SliceLine(const TrainedLoss& trained, const SharpnessOptions& options, const fs::path& base,
               Progress& progress) {
  const auto alphas = Steps(options.points == 0 ? kPoints1 : options.points, options.range);
  std::vector<std::vector<Score>> lines = {Line(trained, alphas, options, progress)};
  LineChart chart{.title = "Training loss along a filter-normalised random direction",
                  .x_label = "alpha: distance in units of the filters' norms",
                  .y_label = "training loss",
                  .log_y = true};
  chart.series.push_back(LossSeries(trained.name(), alphas, lines[0]));
  std::string csv = "alpha,loss,accuracy";
  if (!options.with.empty()) {
    const TrainedLoss second(options.with, options.samples);
    progress.Text(second.Heading());
    lines.push_back(Line(second, alphas, options, progress));
    const bool same = second.name() == trained.name();
    if (same) chart.series[0].label = options.run.string();
    chart.series.push_back(
        LossSeries(same ? options.with.string() : second.name(), alphas, lines[1]));
    csv += ",loss2,accuracy2";
  }
  for (size_t i = 0; i < alphas.size(); ++i) {
    csv += fmt::format("\n{}", alphas[i]);
    for (const auto& scores : lines) {
      csv += fmt::format(",{},{}", scores[i].loss, scores[i].accuracy);
    }
  }
  WriteRunFile(base.string() + ".csv", csv + "\n");
  DrawChart(chart, base.string() + ".svg");
}

void SlicePlane(const TrainedLoss& trained, const SharpnessOptions& options, const fs::path& base,
                Progress& progress) {
  const auto steps = Steps(options.points == 0 ? kPoints2 : options.points, options.range);
  at::Generator random = Random(options.seed);
  const Tensor first = FilterNormalized(trained.surface(), random);
  const Tensor second = FilterNormalized(trained.surface(), random);
  ContourChart chart{.title = "Training loss of " + trained.name(),
                     .x_label = "alpha: along one filter-normalised random direction",
                     .y_label = "beta: along another",
                     .z_label = "training loss",
                     .log_z = true,
                     .x = steps,
                     .y = steps,
                     .points = {{"the run's weights", 0, 0}}};
  MeasureProgress work(progress, trained.name() + ": point", std::ssize(steps) * std::ssize(steps));
  std::string csv = "alpha,beta,loss,accuracy\n";
  for (const double beta : steps) {
    for (const double alpha : steps) {
      const Score score = trained.surface().At(alpha * first + beta * second);
      chart.z.push_back(score.loss);
      csv += fmt::format("{},{},{},{}\n", alpha, beta, score.loss, score.accuracy);
      work.Done();
    }
  }
  WriteRunFile(base.string() + ".csv", csv);
  DrawChart(chart, base.string() + ".svg");
}

}  // namespace

void MeasureSharpness(const SharpnessOptions& options, std::FILE* console) {
  CheckOptions(options);
  Progress progress(console);
  const TrainedLoss trained(options.run, options.samples);
  progress.Text(trained.Heading());
  const Measures measures = Measure(trained, options, progress);
  progress.Text(Table(trained, measures, options));
  if (!options.json.empty()) {
    WriteOutput(options.json, JsonText(ToJson(trained, measures, options), 2) + "\n");
  }
}

void SliceLoss(const SharpnessOptions& options, std::FILE* console) {
  CheckOptions(options);
  Progress progress(console);
  const fs::path out = options.out.empty() ? options.run : options.out;
  const fs::path base = out / fmt::format("slice{}", options.slice);
  for (const char* const extension : {".csv", ".svg"}) {
    const fs::path file = base.string() + extension;
    CheckNoLink(file);
    if (options.force || !fs::exists(file)) continue;
    throw UsageError(fmt::format("--slice {}: {} exists already; --force overwrites it",
                                 options.slice, file.string()));
  }
  const TrainedLoss trained(options.run, options.samples);
  progress.Text(trained.Heading());
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw UsageError(fmt::format("--out {}: {}", out.string(), error.message()));
  if (options.slice == 1) {
    SliceLine(trained, options, base, progress);
  } else {
    SlicePlane(trained, options, base, progress);
  }
  progress.Text(fmt::format("written {0}.csv {0}.svg\n", base.string()));
}

}  // namespace kudari::lab
