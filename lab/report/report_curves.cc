#include "lab/report/report_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lab/logs/run_log_fields.h"
#include "lab/recipe/score.h"
#include "lab/report/downsample.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// Losses and norms are float32's.
double Rounded(double x, int digits = 7) {
  return std::isfinite(x) ? std::strtod(fmt::format("{:.{}g}", x, digits).c_str(), nullptr) : x;
}

bool IsHigherBetter(std::string_view plain) {
  return std::ranges::any_of(
      kMetrics, [plain](const Metric& m) { return m.higher_is_better && plain.ends_with(m.name); });
}

bool IsEvaluation(std::string_view plain) {
  return plain.starts_with("val") || plain.starts_with("eval") || plain.starts_with("dev");
}

// What people look at first comes first.
int RankOf(const std::string& name) {
  constexpr std::array kFirst = {"loss",      "val_loss",    "val_accuracy", "lr",
                                 "grad_norm", "update_norm", "weight_norm"};
  constexpr int kOther = 100;
  const auto* const found = std::ranges::find(kFirst, name);
  if (found != kFirst.end()) return 10 * static_cast<int>(found - kFirst.begin());
  const std::string plain = PlainName(name);
  if (IsEvaluation(plain)) return 25;
  if (plain.find("momentum") != std::string::npos) return 35;
  return plain.starts_with("test") ? kOther + 1 : kOther;
}

std::string TitleOf(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kTitles = {
      {{"loss", "Training loss"},
       {"lr", "Learning rate"},
       {"grad_norm", "Gradient norm"},
       {"micro_grad_norm", "Gradient norm of the first micro-batch"},
       {"loss_scale", "Loss scale"},
       {"lost", "Share of weights that rounding left unchanged"},
       {"update_norm", "Update norm"},
       {"weight_norm", "Weight norm"}}};
  for (const auto& [key, title] : kTitles) {
    if (key == name) return std::string(title);
  }
  for (const Metric& metric : kMetrics) {
    std::string words(metric.name);
    std::ranges::replace(words, '_', ' ');
    if (name == fmt::format("val_{}", metric.name)) return "Validation " + words;
    if (name == fmt::format("test_{}", metric.name)) return "Test " + words;
  }
  return name;
}

bool IsNorm(const std::string& name) { return PlainName(name).find("norm") != std::string::npos; }

Json PointJson(const LogPoint& p) { return {{"step", p.step}, {"value", Rounded(p.value)}}; }

void AddPoints(Json& json, std::span<const LogPoint> points, const std::string& prefix) {
  Json steps = Json::array(), values = Json::array();
  for (const LogPoint& p : points) {
    steps.push_back(p.step);
    values.push_back(Rounded(p.value));
  }
  json[prefix + "steps"] = std::move(steps);
  json[prefix + "values"] = std::move(values);
}

Json CurveJson(const LogCurve& curve, size_t points) {
  const LogPoint *low = nullptr, *high = nullptr;
  size_t not_finite = 0;
  for (const LogPoint& p : curve.points) {
    if (!std::isfinite(p.value)) {
      ++not_finite;
      continue;
    }
    if (low == nullptr || p.value < low->value) low = &p;
    if (high == nullptr || p.value > high->value) high = &p;
  }
  Json json = {{"name", curve.name},
               {"title", TitleOf(curve.name)},
               {"higher", IsHigherBetter(PlainName(curve.name))},
               {"log", IsNorm(curve.name)},
               {"count", curve.points.size()},
               {"not_finite", not_finite},
               {"first", PointJson(curve.points.front())},
               {"last", PointJson(curve.points.back())},
               {"low", low != nullptr ? PointJson(*low) : Json()},
               {"high", high != nullptr ? PointJson(*high) : Json()}};
  const SampledCurve sampled = Downsample(curve.points, points);
  AddPoints(json, sampled.points, "");
  if (!sampled.means.empty()) AddPoints(json, sampled.means, "mean_");
  return json;
}

// Norms over all tensors.
LogCurve WholeNorm(std::span<const LayersLog> layers, std::string name, double LayerLog::*norm) {
  LogCurve curve{.name = std::move(name)};
  for (const LayersLog& l : layers) {
    double sum = 0;
    for (const LayerLog& t : l.tensors) {
      if (!std::isnan(t.*norm)) sum += t.*norm * t.*norm;
    }
    while (!curve.points.empty() && curve.points.back().step >= l.step) curve.points.pop_back();
    curve.points.push_back({.step = l.step, .value = std::sqrt(sum)});
  }
  return curve;
}

constexpr std::array kTimeNames = {"seconds",      "elapsed",      "time",      "time_elapsed",
                                   "elapsed_time", "time_total_s", "wall_time", "total_time"};

bool IsTime(const LogCurve& curve) {
  const auto falls = [](const LogPoint& a, const LogPoint& b) { return !(a.value <= b.value); };
  return std::ranges::find(kTimeNames, PlainName(curve.name)) != kTimeNames.end() &&
         std::ranges::adjacent_find(curve.points, falls) == curve.points.end();
}

