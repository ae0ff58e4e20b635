// Trajectories against independent implementations in float64, recorded in data/RULE.json by
// make_golden.py, and the papers' formulas, written out below.
//
// With KUDARI_ORACLES=FILE in its environment this program also writes the table of oracles and
// deviations: docs/oracles.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "kudari/optimizer.h"
#include "kudari/registry.h"
#include "tests/support/reference.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace golden_test {

using nlohmann::json;
using Doubles = std::vector<double>;

// The double reference and the oracle's float64 round differently but compute the same.
constexpr double kReferenceError = 1e-12;
// A value near zero is a difference of values as large as its buffer ever was, each rounded by up
// to 2^-53 = 1.1e-16 a step; the root of 1000 such roundings is 3.5e-15.
constexpr double kReferenceFloor = 1e-14;
constexpr double kUlp = std::numeric_limits<float>::epsilon();

// Bound of the distance between floats and doubles, in float ULPs of the largest value that the
// buffer has had. Roundings add up like a random walk; docs/oracles.md has what was measured.
// Rules that add lr times a sign do so alike at every step, and sums in one binade round alike:
// half a ULP a step. So does asgd, which subtracts the same share of the weights.
// The Polar Express magnifies what is next to a singular value of zero by up to 1000, the product
// of its slopes there: 1e-4 of the largest value.
double FloatBound(const std::string& rule, int64_t step) {
  const auto t = static_cast<double>(step);
  const bool adds_alike =
      rule == "lion" || rule == "sophia" || rule == "sophia_h" || rule == "asgd";
  if (rule == "muon_polar_express") return 1e-4 / kUlp;
  if (rule == "normuon") return 4e-4 / kUlp;
  if (adds_alike) return 2 + t / 2;
  // A momentum of quotients, and a mean of their squares that is in the next quotient: 4.6 to 5.0
  // in the first steps.
  if (rule == "rmsprop_momentum" || rule == "rmsprop_centered_momentum" || rule == "adadelta") {
    return 2 + 2 * std::sqrt(t);
  }
  return 2 + std::sqrt(t);
}

constexpr int64_t kSteps = 500;

const std::string kFolder = KUDARI_SOURCE_DIR "/tests/golden/";

// Null if there is no such file.
json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return file ? json::parse(file) : json();
}

// The file of a rule; null if there is none.
const json& Golden(const std::string& rule) {
  static std::map<std::string, json> files;
  const auto [at, is_new] = files.try_emplace(rule);
  if (is_new) at->second = ReadJson(kFolder + "data/" + rule + ".json");
  return at->second;
}

// The generator of make_golden.py, line by line.
uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t Draw(int64_t step, size_t tensor, size_t element) {
  return SplitMix64(static_cast<uint64_t>(step) << 32 | tensor << 16 | element);
}

double Value(uint64_t bits) { return std::ldexp(static_cast<double>(bits >> 40), -23) - 1; }

Doubles DrawGradient(int64_t step, size_t tensor, size_t size, int exponent) {
  Doubles g(size);
  for (size_t i = 0; i < size; ++i) {
    const uint64_t bits = Draw(step, tensor, i);
    g[i] = bits % 16 == 0 ? 0 : std::ldexp(Value(bits), exponent);
  }
  return g;
}

// An estimate of the Hessian's diagonal comes after a tensor's updates 1, 11, 21, ...
bool EstimateIsDue(int64_t updates) { return updates % 10 == 1; }

Doubles DrawEstimate(int64_t updates, size_t tensor, size_t size) {
  constexpr size_t kEstimate = 0x100;
  Doubles e(size);
  for (size_t i = 0; i < size; ++i) e[i] = Value(Draw(updates, tensor + kEstimate, i));
  return e;
}

Doubles DrawInitial(size_t tensor, size_t size) {
  Doubles p(size);
  for (size_t i = 0; i < size; ++i) p[i] = Value(Draw(0, tensor, i));
  return p;
}

// One tensor of tensors.json.
struct Subject {
  Subject(size_t index, const json& about)
      : index(index), name(about["name"]), shape(about["shape"]), exponent(about["exponent"]) {
    size_t size = 1;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    initial = about["zero"] ? Doubles(size) : DrawInitial(index, size);
  }

