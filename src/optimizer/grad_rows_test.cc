// Gradients of some rows. That torch steps them alike is tests/golden's sparse_golden_test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/fenced_backend.h"
#include "tests/support/model.h"
#include "tests/support/random.h"

namespace kudari {
namespace grad_rows_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using testing::Random;

/// Some of the rows of a table of 500 by 37, and a gradient for them; and the same as a gradient of
/// all rows.
struct Rows {
  static constexpr int64_t kCount = 500, kWidth = 37;

  explicit Rows(uint64_t seed, int64_t every = 7) {
    Random random(seed);
    whole.assign(kCount * kWidth, 0);
    for (auto row = static_cast<int64_t>(seed % 3); row < kCount;
         row += 1 + static_cast<int64_t>(random.Bits() % static_cast<uint64_t>(every))) {
      indices.push_back(row);
      const std::vector<float> g = random.Floats(kWidth);
      values.insert(values.end(), g.begin(), g.end());
      std::copy(g.begin(), g.end(), whole.begin() + row * kWidth);
    }
  }
  void BindTo(Tensor& t) const {
    t.grad = values.data();
    t.grad_rows = indices;
  }
  /// That rows with a gradient are `stepped`, and others as `before`.
  void ExpectMixed(const std::vector<float>& now, const std::vector<float>& stepped,
                   const std::vector<float>& before) const {
    std::vector<float> expected = before;
    for (const int64_t row : indices) {
      std::copy_n(stepped.begin() + row * kWidth, kWidth, expected.begin() + row * kWidth);
    }
    EXPECT_TRUE(now == expected);
  }

  std::vector<int64_t> indices;
  std::vector<float> values, whole;
};

Model Table() { return Model({{"table", {Rows::kCount, Rows::kWidth}}, {"w", {50, 3}}}); }

const std::vector<std::string> kRules = {"sgd", "adagrad", "sparse_adam"};

TEST(GradRows, RowsAreSteppedAsInAWholeGradientAndOthersStay) {
  for (const std::string& rule : kRules) {
    SCOPED_TRACE(rule);
    const std::vector<std::string>& slots = Registry::Builtin().Find(rule).slots;
    Model table = Table();
    OptimizerSpec spec(rule);
    spec.clip_value = 0.3;
    spec.clip_norm = 0.9;
    Optimizer optimizer(table.tensors, spec);
    for (uint64_t step = 1; step <= 70; ++step) {
      const Rows rows(step);
      // What a whole gradient would do from here.
      Model whole = Table();
      whole.params = table.params;
      whole.grads = {rows.whole, table.grads[1]};
      for (size_t i = 0; i < 2; ++i) {
        whole.tensors[i].param = whole.params[i].data();
        whole.tensors[i].grad = whole.grads[i].data();
      }
      Optimizer other(whole.tensors, spec);
      other.LoadState(optimizer.State());
      const std::vector<float> before = table.params[0];
      std::vector<std::vector<float>> slots_before;
      for (const std::string& slot : slots) slots_before.push_back(optimizer.SlotValues(0, slot));
      rows.BindTo(optimizer.tensors()[0]);
      const Report a = optimizer.Step(), b = other.Step();
      EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-14 * b.grad_norm);
      EXPECT_EQ(table.params[1], whole.params[1]);
      rows.ExpectMixed(table.params[0], whole.params[0], before);
      for (size_t k = 0; k < slots.size(); ++k) {
        SCOPED_TRACE(slots[k]);
        std::vector<float>& old = slots_before[k];
        if (old.empty()) old.resize(table.params[0].size());
        rows.ExpectMixed(optimizer.SlotValues(0, slots[k]), other.SlotValues(0, slots[k]), old);
      }
      if (::testing::Test::HasFailure()) return;
    }
  }
}

/// The table after three steps, all rows or those at `indices` having gradients.
template <class T>
std::vector<T> Stepped(const std::string& rule, int64_t width, bool of_rows) {
  constexpr int64_t kCount = 41;
  const std::vector<int64_t> indices = {0, 1, 5, 6, 7, 20, 21, 30, 39, 40};
  Random random(static_cast<uint64_t>(width));
  std::vector<T> table(static_cast<size_t>(kCount * width)), whole(table.size()), rows;
  for (T& x : table) x = static_cast<T>(random.Float()) / T{7};
  for (const int64_t row : indices) {
    for (int64_t i = row * width; i < (row + 1) * width; ++i) {
      whole[static_cast<size_t>(i)] = static_cast<T>(random.Float()) / T{3};
      rows.push_back(whole[static_cast<size_t>(i)]);
    }
  }
  Tensor tensor{.name = "table",
                .shape = {kCount, width},
                .dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32,
                .param = table.data(),
                .grad = whole.data()};
  if (of_rows) {
    tensor.grad = rows.data();
    tensor.grad_rows = indices;
  }
  Optimizer optimizer({tensor}, OptimizerSpec(rule));
  for (int step = 0; step < 3; ++step) optimizer.Step();
  return table;
}

