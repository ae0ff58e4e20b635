#ifndef KUDARI_TESTS_SUPPORT_MADE_H_
#define KUDARI_TESTS_SUPPORT_MADE_H_

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <iomanip>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kudari::testing {

// The values that tests/golden/made.py makes of names and indices, the same bits.

/// The hash of Fowler, Noll and Vo of a text.
template <class T>
T Fnv(std::string_view text, T basis, T prime) {
  for (const char c : text) basis = (basis ^ static_cast<unsigned char>(c)) * prime;
  return basis;
}

/// As many values in [0, 1).
inline std::vector<double> Uniform(const std::string& name, int64_t count) {
  const auto seed = Fnv<uint32_t>(name, 0x811C9DC5, 0x01000193);
  std::vector<double> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9E3779B1 + seed;
    x = (x ^ (x >> 16)) * 0x85EBCA6B;
    x = (x ^ (x >> 13)) * 0xC2B2AE35;
    x ^= x >> 16;
    values[i] = (x >> 8) / static_cast<double>(1 << 24);
  }
  return values;
}

/// The float32 values of a tensor of this name.
inline at::Tensor Made(const std::string& name, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  const bool weight = name.ends_with("weight");
  at::Tensor u = ::torch::tensor(Uniform(name, count), at::kDouble);
  if (name.ends_with("running_var") || (weight && shape.size() == 1)) {
    u += 0.5;
  } else {
    u -= 0.5;
    if (weight) u *= std::sqrt(24 / (static_cast<double>(count) / static_cast<double>(shape[0])));
  }
  return u.to(at::kFloat).view(shape);
}

/// Integers below `bound`, [rows, columns].
inline at::Tensor MadeIntegers(const std::string& name, int64_t rows, int64_t columns,
                               int64_t bound) {
  const at::Tensor u = ::torch::tensor(Uniform(name, rows * columns), at::kDouble);
  return (u * static_cast<double>(bound)).to(at::kLong).view({rows, columns});
}

/// The norm of a tensor, and its product with a probe.
inline std::pair<double, double> Summary(const std::string& name, const at::Tensor& value) {
  const at::Tensor flat = value.detach().to(at::kDouble).flatten();
  const at::Tensor probe =
      ::torch::tensor(Uniform(name + "/probe", flat.numel()), at::kDouble) - 0.5;
  return {flat.norm().item<double>(), flat.dot(probe).item<double>()};
}

/// A checksum of the names and shapes of parameters, in hexadecimal.
inline std::string NamesChecksum(const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::set<std::string> lines;
  for (const auto& [name, tensor] : tensors) {
    std::string line = name;
    for (const int64_t side : tensor.sizes()) {
      line += (line == name ? " " : "x") + std::to_string(side);
    }
    if (tensor.dim() == 0) line += ' ';
    lines.insert(line + "\n");
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  std::ostringstream out;
  out << std::hex << std::setw(16) << std::setfill('0')
      << Fnv<uint64_t>(text, 0xCBF29CE484222325, 0x100000001B3);
  return out.str();
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_MADE_H_
