#include "lab/logs/findings_json.h"

namespace kudari::lab {

nlohmann::ordered_json FindingJson(const Finding& finding) {
  const VerdictInfo& info = InfoOf(finding);
  return {{"verdict", info.name},
          {"confidence", finding.confidence},
          {"first_step", finding.first_step},
          {"last_step", finding.last_step},
          {"evidence", finding.evidence},
          {"tensors", finding.tensors},
          {"meaning", info.meaning},
          {"action", info.action},
          {"source", info.source}};
}

nlohmann::ordered_json NotesJson(std::span<const Note> notes) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Note& n : notes) json.push_back({{"subject", n.subject}, {"text", n.text}});
  return json;
}

}  // namespace kudari::lab
