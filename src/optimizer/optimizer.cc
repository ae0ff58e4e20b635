#include "kudari/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "core/nearest.h"
#include "kernels/kernels.h"
#include "kernels/parallel.h"
#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

// Elements of one piece of work. Its boundaries depend on the tensors alone, so partial sums and
// therefore norms do not depend on the number of threads.
constexpr int64_t kBlock = 16384;

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kSmallestShare = 16384;

constexpr size_t kAlignment = 64;

// State arrays a power of two apart, which adjacent ones of a large tensor often are, cost a step
// up to a third of its time; a gap of 256 to 65,536 floats before each avoids that.
constexpr size_t kStagger = 528;

/// Zeroed float arrays in one allocation, each aligned to a cache line.
class Arena {
 public:
  /// `total` is the sum of Padded(n) over the arrays.
  explicit Arena(size_t total)
      : memory_(static_cast<char*>(std::calloc(total * sizeof(float) + kAlignment, 1)),
                &std::free) {
    if (memory_ == nullptr) throw std::bad_alloc();
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    next_ = reinterpret_cast<float*>(memory_.get() + (kAlignment - address % kAlignment));
  }

  static size_t Padded(size_t n) {
    constexpr size_t kLine = kAlignment / sizeof(float);
    return Gap(n) + (n + kLine - 1) / kLine * kLine;
  }

  float* Take(size_t n) {
    float* const array = next_ + Gap(n);
    next_ += Padded(n);
    return array;
  }

 private:
  static size_t Gap(size_t n) { return n < kBlock ? 0 : kStagger; }

  std::unique_ptr<char, decltype(&std::free)> memory_;
  float* next_;
};

/// Tensors that share a rule and its options.
struct Cohort {
  RuleEntry rule;
  int group;                        // -1: the spec itself
  internal::KernelFn kernel;        // null: the rule's scalar update
  std::vector<Schedule> schedules;  // in the order of rule.options
  bool constant = true;
  std::vector<double> values;  // at the step being taken

  // Coefficients by the number of updates that a tensor has had; most have had the same.
  std::vector<int64_t> ages;  // sorted
  std::vector<float> coeffs;

  void AddAge(int64_t t, std::vector<double>& scratch) {
    const auto at = std::lower_bound(ages.begin(), ages.end(), t);
    if (at != ages.end() && *at == t) return;
    scratch.resize(rule.coeff_count);
    rule.coeffs(values.data(), t, scratch.data());
    const auto index = (at - ages.begin()) * static_cast<std::ptrdiff_t>(rule.coeff_count);
    coeffs.insert(coeffs.begin() + index, scratch.begin(), scratch.end());
    ages.insert(at, t);
  }

  const float* CoeffsAt(int64_t t) const {
    const auto at = std::lower_bound(ages.begin(), ages.end(), t);
    return coeffs.data() + static_cast<size_t>(at - ages.begin()) * rule.coeff_count;
  }
};

struct Slotted {
  size_t cohort;
  TensorClass tensor_class;
  int64_t size;
  int64_t step = 0;                 // updates that the tensor has had
  std::vector<float*> state;        // one pointer a slot; empty until the first gradient
  const float* gradient = nullptr;  // of the step being taken
};

/// A piece of work: elements [begin, begin + size) of a tensor.
struct Block {
  size_t tensor;
  int64_t begin, size;
  int64_t before;  // elements of all earlier blocks
};

void CheckTensor(const Tensor& t, std::set<std::string>& names) {
  if (t.name.empty()) throw Error("a tensor has an empty name");
  if (!names.insert(t.name).second) throw Error("tensor name \"" + t.name + "\" stands twice");
  int64_t size = 1;
  for (const int64_t d : t.shape) {
    if (d < 0) {
      throw Error("tensor \"" + t.name + "\": dimension " + std::to_string(d) +
                  " is outside [0, ...]");
    }
    if (__builtin_mul_overflow(size, d, &size)) {
      throw Error("tensor \"" + t.name + "\": its shape has more than 2^63 elements");
    }
  }
  if (t.param == nullptr && size > 0) throw Error("tensor \"" + t.name + "\": param is null");
}

}  // namespace

