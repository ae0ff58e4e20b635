#ifndef KUDARI_LAB_LOGS_RUN_LOG_COLUMNS_H_
#define KUDARI_LAB_LOGS_RUN_LOG_COLUMNS_H_

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lab/logs/run_log_fields.h"
#include "lab/logs/run_log_table.h"

namespace kudari::lab {

/// Finds the columns of a table that fields are in, those that are given or by their names.
class RunLogColumns {
 public:
  /// `path` is used in messages; `given` are RunLogOptions::columns. Throws Error for a field that
  /// there is not.
  RunLogColumns(const LogTable& table, std::string path,
                const std::map<std::string, std::string>& given);

  /// The columns to be added up, mostly one, by their places in the table; none if the log does not
  /// have the field. Throws Error if a given column is not there, or if several could be meant.
  std::vector<size_t> Find(const LogField& field) const;
  /// Their names with "+" between them.
  std::string NameOf(const std::vector<size_t>& columns) const;
  /// The message for a log without a loss: what it has, and how to name one.
  std::string NoLoss() const;
  /// See RunLog::unjudgeable.
  std::string Unjudgeable() const;

 private:
  std::vector<size_t> Given(const LogField& field, const std::string& names) const;
  std::vector<size_t> Named(std::string_view pattern) const;
  std::vector<size_t> Terms(const LogField& field) const;
  std::string Titles() const;

  const LogTable& table_;
  std::string path_;
  const std::map<std::string, std::string>& given_;
  std::multimap<std::string, size_t, std::less<>> names_;  // columns by their plain names
};

/// The numbers of columns, added up where all of them have one: in a row, or in event files in a
/// step. Throws Error for a cell that is no number.
std::vector<Cell> CellsOf(const LogTable& table, const std::vector<size_t>& columns);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_COLUMNS_H_
