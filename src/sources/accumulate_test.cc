#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace accumulate_test {

using testing::ErrorOf;
using testing::Random;

/// Least squares of n samples in d dimensions: its gradient is a mean over samples.
struct Problem {
  explicit Problem(size_t n, bool integers = false) : w(kDims), dw(kDims) {
    Random random(3);
    for (size_t i = 0; i < n; ++i) {
      x.push_back(random.Floats(kDims));
      y.push_back(random.Float());
      if (!integers) continue;
      for (float& v : x.back()) v = std::round(4 * v);
      y.back() = std::round(4 * y.back());
    }
  }

  /// Forward and backward over samples [begin, end).
  Evaluation Run(size_t begin, size_t end) {
    std::vector<double> sum(kDims);
    double loss = 0;
    for (size_t i = begin; i < end; ++i) {
      double error = -y[i];
      for (size_t k = 0; k < kDims; ++k) error += static_cast<double>(w[k]) * x[i][k];
      loss += error * error / 2;
      for (size_t k = 0; k < kDims; ++k) sum[k] += error * x[i][k];
    }
    const auto n = static_cast<double>(end - begin);
    for (size_t k = 0; k < kDims; ++k) dw[k] = static_cast<float>(sum[k] / n);
    return {loss / n, n};
  }

  Optimizer Make(int64_t accumulate) {
    OptimizerSpec spec = Sgd{.lr = 0.125};
    spec.accumulate = accumulate;
    spec.measure_norm = true;
    return Optimizer({{.name = "w", .shape = {kDims}, .param = w.data(), .grad = dw.data()}}, spec);
  }

  static constexpr int64_t kDims = 37;
  std::vector<std::vector<float>> x;
  std::vector<float> y, w, dw;
};

/// One step over the batches; the last call says that the data has ended.
Report StepOver(Problem& problem, Optimizer& optimizer, const std::vector<size_t>& cuts,
                int* calls) {
  size_t next = 0;
  return optimizer.Step([&](Pass) -> Evaluation {
    ++*calls;
    if (next + 1 == cuts.size()) return Evaluation::End();
    ++next;
    return problem.Run(cuts[next - 1], cuts[next]);
  });
}

TEST(AccumulateTest, EqualBatchesAreTheBigBatchExactly) {
  // Integers and powers of two: nothing is rounded, so equality is exact.
  Problem big(16, true), small(16, true);
  Optimizer one = big.Make(1), four = small.Make(4);
  int calls = 0;
  const Report a = StepOver(big, one, {0, 16}, &calls);
  EXPECT_EQ(calls, 1);
  const Report b = StepOver(small, four, {0, 4, 8, 12, 16}, &calls);
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(big.w, small.w);
  EXPECT_EQ(a.grad_norm, b.grad_norm);
  EXPECT_DOUBLE_EQ(a.loss, b.loss);
  EXPECT_EQ(b.factor, 0.25);
}

TEST(AccumulateTest, UnequalBatchesAreWeightedBySamples) {
  Problem big(17), small(17);
  Optimizer one = big.Make(1), four = small.Make(4);
  int calls = 0;
  for (int step = 0; step < 20; ++step) {
    StepOver(big, one, {0, 17}, &calls);
    StepOver(small, four, {0, 3, 10, 11, 17}, &calls);
  }
  for (size_t k = 0; k < big.w.size(); ++k) EXPECT_NEAR(big.w[k], small.w[k], 1e-6);
}

TEST(AccumulateTest, AShortGroupKeepsItsTrueWeights) {
  Problem big(10), small(10);
  Optimizer one = big.Make(1), four = small.Make(4);
  int calls = 0;
  StepOver(big, one, {0, 10}, &calls);
  calls = 0;
  StepOver(small, four, {0, 8, 10}, &calls);
  EXPECT_EQ(calls, 3);
  for (size_t k = 0; k < big.w.size(); ++k) EXPECT_NEAR(big.w[k], small.w[k], 1e-7);
}

TEST(AccumulateTest, AGroupOfOneIsTheGradientBitForBit) {
  Problem a(7), b(7);
  Optimizer plain = a.Make(1), grouped = b.Make(3);
  int calls = 0;
  StepOver(a, plain, {0, 7}, &calls);
  StepOver(b, grouped, {0, 7}, &calls);
  EXPECT_EQ(a.w, b.w);
}

TEST(AccumulateTest, NoDataIsNoStep) {
  Problem p(4);
  Optimizer optimizer = p.Make(3);
  int calls = 0;
  const std::vector<float> before = p.w;
  EXPECT_TRUE(StepOver(p, optimizer, {0}, &calls).skipped);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(optimizer.steps(), 0);
  EXPECT_EQ(p.w, before);
}

