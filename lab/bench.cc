#include "lab/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "kernels/parallel.h"
#include "kudari/error.h"
#include "kudari/optimizer.h"
#include "kudari/safetensors.h"
#include "lab/bench_matrix.h"
#include "lab/roofline.h"
#include "lab/timing.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

struct Shape {
  std::string_view name;
  size_t params, tensors;
  int repeats;  // calls in one timing
};

constexpr Shape kShapes[] = {{"64M", size_t{64} << 20, 1, 1},
                             {"10000x1000", 10'000'000, 10'000, 1},
                             {"1000", 1000, 1, 5000}};

/// Everything that one shape's cases stream: parameters, gradients, and state for the roofline.
struct Arrays {
  explicit Arrays(const Shape& shape) : n(shape.params / shape.tensors), count(shape.tensors) {
    const auto make = [&](std::vector<std::unique_ptr<float[]>>& list, float scale) {
      for (size_t t = 0; t < count; ++t) {
        list.push_back(std::make_unique<float[]>(n));
        for (size_t i = 0; i < n; ++i) {
          list.back()[i] = scale * (0.25F + static_cast<float>((i * 37 + t) % 1001) / 1001);
        }
      }
    };
    make(p, 1);
    make(g, 1e-3F);
    for (auto& s : state) make(s, 1e-3F);
  }

  std::vector<Tensor> Tensors() const {
    std::vector<Tensor> tensors;
    for (size_t t = 0; t < count; ++t) {
      tensors.push_back({.name = "t" + std::to_string(t),
                         .shape = {static_cast<int64_t>(n)},
                         .param = p[t].get(),
                         .grad = g[t].get()});
    }
    return tensors;
  }

  size_t n, count;
  std::vector<std::unique_ptr<float[]>> p, g;
  std::vector<std::unique_ptr<float[]>> state[kMostStreamSlots];
};

/// The roofline over all arrays, on `threads` threads that each take the same share.
void Roofline(const Arrays& a, size_t slots, bool norm, int threads, size_t ahead) {
  const auto share = [&](int k) {
    const auto parts = static_cast<size_t>(threads), part = static_cast<size_t>(k);
    // One tensor is cut by elements, many by tensors.
    const size_t cut = a.count == 1 ? a.n : a.count;
    const size_t begin = cut * part / parts / 16 * 16;
    const size_t end = k + 1 == threads ? cut : cut * (part + 1) / parts / 16 * 16;
    const auto run = [&](size_t t, size_t from, size_t to) {
      if (norm) RunRead({a.g[t].get() + from, to - from}, ahead);
      Stream s{a.p[t].get() + from, a.g[t].get() + from, slots, {}, to - from};
      for (size_t i = 0; i < slots; ++i) s.state[i] = a.state[i][t].get() + from;
      return s;
    };
    if (a.count == 1) {
      RunStream(run(0, begin, end), ahead);
    } else {
      for (size_t t = begin; t < end; ++t) RunStream(run(t, 0, a.n), ahead);
    }
  };
  internal::RunParallel({}, threads, share);
}

/// The distance at which the roofline is fastest here.
size_t BestDistance(const Arrays& a, size_t slots, bool norm, int threads, int repeats) {
  size_t best = 0;
  double best_time = INFINITY;
  for (const size_t ahead : {0U, 32U, 64U, 128U, 256U, 512U, 1024U}) {
    double time = INFINITY;
    for (int i = 0; i < 3; ++i) {
      time = std::min(time, Time(repeats, [&] { Roofline(a, slots, norm, threads, ahead); }));
    }
    if (time < best_time) {
      best_time = time;
      best = ahead;
    }
  }
  return best;
}

Json RunCase(const std::string& rule, const OptimizerSpec& spec, const Shape& shape,
             const Arrays& arrays, int threads, int rounds) {
  Optimizer optimizer(arrays.Tensors(), spec);
  optimizer.SetParallel({.threads = threads});
  const size_t slots = Registry::Builtin().Find(spec.rule).slots.size();
  const bool norm = spec.clip_norm.has_value();
  for (int i = 0; i < 2; ++i) optimizer.Step();
  const size_t ahead = BestDistance(arrays, slots, norm, threads, shape.repeats);

  Report report;
  std::vector<double> steps, rooflines, ratios;
  for (int i = 0; i < rounds; ++i) {
    steps.push_back(Time(shape.repeats, [&] { report = optimizer.Step(); }));
    rooflines.push_back(
        Time(shape.repeats, [&] { Roofline(arrays, slots, norm, threads, ahead); }));
    ratios.push_back(rooflines.back() / steps.back());
  }
  const auto params = static_cast<double>(shape.params);
  const double bytes = static_cast<double>(report.bytes_read + report.bytes_written) / params;
  const double ns = Median(steps) * 1e9 / params;
  const auto [low, high] = std::minmax_element(steps.begin(), steps.end());
  const auto [worst, best] = std::minmax_element(ratios.begin(), ratios.end());
  return {{"rule", rule},
          {"params", shape.params},
          {"tensors", shape.tensors},
          {"threads", threads},
          {"ns_per_param", ns},
          {"ns_per_param_min", *low * 1e9 / params},
          {"ns_per_param_max", *high * 1e9 / params},
          {"bytes_per_param", bytes},
          {"gb_per_s", bytes / ns},
          {"roofline_ns_per_param", Median(rooflines) * 1e9 / params},
          {"ratio", Median(ratios)},
          {"ratio_min", *worst},
          {"ratio_max", *best},
          {"prefetch", ahead},
          {"rounds", rounds},
          {"target", KernelTarget()}};
}

}  // namespace

