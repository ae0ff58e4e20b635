#include "kudari/newton_schulz.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/kernels.h"
#include "kernels/products.h"
#include "kudari/error.h"
#include "kudari/parallel.h"

// With R = X X^T an iteration is X <- Z X, Z = a I + b R + c R^2, and it takes R to Z R Z. All of
// these are polynomials of one symmetric matrix, so they commute and half of each product is
// enough. Several iterations can be made on the short side alone, where Q gathers the factors Z;
// then X <- Q X costs one product with the long side. For sides m <= n and k iterations between two
// such products, five iterations take, in units of m^2 n and m^3,
//   plain, three products each     20 m^2 n + 10 m^3
//   k = 1                          15 m^2 n +  5 m^3
//   k = 3, then 2                   6 m^2 n + 14 m^3
//   k = 5                           3 m^2 n + 17 m^3
// R holds the squares of the singular values: small ones drown in its rounding errors, which later
// iterations amplify until R is made again. In float the distance to the exact result is at most
// 5e-5 for the plain form, 8e-5 for k = 1 and 6e-5 for k = 3, but 3e-3 for k = 5 (relative, over
// spectra from flat to 1e-8 and of low rank, with singular vectors at random). So k is 3, or 1
// where that is less work. Where rows are equal the rounding errors of R are, too, and what belongs
// to the singular values of zero does not average out: there it is at most 2.3e-3.

namespace kudari::internal {
namespace {

/// Iterations between two products with the long side.
int Restart(size_t rows, size_t cols) {
  // Equal work at equal sides; a tenth more for the steps that k = 1 saves.
  return 10 * std::max(rows, cols) < 11 * std::min(rows, cols) ? 1 : 3;
}

constexpr size_t kAlign = 64;
/// The number of panels of one task: enough to use the other operand often, few enough to share
/// out.
constexpr size_t kGroup = 4;

/// A matrix in panels (kernels/products.h).
template <class T>
struct Panels {
  T* data;
  size_t rows, cols;

