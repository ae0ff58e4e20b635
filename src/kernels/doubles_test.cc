#include "kernels/doubles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/optimizer.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"

namespace kudari::internal {
namespace doubles_test {

using testing::Random;

using Form = GradientForm<double>;
using Guarded = testing::Guarded<double>;

/// The bits, except that all NaNs are one.
std::vector<uint64_t> Bits(const std::vector<double>& x) {
  std::vector<uint64_t> bits;
  for (const double v : x) {
    bits.push_back(std::isnan(v) ? 0x7FF8000000000000U : std::bit_cast<uint64_t>(v));
  }
  return bits;
}

/// With 53 bits that differ, in (-scale, scale).
std::vector<double> Doubles(Random& random, size_t n, double scale = 1) {
  std::vector<double> x(n);
  for (double& v : x) {
    v = scale * std::ldexp(static_cast<double>(static_cast<int64_t>(random.Bits())), -63);
  }
  return x;
}

/// Zeros, subnormals, infinities, NaNs, and anything, a quarter each.
std::vector<double> AnyBits(Random& random, size_t n) {
  std::vector<double> x(n);
  for (double& v : x) {
    uint64_t bits = random.Bits();
    if (bits % 4 == 0) bits &= 0x8000000000000000U;
    if (bits % 4 == 1) bits &= 0x800FFFFFFFFFFFFFU;
    if (bits % 4 == 2) bits |= 0x7FF0000000000000U;
    v = std::bit_cast<double>(bits);
  }
  return x;
}

struct Arrays {
  std::vector<double> p, g;
  std::vector<std::vector<double>> state;
};

/// What a pass makes of arrays that end where memory does: all of them, and the sums of squares.
struct Result {
  std::vector<std::vector<uint64_t>> bits;
  friend bool operator==(const Result&, const Result&) = default;
};

template <class F>
Result RunPass(const Arrays& in, size_t sums, const F& pass) {
  Guarded p(in.p), g(in.g);
  std::vector<std::unique_ptr<Guarded>> state;
  std::vector<double*> pointers;
  for (const auto& s : in.state) {
    state.push_back(std::make_unique<Guarded>(s));
    pointers.push_back(state.back()->data());
  }
  std::vector<double> squares(16 * sums, 0.5);
  pass(p.data(), g.data(), pointers.data(), in.p.size(), squares.data());
  Result result{{Bits(p.values()), Bits(g.values()), Bits(squares)}};
  for (const auto& s : state) result.bits.push_back(Bits(s->values()));
  return result;
}

std::vector<double> CoeffsOfRule(const RuleEntry& rule, double weight_decay, double short_mean) {
  std::vector<double> values, memory, coeffs(rule.coeff_count);
  for (const auto& o : rule.options) {
    values.push_back(o.name == "weight_decay"                   ? weight_decay
                     : o.role == Role::kDecay && short_mean > 0 ? short_mean
                                                                : o.default_value);
  }
  for (const auto& [name, initial] : rule.memory) memory.push_back(initial);
  rule.coeffs(values.data(), 3, memory.data(), coeffs.data());
  return coeffs;
}

class DoublesTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  const DoubleKernels& set() const { return DoublesFor(GetParam()); }
  ScalarPasses<double> PassesOf(const RuleEntry& rule) const {
    return set().rules == nullptr ? rule.scalar64 : set().rules[rule.kernel];
  }