void Bench(const BenchOptions& options, std::FILE* console) {
  std::regex filter;
  try {
    filter = std::regex(options.filter);
  } catch (const std::regex_error& e) {
    throw Error("--filter \"" + options.filter + "\": " + e.what());
  }
  // Every rule as it is, and the dearest with clipping, which costs one more read of the gradient.
  std::vector<std::pair<std::string, OptimizerSpec>> rules;
  for (const RuleEntry& r : Registry::Builtin().rules()) {
    rules.emplace_back(r.name, OptimizerSpec(r.name));
  }
  OptimizerSpec clipped("adamw");
  clipped.clip_norm = 1.0;
  rules.emplace_back("adamw+clip_norm", clipped);

  fmt::print(console,
             "kernels {}, {} threads on this machine, medians of {} rounds, rule and roofline in "
             "turn\n\n{:<16} {:>10} {:>7} {:>7} {:>9} {:>15} {:>7} {:>6} {:>9} {:>7} {:>11}\n",
             KernelTarget(), std::thread::hardware_concurrency(), options.rounds, "rule", "params",
             "tensors", "threads", "ns/param", "min..max", "B/param", "GB/s", "roofline", "ratio",
             "min..max");
  Json results = Json::array();
  for (const Shape& shape : kShapes) {
    std::unique_ptr<Arrays> arrays;
    for (const auto& [rule, spec] : rules) {
      for (const int threads : {1, 2}) {
        const std::string name = fmt::format("{}/{}/{}", rule, shape.name, threads);
        if (!std::regex_search(name, filter)) continue;
        if (arrays == nullptr) arrays = std::make_unique<Arrays>(shape);
        const Json r = RunCase(rule, spec, shape, *arrays, threads, options.rounds);
        fmt::print(console,
                   "{:<16} {:>10} {:>7} {:>7} {:>9.3f} {:>15} {:>7.0f} {:>6.1f} {:>9.3f} {:>7.3f} "
                   "{:>11}\n",
                   rule, shape.params, shape.tensors, threads, r["ns_per_param"].get<double>(),
                   fmt::format("{:.3f}..{:.3f}", r["ns_per_param_min"].get<double>(),
                               r["ns_per_param_max"].get<double>()),
                   r["bytes_per_param"].get<double>(), r["gb_per_s"].get<double>(),
                   r["roofline_ns_per_param"].get<double>(), r["ratio"].get<double>(),
                   fmt::format("{:.2f}..{:.2f}", r["ratio_min"].get<double>(),
                               r["ratio_max"].get<double>()));
        std::fflush(console);
        results.push_back(r);
      }
    }
  }
  BenchMatrix(filter, options.rounds, console, results);
  if (results.empty()) {
    throw Error("--filter \"" + options.filter +
                "\" matches no case; cases are like adamw/64M/2 and ns/768x768/1");
  }
  if (!options.json.empty()) WriteFileAtomically(options.json, results.dump(2) + "\n");
}

}  // namespace kudari::lab
