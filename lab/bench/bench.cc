#include "lab/bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/optimizer.h"
#include "kudari/parallel.h"
#include "kudari/rules/sgd.h"
#include "lab/bench/bench_matrix.h"
#include "lab/bench/bench_memory.h"
#include "lab/bench/bench_precision.h"
#include "lab/bench/bench_rows.h"
#include "lab/bench/bench_sharpness.h"
#include "lab/console/json_text.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/machine/roofline.h"
#include "lab/machine/timing.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// Tensors up to this size (512 KiB) are still in the cache when a second pass comes.
constexpr size_t kCached = size_t{1} << 17;

using NamedShape = std::pair<std::string, std::vector<int64_t>>;

struct Shape {
  std::string_view name;
  std::vector<NamedShape> (*tensors)();
  int repeats;  // calls in one timing
};

template <int64_t kCount, int64_t kSize>
std::vector<NamedShape> Vectors() {
  std::vector<NamedShape> list;
  for (int64_t i = 0; i < kCount; ++i) {
    list.emplace_back("t" + std::to_string(i), std::vector<int64_t>{kSize});
  }
  return list;
}

// GPT-2 with 124M parameters (Radford et al., 2019), whose head is its embedding.
std::vector<NamedShape> Gpt2() {
  constexpr int64_t kDim = 768;
  std::vector<NamedShape> list = {{"wte.weight", {50257, kDim}}, {"wpe.weight", {1024, kDim}}};
  const auto add = [&list](const std::string& name, std::vector<int64_t> weight, int64_t out) {
    list.emplace_back(name + ".weight", std::move(weight));
    list.emplace_back(name + ".bias", std::vector<int64_t>{out});
  };
  for (int block = 0; block < 12; ++block) {
    const std::string h = "h." + std::to_string(block) + ".";
    add(h + "ln_1", {kDim}, kDim);
    add(h + "attn.c_attn", {kDim, 3 * kDim}, 3 * kDim);
    add(h + "attn.c_proj", {kDim, kDim}, kDim);
    add(h + "ln_2", {kDim}, kDim);
    add(h + "mlp.c_fc", {kDim, 4 * kDim}, 4 * kDim);
    add(h + "mlp.c_proj", {4 * kDim, kDim}, kDim);
  }
  add("ln_f", {kDim}, kDim);
  return list;
}

