#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "kudari/kudari.h"
#include "tests/support/sanitized.h"

namespace kudari {
namespace memory_test {

/// Bytes of this process that are in memory.
int64_t Resident() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

struct Case {
  std::string name;
  DType type;
  OptimizerSpec spec;
  double bytes;  // an element; 0: no simple number
};

OptimizerSpec With(OptimizerSpec spec, const Precision& precision) {
  spec.precision = precision;
  return spec;
}

std::vector<Case> Cases() {
  OptimizerSpec averaged = AdamW{};
  averaged.ema = EmaSpec{};
  averaged.lookahead = LookaheadSpec{.state = LookaheadState::kPullback};
  return {
      {"float32", DType::kFloat32, AdamW{}, 16},
      {"seven", DType::kBFloat16,
       With(AdamW{}, {.master = Master::kSplit8, .state = StateFormat::kLinear8}),
       7 + 2 * 4 / 256.0},
      {"master", DType::kBFloat16, With(AdamW{}, {.master = Master::kFloat32}), 14},
      {"bfloat16", DType::kBFloat16, With(Lion{}, {.state = StateFormat::kBFloat16}), 6},
      {"averages", DType::kFloat32, averaged, 28},
      {"muon", DType::kFloat32, OptimizerSpec("muon"), 0},
      {"muon16", DType::kBFloat16, With(OptimizerSpec("muon"), {.state = StateFormat::kLinear8}),
       0},
      {"adafactor", DType::kFloat32, OptimizerSpec("adafactor"), 0},
  };
}

class MemoryTest : public ::testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Specs, MemoryTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

/// Steps a matrix once, compares the report with the plan, and returns what became resident over
/// what the plan says.
double ResidentOverPlan(const Case& c, int64_t rows, int64_t columns) {
  const int64_t before = Resident();
  const auto bytes = static_cast<size_t>(rows * columns * Bytes(c.type));
  const std::unique_ptr<char, decltype(&std::free)> p(static_cast<char*>(std::malloc(bytes)),
                                                      &std::free);
  const std::unique_ptr<char, decltype(&std::free)> g(static_cast<char*>(std::malloc(bytes)),
                                                      &std::free);
  std::fill_n(p.get(), bytes, 0x3C);
  std::fill_n(g.get(), bytes, 0x3C);
  Optimizer optimizer(
      {{.name = "w", .shape = {rows, columns}, .dtype = c.type, .param = p.get(), .grad = g.get()}},
      c.spec);
  optimizer.SetParallel({.threads = 2});
  const MemoryPlan plan = optimizer.Memory();
  if (c.bytes > 0) {
    EXPECT_DOUBLE_EQ(static_cast<double>(plan.Total()) / static_cast<double>(rows * columns),
                     c.bytes);
  }
  const Report report = optimizer.Step();
  EXPECT_EQ(report.bytes_read, plan.bytes_read);
  EXPECT_EQ(report.bytes_written, plan.bytes_written);
  return static_cast<double>(Resident() - before) / static_cast<double>(plan.Total());
}

TEST_P(MemoryTest, ThePlanIsWhatBecomesResident) {
  const Case& c = GetParam();
  // What is freed goes back to the system at once, so that nothing is there to be used again.
  mallopt(M_MMAP_THRESHOLD, 1 << 16);
  ResidentOverPlan(c, 256, 256);  // brings code and threads into memory
  // Muon's products of larger matrices take long.
  const int64_t rows = c.name.starts_with("muon") ? 2048 : 8192;
  const double ratio = ResidentOverPlan(c, rows, 1024);
  if (testing::kSanitized) return;  // their shadow memory is resident, too
  EXPECT_NEAR(ratio, 1, 0.02);
}

TEST(MemoryPlanTest, SourcesAreCounted) {
  std::vector<float> p(1000), g(1000);
  OptimizerSpec spec("momentum");
  spec.accumulate = 4;
  spec.source = "nesterov_lookahead";
  const Optimizer optimizer({{.name = "w", .shape = {1000}, .param = p.data(), .grad = g.data()}},
                            spec);
  const MemoryPlan plan = optimizer.Memory();
  EXPECT_EQ(plan.accumulated, 4000);
  EXPECT_EQ(plan.source, 4000);
  EXPECT_EQ(plan.tensors[0].gradient, 4000);
  EXPECT_EQ(plan.tensors[0].state,
            (std::vector<std::pair<std::string, int64_t>>{{"momentum_buffer", 4000}}));
  EXPECT_EQ(plan.Total(), 20000);
  // A copy of the weights; for looksam 4 bytes in any case, and the direction.
  const auto source_of = [&](const std::string& source, DType type, StateFormat direction) {
    OptimizerSpec other("sgd");
    other.source = source;
    if (source != "plain") other.sharpness = {.direction = direction};
    const Tensor w = {
        .name = "w", .shape = {1000}, .dtype = type, .param = p.data(), .grad = g.data()};
    return Optimizer({w}, other).Memory().source;
  };
  EXPECT_EQ(source_of("plain", DType::kFloat32, StateFormat::kFloat32), 0);
  for (const char* const source : {"sam", "sam_k", "layersam", "asam"}) {
    EXPECT_EQ(source_of(source, DType::kFloat32, StateFormat::kFloat32), 4000) << source;
    EXPECT_EQ(source_of(source, DType::kBFloat16, StateFormat::kFloat32), 2000) << source;
  }
  EXPECT_EQ(source_of("gsam", DType::kBFloat16, StateFormat::kFloat32), 6000);
  for (const char* const source : {"looksam", "look_layersam"}) {
    EXPECT_EQ(source_of(source, DType::kFloat32, StateFormat::kFloat32), 8000) << source;
    EXPECT_EQ(source_of(source, DType::kFloat32, StateFormat::kBFloat16), 6000) << source;
  }
}

}  // namespace memory_test
}  // namespace kudari
