// Runs the programs, or those named in the arguments, and compares what they come to.
#include "clients.h"

#include <cstdio>
#include <cstring>

namespace {

struct Program {
  const char* name;
  Outcome (*run)();
  double bound;  // on Outcome::distance
};

constexpr double kLeastMoved = 1e-2;

constexpr Program kPrograms[] = {
    {"gan", &Gan, 1e-6},
    {"lstm", &Lstm, 1e-6},
    {"cnn", &Cnn, 1e-6},
    {"ppo", &Ppo, 1e-6},
    {"gpt", &Gpt, 1e-6},
    {"transfer", &Transfer, 1e-6},
    {"actor_critic", &ActorCritic, 1e-14},
    {"threads", &Threads, 1e-6},
};

}  // namespace

int main(int argc, char** argv) {
  torch::set_num_threads(1);
  int failures = 0;
  for (const Program& program : kPrograms) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], program.name) == 0;
    if (!wanted) continue;
    const Outcome outcome = program.run();
    const bool good = outcome.distance <= program.bound && outcome.moved >= kLeastMoved;
    std::printf("%-12s apart by %.1e, at most %.0e; trained by %.2f: %s\n", program.name,
                outcome.distance, program.bound, outcome.moved, good ? "good" : "FAILED");
    failures += good ? 0 : 1;
  }
  return failures == 0 ? 0 : 1;
}
