#include "lab/measure/loss_surface.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kudari/error.h"
#include "kudari/tensor.h"
#include "kudari/torch.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;
using ::torch::autograd::grad;
using ::torch::autograd::variable_list;

constexpr int64_t kBatch = 512;
constexpr double kEta = 0.01;  // of ASAM
constexpr double kLanczosTolerance = 1e-3;

// One flat vector in double; what is undefined is zero.
Tensor Flat(const variable_list& parts, const variable_list& parameters) {
  std::vector<Tensor> flat;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = parts[i].defined() ? parts[i] : at::zeros_like(parameters[i]);
    flat.push_back(part.detach().flatten().to(at::kDouble));
  }
  return at::cat(flat);
}

double Length(const Tensor& v) { return v.norm().item<double>(); }

}  // namespace

// While it lives, the model has displaced weights.
class LossSurface::Displaced {
 public:
  Displaced(const LossSurface& surface, const Tensor& displacement) : surface_(surface) {
    for (const auto& item : surface.parameters_) before_.push_back(item.second.detach().clone());
    const ::torch::NoGradGuard no_grad;
    const std::vector<Tensor> there = surface.Split(surface.weights_ + displacement);
    for (size_t i = 0; i < there.size(); ++i) Weights(i).copy_(there[i]);
  }
  ~Displaced() {
    const ::torch::NoGradGuard no_grad;
    for (size_t i = 0; i < before_.size(); ++i) Weights(i).copy_(before_[i]);
  }
  Displaced(const Displaced&) = delete;
  Displaced& operator=(const Displaced&) = delete;

 private:
  const Tensor& Weights(size_t i) const { return surface_.parameters_[i].second; }

  const LossSurface& surface_;
  std::vector<Tensor> before_;
};

LossSurface::LossSurface(Model& model, Samples samples, Loss loss, double label_smoothing)
    : model_(model),
      samples_(std::move(samples)),
      loss_(std::move(loss)),
      label_smoothing_(label_smoothing),
      was_training_(model.is_training()) {
  if (samples_.size() == 0) throw Error("the loss surface needs samples");
  variable_list values;
  for (const auto& item : model.named_parameters()) {
    if (item.value().scalar_type() != at::kFloat) {
      throw Error(
          fmt::format("the loss surface needs float32 weights; \"{}\" has others", item.key()));
    }
    parameters_.emplace_back(item.key(), item.value());
    values.push_back(item.value());
  }
  weights_ = Flat(values, values);
  model_.eval();
}

LossSurface::~LossSurface() { model_.train(was_training_); }

std::vector<Tensor> LossSurface::Split(const Tensor& flat) const {
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const auto& item : parameters_) {
    const int64_t count = item.second.numel();
    parts.push_back(flat.narrow(0, begin, count).view(item.second.sizes()));
    begin += count;
  }
  return parts;
}

void LossSurface::ForBatches(const Batch& batch) const {
  const int64_t n = samples_.size();
  for (int64_t begin = 0; begin < n; begin += kBatch) {
    const int64_t count = std::min(kBatch, n - begin);
    const auto [x, y] = samples_.Range(begin, count);
    const Tensor output = Forward(model_, x, {}).to(at::kDouble);
    const Tensor target = y.is_floating_point() ? y.to(at::kDouble) : y;
    batch(LossOf(loss_, output, target, label_smoothing_), output, y,
          static_cast<double>(count) / static_cast<double>(n));
  }
}

Score LossSurface::At(const Tensor& displacement) const {
  const ::torch::NoGradGuard no_grad;
  const Displaced displaced(*this, displacement);
  Score score = {.loss = 0, .accuracy = 0};
  ForBatches([&](const Tensor& loss, const Tensor& output, const Tensor& y, double share) {
    score.loss += share * loss.item<double>();
    const bool classes = y.scalar_type() == at::kLong;
    score.accuracy += classes
                          ? share * (output.argmax(-1) == y).to(at::kDouble).mean().item<double>()
                          : kNotMeasured;
  });
  return score;
}

Tensor LossSurface::GradientAt(const Tensor& displacement) const {
  const at::AutoGradMode enabled(true);
  const Displaced displaced(*this, displacement);
  const variable_list parameters = model_.parameters();
  Tensor sum = at::zeros_like(weights_);
  ForBatches([&](const Tensor& loss, const Tensor&, const Tensor&, double share) {
    sum.add_(Flat(grad({loss}, parameters, {}, false, false, true), parameters), share);
  });
  return sum;
}

