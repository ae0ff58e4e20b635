#include "kudari/newton_schulz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "kernels/kernels.h"
#include "kudari/error.h"
#include "tests/support/allocations.h"
#include "tests/support/random.h"

namespace kudari::internal {
namespace newton_schulz_test {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Shape {
  size_t rows, cols;
};

/// Square, nearly square, wide and tall; on the edges of panels and off them.
constexpr Shape kShapes[] = {{1, 1},   {1, 70},  {70, 1},  {2, 3},    {24, 24},  {48, 48},
                             {49, 47}, {60, 65}, {60, 70}, {50, 200}, {200, 50}, {97, 130}};

/// n orthonormal vectors of the given size, one after the other, by Gram and Schmidt.
std::vector<double> Orthonormal(size_t n, size_t size, testing::Random& random) {
  std::vector<double> q(n * size);
  for (double& v : q) v = static_cast<double>(random.Float());
  for (size_t i = 0; i < n; ++i) {
    double* const v = &q[i * size];
    for (int pass = 0; pass < 2; ++pass) {  // the second removes what rounding left
      for (size_t j = 0; j < i; ++j) {
        double dot = 0;
        for (size_t k = 0; k < size; ++k) dot += v[k] * q[j * size + k];
        for (size_t k = 0; k < size; ++k) v[k] -= dot * q[j * size + k];
      }
    }
    double norm = 0;
    for (size_t k = 0; k < size; ++k) norm += v[k] * v[k];
    for (size_t k = 0; k < size; ++k) v[k] /= std::sqrt(norm);
  }
  return q;
}

/// A matrix made from its singular value decomposition, so that it is known without computing one.
class Decomposed {
 public:
  Decomposed(Shape shape, std::vector<double> values, uint64_t seed)
      : shape_(shape), values_(std::move(values)) {
    testing::Random random(seed);
    u_ = Orthonormal(values_.size(), shape.rows, random);
    v_ = Orthonormal(values_.size(), shape.cols, random);
  }

  /// U f(S) V^T
  template <class F>
  std::vector<double> Map(const F& f) const {
    std::vector<double> x(shape_.rows * shape_.cols);
    for (size_t s = 0; s < values_.size(); ++s) {
      const double value = f(values_[s]);
      for (size_t i = 0; i < shape_.rows; ++i) {
        for (size_t j = 0; j < shape_.cols; ++j) {
          x[i * shape_.cols + j] += value * u_[s * shape_.rows + i] * v_[s * shape_.cols + j];
        }
      }
    }
    return x;
  }

  std::vector<double> Matrix() const {
    return Map([](double s) { return s; });
  }

  /// What the iteration makes of the matrix, by the scalar polynomial.
  std::vector<double> Exact(const NewtonSchulz& iteration) const {
    double sum = 0;
    for (const double s : values_) sum += s * s;
    const double norm = iteration.Divisor(std::sqrt(sum));
    return Map([&](double s) {
      double x = s / norm;
      for (int i = 0; i < iteration.iterations; ++i) {
        const size_t last = iteration.coefficients.size() - 1;
        const auto& [a, b, c] = iteration.coefficients[std::min(static_cast<size_t>(i), last)];
        x = a * x + b * std::pow(x, 3) + c * std::pow(x, 5);
      }
      return x;
    });
  }

 private:
  Shape shape_;
  std::vector<double> values_, u_, v_;
};

std::vector<double> Geometric(size_t n, double last) {
  std::vector<double> s(n);
  for (size_t i = 0; i < n; ++i) {
    s[i] = std::pow(last, static_cast<double>(i) / static_cast<double>(std::max<size_t>(n - 1, 1)));
  }
  return s;
}

template <class T>
std::vector<T> Apply(const NewtonSchulz& iteration, const std::vector<T>& x, Shape shape,
                     const Parallel& parallel = {.threads = 2}) {
  std::vector<T> out(x.size()), workspace(WorkspaceSize<T>(shape.rows, shape.cols));
  Orthogonalize<T>(iteration, x.data(), shape.rows, shape.cols, out.data(), workspace, parallel);
  return out;
}

/// |x - y| / |y|
template <class T>
double Distance(const std::vector<T>& x, const std::vector<double>& y) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - y[i], 2);
    norm += y[i] * y[i];
  }
  return std::sqrt(difference / norm);
}

