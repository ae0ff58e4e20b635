// L-BFGS as a class: errors, threads, state, and losses that are not finite. tests/golden compares
// its moves with torch's.
#include "kudari/lbfgs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"

namespace kudari {
namespace lbfgs_test {

using testing::ErrorOf;
using ::testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();

/// Rosenbrock's function of pairs of neighbours, in two tensors.
struct Valley {
  explicit Valley(size_t size) : w(size), dw(size) {
    for (size_t i = 0; i < size; ++i) w[i] = i % 2 == 0 ? -1.2F : 1.0F;
    const auto cut = static_cast<int64_t>(size / 3);
    tensors = {
        {.name = "a", .shape = {cut}, .param = w.data(), .grad = dw.data()},
        {.name = "b",
         .shape = {static_cast<int64_t>(size) - cut, 1},
         .param = w.data() + cut,
         .grad = dw.data() + cut},
    };
  }

  double Evaluate() {
    double loss = 0;
    std::ranges::fill(dw, 0.0F);
    for (size_t i = 0; i + 1 < w.size(); i += 2) {
      const double x = w[i], y = w[i + 1], bend = y - x * x;
      loss += 100 * bend * bend + (1 - x) * (1 - x);
      dw[i] = static_cast<float>(-400 * bend * x - 2 * (1 - x));
      dw[i + 1] = static_cast<float>(200 * bend);
    }
    return loss;
  }