Tensor LossSurface::HessianProduct(const Tensor& v) const {
  const at::AutoGradMode enabled(true);
  const kudari::torch::PlainAttention plain;
  const variable_list parameters = model_.parameters();
  const std::vector<Tensor> parts = Split(v.to(at::kFloat));
  Tensor sum = at::zeros_like(weights_);
  ForBatches([&](const Tensor& loss, const Tensor&, const Tensor&, double share) {
    const variable_list gradients = grad({loss}, parameters, {}, true, true, true);
    // Where the gradient is constant, it has no part in the product.
    variable_list outputs, factors;
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (!gradients[i].defined() || !gradients[i].requires_grad()) continue;
      outputs.push_back(gradients[i]);
      factors.push_back(parts[i]);
    }
    if (outputs.empty()) return;
    sum.add_(Flat(grad(outputs, parameters, factors, false, false, true), parameters), share);
  });
  return sum;
}

Estimate EstimateOf(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double x : values) sum += x;
  const double mean = sum / n;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

Tensor SamStep(const Tensor& gradient, double rho) {
  const double norm = Length(gradient);
  return norm > 0 ? gradient * (rho / norm) : at::zeros_like(gradient);
}

Tensor AdaptiveStep(const LossSurface& surface, const Tensor& gradient, double rho) {
  const Tensor scale = surface.weights().abs() + kEta;
  const std::vector<Tensor> scales = surface.Split(scale);
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto& [name, value] = surface.parameters()[i];
    if (Classify(name, value.sizes().vec()) == TensorClass::kBias) scales[i].fill_(1);
  }
  return scale * SamStep(scale * gradient, rho);
}

double AscentSharpness(const LossSurface& surface, const Tensor& gradient, double loss, double rho,
                       int64_t steps, const std::function<void()>& report) {
  Tensor d = SamStep(gradient, rho);
  double best = surface.LossAt(d) - loss;
  for (int64_t i = 0; i < steps; ++i) {
    d = d + SamStep(surface.GradientAt(d), 2 * rho / static_cast<double>(steps));
    const double norm = Length(d);
    if (norm > rho) d = d * (rho / norm);
    best = std::max(best, surface.LossAt(d) - loss);
    report();
  }
  return best;
}

Spectrum ExtremeEigenvalues(const std::function<Tensor(const Tensor&)>& product,
                            const Tensor& start, int64_t most) {
  const int64_t size = std::min(most - 2, start.numel());
  const Tensor basis = at::empty({size, start.numel()}, at::kDouble);
  const Tensor matrix = at::zeros({size, size}, at::kDouble);  // in that basis
  Spectrum spectrum;
  Tensor q = start / start.norm(), vectors;
  for (int64_t j = 0; j < size && !spectrum.converged; ++j) {
    basis[j].copy_(q);
    Tensor r = product(q);
    ++spectrum.products;
    matrix[j][j] = q.dot(r);
    const Tensor so_far = basis.narrow(0, 0, j + 1);
    // Once is not enough for vectors that are orthogonal to rounding.
    for (int pass = 0; pass < 2; ++pass) r = r - so_far.t().mv(so_far.mv(r));
    const double beta = Length(r);
    const auto eigen = at::linalg_eigh(matrix.narrow(0, 0, j + 1).narrow(1, 0, j + 1), "L");
    vectors = std::get<1>(eigen);
    const double bound = kLanczosTolerance * std::get<0>(eigen).abs().max().item<double>();
    const auto small = [&](int64_t column) {
      return beta * std::abs(vectors[j][column].item<double>()) <= bound;
    };
    spectrum.converged = small(0) && small(j);
    if (j + 1 == size) break;
    matrix[j][j + 1] = beta;
    matrix[j + 1][j] = beta;
    q = r / beta;
  }
  const int64_t last = vectors.size(0) - 1;
  const auto measure = [&](int64_t column) -> Eigenvalue {
    Tensor v = basis.narrow(0, 0, last + 1).t().mv(vectors.select(1, column));
    v = v / v.norm();
    const Tensor hv = product(v);
    ++spectrum.products;
    const double value = v.dot(hv).item<double>();
    return {value, Length(hv - value * v)};
  };
  spectrum.largest = measure(last);
  spectrum.smallest = measure(0);
  return spectrum;
}

Tensor FilterNormalized(const LossSurface& surface, at::Generator& random) {
  Tensor direction = at::randn({surface.size()}, random, at::kDouble);
  const std::vector<Tensor> parts = surface.Split(direction);
  const std::vector<Tensor> weights = surface.Split(surface.weights());
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].dim() < 2) {
      parts[i].zero_();
      continue;
    }
    // As matrices: views of the direction, so that it is what changes.
    const Tensor rows = parts[i].flatten(1), weight_rows = weights[i].flatten(1);
    rows.mul_(weight_rows.norm(2, 1, true) / rows.norm(2, 1, true));
  }
  return direction;
}

}  // namespace kudari::lab
