#include "kudari/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>
#include <vector>

namespace kudari::internal {
namespace parallel_test {

/// Whether each of n parts is done once.
bool RunsEachPartOnce(const Parallel& parallel, int n) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(n));
  RunParallel(parallel, n, [&](int k) { ++runs[static_cast<size_t>(k)]; });
  for (const auto& count : runs) {
    if (count != 1) return false;
  }
  return true;
}

TEST(ParallelTest, EachPartIsDoneOnce) {
  const Parallel lent = {.run = [](int n, const std::function<void(int)>& f) {
    for (int k = n; k-- > 0;) f(k);
  }};
  for (const int n : {1, 2, 3, 17, 300}) {
    EXPECT_TRUE(RunsEachPartOnce({}, n));
    EXPECT_TRUE(RunsEachPartOnce(lent, n));
  }
}

/// The exit status of a child that calls f, or -1 if it does not come to an end.
template <class F>
int InChild(const F& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f() ? 0 : 1);
  for (int wait = 0; wait < 1000; ++wait) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -1;
}

TEST(ParallelTest, AChildOfForkHasNoThreadsToWaitFor) {
  EXPECT_TRUE(RunsEachPartOnce({}, 2));
  const auto run = [] { return RunsEachPartOnce({}, 2) && RunsEachPartOnce({}, 5); };
  EXPECT_EQ(InChild(run), 0);
  // And a child of that.
  EXPECT_EQ(InChild([&] { return run() && InChild(run) == 0; }), 0);
  EXPECT_TRUE(RunsEachPartOnce({}, 2));
}

}  // namespace parallel_test
}  // namespace kudari::internal