  // Empty if the gradient is missing.
  Doubles Gradient(int64_t step) const {
    constexpr size_t kFate = 0xFFFF;
    const uint64_t fate = Draw(step, index, kFate) % 8;
    if (fate == 0 || (step == 1 && name == "scalar")) return {};
    if (fate == 1) return Doubles(initial.size());
    return DrawGradient(step, index, initial.size(), exponent);
  }

  size_t index;
  std::string name;
  std::vector<int64_t> shape;
  int exponent;
  Doubles initial;
};

double Largest(const Doubles& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

// The tensors that a rule can step: all, or for matrix rules the first.
std::span<const Subject> SubjectsOf(const RuleEntry& rule) {
  static const std::vector<Subject> subjects = [] {
    std::vector<Subject> all;
    for (const json& about : ReadJson(kFolder + "tensors.json")) {
      all.emplace_back(all.size(), about);
    }
    return all;
  }();
  if (rule.whole == nullptr) return subjects;
  Doubles values;
  for (const RuleEntry::Option& o : rule.options) values.push_back(o.default_value);
  size_t count = 0;
  try {
    for (const Subject& s : subjects) {
      rule.whole->SlotSizes(values.data(), s.shape);
      ++count;
    }
  } catch (const Error&) {
    // A vector; the matrices come first.
  }
  return std::span(subjects).first(count);
}

// A rule with options and with classes of tensors that are neither adapted nor decayed.
struct Config {
  explicit Config(const RuleEntry& rule, const json& options = json::object())
      : rule(rule), subjects(SubjectsOf(rule)) {
    for (const auto& [name, value] : options.items()) {
      if (name == "no_adapt") {
        for (const json& c : value) no_adapt.push_back(ParseTensorClass(c.get<std::string>()));
      } else {
        this->options.emplace(name, value.is_string() ? ParseSchedule(value.get<std::string>())
                                                      : Schedule(value.get<double>()));
      }
    }
  }

  bool Adapts(const Subject& s) const {
    const TensorClass c = Classify(s.name, s.shape);
    return std::find(no_adapt.begin(), no_adapt.end(), c) == no_adapt.end();
  }

  Doubles Values(const Subject& s, int64_t step) const {
    Doubles values;
    for (const RuleEntry::Option& o : rule.options) {
      const auto given = options.find(o.name);
      values.push_back(given == options.end() ? o.default_value : given->second(step - 1));
      if (o.name == "weight_decay" && !Adapts(s)) values.back() = 0;
    }
    return values;
  }

  const RuleEntry& rule;
  std::span<const Subject> subjects;
  Options options;
  std::vector<TensorClass> no_adapt;
};

// A tensor under the rule's double reference.
struct Reference : testing::Reference {
  Reference(const Config& config, const Subject& subject)
      : testing::Reference(config.rule, subject.shape, subject.initial, config.Values(subject, 1),
                           config.Adapts(subject)),
        config(config),
        subject(subject),
        scales(1 + state.size()) {
    scales[0] = Largest(p);
  }

  void Step(int64_t step, const Doubles& g) {
    const Doubles values = config.Values(subject, step);
    testing::Reference::Step(values, g);
    if (config.rule.scalar64.hessian != nullptr && EstimateIsDue(updates)) {
      UpdateHessian(values, DrawEstimate(updates, subject.index, p.size()));
    }
    scales[0] = std::max(scales[0], Largest(p));
    for (size_t k = 0; k < state.size(); ++k) {
      scales[k + 1] = std::max(scales[k + 1], Largest(state[k]));
    }
  }

  const Config& config;
  const Subject& subject;
  Doubles scales;  // the largest magnitudes that p and every state buffer have had
};

// The same tensors under the engine, in float or double.
template <class T>
class EngineRun {
 public:
  explicit EngineRun(const Config& config)
      : config_(config),
        params_(config.subjects.size()),
        grads_(config.subjects.size()),
        updates_(config.subjects.size()),
        optimizer_(Tensors(), Spec(config)) {
    optimizer_.SetParallel({.threads = 1, .run = {}});
  }

  // An empty gradient is a missing one.
  void Step(const std::vector<Doubles>& gradients) {
    for (size_t i = 0; i < gradients.size(); ++i) {
      grads_[i].assign(gradients[i].begin(), gradients[i].end());
      optimizer_.tensors()[i].grad = grads_[i].empty() ? nullptr : grads_[i].data();
    }
    if (std::ranges::all_of(gradients, &Doubles::empty)) {
      // No step of the engine's; the count that schedules follow goes on.
      StateTree state = optimizer_.State();
      state.Set("step", optimizer_.steps() + 1);
      optimizer_.LoadState(state);
      return;
    }
    optimizer_.Step();
    if (config_.rule.scalar.hessian == nullptr) return;
    std::vector<std::vector<float>> estimates(gradients.size());
    std::vector<const float*> due(gradients.size(), nullptr);
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].empty() || !EstimateIsDue(++updates_[i])) continue;
      const Doubles e = DrawEstimate(updates_[i], i, gradients[i].size());
      estimates[i].assign(e.begin(), e.end());
      due[i] = estimates[i].data();
    }
    optimizer_.UpdateHessian(due);
  }

  const std::vector<T>& Param(size_t i) const { return params_[i]; }
  int64_t Updates(size_t i) const { return testing::Updates(optimizer_, i); }
  std::vector<testing::Buffer> Buffers(size_t i) const { return testing::Buffers(optimizer_, i); }
  // A buffer as it is stored.
  std::vector<T> Stored(size_t i, const std::string& slot) const {
    const StateTree state = testing::TensorState(optimizer_, i);
    const auto values = state.At("slots/" + slot).Array().As<T>();
    return {values.begin(), values.end()};
  }
  // The weights to evaluate, of all tensors.
  std::vector<std::vector<T>> Evaluated() {
    const EvaluationView view = optimizer_.EvaluationWeights();
    return params_;
  }

 private:
  static OptimizerSpec Spec(const Config& config) {
    OptimizerSpec spec(config.rule.name, config.options);
    spec.no_adapt = config.no_adapt;
    return spec;
  }

  std::vector<Tensor> Tensors() {
    std::vector<Tensor> tensors;
    for (const Subject& s : config_.subjects) {
      std::vector<T>& p = params_[s.index];
      p.assign(s.initial.begin(), s.initial.end());
      tensors.push_back({.name = s.name,
                         .shape = s.shape,
                         .dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32,
                         .param = p.data()});
    }
    return tensors;
  }

  const Config& config_;
  std::vector<std::vector<T>> params_, grads_;
  std::vector<int64_t> updates_;
  Optimizer optimizer_;
};
using FloatRun = EngineRun<float>;