struct Optimizer::Impl {
  std::vector<Tensor> tensors;
  OptimizerSpec spec;  // complete
  std::vector<Cohort> cohorts;
  std::vector<Slotted> slotted;  // beside tensors
  std::vector<Arena> arenas;
  std::vector<Block> blocks;
  std::vector<char> active;  // tensors that `blocks` covers
  std::vector<double> partial_sums;
  std::vector<double> scratch;
  int64_t active_elements = 0;
  int64_t bytes_read = 0, bytes_written = 0;  // of the fused pass
  int64_t steps = 0;
  const internal::KernelSet* kernels;
  Parallel parallel;
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<Scale>> scales;
  std::vector<std::unique_ptr<Averager>> averagers;

  Impl(std::vector<Tensor> the_tensors, const OptimizerSpec& the_spec, const Registry& registry);

  size_t CohortOf(int group, bool decays, const Registry& registry);
  void SetValues(Cohort& cohort) const;
  double ClipValue() const;
  void BindGradients(std::span<const float* const> data);
  void AllocateState();
  template <class F>
  void ForBlocks(const F& f);
  void RunBlocks(size_t begin, size_t end, float factor, float limit) const;
  double SumSquares();
  std::string_view FirstNonFinite() const;
  Report Apply(const Gradient& gradient);
};

Optimizer::Impl::Impl(std::vector<Tensor> the_tensors, const OptimizerSpec& the_spec,
                      const Registry& registry)
    : tensors(std::move(the_tensors)),
      spec(Complete(the_spec, registry)),
      kernels(&internal::Kernels()) {
  std::set<std::string> names;
  for (const Tensor& t : tensors) CheckTensor(t, names);
  for (Tensor& t : tensors) {
    TensorClass tensor_class = t.tensor_class.value_or(Classify(t.name, t.shape));
    for (const auto& [match, c] : spec.classes) {
      if (Glob(match, t.name)) tensor_class = c;
    }
    int group = -1;
    for (size_t i = 0; i < spec.groups.size(); ++i) {
      const Group& g = spec.groups[i];
      const bool of_class = g.classes.empty() || std::find(g.classes.begin(), g.classes.end(),
                                                           tensor_class) != g.classes.end();
      if (of_class && Glob(g.match, t.name)) group = static_cast<int>(i);
    }
    const bool decays =
        std::find(spec.no_decay.begin(), spec.no_decay.end(), tensor_class) == spec.no_decay.end();
    slotted.push_back({.cohort = CohortOf(group, decays, registry),
                       .tensor_class = tensor_class,
                       .size = t.Size(),
                       .state = {}});
  }
  if (spec.accumulate > 1) {
    source = std::make_unique<Accumulate>(spec.accumulate);
  } else {
    source = std::make_unique<PlainSource>();
  }
  if (spec.clip_norm) scales.push_back(std::make_unique<ClipNorm>(*spec.clip_norm));
}

/// The cohort of a group, with or without weight decay; made when it is first needed.
size_t Optimizer::Impl::CohortOf(int group, bool decays, const Registry& registry) {
  const Group* const g = group < 0 ? nullptr : &spec.groups[static_cast<size_t>(group)];
  Cohort cohort{.rule = registry.Find(g == nullptr ? spec.rule : g->rule),
                .group = group,
                .kernel = nullptr,
                .schedules = {},
                .values = {},
                .ages = {},
                .coeffs = {}};
  const Options& options = g == nullptr ? spec.options : g->options;
  for (const RuleEntry::Option& o : cohort.rule.options) {
    const bool off = o.name == "weight_decay" && !decays;
    cohort.schedules.push_back(off ? Schedule(0) : options.at(o.name));
    cohort.constant = cohort.constant && cohort.schedules.back().IsConstant();
  }
  for (size_t i = 0; i < cohorts.size(); ++i) {
    if (cohorts[i].group == group && cohorts[i].schedules == cohort.schedules) return i;
  }
  const bool compiled = kernels->steps != nullptr && cohort.rule.kernel >= 0;
  if (compiled) cohort.kernel = kernels->steps[cohort.rule.kernel];
  cohort.values.resize(cohort.schedules.size());
  for (size_t i = 0; i < cohort.schedules.size(); ++i) cohort.values[i] = cohort.schedules[i](0);
  cohorts.push_back(std::move(cohort));
  return cohorts.size() - 1;
}

