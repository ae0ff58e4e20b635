#ifndef KUDARI_LAB_TRAIN_DATA_CARD_H_
#define KUDARI_LAB_TRAIN_DATA_CARD_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lab/data/data.h"
#include "lab/data/parts/image_input.h"

namespace kudari::lab {

/// What must be known of the data to use a model that was trained on it. It is stored with the
/// weights, so that the data itself is not needed.
struct DataCard {
  std::string name;  ///< of the data set
  DataShape shape;
  std::vector<std::string> symbols;      ///< the text of each token, if it is known
  ImageInput input;                      ///< of images; not Known() for other data
  std::vector<std::string> class_names;  ///< empty: classes have numbers

  /// What a class is called.
  std::string ClassName(int64_t label) const;
};

/// The card of a data set as metadata of a safetensors file.
std::map<std::string, std::string> CardOf(const Dataset& data);

/// The card in a file of weights. Throws Error if there is none, or one that cannot be read.
DataCard ReadCard(const std::filesystem::path& weights);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_DATA_CARD_H_