// The largest difference of the elements.
template <class T>
double Distance(const std::vector<T>& a, const Doubles& b) {
  double distance = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    // A NaN of either makes the distance one, and every comparison with it fails.
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= distance)) distance = d;
  }
  return distance;
}

// A distance beside the largest magnitude that the buffer has had.
double Relative(double distance, double scale) { return distance == 0 ? 0 : distance / scale; }

void ExpectReference(const Doubles& actual, const Doubles& expected, double scale) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i],
                kReferenceError * std::abs(expected[i]) + kReferenceFloor * scale)
        << "element " << i;
  }
}

// What docs/oracles.md says about a rule: the largest deviations over its cases, tensors and
// buffers.
struct Deviations {
  double at50 = 0, at500 = 0;  // the double reference's from the oracle, beside the largest value
  double ulps = 0;             // the float engine's from the double reference after 500 steps
};

std::map<std::string, Deviations>& Measured() {
  static std::map<std::string, Deviations> measured;
  return measured;
}

// A second reference that is never nearer to the first than one float ULP: shows how much the rule
// itself, for these gradients, drives neighbours apart.
class Neighbour {
 public:
  explicit Neighbour(const Reference& reference) : reference_(reference) { Push(); }

  void Step(int64_t step, const Doubles& g, const Reference& beside) {
    reference_.Step(step, g);
    const double ulps = Relative(Distance(reference_.p, beside.p), beside.scales[0]) / kUlp;
    magnified_ = std::max(magnified_, ulps);
    if (ulps > 1) return;
    reference_.p = beside.p;
    reference_.state = beside.state;
    Push();
  }

