#ifndef KUDARI_LAB_VERBS_GENERATE_H_
#define KUDARI_LAB_VERBS_GENERATE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

namespace kudari::lab {

/// What `kudari generate` is asked for.
struct GenerateOptions {
  std::filesystem::path run = {};
  // Of a text:
  std::optional<std::string> prompt = {};
  std::optional<int64_t> tokens = {};  ///< absent: 500
  /// What logits are divided by; 0: always the most probable token. Absent: 1.
  std::optional<double> temperature = {};
  /// Number of tokens to draw from, the most probable ones; 0 or absent: all.
  std::optional<int64_t> top_k = {};
  int64_t seed = 1;  ///< at least 0
  // Of images:
  std::optional<int64_t> count = {};  ///< absent: 64
  std::filesystem::path out = {};     ///< PNG to write
};

/// Writes a text that the language model of a run goes on with after a prompt, prompt first, to
/// `output` as it comes; or a grid of images that a model for these makes to the file `out`, and
/// that it did to `output`. Throws Error for bad input and for a run of another kind.
void Generate(const GenerateOptions& options, std::FILE* output);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_GENERATE_H_
