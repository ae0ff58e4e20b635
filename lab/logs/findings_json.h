#ifndef KUDARI_LAB_LOGS_FINDINGS_JSON_H_
#define KUDARI_LAB_LOGS_FINDINGS_JSON_H_

#include <nlohmann/json.hpp>
#include <span>

#include "kudari/doctor.h"

namespace kudari::lab {

/// A finding of the doctor with all that is known of its verdict: "verdict", "confidence",
/// "first_step", "last_step", "evidence", "tensors", "meaning", "action" and "source".
nlohmann::ordered_json FindingJson(const Finding& finding);

/// What is said beside the findings: a list of objects with "subject" and "text".
nlohmann::ordered_json NotesJson(std::span<const Note> notes);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_FINDINGS_JSON_H_
