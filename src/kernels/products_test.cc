#include "kernels/products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "tests/support/random.h"

namespace kudari::internal {
namespace products_test {

template <class T>
class ProductsTest : public ::testing::Test {
 protected:
  static constexpr size_t kW = kPanel<T>;

  static std::vector<T> Random(size_t n, uint64_t seed) {
    testing::Random random(seed);
    std::vector<T> x(n);
    for (T& v : x) v = static_cast<T>(random.Float());
    return x;
  }

  /// The product of `a_panels` panels and one by the kernel of a target.
  static std::vector<T> Product(std::string_view target, const std::vector<T>& a, size_t a_panels,
                                const std::vector<T>& b, size_t depth) {
    std::vector<T> sums(a_panels * kW * kW, T{7});
    ProductFor<T>(target)(a.data(), a_panels, b.data(), depth, sums.data());
    return sums;
  }
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ProductsTest, Types);

TYPED_TEST(ProductsTest, MultipliesPanelsWithTheSameBitsOnEveryTarget) {
  using T = TypeParam;
  constexpr size_t kW = kPanel<T>;
  for (const size_t depth : {1U, 2U, 127U, 128U, 129U, 300U}) {
    for (const size_t panels : {1U, 2U, 3U}) {
      const std::vector<T> a = this->Random(panels * depth * kW, depth);
      const std::vector<T> b = this->Random(depth * kW, depth + 1);
      const std::vector<T> scalar = this->Product("scalar", a, panels, b, depth);
      const double tolerance = 16 * std::sqrt(static_cast<double>(depth)) *
                               static_cast<double>(std::numeric_limits<T>::epsilon());
      for (size_t i = 0; i < panels * kW; ++i) {
        for (size_t j = 0; j < kW; ++j) {
          long double exact = 0;
          for (size_t k = 0; k < depth; ++k) {
            exact += static_cast<long double>(a[(i / kW * depth + k) * kW + i % kW]) *
                     static_cast<long double>(b[k * kW + j]);
          }
          ASSERT_NEAR(static_cast<double>(scalar[i * kW + j]), static_cast<double>(exact),
                      tolerance)
              << depth << " " << i << " " << j;
        }
      }
      for (const KernelSet& set : AllKernels()) {
        const std::vector<T> sums = this->Product(set.target, a, panels, b, depth);
        EXPECT_EQ(std::memcmp(sums.data(), scalar.data(), sums.size() * sizeof(T)), 0)
            << set.target << " depth " << depth << " panels " << panels;
      }
    }
  }
}

TYPED_TEST(ProductsTest, ANaNStaysInItsRow) {
  using T = TypeParam;
  constexpr size_t kW = kPanel<T>, kDepth = 5, kColumn = 3;
  std::vector<T> a = this->Random(kDepth * kW, 1);
  const std::vector<T> b = this->Random(kDepth * kW, 2);
  a[2 * kW + kColumn] = std::numeric_limits<T>::quiet_NaN();
  for (const KernelSet& set : AllKernels()) {
    const std::vector<T> sums = this->Product(set.target, a, 1, b, kDepth);
    for (size_t i = 0; i < sums.size(); ++i) {
      EXPECT_EQ(std::isnan(sums[i]), i / kW == kColumn) << set.target << " " << i;
    }
  }
}

TYPED_TEST(ProductsTest, EveryTargetHasAKernelOfItsOwn) {
  for (const KernelSet& set : AllKernels()) {
    EXPECT_EQ(ProductFor<TypeParam>(set.target) == ProductFor<TypeParam>("scalar"),
              set.target == "scalar");
  }
}

}  // namespace products_test
}  // namespace kudari::internal