/// Evaluates the schedules; changes nothing else, so that a throw loses nothing.
void Optimizer::Impl::SetValues(Cohort& cohort) const {
  cohort.ages.clear();
  cohort.coeffs.clear();
  if (cohort.constant) return;
  for (size_t i = 0; i < cohort.schedules.size(); ++i) {
    const RuleEntry::Option& o = cohort.rule.options[i];
    const double value = cohort.schedules[i](steps);
    if (!(o.low <= value && value <= o.high)) {
      CheckRange(cohort.rule.name + ": " + o.name + " = " + cohort.schedules[i].Text() +
                     " at step " + std::to_string(steps),
                 value, o.low, o.high);
    }
    cohort.values[i] = value;
  }
}

double Optimizer::Impl::ClipValue() const {
  if (!spec.clip_value) return kInfinity;
  const double value = (*spec.clip_value)(steps);
  if (!(value >= 0)) {
    CheckRange("clip_value at step " + std::to_string(steps), value, 0, kInfinity);
  }
  return value;
}

/// Notes each tensor's gradient and divides those that have one into blocks.
void Optimizer::Impl::BindGradients(std::span<const float* const> data) {
  bool same = active.size() == tensors.size();
  active.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    Slotted& s = slotted[i];
    s.gradient = data.empty() ? static_cast<const float*>(tensors[i].grad) : data[i];
    const char now = s.gradient != nullptr ? 1 : 0;
    same = same && active[i] == now;
    active[i] = now;
  }
  if (same) return;
  blocks.clear();
  active_elements = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (active[i] == 0) continue;
    for (int64_t begin = 0; begin < slotted[i].size; begin += kBlock) {
      const int64_t size = std::min(kBlock, slotted[i].size - begin);
      blocks.push_back({i, begin, size, active_elements});
      active_elements += size;
    }
  }
  partial_sums.resize(blocks.size());
  AllocateState();
  bytes_read = bytes_written = 0;
  for (const Block& b : blocks) {
    const auto slots = static_cast<int64_t>(slotted[b.tensor].state.size());
    bytes_read += b.size * (2 + slots) * static_cast<int64_t>(sizeof(float));
    bytes_written += b.size * (1 + slots) * static_cast<int64_t>(sizeof(float));
  }
}

/// State for the tensors that have a gradient for the first time, all in one allocation.
void Optimizer::Impl::AllocateState() {
  size_t total = 0;
  const auto needs = [this](size_t i) {
    return active[i] != 0 && slotted[i].state.empty() &&
           !cohorts[slotted[i].cohort].rule.slots.empty();
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!needs(i)) continue;
    total += Arena::Padded(static_cast<size_t>(slotted[i].size)) *
             cohorts[slotted[i].cohort].rule.slots.size();
  }
  if (total == 0) return;
  arenas.emplace_back(total);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!needs(i)) continue;
    const size_t slots = cohorts[slotted[i].cohort].rule.slots.size();
    for (size_t k = 0; k < slots; ++k) {
      slotted[i].state.push_back(arenas.back().Take(static_cast<size_t>(slotted[i].size)));
    }
  }
}