// The name of the field that a column is read as, or its own.
std::string FieldOr(const LogReading& reading, const std::string& column) {
  for (const auto& [field, name] : reading.columns) {
    if (name == column) return field;
  }
  return column;
}

bool IsConstant(const LogCurve& curve) {
  return curve.points.size() > 1 && std::ranges::all_of(curve.points, [&](const LogPoint& p) {
           return p.value == curve.points.front().value;
         });
}

// What is not drawn: axes, and what never changes, of which only a schedule is of interest.
bool IsDrawn(const LogCurve& curve) {
  const std::string plain = PlainName(curve.name);
  if (curve.name == "epoch" || IsTime(curve)) return false;
  return curve.name == "lr" || plain.find("momentum") != std::string::npos || !IsConstant(curve);
}

// With the names of fields.
std::vector<LogCurve> NamedCurves(const LogReading& reading) {
  std::vector<LogCurve> curves = reading.curves;
  for (LogCurve& curve : curves) curve.name = FieldOr(reading, curve.name);
  if (!reading.log.layers.empty()) {
    curves.push_back(WholeNorm(reading.log.layers, "update_norm", &LayerLog::update));
    curves.push_back(WholeNorm(reading.log.layers, "weight_norm", &LayerLog::weight));
  }
  return curves;
}

// A rising curve by few points.
Json AxisJson(const LogCurve& curve) {
  constexpr size_t kPoints = 400;
  Json json = Json::object();
  AddPoints(json, Downsample(curve.points, kPoints).points, "");
  return json;
}

void KeepHighest(Json& row, size_t at, double value) {
  if (std::isnan(value)) return;
  if (row[at].is_null() || row[at].get<double>() < value) row[at] = Rounded(value, 4);
}

}  // namespace

Json CurvesJson(const LogReading& reading, size_t points) {
  constexpr size_t kLeastPoints = 50, kMostPoints = 3000;
  std::vector<LogCurve> curves = NamedCurves(reading);
  std::erase_if(curves, [](const LogCurve& c) { return !IsDrawn(c); });
  std::ranges::stable_sort(curves, {}, [](const LogCurve& c) { return RankOf(c.name); });
  if (curves.size() > kMostCurves) curves.resize(kMostCurves);
  Json json = Json::array();
  for (const LogCurve& curve : curves) {
    json.push_back(CurveJson(curve, std::clamp(points / curves.size(), kLeastPoints, kMostPoints)));
  }
  return json;
}

Json ConstantsJson(const LogReading& reading) {
  Json json = Json::object();
  for (const LogCurve& curve : NamedCurves(reading)) {
    if (IsConstant(curve) && !IsDrawn(curve) && curve.name != "epoch" && !IsTime(curve) &&
        json.size() < kMostCurves) {
      json[curve.name] = curve.points.front().value;
    }
  }
  return json;
}

Json AxesJson(const LogReading& reading) {
  Json json = Json::object();
  const int64_t last = reading.log.steps.back().step;
  if (const int64_t length = reading.log.steps_per_epoch; length > 0) {
    json["epoch"] = {{"steps", {0, last}},
                     {"values", {0, static_cast<double>(last) / static_cast<double>(length)}}};
  }
  for (const LogCurve& curve : reading.curves) {
    if (IsTime(curve) && !json.contains("seconds")) json["seconds"] = AxisJson(curve);
    if (curve.name != "gradients") continue;
    LogCurve total = curve;
    for (size_t i = 1; i < total.points.size(); ++i) {
      total.points[i].value += total.points[i - 1].value;
    }
    json["gradients"] = AxisJson(total);
  }
  return json;
}

Json LayersJson(std::span<const LayersLog> layers, size_t numbers) {
  constexpr size_t kLeastSteps = 10, kMostSteps = 150, kRows = 3;
  if (layers.empty()) return {};
  Json json = {{"names", Json::array()}, {"steps", Json::array()}};
  std::vector<std::string> names;
  for (const LayerLog& t : layers.back().tensors) names.push_back(t.name);
  json["names"] = names;
  const size_t room = numbers / (kRows * std::max<size_t>(1, names.size()));
  const size_t columns = std::min(layers.size(), std::clamp(room, kLeastSteps, kMostSteps));
  for (size_t i = 0; i < columns; ++i)
    json["steps"].push_back(layers[i * layers.size() / columns].step);
  const Json empty(std::vector<Json>(names.size(), Json(std::vector<Json>(columns))));
  for (const char* const row : {"grad", "update", "ratio"}) json[row] = empty;
  for (size_t i = 0; i < columns; ++i) {
    const size_t begin = i * layers.size() / columns, end = (i + 1) * layers.size() / columns;
    for (const LayersLog& l : layers.subspan(begin, end - begin)) {
      if (l.tensors.size() != names.size()) continue;
      for (size_t k = 0; k < names.size(); ++k) {
        const LayerLog& t = l.tensors[k];
        KeepHighest(json["grad"][k], i, t.grad);
        KeepHighest(json["update"][k], i, t.update);
        if (t.weight > 0) KeepHighest(json["ratio"][k], i, t.update / t.weight);
      }
    }
  }
  return json;
}

}  // namespace kudari::lab
