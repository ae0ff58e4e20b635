#include "backend/work.h"

#include <algorithm>
#include <cmath>

namespace kudari::internal {
namespace {

/// A coefficient in float32: what is finite stays so.
float ToFloat(double coefficient) {
  const auto x = static_cast<float>(coefficient);
  if (std::isinf(x) && std::isfinite(coefficient)) [[unlikely]] {
    return std::copysign(kMost<float>, x);
  }
  return x;
}

}  // namespace

double Cohort::Scaled(size_t option, double value) const {
  return lr_scale != 1 && rule.options[option].name == "lr" ? value * lr_scale : value;
}

void Cohort::SetValue(size_t option, double value) {
  values[option] =
      rule.options[option].name == "weight_decay" ? value / base_lr : Scaled(option, value);
}

void Cohort::SetConstant() {
  constant = l1.IsConstant() && l2.IsConstant() &&
             std::all_of(schedules.begin(), schedules.end(),
                         [](const Schedule& s) { return s.IsConstant(); });
}

void Cohort::AddAge(int64_t t, const TensorMemory& memory) {
  if (!ages.empty() && ages.back().t == t && ages.back().before == memory) return;
  Age& age = ages.emplace_back();
  age.t = t;
  age.before = age.after = memory;
  formed = false;
}

void Cohort::FormCoeffs() {
  if (formed) return;
  if (ages.size() > 1) {
    std::sort(ages.begin(), ages.end());
    ages.erase(std::unique(ages.begin(), ages.end()), ages.end());
  }
  coeffs.resize(ages.size() * rule.coeff_count);
  const bool exactly = rule.norms > 0 || float64;
  if (exactly) exact.resize(coeffs.size());
  for (size_t i = 0; i < ages.size(); ++i) {
    const size_t at = i * rule.coeff_count;
    double computed[RuleEntry::kMostCoeffs];
    double* const now = exactly ? exact.data() + at : computed;
    rule.coeffs(values.data(), ages[i].t, ages[i].after.data(), now);
    std::transform(now, now + rule.coeff_count, coeffs.data() + at, ToFloat);
  }
  formed = true;
}

const Cohort::Age& Cohort::Find(int64_t t, const TensorMemory& memory) const {
  if (ages.size() == 1) return ages[0];
  return *std::lower_bound(ages.begin(), ages.end(), Age{.t = t, .before = memory, .after = {}});
}

size_t Cohort::IndexOf(int64_t t, const TensorMemory& memory) const {
  return static_cast<size_t>(&Find(t, memory) - ages.data());
}

const float* Cohort::CoeffsAt(int64_t t, const TensorMemory& memory) const {
  return coeffs.data() + IndexOf(t, memory) * rule.coeff_count;
}

const double* Cohort::ExactAt(int64_t t, const TensorMemory& memory) const {
  return exact.data() + IndexOf(t, memory) * rule.coeff_count;
}

void Cohort::SetForm(double factor, double clip) {
  form = FormOf(static_cast<float>(factor), 0, static_cast<float>(clip));
  if (!float64) return;
  const double most = rule.squares_gradient ? kMostSquared64 : kInfinity;
  exact_form = {factor, 0, std::min(clip, most), most < clip};
}

/// The coefficients of the second pass, from sums of squares.
void Adapt(const Cohort& c, TensorRecord& s, const double* sums) {
  double norms[RuleEntry::kMostNorms], coeffs[RuleEntry::kMostCoeffs];
  for (size_t k = 0; k < c.rule.norms; ++k) norms[k] = std::sqrt(sums[k]);
  std::copy_n(c.ExactAt(s.step, s.Memory()), c.rule.coeff_count, coeffs);
  if (c.adapts) {
    c.rule.adapt(c.values.data(), norms, coeffs);
    if (c.rule.trust != nullptr) s.extra->trust = c.rule.trust(c.values.data(), norms);
  }
  if (c.float64) {
    std::copy_n(coeffs, c.rule.coeff_count, s.extra->exact.data());
    return;
  }
  for (size_t k = 0; k < c.rule.coeff_count; ++k) {
    s.extra->adapted[k] = ToFloat(coeffs[k]);
  }
}

}  // namespace kudari::internal
