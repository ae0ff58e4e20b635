#ifndef KUDARI_LAB_BENCH_BENCH_MATRIX_H_
#define KUDARI_LAB_BENCH_BENCH_MATRIX_H_

#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <regex>

namespace kudari::lab {

/// Times Newton-Schulz, five iterations in float, on the cases "ns/768x768/1" ... that match, in
/// turn with the plain form of three products an iteration on a BLAS (blas.h), which is given the
/// same number of threads, and with that BLAS's product of two large square matrices. `ratio` is
/// the median of the rounds' quotients plain / ours; `of_peak` is our floating-point operations per
/// second over the large product's. Appends a JSON object for each case.
void BenchMatrix(const std::regex& filter, int rounds, std::FILE* console,
                 nlohmann::ordered_json& results);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_MATRIX_H_
