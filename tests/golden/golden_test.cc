// Trajectories against independent implementations: torch's own optimisers in float64, recorded in
// golden.json by make_golden.py, and the papers' formulas, written out below.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/registry.h"

namespace kudari {
namespace {

using nlohmann::json;
using Doubles = std::vector<double>;

// The double reference and torch's float64 round differently but compute the same.
constexpr double kReferenceError = 1e-12;
// A value near zero is a difference of values as large as its buffer ever was, each rounded by up
// to 2^-53 = 1.1e-16 a step; the root of 1000 such roundings is 3.5e-15.
constexpr double kReferenceFloor = 1e-14;

// Bound of the distance between floats and doubles, in float ULPs of the largest value that the
// buffer has had. Roundings add up like a random walk: measured over all cases below, at most 1.5
// ULPs in the first two steps, 4.5 at step 20 and 11 at step 1000, 0.35 times the root of the step.
double FloatBound(int64_t step) { return 2 + std::sqrt(static_cast<double>(step)); }

const json& Golden() {
  static const json golden = [] {
    std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/golden.json");
    return json::parse(file);
  }();
  return golden;
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

Doubles DrawInitial(size_t tensor, size_t size) {
  Doubles p(size);
  for (size_t i = 0; i < size; ++i) p[i] = Value(Draw(0, tensor, i));
  return p;
}

// One tensor of golden.json.
struct Subject {
  explicit Subject(size_t index)
      : index(index),
        name(Golden()["tensors"][index]["name"]),
        shape(Golden()["tensors"][index]["shape"]),
        exponent(Golden()["tensors"][index]["exponent"]) {
    size_t size = 1;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    initial = Golden()["tensors"][index]["zero"] ? Doubles(size) : DrawInitial(index, size);
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

std::vector<Subject> Subjects() {
  std::vector<Subject> subjects;
  for (size_t i = 0; i < Golden()["tensors"].size(); ++i) subjects.emplace_back(i);
  return subjects;
}

double Largest(const Doubles& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

// A tensor under the rule's double reference.
struct Reference {
  Reference(const RuleEntry& rule, Doubles initial)
      : rule(&rule),
        p(std::move(initial)),
        state(rule.slots.size(), Doubles(p.size())),
        scales(1 + state.size()) {
    scales[0] = Largest(p);
  }

  void Step(const Doubles& values, const Doubles& g) {
    Doubles coeffs(rule->coeff_count);
    rule->coeffs(values.data(), ++updates, nullptr, coeffs.data());
    std::vector<double*> slots;
    for (Doubles& s : state) slots.push_back(s.data());
    rule->scalar64.update(coeffs.data(), {}, p.data(), g.data(), slots.data(), p.size());
    scales[0] = std::max(scales[0], Largest(p));
    for (size_t k = 0; k < state.size(); ++k) {
      scales[k + 1] = std::max(scales[k + 1], Largest(state[k]));
    }
  }

  const RuleEntry* rule;
  Doubles p;
  std::vector<Doubles> state;
  Doubles scales;  // the largest magnitudes that p and every state buffer have had
  int64_t updates = 0;
};

// The same tensors under the float engine.
class FloatRun {
 public:
  FloatRun(const RuleEntry& rule, const Options& options, const std::vector<Subject>& subjects)
      : params_(subjects.size()),
        grads_(subjects.size()),
        optimizer_(Tensors(subjects), OptimizerSpec(rule.name, options)) {
    optimizer_.SetParallel({.threads = 1, .run = {}});
  }

  // An empty gradient is a missing one.
  void Step(const std::vector<Doubles>& gradients) {
    for (size_t i = 0; i < gradients.size(); ++i) {
      grads_[i].assign(gradients[i].begin(), gradients[i].end());
      optimizer_.tensors()[i].grad = grads_[i].empty() ? nullptr : grads_[i].data();
    }
    optimizer_.Step();
  }

  const std::vector<float>& Param(size_t i) const { return params_[i]; }
  OptimizerState State() const { return optimizer_.State(); }

 private:
  std::vector<Tensor> Tensors(const std::vector<Subject>& subjects) {
    std::vector<Tensor> tensors;
    for (const Subject& s : subjects) {
      std::vector<float>& p = params_[s.index];
      p.assign(s.initial.begin(), s.initial.end());
      tensors.push_back({.name = s.name, .shape = s.shape, .param = p.data()});
    }
    return tensors;
  }

  std::vector<std::vector<float>> params_, grads_;
  Optimizer optimizer_;
};

Options ParseOptions(const json& options) {
  Options parsed;
  for (const auto& [name, value] : options.items()) {
    parsed.emplace(name, value.is_string() ? ParseSchedule(value.get<std::string>())
                                           : Schedule(value.get<double>()));
  }
  return parsed;
}

Doubles OptionValues(const RuleEntry& rule, const Options& options, int64_t step) {
  Doubles values;
  for (const RuleEntry::Option& o : rule.options) {
    const auto given = options.find(o.name);
    values.push_back(given == options.end() ? o.default_value : given->second(step - 1));
  }
  return values;
}

// The largest difference, in float ULPs of `scale`.
double DistanceInUlps(const std::vector<float>& a, const Doubles& b, double scale) {
  double distance = 0;
  for (size_t i = 0; i < b.size(); ++i) distance = std::max(distance, std::abs(a[i] - b[i]));
  return distance == 0 ? 0 : distance / (scale * std::numeric_limits<float>::epsilon());
}

void ExpectReference(const Doubles& actual, const Doubles& expected, double scale) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i],
                kReferenceError * std::abs(expected[i]) + kReferenceFloor * scale)
        << "element " << i;
  }
}

// 1000 steps of the float engine beside the double reference, which DoubleReferenceIsTorch checks.
void ExpectFloatsFollow(const RuleEntry& rule, const Options& options) {
  const std::vector<Subject> subjects = Subjects();
  FloatRun run(rule, options, subjects);
  std::vector<Reference> references;
  for (const Subject& s : subjects) references.emplace_back(rule, s.initial);
  for (int64_t step = 1; step <= 1000; ++step) {
    std::vector<Doubles> gradients;
    for (const Subject& s : subjects) {
      gradients.push_back(s.Gradient(step));
      if (gradients.back().empty()) continue;
      references[s.index].Step(OptionValues(rule, options, step), gradients.back());
    }
    run.Step(gradients);
    const OptimizerState state = run.State();
    for (const Subject& s : subjects) {
      const Reference& reference = references[s.index];
      const TensorState& tensor = state.tensors[s.index];
      SCOPED_TRACE(s.name + " at step " + std::to_string(step));
      ASSERT_EQ(tensor.step, reference.updates);
      ASSERT_LE(DistanceInUlps(run.Param(s.index), reference.p, reference.scales[0]),
                FloatBound(step));
      if (reference.updates == 0) continue;
      ASSERT_EQ(tensor.buffers.size(), rule.slots.size());
      for (size_t k = 0; k < rule.slots.size(); ++k) {
        ASSERT_EQ(tensor.buffers[k].slot, rule.slots[k]);
        ASSERT_LE(
            DistanceInUlps(tensor.buffers[k].values, reference.state[k], reference.scales[k + 1]),
            FloatBound(step))
            << rule.slots[k];
      }
    }
  }
}

TEST(Golden, EveryRuleHasCases) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    int cases = 0;
    bool defaults = false;
    for (const json& c : Golden()["cases"]) {
      if (c["rule"] != rule.name) continue;
      ++cases;
      defaults = defaults || c["options"].empty();
    }
    EXPECT_TRUE(cases >= 4 && defaults)
        << "golden.json has " << cases << " cases of the rule \"" << rule.name
        << "\"; at least four, one of them with every default, are needed. Add the rule to RULES "
           "in "
           "tests/golden/make_golden.py, from an implementation that is not Kudari's, and run that "
           "script with a Python that has torch 2.13";
  }
}