  // The largest distance so far, in ULPs; at least one.
  double magnified() const { return magnified_; }

 private:
  void Push() {
    for (double& p : reference_.p) p += kUlp * reference_.scales[0];
  }

  Reference reference_;
  double magnified_ = 1;
};

// The float engine beside the double reference, which DoubleReferenceIsTheOracle checks. Where the
// rule magnifies differences it magnifies roundings as much, and the bound grows with them.
void ExpectFloatsFollow(const Config& config, double* ulps = nullptr) {
  FloatRun run(config);
  std::vector<Reference> references;
  std::vector<Neighbour> neighbours;
  for (const Subject& s : config.subjects) {
    references.emplace_back(config, s);
    neighbours.emplace_back(references.back());
  }
  const std::vector<std::string>& slots = config.rule.slots;
  for (int64_t step = 1; step <= kSteps; ++step) {
    std::vector<Doubles> gradients;
    for (const Subject& s : config.subjects) {
      gradients.push_back(s.Gradient(step));
      if (gradients.back().empty()) continue;
      references[s.index].Step(step, gradients.back());
      neighbours[s.index].Step(step, gradients.back(), references[s.index]);
    }
    run.Step(gradients);
    const auto check = [&](const std::vector<float>& floats, const Doubles& doubles, double scale,
                           double times) {
      const double distance = Relative(Distance(floats, doubles), scale) / kUlp;
      ASSERT_LE(distance, times * FloatBound(config.rule.name, step));
      if (ulps != nullptr && step == kSteps) *ulps = std::max(*ulps, distance);
    };
    for (const Subject& s : config.subjects) {
      const Reference& reference = references[s.index];
      SCOPED_TRACE(s.name + " at step " + std::to_string(step));
      ASSERT_EQ(run.Updates(s.index), reference.updates);
      ASSERT_NO_FATAL_FAILURE(check(run.Param(s.index), reference.p, reference.scales[0],
                                    neighbours[s.index].magnified()));
      if (reference.updates == 0) continue;
      const std::vector<testing::Buffer> buffers = run.Buffers(s.index);
      ASSERT_EQ(buffers.size(), slots.size());
      for (size_t k = 0; k < slots.size(); ++k) {
        SCOPED_TRACE(slots[k]);
        ASSERT_EQ(buffers[k].slot, slots[k]);
        ASSERT_NO_FATAL_FAILURE(check(buffers[k].values, reference.state[k],
                                      reference.scales[k + 1], neighbours[s.index].magnified()));
      }
    }
  }
}

// A case of a rule's file.
struct CaseId {
  std::string rule;
  size_t index;
};

void PrintTo(const CaseId& id, std::ostream* out) { *out << id.rule << ", case " << id.index; }

// Whether a rule steps tensors of float64.
bool StepsDoubles(const RuleEntry& rule) {
  return rule.whole == nullptr && rule.hessian == HessianEstimate::kNone;
}

std::vector<CaseId> AllCases(bool of_doubles = false) {
  std::vector<CaseId> all;
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    if (of_doubles && !StepsDoubles(rule)) continue;
    const json& golden = Golden(rule.name);
    for (size_t i = 0; !golden.is_null() && i < golden["cases"].size(); ++i) {
      all.push_back({rule.name, i});
    }
  }
  return all;
}

TEST(Golden, EveryRuleHasCases) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    const json& golden = Golden(rule.name);
    const bool enough =
        !golden.is_null() && golden["cases"].size() >= 4 && golden["cases"][0]["options"].empty();
    EXPECT_TRUE(enough)
        << "tests/golden/data/" << rule.name
        << ".json must have at least four cases, the first of them with every default. Add the "
           "rule to tests/golden/oracles.py, from an implementation that is not Kudari's, and run "
           "make_golden.py there";
  }
}

