// Steps in 16 and 8 bits beside implementations that are not Kudari's, recorded in
// data/precision.json by make_precision.py, which says what each case is.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kudari/optimizer.h"

namespace kudari {
namespace precision_golden_test {

using nlohmann::json;
using Floats = std::vector<float>;

constexpr float kUlp = std::numeric_limits<float>::epsilon();
constexpr size_t kBlock = 256, kStride = 8;

const json& Golden() {
  static const json golden = [] {
    std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/precision.json");
    return json::parse(file);
  }();
  return golden;
}

// The inputs of make_precision.py.

enum What : uint64_t { kInitial, kGradient, kCodes1, kCodes2, kScales1, kScales2 };

uint64_t Bits(What what, int64_t step, size_t element) {
  uint64_t x = (static_cast<uint64_t>(step) << 32 | what << 16 | element) + 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

float Draw(What what, int64_t step, size_t element, int exponent = 0) {
  const auto k = static_cast<float>(Bits(what, step, element) >> 56) - 128;
  return std::ldexp(k, exponent - 7);
}

Floats Initial(size_t n) {
  Floats p(n);
  for (size_t i = 0; i < n; ++i) p[i] = Draw(kInitial, 0, i);
  return p;
}

Floats Gradient(int64_t step, size_t n) {
  Floats g(n);
  for (size_t i = 0; i < n; ++i) {
    g[i] = Bits(kGradient, step, i) % 16 == 0 ? 0 : Draw(kGradient, step, i, -7);
  }
  return g;
}

std::vector<uint8_t> DrawCodes(What what, size_t n, int64_t least, int64_t most) {
  std::vector<uint8_t> codes(n);
  const auto span = static_cast<uint64_t>(most - least + 1);
  for (size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<uint8_t>(static_cast<int64_t>((Bits(what, 0, i) >> 32) % span) + least);
  }
  return codes;
}

Floats DrawScales(What what, size_t n, int exponent) {
  Floats scales((n + kBlock - 1) / kBlock);
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto fraction = static_cast<double>(Bits(what, 0, i) >> 41) / (1 << 23);
    scales[i] = static_cast<float>(std::ldexp(1 + fraction, exponent));
  }
  return scales;
}

// Bits in hexadecimal, and what they mean.

template <class T>
std::vector<T> Digits(const std::string& text) {
  constexpr size_t kEach = 2 * sizeof(T);
  std::vector<T> values;
  for (size_t i = 0; i < text.size(); i += kEach) {
    values.push_back(static_cast<T>(std::stoul(text.substr(i, kEach), nullptr, 16)));
  }
  return values;
}

Floats Float32(const std::string& text) {
  Floats values;
  for (const uint32_t word : Digits<uint32_t>(text)) values.push_back(std::bit_cast<float>(word));
  return values;
}

Floats Wide(const std::vector<uint16_t>& halves) {
  Floats values;
  for (const uint16_t h : halves) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(h) << 16));
  }
  return values;
}

// Of values that bfloat16 holds.
std::vector<uint16_t> Narrow(const Floats& values) {
  std::vector<uint16_t> halves;
  for (const float v : values) {
    halves.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(v) >> 16));
  }
  return halves;
}

// The nearest bfloat16, the even one of two, by exact comparisons.
float Rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x) & 0xFFFF0000U;
  const auto below = std::bit_cast<float>(bits), above = std::bit_cast<float>(bits + 0x10000U);
  const double to_below = std::abs(double{x} - below), to_above = std::abs(double{above} - x);
  if (to_below != to_above) return to_below < to_above ? below : above;
  return (bits & 0x10000U) == 0 ? below : above;
}

// The distance of neighbouring bfloat16 numbers at x.
double Unit(double x) { return x == 0 ? 0 : std::ldexp(1, std::ilogb(x) - 7); }

double UnitOf(double a, double b) { return Unit(std::max(std::abs(a), std::abs(b))); }

