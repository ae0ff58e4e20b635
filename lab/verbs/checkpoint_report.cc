#include "lab/verbs/checkpoint_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/files/output_file.h"
#include "lab/files/run_folder.h"
#include "lab/recipe/checkpoint_spec.h"
#include "lab/recipe/recipe_differences.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool IsOne(const fs::path& folder) { return fs::exists(folder / "manifest.json"); }

// The checkpoints that are meant, the newest first.
std::vector<CheckpointEntry> EntriesIn(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw Error(folder.string() + ": is not a folder");
  if (!IsOne(folder)) {
    std::vector<CheckpointEntry> entries = ListCheckpoints(CheckpointsAt(folder));
    if (entries.empty()) throw Error(folder.string() + ": has no checkpoint");
    return entries;
  }
  return {{.folder = folder, .manifest = ReadManifest(folder)}};
}

std::string MetricsText(const CheckpointManifest& manifest) {
  std::string text;
  for (const auto& [name, value] : manifest.metrics) {
    text += fmt::format("{}{} {:.6g}", text.empty() ? "" : ", ", name, value);
  }
  return text;
}

std::string ShapeTextOf(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Json EntryJson(const CheckpointEntry& entry) {
  if (!entry.damage.empty()) return {{"folder", entry.folder.string()}, {"damage", entry.damage}};
  const CheckpointManifest& m = entry.manifest;
  Json json = {{"folder", entry.folder.string()},
               {"step", m.step},
               {"serial", m.serial},
               {"library_version", m.library_version},
               {"bytes", m.Bytes()},
               {"metrics", m.metrics},
               {"texts", m.texts},
               {"files", Json::array()},
               {"tensors", Json::array()}};
  for (const CheckpointFile& f : m.files) {
    json["files"].push_back({{"name", f.name}, {"bytes", f.bytes}});
  }
  for (const CheckpointTensor& t : m.tensors) {
    json["tensors"].push_back(
        {{"path", t.path}, {"file", t.file}, {"dtype", Name(t.type)}, {"shape", t.shape}});
  }
  return json;
}

void ShowOne(const CheckpointManifest& m, std::FILE* out) {
  std::vector<std::vector<std::string>> rows = {{"step", std::to_string(m.step)},
                                                {"saved by", "Kudari " + m.library_version},
                                                {"size", SizeText(static_cast<double>(m.Bytes()))}};
  if (!m.metrics.empty()) rows.push_back({"metrics", MetricsText(m)});
  for (const CheckpointFile& f : m.files) {
    rows.push_back({"file", fmt::format("{}, {}", f.name, SizeText(static_cast<double>(f.bytes)))});
  }
  std::vector<std::vector<std::string>> tensors;
  for (const CheckpointTensor& t : m.tensors) {
    tensors.push_back({t.path, std::string(Name(t.type)), ShapeTextOf(t.shape)});
  }
  fmt::print(out, "{}\n{}", TextTable(std::move(rows)), TextTable(std::move(tensors)));
}

// The elements of a floating-point array; nothing if it is another.
std::optional<std::vector<double>> Numbers(const StateArray& array) {
  std::vector<double> numbers;
  if (array.type == ElementType::kFloat32) {
    for (const float x : array.As<float>()) numbers.push_back(x);
  } else if (array.type == ElementType::kFloat64) {
    for (const double x : array.As<double>()) numbers.push_back(x);
  } else {
    return std::nullopt;
  }
  return numbers;
}

std::vector<std::string> NonfiniteArrays(const StateTree& state) {
  std::vector<std::string> found;
  for (const std::string& path : state.Paths()) {
    if (path.starts_with("observers/")) continue;  // a NaN in a log is what was not measured
    const auto* const array = std::get_if<StateArray>(&state.At(path).value());
    const auto numbers = array == nullptr ? std::nullopt : Numbers(*array);
    if (!numbers) continue;
    const auto finite = [](double x) { return std::isfinite(x); };
    if (!std::ranges::all_of(*numbers, finite)) found.push_back(path);
  }
  return found;
}

// How two values at a path differ.
std::string DifferenceText(const StateTree& a, const StateTree& b) {
  if (a.Kind() != b.Kind()) return fmt::format("{} and {}", a.Kind(), b.Kind());
  const auto* const x = std::get_if<StateArray>(&a.value());
  if (x == nullptr) {
    const std::string text = FirstDifference(a, b);  // "": int64 1 and int64 2
    return text.substr(text.find(": ") + 2);
  }
  const auto before = Numbers(*x), after = Numbers(b.Array());
  if (!before) {
    int64_t bytes = 0;
    for (size_t i = 0; i < x->bytes.size(); ++i) bytes += x->bytes[i] != b.Array().bytes[i] ? 1 : 0;
    return fmt::format("{} of {} bytes differ", bytes, x->bytes.size());
  }
  double largest = 0;
  int64_t count = 0;
  for (size_t i = 0; i < before->size(); ++i) {
    const double difference = std::abs((*before)[i] - (*after)[i]);
    count += difference != 0 ? 1 : 0;
    if (!(difference <= largest)) largest = difference;
  }
  return fmt::format("{} of {} elements differ, by at most {:.3g}", count, before->size(), largest);
}

std::optional<Recipe> RecipeOf(const Checkpoint& checkpoint) {
  const auto text = checkpoint.manifest.texts.find("recipe");
  if (text == checkpoint.manifest.texts.end()) return std::nullopt;
  return ParseTrainRecipe(text->second, checkpoint.folder.string() + ": recipe");
}

}  // namespace

