// The commands of the program: lab/verbs has one file for each.
#ifndef KUDARI_LAB_VERBS_VERBS_H_
#define KUDARI_LAB_VERBS_VERBS_H_

#include <functional>
#include <string>

#include "lab/verbs/siblings.h"
#include "lab/verbs/verb.h"

namespace kudari::lab {

/// What a command is given beside its options.
struct Context {
  const Training* training = nullptr;  ///< null in the program without LibTorch
  const Fetching* fetching = nullptr;  ///< null in programs without libcurl
  /// Executes another program, such as the one with LibTorch, in place of this one, with the same
  /// arguments. Throws Error naming the command if there is none.
  std::function<void(const std::string& command, const std::string& program)> hand_over;
  int exit_code = 0;

  /// Returns what needs LibTorch; in the program without it, the process becomes the other program.
  const Training& NeedTraining(const std::string& command) const {
    if (training == nullptr) hand_over(command, "kudari-train");
    return *training;
  }
  /// The same for what needs libcurl.
  const Fetching& NeedFetching(const std::string& command) const {
    if (fetching == nullptr) hand_over(command, "kudari-fetch");
    return *fetching;
  }
};

// Each adds a command to the program.
void AddAdvise(CLI::App& app, Context& context);
void AddBench(CLI::App& app, Context& context);
void AddCheckpoint(CLI::App& app, Context& context);
void AddData(CLI::App& app, Context& context);
void AddDemo(CLI::App& app, Context& context);
void AddDescribe(CLI::App& app, Context& context);
void AddDoctor(CLI::App& app, Context& context);
void AddExportTorch(CLI::App& app, Context& context);
void AddGenerate(CLI::App& app, Context& context);
void AddImportTorch(CLI::App& app, Context& context);
void AddLandscape(CLI::App& app, Context& context);
void AddList(CLI::App& app, Context& context);
void AddLrFind(CLI::App& app, Context& context);
void AddPlan(CLI::App& app, Context& context);
void AddPlot(CLI::App& app, Context& context);
void AddPredict(CLI::App& app, Context& context);
void AddReplay(CLI::App& app, Context& context);
void AddReport(CLI::App& app, Context& context);
void AddRuns(CLI::App& app, Context& context);
void AddScale(CLI::App& app, Context& context);
void AddSchedule(CLI::App& app, Context& context);
void AddSharpness(CLI::App& app, Context& context);
void AddTrain(CLI::App& app, Context& context);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_VERBS_H_