  std::vector<float> w, dw;
  std::vector<Tensor> tensors;
};

LbfgsOptions Searching(int64_t max_iter = 20, int64_t history_size = 100) {
  return {.max_iter = max_iter,
          .history_size = history_size,
          .line_search_fn = LineSearch::kStrongWolfe};
}

TEST(LbfgsTest, BadOptionsAndTensorsAreNamed) {
  const auto error = [](const LbfgsOptions& options) {
    return ErrorOf([&] { Lbfgs(Valley(4).tensors, options); });
  };
  EXPECT_EQ(error({.lr = 0}), "Lbfgs: lr = 0 is outside (0, inf)");
  EXPECT_EQ(error({.lr = std::nan("")}), "Lbfgs: lr = nan is outside (0, inf)");
  EXPECT_EQ(error({.max_iter = 0}), "Lbfgs: max_iter = 0 is outside [1, ...]");
  EXPECT_EQ(error({.max_eval = 0}), "Lbfgs: max_eval = 0 is outside [1, ...]");
  EXPECT_THAT(error({.tolerance_grad = -1}),
              HasSubstr("Lbfgs: tolerance_grad = -1 is outside [0, inf)"));
  EXPECT_THAT(error({.tolerance_change = kInf}),
              HasSubstr("Lbfgs: tolerance_change = inf is outside [0, inf)"));
  EXPECT_EQ(error({.history_size = 0}), "Lbfgs: history_size = 0 is outside [1, ...]");
  Valley valley(6);
  const auto with = [&valley](const auto& change) {
    std::vector<Tensor> tensors = valley.tensors;
    change(tensors);
    return ErrorOf([&] { Lbfgs lbfgs(tensors); });
  };
  EXPECT_EQ(with([](auto& t) { t[1].dtype = DType::kBFloat16; }),
            "Lbfgs: tensor \"b\" is bfloat16, but must be float32");
  EXPECT_EQ(with([](auto& t) { t[1].name = "a"; }), "duplicate tensor name \"a\"");
  EXPECT_EQ(with([](auto& t) { t[0].param = nullptr; }), "tensor \"a\": param is null");
  EXPECT_THAT(with([](auto& t) { t[1].param = t[0].param; }), HasSubstr("overlap in memory"));
  Lbfgs lbfgs(valley.tensors);
  EXPECT_EQ(ErrorOf([&] { lbfgs.SetLr(-1); }), "Lbfgs: lr = -1 is outside (0, inf)");
  EXPECT_EQ(ErrorOf([&] {
              lbfgs.Step([&]() -> double {
                lbfgs.Refresh();
                return 1;
              });
            }),
            "Lbfgs: Refresh was called from within a step");
  lbfgs.tensors()[1].grad_rows = std::span<const int64_t>();
  EXPECT_EQ(ErrorOf([&] { lbfgs.Step([] { return 1.0; }); }),
            "Lbfgs: tensor \"b\" has a gradient of some rows; the moves need whole gradients");
  lbfgs.tensors()[1].grad_rows.reset();
  lbfgs.tensors()[1].shape = {1, 4};
  EXPECT_THAT(ErrorOf([&] { lbfgs.Step([] { return 1.0; }); }),
              HasSubstr("tensor \"b\" has another type or shape"));
}

TEST(LbfgsTest, NeitherThreadsNorTargetsChangeABit) {
  std::vector<float> expected;
  for (const std::string_view target : KernelTargets()) {
    for (const int threads : {1, 2, 3, 8}) {
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      Valley valley(100'000);
      // Unequal parts, so that no sum is of equal terms.
      for (size_t i = 0; i < valley.w.size(); ++i) {
        valley.w[i] += 1e-3F * static_cast<float>(i % 997);
      }
      Lbfgs lbfgs(valley.tensors, Searching(6, 3));
      unsetenv("KUDARI_TARGET");
      lbfgs.SetParallel({.threads = threads});
      for (int step = 0; step < 2; ++step) lbfgs.Step([&] { return valley.Evaluate(); });
      if (expected.empty()) expected = valley.w;
      EXPECT_EQ(valley.w, expected) << target << ' ' << threads;
    }
  }
}

TEST(LbfgsTest, ARunResumesWithTheSameBits) {
  for (const LbfgsOptions& options :
       {Searching(3, 4), LbfgsOptions{.lr = 0.1, .max_iter = 5, .history_size = 3}}) {
    Valley straight(10);
    Lbfgs reference(straight.tensors, options);
    for (int at = 0; at < 8; ++at) {
      Valley other(10);
      other.w = straight.w;
      Lbfgs resumed(other.tensors, options);
      resumed.LoadState(reference.State());
      EXPECT_EQ(FirstDifference(resumed.State(), reference.State()), "") << at;
      Valley control(10);
      control.w = straight.w;
      for (int step = 0; step < 2; ++step) resumed.Step([&] { return other.Evaluate(); });
      Lbfgs again(control.tensors, options);
      again.LoadState(reference.State());
      reference.Step([&] { return straight.Evaluate(); });
      again.Step([&] { return control.Evaluate(); });
      EXPECT_EQ(control.w, straight.w) << at;
      again.Step([&] { return control.Evaluate(); });
      EXPECT_EQ(control.w, other.w) << at;
    }
    EXPECT_GT(reference.iterations(), 8);
  }
}

TEST(LbfgsTest, StatesThatDoNotFitChangeNothing) {
  Valley valley(10), other(12), little(10);
  Lbfgs lbfgs(valley.tensors, Searching()), longer(other.tensors, Searching());
  Lbfgs short_memory(little.tensors, Searching(20, 2));
  lbfgs.Step([&] { return valley.Evaluate(); });
  longer.Step([&] { return other.Evaluate(); });
  const StateTree before = longer.State();
  EXPECT_THAT(ErrorOf([&] { longer.LoadState(lbfgs.State()); }),
              HasSubstr("\"tensors/a/d\" is F32 [3], but must be F32 [4]"));
  EXPECT_EQ(longer.State(), before);
  EXPECT_THAT(ErrorOf([&] { short_memory.LoadState(lbfgs.State()); }),
              HasSubstr("moves, more than history_size = 2"));
  StateTree without = lbfgs.State();
  without.Erase("tensors/b/old_dirs");
  EXPECT_THAT(ErrorOf([&] { lbfgs.LoadState(without); }), HasSubstr("tensors/b/old_dirs"));
  // One before the first step is small.
  const StateTree none = Lbfgs(little.tensors, Searching()).State();
  EXPECT_EQ(none.members().size(), 2U);
  lbfgs.LoadState(none);
  EXPECT_EQ(lbfgs.iterations(), 0);
}

TEST(LbfgsTest, AStepThatThrowsLeavesTheLastMove) {
  for (const LineSearch search : {LineSearch::kNone, LineSearch::kStrongWolfe}) {
    for (int fails_at = 1; fails_at <= 6; ++fails_at) {
      SCOPED_TRACE(fails_at);
      LbfgsOptions options = Searching();
      options.lr = search == LineSearch::kNone ? 0.1 : 1;
      options.line_search_fn = search;
      Valley valley(10);
      Lbfgs lbfgs(valley.tensors, options);
      std::vector<std::vector<float>> seen;
      EXPECT_THROW(lbfgs.Step([&]() -> double {
        seen.push_back(valley.w);
        if (static_cast<int>(seen.size()) == fails_at) throw std::runtime_error("no loss");
        return valley.Evaluate();
      }),
                   std::runtime_error);
      // The weights of an evaluation, which are those of a move, and a step goes on from there.
      EXPECT_NE(std::ranges::find(seen, valley.w), seen.end());
      EXPECT_EQ(fails_at == 1 || valley.w != seen.back(), true);
      const double loss = valley.Evaluate();
      const LbfgsReport report = lbfgs.Step([&] { return valley.Evaluate(); });
      EXPECT_EQ(report.loss, loss);
      EXPECT_LT(valley.Evaluate(), loss);
    }
  }
}

/// -log(1 - x), which is not a number from 1 on, with a long first step.
double Barrier(const std::vector<float>& w, std::vector<float>& dw) {
  const double x = w[0];
  dw[0] = static_cast<float>(2 * (x - 0.9) + 1e-4 / (1 - x));
  return (x - 0.9) * (x - 0.9) - 1e-4 * std::log(1 - x);
}

TEST(LbfgsTest, ASearchTurnsBackFromLossesThatAreNotFinite) {
  std::vector<float> w = {-3}, dw = {0};
  Lbfgs lbfgs({{.name = "x", .shape = {}, .param = w.data(), .grad = dw.data()}},
              {.lr = 64, .line_search_fn = LineSearch::kStrongWolfe});
  int odd = 0;
  for (int step = 0; step < 4; ++step) {
    const LbfgsReport report = lbfgs.Step([&] {
      const double loss = Barrier(w, dw);
      odd += std::isfinite(loss) ? 0 : 1;
      return loss;
    });
    EXPECT_TRUE(std::isfinite(report.final_loss));
  }
  EXPECT_GT(odd, 0);
  EXPECT_NEAR(w[0], 0.9, 1e-3);
}

TEST(LbfgsTest, WeightsAreWhatTheyWereIfNoStepIsAcceptable) {
  for (const double bad : {kInf, -kInf, std::nan("")}) {
    for (const LineSearch search : {LineSearch::kNone, LineSearch::kStrongWolfe}) {
      Valley valley(10);
      const std::vector<float> start = valley.w;
      const double lr = search == LineSearch::kNone ? 0.1 : 1;
      Lbfgs lbfgs(valley.tensors, {.lr = lr, .line_search_fn = search});
      int calls = 0;
      const LbfgsReport report = lbfgs.Step([&] { return ++calls == 1 ? valley.Evaluate() : bad; });
      EXPECT_EQ(valley.w, start);
      EXPECT_EQ(report.final_loss, report.loss);
      EXPECT_EQ(Name(report.stop), search == LineSearch::kNone ? "nonfinite" : "evaluations");
      EXPECT_EQ(report.evaluations, calls);
      // With the loss that there is after all, it goes on.
      lbfgs.Step([&] { return valley.Evaluate(); });
      EXPECT_LT(valley.Evaluate(), report.loss);
    }
  }
}

TEST(LbfgsTest, AStartThatIsNotFiniteMakesNoMove) {
  Valley valley(10);
  const std::vector<float> start = valley.w;
  Lbfgs lbfgs(valley.tensors, Searching());
  for (const bool loss : {true, false}) {
    const LbfgsReport report = lbfgs.Step([&] {
      const double value = valley.Evaluate();
      if (!loss) valley.dw[7] = std::numeric_limits<float>::quiet_NaN();
      return loss ? kInf : value;
    });
    EXPECT_EQ(report.stop, LbfgsStop::kNonFinite);
    EXPECT_EQ(report.evaluations, 1);
    EXPECT_EQ(valley.w, start);
    EXPECT_EQ(lbfgs.iterations(), 0);
  }
}

TEST(LbfgsTest, RefreshForgetsTheMoves) {
  Valley valley(10), fresh(10);
  Lbfgs lbfgs(valley.tensors, Searching()), other(fresh.tensors, Searching());
  lbfgs.Step([&] { return valley.Evaluate(); });
  for (size_t i = 0; i < valley.w.size(); ++i) valley.w[i] = fresh.w[i] += 0.5F;
  lbfgs.Refresh();
  lbfgs.Step([&] { return valley.Evaluate(); });
  other.Step([&] { return fresh.Evaluate(); });
  EXPECT_EQ(valley.w, fresh.w);
}

TEST(LbfgsTest, GradientsInSixteenBitsAndLrAreTaken) {
  // Of |w|^2 / 2 at powers of two, which bfloat16 holds: one move of length 1 ends at zero.
  std::vector<float> w = {1, -2, 0.25F};
  std::vector<uint16_t> dw(3);
  Lbfgs lbfgs({{.name = "w",
                .shape = {3},
                .param = w.data(),
                .grad = dw.data(),
                .grad_dtype = DType::kBFloat16}},
              {.max_iter = 1});
  const auto closure = [&] {
    double loss = 0;
    for (size_t i = 0; i < 3; ++i) {
      dw[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(w[i]) >> 16U);
      loss += 0.5 * w[i] * w[i];
    }
    return loss;
  };
  lbfgs.SetLr(3.25);  // times 1 / 3.25, the sum of magnitudes
  EXPECT_EQ(lbfgs.options().lr, 3.25);
  lbfgs.Step(closure);
  for (const float x : w) EXPECT_NEAR(x, 0, 1e-6);
}

}  // namespace lbfgs_test
}  // namespace kudari
