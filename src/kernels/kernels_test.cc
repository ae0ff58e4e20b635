#include "kernels/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "kudari/error.h"
#include "kudari/optimizer.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"

namespace kudari::internal {
namespace kernels_test {

using testing::Random;

using Guarded = testing::Guarded<float>;

/// The bits, except that all NaNs are one: which operand's payload survives is the compiler's
/// choice.
std::vector<uint32_t> Bits(const std::vector<float>& x) {
  std::vector<uint32_t> bits;
  for (const float v : x) bits.push_back(std::isnan(v) ? 0x7FC00000U : std::bit_cast<uint32_t>(v));
  return bits;
}

struct Arrays {
  std::vector<float> p, g;
  std::vector<std::vector<float>> state;
};

/// A pass of a rule: the kernel, or the scalar one where there is none.
struct Step {
  KernelFn kernel;
  PassFn<float> scalar;
};
struct MeasureStep {
  MeasureKernelFn kernel;
  MeasureFn<float> scalar;
};

/// The arrays of a pass in guarded memory.
struct GuardedArrays {
  explicit GuardedArrays(const Arrays& in) : p(in.p), g(in.g) {
    for (const auto& s : in.state) {
      state.push_back(std::make_unique<Guarded>(s));
      pointers.push_back(state.back()->data());
    }
  }
  Arrays Values() const {
    Arrays out{p.values(), g.values(), {}};
    for (const auto& s : state) out.state.push_back(s->values());
    return out;
  }

  Guarded p, g;
  std::vector<std::unique_ptr<Guarded>> state;
  std::vector<float*> pointers;
};

using Form = GradientForm<float>;

Arrays RunStep(Step step, const std::vector<float>& coeffs, const Arrays& in, const Form& form) {
  GuardedArrays a(in);
  if (step.kernel != nullptr) {
    step.kernel(coeffs.data(), form, a.p.data(), a.g.data(), a.pointers.data(), in.p.size(),
                nullptr, 64);
  } else {
    step.scalar(coeffs.data(), form, a.p.data(), a.g.data(), a.pointers.data(), in.p.size());
  }
  return a.Values();
}

/// The sums begin at what `sums` holds.
Arrays RunMeasure(MeasureStep step, const std::vector<float>& coeffs, const Arrays& in,
                  const Form& form, std::vector<double>& sums) {
  GuardedArrays a(in);
  if (step.kernel != nullptr) {
    step.kernel(coeffs.data(), form, a.p.data(), a.g.data(), a.pointers.data(), in.p.size(),
                nullptr, 64, sums.data());
  } else {
    step.scalar(coeffs.data(), form, a.p.data(), a.g.data(), a.pointers.data(), in.p.size(),
                sums.data());
  }
  return a.Values();
}

/// Weight decay is on, so that its terms are tested too.
std::vector<float> Coeffs(const RuleEntry& rule, int64_t t, double weight_decay = 0.05,
                          std::optional<double> decay = std::nullopt) {
  std::vector<double> values, coeffs(rule.coeff_count);
  for (const auto& o : rule.options) {
    values.push_back(o.name == "weight_decay" ? weight_decay
                     : o.role == Role::kDecay ? decay.value_or(o.default_value)
                                              : o.default_value);
  }
  std::vector<double> memory;
  for (const auto& [name, initial] : rule.memory) memory.push_back(initial);
  rule.coeffs(values.data(), t, memory.data(), coeffs.data());
  return {coeffs.begin(), coeffs.end()};
}

/// Coefficients for each loop of a kernel: with weight decay, without it, with long and with short
/// means.
std::vector<std::vector<float>> KindsOfCoeffs(const RuleEntry& rule, int64_t t) {
  return {Coeffs(rule, t), Coeffs(rule, t, 0), Coeffs(rule, t, 0.05, 0.25),
          Coeffs(rule, t, 0, 0.25)};
}

/// Without a limit, with the user's, and with the engine's.
std::vector<Form> KindsOfForms(const RuleEntry& rule, float factor, float limit) {
  const Form shifted{.factor = factor, .shift = 0.01F}, plain{.factor = factor};
  const Form clipped{.factor = factor, .shift = 0.01F, .limit = limit};
  std::vector<Form> forms = {shifted, clipped, plain};
  if (rule.squares_gradient) {
    const Form bounded{.factor = factor, .limit = kMostSquared, .infinity_is_nan = true};
    forms.push_back(bounded);
  }
  return forms;
}

void ExpectSame(const Arrays& a, const Arrays& b) {
  EXPECT_EQ(Bits(a.p), Bits(b.p));
  EXPECT_EQ(Bits(a.g), Bits(b.g));
  ASSERT_EQ(a.state.size(), b.state.size());
  for (size_t k = 0; k < a.state.size(); ++k) EXPECT_EQ(Bits(a.state[k]), Bits(b.state[k]));
}

class KernelTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  const KernelSet& set() const {
    for (const KernelSet& s : AllKernels()) {
      if (s.target == GetParam()) return s;
    }
    throw Error("no such target");
  }
  Step StepOf(const RuleEntry& rule) const { return StepsOf(rule).front(); }
  /// Update, and what else of the same form the rule has.
  std::vector<Step> StepsOf(const RuleEntry& rule) const {
    const ScalarPasses<float>& scalar = rule.scalar;
    const RuleKernels none = {};
    const RuleKernels& k = set().rules == nullptr ? none : set().rules[rule.kernel];
    std::vector<Step> steps = {{k.update, scalar.update}};
    if (scalar.hessian != nullptr) steps.push_back({k.hessian, scalar.hessian});
    if (scalar.evaluate != nullptr) steps.push_back({k.evaluate, scalar.evaluate});
    for (const Step& s : steps) EXPECT_EQ(s.kernel == nullptr, set().rules == nullptr);
    return steps;
  }
  MeasureStep MeasureOf(const RuleEntry& rule) const {
    return {set().rules == nullptr ? nullptr : set().rules[rule.kernel].measure,
            rule.scalar.measure};
  }
  static Step ScalarOf(Step step) { return {nullptr, step.scalar}; }