std::string Name(Shape s) { return std::to_string(s.rows) + "x" + std::to_string(s.cols); }

TEST(NewtonSchulzTest, MapsSingularValuesInDouble) {
  for (const Shape shape : kShapes) {
    const size_t rank = std::min(shape.rows, shape.cols);
    for (const double last : {1.0, 1e-2, 1e-6}) {
      const Decomposed x(shape, Geometric(rank, last), rank);
      for (const NewtonSchulz& iteration : {kKeller, kPolarExpress}) {
        EXPECT_LT(Distance(Apply(iteration, x.Matrix(), shape), x.Exact(iteration)), 1e-10)
            << Name(shape) << " down to " << last;
      }
    }
  }
}

TEST(NewtonSchulzTest, AnyNumberOfIterationsRepeatsTheLastCoefficients) {
  for (const Shape shape : {Shape{40, 40}, Shape{30, 90}}) {
    const Decomposed x(shape, Geometric(30, 1e-3), 5);
    for (int n = 1; n <= 8; ++n) {
      for (NewtonSchulz iteration : {kKeller, kPolarExpress}) {
        iteration.iterations = n;
        EXPECT_LT(Distance(Apply(iteration, x.Matrix(), shape), x.Exact(iteration)), 1e-10)
            << Name(shape) << " " << n;
      }
    }
  }
}

TEST(NewtonSchulzTest, LeavesTheNullSpaceOfALowRankMatrix) {
  for (const Shape shape : {Shape{60, 60}, Shape{40, 130}, Shape{130, 40}}) {
    const Decomposed x(shape, {3.0, 2.0, 1.0, 0.5}, 9);
    for (const NewtonSchulz& iteration : {kKeller, kPolarExpress}) {
      EXPECT_LT(Distance(Apply(iteration, x.Matrix(), shape), x.Exact(iteration)), 1e-10)
          << Name(shape);
    }
  }
}

// The epsilon is what counts for a matrix of that size.
TEST(NewtonSchulzTest, TinyMatricesStaySmall) {
  const Shape shape{20, 30};
  std::vector<double> values = Geometric(20, 0.1);
  for (double& v : values) v *= 1e-8;
  const Decomposed x(shape, values, 3);
  for (const NewtonSchulz& iteration : {kKeller, kPolarExpress}) {
    EXPECT_LT(Distance(Apply(iteration, x.Matrix(), shape), x.Exact(iteration)), 1e-10);
  }
}

// What the float form is held to: 1e-4 for spectra from flat to steep, where the double form, which
// the tests above compare with the exact result, has the same rounded matrix to start from.
TEST(NewtonSchulzTest, FloatStaysClose) {
  for (const Shape shape : {Shape{96, 96}, Shape{96, 384}, Shape{384, 96}}) {
    std::vector<std::vector<double>> spectra = {
        std::vector<double>(96, 1.0), std::vector<double>(8, 1.0), std::vector<double>(96, 1e-3)};
    spectra.back()[0] = 1;
    for (const double last : {1e-2, 1e-4, 1e-8}) spectra.push_back(Geometric(96, last));
    for (size_t s = 0; s < spectra.size(); ++s) {
      const std::vector<double> exact = Decomposed(shape, spectra[s], 11).Matrix();
      const std::vector<float> x(exact.begin(), exact.end());
      const std::vector<double> rounded(x.begin(), x.end());
      for (const NewtonSchulz& iteration : {kKeller, kPolarExpress}) {
        const double distance =
            Distance(Apply(iteration, x, shape), Apply(iteration, rounded, shape));
        EXPECT_LT(distance, 1e-4) << Name(shape) << " spectrum " << s;
      }
    }
  }
}

