#include "lab/verbs/doctor_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "kudari/error.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/read_svg.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace doctor_report_test {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using testing::TextsOf;

class DoctorCommandTest : public ::testing::Test {
 protected:
  /// A log of 100 steps in which the validation loss turns up at the 40th, or goes on falling.
  fs::path Log(bool overfits, const std::string& column = "loss") {
    fs::path file = folder_ / "log.csv";
    std::ofstream out(file);
    out << "step," << column << ",lr,val_loss\n";
    for (int s = 1; s <= 100; ++s) {
      const double loss = 2 * std::exp(-s / 20.0) + 0.01;
      out << s << ',' << loss << ",0.001,";
      if (s % 10 == 0) out << (overfits && s > 40 ? 0.3 + 0.01 * (s - 40) : loss + 0.01);
      out << '\n';
    }
    return file;
  }

  std::string Print(const DoctorOptions& options) {
    return testing::Printed([&](std::FILE* console) { Doctor(options, console); });
  }

  kudari::testing::TemporaryFolder folder_;
};

TEST_F(DoctorCommandTest, SaysWhatItSees) {
  const std::string text = Print({.run = Log(true)});
  EXPECT_THAT(text,
              HasSubstr("log.csv: 100 steps, 10 evaluations, 0 measurements of layers\n\n1. "
                        "overfitting: the model overfits\n   confidence 1.00, steps 40 to 100\n   "
                        "evidence: the validation loss rose from 0.291 at step 40 to "));
  EXPECT_THAT(text, HasSubstr("validation loss\n"));
  EXPECT_THAT(text, HasSubstr("█"));
  EXPECT_THAT(text, HasSubstr("^^^"));
  EXPECT_THAT(text, HasSubstr("step 100\n"));
  EXPECT_THAT(text, HasSubstr("   advice: Use more weight decay (0.01 to 0.1)"));
  EXPECT_THAT(text, HasSubstr("   source: Optimizer Selection Guide and Best Practices, sections 4 "
                              "and 6; Optimisation Methods\n   (2025), section 7.5.\n"));
}

TEST_F(DoctorCommandTest, IsSilentOnASoundRun) {
  const std::string text = Print({.run = Log(false)});
  EXPECT_THAT(
      text, HasSubstr("evaluations, 0 measurements of layers\nnothing wrong found in this log\n"));
  EXPECT_THAT(text, Not(HasSubstr("1.")));
}

// A finding is shown where it is, also if the training loss ends before.
TEST_F(DoctorCommandTest, ShowsTheValidationLossWhereTheTrainingLossHasEnded) {
  const std::string text = Print({.run = std::string(KUDARI_SOURCE_DIR) +
                                         "/tests/data/doctor/m15_loss_ends_before_validation.csv"});
  EXPECT_THAT(text, HasSubstr("1. diverged"));
  EXPECT_THAT(text, HasSubstr("\n   validation loss\n"));
  EXPECT_THAT(text, HasSubstr("step 16000\n"));
}

// What is odd about a log and what cannot be judged of it is said in text and as data.
TEST_F(DoctorCommandTest, SaysWhatIsNotJudged) {
  std::ofstream(folder_ / "log.csv") << "loss\n2\n1.5\ninf\n1.2\n1.1\n";
  const std::string text = Print({.run = folder_ / "log.csv", .json = folder_ / "d.json"});
  EXPECT_THAT(text,
              HasSubstr("nothing wrong found in what can be judged of this log\n\nseen: the loss "
                        "is not finite in 1 of 5 entries, the first at step 3.\nnot judged: 5 "
                        "entries: the learning rate"));
  const auto json = nlohmann::json::parse(ReadTextFile(folder_ / "d.json"));
  EXPECT_TRUE(json["findings"].empty());
  EXPECT_EQ(json["seen"][0]["subject"], "nonfinite_losses");
  EXPECT_EQ(json["not_judged"][0]["subject"], "rates");
  EXPECT_THAT(json["not_judged"][0]["text"], HasSubstr("5 entries"));
}

