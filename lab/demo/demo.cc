#include "lab/demo/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kudari/messages.h"
#include "kudari/range.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/demo/demos.h"
#include "lab/files/output_file.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<Demo>& AllDemos() {
  static const std::vector<Demo> all = {
      GradientDemo(),    LearningRateDemo(),      StoppingDemo(),     DescentKindsDemo(),
      MomentumDemo(),    AdagradDemo(),           DecayDemo(),        WarmupDemo(),
      ClippingDemo(),    ExplodingGradientDemo(), LookaheadDemo(),    AccumulationDemo(),
      LossScalingDemo(), RangeTestDemo(),         BatchScalingDemo(), PatternsDemo(),
      SamDemo(),         SharpMinimaDemo(),       LookSamDemo()};
  return all;
}

// The number of a text such as "lr=0.1", for a parameter by that name.
double ReadValue(const DemoParameter& parameter, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw UsageError(fmt::format("--set {} = {}: not a number", parameter.name, Quoted(text)));
  }
  AsUsage([&] { CheckRange("--set " + parameter.name, value, parameter.low, parameter.high); });
  if (parameter.whole && value != std::floor(value)) {
    throw UsageError(fmt::format("--set {} = {:g}: not an integer", parameter.name, value));
  }
  return value;
}

Json ChartJson(const LineChart& chart) {
  Json json = {{"title", chart.title},
               {"x_label", chart.x_label},
               {"y_label", chart.y_label},
               {"series", Json::array()},
               {"marks", Json::array()}};
  for (const Series& s : chart.series) {
    json["series"].push_back({{"label", s.label}, {"x", s.x}, {"y", s.y}});
  }
  for (const Mark& m : chart.marks) {
    json["marks"].push_back({{"label", m.label}, {"from", m.from}, {"to", m.to}});
  }
  return json;
}

Json ResultJson(const Demo& demo, const DemoSettings& settings, const DemoResult& result) {
  Json json = {{"demonstration", demo.name},   {"summary", demo.summary},
               {"source", demo.source},        {"seed", settings.seed()},
               {"parameters", Json::object()}, {"numbers", result.numbers},
               {"charts", Json::array()},      {"next", result.next}};
  for (const DemoParameter& p : demo.parameters) json["parameters"][p.name] = settings(p.name);
  for (const LineChart& chart : result.charts) json["charts"].push_back(ChartJson(chart));
  return json;
}

std::string ParametersText(const Demo& demo, const DemoSettings& settings) {
  std::vector<std::vector<std::string>> rows;
  for (const DemoParameter& p : demo.parameters) {
    rows.push_back({"  " + p.name, fmt::format("{:g}", settings(p.name)),
                    RangeText(p.low, p.high) + (p.whole ? ", whole" : ""), p.doc});
  }
  return rows.empty() ? "" : "\nto change by --set NAME=VALUE\n" + TextTable(rows);
}

}  // namespace

DemoSettings::DemoSettings(std::span<const DemoParameter> parameters,
                           std::span<const std::string> sets, int64_t seed)
    : parameters_(parameters.begin(), parameters.end()), seed_(seed) {
  if (seed < 0) throw UsageError(fmt::format("--seed = {} is outside [0, ...]", seed));
  std::vector<std::string> names;
  for (const DemoParameter& p : parameters_) names.push_back(p.name);
  for (const std::string& set : sets) {
    const size_t equals = set.find('=');
    if (equals == std::string::npos) {
      throw UsageError("--set " + Quoted(set) + " must be NAME=VALUE");
    }
    const std::string name = set.substr(0, equals);
    const auto at = std::ranges::find(names, name);
    if (at == names.end()) {
      throw UsageError("--set: unknown parameter " + Quoted(name) + Suggest(name, names));
    }
    DemoParameter& parameter = parameters_[static_cast<size_t>(at - names.begin())];
    parameter.value = ReadValue(parameter, std::string_view(set).substr(equals + 1));
  }
}

double DemoSettings::operator()(std::string_view name) const {
  for (const DemoParameter& p : parameters_) {
    if (p.name == name) return p.value;
  }
  throw Error("a demonstration has no parameter " + Quoted(name));
}

int64_t DemoSettings::Whole(std::string_view name) const {
  return static_cast<int64_t>((*this)(name));
}

std::span<const Demo> Demos() { return AllDemos(); }

const Demo& FindDemo(std::string_view name) {
  std::vector<std::string> names;
  for (const Demo& demo : AllDemos()) {
    if (demo.name == name) return demo;
    names.emplace_back(demo.name);
  }
  throw UsageError("unknown demonstration " + Quoted(name) + Suggest(name, names));
}

void ShowDemo(const DemoOptions& options, std::FILE* console) {
  const Demo& demo = FindDemo(options.name);
  const DemoSettings settings(demo.parameters, options.sets, options.seed);
  if (!options.svg.empty()) CheckChartFile(options.svg);
  const DemoResult result = demo.run(settings);
  std::string text = fmt::format("{} ({})\n\n{}{}\ntry next\n", demo.summary, demo.source,
                                 result.text, ParametersText(demo, settings));
  for (const std::string& command : result.next) text += "  " + command + "\n";
  std::fputs(text.c_str(), console);
  if (!options.svg.empty()) WritePicture(result.svg, options.svg);
  if (!options.json.empty()) {
    WriteOutput(options.json, JsonText(ResultJson(demo, settings, result), 1) + "\n");
  }
}

void ListDemos(std::FILE* console) {
  std::string text;
  for (const Demo& demo : AllDemos()) {
    text += fmt::format("{} ({})\n{}", demo.name, demo.source, Wrapped(demo.summary, 4));
  }
  std::fputs((text + "\nkudari demo gradient --svg gradient.svg shows one.\n").c_str(), console);
}

}  // namespace kudari::lab
