#include <nlohmann/json.hpp>
#include <string>

#include "io/file.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/messages.h"
#include "kudari/safetensors.h"

namespace kudari {

namespace {

constexpr uint64_t kMostIndexBytes = 1'000'000'000;

}  // namespace

std::map<std::string, std::string> ParseSafeTensorsIndex(std::string_view text,
                                                         std::string_view name) {
  const std::string where = std::string(name) + ": ";
  const nlohmann::json index = nlohmann::json::parse(text, nullptr, false);
  if (index.is_discarded()) throw Error(where + "is not valid JSON");
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object()) {
    throw Error(where + "has no object \"weight_map\"");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string()) throw Error(where + Quoted(tensor) + " is in no file");
    const auto& plain = file.get_ref<const std::string&>();
    if (!internal::IsPlainName(plain)) {
      throw Error(where + Quoted(tensor) + " is in " + Quoted(plain) +
                  ", which is no plain file name");
    }
    files.emplace(tensor, plain);
  }
  return files;
}

std::map<std::string, std::string> ReadSafeTensorsIndex(const std::filesystem::path& path) {
  return ParseSafeTensorsIndex(ReadFile(path, kMostIndexBytes), path.string());
}

}  // namespace kudari