/// Calls f(begin, end) for ranges of blocks that together are all, in one parallel region in which
/// every thread has the same share of elements.
template <class F>
void Optimizer::Impl::ForBlocks(const F& f) {
  const int64_t most = std::max<int64_t>(1, active_elements / kSmallestShare);
  const int threads =
      static_cast<int>(std::min<int64_t>({internal::Threads(parallel), most, INT32_MAX}));
  if (threads == 1) return f(0, blocks.size());
  const auto start = [&](int k) {
    const auto target = static_cast<int64_t>(static_cast<double>(active_elements) * k / threads);
    return static_cast<size_t>(
        std::partition_point(blocks.begin(), blocks.end(),
                             [target](const Block& b) { return b.before < target; }) -
        blocks.begin());
  };
  const auto work = [&](int k) { f(start(k), k + 1 == threads ? blocks.size() : start(k + 1)); };
  internal::RunParallel(parallel, threads, std::cref(work));
}

double Optimizer::Impl::SumSquares() {
  ForBlocks([this](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Block& b = blocks[i];
      partial_sums[i] =
          kernels->sum_squares(slotted[b.tensor].gradient + b.begin, static_cast<size_t>(b.size));
    }
  });
  double sum = 0;
  for (const double s : partial_sums) sum += s;
  return sum;
}

/// The fused pass over blocks [begin, end).
void Optimizer::Impl::RunBlocks(size_t begin, size_t end, float factor, float limit) const {
  // Two sets of pointers: to the block at hand and to the one that comes next.
  struct Pointers {
    float* state[RuleEntry::kMostSlots];
    const float* all[2 + RuleEntry::kMostSlots];  // p, g, state
    float* p;
  } sets[2];
  const auto point = [this](const Block& b, Pointers& to) {
    const Slotted& s = slotted[b.tensor];
    to.p = static_cast<float*>(tensors[b.tensor].param) + b.begin;
    to.all[0] = to.p;
    to.all[1] = s.gradient + b.begin;
    for (size_t k = 0; k < s.state.size(); ++k) {
      to.all[2 + k] = to.state[k] = s.state[k] + b.begin;
    }
  };
  if (begin < end) point(blocks[begin], sets[0]);
  for (size_t i = begin; i < end; ++i) {
    const Pointers& now = sets[(i - begin) % 2];
    Pointers& next = sets[(i - begin + 1) % 2];
    const Slotted& s = slotted[blocks[i].tensor];
    const Cohort& c = cohorts[s.cohort];
    const float* const* ahead = nullptr;
    if (i + 1 < end) {
      point(blocks[i + 1], next);
      // Another rule's may have fewer arrays.
      if (slotted[blocks[i + 1].tensor].state.size() == s.state.size()) ahead = next.all;
    }
    const float* const coeffs = c.CoeffsAt(s.step);
    const auto n = static_cast<size_t>(blocks[i].size);
    if (c.kernel != nullptr) {
      c.kernel(coeffs, factor, limit, now.p, now.all[1], now.state, n, ahead);
    } else {
      c.rule.scalar(coeffs, factor, limit, now.p, now.all[1], now.state, n);
    }
  }
}

std::string_view Optimizer::Impl::FirstNonFinite() const {
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (!std::isfinite(partial_sums[i])) return tensors[blocks[i].tensor].name;
  }
  return {};
}

