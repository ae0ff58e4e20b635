#include "kudari/controllers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kudari/error.h"
#include "kudari/registry.h"
#include "kudari/rule.h"

namespace kudari {
namespace {

void CheckCount(const std::string& where, int64_t count, int64_t low) {
  if (count >= low) return;
  throw Error(where + " = " + std::to_string(count) + " is less than " + std::to_string(low));
}

constexpr int64_t kMostCount = std::numeric_limits<int64_t>::max();

}  // namespace

void Improvement::Check() const { CheckRange("improvement: threshold", threshold, 0, kInfinity); }

bool Improvement::Better(double metric, const std::optional<double>& best) const {
  if (!best) return !std::isnan(metric);
  // Written as torch writes it, to the last bit, where the best is positive.
  const double sign = maximize ? 1 : -1;
  const double bound =
      relative ? *best * (1 + sign * std::copysign(threshold, *best)) : *best + sign * threshold;
  return maximize ? metric > bound : metric < bound;
}

ReduceOnPlateau::ReduceOnPlateau(double value, const ReduceOnPlateauOptions& options)
    : options_(options), value_(value) {
  CheckRange("plateau: factor", options.factor, 0, kBelow1);
  options.improvement.Check();
  CheckCount("plateau: patience", options.patience, 0);
  CheckCount("plateau: cooldown", options.cooldown, 0);
  CheckRange("plateau: lowest", options.lowest, -kMost<double>, kMost<double>);
  CheckRange("plateau: eps", options.eps, 0, kInfinity);
  CheckRange("plateau: value", value, -kMost<double>, kMost<double>);
}

double ReduceOnPlateau::Observe(double metric) {
  if (options_.improvement.Better(metric, best_)) {
    best_ = metric;
    bad_ = 0;
  } else {
    ++bad_;
  }
  if (cooldown_ > 0) {
    --cooldown_;
    bad_ = 0;
  }
  if (bad_ > options_.patience) {
    const double reduced = std::max(value_ * options_.factor, options_.lowest);
    if (value_ - reduced > options_.eps) value_ = reduced;
    cooldown_ = options_.cooldown;
    bad_ = 0;
  }
  return value_;
}

void ReduceOnPlateau::Visit(StateVisitor& visitor) {
  visitor.Value("value", value_, -kMost<double>, kMost<double>);
  visitor.Value("best", best_);
  visitor.Value("bad", bad_, 0, kMostCount);
  visitor.Value("cooldown", cooldown_, 0, kMostCount);
}

EarlyStopping::EarlyStopping(const EarlyStoppingOptions& options) : options_(options) {
  options.improvement.Check();
  CheckCount("early stopping: patience", options.patience, 1);
}

bool EarlyStopping::Observe(double metric) {
  if (options_.improvement.Better(metric, best_)) {
    best_ = metric;
    bad_ = 0;
  } else {
    ++bad_;
  }
  return bad_ >= options_.patience;
}

void EarlyStopping::Visit(StateVisitor& visitor) {
  visitor.Value("best", best_);
  visitor.Value("bad", bad_, 0, kMostCount);
}

}  // namespace kudari
