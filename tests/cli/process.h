#ifndef KUDARI_TESTS_CLI_PROCESS_H_
#define KUDARI_TESTS_CLI_PROCESS_H_

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kudari::testing {

/// How a program ended and what it printed.
struct Outcome {
  int code = -1;   ///< exit code; -1 if a signal ended it
  int signal = 0;  ///< the signal that ended it, or 0
  std::string out = {}, error = {};
};

/// The user whom files belong to that belong to nobody.
inline constexpr uid_t kNobody = 65534;

/// How to start a program.
struct StartOptions {
  std::filesystem::path folder = {};   ///< working folder; empty: this process's
  std::filesystem::path output = {};   ///< file that is its standard output; empty: it is read
  uint64_t largest_file = UINT64_MAX;  ///< files beyond this many bytes fail, as on a full disk
  bool as_nobody = false;  ///< with the rights of nobody, which only root can give up to
};

/// `kudari` in a process of its own.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const StartOptions& options = {});
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();

  void Send(int signal) const { kill(process_, signal); }
  /// Reads all that is printed, and waits for the end.
  Outcome Wait();

 private:
  pid_t process_ = -1;
  int out_ = -1, error_ = -1;
};

/// Runs `kudari` to its end.
inline Outcome Kudari(const std::vector<std::string>& arguments, const StartOptions& options = {}) {
  return Program(arguments, options).Wait();
}

/// The commands that `kudari --help` lists.
std::vector<std::string> Commands();

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_CLI_PROCESS_H_
