#include "kudari/grad_scaler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kudari/error.h"
#include "kudari/error_kinds.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari {
namespace {

constexpr double kMostScale = std::numeric_limits<float>::max();
constexpr double kAbove1 = 1 + std::numeric_limits<double>::epsilon();
constexpr double kAbove0 = std::numeric_limits<double>::min();

double Rounded(double scale) { return static_cast<double>(static_cast<float>(scale)); }

void CheckScale(const std::string& name, double scale, double least) {
  CheckRange("GradScaler: " + name, scale, least, kMostScale);
}

GradScalerOptions Checked(GradScalerOptions o) {
  CheckRange("GradScaler: min_scale", o.min_scale, 0x1p-126, 0x1p126);
  CheckScale("init_scale", o.init_scale, o.min_scale);
  if (!(o.growth_factor >= kAbove1 && o.growth_factor < kInfinity)) {
    throw Error("GradScaler: growth_factor = " + NumberText(o.growth_factor) +
                " is outside (1, inf)");
  }
  if (!(o.backoff_factor >= kAbove0 && o.backoff_factor <= kBelow1)) {
    throw Error("GradScaler: backoff_factor = " + NumberText(o.backoff_factor) +
                " is outside (0, 1)");
  }
  if (o.growth_interval < 1) {
    throw Error("GradScaler: growth_interval = " + std::to_string(o.growth_interval) +
                " is outside [1, ...]");
  }
  o.min_scale = Rounded(o.min_scale);
  return o;
}

}  // namespace

GradScaler::GradScaler(const GradScalerOptions& options)
    : options_(Checked(options)), scale_(Rounded(options.init_scale)) {}

const GradScaler::Seen* GradScaler::Find(const Optimizer& optimizer) const {
  const auto at = std::find_if(seen_.begin(), seen_.end(),
                               [&](const Seen& s) { return s.optimizer == &optimizer; });
  if (at == seen_.end()) return nullptr;
  if (at->stepped) {
    throw WrongStateError("GradScaler: the optimiser has already been stepped; call Update first");
  }
  return &*at;
}

// There is room for it: the step has been taken.
Report GradScaler::Note(const Optimizer& optimizer, const Report& report) {
  std::erase_if(seen_, [&](const Seen& s) { return s.optimizer == &optimizer; });
  seen_.push_back({&optimizer, true, report.first_nonfinite});
  return report;
}

Report GradScaler::Step(Optimizer& optimizer) {
  seen_.reserve(seen_.size() + 1);
  const Seen* const unscaled = Find(optimizer);
  if (unscaled == nullptr) return Note(optimizer, optimizer.StepScaled(scale_));
  Report report{.skipped = true, .first_nonfinite = unscaled->first_nonfinite};
  if (unscaled->first_nonfinite.empty()) report = optimizer.StepScaled(1);
  report.loss_scale = scale_;
  return Note(optimizer, report);
}

Report GradScaler::Step(Optimizer& optimizer, const Oracle& oracle) {
  if (Find(optimizer) != nullptr) {
    throw WrongStateError(
        "GradScaler: the optimiser's gradients are unscaled; step without an oracle");
  }
  seen_.reserve(seen_.size() + 1);
  const Report report = optimizer.StepScaled(scale_, oracle);
  const bool no_data = report.skipped && report.first_nonfinite.empty();
  return no_data ? report : Note(optimizer, report);
}

void GradScaler::Unscaled(const Optimizer& optimizer, std::string_view first_nonfinite) {
  if (Find(optimizer) != nullptr) {
    throw WrongStateError(
        "GradScaler: the optimiser's gradients are already unscaled; call Step and Update");
  }
  seen_.push_back({&optimizer, false, first_nonfinite});
}

void GradScaler::Update() {
  if (seen_.empty()) {
    throw WrongStateError("GradScaler: Update without a step since the last one; call Step first");
  }
  const bool overflow = std::any_of(seen_.begin(), seen_.end(),
                                    [](const Seen& s) { return !s.first_nonfinite.empty(); });
  seen_.clear();
  if (!options_.dynamic) return;
  if (overflow) {
    scale_ = std::max(Rounded(scale_ * options_.backoff_factor), options_.min_scale);
    growth_tracker_ = 0;
  } else if (++growth_tracker_ == options_.growth_interval) {
    const double grown = Rounded(scale_ * options_.growth_factor);
    if (std::isfinite(grown)) scale_ = grown;
    growth_tracker_ = 0;
  }
}

StateTree GradScaler::State() const { return StateOf(*this); }

LoadReport GradScaler::LoadState(const StateTree& state, LoadMode mode) {
  return LoadInto(*this, state, mode);
}

void GradScaler::Visit(StateVisitor& visitor) {
  visitor.Value("scale", scale_, options_.min_scale, kMostScale);
  visitor.Value("growth_tracker", growth_tracker_, 0,
                options_.dynamic ? options_.growth_interval - 1 : 0);
  visitor.Then([this] {
    scale_ = Rounded(scale_);
    seen_.clear();
  });
}

}  // namespace kudari
