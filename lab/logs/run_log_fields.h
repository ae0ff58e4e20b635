#ifndef KUDARI_LAB_LOGS_RUN_LOG_FIELDS_H_
#define KUDARI_LAB_LOGS_RUN_LOG_FIELDS_H_

#include <string>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// What is read of a log, and what columns with it are called.
struct LogField {
  std::string_view name;
  /// Names as PlainName writes them, the surest first. "x*" is any that begins with x.
  std::vector<std::string_view> columns = {};
  /// Columns that are added up where there is none of the names, and at least two of these.
  std::vector<std::string_view> terms = {};
};

/// All fields.
const std::vector<LogField>& LogFields();
/// The field with that name, which must be one.
const LogField& LogFieldOf(std::string_view name);

/// A name in small letters and digits, with one "_" for each run of other characters, without what
/// exports of Weights & Biases put in front: "Loss/train" and "run-1 - Loss/train" are
/// "loss_train".
std::string PlainName(std::string_view name);

/// Whether a plain name is one of a field's columns.
bool IsNamed(const LogField& field, std::string_view plain);
/// Whether a plain name is that of a column of any field.
bool IsLogField(std::string_view plain);

/// Whether a plain name is that of data that a model is not trained on, as "valid".
bool IsHeldOut(std::string_view plain);
/// Whether it is that of these or of training data, as "train".
bool IsPart(std::string_view plain);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_FIELDS_H_
