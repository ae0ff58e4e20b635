#include "lab/machine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kudari/kudari.h"

namespace kudari::lab {
namespace memory_plan_test {

using ::testing::HasSubstr;

std::string Printed(const MemoryPlan& plan, double bandwidth, int threads) {
  std::FILE* const file = std::tmpfile();
  PrintPlan(plan, bandwidth, threads, file);
  std::string text(static_cast<size_t>(std::ftell(file)), ' ');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(PlanTest, SaysWhatEachParameterTakes) {
  std::vector<uint16_t> w(100000), b(100), dw(100000), db(100);
  OptimizerSpec spec = AdamW{};
  spec.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8};
  const Optimizer optimizer({{.name = "w",
                              .shape = {1000, 100},
                              .dtype = DType::kBFloat16,
                              .param = w.data(),
                              .grad = dw.data()},
                             {.name = "b",
                              .shape = {100},
                              .dtype = DType::kBFloat16,
                              .param = b.data(),
                              .grad = db.data()}},
                            spec);
  const std::string text = Printed(optimizer.Memory(), 2e9, 2);
  EXPECT_THAT(text, HasSubstr("100100 parameters in 2 tensors; 100000 of them in tensors of 4096"));
  // 2, 1 and 2 bytes, and 100,000 + 4 * 391 + 400 of each moment.
  EXPECT_THAT(text, HasSubstr("weights                               2.000     195.51 KiB\n"));
  EXPECT_THAT(text, HasSubstr("master                                1.000      97.75 KiB\n"));
  EXPECT_THAT(text, HasSubstr("gradients                             2.000     195.51 KiB\n"));
  EXPECT_THAT(text, HasSubstr("state: exp_avg                        1.019      99.57 KiB\n"));
  EXPECT_THAT(text, HasSubstr("state: exp_avg_sq                     1.019      99.57 KiB\n"));
  EXPECT_THAT(text, HasSubstr("total without activations             7.037     687.92 KiB\n"));
  // 704,428 + 504,228 bytes at 2 GB/s.
  EXPECT_THAT(text, HasSubstr("reads 687.92 KiB and writes 492.41 KiB: at least 604.3 us at 2.0 "
                              "GB/s, measured here with 2 threads."));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("scratch")));
}

TEST(PlanTest, BandwidthIsMeasured) {
  // Between a floppy disk and anything that will ever be built.
  EXPECT_GT(MeasureBandwidth(1), 1e6);
  EXPECT_LT(MeasureBandwidth(2), 1e15);
}

}  // namespace memory_plan_test
}  // namespace kudari::lab