float Largest(const Floats& values) {
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

OptimizerSpec SpecOf(const std::string& rule, const json& options, const Precision& precision) {
  OptimizerSpec spec(rule);
  for (const auto& [name, value] : options.items()) spec.options.emplace(name, value.get<double>());
  spec.precision = precision;
  return spec;
}

// One tensor in memory of its own type, and its optimiser.
class GoldenModel {
 public:
  GoldenModel(const OptimizerSpec& spec, DType dtype, const Floats& initial)
      : dtype_(dtype),
        param_(initial),
        grad_(initial.size()),
        narrow_param_(Narrow(initial)),
        narrow_grad_(initial.size()),
        optimizer_({Tensor{.name = "t",
                           .shape = {static_cast<int64_t>(initial.size())},
                           .dtype = dtype,
                           .param = IsNarrow() ? static_cast<void*>(narrow_param_.data())
                                               : static_cast<void*>(param_.data()),
                           .grad = IsNarrow() ? static_cast<const void*>(narrow_grad_.data())
                                              : static_cast<const void*>(grad_.data())}},
                   spec) {}

  void Step(const Floats& gradient) {
    std::copy(gradient.begin(), gradient.end(), grad_.begin());
    const std::vector<uint16_t> narrow = Narrow(gradient);
    std::copy(narrow.begin(), narrow.end(), narrow_grad_.begin());
    optimizer_.Step();
  }

  // As if the tensor had had so many updates.
  void Load(int64_t updates, const StateTree& slots) {
    StateTree state;
    state.Set("step", updates);
    state.Set("tensors/t/step", updates);
    state.Set("tensors/t/slots", slots);
    optimizer_.LoadState(state);
  }

  Floats Param() const { return IsNarrow() ? Wide(narrow_param_) : param_; }
  StateTree State(const std::string& slot) const {
    return optimizer_.State().At("tensors/t/slots/" + slot);
  }
  Floats Values(const std::string& slot) const { return optimizer_.SlotValues(0, slot); }
  // What the rule sees as the parameter.
  Floats Weights() const { return Values("master"); }

 private:
  bool IsNarrow() const { return dtype_ == DType::kBFloat16; }

  DType dtype_;
  Floats param_, grad_;
  std::vector<uint16_t> narrow_param_, narrow_grad_;
  Optimizer optimizer_;
};

// Both sides round in float32, so twice the bound of golden_test.cc holds between them.
TEST(PrecisionGolden, MasterWeightsAreThoseOfFloat32Optimisers) {
  for (const json& c : Golden()["master"]) {
    for (const Master master : {Master::kFloat32, Master::kSplit16}) {
      SCOPED_TRACE(c["oracle"].get<std::string>() + " and " + std::string(Name(master)));
      const bool adds_signs = c["rule"] == "lion";
      const size_t n = Float32(c["records"][0]["master"]).size();
      GoldenModel model(SpecOf(c["rule"], c["options"], {.master = master}), DType::kBFloat16,
                        Initial(n));
      float largest = 1;
      int64_t step = 0;
      for (const json& record : c["records"]) {
        while (step < record["step"]) {
          ++step;
          model.Step(Gradient(step, n));
          largest = std::max(largest, Largest(model.Weights()));
        }
        SCOPED_TRACE("step " + std::to_string(step));
        const auto t = static_cast<float>(step);
        const float near = 2 * kUlp * largest * (2 + (adds_signs ? t / 2 : std::sqrt(t)));
        const Floats expected = Float32(record["master"]), actual = model.Weights();
        const Floats narrow = Wide(Digits<uint16_t>(record["param"])), param = model.Param();
        for (size_t i = 0; i < n; ++i) {
          EXPECT_NEAR(actual[i], expected[i], near) << i;
          EXPECT_EQ(narrow[i], Rounded(expected[i])) << i;  // torch's copy
          EXPECT_EQ(param[i], Rounded(actual[i])) << i;
          // Equal but where a boundary of rounding is in between.
          EXPECT_GE(param[i], Rounded(expected[i] - near)) << i;
          EXPECT_LE(param[i], Rounded(expected[i] + near)) << i;
        }
      }
    }
  }
}

// An array of bfloat16.
StateTree BFloat16Array(const std::string& digits) {
  StateArray array = StateArray::Of<uint16_t>(Digits<uint16_t>(digits));
  array.type = ElementType::kBFloat16;
  return array;
}

// How many elements are not the same; each must be within a unit.
size_t CountOthers(const Floats& actual, const Floats& expected) {
  size_t others = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    others += actual[i] != expected[i] ? 1 : 0;
    EXPECT_LE(std::abs(actual[i] - expected[i]), UnitOf(actual[i], expected[i])) << i;
  }
  return others;
}

TEST(PrecisionGolden, BFloat16StateAndParametersAreTorchsWithinAUnit) {
  for (const json& c : Golden()["bfloat16"]) {
    SCOPED_TRACE(c["oracle"].get<std::string>());
    // Fused code rounds once, when it stores, as Kudari does: only what float32 makes of a tie may
    // differ.
    const bool fused = c["oracle"].get<std::string>().find("fused") != std::string::npos;
    for (const json& record : c["records"]) {
      const int64_t step = record["step"];
      SCOPED_TRACE("step " + std::to_string(step));
      const json &before = record["before"], &after = record["after"];
      const Floats initial = Wide(Digits<uint16_t>(before["param"]));
      GoldenModel model(SpecOf("adamw", c["options"], {.state = StateFormat::kBFloat16}),
                        DType::kBFloat16, initial);
      StateTree state;
      state.Set("exp_avg", BFloat16Array(before["exp_avg"]));
      state.Set("exp_avg_sq", BFloat16Array(before["exp_avg_sq"]));
      model.Load(step - 1, state);
      model.Step(Gradient(step, initial.size()));
      const auto check = [&](const std::string& what, const Floats& actual) {
        SCOPED_TRACE(what);
        const size_t others = CountOthers(actual, Wide(Digits<uint16_t>(after[what])));
        if (fused) {
          EXPECT_LE(others, 1U);
        }
      };
      check("param", model.Param());
      check("exp_avg", model.Values("exp_avg"));
      check("exp_avg_sq", model.Values("exp_avg_sq"));
    }
  }
}

