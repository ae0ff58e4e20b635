#ifndef KUDARI_TESTS_SUPPORT_RULES_H_
#define KUDARI_TESTS_SUPPORT_RULES_H_

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <vector>

#include "kudari/registry.h"
#include "tests/support/sanitized.h"

namespace kudari::testing {

/// Every rule; under sanitizers, where one test of all takes minutes, one of each way to go through
/// memory.
inline std::vector<RuleEntry> RulesForBuild() {
  constexpr std::array<std::string_view, 9> kKinds = {
      "sgd",  "adamw", "sophia", "rmsprop_centered", "schedule_free_adamw",
      "lamb", "lars",  "muon",   "adafactor"};
  std::vector<RuleEntry> rules;
  std::ranges::copy_if(Registry::Builtin().rules(), std::back_inserter(rules),
                       [&kKinds](const RuleEntry& rule) {
                         return !kSanitized || std::ranges::find(kKinds, rule.name) != kKinds.end();
                       });
  return rules;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_RULES_H_
