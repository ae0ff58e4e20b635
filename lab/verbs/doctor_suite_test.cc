// The doctor against stored curves of real runs with known faults (experiments/doctor.py): the
// limits were set on the development half, and the held-out half counts. Unseen recipes are on the
// page only.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "kudari/doctor.h"
#include "lab/files/text_file.h"
#include "lab/files/unpack.h"
#include "lab/logs/metrics.h"
#include "lab/logs/run_log.h"
#include "lab/train/live_doctor.h"

namespace kudari::lab {
namespace doctor_suite_test {

struct Labelled {
  std::string name;
  int64_t seed = 0;
  std::set<std::string> labels, allowed;
  RunLog log;
};

// A file of runs, each a line that says what it is and the lines of its metrics.jsonl.
std::vector<Labelled> ParseSuite(const std::string& half) {
  const std::string file = std::string(KUDARI_SOURCE_DIR) + "/tests/doctor/" + half + ".jsonl.xz";
  const std::string text = ReadUnpacked(file);
  std::vector<Labelled> runs;
  std::vector<std::string> metrics;
  std::vector<int64_t> planned, epoch;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with(R"({"run")")) {
      metrics.back() += line + "\n";
      continue;
    }
    const auto json = nlohmann::json::parse(line);
    runs.push_back({.name = json["run"],
                    .seed = json["seed"],
                    .labels = json["labels"],
                    .allowed = json["allowed"],
                    .log = {}});
    metrics.emplace_back();
    planned.push_back(json["planned_steps"]);
    epoch.push_back(json["steps_per_epoch"]);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    runs[i].log = ParseRunLog(metrics[i], "metrics.jsonl", {.steps_per_epoch = epoch[i]});
    runs[i].log.planned_steps = planned[i];
  }
  return runs;
}

// Reading takes longer than examining.
const std::vector<Labelled>& ReadSuite(const std::string& half) {
  static std::map<std::string, std::vector<Labelled>> known;
  const auto [at, is_new] = known.try_emplace(half);
  if (is_new) at->second = ParseSuite(half);
  return at->second;
}

struct Counts {
  int right = 0, wrong = 0, missed = 0;

  double F1() const { return 2.0 * right / std::max(1, 2 * right + wrong + missed); }
};

struct Result {
  std::map<std::string, Counts> verdicts;
  int healthy = 0, silent = 0;
  std::string mistakes;

  double MacroF1() const {
    double sum = 0;
    for (const auto& [name, counts] : verdicts) sum += counts.F1();
    return sum / static_cast<double>(verdicts.size());
  }
};

Result Examine(const std::vector<Labelled>& runs) {
  Result result;
  for (const Labelled& run : runs) {
    std::set<std::string> given;
    for (const Finding& f : Diagnose(run.log).findings) {
      given.emplace(InfoOf(f).name);
    }
    for (const std::string& label : run.labels) {
      Counts& c = result.verdicts[label];
      ++(given.contains(label) ? c.right : c.missed);
    }
    std::string mistake;
    for (const std::string& verdict : given) {
      if (run.labels.contains(verdict) || run.allowed.contains(verdict)) continue;
      ++result.verdicts[verdict].wrong;
      mistake += " " + verdict;
    }
    for (const std::string& label : run.labels) {
      if (!given.contains(label)) mistake += " no " + label;
    }
    if (!mistake.empty()) result.mistakes += fmt::format("{} {}:{}\n", run.name, run.seed, mistake);
    if (!run.labels.empty()) continue;
    ++result.healthy;
    result.silent += given.empty() ? 1 : 0;
  }
  return result;
}

class DoctorSuite : public ::testing::TestWithParam<const char*> {};

TEST_P(DoctorSuite, KnowsWhatIsWrong) {
  const std::vector<Labelled>& runs = ReadSuite(GetParam());
  EXPECT_GE(runs.size(), 150u);
  const Result result = Examine(runs);
  constexpr size_t kOfLogs = 2;  // restart and val_nonfinite: doctor_logs_test.cc
  EXPECT_EQ(result.verdicts.size() + kOfLogs, Verdicts().size()) << "a verdict without a run";
  EXPECT_GE(result.MacroF1(), 0.90) << result.mistakes;
  EXPECT_GE(result.healthy, 40);
  EXPECT_GE(result.silent, 0.95 * result.healthy) << result.mistakes;
  for (const auto& [name, counts] : result.verdicts) {
    EXPECT_GE(counts.F1(), 0.7) << name << "\n" << result.mistakes;
    EXPECT_GE(counts.right + counts.missed, 6) << name;
  }
}