// The state of make_precision.py's drawn_state.
StateTree Coded8(const std::string& format, const std::vector<uint8_t>& codes,
                 const Floats& scales) {
  StateTree slot;
  slot.Set("format", format);
  slot.Set("codes", StateArray::Of<uint8_t>(codes));
  slot.Set("scales", StateArray::Of<float>(scales));
  return slot;
}

// One with 24 significant bits, or rounded to bfloat16, in which a block is zero.
Floats LargeGradient(size_t n, bool narrow) {
  Floats g = Gradient(1, n);
  for (size_t i = 0; i < n; ++i) {
    if (g[i] != 0)
      g[i] = std::ldexp(static_cast<float>(Bits(kGradient, 1, i) >> 40), -30) - 0x1p-7F;
    if (narrow) g[i] = Rounded(g[i]);
  }
  std::fill(g.begin() + 3 * kBlock, g.begin() + 4 * kBlock, 0.0F);
  return g;
}

// Compares codes and scales, which `unit` makes of largest values. Codes may be neighbours where
// rounding in float32 decides.
void ExpectCodes(const GoldenModel& model, const std::string& slot, const json& expected,
                 bool is_signed, double unit) {
  SCOPED_TRACE(slot);
  const StateTree actual = model.State(slot);
  const auto actual_codes = actual.At("codes").Array().As<uint8_t>();
  const auto actual_scales = actual.At("scales").Floats();
  const auto codes = Digits<uint8_t>(expected["codes"]);
  const Floats scales = Float32(expected["scales"]);
  ASSERT_EQ(actual_codes.size(), codes.size());
  ASSERT_EQ(actual_scales.size(), scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    const double scale = actual_scales[i] * unit;
    EXPECT_NEAR(slot == "exp_avg_sq" && unit != 1 ? scale * scale : scale, scales[i],
                1e-6 * scales[i])
        << "block " << i;
  }
  size_t others = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    const auto number = [&](uint8_t code) -> int {
      return is_signed ? static_cast<int8_t>(code) : code;
    };
    const int a = number(actual_codes[i]), b = number(codes[i]);
    if (scales[i / kBlock] == 0) continue;  // any code is zero
    EXPECT_LE(std::abs(a - b), 1) << "element " << i;
    others += a != b ? 1 : 0;
  }
  EXPECT_LE(others, codes.size() / 1000);
}

// What the file has of a large tensor's parameters.
Floats Recorded(const Floats& p) {
  Floats some;
  for (size_t i = 0; i < p.size(); i += kStride) some.push_back(p[i]);
  return some;
}

TEST(PrecisionGolden, Dynamic8IsBitsandbytesAndTorchao) {
  for (const json& c : Golden()["dynamic8"]) {
    const size_t n = c["size"];
    const int64_t updates = c["updates"];
    const bool narrow = c["dtype"] == "bfloat16";
    SCOPED_TRACE(c["oracle"].get<std::string>() + " after " + std::to_string(updates));
    GoldenModel model(SpecOf("adamw", c["options"], {.state = StateFormat::kDynamic8}),
                      narrow ? DType::kBFloat16 : DType::kFloat32, Initial(n));
    if (updates > 0) {
      StateTree state;
      state.Set("exp_avg",
                Coded8("dynamic8", DrawCodes(kCodes1, n, 0, 255), DrawScales(kScales1, n, -7)));
      state.Set("exp_avg_sq", Coded8("dynamic_unsigned8", DrawCodes(kCodes2, n, 96, 255),
                                     DrawScales(kScales2, n, -10)));
      model.Load(updates, state);
    }
    model.Step(LargeGradient(n, narrow));
    ExpectCodes(model, "exp_avg", c["exp_avg"], false, 1);
    ExpectCodes(model, "exp_avg_sq", c["exp_avg_sq"], false, 1);
    const Floats p = Recorded(model.Param());
    const Floats expected = narrow ? Wide(Digits<uint16_t>(c["param"])) : Float32(c["param"]);
    if (narrow) {
      EXPECT_LE(CountOthers(p, expected), expected.size() / 100);
      continue;
    }
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(p[i], expected[i], 1e-6) << i;
  }
}