class GoldenCase : public testing::TestWithParam<size_t> {
 protected:
  const json& case_ = Golden()["cases"][GetParam()];
  const RuleEntry& rule_ = Registry::Builtin().Find(case_["rule"].get<std::string>());
  const Options options_ = ParseOptions(case_["options"]);
  const std::vector<Subject> subjects_ = Subjects();
};

TEST_P(GoldenCase, DoubleReferenceIsTorch) {
  std::vector<Reference> references;
  for (const Subject& s : subjects_) references.emplace_back(rule_, s.initial);
  int64_t step = 0;
  for (const json& record : case_["records"]) {
    while (step < record["step"]) {
      ++step;
      for (const Subject& s : subjects_) {
        const Doubles g = s.Gradient(step);
        if (!g.empty()) references[s.index].Step(OptionValues(rule_, options_, step), g);
      }
    }
    for (const Subject& s : subjects_) {
      const Reference& reference = references[s.index];
      const json& expected = record["tensors"][s.index];
      SCOPED_TRACE(s.name + " at step " + std::to_string(step));
      EXPECT_EQ(reference.updates, expected["updates"]);
      ExpectReference(reference.p, expected["param"], reference.scales[0]);
      if (reference.updates == 0) continue;
      for (size_t k = 0; k < rule_.slots.size(); ++k) {
        SCOPED_TRACE(rule_.slots[k]);
        ASSERT_TRUE(expected["state"].contains(rule_.slots[k])) << "is not in golden.json";
        ExpectReference(reference.state[k], expected["state"][rule_.slots[k]],
                        reference.scales[k + 1]);
      }
    }
  }
  EXPECT_EQ(step, 1000);
}

TEST_P(GoldenCase, FloatEngineStaysNear) { ExpectFloatsFollow(rule_, options_); }

std::string CaseName(const testing::TestParamInfo<size_t>& info) {
  const json& c = Golden()["cases"][info.param];
  std::string name = c["rule"].get<std::string>() + "_" + c["case"].get<std::string>();
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Torch, GoldenCase, testing::Range<size_t>(0, Golden()["cases"].size()),
                         CaseName);

// Every registered rule, golden or not.
class FloatGrowth : public testing::TestWithParam<std::string> {
 protected:
  const RuleEntry& rule_ = Registry::Builtin().Find(GetParam());
};

TEST_P(FloatGrowth, IsBoundedWithDefaults) { ExpectFloatsFollow(rule_, {}); }

TEST_P(FloatGrowth, IsBoundedWithLargeSteps) {
  Options options;
  for (const RuleEntry::Option& o : rule_.options) {
    if (o.name == "lr" || o.name == "weight_decay") options.emplace(o.name, 0.1);
  }
  ExpectFloatsFollow(rule_, options);
}

std::vector<std::string> RuleNames() {
  std::vector<std::string> names;
  for (const RuleEntry& rule : Registry::Builtin().rules()) names.push_back(rule.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Rules, FloatGrowth, testing::ValuesIn(RuleNames()),
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
  Reference reference(entry, DrawInitial(kStream, kSize));
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

}  // namespace
}  // namespace kudari
