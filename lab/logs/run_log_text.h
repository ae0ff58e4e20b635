#ifndef KUDARI_LAB_LOGS_RUN_LOG_TEXT_H_
#define KUDARI_LAB_LOGS_RUN_LOG_TEXT_H_

#include <string_view>

#include "lab/logs/run_log_table.h"

namespace kudari::lab {

/// The numbers in a text that have names before them, as console output of nanoGPT, llm.c,
/// Megatron, fairseq, SpeechBrain, Keras and many scripts:
///
///     step 100/5000: train loss 2.31, val loss 2.45 | lr: 3e-4 (grad norm=1.2)
///
/// A line is a row. A name is known to LogFields, or has ":" or "=" behind it. In lines or parts of
/// lines about validation, as "[valid] loss: 2.45", "val_" comes before names. A JSON object in a
/// line is a row as in JSON lines. What is not understood is passed over, so the table may be
/// empty.
LogTable ParseText(std::string_view text, std::string_view name);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_TEXT_H_
