#include "lab/verbs/data_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/data/parts/data_sources.h"
#include "lab/files/output_file.h"
#include "lab/recipe/lab_registry.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// Where it is, or why it is nowhere.
std::string Place(const DataEntry& entry) {
  if (const auto found = WhereFound(entry)) return found->string();
  if (!entry.source.files.empty()) return fmt::format("kudari data get {}", entry.source.name);
  return entry.source.contents.empty() ? "named by data.path" : entry.source.contents;
}

double BytesOf(const DataSource& source) {
  double bytes = 0;
  for (const Download& file : source.files) bytes += static_cast<double>(file.bytes);
  return bytes;
}

Json InfoJson(const DataEntry& entry) {
  Json json = {{"name", entry.name}, {"doc", entry.doc}};
  const auto found = WhereFound(entry);
  json["found"] = found ? Json(found->string()) : Json();
  Json& options = json["options"] = Json::array();
  for (const OptionDescription& o : entry.options.Describe()) {
    options.push_back(
        {{"name", o.name}, {"default", o.default_value}, {"range", o.range}, {"doc", o.doc}});
  }
  const DataSource& source = entry.source;
  if (source.files.empty()) return json;
  Json files = Json::array();
  for (const Download& file : source.files) {
    files.push_back({{"address", file.address},
                     {"bytes", file.bytes},
                     {"checksum", file.checksum},
                     {"kept", file.kept}});
  }
  json["source"] = {{"name", source.name},     {"contents", source.contents},
                    {"home", source.home},     {"licence", source.licence},
                    {"folder", source.folder}, {"files", std::move(files)}};
  return json;
}

}  // namespace

void ListData(std::FILE* out) {
  std::vector<std::vector<std::string>> rows = {{"name", "size", "here", "what"}};
  for (const auto& entry : LabRegistry::Builtin().data.entries()) {
    const double bytes = BytesOf(entry->source);
    rows.push_back({entry->name, bytes > 0 ? SizeText(bytes) : "", Place(*entry), entry->doc});
  }
  fmt::print(out, "{}", TextTable(std::move(rows)));
}

void ListDataJson(const std::filesystem::path& file) {
  Json all = Json::array();
  for (const auto& entry : LabRegistry::Builtin().data.entries()) all.push_back(InfoJson(*entry));
  WriteOutput(file, JsonText(all, 2) + "\n");
}

void DataInfo(const std::string& name, std::FILE* out) {
  const auto entry = EntryOfData(name);
  std::vector<std::vector<std::string>> rows = {{"name", entry->name}, {"what", entry->doc}};
  const DataSource& source = entry->source;
  if (!source.contents.empty()) rows.push_back({"contents", source.contents});
  rows.push_back({"here", Place(*entry)});
  if (!source.files.empty()) {
    rows.push_back({"source", source.home});
    rows.push_back({"licence", source.licence});
    for (const Download& file : source.files) {
      rows.push_back({"file", fmt::format("{} ({})", file.address,
                                          SizeText(static_cast<double>(file.bytes)))});
      rows.push_back(
          {"checksum",
           fmt::format("{} {}", file.checksum.size() == 32 ? "MD5" : "SHA-256", file.checksum)});
    }
  }
  fmt::print(out, "{}", TextTable(std::move(rows)));
  const std::vector<OptionDescription> options = entry->options.Describe();
  if (options.empty()) return;
  std::vector<std::vector<std::string>> table = {{"option", "default", "range", "meaning"}};
  for (const OptionDescription& o : options) {
    table.push_back({o.name, o.default_value, o.range, o.doc});
  }
  fmt::print(out, "\n{}", TextTable(std::move(table)));
}

void DataInfoJson(const std::string& name, const std::filesystem::path& file) {
  WriteOutput(file, JsonText(InfoJson(*EntryOfData(name)), 2) + "\n");
}

}  // namespace kudari::lab
