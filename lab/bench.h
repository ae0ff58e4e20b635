#ifndef KUDARI_LAB_BENCH_H_
#define KUDARI_LAB_BENCH_H_

#include <cstdio>
#include <filesystem>
#include <string>

namespace kudari::lab {

/// What `kudari bench` is asked for.
struct BenchOptions {
  std::filesystem::path json;  ///< where the results go as JSON; empty: nowhere
  std::string filter;          ///< ECMAScript regex searched in "rule/shape/threads"
  int rounds = 9;              ///< at least 7
};

/// Times every rule of the registry on one tensor of 64M parameters, on 10,000 of 1,000 and on one
/// of 1,000, with one thread and two. Each round runs the rule and then its roofline: a loop that
/// streams the same number of arrays, prefetched at the distance that proves best here, with no
/// arithmetic to speak of. Times are medians; `ratio` is the median of the rounds' quotients
/// roofline / rule, 1 for a rule that costs its memory traffic and nothing more. Then BenchMatrix.
void Bench(const BenchOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_H_
