#include "doctor/view.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numbers>
#include <utility>

#include "kudari/error.h"
#include "kudari/tensor.h"

namespace kudari::internal {
namespace {

// Some of a list of values in order: each operation takes as many steps as its size has bits. It is
// a Fenwick tree, whose entry k counts those of as many values up to the k-th as the lowest bit of
// k says.
class Chosen {
 public:
  // NaNs are left out.
  explicit Chosen(std::vector<double> values) : values_(std::move(values)) {
    std::erase_if(values_, [](double x) { return std::isnan(x); });
    std::sort(values_.begin(), values_.end());
    values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
    counts_.resize(values_.size() + 1);
  }

  size_t size() const { return size_; }
  void Add(double x) {
    Change(x, 1);
    ++size_;
  }
  void Remove(double x) {
    Change(x, -1);
    --size_;
  }

  // The value before which `rank` of those chosen are; there must be more.
  double At(size_t rank) const {
    size_t below = 0;  // values that are passed
    for (size_t step = std::bit_floor(values_.size()); step > 0; step /= 2) {
      if (below + step >= counts_.size() || counts_[below + step] > rank) continue;
      below += step;
      rank -= counts_[below];
    }
    return values_[below];
  }

 private:
  void Change(double x, int by) {
    const auto at = std::lower_bound(values_.begin(), values_.end(), x) - values_.begin();
    for (size_t k = static_cast<size_t>(at) + 1; k < counts_.size(); k += k & (~k + 1)) {
      counts_[k] += static_cast<size_t>(by);
    }
  }

  std::vector<double> values_;
  std::vector<size_t> counts_;
  size_t size_ = 0;
};

// How far values have gone down by the straight line through them, as a share of their mean.
Slope Fall(const std::vector<double>& y) {
  double n = 0, mean = 0, middle = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(y[i])) continue;
    ++n;
    mean += y[i];
    middle += static_cast<double>(i);
  }
  if (n < 3) return {0, kNotMeasured};
  mean /= n;
  middle /= n;
  double products = 0, squares = 0, residuals = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(y[i])) continue;
    const double x = static_cast<double>(i) - middle;
    products += x * (y[i] - mean);
    squares += x * x;
  }
  const double slope = products / squares;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(y[i])) continue;
    const double r = y[i] - mean - slope * (static_cast<double>(i) - middle);
    residuals += r * r;
  }
  const double length = static_cast<double>(y.size()) / std::abs(mean);
  return {-slope * length, length * std::sqrt(residuals / (n - 2) / squares)};
}

}  // namespace

