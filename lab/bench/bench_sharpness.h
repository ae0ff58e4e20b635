#ifndef KUDARI_LAB_BENCH_BENCH_SHARPNESS_H_
#define KUDARI_LAB_BENCH_BENCH_SHARPNESS_H_

#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>

namespace kudari::lab {

/// Times what sharpness-aware sources add to a step beyond the oracle's passes, on one float32
/// tensor of 64M elements, beside the time that the memory they have to read and write takes at the
/// speed of this machine: the cases "<source>/64M/<threads>" that match the filter. Prints a table
/// and adds one object a case to `results`.
void BenchSharpness(const std::regex& filter, int rounds, std::FILE* console,
                    nlohmann::ordered_json& results);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_SHARPNESS_H_
