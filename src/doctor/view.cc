#include "doctor/view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "kudari/error.h"
#include "kudari/tensor.h"

namespace kudari::internal {

std::vector<double> RunningMedian(const std::vector<double>& y, size_t half) {
  std::vector<double> window, medians(y.size(), kNotMeasured);  // the window in order
  const auto place = [&](double x) { return std::lower_bound(window.begin(), window.end(), x); };
  for (size_t end = 0, i = 0; i < y.size(); ++i) {
    for (; end < std::min(y.size(), i + half + 1); ++end) {
      if (!std::isnan(y[end])) window.insert(place(y[end]), y[end]);
    }
    if (i > half && !std::isnan(y[i - half - 1])) window.erase(place(y[i - half - 1]));
    if (!window.empty()) medians[i] = window[window.size() / 2];
  }
  return medians;
}

double Quantile(std::vector<double> values, double p) {
  std::erase_if(values, [](double x) { return std::isnan(x); });
  if (values.empty()) return kNotMeasured;
  const auto at = values.begin() + std::lround(p * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

std::string Brief(double x) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", x);
  return text;
}

double Confidence(double value, double limit, double sure) {
  const double way = std::log(value / limit) / std::log(sure / limit);
  return std::isfinite(way) ? 0.5 + 0.5 * std::clamp(way, 0.0, 1.0) : 1;
}

bool IsWeight(const LayerLog& tensor) {
  // A log has no shapes: with this one the name decides whether it is a norm.
  const TensorClass c = Classify(tensor.name, {2, 1});
  return c != TensorClass::kBias && c != TensorClass::kNorm && tensor.weight > 0;
}

View::View(const RunLog& run_log) : log(run_log), size(run_log.steps.size()) {
  for (size_t i = 0; i < size; ++i) {
    const StepLog& s = log.steps[i];
    if (i > 0 && s.step <= log.steps[i - 1].step) {
      throw Error("steps: " + std::to_string(s.step) + " follows " +
                  std::to_string(log.steps[i - 1].step) + "; they must rise");
    }
    loss.push_back(std::isfinite(s.loss) ? s.loss : kNotMeasured);
    if (std::isfinite(s.lr)) peak_lr = std::max(peak_lr, s.lr);
  }
  if (size == 0) return;
  constexpr size_t kLeastWindow = 5, kPart = 20;
  const size_t half = std::max(kLeastWindow, size / kPart) / 2;
  smooth = RunningMedian(loss, half);
  // 1.48 makes a median distance a deviation; the error of a median is 1.25 times that of a mean.
  for (size_t i = 0; i < size; ++i) scatter.push_back(1.48 * std::abs(loss[i] - smooth[i]));
  scatter = RunningMedian(scatter, 2 * half);
  error = 1.25 / std::sqrt(static_cast<double>(2 * half + 1));
  initial = *std::find_if(loss.begin(), loss.end() - 1, [](double x) { return !std::isnan(x); });
  if (std::any_of(loss.begin(), loss.end(), [](double x) { return x <= 0; })) {
    initial = kNotMeasured;
  }
  last = Level(size - std::min(size, std::max<size_t>(3, size / 10)), size);
  over = log.planned_steps == 0 || Step(size - 1) >= log.planned_steps;
}

size_t View::Before(int64_t step) const {
  const auto end = std::upper_bound(log.steps.begin(), log.steps.end(), step,
                                    [](int64_t s, const StepLog& entry) { return s < entry.step; });
  return static_cast<size_t>(end - log.steps.begin());
}

bool View::RateKnown(size_t i) const { return peak_lr > 0 && std::isfinite(log.steps[i].lr); }

double View::Rate(size_t i) const { return RateKnown(i) ? log.steps[i].lr / peak_lr : 1; }

double View::Level(size_t begin, size_t end) const {
  return Median({loss.begin() + static_cast<std::ptrdiff_t>(begin),
                 loss.begin() + static_cast<std::ptrdiff_t>(end)});
}

std::vector<const LayersLog*> View::LayersAt(double least_rate) const {
  std::vector<const LayersLog*> layers;
  for (const LayersLog& l : log.layers) {
    const size_t count = Before(l.step);
    if (count > 0 && Rate(count - 1) >= least_rate) layers.push_back(&l);
  }
  if (layers.size() > 1 && layers.front() == log.layers.data()) layers.erase(layers.begin());
  return layers;
}

double View::UpdateRatio() const {
  constexpr double kRate = 0.3;
  std::vector<double> ratios;
  for (const LayersLog* l : LayersAt(kRate)) {
    for (const LayerLog& t : l->tensors) {
      if (IsWeight(t)) ratios.push_back(t.update / t.weight);
    }
  }
  return Median(std::move(ratios));
}

double View::EarlyPart() const {
  double sum = 0;
  for (size_t i = 0; i < size; ++i) sum += Rate(i);
  size_t quarter = 0;
  for (double spent = 0; spent < sum / 4; ++quarter) spent += Rate(quarter);
  return (initial - smooth[std::min(quarter, size - 1)]) / (initial - last);
}

}  // namespace kudari::internal
