#ifndef KUDARI_LAB_BENCH_BENCH_PRECISION_H_
#define KUDARI_LAB_BENCH_BENCH_PRECISION_H_

#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>

namespace kudari::lab {

/// Times steps with parameters, gradients and state in 16 and 8 bits beside the same rule's in
/// float32, in turn, for cases whose names ("adamw+7bytes/64M/2") match; prints them and adds them
/// to `results`.
void BenchPrecision(const std::regex& filter, int rounds, std::FILE* console,
                    nlohmann::ordered_json& results);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_PRECISION_H_
