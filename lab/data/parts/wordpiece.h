#ifndef KUDARI_LAB_DATA_PARTS_WORDPIECE_H_
#define KUDARI_LAB_DATA_PARTS_WORDPIECE_H_

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lab/data/parts/tokenizer.h"

namespace kudari::lab {

/// The words of a text in valid UTF-8, as BERT has them: between white space, with each
/// punctuation mark and each Chinese character a word of its own and without control characters.
/// `lowercase` also removes accents (marks of Unicode's form NFD).
std::vector<std::string> BertWords(std::string_view text, bool lowercase);

/// Reads the vocabulary of BERT's WordPiece, a token a line, from a file that may be packed. A word
/// is cut from its beginning into the longest pieces that the vocabulary has, those within it
/// written with ## before them; a word that cannot be cut so, or has more than 100 characters, is
/// [UNK]. Throws Error naming the file if [PAD] is not its first token, if [UNK], [CLS] or [SEP] is
/// missing, and for a token that it has twice.
std::unique_ptr<const Tokenizer> ReadWordPieces(const std::filesystem::path& path, bool lowercase);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_WORDPIECE_H_