// What is said while a run goes on has to be sure, and is not said of healthy runs.
TEST_P(DoctorSuite, IsSilentWhileHealthyRunsGoOn) {
  constexpr double kSure = 0.75;  // as in `kudari train`
  int parts = 0, alarms = 0;
  std::string what;
  for (const Labelled& run : ReadSuite(GetParam())) {
    if (!run.labels.empty()) continue;
    for (const double share : {0.1, 0.2, 0.4, 0.6, 0.8}) {
      RunLog log = run.log;
      log.steps.resize(static_cast<size_t>(share * static_cast<double>(log.steps.size())));
      const int64_t last = log.steps.back().step;
      std::erase_if(log.evaluations, [last](const auto& e) { return e.step > last; });
      std::erase_if(log.layers, [last](const auto& l) { return l.step > last; });
      ++parts;
      for (const Finding& f : Diagnose(log).findings) {
        if (f.confidence < kSure) continue;
        ++alarms;
        what += fmt::format("{} {} at {}: {}\n", run.name, run.seed, share, f.evidence);
      }
    }
  }
  EXPECT_LE(alarms, 0.02 * parts) << what;
}

/// A finding as text, every number of it.
std::string Text(const Finding& f) {
  std::string text = fmt::format("{} {} {} {} {}", InfoOf(f).name, f.confidence, f.first_step,
                                 f.last_step, f.evidence);
  for (const std::string& tensor : f.tensors) text += " " + tensor;
  return text;
}

/// What was logged of a step, as a record of training; `lost` holds the counts of what was lost.
StepRecord RecordOf(const StepLog& s, const RunLog& log, Numerics& lost) {
  StepRecord r{.step = s.step, .epoch = 1, .loss = s.loss, .lr = s.lr, .grad_norm = s.grad_norm};
  r.micro_grad_norm = s.micro_grad_norm;
  r.skipped = s.skipped;
  r.loss_scale = s.loss_scale;
  if (!std::isnan(s.lost)) {
    lost.elements = 1'000'000'000;
    lost.lost = std::llround(s.lost * static_cast<double>(lost.elements));
    r.numerics = {&lost, 1};
  }
  const auto layers = std::ranges::find(log.layers, s.step, &LayersLog::step);
  if (layers != log.layers.end()) r.layers = layers->tensors;
  if (s.step == log.steps.back().step) r.first_nonfinite = log.first_nonfinite;
  return r;
}

// While a run goes on the doctor is given what `kudari doctor` reads from its metrics.jsonl later,
// so both say the same at every point.
TEST_P(DoctorSuite, SaysTheSameLiveAndOfTheFile) {
  for (const Labelled& run : ReadSuite(GetParam())) {
    LiveDoctor live(run.log.planned_steps, run.log.steps_per_epoch);
    std::string file;
    auto evaluation = run.log.evaluations.begin();
    for (size_t i = 0; i < run.log.steps.size(); ++i) {
      Numerics lost;
      const StepRecord record = RecordOf(run.log.steps[i], run.log, lost);
      live.Add(record);
      file += StepJson(record) + "\n";
      for (; evaluation != run.log.evaluations.end() && evaluation->step <= record.step;
           ++evaluation) {
        live.Add(*evaluation);
        file += ScoreJson(evaluation->step, "val", {evaluation->loss, evaluation->accuracy}) + "\n";
      }
      if (i + 1 != run.log.steps.size() && i + 1 != run.log.steps.size() / 2) continue;
      RunLog read =
          ParseRunLog(file, "metrics.jsonl", {.steps_per_epoch = run.log.steps_per_epoch});
      read.planned_steps = run.log.planned_steps;
      std::vector<std::string> of_file, said;
      for (const Finding& f : Diagnose(read).findings) of_file.push_back(Text(f));
      for (const Finding& f : live.AtTheEnd()) said.push_back(Text(f));
      EXPECT_EQ(said, of_file) << run.name << ' ' << run.seed << " after " << i + 1 << " steps";
    }
  }
}

// The halves share no seed.
TEST(DoctorSuiteTest, HalvesAreApart) {
  std::set<int64_t> development;
  for (const Labelled& run : ReadSuite("development")) development.insert(run.seed);
  for (const std::string other : {"held_out", "unseen"}) {
    for (const Labelled& run : ReadSuite(other)) EXPECT_FALSE(development.contains(run.seed));
  }
}

// docs/doctor.md has today's doctor's verdicts and numbers.
TEST(DoctorSuiteTest, PageIsTrue) {
  const std::string page = ReadTextFile(std::string(KUDARI_SOURCE_DIR) + "/docs/doctor.md");
  for (const VerdictInfo& v : Verdicts()) {
    const std::string line = fmt::format("| `{}` | {} | {} |\n", v.name, v.meaning, v.needs);
    EXPECT_NE(page.find(line), std::string::npos) << line;
  }
  for (const std::string half : {"development", "held_out", "unseen"}) {
    const std::vector<Labelled>& runs = ReadSuite(half);
    const Result result = Examine(runs);
    const std::string line = fmt::format("| {} | {} | {:.3f} | {} of {} |", half, runs.size(),
                                         result.MacroF1(), result.silent, result.healthy);
    EXPECT_NE(page.find(line), std::string::npos) << "python3 experiments/doctor.py; " << line;
  }
}

INSTANTIATE_TEST_SUITE_P(Halves, DoctorSuite, ::testing::Values("development", "held_out"));

}  // namespace doctor_suite_test
}  // namespace kudari::lab