class GoldenCase : public ::testing::TestWithParam<CaseId> {
 protected:
  const RuleEntry& rule_ = Registry::Builtin().Find(GetParam().rule);
  const json& case_ = Golden(GetParam().rule)["cases"][GetParam().index];
  const Config config_{rule_, case_["options"]};
};

TEST_P(GoldenCase, DoubleReferenceIsTheOracle) {
  std::vector<Reference> references;
  for (const Subject& s : config_.subjects) references.emplace_back(config_, s);
  int64_t step = 0;
  Deviations& measured = Measured()[rule_.name];
  for (const json& record : case_["records"]) {
    while (step < record["step"]) {
      ++step;
      for (const Subject& s : config_.subjects) {
        const Doubles g = s.Gradient(step);
        if (!g.empty()) references[s.index].Step(step, g);
      }
    }
    const auto check = [&](const Doubles& actual, const Doubles& expected, double scale) {
      ExpectReference(actual, expected, scale);
      const double distance = Relative(Distance(actual, expected), scale);
      if (step == 50) measured.at50 = std::max(measured.at50, distance);
      if (step == 500) measured.at500 = std::max(measured.at500, distance);
    };
    for (const Subject& s : config_.subjects) {
      Reference& reference = references[s.index];
      const json& expected = record["tensors"][s.index];
      SCOPED_TRACE(s.name + " at step " + std::to_string(step));
      EXPECT_EQ(reference.updates, expected["updates"]);
      check(reference.p, expected["param"], reference.scales[0]);
      if (reference.updates == 0) continue;
      for (size_t k = 0; k < rule_.slots.size(); ++k) {
        SCOPED_TRACE(rule_.slots[k]);
        if (reference.state[k].empty()) continue;
        ASSERT_TRUE(expected["state"].contains(rule_.slots[k])) << "is not in the file";
        // The oracles' z and y are rounded beside the parameter, however near they are.
        const bool is_difference = rule_.slots[k] == "z_minus_y";
        check(reference.state[k], expected["state"][rule_.slots[k]],
              reference.scales[is_difference ? 0 : k + 1]);
      }
      for (size_t k = 0; k < rule_.memory.size(); ++k) {
        const std::string& name = rule_.memory[k].first;
        ASSERT_TRUE(expected["state"].contains(name)) << name << " is not in the file";
        const double value = expected["state"][name][0];
        EXPECT_NEAR(reference.memory[k], value, kReferenceError * std::abs(value)) << name;
      }
      if (rule_.scalar64.evaluate != nullptr) {
        SCOPED_TRACE("evaluated");
        ASSERT_TRUE(expected.contains("evaluated"));
        check(reference.Evaluated(config_.Values(s, step)), expected["evaluated"],
              reference.scales[0]);
      }
    }
  }
  EXPECT_EQ(step, kSteps);
}

class GoldenCaseOfDoubles : public GoldenCase {};

// Tensors of float64, compared with the oracle as the reference is. Their largest values are the
// reference's, which is as near to the oracle.
TEST_P(GoldenCaseOfDoubles, Float64EngineIsTheOracle) {
  EngineRun<double> run(config_);
  std::vector<Reference> references;
  for (const Subject& s : config_.subjects) references.emplace_back(config_, s);
  int64_t step = 0;
  for (const json& record : case_["records"]) {
    while (step < record["step"]) {
      ++step;
      std::vector<Doubles> gradients;
      for (const Subject& s : config_.subjects) {
        gradients.push_back(s.Gradient(step));
        if (!gradients.back().empty()) references[s.index].Step(step, gradients.back());
      }
      run.Step(gradients);
    }
    for (const Subject& s : config_.subjects) {
      const Reference& reference = references[s.index];
      const json& expected = record["tensors"][s.index];
      SCOPED_TRACE(s.name + " at step " + std::to_string(step));
      EXPECT_EQ(run.Updates(s.index), expected["updates"]);
      ExpectReference(run.Param(s.index), expected["param"], reference.scales[0]);
      if (reference.updates == 0) continue;
      for (size_t k = 0; k < rule_.slots.size(); ++k) {
        const std::string& slot = rule_.slots[k];
        SCOPED_TRACE(slot);
        ASSERT_TRUE(expected["state"].contains(slot)) << "is not in the file";
        ExpectReference(run.Stored(s.index, slot), expected["state"][slot],
                        reference.scales[slot == "z_minus_y" ? 0 : k + 1]);
      }
      if (rule_.scalar64.evaluate == nullptr) continue;
      SCOPED_TRACE("evaluated");
      ExpectReference(run.Evaluated()[s.index], expected["evaluated"], reference.scales[0]);
    }
  }
  EXPECT_EQ(step, kSteps);
}

