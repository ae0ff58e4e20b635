#include "lab/bench/bench_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "lab/bench/bench_memory.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kRows = 8192, kElements = int64_t{64} << 20;

struct Way {
  const char* name;
  DType type;
  Precision precision;
};

std::vector<Way> Ways() {
  return {{"7bytes", DType::kBFloat16, {.master = Master::kSplit8, .state = StateFormat::kLinear8}},
          {"master32", DType::kBFloat16, {.master = Master::kFloat32}},
          {"bfloat16", DType::kBFloat16, {.state = StateFormat::kBFloat16}},
          {"linear8", DType::kFloat32, {.state = StateFormat::kLinear8}},
          {"softsign8", DType::kFloat32, {.state = StateFormat::kSoftsign8}},
          {"dynamic8", DType::kFloat32, {.state = StateFormat::kDynamic8}}};
}

/// One matrix with its gradient.
class Arrays {
 public:
  explicit Arrays(DType type) : type_(type), p_(Make()), g_(Make()) {}

  Optimizer MakeOptimizer(OptimizerSpec spec, const Precision& precision, int threads) const {
    spec.precision = precision;
    Optimizer optimizer({{.name = "w",
                          .shape = {kRows, kElements / kRows},
                          .dtype = type_,
                          .param = p_.get(),
                          .grad = g_.get()}},
                        spec);
    optimizer.SetParallel({.threads = threads});
    return optimizer;
  }

 private:
  using Memory = BenchArray<uint16_t>;

  Memory Make() const {
    const auto size = static_cast<size_t>(kElements * Bytes(type_) / 2);
    Memory halves = MakeBenchArray<uint16_t>(size);
    // The upper halves of floats between 0.25 and 1; in float32 each appears twice.
    for (size_t i = 0; i < size; ++i) {
      halves[i] =
          static_cast<uint16_t>(0x3E80 + (i / (type_ == DType::kFloat32 ? 2 : 1)) * 37 % 256);
    }
    return halves;
  }

  DType type_;
  Memory p_, g_;
};

}  // namespace

void BenchPrecision(const std::regex& filter, int rounds, std::FILE* console, Json& results) {
  bool first = true;
  for (const char* const rule : {"adamw", "lion", "lamb"}) {
    for (const int threads : {1, 2}) {
      for (const Way& way : Ways()) {
        const std::string name = fmt::format("{}+{}/64M/{}", rule, way.name, threads);
        if (!std::regex_search(name, filter)) continue;
        if (first) {
          fmt::print(console, "\n{:<26} {:>9} {:>15} {:>9} {:>9} {:>7} {:>11}\n",
                     "in 16 and 8 bits", "ns/param", "min..max", "B/param", "float32", "ratio",
                     "min..max");
          first = false;
        }
        const OptimizerSpec spec(rule);
        const Arrays floats(DType::kFloat32), arrays(way.type);
        Optimizer reference = floats.MakeOptimizer(spec, {}, threads);
        Optimizer optimizer = arrays.MakeOptimizer(spec, way.precision, threads);
        std::vector<double> steps, references, ratios;
        for (int round = -2; round < rounds; ++round) {
          const double step = Time(1, [&] { optimizer.Step(); });
          const double full = Time(1, [&] { reference.Step(); });
          if (round < 0) continue;
          steps.push_back(step);
          references.push_back(full);
          ratios.push_back(step / full);
        }
        const auto ns = [](double seconds) { return seconds * 1e9 / kElements; };
        const auto [low, high] = std::minmax_element(steps.begin(), steps.end());
        const auto [best, worst] = std::minmax_element(ratios.begin(), ratios.end());
        const double bytes =
            static_cast<double>(optimizer.Memory().Total()) / static_cast<double>(kElements);
        fmt::print(console, "{:<26} {:>9.3f} {:>15} {:>9.2f} {:>9.3f} {:>7.3f} {:>11}\n", name,
                   ns(Median(steps)), fmt::format("{:.3f}..{:.3f}", ns(*low), ns(*high)), bytes,
                   ns(Median(references)), Median(ratios),
                   fmt::format("{:.2f}..{:.2f}", *best, *worst));
        std::fflush(console);
        results.push_back({{"case", name},
                           {"threads", threads},
                           {"ns_per_param", ns(Median(steps))},
                           {"resident_bytes_per_param", bytes},
                           {"float32_ns_per_param", ns(Median(references))},
                           {"time_ratio", Median(ratios)},
                           {"time_ratio_min", *best},
                           {"time_ratio_max", *worst},
                           {"rounds", rounds},
                           {"target", KernelTarget()}});
      }
    }
  }
}

}  // namespace kudari::lab
