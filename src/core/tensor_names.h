#ifndef KUDARI_CORE_TENSOR_NAMES_H_
#define KUDARI_CORE_TENSOR_NAMES_H_

#include <string>
#include <string_view>
#include <vector>

namespace kudari::internal {

/// The words of a part of a tensor's name, in lower case and without digits: "norm1_scale" has
/// "norm" and "scale". At least one, which may be empty.
std::vector<std::string> WordsOf(std::string_view name);

/// Whether a word of a layer's name says that its output is that of the model.
bool IsHeadWord(std::string_view word);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_TENSOR_NAMES_H_
