#include "doctor/view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/random.h"

namespace kudari {
namespace view_test {

using testing::Random;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The definition, with work in proportion to the window for each value.
std::vector<double> MedianOfWindows(const std::vector<double>& y, size_t half) {
  std::vector<double> medians;
  for (size_t i = 0; i < y.size(); ++i) {
    std::vector<double> window;
    for (size_t k = i - std::min(i, half); k < std::min(y.size(), i + half + 1); ++k) {
      if (!std::isnan(y[k])) window.push_back(y[k]);
    }
    std::sort(window.begin(), window.end());
    medians.push_back(window.empty() ? kNotMeasured : window[window.size() / 2]);
  }
  return medians;
}

TEST(RunningMedianTest, IsTheMedianOfEachWindow) {
  Random random(3);
  for (const size_t size : {0U, 1U, 2U, 3U, 7U, 64U, 65U, 500U}) {
    for (const size_t half : {0U, 1U, 2U, 5U, 31U, 250U, 600U}) {
      for (const uint64_t kinds : {1U, 3U, 1000U}) {  // of values: with few, there are many ties
        std::vector<double> y(size);
        for (double& x : y) {
          const uint64_t bits = random.Bits();
          x = bits % 11 == 0   ? std::numeric_limits<double>::quiet_NaN()
              : bits % 13 == 0 ? kInfinity
              : bits % 17 == 0 ? -kInfinity
                               : static_cast<double>(bits / 256 % kinds) / 7 - 0.5;
        }
        if (kinds == 3 && size > 100) std::fill(y.begin() + 20, y.begin() + 90, kNotMeasured);
        const std::vector<double> expected = MedianOfWindows(y, half);
        const std::vector<double> medians = internal::RunningMedian(y, half);
        ASSERT_EQ(medians.size(), size);
        for (size_t i = 0; i < size; ++i) {
          ASSERT_EQ(std::bit_cast<uint64_t>(medians[i]), std::bit_cast<uint64_t>(expected[i]))
              << size << ' ' << half << ' ' << kinds << ' ' << i;
        }
      }
    }
  }
}

}  // namespace view_test
}  // namespace kudari
