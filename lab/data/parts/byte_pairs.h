#ifndef KUDARI_LAB_DATA_PARTS_BYTE_PAIRS_H_
#define KUDARI_LAB_DATA_PARTS_BYTE_PAIRS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lab/data/parts/tokenizer.h"

namespace kudari::lab {

/// How many tokens may be learned: 256 are bytes, and characters need some.
inline constexpr int64_t kLeastPieces = 300, kMostPieces = 1 << 17;

/// Pieces of text that are learned from texts by byte-pair encoding (Sennrich et al.,
/// arXiv:1508.07909; the library is SentencePiece): first all bytes and the characters of the
/// texts, then the pair of pieces that occurs most often becomes one, again and again. A character
/// without a piece is its bytes, so nothing is unknown. The same texts give the same pieces.
class BytePairs {
 public:
  enum class Style {
    kExact,    ///< the pieces of a text give it back, byte for byte
    kCased,    ///< texts are normalised (NFKC, single spaces), and tokens 0 to 3 are marks
    kUncased,  ///< as kCased, in lower case
  };

  /// Learns at most `vocabulary` tokens, fewer if no pair occurs that often, from texts in valid
  /// UTF-8. Throws Error naming data.vocabulary if it is too small for the characters.
  BytePairs(std::span<const std::string_view> texts, int64_t vocabulary, Style style);
  ~BytePairs();
  BytePairs(BytePairs&&) noexcept;
  BytePairs& operator=(BytePairs&&) = delete;

  /// The tokens of a text in valid UTF-8.
  std::vector<int32_t> Encode(std::string_view text) const;
  /// What each token stands for.
  std::vector<std::string> Symbols() const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// Throws Error naming data.vocabulary unless it is in [kLeastPieces, kMostPieces] for the
/// tokenizer "bpe" and 0 for another.
void CheckPieces(std::string_view tokenizer, int64_t vocabulary);

/// Pieces learned from texts for samples of whole texts, see BytePairs.
std::unique_ptr<const Tokenizer> LearnBytePairs(std::span<const std::string_view> texts,
                                                int64_t vocabulary, bool lowercase);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_BYTE_PAIRS_H_
