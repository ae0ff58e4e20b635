#include "lab/demo/small_net.h"

#include <cmath>
#include <random>

namespace kudari::lab {

RegressionData RegressionData::Random(size_t samples, size_t inputs, double noise, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::normal_distribution<double> normal;
  RegressionData data;
  for (size_t i = 0; i < samples; ++i) {
    double y = noise * normal(random);
    for (double& v : data.x.emplace_back(inputs)) {
      v = uniform(random);
      y += std::sin(3 * v);
    }
    data.y.push_back(y);
  }
  return data;
}

std::vector<double> SmallNet::Start(uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> weights;
  for (size_t i = 0; i < hidden_ * inputs_; ++i) {
    weights.push_back(normal(random) / std::sqrt(static_cast<double>(inputs_)));
  }
  for (size_t i = 0; i < hidden_; ++i) weights.push_back(0.5 * normal(random));
  for (size_t i = 0; i < hidden_; ++i) {
    weights.push_back(normal(random) / std::sqrt(static_cast<double>(hidden_)));
  }
  return weights;
}

double SmallNet::Loss(const std::vector<double>& weights, const RegressionData& data,
                      std::span<const size_t> at, std::vector<double>* gradient) const {
  const double* const a = weights.data();
  const double* const b = a + hidden_ * inputs_;
  const double* const v = b + hidden_;
  if (gradient != nullptr) gradient->assign(weights.size(), 0);
  const auto count = static_cast<double>(at.size());
  std::vector<double> active(hidden_);
  double loss = 0;
  for (const size_t i : at) {
    const std::vector<double>& x = data.x[i];
    double off = -data.y[i];
    for (size_t h = 0; h < hidden_; ++h) {
      double sum = b[h];
      for (size_t k = 0; k < inputs_; ++k) sum += a[h * inputs_ + k] * x[k];
      active[h] = std::tanh(sum);
      off += v[h] * active[h];
    }
    loss += off * off / (2 * count);
    if (gradient == nullptr) continue;
    double* const da = gradient->data();
    double* const db = da + hidden_ * inputs_;
    double* const dv = db + hidden_;
    for (size_t h = 0; h < hidden_; ++h) {
      const double back = off * v[h] * (1 - active[h] * active[h]) / count;
      for (size_t k = 0; k < inputs_; ++k) da[h * inputs_ + k] += back * x[k];
      db[h] += back;
      dv[h] += off * active[h] / count;
    }
  }
  return loss;
}

}  // namespace kudari::lab