constexpr Shape kShapes[] = {{"64M", &Vectors<1, int64_t{64} << 20>, 1},
                             {"1000x50000", &Vectors<1000, 50'000>, 1},
                             {"10000x1000", &Vectors<10'000, 1'000>, 1},
                             {"1000", &Vectors<1, 1'000>, 5000},
                             {"gpt2", &Gpt2, 1}};

/// Everything that one shape's cases stream: parameters, gradients, and state for the roofline, of
/// float or double.
template <class T>
class Arrays {
 public:
  explicit Arrays(const Shape& shape) : tensors_(shape.tensors()) {
    ends_ = {0};
    for (const auto& [name, dims] : tensors_) {
      ends_.push_back(ends_.back() + static_cast<size_t>(Tensor{.shape = dims}.Size()));
    }
    p_ = Make(1);
    g_ = Make(T(1e-3));
  }

  size_t count() const { return tensors_.size(); }
  size_t elements() const { return ends_.back(); }

  std::vector<Tensor> Tensors() const {
    std::vector<Tensor> tensors;
    for (size_t t = 0; t < count(); ++t) {
      tensors.push_back({.name = tensors_[t].first,
                         .shape = tensors_[t].second,
                         .dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32,
                         .param = p_[t].get(),
                         .grad = g_[t].get()});
    }
    return tensors;
  }

  /// Makes as many state arrays as a roofline is going to need.
  void Reserve(size_t slots) {
    while (state_.size() < slots) state_.push_back(Make(T(1e-3)));
  }

  /// Calls f(part of a tensor, size of the tensor) for the share of worker k of n.
  template <class F>
  void ForShare(int k, int n, const F& f) const {
    const auto cut = [&](int part) {
      return part == n ? elements()
                       : elements() * static_cast<size_t>(part) / static_cast<size_t>(n) / 16 * 16;
    };
    const size_t begin = cut(k), end = cut(k + 1);
    for (size_t t = 0; t < count(); ++t) {
      const size_t from = std::max(begin, ends_[t]), to = std::min(end, ends_[t + 1]);
      if (from >= to) continue;
      const size_t at = from - ends_[t];
      Stream<T> s{p_[t].get() + at, g_[t].get() + at, {}, to - from};
      for (size_t i = 0; i < state_.size(); ++i) s.state[i] = state_[i][t].get() + at;
      f(s, ends_[t + 1] - ends_[t]);
    }
  }

 private:
  using List = std::vector<BenchArray<T>>;

  List Make(T scale) const {
    List list;
    for (size_t t = 0; t < count(); ++t) {
      const size_t n = ends_[t + 1] - ends_[t];
      list.push_back(MakeBenchArray<T>(n));
      for (size_t i = 0; i < n; ++i) {
        list.back()[i] = scale * (T(0.25) + static_cast<T>((i * 37 + t) % 1001) / 1001);
      }
    }
    return list;
  }

  std::vector<NamedShape> tensors_;
  std::vector<size_t> ends_;  // elements of the tensors before each one, and of all
  List p_, g_;
  std::vector<List> state_;
};

/// What a roofline streams.
struct Traffic {
  std::vector<Sweep> sweeps;
  bool norm = false;  // of the whole gradient, which is read once more, before
};

template <class T>
void Roofline(const Arrays<T>& arrays, const Traffic& traffic, int threads, size_t ahead) {
  RunParallel({}, threads, [&](int k) {
    if (traffic.norm) {
      arrays.ForShare(k, threads, [&](const Stream<T>& s, size_t) {
        RunRead(std::span<const T>(s.g, s.n), ahead);
      });
    }
    const std::vector<Sweep>& sweeps = traffic.sweeps;
    const Sweep once{.slots = sweeps.back().slots};
    for (const Sweep& sweep : sweeps) {
      const bool last = &sweep == &sweeps.back();
      arrays.ForShare(k, threads, [&](const Stream<T>& s, size_t tensor_size) {
        if (tensor_size > kCached) {
          RunSweep(s, sweep, ahead);
        } else if (last) {
          RunSweep(s, once, ahead);
        }
      });
    }
  });
}

/// The distance at which the roofline is fastest here.
template <class T>
size_t BestDistance(const Arrays<T>& arrays, const Traffic& traffic, int threads, int repeats) {
  size_t best = 0;
  double best_time = INFINITY;
  for (const size_t ahead : {0U, 32U, 64U, 128U, 256U, 512U, 1024U}) {
    double time = INFINITY;
    for (int i = 0; i < 3; ++i) {
      time = std::min(time, Time(repeats, [&] { Roofline(arrays, traffic, threads, ahead); }));
    }
    if (time < best_time) {
      best_time = time;
      best = ahead;
    }
  }
  return best;
}

/// An optimiser over the arrays; none if the rule can step none of them.
template <class T>
std::optional<Optimizer> MakeOptimizer(OptimizerSpec spec, const Arrays<T>& arrays, int threads) {
  const auto make = [&] {
    Optimizer optimizer(arrays.Tensors(), spec);
    optimizer.SetParallel({.threads = threads});
    return optimizer;
  };
  if (Registry::Builtin().Find(spec.rule).whole == nullptr) return make();
  try {
    return make();
  } catch (const Error&) {
    spec.fallback = Fallback{};
  }
  Optimizer optimizer = make();
  for (const TensorPlan& plan : optimizer.Plan()) {
    if (plan.rule == spec.rule) return optimizer;
  }
  return std::nullopt;
}

/// Bytes of state for each parameter.
double StateBytes(const Optimizer& optimizer) {
  double state = 0, params = 0;
  const std::vector<TensorPlan> plan = optimizer.Plan();
  for (size_t i = 0; i < plan.size(); ++i) {
    const Tensor& tensor = optimizer.tensors()[i];
    const RuleEntry& rule = Registry::Builtin().Find(plan[i].rule);
    std::vector<int64_t> sizes(rule.slots.size(), tensor.Size());
    if (rule.whole != nullptr) {
      std::vector<double> values;
      for (const auto& [name, value] : plan[i].options) values.push_back(value);
      sizes = rule.whole->SlotSizes(values.data(), tensor.shape);
    }
    for (const int64_t n : sizes) state += static_cast<double>(n * Bytes(tensor.dtype));
    params += static_cast<double>(tensor.Size());
  }
  return state / params;
}

/// Null if the rule can step none of the tensors.
template <class T>
Json RunCase(const std::string& rule, const OptimizerSpec& spec, const Shape& shape,
             Arrays<T>& arrays, int threads, int rounds) {
  std::optional<Optimizer> optimizer = MakeOptimizer(spec, arrays, threads);
  if (!optimizer) return nullptr;
  for (int i = 0; i < 2; ++i) optimizer->Step();

  const RuleEntry& entry = Registry::Builtin().Find(spec.rule);
  std::function<void()> reference;
  size_t ahead = 0;
  if (entry.whole == nullptr) {
    const Traffic traffic{SweepsOf(entry), spec.clip_norm.has_value()};
    arrays.Reserve(entry.slots.size());
    ahead = BestDistance(arrays, traffic, threads, shape.repeats);
    reference = [&arrays, traffic, threads, ahead] { Roofline(arrays, traffic, threads, ahead); };
  } else {
    const auto sgd = std::make_shared<Optimizer>(MakeOptimizer(Sgd{}, arrays, threads).value());
    reference = [sgd] { sgd->Step(); };
  }

  Report report;
  std::vector<double> steps, references, ratios;
  for (int i = 0; i < rounds; ++i) {
    steps.push_back(Time(shape.repeats, [&] { report = optimizer->Step(); }));
    references.push_back(Time(shape.repeats, reference));
    ratios.push_back(references.back() / steps.back());
  }
  const auto params = static_cast<double>(arrays.elements());
  const double bytes = static_cast<double>(report.bytes_read + report.bytes_written) / params;
  const double ns = Median(steps) * 1e9 / params;
  const auto [low, high] = std::minmax_element(steps.begin(), steps.end());
  const auto [worst, best] = std::minmax_element(ratios.begin(), ratios.end());
  return {{"rule", rule},
          {"shape", shape.name},
          {"params", arrays.elements()},
          {"tensors", arrays.count()},
          {"threads", threads},
          {"ns_per_param", ns},
          {"ns_per_param_min", *low * 1e9 / params},
          {"ns_per_param_max", *high * 1e9 / params},
          {"state_bytes_per_param", StateBytes(*optimizer)},
          {"bytes_per_param", bytes},
          {"gb_per_s", bytes / ns},
          {"reference", entry.whole == nullptr ? "roofline" : "sgd"},
          {"reference_ns_per_param", Median(references) * 1e9 / params},
          {"ratio", Median(ratios)},
          {"ratio_min", *worst},
          {"ratio_max", *best},
          {"prefetch", ahead},
          {"rounds", rounds},
          {"target", KernelTarget()}};
}

void PrintCase(const Json& r, std::FILE* console) {
  const auto number = [&r](const char* key) { return r[key].get<double>(); };
  fmt::print(console,
             "{:<26} {:<10} {:>7} {:>9.3f} {:>15} {:>7.3g} {:>7.3g} {:>6.1f} {:<8} {:>9.3f} "
             "{:>7.3f} {:>11}\n",
             r["rule"].get<std::string>(), r["shape"].get<std::string>(), r["threads"].get<int>(),
             number("ns_per_param"),
             fmt::format("{:.3f}..{:.3f}", number("ns_per_param_min"), number("ns_per_param_max")),
             number("state_bytes_per_param"), number("bytes_per_param"), number("gb_per_s"),
             r["reference"].get<std::string>(), number("reference_ns_per_param"), number("ratio"),
             fmt::format("{:.2f}..{:.2f}", number("ratio_min"), number("ratio_max")));
  std::fflush(console);
}

using NamedSpec = std::pair<std::string, OptimizerSpec>;

/// Runs the cases of the rules on a shape that the filter matches, over T; returns how many match.
template <class T>
size_t RunCases(const std::vector<NamedSpec>& rules, const Shape& shape, const std::regex& filter,
                int rounds, std::FILE* console, Json& results) {
  size_t matched = 0;
  std::optional<Arrays<T>> arrays;
  for (const auto& [rule, spec] : rules) {
    for (const int threads : {1, 2}) {
      const std::string name = fmt::format("{}/{}/{}", rule, shape.name, threads);
      if (!std::regex_search(name, filter)) continue;
      ++matched;
      if (!arrays) arrays.emplace(shape);
      const Json r = RunCase(rule, spec, shape, *arrays, threads, rounds);
      if (r.is_null()) continue;
      PrintCase(r, console);
      results.push_back(r);
    }
  }
  return matched;
}

}  // namespace

void Bench(const BenchOptions& options, std::FILE* console) {
  std::regex filter;
  try {
    filter = std::regex(options.filter);
  } catch (const std::regex_error& e) {
    throw UsageError("--filter \"" + options.filter + "\": " + e.what());
  }
  // Every rule as it is, and adamw with clipping, which costs one more read of the gradient; in
  // float64, adamw alone.
  std::vector<NamedSpec> rules;
  for (const RuleEntry& r : Registry::Builtin().rules()) {
    rules.emplace_back(r.name, OptimizerSpec(r.name));
  }
  OptimizerSpec clipped("adamw");
  clipped.clip_norm = 1.0;
  rules.emplace_back("adamw+clip_norm", clipped);
  const std::vector<NamedSpec> rules64 = {{"adamw+float64", OptimizerSpec("adamw")}};

  fmt::print(console,
             "kernels {}, {} threads on this machine, medians of {} rounds, rule and reference "
             "alternating\n\n{:<26} {:<10} {:>7} {:>9} {:>15} {:>7} {:>7} {:>6} {:<8} {:>9} {:>7} "
             "{:>11}\n",
             KernelTarget(), std::thread::hardware_concurrency(), options.rounds, "rule", "shape",
             "threads", "ns/param", "min..max", "state B", "B/param", "GB/s", "ref", "ns/param",
             "ratio", "min..max");
  Json results = Json::array();
  size_t matched = 0;
  for (const Shape& shape : kShapes) {
    matched += RunCases<float>(rules, shape, filter, options.rounds, console, results);
    matched += RunCases<double>(rules64, shape, filter, options.rounds, console, results);
  }
  const size_t rule_cases = results.size();
  BenchPrecision(filter, options.rounds, console, results);
  BenchRows(filter, options.rounds, console, results);
  BenchSharpness(filter, options.rounds, console, results);
  BenchMatrix(filter, options.rounds, console, results);
  if (matched == 0 && results.size() == rule_cases) {
    throw UsageError("--filter \"" + options.filter +
                     "\" matches no case; cases are like adamw/64M/2 and ns/768x768/1");
  }
  if (!options.json.empty()) WriteOutput(options.json, JsonText(results, 2) + "\n");
}

}  // namespace kudari::lab
