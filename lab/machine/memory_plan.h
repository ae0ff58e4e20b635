#ifndef KUDARI_LAB_MACHINE_MEMORY_PLAN_H_
#define KUDARI_LAB_MACHINE_MEMORY_PLAN_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "kudari/optimizer.h"

namespace kudari::lab {

/// Bytes a second that a step like AdamW's in float32 reads and writes here, on arrays that no
/// cache holds: the median of some rounds. Takes a tenth of a second.
double MeasureBandwidth(int threads);

/// The plan of two optimisers that are stepped one after the other: memory and traffic of both.
MemoryPlan Combined(MemoryPlan a, const MemoryPlan& b);

/// The bytes of a plan as rows: weights, master, gradients, each slot of state, and the rest.
std::vector<std::pair<std::string, int64_t>> PlanRows(const MemoryPlan& plan);

/// The bytes of the copy that is held while a checkpoint is written: all but gradients and scratch
/// memory.
int64_t CheckpointBytes(const MemoryPlan& plan);

/// What PrintPlan prints, as JSON.
std::string PlanJson(const MemoryPlan& plan, double bandwidth, int threads);

/// Prints what a plan takes, in all and for each parameter, and how long its steps take at least at
/// that bandwidth, measured with that number of threads.
void PrintPlan(const MemoryPlan& plan, double bandwidth, int threads, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MACHINE_MEMORY_PLAN_H_