// Rounding errors of equal rows are equal, and do not average out.
TEST(NewtonSchulzTest, FloatStaysCloseWhereRowsAreEqual) {
  for (const Shape shape : {Shape{96, 96}, Shape{96, 384}, Shape{384, 96}, Shape{8, 512}}) {
    for (const size_t kinds : {1U, 2U}) {
      testing::Random random(12);
      const std::vector<float> rows = random.Floats(kinds * shape.cols);
      std::vector<float> x;
      for (size_t i = 0; i < shape.rows; ++i) {
        const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i % kinds * shape.cols);
        x.insert(x.end(), row, row + static_cast<std::ptrdiff_t>(shape.cols));
      }
      const std::vector<double> same(x.begin(), x.end());
      for (const NewtonSchulz& iteration : {kKeller, kPolarExpress}) {
        EXPECT_LT(Distance(Apply(iteration, x, shape), Apply(iteration, same, shape)), 2.3e-3)
            << Name(shape) << " " << kinds;
      }
    }
  }
}

TEST(NewtonSchulzTest, TransposedInputGivesTransposedOutput) {
  const Shape wide{50, 170}, tall{170, 50};
  testing::Random random(4);
  const std::vector<float> x = random.Floats(wide.rows * wide.cols);
  std::vector<float> transposed(x.size());
  for (size_t i = 0; i < 50; ++i) {
    for (size_t j = 0; j < 170; ++j) transposed[j * 50 + i] = x[i * 170 + j];
  }
  const std::vector<float> a = Apply(kKeller, x, wide), b = Apply(kKeller, transposed, tall);
  for (size_t i = 0; i < 50; ++i) {
    for (size_t j = 0; j < 170; ++j) EXPECT_NEAR(a[i * 170 + j], b[j * 50 + i], 1e-5);
  }
}

template <class T>
void ExpectSameBits(const std::vector<T>& x, const std::vector<T>& y, const std::string& what) {
  EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(T)), 0) << what;
}

template <class T>
void ExpectBitsDoNotDependOnThreads() {
  const auto backwards = [](int n, const std::function<void(int)>& f) {
    for (int i = n; i-- > 0;) f(i);
  };
  const auto at_once = [](int n, const std::function<void(int)>& f) {
    std::vector<std::thread> threads;
    for (int i = 0; i < n; ++i) threads.emplace_back(f, i);
    for (std::thread& t : threads) t.join();
  };
  for (const Shape shape : {Shape{100, 100}, Shape{60, 300}, Shape{300, 60}}) {
    testing::Random random(6);
    const std::vector<float> floats = random.Floats(shape.rows * shape.cols);
    const std::vector<T> x(floats.begin(), floats.end());
    const std::vector<T> expected = Apply(kPolarExpress, x, shape, {.threads = 1});
    for (int threads = 2; threads <= 8; ++threads) {
      ExpectSameBits(Apply(kPolarExpress, x, shape, {.threads = threads}), expected,
                     Name(shape) + " threads " + std::to_string(threads));
    }
    ExpectSameBits(Apply(kPolarExpress, x, shape, {.threads = 3, .run = backwards}), expected,
                   Name(shape) + " backwards");
    ExpectSameBits(Apply(kPolarExpress, x, shape, {.threads = 3, .run = at_once}), expected,
                   Name(shape) + " at once");
  }
}

TEST(NewtonSchulzTest, BitsDoNotDependOnThreads) {
  ExpectBitsDoNotDependOnThreads<float>();
  ExpectBitsDoNotDependOnThreads<double>();
}

TEST(NewtonSchulzTest, BitsDoNotDependOnTheInstructionSet) {
  for (const Shape shape : {Shape{50, 50}, Shape{20, 150}}) {
    testing::Random random(8);
    const std::vector<float> x = random.Floats(shape.rows * shape.cols);
    const std::vector<float> expected = Apply(kKeller, x, shape);
    for (const KernelSet& set : AllKernels()) {
      setenv("KUDARI_TARGET", std::string(set.target).c_str(), 1);
      ExpectSameBits(Apply(kKeller, x, shape), expected, std::string(set.target));
    }
    unsetenv("KUDARI_TARGET");
  }
}

