#ifndef KUDARI_LAB_DATA_PARTS_TOKENIZER_H_
#define KUDARI_LAB_DATA_PARTS_TOKENIZER_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// Cuts texts into pieces and numbers them, for models of whole texts. Token 0 is padding.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// How many tokens there are.
  virtual int64_t size() const = 0;
  /// The token that begins a sample, [CLS], and the one that ends each of its texts, [SEP].
  virtual int32_t begin() const = 0;
  virtual int32_t separator() const = 0;
  /// The tokens of a text in valid UTF-8, without these two.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_TOKENIZER_H_
