// A step of the optimiser: what is decided, and when which pass is made.
#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/float_environment.h"
#include "kudari/error.h"
#include "kudari/error_kinds.h"
#include "optimizer/impl.h"

namespace kudari {

using internal::Cohort;
using internal::Format;
using internal::Piece;
using internal::TensorRecord;
using internal::Work;

/// Evaluates the schedules; changes nothing else, so that a throw loses nothing.
void Optimizer::Impl::SetValues(Cohort& cohort) const {
  cohort.ages.clear();
  cohort.formed = false;
  if (cohort.constant || cohort.users == 0) return;
  const auto value_of = [this](const Schedule& s, std::string_view rule, std::string_view name,
                               double low, double high) {
    const double value = s(step_count);
    if (!(low <= value && value <= high)) {
      CheckRange(std::string(rule).append(rule.empty() ? "" : ": ").append(name) + " = " +
                     s.Text() + " at step " + std::to_string(step_count),
                 value, low, high);
    }
    return value;
  };
  for (size_t i = 0; i < cohort.schedules.size(); ++i) {
    const RuleEntry::Option& o = cohort.rule.options[i];
    const double value = value_of(cohort.schedules[i], cohort.rule.name, o.name, o.low, o.high);
    if (const double scaled = cohort.Scaled(i, value); scaled == kInfinity) {
      CheckRange(cohort.rule.name + ": " + o.name + " = " + cohort.schedules[i].Text() +
                     " times its lr_scale at step " + std::to_string(step_count),
                 scaled, o.low, o.high);
    }
    cohort.SetValue(i, value);
  }
  cohort.l1_now = value_of(cohort.l1, "", "l1", 0, kInfinity);
  cohort.l2_now = value_of(cohort.l2, "", "l2", 0, kInfinity);
}

Optimizer::Impl::Clips Optimizer::Impl::ClipsNow() const {
  const auto at_step = [this](const Schedule& schedule, std::string_view name) {
    const double value = schedule(step_count);
    if (!(value >= 0)) {
      CheckRange(std::string(name) + " at step " + std::to_string(step_count), value, 0, kInfinity);
    }
    return value;
  };
  return {.value = spec.clip_value ? at_step(*spec.clip_value, "clip_value") : kInfinity,
          .unit = spec.agc ? at_step(spec.agc->clip, "agc.clip") : kInfinity};
}

/// Whether a tensor that is frozen in this step would have had a gradient.
bool Optimizer::Impl::HasFrozenGradient() const {
  for (size_t i = 0; freezes && i < tensor_list.size(); ++i) {
    if (tensor_list[i].grad != nullptr && Frozen(i, step_count)) return true;
  }
  return false;
}

double Optimizer::Impl::SumSquares() {
  DivideBlocks();
  backend_->SumSquares(View(), blocks, partial_sums);
  const std::vector<double>* sums = &partial_sums;
  if (sum_over_processes != nullptr) {
    std::ranges::fill(all_sums, 0.0);
    size_t block = 0, before = 0, tensor = 0;  // blocks of active tensors, of all, and whose
    for (const Piece& piece : blocks.pieces) {
      for (; tensor < piece.tensor; ++tensor) before += internal::BlocksOf(records[tensor].size);
      all_sums[before + static_cast<size_t>(piece.begin / internal::kBlock)] =
          partial_sums[block++];
    }
    sum_over_processes(all_sums);
    sums = &all_sums;
  }
  double sum = 0;
  for (const double s : *sums) sum += s;
  return sum;
}

/// The name of the first tensor of which a sum is not finite.
std::string_view Optimizer::Impl::FirstNonFinite() const {
  if (sum_over_processes == nullptr) {
    for (size_t i = 0; i < blocks.pieces.size(); ++i) {
      if (!std::isfinite(partial_sums[i])) return tensor_list[blocks.pieces[i].tensor].name;
    }
    return {};
  }
  size_t block = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    for (size_t k = 0; k < internal::BlocksOf(records[i].size); ++k) {
      if (!std::isfinite(all_sums[block++])) return tensor_list[i].name;
    }
  }
  return {};
}