TEST_P(GoldenCase, FloatEngineStaysNear) {
  ExpectFloatsFollow(config_, &Measured()[rule_.name].ulps);
}

std::string CaseName(const ::testing::TestParamInfo<CaseId>& info) {
  const json& c = Golden(info.param.rule)["cases"][info.param.index];
  std::string name = info.param.rule + "_" + c["case"].get<std::string>();
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Oracles, GoldenCase, ::testing::ValuesIn(AllCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Oracles, GoldenCaseOfDoubles, ::testing::ValuesIn(AllCases(true)),
                         CaseName);

// The beginning of a rule's row in the table of oracles.
std::string RowOf(const RuleEntry& rule) {
  const json& golden = Golden(rule.name);
  std::string row = "| `" + rule.name + "` | " + golden["oracle"].get<std::string>() + " | ";
  for (const json& other : golden["confirmed_by"]) {
    if (!row.ends_with("| ")) row += ", ";
    row += other["oracle"].get<std::string>();
  }
  return row + " |";
}

// Writes the table after all tests, if they are asked for it.
class TableOfOracles : public ::testing::Environment {
 public:
  void TearDown() override {
    const char* const path = std::getenv("KUDARI_ORACLES");
    if (path == nullptr) return;
    std::ofstream file(path);
    file << kHead;
    for (const RuleEntry& rule : Registry::Builtin().rules()) {
      const Deviations& d = Measured()[rule.name];
      char figures[100];
      std::snprintf(figures, sizeof(figures), " %.1e | %.1e | %.1f |\n", d.at50, d.at500, d.ulps);
      file << RowOf(rule) << figures;
    }
    file << kTail;
    ASSERT_TRUE(file.good()) << path;
  }

 private:
  static constexpr std::string_view kHead =
      R"(# What the rules are compared with

The parameters and state of every rule are compared with an independent implementation, named in the
second column. The third names others that gave the same parameters, within 1e-12,
when the trajectories in `tests/golden/data` were recorded. Each rule has at least four cases, with
weight decay, missing and zero gradients, tensors that start at zero, and schedules.

The figures are the largest over all cases, tensors and buffers, relative to the largest magnitude that the
buffer has had: the distance of the double-precision reference from the oracle after 50 and 500
steps, and of the float32 engine from that reference after 500 steps, in units of 2^-23. The tests
allow 1e-12 of each value, and ULPs in proportion to the root of the steps; golden_test.cc explains why
some rules need more. `tests/golden/DEVIATIONS.md` lists the errors found in oracles.

`make_golden.py` writes the trajectories; golden_test, in the same folder, wrote this page, with
`KUDARI_ORACLES=docs/oracles.md` in its environment.

| rule | oracle | agrees | 50 steps | 500 steps | float ULPs |
|---|---|---|---|---|---|
)";

  static constexpr std::string_view kTail =
      R"(
## In 16 and 8 bits

precision_golden_test compares with the results that `make_precision.py` recorded. "One step" starts from the
oracle's state, or from a state drawn for both, so that the figure contains no earlier rounding.

| what | oracle | allowed |
|---|---|---|
| float32 and split16 master weights, 200 steps: adamw, momentum, lion | torch 2.13.0 AdamW and SGD, lion-pytorch 0.2.5, on a float32 copy | twice the ULPs of the rules above; bfloat16 parameters equal unless a rounding boundary is that close |
| bfloat16 parameters and state, adamw, one step | torch 2.13.0 AdamW(fused=True) | one element in 64 one unit apart; found: none |
| the same | torch 2.13.0 AdamW(foreach=True), which rounds after every operation | one unit; found: a tenth of the elements |
| `dynamic8`, adamw, one step | bitsandbytes 0.50.2 AdamW8bit with the quantiser of its default backend | codes: one in 1000 a neighbour, found: none; scales and parameters 1e-6 |
| the same, bfloat16 parameters | torchao 0.18.0 AdamW8bit, compiled | codes as above; parameters: one in 100 one unit apart, found: none |
| `softsign8`, and `linear8` with `split8` weights, adamw, one step | the formulas in float64 | codes as above; parameters 1e-6, plus half a unit of split weights |
| `kahan`, 500 steps: adamw, momentum | torch 2.13.0 in float32 | 1/32 of a bfloat16 unit; with state in bfloat16 one unit |
| the same, state in bfloat16 | torch-optimi 0.3.3 with kahan_sum=True | one unit |

- Codes are neighbours where rounding in float32 decides between them, and at exact midpoints, which go
  down in Kudari and bitsandbytes and up in torchao.
- bitsandbytes' own CPU quantiser is not used as an oracle: it does not code zero as zero.
- FlashOptim itself runs only on CUDA. Kudari never codes a non-zero second moment as zero;
  bitsandbytes and torchao do so in dynamic codes if one element of a block is a million times larger, and
  the weight of such a moment then moves by its first moment divided by eps (-4.2 instead of -0.0017
  in one step of AdamW).
- torch-optimi's decoupled decay is not compensated, so the comparison uses no decay.
)";
};

