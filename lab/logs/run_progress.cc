#include "lab/logs/run_progress.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <system_error>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "lab/files/run_folder.h"
#include "lab/logs/run_log.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetricsFile = "metrics.jsonl";

// Whether the log ends with the test, which is the last thing that a run does.
bool EndsWithTest(const fs::path& log) {
  constexpr std::streamoff kTail = 4096;
  std::ifstream in(log, std::ios::binary | std::ios::ate);
  const std::streamoff size = in.tellg();
  in.seekg(std::max<std::streamoff>(0, size - kTail));
  std::string tail(std::istreambuf_iterator<char>(in), {});
  if (tail.empty() || tail.back() != '\n') return false;
  tail.pop_back();
  return tail.find("\"test_loss\"", tail.rfind('\n') + 1) != std::string::npos;
}

void Improve(std::optional<double>& best, double value, bool higher) {
  if (!std::isfinite(value)) return;
  if (!best || (higher ? value > *best : value < *best)) best = value;
}

std::optional<int64_t> NewestCheckpoint(const fs::path& folder) {
  std::error_code none;
  const fs::path checkpoints = CheckpointsOf(folder);
  if (!fs::is_directory(checkpoints, none)) return {};
  for (const CheckpointEntry& e : ListCheckpoints(checkpoints)) {
    if (e.damage.empty()) return e.manifest.step;
  }
  return {};
}

}  // namespace

RunProgress ProgressOf(const fs::path& folder, const RunLog& log) {
  RunProgress run{.planned = log.planned_steps};
  bool diverged = false;
  if (!log.steps.empty()) {
    run.step = log.steps.back().step;
    diverged = !std::isfinite(log.steps.back().loss);
  }
  for (const EvaluationLog& e : log.evaluations) {
    Improve(run.val_loss, e.loss, false);
    Improve(run.val_accuracy, e.accuracy, true);
  }
  run.checkpoint = NewestCheckpoint(folder);
  const bool ended = EndsWithTest(folder / kMetricsFile);
  const bool early = ended && run.checkpoint == run.step && run.step < run.planned;
  run.state = IsRunning(folder) ? "running"
              : diverged        ? "diverged"
              : ended && !early ? "finished"
              : early           ? "stopped"
                                : "broken off";
  return run;
}

RunProgress ReadProgress(const fs::path& folder) {
  try {
    return ProgressOf(folder, ReadRunLog(folder / kMetricsFile));
  } catch (const Error& e) {
    RunProgress run;
    run.checkpoint = NewestCheckpoint(folder);
    run.state = IsRunning(folder) ? "running" : std::string("unreadable: ") + e.what();
    return run;
  }
}

}  // namespace kudari::lab