TEST(AccumulateTest, EmptyBatchesAddNothing) {
  // Whatever an empty batch leaves in the gradients and says of the loss.
  for (const size_t position : {0U, 1U, 2U, 3U}) {
    Problem with(10), without(10);
    Optimizer a = with.Make(4), b = without.Make(3);
    const std::vector<size_t> cuts = {0, 3, 8, 10};
    for (int step = 0; step < 3; ++step) {
      size_t call = 0, next = 0;
      const Report report = a.Step([&](Pass) -> Evaluation {
        if (call++ == position) {
          std::fill(with.dw.begin(), with.dw.end(), NAN);
          return {NAN, 0};
        }
        ++next;
        return with.Run(cuts[next - 1], cuts[next]);
      });
      int calls = 0;
      EXPECT_EQ(report.loss, StepOver(without, b, cuts, &calls).loss);
      EXPECT_EQ(call, 4U);
      EXPECT_EQ(with.w, without.w);
    }
  }
}

TEST(AccumulateTest, EmptyBatchesAloneAreNoStep) {
  for (const int64_t count : {1, 3}) {
    Problem p(4);
    Optimizer optimizer = p.Make(count);
    const std::vector<float> before = p.w;
    int64_t calls = 0;
    const Report report = optimizer.Step([&](Pass) -> Evaluation {
      ++calls;
      std::fill(p.dw.begin(), p.dw.end(), 1.0F);
      return {1, 0};
    });
    EXPECT_EQ(calls, count);
    EXPECT_TRUE(report.skipped);
    EXPECT_TRUE(std::isnan(report.loss));
    EXPECT_EQ(optimizer.steps(), 0);
    EXPECT_EQ(p.w, before);
  }
}

TEST(AccumulateTest, BadNumbersOfSamplesAreNamedAndChangeNothing) {
  const std::pair<double, std::string> kBad[] = {
      {NAN, "nan"}, {INFINITY, "inf"}, {-INFINITY, "-inf"}, {-1, "-1"}};
  for (const auto& item : kBad) {
    const double bad = item.first;
    for (const int64_t count : {1, 2}) {
      Problem p(4);
      Optimizer optimizer = p.Make(count);
      const std::vector<float> before = p.w;
      int64_t calls = 0;
      EXPECT_EQ(ErrorOf([&] {
                  optimizer.Step([&](Pass) -> Evaluation {
                    const Evaluation e = p.Run(0, 4);
                    return {e.loss, ++calls == count ? bad : e.samples};
                  });
                }),
                "oracle: call " + std::to_string(count) +
                    " of the step gave samples = " + item.second + ", which is outside [0, inf)");
      EXPECT_EQ(p.w, before);
      EXPECT_EQ(optimizer.steps(), 0);
    }
  }
}

TEST(AccumulateTest, ATensorMissingFromSomeBatchesCountsAsZeroThere) {
  std::vector<float> w = {0, 0}, v = {0, 0}, dw = {2, 2}, dv = {4, 4};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.accumulate = 2;
  Optimizer optimizer({{.name = "w", .shape = {2}, .param = w.data()},
                       {.name = "v", .shape = {2}, .param = v.data()},
                       {.name = "u", .shape = {2}, .param = std::vector<float>(2).data()}},
                      spec);
  int call = 0;
  optimizer.Step([&](Pass) -> Evaluation {
    optimizer.tensors()[0].grad = dw.data();
    optimizer.tensors()[1].grad = ++call == 1 ? nullptr : dv.data();
    return {1.0, 5};
  });
  EXPECT_EQ(w, (std::vector<float>{-2, -2}));
  EXPECT_EQ(v, (std::vector<float>{-2, -2}));
  EXPECT_EQ(testing::Updates(optimizer, 2), 0);
}

TEST(AccumulateTest, BadInput) {
  EXPECT_THROW(Accumulate(0), Error);
  Problem p(4);
  Optimizer optimizer = p.Make(2);
  EXPECT_THROW(optimizer.Step(), Error);  // nobody to ask for the second gradient
}

TEST(AccumulateTest, WhatTheOracleThrowsPassesThrough) {
  Problem p(8);
  Optimizer optimizer = p.Make(2);
  const std::vector<float> before = p.w;
  int calls = 0;
  EXPECT_THROW(optimizer.Step([&](Pass) -> Evaluation {
    if (++calls == 2) throw std::runtime_error("no more");
    return p.Run(0, 4);
  }),
               std::runtime_error);
  EXPECT_EQ(p.w, before);
  EXPECT_EQ(optimizer.steps(), 0);
}

}  // namespace accumulate_test
}  // namespace kudari
