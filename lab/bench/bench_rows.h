#ifndef KUDARI_LAB_BENCH_BENCH_ROWS_H_
#define KUDARI_LAB_BENCH_BENCH_ROWS_H_

#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>

namespace kudari::lab {

/// Times steps of 1,000 random rows of a table of 1,000,000 by 64 (Tensor::grad_rows) beside steps
/// of a dense tensor with as many elements, in turn, both while they are in the caches and after
/// other memory has taken their place there, for cases whose names ("sparse_adam+rows/1000x64/1")
/// match; prints them and adds them to `results`.
void BenchRows(const std::regex& filter, int rounds, std::FILE* console,
               nlohmann::ordered_json& results);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_ROWS_H_