std::vector<double> RunningMedian(const std::vector<double>& y, size_t half) {
  Chosen window(y);
  std::vector<double> medians(y.size(), kNotMeasured);
  for (size_t end = 0, i = 0; i < y.size(); ++i) {
    for (; end < std::min(y.size(), i + half + 1); ++end) {
      if (!std::isnan(y[end])) window.Add(y[end]);
    }
    if (i > half && !std::isnan(y[i - half - 1])) window.Remove(y[i - half - 1]);
    if (window.size() > 0) medians[i] = window.At(window.size() / 2);
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

View::View(const RunLog& run_log, bool losses_of_validation)
    : log(run_log), size(run_log.steps.size()), of_validation(losses_of_validation) {
  std::vector<double> rates;
  for (const StepLog& s : log.steps) {
    loss.push_back(std::isfinite(s.loss) ? s.loss : kNotMeasured);
    if (std::isfinite(s.lr)) rates.push_back(s.lr);
  }
  if (size == 0) return;
  // Some programs log a much higher rate for a moment, that of a bias in its warm-up.
  if (!rates.empty()) peak_lr = Quantile(std::move(rates), 0.95);
  for (size_t i = 0; i < size; ++i) {
    const double rate = RateKnown(i) ? Rate(i) : 0;
    highest_rates_.push_back(i == 0 ? rate : std::max(rate, highest_rates_.back()));
  }
  constexpr size_t kLeastWindow = 5, kPart = 20;
  const size_t half = std::max(kLeastWindow, size / kPart) / 2;
  smooth = RunningMedian(loss, half);
  // 1.48 makes a median distance a deviation; the error of a median is 1.25 times that of a mean.
  for (size_t i = 0; i < size; ++i) scatter.push_back(1.48 * std::abs(loss[i] - smooth[i]));
  scatter = RunningMedian(scatter, 2 * half);
  error = 1.25 / std::sqrt(static_cast<double>(2 * half + 1));
  const auto finite = [](double x) { return !std::isnan(x); };
  first = *std::find_if(loss.begin(), loss.end() - 1, finite);
  constexpr size_t kFirst = 5;
  constexpr double kFarOff = 3;
  initial = std::min(first, kFarOff * Level(0, std::min(size, kFirst)));
  last = Level(size - std::min(size, std::max<size_t>(3, size / 10)), size);
  lowest = kNotMeasured;
  for (size_t i = 0; i < size; ++i) {
    if (std::isnan(smooth[i]) || smooth[i] >= lowest) continue;
    lowest = smooth[i];
    lowest_at = i;
  }
  // A log that has every hundredth step may end before the last.
  const int64_t spacing = size > 1 ? Step(size - 1) - Step(size - 2) : 0;
  over = log.planned_steps == 0 || Step(size - 1) + spacing > log.planned_steps;
  constexpr int64_t kLate = 20;
  begins_late = size > 1 && Step(0) > kLate * (Step(1) - Step(0));
}

size_t View::Before(int64_t step) const {
  const auto end = std::upper_bound(log.steps.begin(), log.steps.end(), step,
                                    [](int64_t s, const StepLog& entry) { return s < entry.step; });
  return static_cast<size_t>(end - log.steps.begin());
}

bool View::RateKnown(size_t i) const { return peak_lr > 0 && std::isfinite(log.steps[i].lr); }

double View::Rate(size_t i) const {
  return RateKnown(i) ? std::min(1.0, log.steps[i].lr / peak_lr) : 1;
}

bool View::RateRoseAgain(size_t earlier, size_t later) const {
  constexpr double kRose = 1.2, kSame = 0.95;
  return RateKnown(earlier) && RateKnown(later) && Rate(later) > kRose * Rate(earlier) &&
         highest_rates_[earlier] >= kSame * Rate(later);
}

bool View::EndsAtRate(double least, double most) const {
  return RateKnown(size - 1) && Rate(size - 1) >= least && Rate(size - 1) <= most;
}

Slope View::FallIn(size_t begin, size_t end) const {
  return Fall({loss.begin() + static_cast<std::ptrdiff_t>(begin),
               loss.begin() + static_cast<std::ptrdiff_t>(end)});
}

Slope View::ValidationFall(size_t after) const {
  constexpr size_t kLeast = 4;
  std::vector<double> losses;
  for (const EvaluationLog& e : log.evaluations) {
    if (e.step > Step(after) && std::isfinite(e.loss)) losses.push_back(e.loss);
  }
  return losses.size() < kLeast ? Slope{kNotMeasured, kNotMeasured} : Fall(losses);
}

bool View::Exceeds(size_t high, size_t low) const {
  const size_t half = std::max<size_t>(3, size / 10) / 2;
  const auto around = [&](size_t at, double p) {
    const size_t begin = at - std::min(at, half), end = std::min(size, at + half + 1);
    return Quantile({loss.begin() + static_cast<std::ptrdiff_t>(begin),
                     loss.begin() + static_cast<std::ptrdiff_t>(end)},
                    p);
  };
  return around(high, 0.25) > around(low, 0.75);
}

double View::Roughness(size_t begin, size_t end) const {
  std::vector<double> differences;
  for (size_t i = std::max<size_t>(begin, 1); i < end; ++i) {
    differences.push_back(std::abs(loss[i] - loss[i - 1]));
  }
  return 1.48 * Median(std::move(differences)) / std::numbers::sqrt2;
}

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

double View::EarlyPart(double start) const {
  double sum = 0;
  for (size_t i = 0; i < size; ++i) sum += Rate(i);
  size_t quarter = 0;
  for (double spent = 0; spent < sum / 4; ++quarter) spent += Rate(quarter);
  return (start - smooth[std::min(quarter, size - 1)]) / (start - last);
}

}  // namespace kudari::internal
