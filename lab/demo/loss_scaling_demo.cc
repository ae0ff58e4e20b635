// Which gradients float16 loses at which loss scale, and how GradScaler finds a scale.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kudari/grad_scaler.h"
#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

// float16 by exponents: half of the smallest subnormal number rounds to zero, below the smallest
// normal one digits are lost, and from 65520 on numbers round to infinity.
constexpr double kLostBelow = -25, kFewerDigitsBelow = -14, kLargest = 16;

// A gradient in float16, as a backward pass leaves it. The library's own rounding makes it: a step
// of SGD with a rate of 1 writes what it is given into a weight in float16.
class HalfGradient {
 public:
  explicit HalfGradient(size_t size)
      : half_(size),
        wide_(size),
        rounding_({{.name = "g",
                    .shape = {1, static_cast<int64_t>(size)},
                    .dtype = DType::kFloat16,
                    .param = half_.data(),
                    .grad = wide_.data(),
                    .grad_dtype = DType::kFloat32}},
                  OptimizerSpec("sgd", {{"lr", 1.0}})) {
    rounding_.SetParallel({.threads = 1});
  }

  void Set(const std::vector<double>& values, double scale) {
    std::ranges::fill(half_, uint16_t{0});
    std::ranges::transform(values, wide_.begin(),
                           [&](double x) { return -static_cast<float>(x * scale); });
    rounding_.Step();
  }
  const void* data() const { return half_.data(); }
  /// How many became zero, have fewer digits than float16's normal numbers, or are infinite.
  int64_t Lost() const {
    return Count([](uint16_t bits) { return (bits & 0x7fff) == 0; });
  }
  int64_t Subnormal() const {
    return Count([](uint16_t bits) { return (bits & 0x7c00) == 0 && (bits & 0x3ff) != 0; });
  }
  int64_t Infinite() const {
    return Count([](uint16_t bits) { return (bits & 0x7fff) == 0x7c00; });
  }

 private:
  template <class F>
  int64_t Count(const F& f) const {
    return std::ranges::count_if(half_, f);
  }

  std::vector<uint16_t> half_;
  std::vector<float> wide_;
  Optimizer rounding_;
};

// Gradients of many sizes: the logarithm of the magnitude is normally distributed.
std::vector<double> RandomGradient(const DemoSettings& settings, size_t size,
                                   std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<double> gradient(size);
  for (double& g : gradient) {
    const double exponent = settings("mean") + settings("spread") * normal(random);
    g = std::copysign(std::exp2(exponent), normal(random));
  }
  return gradient;
}

// How many gradients have each exponent, as steps.
LineChart ExponentsOf(const std::vector<double>& gradient) {
  std::vector<int> exponents;
  for (const double g : gradient) exponents.push_back(std::ilogb(g));
  const int low = std::min(*std::ranges::min_element(exponents), -30);
  const int high = std::max(*std::ranges::max_element(exponents) + 1, static_cast<int>(kLargest));
  LineChart chart{.title = "What float16 can hold of these gradients without a loss scale",
                  .x_label = "exponent of the gradient, base 2",
                  .y_label = "gradients",
                  .points = false};
  Series& line = chart.series.emplace_back();
  for (int e = low; e < high; ++e) {
    const auto count = static_cast<double>(std::ranges::count(exponents, e));
    AddPoint(line, e, count);
    AddPoint(line, e + 1, count);
  }
  chart.marks = {{.label = "becomes 0", .from = static_cast<double>(low), .to = kLostBelow},
                 {.label = "fewer digits", .from = kLostBelow, .to = kFewerDigitsBelow},
                 {.label = "infinite", .from = kLargest, .to = kLargest, .strong = true}};
  return chart;
}

