#include "lab/bench/bench_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "kudari/error.h"
#include "kudari/newton_schulz.h"
#include "lab/bench/blas.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

struct Shape {
  int rows, cols;
};

constexpr Shape kShapes[] = {{768, 768}, {768, 3072}, {1024, 4096}};
constexpr int kLarge = 2048;  // side of the product that stands for a BLAS's peak

/// The iteration as it is written down, with three products each: A = X X^T, B = b A + c A A,
/// X <- a X + B X. Scaling, adding and the identity are left to the products where they can be.
class Plain {
 public:
  Plain(const Blas& blas, Shape shape)
      : blas_(blas),
        m_(shape.rows),
        n_(shape.cols),
        x_(static_cast<size_t>(m_) * static_cast<size_t>(n_)),
        y_(x_.size()),
        a_(static_cast<size_t>(m_) * static_cast<size_t>(m_)),
        b_(a_.size()) {}

  void Run(const NewtonSchulz& iteration, const std::vector<float>& x) {
    double sum = 0;
    for (const float v : x) sum += static_cast<double>(v) * v;
    const auto scale = static_cast<float>(1 / iteration.Divisor(std::sqrt(sum)));
    for (size_t i = 0; i < x.size(); ++i) x_[i] = scale * x[i];
    const auto [a, b, c] = iteration.coefficients.front();
    for (int i = 0; i < iteration.iterations; ++i) {
      blas_.Multiply(true, m_, m_, n_, 1, x_.data(), x_.data(), 0, a_.data());
      b_ = a_;
      blas_.Multiply(false, m_, m_, m_, static_cast<float>(c), a_.data(), a_.data(),
                     static_cast<float>(b), b_.data());
      for (size_t k = 0; k < b_.size(); k += static_cast<size_t>(m_) + 1) {
        b_[k] += static_cast<float>(a);
      }
      blas_.Multiply(false, m_, n_, m_, 1, b_.data(), x_.data(), 0, y_.data());
      std::swap(x_, y_);
    }
  }

  const std::vector<float>& result() const { return x_; }

 private:
  const Blas& blas_;
  int m_, n_;
  std::vector<float> x_, y_, a_, b_;
};

/// Numbers of no structure in [-0.5, 0.5], the same every time.
std::vector<float> Noise(size_t n) {
  std::vector<float> x(n);
  uint32_t state = 1;
  for (float& v : x) {
    state = state * 1664525 + 1013904223;
    v = static_cast<float>(state >> 8U) / 16777216.0F - 0.5F;
  }
  return x;
}

double Distance(const std::vector<float>& x, const std::vector<float>& y) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    norm += std::pow(static_cast<double>(y[i]), 2);
  }
  return std::sqrt(difference / norm);
}

Json RunCase(const Blas* blas, Shape shape, int threads, int rounds) {
  const NewtonSchulz iteration = kKeller;
  const auto rows = static_cast<size_t>(shape.rows), cols = static_cast<size_t>(shape.cols);
  const std::vector<float> x = Noise(rows * cols);
  std::vector<float> out(x.size()), workspace(WorkspaceSize<float>(rows, cols));
  const auto ours = [&] {
    Orthogonalize<float>(iteration, x.data(), rows, cols, out.data(), workspace,
                         {.threads = threads});
  };
  ours();
  const double gflop = NewtonSchulzFlops(iteration.iterations, rows, cols) * 1e-9;
  Json result = {{"rule", "ns"}, {"shape", fmt::format("{}x{}", rows, cols)}, {"threads", threads}};
  std::vector<double> times, plain_times, ratios, peaks;
  if (blas == nullptr) {
    for (int i = 0; i < rounds; ++i) times.push_back(Time(1, ours));
  } else {
    blas->set_threads(threads);
    Plain plain(*blas, shape);
    plain.Run(iteration, x);
    const std::vector<float> large = Noise(size_t{kLarge} * kLarge);
    std::vector<float> product(large.size());
    for (int i = 0; i < rounds; ++i) {
      times.push_back(Time(1, ours));
      plain_times.push_back(Time(1, [&] { plain.Run(iteration, x); }));
      ratios.push_back(plain_times.back() / times.back());
      peaks.push_back(2e-9 * std::pow(kLarge, 3) / Time(1, [&] {
                        blas->Multiply(false, kLarge, kLarge, kLarge, 1, large.data(), large.data(),
                                       0, product.data());
                      }));
    }
    const auto [worst, best] = std::minmax_element(ratios.begin(), ratios.end());
    result.update({{"plain_ms", Median(plain_times) * 1e3},
                   {"ratio", Median(ratios)},
                   {"ratio_min", *worst},
                   {"ratio_max", *best},
                   {"peak_gflops", Median(peaks)},
                   {"of_peak", gflop / Median(times) / Median(peaks)},
                   {"distance", Distance(out, plain.result())}});
  }
  const auto [low, high] = std::minmax_element(times.begin(), times.end());
  result.update({{"ms", Median(times) * 1e3},
                 {"ms_min", *low * 1e3},
                 {"ms_max", *high * 1e3},
                 {"gflops", gflop / Median(times)},
                 {"rounds", rounds}});
  return result;
}

}  // namespace

void BenchMatrix(const std::regex& filter, int rounds, std::FILE* console, Json& results) {
  struct Case {
    Shape shape;
    int threads;
  };
  std::vector<Case> cases;
  for (const Shape shape : kShapes) {
    for (const int threads : {1, 2}) {
      const std::string name = fmt::format("ns/{}x{}/{}", shape.rows, shape.cols, threads);
      if (std::regex_search(name, filter)) cases.push_back({shape, threads});
    }
  }
  if (cases.empty()) return;
  std::optional<Blas> blas;
  try {
    blas = LoadBlas();
    fmt::print(console, "\nNewton-Schulz against three products an iteration on {}\n", blas->name);
  } catch (const Error& e) {
    fmt::print(console, "\nNewton-Schulz with nothing to compare it to: {}\n", e.what());
  }
  fmt::print(console, "{:<16} {:>7} {:>9} {:>15} {:>9} {:>7} {:>11} {:>8} {:>8} {:>8} {:>9}\n",
             "ns", "threads", "ms", "min..max", "plain ms", "ratio", "min..max", "GFLOP/s", "peak",
             "of peak", "distance");
  for (const Case& c : cases) {
    Json r = RunCase(blas ? &*blas : nullptr, c.shape, c.threads, rounds);
    fmt::print(console, "{:<16} {:>7} {:>9.1f} {:>15}", r["shape"].get<std::string>(), c.threads,
               r["ms"].get<double>(),
               fmt::format("{:.1f}..{:.1f}", r["ms_min"].get<double>(), r["ms_max"].get<double>()));
    if (blas) {
      r["blas"] = blas->name;
      fmt::print(
          console, " {:>9.1f} {:>7.2f} {:>11} {:>8.0f} {:>8.0f} {:>8.2f} {:>9.1e}\n",
          r["plain_ms"].get<double>(), r["ratio"].get<double>(),
          fmt::format("{:.2f}..{:.2f}", r["ratio_min"].get<double>(), r["ratio_max"].get<double>()),
          r["gflops"].get<double>(), r["peak_gflops"].get<double>(), r["of_peak"].get<double>(),
          r["distance"].get<double>());
    } else {
      fmt::print(console, " {:>9} {:>7} {:>11} {:>8.0f}\n", "-", "-", "-",
                 r["gflops"].get<double>());
    }
    std::fflush(console);
    results.push_back(r);
  }
}

}  // namespace kudari::lab
