// A program of commands: parses its arguments and prints errors.
#include "lab/verbs/program.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/usage_error.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// In the order in which help shows them.
constexpr std::array kVerbs = {
    &AddTrain,    &AddRuns,      &AddReport,    &AddCheckpoint, &AddImportTorch, &AddExportTorch,
    &AddPlan,     &AddLrFind,    &AddSharpness, &AddPredict,    &AddGenerate,    &AddDoctor,
    &AddReplay,   &AddAdvise,    &AddScale,     &AddList,       &AddData,        &AddDescribe,
    &AddSchedule, &AddLandscape, &AddDemo,      &AddPlot,       &AddBench};

/// Executes another program, which is installed and built beside this one.
void HandOver(char** argv, const std::string& command, const std::string& program) {
  std::error_code unknown;
  fs::path self = fs::read_symlink("/proc/self/exe", unknown);
  if (unknown) self = argv[0];
  const fs::path other = self.parent_path() / program;
  execv(other.c_str(), argv);
  const int error = errno;
  if (error == ENOENT) {
    throw Error(command +
                (program == "kudari-train"
                     ? ": this program was built without LibTorch (KUDARI_TORCH=OFF)"
                     : "") +
                ": there is no " + other.string());
  }
  throw Error(command + ": cannot execute " + other.string() + ": " +
              std::generic_category().message(error));
}

// What CLI11 is given. "kudari help train" is "kudari train --help", and --json without a file is
// for standard output.
std::vector<std::string> Arguments(int argc, char** argv) {
  std::vector<std::string> given(argv + 1, argv + argc), arguments;
  if (!given.empty() && given[0] == "help") {
    given.erase(given.begin());
    given.emplace_back("--help");
  }
  for (size_t i = 0; i < given.size(); ++i) {
    arguments.push_back(given[i]);
    const bool last = i + 1 == given.size();
    if (given[i] == "--json" && (last || (given[i + 1].starts_with('-') && given[i + 1] != "-"))) {
      arguments.emplace_back("-");
    }
  }
  return arguments;
}

// What is wrong with an argument that nothing takes.
std::string UnknownArgument(const CLI::App& verb, const std::string& argument) {
  if (argument.size() > 1 && argument.starts_with('-')) {
    std::vector<std::string> names;
    for (const CLI::Option* option : verb.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return "unknown option " + Quoted(argument) + Suggest(argument, names);
  }
  const bool change = argument.find('=') != std::string::npos;
  return "unexpected argument " + Quoted(argument) +
         (change ? "; every change needs its own --set" : "");
}

// The message for arguments that cannot be understood.
std::string UsageText(const CLI::App& app, const CLI::ParseError& error) {
  // "data get" is a command of a command.
  const CLI::App* verb = &app;
  std::string name;
  for (std::vector<CLI::App*> verbs = app.get_subcommands(); !verbs.empty();
       verbs = verb->get_subcommands()) {
    verb = verbs.front();
    name += (name.empty() ? "" : " ") + verb->get_name();
  }
  std::vector<std::string> verbs;
  for (const CLI::App* below : verb->get_subcommands({})) verbs.push_back(below->get_name());
  const std::vector<std::string> rest = verb->remaining(true);
  std::string text = name.empty() ? "" : name + ": ";
  if (!rest.empty() && !verbs.empty() && !rest.front().starts_with('-')) {
    text += "unknown command " + Quoted(rest.front()) + Suggest(rest.front(), verbs);
  } else if (!rest.empty()) {
    text += UnknownArgument(*verb, rest.front());
  } else {
    text += verbs.empty() ? error.what() : "a command is missing";
  }
  return text + "\nkudari help" + (name.empty() ? "" : " " + name) + " shows what there is.";
}

int Run(int argc, char** argv, const Training* training, const Fetching* fetching) {
  Context context{.training = training,
                  .fetching = fetching,
                  .hand_over = [argv](const std::string& command, const std::string& program) {
                    HandOver(argv, command, program);
                  }};
  CLI::App app("Kudari: optimisation for deep learning", "kudari");
  app.require_subcommand(1);
  app.set_version_flag("--version", KUDARI_VERSION);
  for (const auto add : kVerbs) add(app, context);

  // CLI11 would only say that a subcommand is required.
  std::vector<std::string> names = {"help"};
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  std::vector<std::string> arguments = Arguments(argc, argv);
  if (!arguments.empty() && !arguments[0].starts_with('-') &&
      std::ranges::find(names, arguments[0]) == names.end()) {
    throw UsageError("unknown command " + Quoted(arguments[0]) + Suggest(arguments[0], names));
  }
  try {
    std::ranges::reverse(arguments);  // as CLI11 takes them
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != 0) throw UsageError(UsageText(app, e));
    std::ostringstream out, error;
    app.exit(e, out, error);  // help, or the version
    std::fputs(Printable(out.str()).c_str(), stdout);
  }
  return context.exit_code;
}

}  // namespace

int RunProgram(int argc, char** argv, const Training* training, const Fetching* fetching) {
  int code = 1;
  try {
    const auto run = [&] { return Run(argc, argv, training, fetching); };
    code = training != nullptr ? training->without_traces(run) : run();
  } catch (const std::bad_alloc&) {
    std::fflush(stdout);
    std::fputs("kudari: there is not enough memory for that\n", stderr);
  } catch (const std::exception& e) {
    if (dynamic_cast<const UsageError*>(&e) != nullptr) code = 2;
    std::fflush(stdout);
    std::fprintf(stderr, "kudari: %s\n", Printable(e.what()).c_str());
  }
  // A full disk is noticed when the last of the output is written, if not before.
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fprintf(stderr, "kudari: standard output cannot be written%s%s\n", errno != 0 ? ": " : "",
               errno != 0 ? std::generic_category().message(errno).c_str() : "");
  return code == 0 ? 1 : code;
}

}  // namespace kudari::lab