// A gradient of zeros changes nothing here: all rows begin without moments.
TEST(GradRows, RowsOfEveryWidthAndTypeAreSteppedAsInAWholeGradient) {
  for (const std::string& rule : kRules) {
    for (const std::string_view target : KernelTargets()) {
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      for (const int64_t width : {1, 3, 8, 15, 16, 33, 64, 100, 257, 600}) {
        SCOPED_TRACE(rule + ", " + std::string(target) + ", " + std::to_string(width));
        EXPECT_EQ(Stepped<float>(rule, width, true), Stepped<float>(rule, width, false));
        EXPECT_EQ(Stepped<double>(rule, width, true), Stepped<double>(rule, width, false));
      }
      unsetenv("KUDARI_TARGET");
    }
  }
}

TEST(GradRows, NeitherThreadsNorTargetsNorBackendsMatter) {
  for (const std::string& rule : kRules) {
    std::vector<std::vector<float>> expected;
    const auto run = [&](std::string_view target, int threads, bool fenced) {
      SCOPED_TRACE(rule + ", " + std::string(target) + ", " + std::to_string(threads));
      testing::FencedBackend backend;
      Model table({{"table", {5000, 37}}, {"w", {30000}}});
      std::vector<Tensor> tensors = table.tensors;
      for (size_t i = 0; fenced && i < 2; ++i) {
        tensors[i].backend = &backend;
        for (void** const at : {&tensors[i].param, const_cast<void**>(&tensors[i].grad)}) {
          void* const far = backend.Allocate(table.params[i].size() * sizeof(float));
          backend.Write({static_cast<const std::byte*>(*at), table.params[i].size() * 4}, far);
          *at = far;
        }
      }
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      OptimizerSpec spec(rule);
      spec.clip_norm = 1;
      Optimizer optimizer(tensors, spec);
      unsetenv("KUDARI_TARGET");
      optimizer.SetParallel({.threads = threads});
      for (uint64_t step = 1; step <= 3; ++step) {
        std::vector<int64_t> rows;
        for (int64_t row = static_cast<int64_t>(step); row < 5000; row += 3) rows.push_back(row);
        optimizer.tensors()[0].grad_rows = rows;
        optimizer.Step();
      }
      for (size_t i = 0; fenced && i < 2; ++i) {
        backend.Read(tensors[i].param, std::as_writable_bytes(std::span(table.params[i])), {});
      }
      if (expected.empty()) expected = table.params;
      EXPECT_EQ(table.params, expected);
    };
    for (const std::string_view target : KernelTargets()) {
      for (const int threads : {1, 2, 5}) run(target, threads, false);
    }
    run(KernelTarget(), 2, true);
  }
}

TEST(GradRows, WholeGradientsAndGradientsOfRowsMayTakeTurns) {
  Model table = Table(), same = Table();
  Optimizer mixed(table.tensors, Adagrad{}), whole(same.tensors, Adagrad{});
  for (uint64_t step = 1; step <= 6; ++step) {
    // For Adagrad without decay a row without a gradient is one whose gradient is zero.
    const Rows rows(step, step % 2 == 0 ? 7 : 40);
    if (step % 3 == 0) {
      mixed.tensors()[0].grad = rows.whole.data();
      mixed.tensors()[0].grad_rows.reset();
    } else {
      rows.BindTo(mixed.tensors()[0]);
    }
    whole.tensors()[0].grad = rows.whole.data();
    mixed.Step();
    whole.Step();
    EXPECT_EQ(table.params, same.params) << step;
  }
  EXPECT_EQ(FirstDifference(mixed.State(), whole.State()), "");
}

TEST(GradRows, AGradientOfNoRowsIsAStep) {
  Model table = Table();
  const std::vector<float> before = table.params[0];
  Optimizer optimizer(table.tensors, SparseAdam{});
  optimizer.tensors()[0].grad_rows = std::span<const int64_t>();
  optimizer.Step();
  EXPECT_EQ(table.params[0], before);
  EXPECT_EQ(optimizer.State().At("tensors/table/step").Int(), 1);
}

TEST(GradRows, TensorByTensorIsTheSame) {
  Model table = Table(), single = Table();
  Optimizer a(table.tensors, SparseAdam{}), b(single.tensors, SparseAdam{});
  for (uint64_t step = 1; step <= 3; ++step) {
    const Rows rows(step);
    rows.BindTo(a.tensors()[0]);
    rows.BindTo(b.tensors()[0]);
    a.Step();
    double squares = 0;
    for (const float x : rows.values) squares += static_cast<double>(x) * x;
    EXPECT_NEAR(b.GradientSquares(0), squares, 1e-12 * squares);
    for (size_t i = 0; i < 2; ++i) b.StepTensor(i);
    b.FinishStep();
  }
  EXPECT_EQ(single.params, table.params);
}

