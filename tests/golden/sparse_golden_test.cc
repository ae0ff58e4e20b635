// Gradients of some rows against torch's SGD, Adagrad and SparseAdam in float64, recorded by
// make_sparse.py, whose gradients this repeats.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/state.h"

namespace kudari {
namespace sparse_golden_test {

using nlohmann::json;

constexpr int64_t kRows = 11, kWidth = 3, kBatch = 5;

/// A gradient of rows, the same row's added up.
template <class T>
struct RowGradient {
  std::vector<int64_t> rows;
  std::vector<T> values;
};

template <class T>
RowGradient<T> GradientAt(int64_t step) {
  std::map<int64_t, std::vector<double>> sums;
  const int64_t batch = step % 7 == 0 ? 0 : kBatch;
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<double>& sum = sums[(step * step + 3 * b * step + b * b) % kRows];
    sum.resize(kWidth);
    for (int64_t k = 0; k < kWidth; ++k) {
      sum[static_cast<size_t>(k)] += std::sin(static_cast<double>(step + 2 * b + 3 * k));
    }
  }
  RowGradient<T> gradient;
  for (const auto& [row, sum] : sums) {
    gradient.rows.push_back(row);
    for (const double x : sum) gradient.values.push_back(static_cast<T>(x));
  }
  gradient.values.resize(gradient.values.size() + 1);  // there is a gradient if it has no rows
  return gradient;
}

json Golden() {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/sparse.json");
  return json::parse(file);
}

template <class T>
void ExpectValues(std::span<const T> actual, const std::vector<double>& expected, double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(actual[i]), expected[i], bound) << "element " << i;
  }
}

/// Repeats a case; values may be `bound` apart.
template <class T>
void ExpectCase(const json& c, double bound) {
  std::vector<T> table;
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t k = 0; k < kWidth; ++k) {
      table.push_back(static_cast<T>(std::sin(static_cast<double>(5 * i + k))));
    }
  }
  OptimizerSpec spec(c["rule"].get<std::string>());
  for (const auto& [name, value] : c["options"].items()) {
    spec.options.emplace(name, value.template get<double>());
  }
  Optimizer optimizer({{.name = "table",
                        .shape = {kRows, kWidth},
                        .dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32,
                        .param = table.data()}},
                      spec);
  int64_t step = 0;
  for (const json& record : c["records"]) {
    while (step < record["step"]) {
      const RowGradient<T> gradient = GradientAt<T>(++step);
      optimizer.tensors()[0].grad = gradient.values.data();
      optimizer.tensors()[0].grad_rows = gradient.rows;
      optimizer.Step();
    }
    SCOPED_TRACE("step " + std::to_string(step));
    ExpectValues<T>(table, record["param"], bound);
    const StateTree state = optimizer.State();
    for (const auto& [slot, expected] : record["state"].items()) {
      SCOPED_TRACE(slot);
      ExpectValues<T>(state.At("tensors/table/slots/" + slot).Array().template As<T>(), expected,
                      bound);
    }
  }
  EXPECT_EQ(step, 40);
}

TEST(SparseGolden, RowsAreSteppedAsByTorch) {
  const json golden = Golden();
  EXPECT_EQ(golden["cases"].size(), 6U);
  for (const json& c : golden["cases"]) {
    SCOPED_TRACE(c["torch"].get<std::string>() + " " + c["options"].dump());
    ExpectCase<double>(c, 1e-14);
    ExpectCase<float>(c, 4e-6);
  }
}

}  // namespace sparse_golden_test
}  // namespace kudari
