#include "kudari/controllers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kudari/error.h"
#include "kudari/registry.h"

namespace kudari {
namespace {

constexpr double kMost = std::numeric_limits<double>::max();

void CheckCount(const std::string& where, int64_t count, int64_t low) {
  if (count >= low) return;
  throw Error(where + " = " + std::to_string(count) + " is less than " + std::to_string(low));
}

void CheckBest(const std::string& where, const std::optional<double>& best) {
  if (best && std::isnan(*best)) throw Error(where + ": best is not a number");
}

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
    : options_(options) {
  CheckRange("plateau: factor", options.factor, 0, kBelow1);
  options.improvement.Check();
  CheckCount("plateau: patience", options.patience, 0);
  CheckCount("plateau: cooldown", options.cooldown, 0);
  CheckRange("plateau: lowest", options.lowest, -kMost, kMost);
  CheckRange("plateau: eps", options.eps, 0, kInfinity);
  LoadState({.value = value});
}

double ReduceOnPlateau::Observe(double metric) {
  ReduceOnPlateauState& s = state_;
  if (options_.improvement.Better(metric, s.best)) {
    s.best = metric;
    s.bad = 0;
  } else {
    ++s.bad;
  }
  if (s.cooldown > 0) {
    --s.cooldown;
    s.bad = 0;
  }
  if (s.bad > options_.patience) {
    const double reduced = std::max(s.value * options_.factor, options_.lowest);
    if (s.value - reduced > options_.eps) s.value = reduced;
    s.cooldown = options_.cooldown;
    s.bad = 0;
  }
  return s.value;
}

void ReduceOnPlateau::LoadState(const ReduceOnPlateauState& state) {
  CheckRange("plateau: value", state.value, -kMost, kMost);
  CheckBest("plateau", state.best);
  CheckCount("plateau: bad", state.bad, 0);
  CheckCount("plateau: remaining cooldown", state.cooldown, 0);
  state_ = state;
}

EarlyStopping::EarlyStopping(const EarlyStoppingOptions& options) : options_(options) {
  options.improvement.Check();
  CheckCount("early stopping: patience", options.patience, 1);
}

bool EarlyStopping::Observe(double metric) {
  if (options_.improvement.Better(metric, state_.best)) {
    state_ = {.best = metric, .bad = 0};
  } else {
    ++state_.bad;
  }
  return state_.bad >= options_.patience;
}

void EarlyStopping::LoadState(const EarlyStoppingState& state) {
  CheckBest("early stopping", state.best);
  CheckCount("early stopping: bad", state.bad, 0);
  state_ = state;
}

}  // namespace kudari
