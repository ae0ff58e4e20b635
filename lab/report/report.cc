#include "lab/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/contours.h"
#include "lab/draw/line_style.h"
#include "lab/files/output_file.h"
#include "lab/recipe/recipe_differences.h"
#include "lab/report/report_page.h"
#include "lab/report/report_run.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The names of the folders or files, and all that was given where two would have the same.
std::vector<std::string> NamesOf(const std::vector<fs::path>& runs) {
  std::vector<std::string> names;
  std::map<std::string, int> count;
  for (const fs::path& run : runs) {
    const fs::path path = fs::absolute(run / "").lexically_normal().parent_path();
    names.push_back(path.filename().string());
    ++count[names.back()];
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    if (count[names[i]] > 1 || names[i].empty()) names[i] = runs[i].string();
  }
  return names;
}

// A row for each key in which the recipe of a run differs from the first one, with the value of
// each run; null for runs without a recipe.
Json DifferencesJson(const std::vector<std::optional<Recipe>>& recipes) {
  const auto first = std::ranges::find_if(recipes, [](const auto& r) { return r.has_value(); });
  if (first == recipes.end()) return Json::array();
  std::map<std::string, std::string> before;
  std::vector<std::map<std::string, std::string>> after;
  for (const std::optional<Recipe>& recipe : recipes) {
    after.emplace_back();
    if (!recipe) continue;
    for (RecipeDifference& d : DifferencesBetween(**first, *recipe)) {
      before.emplace(d.key, std::move(d.before));
      after.back().emplace(d.key, std::move(d.after));
    }
  }
  Json json = Json::array();
  for (const auto& [key, value] : before) {
    Json values = Json::array();
    for (size_t i = 0; i < recipes.size(); ++i) {
      const auto found = after[i].find(key);
      values.push_back(!recipes[i] ? Json()
                                   : Json(found == after[i].end() ? value : found->second));
    }
    json.push_back({{"key", key}, {"values", std::move(values)}});
  }
  return json;
}

// The colours of the norms by layer, from low to high.
Json ViridisJson() {
  constexpr int kColours = 32;
  Json json = Json::array();
  for (int i = 0; i < kColours; ++i)
    json.push_back(Viridis(static_cast<double>(i) / (kColours - 1)));
  return json;
}

void Fill(std::string& page, std::string_view place, std::string_view text) {
  page.replace(page.find(place), place.size(), text);
}

std::string PageOf(const Json& json) {
  std::string page(kReportHtml);
  Fill(page, "KUDARI_CHART_LICENCE", kChartLicence);
  Fill(page, "KUDARI_CHART_STYLE", kChartStyle);
  Fill(page, "KUDARI_STYLE", kReportStyle);
  Fill(page, "KUDARI_CHART_SCRIPT", kChartScript);
  Fill(page, "KUDARI_SCRIPT", kReportScript);
  Fill(page, "KUDARI_DATA", ScriptText(json));  // the last, as it may have any text
  return page;
}

}  // namespace

void WriteReport(const ReportOptions& options, std::FILE* console) {
  if (options.runs.empty() || options.runs.size() > kMostReportRuns) {
    throw UsageError(fmt::format("report: {} runs, which is not in [1, {}]", options.runs.size(),
                                 kMostReportRuns));
  }
  const RunLogOptions reading{.columns = ColumnsByField(options.maps),
                              .steps_per_epoch = options.steps_per_epoch};
  const ReportLimits whole;
  const size_t count = options.runs.size();
  const ReportLimits share{.points = whole.points / count,
                           .layer_numbers = whole.layer_numbers / count,
                           .pictures = whole.pictures / count};
  const std::vector<std::string> names = NamesOf(options.runs);
  Json runs = Json::array();
  std::vector<std::optional<Recipe>> recipes;
  std::string errors;
  size_t failed = 0;
  for (size_t i = 0; i < count; ++i) {
    const LineStyle style = StyleOf(i);
    Json json = {{"name", names[i]},
                 {"path", options.runs[i].string()},
                 {"colour", style.colour},
                 {"dashes", style.dashes}};
    recipes.emplace_back();
    try {
      ReportRun run = ReadReportRun(options.runs[i], reading, share);
      json.update(run.json);
      recipes.back() = std::move(run.recipe);
    } catch (const Error& e) {
      ++failed;
      json["error"] = e.what();
      errors += fmt::format("{}{}", errors.empty() ? "" : "\n", e.what());
    }
    runs.push_back(std::move(json));
  }
  if (failed == count) throw Error(errors);
  const std::string page = PageOf({{"runs", std::move(runs)},
                                   {"differences", DifferencesJson(recipes)},
                                   {"viridis", ViridisJson()}});
  WriteOutput(options.out, page);
  fmt::print(console, "written {}: {}, {}\n", Printable(options.out.string()),
             Counted(static_cast<int64_t>(count - failed), "run"),
             SizeText(static_cast<double>(page.size())));
  if (failed == 0) return;
  std::fflush(console);
  throw Error(fmt::format("{} of {} runs could not be read\n{}", failed, count, errors));
}

}  // namespace kudari::lab
