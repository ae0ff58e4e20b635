#include "lab/draw/axis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace kudari::lab {
namespace axis_test {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;

std::vector<std::string> TickTexts(const Range& range, bool logarithmic, double most) {
  std::vector<std::string> texts;
  for (const Tick& t : Ticks(range, logarithmic, most)) texts.push_back(t.text);
  return texts;
}

TEST(Ticks, LinearOnesAreRoundAndHaveTheEnds) {
  EXPECT_THAT(TickTexts({0, 1}, false, 5), ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1"));
  EXPECT_THAT(TickTexts({-1.3, 2.1}, false, 5), ElementsAre("−1", "0", "1", "2"));
  EXPECT_THAT(TickTexts({0.000503, 0.0021}, false, 5), ElementsAre("0.001", "0.0015", "0.002"));
  EXPECT_THAT(TickTexts({0, 3e-5}, false, 4), ElementsAre("0", "10⁻⁵", "2·10⁻⁵", "3·10⁻⁵"));
  EXPECT_THAT(TickTexts({-2e7, 2e7}, false, 3), ElementsAre("−2·10⁷", "0", "2·10⁷"));
}

TEST(Ticks, LogarithmicOnesAreDigitsTimesPowers) {
  EXPECT_THAT(TickTexts({1, 100}, true, 8), ElementsAre("1", "2", "5", "10", "20", "50", "100"));
  EXPECT_THAT(TickTexts({0.01, 1e3}, true, 6),
              ElementsAre("0.01", "0.1", "1", "10", "100", "1000"));
  EXPECT_THAT(TickTexts({1e-6, 1}, true, 8),
              ElementsAre("10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "0.1", "1"));
  // One among 10²⁰ is not zero.
  EXPECT_THAT(TickTexts({0.5, 1e25}, true, 3), ElementsAre("1", "10⁹", "10¹⁸"));
  EXPECT_THAT(TickTexts({1e-300, 1e300}, true, 4).size(), AllOf(Ge(3U), Le(4U)));
  EXPECT_THAT(TickTexts({2, 3}, true, 5), ElementsAre("2", "2.2", "2.4", "2.6", "2.8", "3"));
}

TEST(Levels, LieBetweenTheEnds) {
  EXPECT_THAT(Levels(0, 1, false, 5),
              ElementsAre(0.2, ::testing::DoubleEq(0.4), ::testing::DoubleNear(0.6, 1e-12), 0.8));
  EXPECT_THAT(Levels(0.01, 6.01, true, 12).size(), Le(12U));
  EXPECT_THAT(Levels(0.01, 6.01, true, 12), Each(AllOf(Ge(0.01), Le(6.01))));
  // What cannot be divided ends, too.
  EXPECT_THAT(Levels(1, 1, false, 5), IsEmpty());
  EXPECT_THAT(Levels(1, std::nextafter(1, 2), false, 5), IsEmpty());
  EXPECT_THAT(Levels(-1.7e308, 1.7e308, false, 5), IsEmpty());
}

TEST(ValueText, ReadsAsANumber) {
  EXPECT_EQ(ValueText(0.1 + 0.2), "0.3");
  EXPECT_EQ(ValueText(-0.5), "−0.5");
  EXPECT_EQ(ValueText(-0.0), "0");
  EXPECT_EQ(RoundedText(2.4), "2.4");
  EXPECT_EQ(RoundedText(-0.0123456), "−0.0123");
  EXPECT_EQ(RoundedText(1.5437e26), "1.54·10²⁶");
}

TEST(UpToTicks, EndsAreTicks) {
  for (const auto& [low, high] : {std::pair{0.0028, 0.0559}, {-3.1, 17.2}, {0.85, 0.95}}) {
    for (const double most : {3.0, 7.5}) {
      const Range range = UpToTicks({low, high}, most);
      EXPECT_LE(range.low, low);
      EXPECT_GE(range.high, high);
      const std::vector<Tick> ticks = Ticks(range, false, most);
      ASSERT_FALSE(ticks.empty());
      EXPECT_NEAR(ticks.front().value, range.low, 1e-9);
      EXPECT_NEAR(ticks.back().value, range.high, 1e-9);
    }
  }
}

TEST(Widened, GivesASingleValueRoom) {
  EXPECT_EQ(Widened({3, 3}, true).low, 1.5);
  EXPECT_EQ(Widened({3, 3}, true).high, 6);
  EXPECT_EQ(Widened({-4, -4}, false).low, -6);
  EXPECT_EQ(Widened({0, 0}, false).high, 1);
  EXPECT_EQ(Widened({1, 2}, false).high, 2);
}

TEST(Scale, MapsEndsToEnds) {
  const Scale linear({2, 4}, false, 100, 300);
  EXPECT_DOUBLE_EQ(linear(2), 100);
  EXPECT_DOUBLE_EQ(linear(3), 200);
  const Scale logarithmic({1, 10000}, true, 400, 0);
  EXPECT_DOUBLE_EQ(logarithmic(100), 200);
  EXPECT_FALSE(std::isfinite(logarithmic(0)));
  EXPECT_FALSE(std::isfinite(logarithmic(-1)));
  EXPECT_FALSE(std::isfinite(linear(std::numeric_limits<double>::quiet_NaN())));
}

}  // namespace axis_test
}  // namespace kudari::lab
