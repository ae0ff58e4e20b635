#include "lab/verbs/runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/files/output_file.h"
#include "lab/files/run_folder.h"
#include "lab/logs/run_log.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kLog = "metrics.jsonl";

struct Run {
  std::string name, state = {};
  int64_t step = 0, planned = 0;
  std::optional<double> val_loss = {}, val_accuracy = {};  // the best of each
  std::optional<int64_t> checkpoint = {};                  // the step of the newest that is good
};

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

Run Look(const fs::path& folder) {
  Run run{.name = folder.filename().string()};
  bool diverged = false;
  std::string problem;
  try {
    const RunLog log = ReadRunLog(folder / kLog);
    run.planned = log.planned_steps;
    if (!log.steps.empty()) {
      run.step = log.steps.back().step;
      diverged = !std::isfinite(log.steps.back().loss);
    }
    for (const EvaluationLog& e : log.evaluations) {
      Improve(run.val_loss, e.loss, false);
      Improve(run.val_accuracy, e.accuracy, true);
    }
  } catch (const Error& e) {
    problem = e.what();
  }
  std::error_code none;
  const fs::path checkpoints = CheckpointsOf(folder);
  if (fs::is_directory(checkpoints, none)) {
    for (const CheckpointEntry& e : ListCheckpoints(checkpoints)) {
      if (run.checkpoint || !e.damage.empty()) continue;
      run.checkpoint = e.manifest.step;
    }
  }
  const bool ended = EndsWithTest(folder / kLog);
  const bool early = ended && run.checkpoint == run.step && run.step < run.planned;
  run.state = IsRunning(folder)  ? "running"
              : !problem.empty() ? "unreadable: " + problem
              : diverged         ? "diverged"
              : ended && !early  ? "finished"
              : early            ? "stopped"
                                 : "broken off";
  return run;
}

// A run that can go on, and is not going on.
bool CanGoOn(const Run& run) {
  return run.checkpoint && (run.state == "stopped" || run.state == "broken off");
}

std::vector<Run> RunsIn(const fs::path& folder) {
  std::vector<fs::path> folders;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    std::error_code none;
    if (fs::exists(at->path() / kLog, none)) folders.push_back(at->path());
  }
  if (error) throw Error(fmt::format("{}: {}", folder.string(), error.message()));
  std::ranges::sort(folders);
  std::vector<Run> runs;
  for (const fs::path& f : folders) runs.push_back(Look(f));
  return runs;
}

}  // namespace

void ListRuns(const fs::path& folder, std::FILE* out) {
  const std::vector<Run> runs = RunsIn(folder);
  if (runs.empty()) {
    fmt::print(out, "{} holds no runs\n", folder.string());
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"run", "step", "val loss", "val acc", "checkpoint", "state"}};
  for (const Run& run : runs) {
    rows.push_back(
        {run.name,
         run.planned > 0 ? fmt::format("{}/{}", run.step, run.planned) : std::to_string(run.step),
         run.val_loss ? fmt::format("{:.4f}", *run.val_loss) : "-",
         run.val_accuracy ? Percent(*run.val_accuracy) : "-",
         run.checkpoint ? std::to_string(*run.checkpoint) : "-", run.state});
  }
  fmt::print(out, "{}", TextTable(std::move(rows)));
  for (const Run& run : runs) {
    if (!CanGoOn(run)) continue;
    fmt::print(out, "to go on: kudari train --resume {}\n", (folder / run.name).string());
  }
}

void ListRunsJson(const fs::path& folder, const fs::path& file) {
  Json json = Json::array();
  for (const Run& run : RunsIn(folder)) {
    const auto number = [](const auto& value) { return value ? Json(*value) : Json(); };
    json.push_back({{"name", run.name},
                    {"state", run.state},
                    {"step", run.step},
                    {"planned_steps", run.planned},
                    {"val_loss", number(run.val_loss)},
                    {"val_accuracy", number(run.val_accuracy)},
                    {"checkpoint_step", number(run.checkpoint)},
                    {"can_go_on", CanGoOn(run)}});
  }
  WriteOutput(file, JsonText(json, 2) + "\n");
}

}  // namespace kudari::lab