TEST(PrecisionGolden, CompandedAndLinearCodesAreTheirFormulasIn64Bits) {
  for (const json& c : Golden()["companded8"]) {
    const size_t n = c["size"];
    const std::string format = c["format"];
    SCOPED_TRACE(format);
    const bool narrow = c["dtype"] == "bfloat16";
    // Scales of evenly spaced codes are of one code; of roots, of one code of the root.
    const bool linear = format == "linear8";
    const double unit1 = linear ? 127 : 1, unit2 = 255;
    Floats scales1 = DrawScales(kScales1, n, -7), scales2 = DrawScales(kScales2, n, -10);
    for (float& s : scales1) s = static_cast<float>(s / unit1);
    for (float& s : scales2) s = static_cast<float>(std::sqrt(double{s}) / unit2);
    const Precision precision{.master = narrow ? Master::kSplit8 : Master::kNone,
                              .state = linear ? StateFormat::kLinear8 : StateFormat::kSoftsign8};
    GoldenModel model(SpecOf("adamw", c["options"], precision),
                      narrow ? DType::kBFloat16 : DType::kFloat32, Initial(n));
    StateTree state;
    state.Set("exp_avg", Coded8(format, DrawCodes(kCodes1, n, -127, 127), scales1));
    state.Set("exp_avg_sq", Coded8("root8", DrawCodes(kCodes2, n, 64, 255), scales2));
    if (narrow) state.Set("master", StateArray::Of<float>(Initial(n)));
    model.Load(c["updates"], state);
    model.Step(LargeGradient(n, narrow));
    ExpectCodes(model, "exp_avg", c["exp_avg"], true, unit1);
    ExpectCodes(model, "exp_avg_sq", c["exp_avg_sq"], false, unit2);
    const Floats p = Recorded(narrow ? model.Weights() : model.Param());
    const Floats expected = Float32(c["param"]);
    for (size_t i = 0; i < expected.size(); ++i) {
      // Split weights have 16 significant bits.
      const double half = narrow ? Unit(expected[i]) / 512 : 0;
      EXPECT_NEAR(p[i], expected[i], 1e-6 + half) << i;
    }
  }
}

// The largest distance of two, in units of bfloat16 at the larger of a weight and what it began as.
double Units(const Floats& a, const Floats& b, const Floats& initial) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]) / UnitOf(b[i], initial[i]));
  }
  return most;
}

TEST(PrecisionGolden, KahansCompensationKeepsToFloat32AsOptimisDoes) {
  for (const json& c : Golden()["kahan"]) {
    const std::string rule = c["rule"];
    const size_t n = Float32(c["records"][0]["float32"]).size();
    const Floats initial = Initial(n);
    const auto model_of = [&](Master master, StateFormat state) {
      return GoldenModel(SpecOf(rule, c["options"], {.master = master, .state = state}),
                         DType::kBFloat16, initial);
    };
    GoldenModel kahan = model_of(Master::kKahan, StateFormat::kFloat32);
    GoldenModel narrow = model_of(Master::kKahan, StateFormat::kBFloat16);
    GoldenModel plain = model_of(Master::kNone, StateFormat::kFloat32);
    int64_t step = 0;
    for (const json& record : c["records"]) {
      while (step < record["step"]) {
        Floats g = Gradient(++step, n);
        for (float& x : g) x += 0x1p-8F;
        for (GoldenModel* const m : {&kahan, &narrow, &plain}) m->Step(g);
      }
      SCOPED_TRACE(rule + ", step " + std::to_string(step));
      const Floats weights = Float32(record["float32"]);
      const Floats optimi = Float32(record["optimi"]);
      // With state in float32 only the compensated weight is rounded, to 16 bits, 2^-9 units of the
      // parameter each time: 0.023 in 500 steps.
      EXPECT_LE(Units(kahan.Weights(), weights, initial), 1.0 / 32);
      EXPECT_LE(Units(kahan.Param(), weights, initial), 0.5 + 1.0 / 32);
      // optimi has its state in bfloat16.
      EXPECT_LE(Units(optimi, weights, initial), 1);
      EXPECT_LE(Units(narrow.Weights(), weights, initial), 1);
      EXPECT_LE(Units(narrow.Weights(), optimi, initial), 1);
      // What is compensated: 3 units in 10 steps, 150 in 500.
      EXPECT_GT(Units(plain.Param(), weights, initial), static_cast<double>(step) / 5);
    }
  }
}

}  // namespace precision_golden_test
}  // namespace kudari
