#ifndef KUDARI_LAB_LOGS_RUN_LOG_JSON_H_
#define KUDARI_LAB_LOGS_RUN_LOG_JSON_H_

#include <string_view>

#include "lab/logs/run_log_table.h"

namespace kudari::lab {

/// Whether a text begins as JSON: an object, whose first key is in double quotes, or a list of
/// them.
bool IsJson(std::string_view text);

/// The log in a text of JSON: a line for each row; an object with the rows in its list
/// "log_history", as trainer_state.json of Hugging Face's Trainer; a list of rows; or an object of
/// lists of numbers, which are columns. A row is an object; its numbers, among them texts that are
/// numbers, are named "key" or, those of an object in it, "object/key". A row whose "mode" is "val"
/// or the like has "val/" before the names that follow. A last line that is not complete is not
/// read. Throws Error naming file and line or entry.
LogTable ParseJson(std::string_view text, std::string_view name);

/// Adds the numbers of an object in text of another kind to the table's last row; false, with
/// nothing added, if the text is not a JSON object.
bool ReadJsonRow(std::string_view text, LogTable& table);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_JSON_H_
