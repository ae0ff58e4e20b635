#include "lab/machine/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kudari/parallel.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/machine/roofline.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

std::string TimeText(double seconds) {
  if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.1f} us", seconds * 1e6);
}

int64_t ElementsOf(const MemoryPlan& plan) {
  int64_t elements = 0;
  for (const TensorBytes& t : plan.tensors) elements += t.elements;
  return elements;
}

}  // namespace

double MeasureBandwidth(int threads) {
  // Four arrays of 32 MB, of which three are written, as AdamW does.
  constexpr size_t kSize = size_t{8} << 20, kArrays = 4;
  constexpr double kBytes = 7.0 * kSize * sizeof(float);
  std::vector<std::vector<float>> arrays(kArrays, std::vector<float>(kSize, 1));
  const Sweep sweep{.slots = 2};
  std::vector<double> seconds;
  for (int round = 0; round < 7; ++round) {
    seconds.push_back(Time(1, [&] {
      RunParallel({}, threads, [&](int k) {
        const size_t begin =
            kSize * static_cast<size_t>(k) / static_cast<size_t>(threads) / 16 * 16;
        const size_t end =
            kSize * static_cast<size_t>(k + 1) / static_cast<size_t>(threads) / 16 * 16;
        RunSweep(Stream<float>{.p = arrays[0].data() + begin,
                               .g = arrays[1].data() + begin,
                               .state = {arrays[2].data() + begin, arrays[3].data() + begin},
                               .n = end - begin},
                 sweep, 64);
      });
    }));
  }
  return kBytes / Median(seconds);
}

MemoryPlan Combined(MemoryPlan a, const MemoryPlan& b) {
  a.tensors.insert(a.tensors.end(), b.tensors.begin(), b.tensors.end());
  for (int64_t MemoryPlan::*const part :
       {&MemoryPlan::accumulated, &MemoryPlan::averages, &MemoryPlan::source, &MemoryPlan::scratch,
        &MemoryPlan::bytes_read, &MemoryPlan::bytes_written}) {
    a.*part += b.*part;
  }
  return a;
}

std::vector<std::pair<std::string, int64_t>> PlanRows(const MemoryPlan& plan) {
  // In the order in which they come up.
  std::vector<std::pair<std::string, int64_t>> rows = {
      {"weights", 0}, {"master", 0}, {"gradients", 0}};
  const auto row = [&rows](const std::string& name) -> int64_t& {
    const auto at =
        std::find_if(rows.begin(), rows.end(), [&name](const auto& r) { return r.first == name; });
    if (at != rows.end()) return at->second;
    return rows.emplace_back(name, 0).second;
  };
  for (const TensorBytes& t : plan.tensors) {
    rows[0].second += t.weights;
    rows[1].second += t.master;
    rows[2].second += t.gradient;
    for (const auto& [slot, bytes] : t.state) row("state: " + slot) += bytes;
  }
  row("accumulated gradients") = plan.accumulated;
  row("averages of weights") = plan.averages;
  row("kept by the source") = plan.source;
  row("scratch memory") = plan.scratch;
  std::erase_if(rows, [](const auto& r) { return r.second == 0; });
  return rows;
}

int64_t CheckpointBytes(const MemoryPlan& plan) {
  int64_t bytes = plan.averages + plan.source;
  for (const TensorBytes& t : plan.tensors) {
    bytes += t.weights + t.master;
    for (const auto& [slot, size] : t.state) bytes += size;
  }
  return bytes;
}

std::string PlanJson(const MemoryPlan& plan, double bandwidth, int threads) {
  nlohmann::ordered_json bytes = nlohmann::ordered_json::object();
  for (const auto& [name, size] : PlanRows(plan)) bytes[name] = size;
  const nlohmann::ordered_json json = {
      {"parameters", ElementsOf(plan)},
      {"tensors", plan.tensors.size()},
      {"bytes", bytes},
      {"total_bytes", plan.Total()},
      {"checkpoint_bytes", CheckpointBytes(plan)},
      {"bytes_read_per_step", plan.bytes_read},
      {"bytes_written_per_step", plan.bytes_written},
      {"bandwidth_bytes_per_second", bandwidth},
      {"threads", threads},
      {"least_seconds_per_step",
       static_cast<double>(plan.bytes_read + plan.bytes_written) / bandwidth}};
  return JsonText(json, 2) + "\n";
}

void PrintPlan(const MemoryPlan& plan, double bandwidth, int threads, std::FILE* console) {
  const int64_t elements = ElementsOf(plan);
  int64_t large = 0;
  for (const TensorBytes& t : plan.tensors) {
    large += t.elements >= Precision::kSmallestCoded ? t.elements : 0;
  }

  const auto print = [&](const std::string& name, int64_t bytes) {
    const auto total = static_cast<double>(bytes);
    fmt::print(console, "{:<32} {:>10.3f} {:>14}\n", name,
               elements == 0 ? 0.0 : total / static_cast<double>(elements), SizeText(total));
  };
  fmt::print(console, "{} parameters in {} tensors; {} of them in tensors of {} or more\n\n",
             elements, plan.tensors.size(), large, Precision::kSmallestCoded);
  fmt::print(console, "{:<32} {:>10} {:>14}\n", "", "bytes each", "total");
  for (const auto& [name, bytes] : PlanRows(plan)) print(name, bytes);
  print("total without activations", plan.Total());
  print("copy while a checkpoint is saved", CheckpointBytes(plan));
  const auto traffic = static_cast<double>(plan.bytes_read + plan.bytes_written);
  fmt::print(console,
             "\nAn optimiser step reads {} and writes {}: at least {} at {:.1f} GB/s, measured "
             "here with {}.\n",
             SizeText(static_cast<double>(plan.bytes_read)),
             SizeText(static_cast<double>(plan.bytes_written)), TimeText(traffic / bandwidth),
             bandwidth / 1e9, threads == 1 ? "1 thread" : fmt::format("{} threads", threads));
}

}  // namespace kudari::lab
