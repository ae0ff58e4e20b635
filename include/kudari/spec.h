#ifndef KUDARI_SPEC_H_
#define KUDARI_SPEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kudari/schedule.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari {

/// Hyper-parameters by name; a number is a constant schedule.
using Options = std::map<std::string, Schedule>;

/// Tensors that are treated differently from the rest.
struct Group {
  std::string match = "*";                ///< glob on tensor names
  std::vector<TensorClass> classes = {};  ///< empty: any class
  std::string rule = {};                  ///< "": the rule of the spec
  /// Replace the spec's options; a group with another rule starts from that rule's defaults.
  Options options = {};

  friend bool operator==(const Group&, const Group&) = default;
};

/// A complete description of an optimiser: a plain value, the same as a recipe's [optimizer] table.
///
///     OptimizerSpec spec = AdamW{.lr = 1e-3};
///     spec.options.at("lr") = 1e-3 * Warmup(100) * Cosine(2000);
///     spec.clip_norm = 1.0;
///     spec.no_decay = {TensorClass::kBias, TensorClass::kNorm};
struct OptimizerSpec {
  /// Rule for all tensors. May be empty if the first group matches every tensor and has one.
  std::string rule;
  Options options;
  /// The last group that matches a tensor decides about it.
  std::vector<Group> groups;
  /// Classes whose weight_decay is zero, whatever their group says.
  std::vector<TensorClass> no_decay;
  /// Names (globs) whose class is not what Classify would say; the last match wins.
  std::vector<std::pair<std::string, TensorClass>> classes;
  /// Clip by global norm; unset: off.
  std::optional<Schedule> clip_norm;
  /// Clamp every element of the scaled gradient to [-clip_value, clip_value]; unset: off.
  std::optional<Schedule> clip_value;
  /// What to do about infinities and NaNs in the gradient.
  NonFinite nonfinite = NonFinite::kPropagate;
  /// Report the gradient's norm even if nothing needs it: one more read of the gradient.
  bool measure_norm = false;
  /// Oracle calls per step, at least 1.
  int64_t accumulate = 1;

  OptimizerSpec() = default;
  /// From a rule's name.
  explicit OptimizerSpec(std::string rule_name, Options rule_options = {})
      : rule(std::move(rule_name)), options(std::move(rule_options)) {}
  /// From a rule's struct: a rule is a specification.
  template <class R, class = decltype(R::kFields)>
  OptimizerSpec(const R& r) : rule(R::kName) {  // NOLINT(google-explicit-constructor)
    for (const auto& f : R::kFields) options.emplace(std::string(f.name), r.*f.member);
  }

  friend bool operator==(const OptimizerSpec&, const OptimizerSpec&) = default;
};

}  // namespace kudari

#endif  // KUDARI_SPEC_H_
