#ifndef KUDARI_TESTS_SUPPORT_DEMO_RESULT_H_
#define KUDARI_TESTS_SUPPORT_DEMO_RESULT_H_

#include <string>
#include <vector>

#include "lab/demo/demo.h"

namespace kudari::testing {

/// What a demonstration shows with these changes of its parameters, such as "lr=0.1".
inline lab::DemoResult ResultOf(const std::string& name, const std::vector<std::string>& sets = {},
                                int64_t seed = 1) {
  const lab::Demo& demo = lab::FindDemo(name);
  return demo.run(lab::DemoSettings(demo.parameters, sets, seed));
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_DEMO_RESULT_H_
