#include "lab/files/execute.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "kudari/error.h"
#include "lab/files/text_file.h"

extern char** environ;

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

std::string SystemText(int error) { return std::generic_category().message(error); }

}  // namespace

ScratchFolder::ScratchFolder(const fs::path& parent) {
  std::string name = ((parent.empty() ? fs::path(".") : parent) / ".kudari-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    const int error = errno;
    throw Error(name + ": cannot be made: " + SystemText(error));
  }
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Ended Execute(const std::vector<std::string>& command, const ScratchFolder& scratch) {
  std::vector<char*> arguments;
  for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  const fs::path output = scratch.path() / "output", error = scratch.path() / "error";
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  constexpr int kNew = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output.c_str(), kNew, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, error.c_str(), kNew, 0600);
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, arguments.front(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) throw Error(command.front() + ": cannot be executed: " + SystemText(failed));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Error(command.front() + ": " + SystemText(errno));
  }
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ReadTextFile(output),
          ReadTextFile(error)};
}

}  // namespace kudari::lab
