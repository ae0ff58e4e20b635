// A program of commands: parses its arguments and prints errors.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <new>
#include <sstream>
#include <system_error>
#include <vector>

#include "core/quoted.h"
#include "core/suggest.h"
#include "kudari/error.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// In the order in which help shows them.
constexpr std::array kVerbs = {&AddTrain,  &AddPlan,     &AddLrFind,   &AddSharpness,
                               &AddDoctor, &AddReplay,   &AddAdvise,   &AddScale,
                               &AddList,   &AddDescribe, &AddSchedule, &AddBench};

/// Executes kudari-train, which is installed and built beside this program.
void HandOver(char** argv, const std::string& command) {
  std::error_code unknown;
  fs::path self = fs::read_symlink("/proc/self/exe", unknown);
  if (unknown) self = argv[0];
  const fs::path other = self.parent_path() / "kudari-train";
  execv(other.c_str(), argv);
  const int error = errno;
  if (error == ENOENT) {
    throw Error(command +
                ": this program was built without LibTorch (KUDARI_TORCH=OFF): there is no " +
                other.string());
  }
  throw Error(command + ": cannot execute " + other.string() + ": " +
              std::generic_category().message(error));
}

int Run(int argc, char** argv, const Training* training) {
  Context context{.training = training,
                  .hand_over = [argv](const std::string& command) { HandOver(argv, command); }};
  CLI::App app("Kudari: optimisation for deep learning", "kudari");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.set_version_flag("--version", KUDARI_VERSION);
  for (const auto add : kVerbs) add(app, context);

  // CLI11 would only say that a subcommand is required.
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  if (argc > 1 && argv[1][0] != '-' && std::ranges::find(names, argv[1]) == names.end()) {
    throw Error("unknown command " + internal::Quoted(argv[1]) + internal::Suggest(argv[1], names));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, error;  // which have arguments in them
    const int code = app.exit(e, out, error);
    std::fputs(internal::Printable(out.str()).c_str(), stdout);
    std::fputs(internal::Printable(error.str()).c_str(), stderr);
    return code == 0 ? 0 : 2;
  }
  return context.exit_code;
}

}  // namespace

int RunProgram(int argc, char** argv, const Training* training) {
  try {
    const auto run = [&] { return Run(argc, argv, training); };
    return training != nullptr ? training->without_traces(run) : run();
  } catch (const std::bad_alloc&) {
    std::fflush(stdout);
    std::fputs("kudari: there is not enough memory for that\n", stderr);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "kudari: %s\n", internal::Printable(e.what()).c_str());
  }
  return 1;
}

}  // namespace kudari::lab
