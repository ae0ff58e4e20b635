#include "lab/console/duration.h"

#include <gtest/gtest.h>

#include <string>

namespace kudari::lab {
namespace duration_test {

TEST(Duration, Parse) {
  EXPECT_EQ(ParseDuration("90s"), 90);
  EXPECT_EQ(ParseDuration("5min"), 300);
  EXPECT_EQ(ParseDuration("2h"), 7200);
  EXPECT_EQ(ParseDuration("1h30min"), 5400);
  EXPECT_EQ(ParseDuration("1.5d"), 129600);
  EXPECT_EQ(ParseDuration("1d2h3min4.5s"), 86400 + 7200 + 180 + 4.5);
  for (const std::string text : {"", "5", "min", "5 min", "-5min", "0s", "5m", "30min1h", "1h1h",
                                 "nans", "infs", "1e9d", "5mins", "1e3s"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(Duration, TextsAreReadBack) {
  EXPECT_EQ(DurationUnits(300), "5min");
  EXPECT_EQ(DurationUnits(7200), "2h");
  EXPECT_EQ(DurationUnits(86400), "1d");
  EXPECT_EQ(DurationUnits(5400), "90min");
  EXPECT_EQ(DurationUnits(0.25), "0.25s");
  for (const double seconds : {1.0, 61.0, 3601.5, 0.125, 1e7}) {
    EXPECT_EQ(ParseDuration(DurationUnits(seconds)), seconds);
  }
}

}  // namespace duration_test
}  // namespace kudari::lab