Report Optimizer::Impl::Apply(const Gradient& gradient) {
  Report report{.loss = gradient.loss, .factor = gradient.factor};
  for (Cohort& c : cohorts) SetValues(c);
  const double limit = ClipValue();
  BindGradients(gradient.data);

  if (!scales.empty() || spec.measure_norm || spec.nonfinite != NonFinite::kPropagate) {
    const double sum = SumSquares();
    report.bytes_read += active_elements * static_cast<int64_t>(sizeof(float));
    report.grad_norm = std::sqrt(sum) * std::abs(gradient.factor);
    if (!std::isfinite(sum)) {
      report.first_nonfinite = FirstNonFinite();
      if (spec.nonfinite == NonFinite::kError) {
        throw Error("the gradient of \"" + std::string(report.first_nonfinite) +
                    "\" is not finite");
      }
      if (spec.nonfinite == NonFinite::kSkip) {
        report.skipped = true;
        return report;
      }
    }
    double norm = report.grad_norm;
    for (const auto& scale : scales) {
      const double factor = scale->Factor(norm, steps);
      norm *= factor;
      report.factor *= factor;
    }
  }

  for (size_t i = 0; i < tensors.size(); ++i) {
    if (active[i] == 0) continue;
    Slotted& s = slotted[i];
    cohorts[s.cohort].AddAge(++s.step, scratch);
  }
  ForBlocks([this, factor = static_cast<float>(report.factor), limit = static_cast<float>(limit)](
                size_t begin, size_t end) { RunBlocks(begin, end, factor, limit); });
  report.bytes_read += bytes_read;
  report.bytes_written += bytes_written;
  ++steps;
  for (const auto& a : averagers) a->After(steps, tensors);
  return report;
}

Optimizer::Optimizer(std::vector<Tensor> tensors, const OptimizerSpec& spec,
                     const Registry& registry)
    : impl_(std::make_unique<Impl>(std::move(tensors), spec, registry)) {}
Optimizer::~Optimizer() = default;
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;

Report Optimizer::Step() {
  if (impl_->spec.accumulate > 1) {
    throw Error("accumulate = " + std::to_string(impl_->spec.accumulate) +
                " needs Step with an oracle that makes each gradient");
  }
  return impl_->Apply({});
}

Report Optimizer::Step(const Oracle& oracle) {
  const Gradient gradient = impl_->source->Compute(impl_->tensors, oracle, impl_->parallel);
  if (gradient.samples == 0) return {.loss = gradient.loss, .skipped = true};
  return impl_->Apply(gradient);
}

std::span<Tensor> Optimizer::tensors() { return impl_->tensors; }
std::span<const Tensor> Optimizer::tensors() const { return impl_->tensors; }
int64_t Optimizer::steps() const { return impl_->steps; }

std::vector<TensorPlan> Optimizer::Plan() const {
  std::vector<TensorPlan> plan;
  for (size_t i = 0; i < impl_->tensors.size(); ++i) {
    const Cohort& c = impl_->cohorts[impl_->slotted[i].cohort];
    TensorPlan p{.name = impl_->tensors[i].name,
                 .tensor_class = impl_->slotted[i].tensor_class,
                 .group = c.group,
                 .rule = c.rule.name,
                 .options = {}};
    for (size_t k = 0; k < c.schedules.size(); ++k) {
      p.options.emplace_back(c.rule.options[k].name, c.schedules[k](impl_->steps));
    }
    plan.push_back(std::move(p));
  }
  return plan;
}

double Optimizer::Value(size_t index, std::string_view option) const {
  if (index >= impl_->slotted.size()) {
    throw Error("tensor index " + std::to_string(index) + " is outside [0, " +
                std::to_string(impl_->slotted.size()) + ")");
  }
  const Cohort& c = impl_->cohorts[impl_->slotted[index].cohort];
  return c.schedules[c.rule.OptionIndex(option)](impl_->steps);
}

OptimizerState Optimizer::State() const {
  OptimizerState state{.step = impl_->steps};
  for (size_t i = 0; i < impl_->tensors.size(); ++i) {
    const Slotted& s = impl_->slotted[i];
    TensorState t{.name = impl_->tensors[i].name, .step = s.step};
    for (size_t k = 0; k < s.state.size(); ++k) {
      t.buffers.push_back({impl_->cohorts[s.cohort].rule.slots[k],
                           std::vector<float>(s.state[k], s.state[k] + s.size)});
    }
    state.tensors.push_back(std::move(t));
  }
  return state;
}

