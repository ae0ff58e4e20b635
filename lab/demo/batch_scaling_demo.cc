// Learning rates for other batch sizes by the linear and the square-root rule.
#include <fmt/format.h>

#include <cmath>

#include "kudari/batch_scaling.h"
#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

DemoResult RunBatchScaling(const DemoSettings& settings) {
  constexpr int kDoublings = 5;
  const double base_batch = settings("base_batch"), base_lr = settings("base_lr");
  const OptimizerSpec sgd("sgd", {{"lr", base_lr}});
  LineChart chart{
      .title = "The linear rule grows with the batch, the square-root rule with its root",
      .x_label = "batch size",
      .y_label = "learning rate"};
  chart.series = {{.label = "linear"}, {.label = "square root"}};
  DemoResult result;
  std::vector<std::vector<std::string>> rows = {
      {"  batch", "linear", "square root", "Adam's beta2"}};
  result.numbers = {{"rows", nlohmann::ordered_json::array()}};
  for (int doubling = 0; doubling <= kDoublings; ++doubling) {
    const double kappa = std::exp2(doubling), batch = kappa * base_batch;
    const double linear = ScaleBatch(sgd, kappa, BatchRule::kLinear).options.at("lr")(0);
    const double root = ScaleBatch(sgd, kappa, BatchRule::kSqrt).options.at("lr")(0);
    const double beta2 = ScaleBeta(0.999, kappa);
    AddPoint(chart.series[0], batch, linear);
    AddPoint(chart.series[1], batch, root);
    rows.push_back({fmt::format("  {:g}", batch), fmt::format("{:.4g}", linear),
                    fmt::format("{:.4g}", root), fmt::format("{:.4g}", beta2)});
    result.numbers["rows"].push_back(
        {{"batch", batch}, {"linear", linear}, {"square_root", root}, {"beta2", beta2}});
    chart.x_ticks.push_back(batch);
  }
  result.charts = {chart};
  result.text = fmt::format(
      "A rate of {:g} for batches of {:g}, for larger ones. The linear rule is for SGD; the "
      "square-root rule suits\nAdam, whose beta2 then changes, too, so that its mean spans as many "
      "samples as before.\nLarge rates need a warm-up, and neither rule holds forever.\n\n{}",
      base_lr, base_batch, TextTable(rows));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo batch-scaling --set base_batch=256",
                 "kudari scale recipes/digits-vit.toml --batch 512", "kudari demo patterns"};
  return result;
}

}  // namespace

Demo BatchScalingDemo() {
  return {.name = "batch-scaling",
          .summary =
              "A larger batch takes a larger learning rate, by its size or by the root of "
              "it.",
          .source = "practical guide, 3.3; overview, 2.2",
          .parameters = {{.name = "base_batch",
                          .value = 32,
                          .low = 1,
                          .high = 65536,
                          .doc = "batch size that the rate is known for",
                          .whole = true},
                         {.name = "base_lr",
                          .value = 0.01,
                          .low = 1e-9,
                          .high = 10,
                          .doc = "learning rate for it"}},
          .run = &RunBatchScaling};
}

}  // namespace kudari::lab
