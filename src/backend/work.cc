#include "backend/work.h"

#include <algorithm>
#include <cmath>

namespace kudari::internal {
namespace {

/// A coefficient in float32: what is finite stays so.
float ToFloat(double coefficient) {
  const auto x = static_cast<float>(coefficient);
  if (std::isinf(x) && std::isfinite(coefficient)) [[unlikely]] {
    return std::copysign(kMostFloat, x);
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
  float* next = coeffs.data();
  for (Age& age : ages) {
    double values_now[RuleEntry::kMostCoeffs];
    rule.coeffs(values.data(), age.t, age.after.data(), values_now);
    next = std::transform(values_now, values_now + rule.coeff_count, next,
                          [](double x) { return ToFloat(x); });
  }
  formed = true;
}

const Cohort::Age& Cohort::Find(int64_t t, const TensorMemory& memory) const {
  if (ages.size() == 1) return ages[0];
  return *std::lower_bound(ages.begin(), ages.end(), Age{.t = t, .before = memory, .after = {}});
}

const float* Cohort::CoeffsAt(int64_t t, const TensorMemory& memory) const {
  const auto index = static_cast<size_t>(&Find(t, memory) - ages.data());
  return coeffs.data() + index * rule.coeff_count;
}

/// The coefficients of the second pass, from sums of squares.
void Adapt(const Cohort& c, TensorRecord& s, const double* sums) {
  double norms[RuleEntry::kMostNorms], coeffs[RuleEntry::kMostCoeffs];
  for (size_t k = 0; k < c.rule.norms; ++k) norms[k] = std::sqrt(sums[k]);
  if (c.adapts) {
    c.rule.adapt(c.values.data(), s.step, norms, coeffs);
    if (c.rule.trust != nullptr) s.extra->trust = c.rule.trust(c.values.data(), norms);
  } else {
    c.rule.coeffs(c.values.data(), s.step, s.extra->memory.data(), coeffs);
  }
  for (size_t k = 0; k < c.rule.coeff_count; ++k) {
    s.extra->adapted[k] = ToFloat(coeffs[k]);
  }
}

}  // namespace kudari::internal