void Optimizer::LoadState(const OptimizerState& state) {
  // All checks come first, so that a bad state changes nothing.
  if (state.step < 0) throw Error("state: step = " + std::to_string(state.step) + " is negative");
  std::map<std::string_view, size_t> index;
  for (size_t i = 0; i < impl_->tensors.size(); ++i) index.emplace(impl_->tensors[i].name, i);
  std::vector<const TensorState*> sources(impl_->tensors.size(), nullptr);
  for (const TensorState& t : state.tensors) {
    const auto at = index.find(t.name);
    if (at == index.end()) throw Error("state: no tensor is named \"" + t.name + "\"");
    const size_t i = at->second;
    if (sources[i] != nullptr) throw Error("state: tensor \"" + t.name + "\" stands twice");
    sources[i] = &t;
    const auto& slots = impl_->cohorts[impl_->slotted[i].cohort].rule.slots;
    const bool fresh = t.step == 0 && t.buffers.empty();
    if (t.step < 0 || (!fresh && t.buffers.size() != slots.size())) {
      throw Error("state: tensor \"" + t.name + "\" has step " + std::to_string(t.step) + " and " +
                  std::to_string(t.buffers.size()) + " buffers; its rule has " +
                  std::to_string(slots.size()));
    }
    std::set<std::string> seen;
    for (const TensorState::Buffer& b : t.buffers) {
      const std::string where = "state: tensor \"" + t.name + "\", buffer \"" + b.slot + "\"";
      if (std::find(slots.begin(), slots.end(), b.slot) == slots.end()) {
        throw Error(where + ": its rule has none of that name" + internal::Suggest(b.slot, slots));
      }
      if (!seen.insert(b.slot).second) throw Error(where + " stands twice");
      if (static_cast<int64_t>(b.values.size()) != impl_->slotted[i].size) {
        throw Error(where + " has " + std::to_string(b.values.size()) + " values, not " +
                    std::to_string(impl_->slotted[i].size));
      }
    }
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] == nullptr) {
      throw Error("state: tensor \"" + impl_->tensors[i].name + "\" is missing");
    }
  }

  impl_->steps = state.step;
  impl_->arenas.clear();
  impl_->active.clear();  // the next step divides the work anew
  for (Slotted& s : impl_->slotted) s.state.clear();
  for (const TensorState* t : sources) impl_->active.push_back(t->buffers.empty() ? 0 : 1);
  impl_->AllocateState();
  impl_->active.clear();
  for (size_t i = 0; i < sources.size(); ++i) {
    Slotted& s = impl_->slotted[i];
    s.step = sources[i]->step;
    const auto& slots = impl_->cohorts[s.cohort].rule.slots;
    for (const TensorState::Buffer& b : sources[i]->buffers) {
      const auto k = std::find(slots.begin(), slots.end(), b.slot) - slots.begin();
      std::copy(b.values.begin(), b.values.end(), s.state[static_cast<size_t>(k)]);
    }
  }
}

void Optimizer::SetSource(std::unique_ptr<Source> source) {
  if (source == nullptr) throw Error("the source is null");
  impl_->source = std::move(source);
}

void Optimizer::AddScale(std::unique_ptr<Scale> scale) {
  if (scale == nullptr) throw Error("the scale is null");
  impl_->scales.push_back(std::move(scale));
}

void Optimizer::AddAverager(std::unique_ptr<Averager> averager) {
  if (averager == nullptr) throw Error("the averager is null");
  impl_->averagers.push_back(std::move(averager));
}

void Optimizer::SetParallel(Parallel parallel) {
  if (parallel.threads < 0) {
    throw Error("threads = " + std::to_string(parallel.threads) + " is outside [0, ...]");
  }
  impl_->parallel = std::move(parallel);
}

std::string_view KernelTarget() { return internal::Kernels().target; }

std::vector<std::string_view> KernelTargets() {
  std::vector<std::string_view> names;
  for (const internal::KernelSet& set : internal::AllKernels()) names.push_back(set.target);
  return names;
}

}  // namespace kudari
