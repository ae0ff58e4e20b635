#include "lab/demo/stepped.h"

#include <algorithm>
#include <utility>

namespace kudari::lab {

Stepped::Stepped(const std::vector<double>& start, const OptimizerSpec& spec)
    : w_(start.size()),
      dw_(start.size()),
      optimizer_(
          {{.name = "w", .shape = {1, std::ssize(start)}, .param = w_.data(), .grad = dw_.data()}},
          spec) {
  std::ranges::transform(start, w_.begin(), [](double x) { return static_cast<float>(x); });
  optimizer_.SetParallel({.threads = 1});
}

void Stepped::Take(const std::vector<double>& gradient) {
  std::ranges::transform(gradient, dw_.begin(), [](double x) { return static_cast<float>(x); });
}

Report Stepped::Step(const std::vector<double>& gradient) {
  Take(gradient);
  return optimizer_.Step();
}

std::vector<double> Stepped::StepFromZero(const std::vector<double>& gradient) {
  std::ranges::fill(w_, 0.0F);
  Step(gradient);
  return weights();
}

Report Stepped::Step(const Slope& slope) {
  return optimizer_.Step([&](Pass) -> Evaluation {
    Take(slope(weights()));
    return 0;
  });
}

ContourChart ContoursOf(const std::function<double(Position)>& height, Position low,
                        Position high) {
  constexpr size_t kCells = 120;
  HeightGrid grid = GridOf(height, low, high, kCells, kCells);
  return {.title = "",
          .x_label = "x",
          .y_label = "y",
          .z_label = "loss",
          .x = std::move(grid.x),
          .y = std::move(grid.y),
          .z = std::move(grid.height)};
}

Series SampledLine(const std::string& label, double low, double high, size_t count,
                   const std::function<double(double)>& f) {
  Series series{.label = label};
  for (size_t i = 0; i < count; ++i) {
    const double x = low + (high - low) * static_cast<double>(i) / static_cast<double>(count - 1);
    AddPoint(series, x, f(x));
  }
  return series;
}

void AddPoint(Series& series, double x, double y) {
  series.x.push_back(x);
  series.y.push_back(y);
}

}  // namespace kudari::lab
