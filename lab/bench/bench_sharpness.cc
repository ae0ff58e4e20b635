#include "lab/bench/bench_sharpness.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "lab/machine/memory_plan.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

constexpr int64_t kRows = 8192, kElements = int64_t{64} << 20;
constexpr int64_t kCycle = 5;  // steps, of which sources that reuse something perturb the first

struct Case {
  const char* source;
  StateFormat direction;
  /// Bytes of an element that a step must read and write, at least: of one that perturbs, and of
  /// one that does not. sam reads the gradient for its norm, then gradient and weight, and writes
  /// the weight and its copy, and puts that back: 4 + 16 + 8.
  double perturbs, reuses;
};

std::vector<Case> Cases() {
  constexpr StateFormat kFloat = StateFormat::kFloat32;
  return {{"sam", kFloat, 28, 28},
          {"sam_k", kFloat, 28, 0},
          // g is kept, 4; read again with g_s for their product, 8; and becomes g_v, 12. Then g is
          // read for its norm, 4, and g + g_v made of both, 12.
          {"looksam", kFloat, 52, 16},
          {"looksam", StateFormat::kBFloat16, 44, 14},
          {"layersam", kFloat, 32, 32},
          {"look_layersam", kFloat, 56, 16},
          {"asam", kFloat, 32, 32},
          {"gsam", kFloat, 52, 52}};
}

}  // namespace

void BenchSharpness(const std::regex& filter, int rounds, std::FILE* console,
                    nlohmann::ordered_json& results) {
  bool first = true;
  for (const int threads : {1, 2}) {
    double bandwidth = 0;
    for (const Case& c : Cases()) {
      const bool half = c.direction != StateFormat::kFloat32;
      const std::string name =
          fmt::format("{}{}/64M/{}", c.source, half ? "+bfloat16" : "", threads);
      if (!std::regex_search(name, filter)) continue;
      if (bandwidth == 0) bandwidth = MeasureBandwidth(threads);
      if (first) {
        fmt::print(console, "\n{:<26} {:>9} {:>15} {:>8} {:>9} {:>7} {:>8}\n", "sharpness, a step",
                   "ns/param", "min..max", "B/param", "at least", "ratio", "kept B");
        first = false;
      }
      std::vector<float> p(kElements), g(kElements), perturbed(kElements);
      for (size_t i = 0; i < p.size(); ++i) {
        p[i] = 0.25F + static_cast<float>(i * 37 % 1001) / 1001;
        g[i] = 1e-3F * p[i];
        perturbed[i] = 1e-3F * static_cast<float>(i * 29 % 997) / 997;
      }
      const auto make = [&](const std::string& source) {
        OptimizerSpec spec("sgd");
        spec.options.emplace("lr", 1e-9);
        spec.source = source;
        if (source != "plain") spec.sharpness = {.k = kCycle, .direction = c.direction};
        Optimizer optimizer({{.name = "w",
                              .shape = {kRows, kElements / kRows},
                              .param = p.data(),
                              .grad = g.data()}},
                            spec);
        optimizer.SetParallel({.threads = threads});
        return optimizer;
      };
      Optimizer plain = make("plain"), optimizer = make(c.source);
      // The oracle does nothing: the gradients are there.
      const Oracle oracle = [&](Pass pass) {
        optimizer.tensors()[0].grad = pass == Pass::kPlain ? g.data() : perturbed.data();
        return Evaluation(0);
      };
      std::vector<double> times;
      for (int round = -1; round < rounds; ++round) {
        double all = 0;
        for (int64_t step = 0; step < kCycle; ++step) {
          all += Time(1, [&] { optimizer.Step(oracle); }) - Time(1, [&] { plain.Step(); });
        }
        if (round >= 0) times.push_back(all / kCycle);
      }
      const auto ns = [](double seconds) { return seconds * 1e9 / kElements; };
      const auto [low, high] = std::minmax_element(times.begin(), times.end());
      const double bytes = (c.perturbs + (kCycle - 1) * c.reuses) / kCycle;
      const double least = bytes / bandwidth;  // seconds an element
      const double median = Median(times);
      const auto kept =
          static_cast<double>(optimizer.Memory().source) / static_cast<double>(kElements);
      fmt::print(console, "{:<26} {:>9.3f} {:>15} {:>8.1f} {:>9.3f} {:>7.2f} {:>8.0f}\n", name,
                 ns(median), fmt::format("{:.3f}..{:.3f}", ns(*low), ns(*high)), bytes, least * 1e9,
                 median / (least * kElements), kept);
      std::fflush(console);
      results.push_back({{"case", name},
                         {"threads", threads},
                         {"ns_per_param", ns(median)},
                         {"least_bytes_per_param", bytes},
                         {"bandwidth_bytes_per_second", bandwidth},
                         {"ratio", median / (least * kElements)},
                         {"kept_bytes_per_param", kept},
                         {"rounds", rounds}});
    }
  }
}

}  // namespace kudari::lab