// Names of others reach a terminal with their control characters shown, and JSON as UTF-8.
TEST_F(DoctorCommandTest, ShowsForeignNamesSafely) {
  const std::string bad = "a\x1b[2J\xff";
  const fs::path run = folder_ / bad;
  fs::create_directories(run);
  fs::rename(Log(true), run / "metrics.csv");
  const std::string text = Print({.run = run, .json = folder_ / "f.json"});
  EXPECT_THAT(text, HasSubstr("a\\x1b[2J\\xff: 100 steps"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const auto json = nlohmann::json::parse(ReadTextFile(folder_ / "f.json"));
  EXPECT_EQ(json["run"], (folder_ / "a\x1b[2J\xef\xbf\xbd").string());
  EXPECT_EQ(json["findings"].size(), 1u);
}

TEST_F(DoctorCommandTest, WritesJsonAndAPicture) {
  Print({.run = Log(true), .json = folder_ / "d.json", .svg = folder_ / "d.svg"});
  const auto json = nlohmann::json::parse(ReadTextFile(folder_ / "d.json"));
  EXPECT_EQ(json["steps"], 100);
  ASSERT_EQ(json["findings"].size(), 1u);
  EXPECT_EQ(json["findings"][0]["verdict"], "overfitting");
  EXPECT_EQ(json["findings"][0]["first_step"], 40);
  EXPECT_THAT(TextsOf(ReadTextFile(folder_ / "d.svg")),
              AllOf(IsSupersetOf({"overfitting", "training loss", "validation loss", "loss",
                                  "learning rate", "step"}),
                    Not(Contains("gradient norm")), Not(Contains(HasSubstr("cut off")))));
}

TEST_F(DoctorCommandTest, PicturesHaveWhatIsLogged) {
  std::ofstream(folder_ / "log.csv") << "loss,grad_norm\n2,1\n1,2\n40,3\n1,4\n";
  Print({.run = folder_ / "log.csv", .svg = folder_ / "d.svg"});
  EXPECT_THAT(TextsOf(ReadTextFile(folder_ / "d.svg")),
              AllOf(IsSupersetOf({"gradient norm", "The loss is cut off at 2.4; it reaches 40"}),
                    Not(Contains("learning rate")), Not(Contains("validation loss"))));
}

// A warm-up begins far below the rate's peak.
TEST_F(DoctorCommandTest, RatesAreNotCutOff) {
  std::ofstream log(folder_ / "log.csv");
  log << "step,loss,lr\n";
  for (int s = 1; s <= 100; ++s) {
    log << s << ',' << 1 + std::exp(-s / 8.0) << ','
        << (s <= 10   ? s * 1e-3
            : s <= 40 ? 0.01
                      : 1e-5)
        << '\n';
  }
  log.close();
  const std::string text = Print({.run = folder_ / "log.csv"});
  EXPECT_THAT(text, HasSubstr("1. schedule_ended_early"));
  EXPECT_THAT(text, HasSubstr("\n   0.01 |"));
  EXPECT_THAT(text, Not(HasSubstr("cut off")));
}

// What came before would be a line at the bottom.
TEST_F(DoctorCommandTest, PlotsEndABitAboveTheFirstLoss) {
  std::ofstream(folder_ / "log.csv") << "loss\n2\n1\n1e9\n3e9\nnan\n";
  const std::string text = Print({.run = folder_ / "log.csv"});
  EXPECT_THAT(text, HasSubstr("1. diverged"));
  EXPECT_THAT(text, HasSubstr("\n   2.4 |"));
  EXPECT_THAT(text, HasSubstr("\n   cut off at 2.4; it reaches 3e+09\n"));
}

TEST_F(DoctorCommandTest, MapsColumns) {
  const fs::path log = Log(true, "objective");
  EXPECT_THROW(Print({.run = log}), Error);
  EXPECT_THAT(Print({.run = log, .maps = {"loss=objective"}}), HasSubstr("1. overfitting"));
  try {
    Print({.run = log, .maps = {"loss"}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "--map loss: must be field=column, such as loss=train/total");
  }
}

TEST_F(DoctorCommandTest, SaysHowTheLogWasRead) {
  std::ofstream(folder_ / "log.csv") << "train/box_loss,train/cls_loss,x\n2,1,0,5\n1,1,0\n";
  const std::string text = Print({.run = folder_ / "log.csv", .json = folder_ / "d.json"});
  EXPECT_THAT(text, HasSubstr("layers\nnote: rows with more cells than the header, of which the "
                              "last are not read: 1, from row 2 on\nnote: loss is the sum of "
                              "train/box_loss+train/cls_loss\n"));
  const auto json = nlohmann::json::parse(ReadTextFile(folder_ / "d.json"));
  EXPECT_EQ(json["columns"]["loss"], "train/box_loss+train/cls_loss");
  EXPECT_EQ(json["notes"].size(), 2u);
  EXPECT_EQ(json["evaluations"], 0);
}

TEST_F(DoctorCommandTest, ManyLogsAreATable) {
  const fs::path ill = Log(true);
  fs::rename(ill, folder_ / "ill.csv");
  fs::rename(Log(false), folder_ / "healthy.csv");
  std::ofstream(folder_ / "damaged.csv") << "step,loss\n1,2\n\"2\"x,3\n";
  const std::vector<fs::path> runs = {folder_ / "ill.csv", folder_ / "damaged.csv",
                                      folder_ / "none.csv", folder_ / "healthy.csv"};
  std::string error;
  const std::string text = testing::Printed([&](std::FILE* console) {
    error =
        kudari::testing::ErrorOf([&] { DoctorTable({.json = folder_ / "d.json"}, runs, console); });
  });
  EXPECT_EQ(error, "2 of 4 logs could not be read");
  EXPECT_THAT(text, ContainsRegex("ill.csv +100 +10 +overfitting \\(1.00\\) +- +-\n"));
  EXPECT_THAT(text, ContainsRegex("damaged.csv +- +- +not read +- +-\n"));
  EXPECT_THAT(text, ContainsRegex("healthy.csv +100 +10 +- +- +-\n"));
  EXPECT_THAT(text, HasSubstr("damaged.csv: row 3 is damaged"));
  const auto json = nlohmann::json::parse(ReadTextFile(folder_ / "d.json"));
  ASSERT_EQ(json.size(), 4u);
  EXPECT_EQ(json[0]["findings"][0]["verdict"], "overfitting");
  EXPECT_THAT(std::string(json[1]["error"]), HasSubstr("row 3 is damaged"));
  EXPECT_EQ(json[2]["run"], runs[2].string());
  EXPECT_TRUE(json[3]["findings"].empty());
  std::ofstream(folder_ / "short.csv") << "step,loss\n1,2\n2,1.5\n3,1\n1,2\n2,1.5\n3,1\n4,0.9\n";
  const std::string read = testing::Printed([&](std::FILE* console) {
    DoctorTable({}, {runs[0], folder_ / "short.csv"}, console);
  });
  EXPECT_EQ(read.find("not read"), std::string::npos);
  EXPECT_THAT(read, ContainsRegex("short.csv +7 +0 +- +several_runs +rates, lr, overfitting\n"));
  EXPECT_EQ(kudari::testing::ErrorOf([&] { DoctorTable({.svg = "a.svg"}, runs, stdout); }),
            "--svg draws one run, but several are given");
  EXPECT_THAT(kudari::testing::ErrorOf([&] { DoctorTable({.maps = {"los=x"}}, runs, stdout); }),
              HasSubstr("unknown field"));
}

}  // namespace doctor_report_test
}  // namespace kudari::lab
