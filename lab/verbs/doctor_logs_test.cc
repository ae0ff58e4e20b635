// The doctor against logs that nobody of this project trained: small made-up ones that each show
// one thing (tests/data/doctor), and public ones that were judged from their numbers
// (experiments/doctor_real.py).

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "kudari/doctor.h"
#include "lab/files/text_file.h"
#include "lab/files/unpack.h"
#include "lab/logs/run_log.h"

namespace kudari::lab {
namespace doctor_logs_test {

using Names = std::set<std::string>;

Names VerdictsIn(const Diagnosis& diagnosis) {
  Names names;
  for (const Finding& f : diagnosis.findings) names.emplace(InfoOf(f).name);
  return names;
}

Names SubjectsOf(const std::vector<Note>& notes) {
  Names subjects;
  for (const Note& n : notes) subjects.insert(n.subject);
  return subjects;
}

// ---- Small logs ----

struct Small {
  const char* file;
  Names verdicts;
  const char* seen = "";        // a note that there must be
  const char* not_judged = "";  // the same
};

const std::vector<Small>& SmallLogs() {
  static const std::vector<Small> logs = {
      {"m01_powerlaw_constant_lr.csv", {}},
      {"m02_converged_lr_not_logged.csv", {}, "", "lr"},
      {"m03_finetune_linear_decay.csv", {}},
      {"m04_noisy_small_batches.csv", {}},
      {"m05_lr_far_too_low_noisy.csv", {"lr_too_low"}},
      {"m06_resumed_at_140k.csv", {}, "", "start"},
      {"m07_overfit_small_floor.csv", {"overfitting"}},
      {"m08_overfit_from_first_eval.csv", {"overfitting"}},
      {"m09_overfit_loss_rounds_to_zero.csv", {"overfitting"}, "zero_losses"},
      {"m10_nan_filtered_to_zero.csv", {"diverged"}, "zero_losses"},
      {"m11_one_infinite_loss.csv", {}, "nonfinite_losses"},
      {"m12_validation_infinite.csv", {"val_nonfinite"}},
      {"m13_collapse_to_chance_11_entries.csv", {"diverged"}, "", "rates"},
      {"m13b_collapse_to_chance_epochs20.csv", {"diverged"}},
      {"m14_loss_scale_collapse.csv", {"loss_scale_thrash"}},
      {"m15_loss_ends_before_validation.csv", {"diverged"}, "", "training_loss"},
      {"m17_stuck_at_mean_prediction.csv", {"plateau"}},
      {"m18_rl_value_loss.csv", {}, "", "loss"},
      {"m20_lr_cut_to_5_percent_early.csv", {"schedule_ended_early"}},
      {"m21_first_loss_outlier_overfit.csv", {"overfitting"}},
      {"m22_finished_trainer_state.json", {"plateau"}},
  };
  return logs;
}

Diagnosis DiagnosisOf(const std::string& file) {
  return Diagnose(ReadRunLog(std::string(KUDARI_SOURCE_DIR) + "/tests/data/doctor/" + file));
}

TEST(DoctorLogsTest, EachSmallLogHasItsVerdict) {
  for (const Small& log : SmallLogs()) {
    const Diagnosis diagnosis = DiagnosisOf(log.file);
    EXPECT_EQ(VerdictsIn(diagnosis), log.verdicts) << log.file;
    const std::string seen = log.seen, not_judged = log.not_judged;
    if (!seen.empty()) {
      EXPECT_TRUE(SubjectsOf(diagnosis.seen).contains(seen)) << log.file;
    }
    if (!not_judged.empty()) {
      EXPECT_TRUE(SubjectsOf(diagnosis.not_judged).contains(not_judged)) << log.file;
    }
  }
}

// By its steps, if they start over, or by its loss, if the rows of both runs were counted on.
TEST(DoctorLogsTest, TwoRunsInOneLogAreToldApart) {
  const Diagnosis diagnosis = DiagnosisOf("m16_two_runs_appended.csv");
  EXPECT_TRUE(SubjectsOf(diagnosis.seen).contains("several_runs") ||
              VerdictsIn(diagnosis).contains("restart"));
}

// ---- Public logs ----

struct Public {
  std::string file, kind;
  Names accept;  // any of these verdicts is right
  RunLog log;
};

std::vector<Public> ReadPublicLogs() {
  const std::string text =
      ReadUnpacked(std::string(KUDARI_SOURCE_DIR) + "/tests/doctor/real.csv.xz");
  std::vector<Public> logs;
  std::vector<std::string> tables;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with('{')) {
      tables.back() += line + "\n";
      continue;
    }
    const auto json = nlohmann::json::parse(line);
    logs.push_back(
        {.file = json["file"], .kind = json["class"], .accept = json["accept"], .log = {}});
    tables.emplace_back();
  }
  for (size_t i = 0; i < logs.size(); ++i) logs[i].log = ParseRunLog(tables[i], "log.csv");
  return logs;
}

struct Counts {
  int healthy = 0, silent = 0, ill = 0, named = 0, verdicts = 0, right = 0;
  int unjudgeable = 0, unjudged = 0;
  int sure = 0, surely_right = 0;
  std::string mistakes;
};

Counts Examine(const std::vector<Public>& logs) {
  constexpr double kSure = 0.8;
  Counts n;
  for (const Public& log : logs) {
    if (log.kind == "uncertain") continue;
    const Diagnosis diagnosis = Diagnose(log.log);
    bool named = false;
    for (const Finding& f : diagnosis.findings) {
      const bool right = log.accept.contains(std::string(InfoOf(f).name));
      named = named || right;
      ++n.verdicts;
      n.right += right ? 1 : 0;
      if (f.confidence < kSure) continue;
      ++n.sure;
      n.surely_right += right ? 1 : 0;
    }
    const bool silent = diagnosis.findings.empty();
    if (log.kind == "ill") {
      ++n.ill;
      n.named += named ? 1 : 0;
    } else {
      ++(log.kind == "healthy" ? n.healthy : n.unjudgeable);
      (log.kind == "healthy" ? n.silent : n.unjudged) += silent ? 1 : 0;
    }
    if (log.kind == "ill" ? named : silent) continue;
    n.mistakes += fmt::format("{} ({}): {}\n", log.file, log.kind, VerdictsIn(diagnosis));
  }
  return n;
}

TEST(DoctorLogsTest, IsRightOnPublicLogs) {
  const std::vector<Public> logs = ReadPublicLogs();
  ASSERT_EQ(logs.size(), 104u);
  const Counts n = Examine(logs);
  EXPECT_GE(n.healthy, 35);
  EXPECT_GE(n.ill, 30);
  EXPECT_GE(n.silent, 0.9 * n.healthy) << n.mistakes;
  EXPECT_GE(n.named, 0.8 * n.ill) << n.mistakes;
  EXPECT_GE(n.right, 0.8 * n.verdicts) << n.mistakes;
  EXPECT_GE(n.surely_right, 0.8 * n.sure) << n.mistakes;
  // docs/doctor.md has these numbers.
  const std::string page = ReadTextFile(std::string(KUDARI_SOURCE_DIR) + "/docs/doctor.md");
  const std::string line = fmt::format(
      "| public repositories and issues | {} | {} of {} | {} of {} | {} of {} | {} of {} |",
      logs.size(), n.silent, n.healthy, n.named, n.ill, n.right, n.verdicts, n.unjudged,
      n.unjudgeable);
  EXPECT_NE(page.find(line), std::string::npos)
      << "python3 experiments/doctor_real.py --page; " << line;
}

}  // namespace doctor_logs_test
}  // namespace kudari::lab