void Optimizer::Impl::SetOwnership(const std::vector<bool>& owned,
                                   std::function<void(std::span<double>)> sum) {
  CheckBetweenSteps("SetOwnership");
  if (owned.size() != records.size()) {
    throw Error("SetOwnership: " + std::to_string(owned.size()) + " flags for " +
                std::to_string(records.size()) + " tensors");
  }
  if (sum == nullptr) throw Error("SetOwnership: sum is empty");
  if (spec.source == "nesterov_lookahead") {
    throw Error(
        "SetOwnership: source = \"nesterov_lookahead\" moves all weights by their momenta, and "
        "only the owner of a tensor has its momentum");
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].has_state) continue;
    throw Error("SetOwnership: tensor \"" + tensor_list[i].name +
                "\" already has state; set its owner before the first step");
  }
  for (size_t i = 0; i < records.size(); ++i) records[i].owned = owned[i];
  sum_over_processes = std::move(sum);
  divided = false;  // other tensors are active
  blocks.Clear();
}

/// The coefficients of the second pass of tensors whose first pass is done in pieces.
void Optimizer::Impl::AdaptLarge() {
  for (size_t i = 0; i < first.pieces.size();) {
    const size_t tensor = first.pieces[i].tensor;
    TensorRecord& s = records[tensor];
    const Cohort& c = cohorts[s.cohort];
    double sums[RuleEntry::kMostNorms] = {};
    for (; i < first.pieces.size() && first.pieces[i].tensor == tensor; ++i) {
      for (size_t k = 0; k < c.rule.norms; ++k) sums[k] += measured[i * RuleEntry::kMostNorms + k];
    }
    if (c.rule.norms > 0 && s.size > internal::kLargestPiece) internal::Adapt(c, s, sums);
  }
}

/// The last that can fail before a step: after it nothing is allocated.
void Optimizer::Impl::PrepareUpdate() {
  StartAveragers();
  for (const size_t i : active) {
    const TensorRecord& s = records[i];
    Cohort& c = cohorts[s.cohort];
    if (c.rule.whole == nullptr) c.AddAge(s.step + 1, s.Memory());
  }
  for (Cohort& c : cohorts) c.FormCoeffs();
}

/// Updates the active tensors with the gradient times report.factor. It must not fail.
void Optimizer::Impl::Update(Report& report, const Clips& clips) {
  for (const size_t i : active) {
    TensorRecord& s = records[i];
    ++s.step;
    if (spec.precision.check)
      s.extra->numerics = {.tensor = tensor_list[i].name, .elements = s.size};
    if (spec.precision.rounding == Rounding::kStochastic) SetKeys(i);
  }
  for (Cohort& c : cohorts) c.SetForm(report.factor, clips.value);
  const internal::StepView view = View();
  if (!by_unit.empty()) {
    backend_->FormUnits(view, by_unit,
                        {.factor = report.factor,
                         .clip_value = clips.value,
                         .clip_unit = clips.unit,
                         .eps = spec.agc ? spec.agc->eps : 0});
  }
  if (!first.pieces.empty()) backend_->FirstPass(view, first, measured);
  if (!second.pieces.empty()) {
    AdaptLarge();
    backend_->SecondPass(view, second);
  }
  if (!rows.pieces.empty()) backend_->UpdateRows(view, rows);
  if (!one_by_one.empty()) backend_->StepOneByOne(view, one_by_one, scratch);
  if (!side_by_side.empty()) backend_->StepSideBySide(view, side_by_side, scratch);
  for (const size_t i : remembering) {
    TensorRecord& s = records[i];
    s.extra->memory = cohorts[s.cohort].Find(s.step, s.extra->memory).after;
  }
  // There is room for both.
  numerics.clear();
  if (spec.precision.check) {
    for (const size_t i : active) numerics.push_back(records[i].extra->numerics);
  }
  trust.clear();
  for (const size_t i : trusting) {
    const TrustRatio& ratio = records[i].extra->trust;
    trust.push_back({tensor_list[i].name, ratio.ratio, ratio.pinned});
  }
  report.numerics = numerics;
  report.trust = trust;
  report.bytes_read += traffic.read + row_traffic.read;
  report.bytes_written += traffic.written + row_traffic.written;
}

