#ifndef KUDARI_LAB_DEMO_STEPPED_H_
#define KUDARI_LAB_DEMO_STEPPED_H_

#include <functional>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/spec.h"
#include "lab/draw/chart.h"
#include "lab/landscape/surfaces.h"

namespace kudari::lab {

/// Weights of a demonstration's problem, which the library's optimiser steps in float32. The
/// problem itself is written in double.
class Stepped {
 public:
  /// A gradient for these weights, of their size.
  using Slope = std::function<std::vector<double>(const std::vector<double>& weights)>;

  /// Throws Error as Optimizer does.
  Stepped(const std::vector<double>& start, const OptimizerSpec& spec);

  std::vector<double> weights() const { return {w_.begin(), w_.end()}; }
  Optimizer& optimizer() { return optimizer_; }

  /// One step with this gradient, whatever the weights.
  Report Step(const std::vector<double>& gradient);
  /// The change that one step with this gradient makes to weights of zero, which is not rounded to
  /// the digits of larger ones; the weights are this change afterwards.
  std::vector<double> StepFromZero(const std::vector<double>& gradient);
  /// One step with an oracle that asks `slope` for the gradient at the weights of each pass.
  Report Step(const Slope& slope);

 private:
  void Take(const std::vector<double>& gradient);

  std::vector<float> w_, dw_;
  Optimizer optimizer_;
};

/// Contours of a function over a rectangle, without a title.
ContourChart ContoursOf(const std::function<double(Position)>& height, Position low, Position high);

/// A function at `count` evenly spaced places from low to high, at least two.
Series SampledLine(const std::string& label, double low, double high, size_t count,
                   const std::function<double(double)>& f);

/// Adds a point to a line.
void AddPoint(Series& series, double x, double y);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DEMO_STEPPED_H_