  /// Every pass gives what the scalar one gives, bit for bit.
  void ExpectScalar(const RuleEntry& rule, const Arrays& in) const {
    const ScalarPasses<double> here = PassesOf(rule);
    const auto both = [&](size_t sums, const auto& pass) {
      EXPECT_EQ(RunPass(in, sums, [&](auto... a) { pass(here, a...); }),
                RunPass(in, sums, [&](auto... a) { pass(rule.scalar64, a...); }));
    };
    for (const Form& form :
         {Form{.factor = 0.75, .shift = 0.01}, Form{.factor = 0.75, .limit = 0.05},
          Form{.factor = 0.5, .limit = kMostSquared64, .infinity_is_nan = true}}) {
      if (form.infinity_is_nan && !rule.squares_gradient) continue;
      for (const auto& coeffs : {CoeffsOfRule(rule, 0.05, 0), CoeffsOfRule(rule, 0, 0),
                                 CoeffsOfRule(rule, 0.05, 0.25)}) {
        both(0, [&](const auto& passes, double* p, const double* g, double* const* state, size_t n,
                    double*) { passes.update(coeffs.data(), form, p, g, state, n); });
        if (rule.norms > 0) {
          both(rule.norms,
               [&](const auto& passes, double* p, const double* g, double* const* state, size_t n,
                   double* sums) { passes.measure(coeffs.data(), form, p, g, state, n, sums); });
        }
        if (rule.scalar64.evaluate == nullptr) continue;
        both(0, [&](const auto& passes, double* p, const double*, double* const* state, size_t n,
                    double*) { passes.evaluate(coeffs.data(), {}, p, nullptr, state, n); });
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Targets, DoublesTest, ::testing::ValuesIn(KernelTargets()),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(DoublesTest, PassesAreTheScalarOnesBitForBit) {
  Random random(1);
  for (const RuleEntry& rule : ElementwiseRules()) {
    for (const size_t n : {0U, 1U, 2U, 3U, 4U, 7U, 8U, 9U, 15U, 16U, 17U, 33U, 501U}) {
      SCOPED_TRACE(rule.name + ", n = " + std::to_string(n));
      Arrays in{Doubles(random, n), Doubles(random, n, 0.1), {}};
      for (size_t k = 0; k < rule.slots.size(); ++k) {
        in.state.push_back(Doubles(random, n, 0.01));
        // Second moments are not negative.
        for (double& x : in.state.back()) x = k == 1 ? std::abs(x) : x;
      }
      ExpectScalar(rule, in);
    }
  }
}

TEST_P(DoublesTest, AnyBitsAtAllGiveTheSame) {
  Random random(2);
  for (const RuleEntry& rule : ElementwiseRules()) {
    for (int round = 0; round < 20; ++round) {
      SCOPED_TRACE(rule.name);
      Arrays in{AnyBits(random, 51), AnyBits(random, 51), {}};
      for (size_t k = 0; k < rule.slots.size(); ++k) in.state.push_back(AnyBits(random, 51));
      ExpectScalar(rule, in);
    }
  }
}

TEST_P(DoublesTest, SquaresAreAddedWithOneRounding) {
  Random random(3);
  for (size_t n = 0; n < 70; ++n) {
    const std::vector<double> x = Doubles(random, n, 3);
    std::vector<double> lanes(16, 0.25), expected = lanes;
    set().add_squares(Guarded(x).data(), n, lanes.data());
    for (size_t i = 0; i < n; ++i) expected[i % 16] = std::fma(x[i], x[i], expected[i % 16]);
    EXPECT_EQ(lanes, expected) << n;
  }
}

TEST_P(DoublesTest, PenaltiesAreAddedToTheClampedGradient) {
  Random random(4);
  for (const double limit : {0.25, kInfinity}) {
    for (size_t n = 0; n < 40; ++n) {
      std::vector<double> p = Doubles(random, n), g = Doubles(random, n);
      for (size_t i = 0; i < n; i += 5) p[i] = i % 2 == 0 ? 0.0 : -0.0;
      if (n > 3) g[3] = std::numeric_limits<double>::quiet_NaN();
      Guarded out(std::vector<double>(n, 7));
      set().penalize({.factor = 0.5, .shift = 0.1, .limit = limit}, 0.3, 0.7, Guarded(p).data(),
                     Guarded(g).data(), n, out.data());
      std::vector<double> expected;
      for (size_t i = 0; i < n; ++i) {
        const double seen = std::fma(0.5, g[i], 0.1);
        const double clamped = std::isnan(seen) ? seen : std::clamp(seen, -limit, limit);
        const double sign = p[i] == 0 ? 0.0 : std::copysign(1.0, p[i]);
        expected.push_back(std::fma(0.3, sign, std::fma(0.7, p[i], clamped)));
      }
      EXPECT_EQ(Bits(out.values()), Bits(expected)) << n;
    }
  }
}

}  // namespace doubles_test
}  // namespace kudari::internal