void ShowCheckpoints(const fs::path& folder, std::FILE* out) {
  const std::vector<CheckpointEntry> entries = EntriesIn(folder);
  if (IsOne(folder)) return ShowOne(entries.front().manifest, out);
  std::vector<std::vector<std::string>> rows = {{"checkpoint", "step", "size", "metrics"}};
  for (const CheckpointEntry& e : entries) {
    const std::string name = e.folder.filename().string();
    if (!e.damage.empty()) {
      rows.push_back({name, "?", "?", "damaged: " + e.damage});
    } else {
      rows.push_back({name, std::to_string(e.manifest.step),
                      SizeText(static_cast<double>(e.manifest.Bytes())), MetricsText(e.manifest)});
    }
  }
  fmt::print(out, "{}", TextTable(std::move(rows)));
}

void ShowCheckpointsJson(const fs::path& folder, const fs::path& file) {
  Json json = Json::array();
  for (const CheckpointEntry& e : EntriesIn(folder)) json.push_back(EntryJson(e));
  WriteOutput(file, JsonText(json, 2) + "\n");
}

bool VerifyCheckpoints(const fs::path& folder, std::FILE* out) {
  bool good = true;
  for (const CheckpointEntry& e : EntriesIn(folder)) {
    std::string damage = e.damage, note;
    try {
      if (damage.empty()) {
        const std::vector<std::string> odd = NonfiniteArrays(LoadCheckpoint(e.folder).state);
        if (!odd.empty()) note = fmt::format("; not finite: {}", fmt::join(odd, ", "));
      }
    } catch (const Error& error) {
      damage = error.what();
    }
    good = good && damage.empty();
    fmt::print(out, "{}: {}{}\n", e.folder.string(), damage.empty() ? "good" : damage, note);
  }
  return good;
}

bool DiffCheckpoints(const fs::path& a, const fs::path& b, std::FILE* out) {
  const Checkpoint before = CheckpointAt(a), after = CheckpointAt(b);
  const auto old = RecipeOf(before), now = RecipeOf(after);
  if (old && now) {
    for (const RecipeDifference& d : DifferencesBetween(*old, *now)) {
      fmt::print(out, "recipe: {} = {}, then {}\n", d.key, d.before, d.after);
    }
  }
  std::vector<std::vector<std::string>> rows;
  for (const std::string& path : before.state.Paths()) {
    const StateTree& value = before.state.At(path);
    const StateTree* const other = after.state.Find(path);
    if (other == nullptr) {
      rows.push_back({path, fmt::format("{}, only in {}", value.Kind(), before.folder.string())});
    } else if (!(value == *other)) {
      rows.push_back({path, DifferenceText(value, *other)});
    }
  }
  for (const std::string& path : after.state.Paths()) {
    if (before.state.Find(path) != nullptr) continue;
    rows.push_back(
        {path, fmt::format("{}, only in {}", after.state.At(path).Kind(), after.folder.string())});
  }
  const bool same = rows.empty();
  fmt::print(out, "{}", same ? "the states are equal\n" : TextTable(std::move(rows)));
  return same;
}

void PruneCheckpointsOf(const fs::path& folder, const CheckpointRetention& retention,
                        std::FILE* out) {
  if (IsOne(folder)) throw Error(folder.string() + ": is one checkpoint; give the folder above it");
  for (const fs::path& deleted : PruneCheckpoints(CheckpointsAt(folder), retention)) {
    fmt::print(out, "deleted {}\n", deleted.string());
  }
  for (const CheckpointEntry& e : ListCheckpoints(CheckpointsAt(folder))) {
    fmt::print(out, "kept {}\n", e.folder.string());
  }
}

}  // namespace kudari::lab
