#include "lab/bench/bench_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "lab/bench/bench_memory.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

constexpr int64_t kTable = 1'000'000, kRows = 1000, kWidth = 64;
constexpr int kRepeats = 50;  // steps in one timing of what is in the caches

BenchArray<float> Filled(int64_t n) {
  BenchArray<float> x = MakeBenchArray<float>(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    x[static_cast<size_t>(i)] = 0.25F + static_cast<float>(i * 37 % 1001) / 1001;
  }
  return x;
}

/// Rows of the table, ascending.
std::vector<int64_t> RandomRows() {
  std::mt19937_64 random(1);
  std::set<int64_t> rows;
  while (std::ssize(rows) < kRows) rows.insert(static_cast<int64_t>(random() % kTable));
  return {rows.begin(), rows.end()};
}

Optimizer MakeOptimizer(const std::string& rule, const Tensor& tensor, int threads) {
  Optimizer optimizer({tensor}, OptimizerSpec(rule));
  optimizer.SetParallel({.threads = threads});
  return optimizer;
}

/// Seconds of a step of the rows, of the dense tensor, and their quotients.
struct Times {
  std::vector<double> rows, dense, ratios;

  void Add(double of_rows, double of_dense) {
    rows.push_back(of_rows);
    dense.push_back(of_dense);
    ratios.push_back(of_rows / of_dense);
  }
};

void Print(const std::string& name, const Times& t, std::FILE* console) {
  const auto ns = [](double seconds) { return seconds * 1e9 / (kRows * kWidth); };
  const auto [low, high] = std::ranges::minmax(t.rows);
  const auto [best, worst] = std::ranges::minmax(t.ratios);
  fmt::print(console, "{:<42} {:>9.3f} {:>15} {:>9.3f} {:>7.2f} {:>11}\n", name, ns(Median(t.rows)),
             fmt::format("{:.3f}..{:.3f}", ns(low), ns(high)), ns(Median(t.dense)),
             Median(t.ratios), fmt::format("{:.2f}..{:.2f}", best, worst));
  std::fflush(console);
}

nlohmann::ordered_json ToJson(const Times& t) {
  const auto ns = [](double seconds) { return seconds * 1e9 / (kRows * kWidth); };
  const auto [best, worst] = std::ranges::minmax(t.ratios);
  return {{"ns_per_param", ns(Median(t.rows))},
          {"dense_ns_per_param", ns(Median(t.dense))},
          {"time_ratio", Median(t.ratios)},
          {"time_ratio_min", best},
          {"time_ratio_max", worst}};
}

nlohmann::ordered_json RunCase(const std::string& name, const std::string& rule, int threads,
                               int rounds, std::FILE* console) {
  const BenchArray<float> table = Filled(kTable * kWidth), dense = Filled(kRows * kWidth),
                          gradient = Filled(kRows * kWidth);
  const std::vector<int64_t> rows = RandomRows();
  Optimizer of_rows = MakeOptimizer(rule,
                                    {.name = "table",
                                     .shape = {kTable, kWidth},
                                     .param = table.get(),
                                     .grad = gradient.get(),
                                     .grad_rows = rows},
                                    threads);
  Optimizer of_all = MakeOptimizer(
      rule,
      {.name = "dense", .shape = {kRows, kWidth}, .param = dense.get(), .grad = gradient.get()},
      threads);
  std::vector<float> other(size_t{192} << 20);  // more than processors cache
  const auto cached = [](Optimizer& optimizer) {
    optimizer.Step();  // brings it into the caches
    return Time(kRepeats, [&] { optimizer.Step(); });
  };
  const auto evicted = [&other](Optimizer& optimizer) {
    for (float& x : other) x += 1;
    return Time(1, [&] { optimizer.Step(); });
  };
  Times in_caches, from_memory;
  for (int round = -1; round < rounds; ++round) {
    const double rows_cached = cached(of_rows), dense_cached = cached(of_all);
    const double rows_evicted = evicted(of_rows), dense_evicted = evicted(of_all);
    if (round < 0) continue;
    in_caches.Add(rows_cached, dense_cached);
    from_memory.Add(rows_evicted, dense_evicted);
  }
  Print(name + ", in the caches", in_caches, console);
  Print(name + ", evicted", from_memory, console);
  return {{"case", name},
          {"threads", threads},
          {"cached", ToJson(in_caches)},
          {"evicted", ToJson(from_memory)},
          {"rounds", rounds},
          {"target", KernelTarget()}};
}

}  // namespace

void BenchRows(const std::regex& filter, int rounds, std::FILE* console,
               nlohmann::ordered_json& results) {
  bool first = true;
  for (const char* const rule : {"sgd", "adagrad", "sparse_adam"}) {
    for (const int threads : {1, 2}) {
      const std::string name = fmt::format("{}+rows/{}x{}/{}", rule, kRows, kWidth, threads);
      if (!std::regex_search(name, filter)) continue;
      if (first) {
        fmt::print(console, "\n{:<42} {:>9} {:>15} {:>9} {:>7} {:>11}\n", "rows of a table",
                   "ns/param", "min..max", "dense", "ratio", "min..max");
        first = false;
      }
      results.push_back(RunCase(name, rule, threads, rounds, console));
    }
  }
}

}  // namespace kudari::lab
