// What a tensor of float64 can take part in.
#include <string>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "optimizer/impl.h"

namespace kudari::internal {
namespace {

/// What of a spec keeps or adds numbers in float32, and what to do instead; "" for nothing.
struct Obstacle {
  std::string what = {}, instead = {};
};

Obstacle ObstacleIn(const OptimizerSpec& spec) {
  if (spec.source != "plain") {
    return {"source = \"" + spec.source + "\"", "the source \"plain\" takes it"};
  }
  if (spec.accumulate > 1) {
    return {"accumulate = " + std::to_string(spec.accumulate),
            "let the backward passes add up the gradients"};
  }
  if (spec.agc) return {"agc", "clip_norm and clip_value take it"};
  if (spec.centralize) return {"centralize", "clip_norm and clip_value take it"};
  if (spec.lookahead) return {"lookahead", "leave the averager out"};
  if (spec.ema) return {"ema", "leave the averager out"};
  if (spec.swa) return {"swa", "leave the averager out"};
  return {};
}

Obstacle ObstacleIn(const RuleEntry& rule) {
  const std::string instead =
      "rules that work element by element or with norms take it, such as adamw, momentum and lamb";
  if (rule.whole != nullptr) return {"the rule " + rule.name + " for whole tensors", instead};
  if (rule.hessian != HessianEstimate::kNone || rule.scalar64.hessian != nullptr) {
    return {"the rule " + rule.name + " with estimates of the Hessian", instead};
  }
  if (rule.scalar64.update == nullptr) return {"the rule " + rule.name, instead};
  return {};
}

Obstacle ObstacleIn(const Precision& precision, TensorClass tensor_class, const RuleEntry& rule) {
  if (Contains(precision.exclude, tensor_class)) return {};
  for (const std::string& slot : rule.slots) {
    const auto named = precision.slots.find(slot);
    const StateFormat format = named == precision.slots.end() ? precision.state : named->second;
    if (format == StateFormat::kFloat32) continue;
    return {"a format of fewer bits for its state " + Quoted(slot) + " (precision)",
            "exclude its class, " + std::string(Name(tensor_class)) + ", in precision.exclude"};
  }
  return {};
}

}  // namespace

void CheckFloat64(const Tensor& tensor, TensorClass tensor_class, const RuleEntry& rule,
                  const OptimizerSpec& spec) {
  if (tensor.dtype != DType::kFloat64) return;
  for (const Obstacle& obstacle :
       {ObstacleIn(rule), ObstacleIn(spec), ObstacleIn(spec.precision, tensor_class, rule)}) {
    if (obstacle.what.empty()) continue;
    throw Error("tensor \"" + tensor.name + "\" is float64, and " + obstacle.what +
                " works in float32; " + obstacle.instead);
  }
}

}  // namespace kudari::internal
