#include "lab/console/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>

#include "tests/support/printed.h"

namespace kudari::lab {
namespace progress_test {

using ::testing::HasSubstr;
using ::testing::Not;

const Status kStatus = {.step = 255,
                        .steps = 510,
                        .epoch = 15,
                        .epochs = 30,
                        .loss = 0.25,
                        .val_accuracy = 0.975,
                        .val_loss = 0.125,
                        .lr = 1e-3,
                        .grad_norm = 1.5,
                        .samples_per_second = 4000,
                        .seconds_left = 75};

TEST(Progress, DurationText) {
  EXPECT_EQ(DurationText(7.4), "0:07");
  EXPECT_EQ(DurationText(750), "12:30");
  EXPECT_EQ(DurationText(3900), "1:05:00");
  EXPECT_EQ(DurationText(-1), "0:00");
}

TEST(Progress, PlainLineHasEveryField) {
  EXPECT_EQ(PlainLine(kStatus),
            "epoch 15/30  step 255/510  loss 0.2500  val 97.50%  1:15 left  lr 1.00e-03  grad 1.5  "
            "4000 samples/s");
}

TEST(Progress, WithoutAccuracyTheValidationLossIsShown) {
  Status s = kStatus;
  s.val_accuracy = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(PlainLine(s), HasSubstr("val loss 0.1250"));
  s.val_loss = s.val_accuracy;
  EXPECT_THAT(PlainLine(s), Not(HasSubstr("val")));
}

TEST(Progress, StatusLineNeverExceedsItsWidth) {
  for (int width = 0; width < 200; ++width) {
    EXPECT_LE(StatusLine(kStatus, width).size(), static_cast<size_t>(width));
  }
  const std::string wide = StatusLine(kStatus, 200);
  EXPECT_THAT(wide, HasSubstr("[============>           ]  50%"));
  EXPECT_THAT(wide, HasSubstr("4000 samples/s"));
  EXPECT_EQ(StatusLine(kStatus, 80),
            "[====>   ]  50% 15/30 loss 0.2500 val 97.5% 1:15 lr 1.0e-03 grad 1.5 4000/s");
  EXPECT_EQ(StatusLine(kStatus, 40), "[====>   ]  50% 15/30 loss 0.2500");
}

TEST(Progress, TextTableAlignsColumns) {
  EXPECT_EQ(TextTable({{"a", "bb", "c"}, {"aaa", "b", "cc"}}), "a    bb  c\naaa  b   cc\n");
}

TEST(Progress, TextOfOthersIsShownSafely) {
  EXPECT_EQ(TextTable({{"\x1b[2J", "b"}, {"a", "\xff"}}), "\\x1b[2J  b\na        \\xff\n");
  EXPECT_EQ(Wrapped("a \x1b[2J b", 1), " a \\x1b[2J b\n");
  EXPECT_EQ(kudari::testing::Printed([](std::FILE* out) { Progress(out).Text("a\x1b]0;b\n"); }),
            "a\\x1b]0;b\n");
}

TEST(Progress, WritesPlainLinesWhereThereIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  Progress progress(file);
  progress.Text("heading\n");
  progress.Step(kStatus);  // too soon for a line of its own
  progress.ShowEvaluation(kStatus);
  Status unknown = kStatus;
  unknown.val_accuracy = unknown.val_loss = std::numeric_limits<double>::quiet_NaN();
  progress.ShowEvaluation(unknown);
  std::string text(1000, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  EXPECT_EQ(text,
            "heading\n"
            "epoch    step               loss val loss  val acc       lr samples/s    left\n"
            "15/30    255/510          0.2500   0.1250   97.50% 1.00e-03      4000    1:15\n"
            "15/30    255/510          0.2500        -        - 1.00e-03      4000    1:15\n");
}

TEST(Progress, NumbersAreCounted) {
  EXPECT_EQ(Counted(0, "step"), "0 steps");
  EXPECT_EQ(Counted(1, "step"), "1 step");
  EXPECT_EQ(Counted(12, "sample"), "12 samples");
}

TEST(ProgressTest, SizesAreInBinaryUnits) {
  EXPECT_EQ(SizeText(1023), "1023 B");
  EXPECT_EQ(SizeText(1536), "1.50 KiB");
  EXPECT_EQ(SizeText(0x1p30 * 12), "12.00 GiB");
}

TEST(ProgressTest, OnATerminalTheTableStaysAndTheBarIsBelow) {
  int primary = -1, secondary = -1;
  ASSERT_EQ(openpty(&primary, &secondary, nullptr, nullptr, nullptr), 0);
  setenv("TERM", "xterm", 1);
  setenv("NO_COLOR", "1", 1);
  std::FILE* const terminal = fdopen(secondary, "w");
  {
    Progress progress(terminal);
    progress.ShowEvaluation(kStatus);
    progress.ShowEvaluation(kStatus);
    progress.Text("done\n");
  }
  // What was written may come in several parts.
  std::string shown;
  while (!shown.ends_with("done\r\n")) {
    char part[4096];
    const ssize_t n = read(primary, part, sizeof(part));
    ASSERT_GT(n, 0);
    shown.append(part, static_cast<size_t>(n));
  }
  std::fclose(terminal);
  close(primary);
  std::string row = TableRow(kStatus);
  row.insert(row.size() - 1, "\r");  // as the terminal's driver does
  const std::string bar = "\r" + StatusLine(kStatus, 79) + "\x1b[K", clear = "\r\x1b[K";
  std::string heading = TableHeading({});
  heading.insert(heading.size() - 1, "\r");
  EXPECT_EQ(shown, heading + row + bar + clear + row + bar + clear + "done\r\n");
}

TEST(ProgressText, AnotherMetricTakesThePlaceOfTheAccuracy) {
  Status s = {.step = 3, .steps = 10, .epoch = 1, .epochs = 2, .val_accuracy = 0.5};
  s.metric = "return";
  s.val_metric = 487.25;
  EXPECT_THAT(PlainLine(s), HasSubstr("  return 487.2  "));
  EXPECT_THAT(TableHeading(s), HasSubstr(" val loss   return "));
  EXPECT_THAT(TableRow(s), HasSubstr(" 487.2 "));
  s.val_metric = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(PlainLine(s), ::testing::Not(HasSubstr("return")));
  EXPECT_THAT(TableRow(s), ::testing::Not(HasSubstr("nan")));
}

}  // namespace progress_test
}  // namespace kudari::lab
