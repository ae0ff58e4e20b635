#include "tests/cli/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <sstream>
#include <stdexcept>

namespace kudari::testing {
namespace {

constexpr int kCannotStart = 126;

std::array<int, 2> Pipe() {
  std::array<int, 2> ends = {};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  return ends;
}

// Appends what is there; false at the end.
bool ReadSome(int fd, std::string& text) {
  std::array<char, 4096> buffer = {};
  const ssize_t n = read(fd, buffer.data(), buffer.size());
  if (n > 0) text.append(buffer.data(), static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

}  // namespace

Program::Program(const std::vector<std::string>& arguments, const StartOptions& options) {
  std::vector<std::string> words = {KUDARI_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::array<int, 2> out = Pipe(), error = Pipe();
  process_ = fork();
  if (process_ < 0) throw std::runtime_error("fork failed");
  if (process_ == 0) {
    int to = out[1];
    if (!options.output.empty()) to = open(options.output.c_str(), O_WRONLY);
    const rlimit files = {options.largest_file, options.largest_file};
    signal(SIGXFSZ, SIG_IGN);  // so that write fails, as on a full disk
    if (to < 0 || dup2(to, STDOUT_FILENO) < 0 || dup2(error[1], STDERR_FILENO) < 0 ||
        (options.largest_file != UINT64_MAX && setrlimit(RLIMIT_FSIZE, &files) != 0) ||
        (!options.folder.empty() && chdir(options.folder.c_str()) != 0) ||
        (options.as_nobody &&
         (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0))) {
      _exit(kCannotStart);
    }
    execv(argv[0], argv.data());
    _exit(kCannotStart);
  }
  close(out[1]);
  close(error[1]);
  out_ = out[0];
  error_ = error[0];
}

Program::~Program() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  if (out_ >= 0) close(out_);
  if (error_ >= 0) close(error_);
}

Outcome Program::Wait() {
  Outcome outcome;
  std::array<pollfd, 2> ends = {pollfd{out_, POLLIN, 0}, pollfd{error_, POLLIN, 0}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (poll(ends.data(), ends.size(), -1) < 0 && errno != EINTR) break;
    if (ends[0].revents != 0 && !ReadSome(out_, outcome.out)) ends[0].fd = -1;
    if (ends[1].revents != 0 && !ReadSome(error_, outcome.error)) ends[1].fd = -1;
  }
  int status = 0;
  while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

std::vector<std::string> Commands() {
  std::istringstream help(Kudari({"--help"}).out);
  std::vector<std::string> commands;
  bool listed = false;
  for (std::string line; std::getline(help, line);) {
    if (line == "Subcommands:") {
      listed = true;
    } else if (listed && line.starts_with("  ") && line.size() > 2 && line[2] != ' ') {
      commands.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
  }
  return commands;
}

}  // namespace kudari::testing
