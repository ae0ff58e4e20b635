#ifndef KUDARI_LAB_BENCH_BENCH_H_
#define KUDARI_LAB_BENCH_BENCH_H_

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

/// Times every rule of the registry on tensors of several shapes, with one thread and two. Each
/// round runs the rule and then its reference. Of a rule that works element by element, that is its
/// roofline: loops that stream the same arrays in as many passes, prefetched at the distance that
/// proves best here, with no arithmetic to speak of; of tensors that stay in the cache, one pass
/// counts, whatever the rule does. Of a rule that steps whole tensors, it is a step of sgd. Times
/// are medians; `ratio` is the median of the rounds' quotients reference / rule: 1 for a rule that
/// costs its memory traffic and nothing more. A rule that cannot step all tensors of a shape leaves
/// the rest to adamw. adamw is also run over doubles. Then BenchPrecision, BenchRows,
/// BenchSharpness and BenchMatrix.
void Bench(const BenchOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_H_
