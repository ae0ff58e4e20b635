#include "lab/verbs/plot_file.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/rule.h"
#include "lab/draw/chart.h"
#include "lab/files/text_file.h"
#include "lab/landscape/landscape.h"
#include "lab/landscape/surfaces.h"
#include "lab/recipe/json_table.h"

namespace kudari::lab {
namespace {

using Reader = internal::TableReader;

std::string TextOf(Reader& reader, std::string_view key) {
  return reader.String(key).value_or(std::string());
}

std::vector<double> NumbersOf(Reader& reader, std::string_view key, double low = -kInfinity) {
  auto numbers = reader.Numbers(key, low, kInfinity);
  if (!numbers) reader.Fail(key, "is missing");
  return *std::move(numbers);
}

// The tables of a list, of which there must be one.
std::vector<Reader> TablesOf(Reader& reader, std::string_view key, size_t most) {
  if (!reader.Has(key)) reader.Fail(key, "is missing");
  std::vector<Reader> tables = reader.Tables(key);
  if (tables.empty() || tables.size() > most) {
    reader.Fail(key, fmt::format("has {} entries, which is outside [1, {}]", tables.size(), most));
  }
  return tables;
}

// Numbers of which there must be as many as of others.
std::vector<double> NumbersBeside(Reader& reader, std::string_view key, std::string_view other,
                                  size_t count, double low = -kInfinity) {
  std::vector<double> numbers = NumbersOf(reader, key, low);
  if (numbers.size() != count) {
    reader.Fail(key, fmt::format("has {} numbers, and {} has {}", numbers.size(), other, count));
  }
  return numbers;
}

// Throws Error for a value that a logarithmic axis does not have.
void CheckDrawn(Reader& reader, std::string_view key, bool logarithmic, double value) {
  if (logarithmic && value <= 0) reader.Fail(key, fmt::format("{:g} is outside (0, inf)", value));
}

std::string LinesPicture(Reader& reader, std::vector<LineChart>& charts) {
  constexpr size_t kMostSeries = 24;
  LineChart chart{.title = TextOf(reader, "title"),
                  .x_label = TextOf(reader, "x_label"),
                  .y_label = TextOf(reader, "y_label"),
                  .log_x = reader.Bool("log_x").value_or(false),
                  .log_y = reader.Bool("log_y").value_or(false)};
  chart.x_ticks = reader.Numbers("x_ticks", -kInfinity, kInfinity).value_or(std::vector<double>());
  for (const double tick : chart.x_ticks) CheckDrawn(reader, "x_ticks", chart.log_x, tick);
  chart.y_least = reader.Number("y_least", -kInfinity, kInfinity);
  CheckDrawn(reader, "y_least", chart.log_y, chart.y_least.value_or(1));
  chart.y_most = reader.Number("y_most", chart.y_least.value_or(-kInfinity), kInfinity);
  CheckDrawn(reader, "y_most", chart.log_y, chart.y_most.value_or(1));
  for (Reader& table : TablesOf(reader, "series", kMostSeries)) {
    Series series{.label = TextOf(table, "label"), .x = NumbersOf(table, "x")};
    series.y = NumbersBeside(table, "y", "x", series.x.size());
    if (table.Has("error")) {
      series.error = NumbersBeside(table, "error", "x", series.x.size(), 0);
    }
    table.Finish();
    chart.series.push_back(std::move(series));
  }
  charts.push_back(std::move(chart));
  return PanelsSvg({charts.back()});
}

std::string IntervalsPicture(Reader& reader) {
  constexpr size_t kMostRows = 100;
  IntervalChart chart{.title = TextOf(reader, "title"), .x_label = TextOf(reader, "x_label")};
  for (Reader& table : TablesOf(reader, "rows", kMostRows)) {
    IntervalChart::Row row{.label = TextOf(table, "label")};
    const auto mean = table.Number("mean", -kInfinity, kInfinity);
    if (!mean) table.Fail("mean", "is missing");
    row.mean = *mean;
    row.error = table.Number("error", 0, kInfinity).value_or(0);
    row.values = table.Numbers("values", -kInfinity, kInfinity).value_or(std::vector<double>());
    table.Finish();
    chart.rows.push_back(std::move(row));
  }
  return IntervalsSvg(chart);
}

std::string TablePicture(Reader& reader) {
  constexpr size_t kMostNames = 100;
  TableChart chart{.title = TextOf(reader, "title"),
                   .x_label = TextOf(reader, "x_label"),
                   .y_label = TextOf(reader, "y_label"),
                   .columns = reader.Strings("columns").value_or(std::vector<std::string>()),
                   .z_least = reader.Number("z_least", -kInfinity, kInfinity)};
  const size_t columns = chart.columns.size();
  if (columns < 1 || columns > kMostNames) {
    reader.Fail("columns",
                fmt::format("has {} names, which is outside [1, {}]", columns, kMostNames));
  }
  for (Reader& table : TablesOf(reader, "rows", kMostNames)) {
    TableChart::Row row{.label = TextOf(table, "label"),
                        .values = NumbersBeside(table, "values", "columns", columns)};
    row.marked = table.Integers("marked", 0, static_cast<int64_t>(columns) - 1)
                     .value_or(std::vector<int64_t>());
    table.Finish();
    chart.rows.push_back(std::move(row));
  }
  return TableSvg(chart);
}

// A corner of a surface, the surface's own if it is not given.
Position CornerOf(Reader& reader, std::string_view key, Position own) {
  if (!reader.Has(key)) return own;
  const std::vector<double> corner = NumbersOf(reader, key);
  if (corner.size() != 2) reader.Fail(key, "must be two numbers, x and y");
  return {corner[0], corner[1]};
}

std::string SurfacePicture(Reader& reader) {
  std::vector<std::string> names;
  for (const Surface& surface : Surfaces()) names.emplace_back(surface.name);
  const auto name = reader.Choice("surface", names);
  if (!name) reader.Fail("surface", "is missing");
  const Surface& surface = FindSurface(*name);
  const Position low = CornerOf(reader, "low", surface.low);
  const Position high = CornerOf(reader, "high", surface.high);
  if (!(low.x < high.x && low.y < high.y)) {
    reader.Fail(
        "low", fmt::format("({:g}, {:g}) is not to the left of and below high, ({:g}, {:g})", low.x,
                           low.y, high.x, high.y));
  }
  ContourChart map = SurfaceMap(surface, low, high);
  if (reader.Has("title")) map.title = TextOf(reader, "title");
  for (Reader& table : TablesOf(reader, "dots", 3)) {
    ChartDots dots{.label = TextOf(table, "label"), .x = NumbersOf(table, "x")};
    dots.y = NumbersBeside(table, "y", "x", dots.x.size());
    table.Finish();
    map.dots.push_back(std::move(dots));
  }
  return ContourSvg(map);
}

// The picture of one chart. What is a chart of lines is kept as one, too.
std::string PictureOf(Reader& reader, std::vector<LineChart>& lines) {
  static const std::array<std::string, 4> kKinds = {"lines", "intervals", "table", "surface"};
  const std::string kind = reader.Choice("kind", kKinds).value_or("lines");
  std::string picture = kind == "lines"       ? LinesPicture(reader, lines)
                        : kind == "intervals" ? IntervalsPicture(reader)
                        : kind == "table"     ? TablePicture(reader)
                                              : SurfacePicture(reader);
  reader.Finish();
  return picture;
}

nlohmann::ordered_json Parsed(std::string_view text) {
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Error("is not JSON, or truncated");
  if (!json.is_object()) throw Error("must be an object with \"charts\"");
  return json;
}

}  // namespace

std::string PlotSvg(std::string_view text, const std::string& name) {
  constexpr size_t kMostCharts = 64, kMostText = size_t{1} << 22;
  constexpr int64_t kMostColumns = 8;
  if (text.size() > kMostText) {
    throw Error(
        fmt::format("{}: has {} bytes, which is outside [0, {}]", name, text.size(), kMostText));
  }
  toml::table table;
  try {
    table = TableOf(Parsed(text));
  } catch (const Error& e) {
    throw Error(name + ": " + e.what());
  }
  Reader reader(table, "", name);
  const int64_t columns = reader.Integer("columns", 1, kMostColumns).value_or(1);
  reader.String("note");
  std::vector<std::string> pictures;
  std::vector<LineChart> lines;
  for (Reader& chart : TablesOf(reader, "charts", kMostCharts)) {
    try {
      pictures.push_back(PictureOf(chart, lines));
    } catch (const Error& e) {
      const std::string what = e.what();
      throw Error(what.starts_with(name) ? what : name + ": " + what);
    }
  }
  reader.Finish();
  if (columns > 1 && lines.size() == pictures.size()) {
    return ChartsSvg(lines, static_cast<int>(columns));
  }
  return pictures.size() == 1 ? pictures.front()
                              : StackedSvg(pictures, static_cast<size_t>(columns));
}

void PlotFile(const std::filesystem::path& file, const std::filesystem::path& picture) {
  CheckChartFile(picture);
  WritePicture(PlotSvg(ReadTextFile(file), file.string()), picture);
}

}  // namespace kudari::lab
