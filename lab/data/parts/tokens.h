#ifndef KUDARI_LAB_DATA_PARTS_TOKENS_H_
#define KUDARI_LAB_DATA_PARTS_TOKENS_H_

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "lab/data/data.h"

namespace kudari::lab {

/// Tokens in memory.
std::shared_ptr<const TokenStream> InMemory(std::vector<int32_t> tokens);

/// A file of tokens that stays on disk: nanoGPT's .bin, which is uint16 throughout, or llm.c's,
/// which begins with 256 integers (magic number 20240520, version, count) and has uint16 (version
/// 1) or uint32 (version 7) after them. Throws Error naming the file for another length than it
/// says, and for a token that is not below `vocabulary`, which it names with its index; so does
/// Read if the file has changed.
std::shared_ptr<const TokenStream> OpenTokens(const std::filesystem::path& path,
                                              int64_t vocabulary);

/// A split of pieces of `context` tokens, one after the other, from `begin` to `end` of a stream;
/// each is followed by another token, the target of its last one.
Split Pieces(std::shared_ptr<const TokenStream> tokens, int64_t begin, int64_t end,
             int64_t context);

/// Where the parts of `size` items end: the test share is the end of all, the validation share is
/// before that. First the end of the training part, then that of the validation part.
std::array<int64_t, 2> PartEnds(int64_t size, double validation, double test);

/// Splits a stream into training, validation and test pieces, of which the first two end at `ends`.
/// Throws Error naming data.context if a part that is asked for has not a single piece.
void SplitStream(Dataset& data, const std::shared_ptr<const TokenStream>& tokens,
                 const std::array<int64_t, 2>& ends, double validation, double test);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_TOKENS_H_
