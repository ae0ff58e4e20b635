#ifndef KUDARI_LAB_LOGS_RUN_LOG_H_
#define KUDARI_LAB_LOGS_RUN_LOG_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::lab {

/// What a log does not say by itself.
struct RunLogOptions {
  /// Columns, or tags, by field, where the log's are not found by their names. Fields are those of
  /// RunLogFields.
  std::map<std::string, std::string> columns = {};
  int64_t steps_per_epoch = 0;  ///< 0: as the log has it
};

/// What can be read of a step or an evaluation: "step", "epoch", "loss", "lr", "grad_norm",
/// "micro_grad_norm", "loss_scale", "lost", "skipped", "val_loss", "val_accuracy".
const std::vector<std::string>& RunLogFields();

/// Reads the log of a training run, finished or not. `path` is
///
///  - metrics.jsonl of `kudari train`, or any JSON lines with a number a key; its plan is taken
///    from the recipe.toml beside it
///  - a CSV file with a header, as Lightning's, Keras' and most people's
///  - trainer_state.json of Hugging Face's Trainer
///  - a TensorBoard event file, with scalars of either kind; its tags are columns
///  - the first three packed as .gz or .xz
///  - a folder with one of them: metrics.jsonl, else event files in it and below, else
///    trainer_state.json, else metrics.csv
///
/// Columns are matched by their usual names, "train/loss", "Loss/train", "eval_loss" and so on.
/// "accuracy" alone is not taken for that of an evaluation, since Keras calls the training's so.
/// Steps are those that have a loss; a log that counts them from 0 is counted from 1, and rows
/// without a step column are counted. lr and loss_scale hold until the log has a new one. A step
/// behind the one before is that of a run that was resumed: what had been logged from there on is
/// dropped. What a run that is being written has left unfinished at the end is not read.
///
/// A file has at most 256 MiB, unpacked, and a log at most as many rows, columns and numbers as
/// LogTable says. What is read takes time in proportion to its size, and at most about 3 GiB.
///
/// Throws Error naming file and line, row or record: for what is damaged or beyond these limits;
/// for a loss that begins again at its first step or before, as where steps are counted again in
/// each epoch; for a folder with several runs; and, listing the columns, if there is no loss or
/// more than one.
RunLog ReadRunLog(const std::filesystem::path& path, const RunLogOptions& options = {});

/// The same from the contents of a file; its name, which tells the format, is used in messages.
RunLog ParseRunLog(std::string_view contents, std::string_view name,
                   const RunLogOptions& options = {});

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_H_