DemoResult RunLossScaling(const DemoSettings& settings) {
  constexpr size_t kGradients = 4096, kSmall = 256;
  constexpr int kMostScale = 32;
  std::mt19937_64 random(settings.seed());
  const std::vector<double> gradient = RandomGradient(settings, kGradients, random);

  LineChart shares{.title = "Share of the gradients, by the loss scale",
                   .x_label = "loss scale, as a power of 2",
                   .y_label = "share",
                   .points = false};
  shares.series = {{.label = "lost: 0"}, {.label = "fewer digits"}, {.label = "infinite"}};
  DemoResult result;
  result.numbers = {{"gradient", gradient}, {"scales", nlohmann::ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {
      {"  loss scale", "become 0", "lose digits", "infinite"}};
  HalfGradient half(kGradients);
  for (int power = 0; power <= kMostScale; ++power) {
    half.Set(gradient, std::exp2(power));
    const auto share = [&](int64_t count) {
      return static_cast<double>(count) / static_cast<double>(kGradients);
    };
    const double lost = share(half.Lost()), few = share(half.Subnormal());
    const double infinite = share(half.Infinite());
    AddPoint(shares.series[0], power, lost);
    AddPoint(shares.series[1], power, few);
    AddPoint(shares.series[2], power, infinite);
    result.numbers["scales"].push_back(
        {{"power", power}, {"lost", lost}, {"fewer_digits", few}, {"infinite", infinite}});
    if (power % 8 == 0) {
      rows.push_back(
          {fmt::format("  2^{}", power), Percent(lost), Percent(few), Percent(infinite)});
    }
  }

  // GradScaler over steps: it doubles the scale after some steps, and halves it at an infinity.
  LineChart scales{.title = "GradScaler's scale over steps",
                   .x_label = "step",
                   .y_label = "scale, as a power of 2",
                   .points = false};
  Series& scale = scales.series.emplace_back();
  GradScaler scaler({.init_scale = std::exp2(settings("init_scale")),
                     .growth_interval = settings.Whole("growth_interval")});
  HalfGradient small(kSmall);
  std::vector<float> weights(kSmall);
  Optimizer optimizer({{.name = "w",
                        .shape = {1, static_cast<int64_t>(kSmall)},
                        .param = weights.data(),
                        .grad = small.data(),
                        .grad_dtype = DType::kFloat16}},
                      OptimizerSpec("sgd"));
  optimizer.SetParallel({.threads = 1});
  int64_t skipped = 0;
  for (int64_t step = 0; step < settings.Whole("steps"); ++step) {
    AddPoint(scale, static_cast<double>(step), std::log2(scaler.scale()));
    small.Set(RandomGradient(settings, kSmall, random), scaler.scale());
    const bool overflow = small.Infinite() > 0;
    skipped += scaler.Step(optimizer).skipped ? 1 : 0;
    scaler.Update();
    result.numbers["steps"].push_back({{"scale", scale.y.back()}, {"overflow", overflow}});
  }
  result.numbers["skipped"] = skipped;
  result.charts = {ExponentsOf(gradient), shares, scales};
  result.text = fmt::format(
      "{} gradients of about 2^{:g}, in float16: below 2^-25 they become 0, below 2^-14 they lose "
      "digits, and\nfrom 65520 on they are infinite. A factor for the loss shifts them all.\n\n{}\n"
      "GradScaler starts at 2^{:g}, doubles the scale after {} without an infinity and halves it "
      "at one:\nafter {} it is 2^{:g}, and {} were skipped.\n",
      kGradients, settings("mean"), TextTable(rows), settings("init_scale"),
      Counted(scaler.options().growth_interval, "step"), Counted(settings.Whole("steps"), "step"),
      std::log2(scaler.scale()), Counted(skipped, "step"));
  result.svg = StackedSvg({PanelsSvg({result.charts[0]}), ChartsSvg({shares, scales}, 2)});
  result.next = {"kudari demo loss-scaling --set mean=-30", "kudari demo range-test",
                 "kudari describe adamw"};
  return result;
}

}  // namespace

Demo LossScalingDemo() {
  return {
      .name = "loss-scaling",
      .summary =
          "float16 turns small gradients into zeros, which a factor for the loss "
          "prevents.",
      .source = "advanced techniques, 7",
      .parameters =
          {{.name = "mean",
            .value = -24,
            .low = -40,
            .high = 0,
            .doc = "mean exponent of the gradients, base 2"},
           {.name = "spread", .value = 5, .low = 0, .high = 10, .doc = "its standard deviation"},
           {.name = "init_scale",
            .value = 16,
            .low = 0,
            .high = 40,
            .doc = "GradScaler's first scale, as a power of 2"},
           {.name = "growth_interval",
            .value = 20,
            .low = 1,
            .high = 2000,
            .doc = "steps without an infinity before the scale doubles",
            .whole = true},
           {.name = "steps",
            .value = 400,
            .low = 1,
            .high = 2000,
            .doc = "steps of GradScaler",
            .whole = true}},
      .run = &RunLossScaling};
}

}  // namespace kudari::lab
