#include <memory>

#include "lab/bench/bench.h"
#include "lab/files/output_file.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {

void AddBench(CLI::App& app, Context& /*context*/) {
  const auto o = std::make_shared<BenchOptions>();
  Verb verb(app, "bench", "Time every rule against the memory bandwidth of this machine");
  verb.Json(o->json, "the results");
  verb->add_option("--filter", o->filter,
                   "Time only cases that match this regular expression, such as adamw/64M/2");
  verb->add_option("--rounds", o->rounds, "Number of rounds per case, at least 7 [9]")
      ->check(CLI::Range(7, 1000));
  verb.Run([o] { Bench(*o, ConsoleBeside(o->json)); });
}

}  // namespace kudari::lab