TEST(GradRows, TheReportCountsTheRowsAlone) {
  Model table = Table();
  Optimizer optimizer(table.tensors, SparseAdam{});
  optimizer.tensors()[1].grad = nullptr;
  const Rows rows(1);
  rows.BindTo(optimizer.tensors()[0]);
  const auto bytes = static_cast<int64_t>(rows.values.size() * sizeof(float));
  const Report report = optimizer.Step();
  EXPECT_EQ(report.bytes_read, 4 * bytes);
  EXPECT_EQ(report.bytes_written, 3 * bytes);
}

std::string Refusal(const OptimizerSpec& spec, DType dtype = DType::kFloat32) {
  Model table = Table();
  table.tensors[0].dtype = table.tensors[1].dtype = dtype;
  Optimizer optimizer(table.tensors, spec);
  const Rows rows(1);
  rows.BindTo(optimizer.tensors()[0]);
  const std::vector<float> before = table.params[0];
  const StateTree state = optimizer.State();
  std::string message = ErrorOf([&] { optimizer.Step(); });
  EXPECT_EQ(table.params[0], before);
  EXPECT_EQ(FirstDifference(optimizer.State(), state), "");
  return message;
}

TEST(GradRows, OtherRulesRefuseThem) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    if (rule.rows) continue;
    EXPECT_EQ(Refusal(OptimizerSpec(rule.name)),
              "tensor \"table\" has a gradient of some rows; sgd, adagrad and sparse_adam take "
              "one, and " +
                  rule.name + " changes all rows in every step");
  }
}

TEST(GradRows, WhatIsOfAllRowsRefusesThem) {
  const auto refused = [](const auto& change) {
    OptimizerSpec spec = Sgd{};
    change(spec);
    return Refusal(spec);
  };
  const std::string what = "tensor \"table\" has a gradient of some rows; ";
  EXPECT_EQ(refused([](auto& s) { s.options.at("weight_decay") = 0.1; }),
            what + "weight_decay = 0.1 is of all rows and must be 0 (sgd)");
  EXPECT_EQ(Refusal(Adagrad{.initial_accumulator_value = 0.5}),
            what + "initial_accumulator_value = 0.5 is of all rows and must be 0 (adagrad)");
  EXPECT_EQ(refused([](auto& s) { s.l2 = 0.1; }),
            what + "the penalties l1 and l2 are of all rows and must be 0");
  EXPECT_EQ(refused([](auto& s) { s.centralize = true; }),
            what + "agc and centralize need whole gradients");
  EXPECT_EQ(Refusal(Sgd{}, DType::kBFloat16),
            what + "parameter, gradient and state must then be float32, or float64 all of them");
}

TEST(GradRows, SourcesRefuseThem) {
  for (const bool accumulates : {true, false}) {
    OptimizerSpec spec = Sgd{};
    if (accumulates) spec.accumulate = 2;
    if (!accumulates) spec.source = "sam";
    Model table = Table();
    Optimizer optimizer(table.tensors, spec);
    const Rows rows(1);
    const std::vector<float> before = table.params[0];
    EXPECT_EQ(ErrorOf([&] {
                optimizer.Step([&](Pass) -> Evaluation {
                  rows.BindTo(optimizer.tensors()[0]);
                  return 1.0;
                });
              }),
              std::string("tensor \"table\" has a gradient of some rows; ") +
                  (accumulates ? "accumulate = 2" : "source = \"sam\"") + " needs whole gradients");
    EXPECT_EQ(table.params[0], before);
  }
}

TEST(GradRows, RowsMustAscendAndBeThere) {
  Model table = Table();
  Optimizer optimizer(table.tensors, Sgd{});
  const std::vector<float> before = table.params[0];
  const auto error = [&](const std::vector<int64_t>& rows) {
    optimizer.tensors()[0].grad_rows = rows;
    return ErrorOf([&] { optimizer.Step(); });
  };
  const std::string what = "tensor \"table\" has a gradient of some rows; row ";
  const std::string range = ", but rows must ascend, in [0, 500)";
  EXPECT_EQ(error({3, 3}), what + "3 comes behind 3" + range);
  EXPECT_EQ(error({5, 2}), what + "2 comes behind 5" + range);
  EXPECT_EQ(error({-1}), what + "-1 comes behind -1" + range);
  EXPECT_EQ(error({4, 500}), what + "500 comes behind 4" + range);
  EXPECT_EQ(table.params[0], before);
  EXPECT_EQ(error({0, 499}), "no error");
  // Also where the number of rows alone has changed.
  EXPECT_EQ(error({0, 1, 1}), what + "1 comes behind 1" + range);
  EXPECT_EQ(error({0, 1, 2}), "no error");
}

}  // namespace grad_rows_test
}  // namespace kudari