/// With a loss scale, overflow is expected and skips the step, whatever the policy.
Report Optimizer::Impl::Apply(const Gradient& gradient, std::optional<double> loss_scale) {
  const internal::FloatEnvironment environment;
  const double scale = loss_scale.value_or(1), unscale = gradient.factor / scale;
  const NonFinite policy = loss_scale ? NonFinite::kSkip : spec.nonfinite;
  Report report{.loss = gradient.loss, .factor = unscale, .loss_scale = scale};
  for (Cohort& c : cohorts) SetValues(c);
  const Clips clips = ClipsNow();
  BindGradients(gradient.data);
  if (active.empty() && !tensor_list.empty() && sum_over_processes == nullptr &&
      !HasFrozenGradient()) {
    throw WrongStateError("Step: no tensor has a gradient; call backward first");
  }

  if (!scales.empty() || spec.measure_norm || policy != NonFinite::kPropagate) {
    const double sum = SumSquares();
    report.bytes_read += gradient_bytes + row_bytes;
    report.grad_norm = std::sqrt(sum) * std::abs(unscale);
    if (!std::isfinite(sum)) {
      report.first_nonfinite = FirstNonFinite();
      if (policy == NonFinite::kError) {
        throw NonFiniteError("the gradient of \"" + std::string(report.first_nonfinite) +
                             "\" is not finite");
      }
      if (policy == NonFinite::kSkip) {
        report.skipped = true;
        return report;
      }
    }
    double norm = report.grad_norm;
    for (const auto& scale : scales) {
      const double factor = scale->Factor(norm, step_count);
      norm *= factor;
      report.factor *= factor;
    }
  }

  PrepareUpdate();
  Update(report, clips);
  ++step_count;
  for (const Follower& f : averagers) f.averager->After(*this);
  return report;
}

void Optimizer::Impl::UpdateHessian(std::span<const float* const> estimates) {
  if (!estimates.empty() && estimates.size() != tensor_list.size()) {
    throw Error("UpdateHessian: " + std::to_string(estimates.size()) + " estimates for " +
                std::to_string(tensor_list.size()) + " tensors");
  }
  const internal::FloatEnvironment environment;
  Work work;
  std::vector<internal::Coded> of(tensor_list.size());
  bool any = false;
  for (size_t i = 0; i < tensor_list.size(); ++i) {
    const TensorRecord& s = records[i];
    if (cohorts[s.cohort].rule.scalar.hessian == nullptr) continue;
    any = true;
    // After the last step, in which it was frozen.
    if (!s.owned || Frozen(i, std::max<int64_t>(step_count - 1, 0))) continue;
    const bool own = estimates.empty();
    if (own && tensor_list[i].grad_rows) {
      throw Error("UpdateHessian: tensor \"" + tensor_list[i].name +
                  "\" has a gradient of some rows; an estimate is of the whole tensor");
    }
    const void* const estimate = own ? tensor_list[i].grad : estimates[i];
    if (estimate == nullptr) continue;
    if (s.step == 0) {
      throw Error("UpdateHessian: tensor \"" + tensor_list[i].name +
                  "\" has had no step; call Step first");
    }
    of[i] = {.format = own ? internal::FormatOf(tensor_list[i].GradType()) : Format::kFloat32,
             .data = const_cast<void*>(estimate)};  // never written
    work.AddBlocks(i, s.size);
  }
  if (!any) {
    throw Error("UpdateHessian: no tensor's rule uses the Hessian; sophia and sophia_h do");
  }
  for (Cohort& c : cohorts) {
    if (c.rule.scalar.hessian != nullptr) SetValues(c);
  }
  for (const Piece& piece : work.pieces) {
    const TensorRecord& s = records[piece.tensor];
    cohorts[s.cohort].AddAge(s.step, s.Memory());
  }
  for (Cohort& c : cohorts) {
    if (c.rule.scalar.hessian == nullptr) continue;
    c.FormCoeffs();
    c.SetForm(1, kInfinity);
  }
  backend_->UpdateHessian(View(), work, of);
}

}  // namespace kudari
