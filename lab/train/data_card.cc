#include "lab/train/data_card.h"

#include <nlohmann/json.hpp>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/console/json_text.h"

namespace kudari::lab {
namespace {

constexpr const char* kKey = "kudari.data";

// Tokens may be any bytes, and JSON is UTF-8: each is a list of bytes.
std::vector<std::vector<uint8_t>> BytesOf(const std::vector<std::string>& symbols) {
  std::vector<std::vector<uint8_t>> bytes;
  for (const std::string& symbol : symbols) bytes.emplace_back(symbol.begin(), symbol.end());
  return bytes;
}

nlohmann::json ScalesOf(const Dataset& data) {
  nlohmann::json scales = nlohmann::json::array();
  for (const ChannelScale& scale : data.scales) scales.push_back({scale.mean, scale.deviation});
  return scales;
}

// Of runs that did not write it yet, nothing is known.
ImageInput ReadInput(const nlohmann::json& card) {
  ImageInput input{.shape = card.at("sample"),
                   .brightest = card.value("brightest", 0.0),
                   .shorter = card.value("shorter", int64_t{0}),
                   .whole = card.at("boxes") > 0};
  for (const auto& scale : card.value("scales", nlohmann::json::array())) {
    input.scales.push_back({scale.at(0), scale.at(1)});
  }
  if (!input.scales.empty() && std::ssize(input.scales) != input.shape.at(0)) {
    input.brightest = 0;
  }
  return input;
}

}  // namespace

std::string DataCard::ClassName(int64_t label) const {
  const auto at = static_cast<size_t>(label);
  return at < class_names.size() ? class_names[at] : std::to_string(label);
}

std::map<std::string, std::string> CardOf(const Dataset& data) {
  const DataShape shape = data.Shape();
  const nlohmann::json card = {{"name", data.name},
                               {"sample", shape.sample},
                               {"outputs", shape.outputs},
                               {"vocabulary", shape.vocabulary},
                               {"separator", shape.separator},
                               {"next_token", shape.next_token},
                               {"boxes", shape.boxes},
                               {"box_classes", shape.box_classes},
                               {"acts", shape.acts},
                               {"discrete", shape.discrete},
                               {"low", shape.low},
                               {"high", shape.high},
                               {"symbols", BytesOf(data.symbols)},
                               {"scales", ScalesOf(data)},
                               {"brightest", data.brightest},
                               {"shorter", data.shorter},
                               {"class_names", data.class_names}};
  return {{kKey, JsonText(card)}};
}

DataCard ReadCard(const std::filesystem::path& weights) {
  const SafeTensorsFile file(weights);
  const auto found = file.metadata().find(kKey);
  if (found == file.metadata().end()) {
    throw Error(weights.string() +
                ": does not say what data the model is for; train it again with this version");
  }
  try {
    const auto card = nlohmann::json::parse(found->second);
    DataCard read{.name = card.at("name"),
                  .shape = {.sample = card.at("sample"),
                            .outputs = card.at("outputs"),
                            .vocabulary = card.at("vocabulary"),
                            .separator = card.value("separator", DataShape().separator),
                            .next_token = card.at("next_token"),
                            .boxes = card.at("boxes"),
                            .box_classes = card.at("box_classes"),
                            .acts = card.at("acts"),
                            .discrete = card.at("discrete"),
                            .low = card.at("low"),
                            .high = card.at("high")},
                  .symbols = {},
                  .input = ReadInput(card),
                  .class_names = card.value("class_names", std::vector<std::string>())};
    for (const auto& bytes : card.at("symbols").get<std::vector<std::vector<uint8_t>>>()) {
      read.symbols.emplace_back(bytes.begin(), bytes.end());
    }
    return read;
  } catch (const nlohmann::json::exception& e) {
    throw Error(weights.string() + ": the metadata " + kKey + " cannot be read: " + e.what());
  }
}

}  // namespace kudari::lab