  size_t count() const { return (cols + kPanel<T> - 1) / kPanel<T>; }
  size_t groups() const { return (count() + kGroup - 1) / kGroup; }
  T* panel(size_t index) const { return data + index * rows * kPanel<T>; }
  /// Where the elements (row, 0) ... of a panel are.
  T* At(size_t index, size_t row) const { return panel(index) + row * kPanel<T>; }
};

template <class T>
size_t PanelElements(size_t rows, size_t cols) {
  return rows * ((cols + kPanel<T> - 1) / kPanel<T> * kPanel<T>);
}

/// Calls f(0) ... f(n - 1) on the workers as they become free, so f must write where no other does.
template <class F>
void ForEach(const Parallel& parallel, size_t n, const F& f) {
  std::atomic<size_t> next = 0;
  const auto work = [&](int /*worker*/) {
    for (size_t i = next++; i < n; i = next++) f(i);
  };
  const auto workers = std::min(static_cast<size_t>(Threads(parallel)), n);
  // By reference: a std::function of the lambda itself would be allocated.
  RunParallel(parallel, static_cast<int>(workers), std::ref(work));
}

double SumSquares(const float* x, size_t n) { return Kernels().sum_squares(x, n); }

double SumSquares(const double* x, size_t n) {
  double lanes[16] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % 16] += x[i] * x[i];
  return SumLanes(lanes);
}

template <class T>
double Norm(const T* x, size_t n, const Parallel& parallel) {
  constexpr size_t kParts = 64;
  double sums[kParts] = {};
  const size_t part = (n / kParts + 16) / 16 * 16;
  ForEach(parallel, kParts, [&](size_t i) {
    const size_t begin = std::min(i * part, n), end = std::min(begin + part, n);
    sums[i] = SumSquares(x + begin, end - begin);
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  return std::sqrt(sum);
}

/// One Orthogonalize.
template <class T>
class Iteration {
 public:
  Iteration(size_t rows, size_t cols, T* workspace, const Parallel& parallel)
      : rows_(rows), cols_(cols), parallel_(parallel), product_(ProductFor<T>(Kernels().target)) {
    const size_t shorter = std::min(rows, cols), longer = std::max(rows, cols);
    const auto take = [&](size_t r, size_t c) {
      const Panels<T> p{workspace, r, c};
      workspace += PanelElements<T>(r, c);
      return p;
    };
    x_ = take(shorter, longer);
    new_x_ = take(shorter, longer);
    xt_ = take(longer, shorter);
    for (Panels<T>* p : {&r_, &z_, &w_, &q_}) *p = take(shorter, shorter);
  }

  void Run(const NewtonSchulz& iteration, const T* x, T* out) {
    const double norm = Norm(x, rows_ * cols_, parallel_);
    Load(x, 1 / iteration.Divisor(norm));
    const size_t last = iteration.coefficients.size() - 1;
    const int restart = Restart(rows_, cols_);
    for (int i = 0; i < iteration.iterations; ++i) {
      const Quintic& c = iteration.coefficients[std::min(static_cast<size_t>(i), last)];
      const bool first = i % restart == 0, end = i + 1 == iteration.iterations;
      if (first) Symmetric(xt_, xt_, r_, {});
      Symmetric(r_, r_, z_, {c[0], c[1], c[2]});
      if ((i + 1) % restart != 0 && !end) {
        Symmetric(r_, z_, w_, {});
        Symmetric(w_, z_, r_, {});
      }
      if (first) {
        std::swap(q_, z_);
      } else {
        Symmetric(q_, z_, w_, {});
        std::swap(q_, w_);
      }
      if (end) {
        Finish(out);
      } else if ((i + 1) % restart == 0) {
        Advance();
      }
    }
  }

 private:
  /// What becomes of a product of symmetric matrices: identity I + left A + product A B.
  struct Polynomial {
    double identity = 0, left = 0, product = 1;
  };
  bool wide() const { return rows_ <= cols_; }

  /// How many of panel p's columns are not padding.
  static size_t Width(const Panels<T>& m, size_t p) {
    return std::min(kPanel<T>, m.cols - p * kPanel<T>);
  }

  /// x_ and xt_ <- scale x, transposed if x is tall.
  void Load(const T* x, double scale);

  /// out <- a polynomial of A and B whose result is symmetric: the lower half is computed.
  void Symmetric(const Panels<T>& a, const Panels<T>& b, const Panels<T>& out,
                 const Polynomial& polynomial);

  /// Calls store(p, q, sums) for each pair of panels of A and B with that part of A^T B.
  template <class F>
  void General(const Panels<T>& a, const Panels<T>& b, const F& store);

  /// x_ and xt_ <- Q X
  void Advance();
  /// out <- Q X, transposed if it is tall.
  void Finish(T* out);

  size_t rows_, cols_;
  const Parallel& parallel_;
  PanelProduct<T> product_;  // the kernel
  Panels<T> x_, new_x_, xt_, r_, z_, w_, q_;
};

/// The first `rows` rows of a panel <- the columns of a block.
template <class T>
void StoreColumns(const T* block, size_t rows, T* panel) {
  for (size_t j = 0; j < rows; ++j) {
    for (size_t i = 0; i < kPanel<T>; ++i) panel[j * kPanel<T> + i] = block[i * kPanel<T> + j];
  }
}

template <class T>
void Iteration<T>::Load(const T* x, double scale) {
  const Panels<T> direct = wide() ? x_ : xt_, mirrored = wide() ? xt_ : x_;
  ForEach(parallel_, direct.count() * mirrored.count(), [&](size_t task) {
    const size_t p = task / direct.count(), q = task % direct.count();
    const size_t height = Width(mirrored, p), width = Width(direct, q);
    T block[kPanel<T>][kPanel<T>] = {};
    for (size_t i = 0; i < height; ++i) {
      const T* const row = x + (p * kPanel<T> + i) * cols_ + q * kPanel<T>;
      for (size_t j = 0; j < width; ++j) {
        block[i][j] = static_cast<T>(static_cast<double>(row[j]) * scale);
      }
    }
    std::copy_n(block[0], height * kPanel<T>, direct.At(q, p * kPanel<T>));
    StoreColumns(block[0], width, mirrored.At(p, q * kPanel<T>));
  });
}

template <class T>
void Iteration<T>::Symmetric(const Panels<T>& a, const Panels<T>& b, const Panels<T>& out,
                             const Polynomial& polynomial) {
  const auto identity = static_cast<T>(polynomial.identity);
  const auto left = static_cast<T>(polynomial.left);
  const auto product = static_cast<T>(polynomial.product);
  ForEach(parallel_, out.groups() * out.count(), [&](size_t task) {
    const size_t q = task % out.count();
    const size_t begin = std::max(task / out.count() * kGroup, q);
    const size_t end = std::min((task / out.count() + 1) * kGroup, out.count());
    if (begin >= end) return;  // above the diagonal
    alignas(kAlign) T sums[kGroup * kPanel<T> * kPanel<T>];
    product_(a.panel(begin), end - begin, b.panel(q), a.rows, sums);
    for (size_t p = begin; p < end; ++p) {
      T* const block = sums + (p - begin) * kPanel<T> * kPanel<T>;
      const size_t height = Width(out, p);
      if (left != 0 || product != 1) {
        const T* const addend = a.At(q, p * kPanel<T>);
        for (size_t i = 0; i < height * kPanel<T>; ++i) {
          block[i] = product * block[i] + left * addend[i];
        }
      }
      if (p == q) {
        for (size_t i = 0; i < height; ++i) {
          block[i * kPanel<T> + i] += identity;
          for (size_t j = i + 1; j < height; ++j) {
            block[i * kPanel<T> + j] = block[j * kPanel<T> + i];
          }
        }
      } else {
        StoreColumns(block, Width(out, q), out.At(p, q * kPanel<T>));
      }
      std::copy_n(block, height * kPanel<T>, out.At(q, p * kPanel<T>));
    }
  });
}

template <class T>
template <class F>
void Iteration<T>::General(const Panels<T>& a, const Panels<T>& b, const F& store) {
  ForEach(parallel_, a.groups() * b.count(), [&](size_t task) {
    const size_t q = task % b.count();
    const size_t begin = task / b.count() * kGroup, end = std::min(begin + kGroup, a.count());
    alignas(kAlign) T sums[kGroup * kPanel<T> * kPanel<T>];
    product_(a.panel(begin), end - begin, b.panel(q), a.rows, sums);
    for (size_t p = begin; p < end; ++p) {
      store(p, q, sums + (p - begin) * kPanel<T> * kPanel<T>);
    }
  });
}

template <class T>
void Iteration<T>::Advance() {
  General(q_, x_, [&](size_t p, size_t q, const T* block) {
    std::copy_n(block, Width(q_, p) * kPanel<T>, new_x_.At(q, p * kPanel<T>));
    StoreColumns(block, Width(x_, q), xt_.At(p, q * kPanel<T>));
  });
  std::swap(x_, new_x_);
}

template <class T>
void Iteration<T>::Finish(T* out) {
  const Panels<T> a = wide() ? q_ : x_, b = wide() ? x_ : q_;
  General(a, b, [&](size_t p, size_t q, const T* block) {
    for (size_t i = 0; i < Width(a, p); ++i) {
      std::copy_n(block + i * kPanel<T>, Width(b, q),
                  out + (p * kPanel<T> + i) * cols_ + q * kPanel<T>);
    }
  });
}

}  // namespace
}  // namespace kudari::internal

namespace kudari {

template <class T>
size_t WorkspaceSize(size_t rows, size_t cols) {
  const size_t shorter = std::min(rows, cols), longer = std::max(rows, cols);
  return 2 * internal::PanelElements<T>(shorter, longer) +
         internal::PanelElements<T>(longer, shorter) +
         4 * internal::PanelElements<T>(shorter, shorter) + internal::kAlign / sizeof(T);
}

double NewtonSchulzFlops(int iterations, size_t rows, size_t cols) {
  const auto m = static_cast<double>(std::min(rows, cols));
  const auto n = static_cast<double>(std::max(rows, cols));
  const int restart = internal::Restart(rows, cols);
  const int blocks = (iterations + restart - 1) / restart;
  // A block of k has R and Q X, and k + 3 (k - 1) products of the short side.
  return blocks * 3 * m * m * n + (4 * iterations - 3 * blocks) * m * m * m;
}

template <class T>
void Orthogonalize(const NewtonSchulz& iteration, const T* x, size_t rows, size_t cols, T* out,
                   std::span<T> workspace, const Parallel& parallel) {
  if (iteration.coefficients.empty()) throw Error("Newton-Schulz has no coefficients");
  if (iteration.iterations < 1) {
    throw Error("Newton-Schulz iterations = " + std::to_string(iteration.iterations) +
                " is not at least 1");
  }
  const size_t needed = WorkspaceSize<T>(rows, cols);
  if (workspace.size() < needed) {
    throw Error("Newton-Schulz workspace of " + std::to_string(workspace.size()) +
                " elements is smaller than " + std::to_string(needed));
  }
  if (rows == 0 || cols == 0) return;
  void* begin = workspace.data();
  size_t bytes = workspace.size_bytes();
  std::align(internal::kAlign, bytes - internal::kAlign, begin, bytes);
  internal::Iteration<T>(rows, cols, static_cast<T*>(begin), parallel).Run(iteration, x, out);
}

template size_t WorkspaceSize<float>(size_t, size_t);
template size_t WorkspaceSize<double>(size_t, size_t);
template void Orthogonalize(const NewtonSchulz&, const float*, size_t, size_t, float*,
                            std::span<float>, const Parallel&);
template void Orthogonalize(const NewtonSchulz&, const double*, size_t, size_t, double*,
                            std::span<double>, const Parallel&);

}  // namespace kudari
