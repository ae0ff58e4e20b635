#include "lab/report/report_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kudari/doctor.h"
#include "kudari/error.h"
#include "lab/files/text_file.h"
#include "lab/logs/findings_json.h"
#include "lab/logs/run_progress.h"
#include "lab/report/report_curves.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8U | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * k) & 63U];
    }
  }
  return text;
}

// The type of a picture that a browser shows; empty for another file.
std::string_view PictureType(const fs::path& file) {
  const std::string extension = file.extension().string();
  return extension == ".png" ? "image/png" : extension == ".svg" ? "image/svg+xml" : "";
}

// The pictures that stand in the folder, as long as there is room for them.
Json PicturesJson(const fs::path& folder, size_t room, std::vector<std::string>& notes) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    std::error_code none;
    if (!PictureType(at->path()).empty() && at->is_regular_file(none)) files.push_back(at->path());
  }
  std::ranges::sort(files);
  Json json = Json::array();
  for (const fs::path& file : files) {
    std::error_code none;
    const std::string name = file.filename().string();
    if (fs::file_size(file, none) > room || none) {
      notes.push_back(fmt::format("{} is left out, because the page would become large", name));
      continue;
    }
    const std::string bytes = ReadTextFile(file);
    room -= std::min(room, bytes.size());
    json.push_back({{"name", name},
                    {"data", fmt::format("data:{};base64,{}", PictureType(file), Base64(bytes))}});
  }
  return json;
}

void AddRecipe(const fs::path& folder, ReportRun& run, std::vector<std::string>& notes) {
  const fs::path file = folder / "recipe.toml";
  std::error_code none;
  if (!fs::exists(file, none)) return;
  try {
    const std::string text = ReadTextFile(file);
    run.json["recipe"] = text;
    run.recipe = ParseTrainRecipe(text, file.string());
  } catch (const Error& e) {
    notes.push_back(fmt::format("the recipe could not be compared: {}", e.what()));
  }
}

}  // namespace

ReportRun ReadReportRun(const fs::path& path, const RunLogOptions& options,
                        const ReportLimits& limits) {
  RunLogOptions with_curves = options;
  with_curves.curves = true;
  const LogReading reading = ReadLog(path, with_curves);
  const Diagnosis diagnosis = Diagnose(reading.log);
  std::vector<std::string> notes = reading.notes;
  ReportRun run;
  Json& json = run.json;
  json["step"] = reading.log.steps.back().step;
  json["planned"] = reading.log.planned_steps;
  json["findings"] = Json::array();
  for (const Finding& f : diagnosis.findings) json["findings"].push_back(FindingJson(f));
  json["seen"] = NotesJson(diagnosis.seen);
  json["not_judged"] = NotesJson(diagnosis.not_judged);
  json["axes"] = AxesJson(reading);
  if (json["axes"].contains("seconds")) json["seconds"] = json["axes"]["seconds"]["values"].back();
  json["curves"] = CurvesJson(reading, limits.points);
  if (reading.curves.size() > kMostCurves) {
    notes.push_back(
        fmt::format("at most {} of the {} columns are drawn", kMostCurves, reading.curves.size()));
  }
  json["constants"] = ConstantsJson(reading);
  json["layers"] = LayersJson(reading.log.layers, limits.layer_numbers);
  std::error_code none;
  if (fs::is_directory(path, none)) {
    if (fs::exists(path / "metrics.jsonl", none)) {
      json["state"] = ProgressOf(path, reading.log).state;
    }
    AddRecipe(path, run, notes);
    json["pictures"] = PicturesJson(path, limits.pictures, notes);
  }
  json["notes"] = notes;
  return run;
}

}  // namespace kudari::lab
