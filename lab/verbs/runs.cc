#include "lab/verbs/runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "kudari/error.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/files/output_file.h"
#include "lab/logs/run_progress.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kLog = "metrics.jsonl";

struct Run {
  std::string name;
  RunProgress now;
};

// A run that can go on, and is not going on.
bool CanGoOn(const RunProgress& run) {
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
  for (const fs::path& f : folders) runs.push_back({f.filename().string(), ReadProgress(f)});
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
  for (const auto& [name, run] : runs) {
    rows.push_back(
        {name,
         run.planned > 0 ? fmt::format("{}/{}", run.step, run.planned) : std::to_string(run.step),
         run.val_loss ? fmt::format("{:.4f}", *run.val_loss) : "-",
         run.val_accuracy ? Percent(*run.val_accuracy) : "-",
         run.checkpoint ? std::to_string(*run.checkpoint) : "-", run.state});
  }
  fmt::print(out, "{}", TextTable(std::move(rows)));
  for (const Run& run : runs) {
    if (!CanGoOn(run.now)) continue;
    fmt::print(out, "to go on: kudari train --resume {}\n", (folder / run.name).string());
  }
}

void ListRunsJson(const fs::path& folder, const fs::path& file) {
  Json json = Json::array();
  for (const auto& [name, run] : RunsIn(folder)) {
    const auto number = [](const auto& value) { return value ? Json(*value) : Json(); };
    json.push_back({{"name", name},
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
