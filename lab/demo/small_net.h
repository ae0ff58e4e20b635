#ifndef KUDARI_LAB_DEMO_SMALL_NET_H_
#define KUDARI_LAB_DEMO_SMALL_NET_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kudari::lab {

/// Inputs and a target each.
struct RegressionData {
  std::vector<std::vector<double>> x = {};
  std::vector<double> y = {};

  /// Random inputs in [-1, 1] and the sum of their sines, with noise of that standard deviation.
  static RegressionData Random(size_t samples, size_t inputs, double noise, uint64_t seed);
};

/// A net of one hidden layer, v . tanh(A x + b), in double. Its weights are one vector: A row by
/// row, b, v.
class SmallNet {
 public:
  SmallNet(size_t inputs, size_t hidden) : inputs_(inputs), hidden_(hidden) {}

  /// Random weights of a size that suits the widths.
  std::vector<double> Start(uint64_t seed) const;
  /// Half of the mean square over the samples at these indices. The gradient, of the weights' size,
  /// is written unless it is null.
  double Loss(const std::vector<double>& weights, const RegressionData& data,
              std::span<const size_t> at, std::vector<double>* gradient = nullptr) const;

 private:
  size_t inputs_, hidden_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DEMO_SMALL_NET_H_
