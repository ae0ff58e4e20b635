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
  /// Columns, or tags, by field, where the log's are not found by their names: "train/total", or
  /// several to be added up, "box_loss+cls_loss". Fields are those of RunLogFields.
  std::map<std::string, std::string> columns = {};
  int64_t steps_per_epoch = 0;  ///< 0: as the log has it
  bool curves = false;          ///< whether LogReading::curves is wanted
};

/// A number of a log, with the step that it belongs to, counted as in RunLog.
struct LogPoint {
  int64_t step = 0;
  double value = kNotMeasured;

  friend bool operator==(const LogPoint&, const LogPoint&) = default;
};

/// The numbers of a column. Their steps rise: where those of the log go back, what was logged again
/// takes the place of what had been logged before.
struct LogCurve {
  std::string name;
  std::vector<LogPoint> points = {};
};

/// A log, and how it was read.
struct LogReading {
  RunLog log = {};
  /// Every column that has numbers, but for that of the steps, in the log's order; only if wanted.
  std::vector<LogCurve> curves = {};
  std::map<std::string, std::string> columns = {};  ///< by field, as those of RunLogOptions
  std::vector<std::string> notes = {};  ///< what was not read, and what was made of it: clauses
};

/// What can be read of a step or an evaluation: "step", "epoch", "loss", "lr", "grad_norm",
/// "micro_grad_norm", "loss_scale", "lost", "skipped", "val_loss", "val_accuracy".
const std::vector<std::string>& RunLogFields();

/// RunLogOptions::columns from texts such as "loss=train/total". Throws UsageError naming `--map`
/// for what is not of that form and for a field that does not exist.
std::map<std::string, std::string> ColumnsByField(const std::vector<std::string>& maps);

/// Reads the log of a training run, finished or not. `path` is a file of one of these formats,
/// which its contents tell, packed as .gz or .xz or not:
///
///  - JSON lines with a number a key, as metrics.jsonl of `kudari train`, whose plan is taken from
///    the recipe.toml beside it; a list of such objects; an object of lists
///  - trainer_state.json of Hugging Face's Trainer
///  - a table with a header, separated by commas, semicolons, tabs, spaces or bars
///  - text with "name: number" in it, as consoles show it
///  - a TensorBoard event file, with scalars of either kind; its tags are columns
///
/// or a folder with one of them: metrics.jsonl, else event files in it and below, else
/// trainer_state.json, metrics.csv, metrics.json, results.csv, progress.csv or summary.csv.
///
/// Columns are matched by their usual names, "train/loss", "Loss/train", "eval_loss" and so on.
/// "accuracy" alone is not taken for that of an evaluation, since Keras calls the training's so.
/// Where there is no loss, Ultralytics' box_loss, cls_loss and so on are added up. Steps are those
/// that have a loss; a log that counts them from 0 is counted from 1, steps that are counted again
/// in each epoch are counted on, and rows without a step column are counted, again from 1 where the
/// epochs begin again. lr and loss_scale hold until the log has a new one. A row without a step is
/// of the step before it. Numbers are kept as they are, finite or not, and in the order of the log,
/// where steps may go back. What a run that is being written has left unfinished at the end is not
/// read.
///
/// A file has at most 256 MiB, unpacked, and a log at most as many rows, columns and numbers as
/// LogTable says. What is read takes time in proportion to its size, and at most about 3 GiB.
///
/// Throws Error naming file and line, row or record: for what is damaged or beyond these limits;
/// for a folder with several runs; and, listing the columns, if there is no loss or more than one.
LogReading ReadLog(const std::filesystem::path& path, const RunLogOptions& options = {});

/// The same from the contents of a file; its name is used in messages.
LogReading ParseLog(std::string_view contents, std::string_view name,
                    const RunLogOptions& options = {});

/// The log alone.
RunLog ReadRunLog(const std::filesystem::path& path, const RunLogOptions& options = {});
RunLog ParseRunLog(std::string_view contents, std::string_view name,
                   const RunLogOptions& options = {});

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_H_
