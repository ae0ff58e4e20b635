// kudari-fetch: all commands that need no LibTorch, with those that download. kudari executes it
// for them, since loading libcurl takes longer than most commands do.
#include "lab/verbs/program.h"
#include "lab/verbs/siblings.h"

int main(int argc, char** argv) {
  using namespace kudari::lab;  // NOLINT(google-build-using-namespace)
  static constexpr Fetching kFetching = {&FetchData};
  return RunProgram(argc, argv, nullptr, &kFetching);
}
