#include <memory>
#include <string>

#include "lab/verbs/checkpoint_report.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

using Path = std::filesystem::path;

constexpr const char* kFolder = "Folder of a checkpoint, of several, or of a run";

}  // namespace

void AddCheckpoint(CLI::App& app, Context& context) {
  CLI::App* const checkpoint =
      app.add_subcommand("checkpoint", "Show, verify, compare and delete checkpoints");
  checkpoint->require_subcommand(1);

  const auto shown = std::make_shared<Path>(), json = std::make_shared<Path>();
  Verb show(*checkpoint, "show", "List the checkpoints of a folder, or what a single one holds");
  show->add_option("folder", *shown, kFolder)->required();
  show.Json(*json, "everything but the arrays");
  show.Run([shown, json] {
    json->empty() ? ShowCheckpoints(*shown, stdout) : ShowCheckpointsJson(*shown, *json);
  });

  const auto verified = std::make_shared<Path>();
  Verb verify(*checkpoint, "verify",
              "Read everything and compare it with its checksums; fails if anything is damaged");
  verify->add_option("folder", *verified, kFolder)->required();
  verify.Run([verified, &context] {
    if (!VerifyCheckpoints(*verified, stdout)) context.exit_code = 1;
  });

  const auto a = std::make_shared<Path>(), b = std::make_shared<Path>();
  Verb diff(*checkpoint, "diff", "Compare the states of two; fails if they differ");
  diff->add_option("a", *a, kFolder)->required();
  diff->add_option("b", *b, kFolder)->required();
  diff.Run([a, b, &context] {
    if (!DiffCheckpoints(*a, *b, stdout)) context.exit_code = 1;
  });

  const auto pruned = std::make_shared<Path>();
  const auto retention = std::make_shared<CheckpointRetention>();
  Verb prune(*checkpoint, "prune", "Delete all but the newest, and those that an option keeps");
  prune->add_option("folder", *pruned, "Folder of checkpoints, or of a run")->required();
  prune->add_option("--keep", retention->keep, "Number of the newest to keep; 0: all [2]");
  prune->add_option("--keep-every", retention->keep_every,
                    "Keep those whose step is a multiple of this as well; 0: none [0]");
  prune->add_option("--keep-best", retention->keep_best,
                    "Keep the one with the lowest value of this metric as well, such as loss");
  prune->add_flag("--higher-is-better", retention->higher_is_better,
                  "Take the highest value of the metric for the best");
  prune.Run([pruned, retention] { PruneCheckpointsOf(*pruned, *retention, stdout); });
}

}  // namespace kudari::lab