TEST(NewtonSchulzTest, MayWriteOverItsInput) {
  for (const Shape shape : {Shape{60, 130}, Shape{130, 60}}) {
    testing::Random random(2);
    std::vector<float> x = random.Floats(shape.rows * shape.cols);
    const std::vector<float> expected = Apply(kKeller, x, shape);
    std::vector<float> workspace(WorkspaceSize<float>(shape.rows, shape.cols));
    Orthogonalize<float>(kKeller, x.data(), shape.rows, shape.cols, x.data(), workspace, {});
    ExpectSameBits(x, expected, Name(shape));
  }
}

TEST(NewtonSchulzTest, ZerosStayZeros) {
  for (const Shape shape : kShapes) {
    const std::vector<float> zeros(shape.rows * shape.cols);
    EXPECT_EQ(Apply(kKeller, zeros, shape), zeros) << Name(shape);
    EXPECT_EQ(Apply(kPolarExpress, zeros, shape), zeros) << Name(shape);
  }
}

TEST(NewtonSchulzTest, ValuesThatAreNotFiniteGiveNaNs) {
  constexpr float kBad[] = {std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  for (const Shape shape : kShapes) {
    testing::Random random(1);
    for (const float bad : kBad) {
      std::vector<float> x = random.Floats(shape.rows * shape.cols);
      x[x.size() / 2] = bad;
      for (const float v : Apply(kKeller, x, shape)) ASSERT_TRUE(std::isnan(v)) << Name(shape);
    }
  }
}

TEST(NewtonSchulzTest, LargeFloatsDoNotOverflow) {
  const Shape shape{30, 50};
  const Decomposed unit(shape, Geometric(30, 0.1), 1);
  std::vector<double> x = unit.Matrix();
  std::vector<float> large(x.size());
  for (size_t i = 0; i < x.size(); ++i) large[i] = static_cast<float>(x[i] * 1e38);
  EXPECT_LT(Distance(Apply(kKeller, large, shape), unit.Exact(kKeller)), 1e-4);
}

TEST(NewtonSchulzTest, AllocatesNothing) {
  const Shape shape{60, 200};
  testing::Random random(1);
  const std::vector<float> x = random.Floats(shape.rows * shape.cols);
  std::vector<float> out(x.size()), workspace(WorkspaceSize<float>(shape.rows, shape.cols));
  const auto run = [&] {
    Orthogonalize<float>(kKeller, x.data(), shape.rows, shape.cols, out.data(), workspace,
                         {.threads = 2});
  };
  run();
  const int64_t before = testing::Allocations();
  run();
  EXPECT_EQ(testing::Allocations(), before);
}

TEST(NewtonSchulzTest, CountsFlops) {
  // One block for each iteration; blocks of three and two.
  EXPECT_EQ(NewtonSchulzFlops(5, 10, 10), 5 * (3 * 1000 + 1000));
  EXPECT_EQ(NewtonSchulzFlops(5, 40, 10), 2 * 3 * 4000 + (9 + 5) * 1000);
  EXPECT_EQ(NewtonSchulzFlops(1, 10, 40), 3 * 4000 + 1000);
}

TEST(NewtonSchulzTest, RefusesWhatItCannotDo) {
  std::vector<float> x(6), workspace(WorkspaceSize<float>(2, 3));
  const auto run = [&](const NewtonSchulz& iteration, std::span<float> space) {
    return [&x, iteration, space] {
      Orthogonalize<float>(iteration, x.data(), 2, 3, x.data(), space, {});
    };
  };
  NewtonSchulz none = kKeller;
  none.iterations = 0;
  EXPECT_THAT(run(none, workspace),
              ThrowsMessage<Error>("Newton-Schulz iterations = 0 is not at least 1"));
  EXPECT_THAT(run({}, workspace), ThrowsMessage<Error>(HasSubstr("no coefficients")));
  const std::string needed = std::to_string(workspace.size());
  EXPECT_THAT(
      run(kKeller, std::span(workspace).first(workspace.size() - 1)),
      ThrowsMessage<Error>("Newton-Schulz workspace of " + std::to_string(workspace.size() - 1) +
                           " elements is smaller than " + needed));
}

}  // namespace newton_schulz_test
}  // namespace kudari::internal
