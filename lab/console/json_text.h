#ifndef KUDARI_LAB_CONSOLE_JSON_TEXT_H_
#define KUDARI_LAB_CONSOLE_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

namespace kudari::lab {

/// JSON as text, in lines of that indent or in one. Paths and the names in others' logs need not be
/// UTF-8, as JSON is: what is not becomes U+FFFD.
template <class Json>
std::string JsonText(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// JSON in one line for a <script> of a page, which only "</" could end: "<" is written as \u003c.
template <class Json>
std::string ScriptText(const Json& json) {
  std::string text;
  for (const char c : JsonText(json)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_CONSOLE_JSON_TEXT_H_