  /// Every pass of the rule gives what its scalar form gives, bit for bit.
  void ExpectScalar(const RuleEntry& rule, const std::vector<float>& coeffs, const Arrays& in,
                    const Form& form) const {
    for (const Step& step : StepsOf(rule)) {
      ExpectSame(RunStep(step, coeffs, in, form), RunStep(ScalarOf(step), coeffs, in, form));
    }
    if (rule.norms == 0) return;
    const MeasureStep measure = MeasureOf(rule);
    std::vector<double> sums(16 * rule.norms, 0.5), expected = sums;
    ExpectSame(RunMeasure(measure, coeffs, in, form, sums),
               RunMeasure({nullptr, measure.scalar}, coeffs, in, form, expected));
    for (size_t i = 0; i < sums.size(); ++i) {
      if (std::isnan(expected[i])) {
        EXPECT_TRUE(std::isnan(sums[i])) << "lane " << i;
      } else {
        EXPECT_EQ(sums[i], expected[i]) << "lane " << i;
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Targets, KernelTest, ::testing::ValuesIn(KernelTargets()),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(KernelTest, IsCompiledForTheTargetItNames) {
  const std::map<std::string_view, std::string_view> names = {
      {"avx512", "AVX3"}, {"avx2", "AVX2"}, {"neon", "NEON"}, {"scalar", "scalar"}};
  EXPECT_EQ(set().compiled_for(), names.at(GetParam()));
}

TEST_P(KernelTest, StepIsTheScalarReferenceBitForBit) {
  Random random(1);
  for (const RuleEntry& rule : ElementwiseRules()) {
    for (const size_t n : {0U, 1U, 3U, 4U, 5U, 7U, 8U, 9U, 15U, 16U, 17U, 31U, 33U, 67U, 1001U}) {
      for (const size_t misalign : {0U, 1U, 5U}) {  // the end is aligned; the start moves with n
        for (const int64_t t : {1, 7}) {
          SCOPED_TRACE(rule.name + ", n = " + std::to_string(n));
          Arrays in{random.Floats(n + misalign), random.Floats(n + misalign, 0.1F), {}};
          for (size_t k = 0; k < rule.slots.size(); ++k) {
            in.state.push_back(random.Floats(n + misalign, 0.01F));
            // Second moments are not negative.
            for (float& x : in.state.back()) x = k == 1 ? std::abs(x) : x;
          }
          for (const auto& coeffs : KindsOfCoeffs(rule, t)) {
            for (const Form& form : KindsOfForms(rule, 0.75F, 0.05F)) {
              ExpectScalar(rule, coeffs, in, form);
            }
          }
        }
      }
    }
  }
}

TEST_P(KernelTest, AnyBitsAtAllGiveTheSame) {
  Random random(2);
  const auto any = [&random](size_t n) {
    std::vector<float> x(n);
    for (float& v : x) {
      auto bits = static_cast<uint32_t>(random.Bits());
      // A quarter each: zeros, subnormals, infinities and NaNs, anything.
      if (bits % 4 == 0) bits &= 0x80000000U;
      if (bits % 4 == 1) bits &= 0x807FFFFFU;
      if (bits % 4 == 2) bits |= 0x7F800000U;
      v = std::bit_cast<float>(bits);
    }
    return x;
  };
  for (const RuleEntry& rule : ElementwiseRules()) {
    for (int round = 0; round < 50; ++round) {
      SCOPED_TRACE(rule.name);
      Arrays in{any(101), any(101), {}};
      for (size_t k = 0; k < rule.slots.size(); ++k) in.state.push_back(any(101));
      for (const auto& coeffs : KindsOfCoeffs(rule, 3)) {
        for (const Form& form : KindsOfForms(rule, 0.5F, 2)) ExpectScalar(rule, coeffs, in, form);
      }
    }
  }
}

TEST_P(KernelTest, ClampKeepsNaNsAndBoundsInfinities) {
  const RuleEntry& sgd = Registry::Builtin().Find("sgd");
  const Arrays in{std::vector<float>(20, 0), std::vector<float>(20, NAN), {}};
  Arrays infinite = in;
  infinite.g.assign(20, -INFINITY);
  const std::vector<float> coeffs = {1, 0};  // lr, decay
  EXPECT_TRUE(std::isnan(RunStep(StepOf(sgd), coeffs, in, Form{.limit = 0.5F}).p[19]));
  EXPECT_EQ(RunStep(StepOf(sgd), coeffs, infinite, Form{.limit = 0.5F}).p[19], 0.5F);
}

TEST_P(KernelTest, SumOfSquaresIsTheScalarOneBitForBit) {
  Random random(3);
  for (size_t n = 0; n < 200; ++n) {
    Guarded x(random.Floats(n, 3));
    EXPECT_EQ(set().sum_squares(x.data(), n), ScalarKernels().sum_squares(x.data(), n)) << n;
  }
  Guarded large(std::vector<float>(1000, 3e38F));
  EXPECT_TRUE(std::isfinite(set().sum_squares(large.data(), 1000)));
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    for (const size_t at : {0U, 17U, 36U}) {
      std::vector<float> x(37, 1);
      x[at] = bad;
      EXPECT_FALSE(std::isfinite(set().sum_squares(x.data(), 37)));
    }
  }
}

TEST_P(KernelTest, SumIsTheScalarOneBitForBit) {
  Random random(6);
  for (size_t n = 0; n < 200; ++n) {
    Guarded x(random.Floats(n, 3));
    EXPECT_EQ(set().sum(x.data(), n), ScalarKernels().sum(x.data(), n)) << n;
  }
  std::vector<float> integers(1000);
  for (size_t i = 0; i < 1000; ++i) integers[i] = static_cast<float>(i);
  EXPECT_EQ(set().sum(integers.data(), 1000), 499500);
}

TEST_P(KernelTest, SumOfSquaresIsExactInDouble) {
  // Integers: every partial sum is exact, so the order cannot matter.
  std::vector<float> x;
  double expected = 0;
  for (int i = 0; i < 1000; ++i) {
    x.push_back(static_cast<float>(i - 500));
    expected += static_cast<double>(i - 500) * (i - 500);
  }
  EXPECT_EQ(set().sum_squares(x.data(), x.size()), expected);
}

TEST_P(KernelTest, RowsAreTheScalarOnesBitForBit) {
  const RowPasses<float> scalar = ScalarRows<float>(), here = set().rows;
  Random random(7);
  for (const size_t n : {0U, 1U, 3U, 15U, 16U, 17U, 31U, 33U, 1001U}) {
    for (const float odd : {0.0F, NAN, INFINITY}) {
      SCOPED_TRACE("n = " + std::to_string(n) + ", " + std::to_string(odd));
      std::vector<float> g = random.Floats(n), w = random.Floats(n), v = random.Floats(n);
      for (float& x : v) x = x < 0 ? 0 : x;
      if (n > 2) g[n / 2] = odd;
      const GradientForm<float> form{.factor = 0.75F, .shift = 0.01F, .limit = 0.5F};
      const auto same = [](double a, double b) {
        EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << a << " " << b;
      };
      Guarded ga(g), wa(w), pa(w), pb(w), va(v), vb(v);
      same(here.squares(form, ga.data(), n), scalar.squares(form, g.data(), n));
      const std::vector<float> scales = random.Floats(RowPasses<float>::kMostRows);
      for (size_t rows = 1; rows <= scales.size(); ++rows) {
        const size_t wide = n / rows;
        std::vector<double> a[2] = {std::vector(wide, 0.5), std::vector(wide, 1.5)};
        std::vector<double> b[2] = {a[0], a[1]};
        here.columns(form, ga.data(), wide, rows, scales.data(), a[0].data(), a[1].data());
        scalar.columns(form, g.data(), wide, rows, scales.data(), b[0].data(), b[1].data());
        for (size_t i = 0; i < wide; ++i) {
          same(a[0][i], b[0][i]);
          same(a[1][i], b[1][i]);
        }
      }
      same(here.weighted_squares(form, ga.data(), wa.data(), n),
           scalar.weighted_squares(form, g.data(), w.data(), n));
      here.apply(form, pa.data(), ga.data(), wa.data(), 0.3F, 0.1F, n);
      scalar.apply(form, pb.data(), g.data(), w.data(), 0.3F, 0.1F, n);
      EXPECT_EQ(Bits(pa.values()), Bits(pb.values()));
      for (const float floor : {0.0F, 0.25F}) {
        same(here.vary(form, ga.data(), va.data(), 0.5F, 0.0F, floor, n),
             scalar.vary(form, g.data(), vb.data(), 0.5F, 0.0F, floor, n));
        EXPECT_EQ(Bits(va.values()), Bits(vb.values()));
        here.apply_varied(form, pa.data(), ga.data(), va.data(), 0.3F, 0.1F, floor, n);
        scalar.apply_varied(form, pb.data(), g.data(), vb.data(), 0.3F, 0.1F, floor, n);
        EXPECT_EQ(Bits(pa.values()), Bits(pb.values()));
      }
    }
  }
}

TEST_P(KernelTest, AddScaledIsFused) {
  Random random(4);
  for (size_t n = 0; n < 70; ++n) {
    const std::vector<float> x = random.Floats(n), y = random.Floats(n);
    Guarded gx(x), gy(y);
    set().add_scaled(gy.data(), gx.data(), 0.3F, n);
    const std::vector<float> result = gy.values();
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(result[i], std::fma(0.3F, x[i], y[i]));
  }
}

TEST_P(KernelTest, AdaptRoundsTwice) {
  Random random(8);
  for (size_t n = 0; n < 70; ++n) {
    const std::vector<float> w = random.Floats(n), x = random.Floats(n);
    Guarded out(std::vector<float>(n, 7.0F));
    set().adapt(Guarded(w).data(), Guarded(x).data(), 0.01F, n, out.data());
    const std::vector<float> result = out.values();
    for (size_t i = 0; i < n; ++i) {
      const float magnitude = std::abs(w[i]) + 0.01F;
      EXPECT_EQ(result[i], magnitude * x[i]);
    }
  }
}

TEST_P(KernelTest, PenalizeAddsToTheClampedGradient) {
  Random random(9);
  for (const float limit : {0.25F, std::numeric_limits<float>::infinity()}) {
    for (size_t n = 0; n < 70; ++n) {
      std::vector<float> p = random.Floats(n), g = random.Floats(n);
      for (size_t i = 0; i < n; i += 5) p[i] = i % 2 == 0 ? 0.0F : -0.0F;
      if (n > 3) g[3] = std::numeric_limits<float>::quiet_NaN();
      Guarded out(std::vector<float>(n, 7.0F));
      set().penalize({0.5F, 0.1F, limit}, 0.3F, 0.7F, Guarded(p).data(), Guarded(g).data(), n,
                     out.data());
      const std::vector<float> result = out.values();
      for (size_t i = 0; i < n; ++i) {
        const float seen = std::fma(0.5F, g[i], 0.1F);
        const float clamped = std::isnan(seen) ? seen : std::clamp(seen, -limit, limit);
        const float sign = p[i] == 0 ? 0.0F : std::copysign(1.0F, p[i]);
        const float expected = std::fma(0.3F, sign, std::fma(0.7F, p[i], clamped));
        EXPECT_TRUE(std::isnan(expected) ? std::isnan(result[i]) : result[i] == expected) << i;
      }
    }
  }
}

TEST_P(KernelTest, AddProductsIsExactInDouble) {
  Random random(7);
  for (size_t n = 0; n < 70; ++n) {
    const std::vector<float> x = random.Floats(n), y = random.Floats(n);
    double lanes[16], expected[16];
    for (size_t k = 0; k < 16; ++k) lanes[k] = expected[k] = static_cast<double>(k) / 3;
    set().add_products(Guarded(x).data(), Guarded(y).data(), n, lanes);
    for (size_t i = 0; i < n; ++i) expected[i % 16] += static_cast<double>(x[i]) * y[i];
    for (size_t k = 0; k < 16; ++k) EXPECT_EQ(lanes[k], expected[k]);
  }
}

TEST(KernelsTest, TheEnvironmentForcesATarget) {
  for (const std::string_view target : KernelTargets()) {
    setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
    EXPECT_EQ(Kernels().target, target);
    EXPECT_EQ(KernelTarget(), target);
  }
  setenv("KUDARI_TARGET", "mmx", 1);
  std::string message;
  try {
    Kernels();
  } catch (const Error& e) {
    message = e.what();
  }
  unsetenv("KUDARI_TARGET");
  EXPECT_THAT(message, ::testing::HasSubstr("KUDARI_TARGET = \"mmx\" is not one of "));
  EXPECT_THAT(message, ::testing::HasSubstr("scalar"));
  EXPECT_EQ(Kernels().target, KernelTargets().front());
}

TEST(KernelsTest, ThePrefetchDistanceIsChecked) {
  EXPECT_EQ(ParsePrefetch("0"), 0U);
  EXPECT_EQ(ParsePrefetch("65536"), 65536U);
  for (const char* const bad : {"65537", "-1", "", "64k", " 64", "1e3"}) {
    EXPECT_THROW(ParsePrefetch(bad), Error) << bad;
  }
}

TEST_P(KernelTest, AnUpdateOnlyReadsTheCurvature) {
  Random random(6);
  for (const RuleEntry& rule : ElementwiseRules()) {
    if (rule.scalar.hessian == nullptr) continue;
    GuardedArrays a({random.Floats(67), random.Floats(67), {random.Floats(67), random.Floats(67)}});
    a.state.back()->Protect();
    const auto update = StepOf(rule);
    if (update.kernel != nullptr) {
      update.kernel(Coeffs(rule, 1).data(), {}, a.p.data(), a.g.data(), a.pointers.data(), 67,
                    nullptr, 64);
    } else {
      update.scalar(Coeffs(rule, 1).data(), {}, a.p.data(), a.g.data(), a.pointers.data(), 67);
    }
  }
}

TEST_P(KernelTest, WhatComesNextIsOnlyPrefetched) {
  Random random(5);
  for (const RuleEntry& rule : ElementwiseRules()) {
    const Step step = StepOf(rule);
    if (step.kernel == nullptr) continue;  // scalar code takes no such argument
    const size_t n = 200;
    Arrays in{random.Floats(n), random.Floats(n), {}};
    for (size_t k = 0; k < rule.slots.size(); ++k) in.state.emplace_back(n);
    // Addresses that may not be touched, only prefetched.
    const std::vector<const float*> next(2 + rule.slots.size(), reinterpret_cast<const float*>(64));
    const GradientForm<float> form{.factor = 1, .shift = 0.01F};
    const auto expected = Bits(RunStep(ScalarOf(step), Coeffs(rule, 1), in, form).p);
    for (const size_t distance : {size_t{0}, size_t{64}, kOnlyNext}) {
      GuardedArrays a(in);
      step.kernel(Coeffs(rule, 1).data(), form, a.p.data(), a.g.data(), a.pointers.data(), n,
                  next.data(), distance);
      EXPECT_EQ(Bits(a.p.values()), expected);
    }
  }
}

}  // namespace kernels_test
}  // namespace kudari::internal