[[maybe_unused]] const auto* const kTable = ::testing::AddGlobalTestEnvironment(new TableOfOracles);

TEST(Golden, TheTableOfOraclesIsOfThisData) {
  if (std::getenv("KUDARI_ORACLES") != nullptr) GTEST_SKIP() << "the table is being written";
  std::ifstream file(KUDARI_SOURCE_DIR "/docs/oracles.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    EXPECT_NE(page.find(RowOf(rule)), std::string::npos)
        << rule.name << " has other oracles; write docs/oracles.md as it says";
  }
}

// Every registered rule, golden or not.
class FloatGrowth : public ::testing::TestWithParam<std::string> {
 protected:
  const RuleEntry& rule_ = Registry::Builtin().Find(GetParam());
};

TEST_P(FloatGrowth, IsBoundedWithDefaults) { ExpectFloatsFollow(Config(rule_)); }

TEST_P(FloatGrowth, IsBoundedWithLargeSteps) {
  json options = json::object();
  for (const RuleEntry::Option& o : rule_.options) {
    // rprop's steps are decided by signs, which weights would decide, and their roundings.
    const bool decays = o.name == "weight_decay" && rule_.name != "rprop";
    if (o.name == "lr" || decays) options[o.name] = 0.1;
  }
  ExpectFloatsFollow(Config(rule_, options));
}

