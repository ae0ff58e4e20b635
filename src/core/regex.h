#ifndef KUDARI_CORE_REGEX_H_
#define KUDARI_CORE_REGEX_H_

#include <bitset>
#include <cstdint>
#include <string_view>
#include <vector>

namespace kudari::internal {

/// A regular expression over bytes, in the part of ECMAScript's syntax that needs no backtracking:
/// . [a-z] [^a-z] \d \w \s \D \W \S \b \B ^ $ ( ) (?: ) | and the quantifiers * + ? {m} {m,} {m,n},
/// greedy or lazy. A search takes time proportional to the text times the compiled expression and
/// a fixed amount of stack, whatever the two are.
class Regex {
 public:
  /// At most this many bytes, levels of groups, and instructions after repetitions are spelled out.
  static constexpr size_t kMostBytes = 1000, kMostDepth = 100, kMostInstructions = 2000;

  /// Throws Error naming the column, counted from 1, for what is not an expression, is beyond the
  /// limits above, or needs backtracking (look-ahead, back-references).
  explicit Regex(std::string_view pattern);

  /// Whether any part of the text matches; ^ and $ stand for its ends.
  bool Search(std::string_view text) const;

  /// One step of the machine that searches; jumps are relative to its own position.
  struct Instruction {
    enum class Op : uint8_t { kBytes, kSplit, kBegin, kEnd, kBoundary, kNoBoundary, kMatch };
    Op op;
    std::bitset<256> bytes = {};    ///< of kBytes: what it takes
    int32_t first = 1, second = 1;  ///< of kSplit: where to go on
  };

 private:
  std::vector<Instruction> program_;
};

}  // namespace kudari::internal

#endif  // KUDARI_CORE_REGEX_H_