std::vector<std::string> RuleNames() {
  std::vector<std::string> names;
  for (const RuleEntry& rule : Registry::Builtin().rules()) names.push_back(rule.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Rules, FloatGrowth, ::testing::ValuesIn(RuleNames()),
                         [](const auto& info) { return info.param; });

// Compares 50 steps of a rule's double reference, element by element, with a paper's formula:
// make(p) is a function of an element's gradient and the step t = 1, 2, ... that returns the
// element's new value, p at first.
template <class Make>
void ExpectPaper(const std::string& rule, const std::map<std::string, double>& options,
                 const Make& make) {
  const RuleEntry& entry = Registry::Builtin().Find(rule);
  Doubles values;
  for (const RuleEntry::Option& o : entry.options) {
    values.push_back(options.contains(o.name) ? options.at(o.name) : o.default_value);
  }
  constexpr size_t kSize = 16, kStream = 99;
  testing::Reference reference(entry, {kSize}, DrawInitial(kStream, kSize), values);
  std::vector<decltype(make(0.0))> paper;
  for (const double p : reference.p) paper.push_back(make(p));
  for (int64_t t = 1; t <= 50; ++t) {
    const Doubles g = DrawGradient(t, kStream, kSize, 0);
    reference.Step(values, g);
    Doubles expected;
    for (size_t i = 0; i < kSize; ++i) expected.push_back(paper[i](g[i], static_cast<double>(t)));
    SCOPED_TRACE("step " + std::to_string(t));
    ExpectReference(reference.p, expected, 1);
  }
}

TEST(Papers, Sgd) {
  // Robbins and Monro, on f(x) + lambda / 2 x^2.
  const double gamma = 0.1, lambda = 0.03;
  ExpectPaper("sgd", {{"lr", gamma}, {"weight_decay", lambda}}, [=](double x) {
    return [=](double g, double) mutable { return x -= gamma * (g + lambda * x); };
  });
}

TEST(Papers, Momentum) {
  // Polyak's two-point form, which has no buffer, on f(x) + lambda / 2 x^2.
  const double alpha = 0.05, beta = 0.9, lambda = 0.03;
  ExpectPaper("momentum", {{"lr", alpha}, {"momentum", beta}, {"weight_decay", lambda}},
              [=](double x) {
                return [=, before = x](double g, double) mutable {
                  const double next = x - alpha * (g + lambda * x) + beta * (x - before);
                  before = x;
                  return x = next;
                };
              });
}

TEST(Papers, Nesterov) {
  // Sutskever et al., equations 3 and 4, on f(x) + lambda / 2 x^2, with the gradient taken at the
  // look-ahead point; the rule's parameter is the next look-ahead point.
  const double epsilon = 0.05, mu = 0.9, lambda = 0.03;
  ExpectPaper("nesterov", {{"lr", epsilon}, {"momentum", mu}, {"weight_decay", lambda}},
              [=](double theta) {
                return [=, v = 0.0](double g, double) mutable {
                  const double ahead = theta + mu * v;
                  v = mu * v - epsilon * (g + lambda * ahead);
                  theta = theta + v;
                  return theta + mu * v;
                };
              });
}

TEST(Papers, Adam) {
  // Kingma and Ba, Algorithm 1, on f(x) + lambda / 2 x^2.
  const double alpha = 0.01, beta1 = 0.8, beta2 = 0.97, epsilon = 1e-3, lambda = 0.03;
  ExpectPaper("adam",
              {{"lr", alpha},
               {"beta1", beta1},
               {"beta2", beta2},
               {"eps", epsilon},
               {"weight_decay", lambda}},
              [=](double theta) {
                return [=, m = 0.0, v = 0.0](double gradient, double t) mutable {
                  const double g = gradient + lambda * theta;
                  m = beta1 * m + (1 - beta1) * g;
                  v = beta2 * v + (1 - beta2) * g * g;
                  const double m_hat = m / (1 - std::pow(beta1, t));
                  const double v_hat = v / (1 - std::pow(beta2, t));
                  return theta = theta - alpha * m_hat / (std::sqrt(v_hat) + epsilon);
                };
              });
}

TEST(Papers, AdamW) {
  // Loshchilov and Hutter, Algorithm 2, line 12 with eta = 1. Its lambda does not contain the step
  // size; the rule's weight_decay is multiplied by lr.
  const double alpha = 0.01, beta1 = 0.8, beta2 = 0.97, epsilon = 1e-3, lambda = 0.002;
  ExpectPaper("adamw",
              {{"lr", alpha},
               {"beta1", beta1},
               {"beta2", beta2},
               {"eps", epsilon},
               {"weight_decay", lambda / alpha}},
              [=](double theta) {
                return [=, m = 0.0, v = 0.0](double g, double t) mutable {
                  m = beta1 * m + (1 - beta1) * g;
                  v = beta2 * v + (1 - beta2) * g * g;
                  const double m_hat = m / (1 - std::pow(beta1, t));
                  const double v_hat = v / (1 - std::pow(beta2, t));
                  theta -= alpha * m_hat / (std::sqrt(v_hat) + epsilon) + lambda * theta;
                  return theta;
                };
              });
}

}  // namespace golden_test
}  // namespace kudari
