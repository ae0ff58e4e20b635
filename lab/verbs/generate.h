#ifndef KUDARI_LAB_VERBS_GENERATE_H_
#define KUDARI_LAB_VERBS_GENERATE_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

namespace kudari::lab {

/// What `kudari generate` is asked for.
struct GenerateOptions {
  std::filesystem::path run = {};
  std::string prompt = {};
  int64_t tokens = 500;
  double temperature = 1;  ///< what logits are divided by; 0: always the most probable token
  int64_t top_k = 0;       ///< number of tokens to draw from, the most probable ones; 0: all
  uint64_t seed = 1;
};

/// Writes a text that the language model of a run goes on with after a prompt, prompt first, to
/// `output` as it comes. Throws Error for bad input and for a run of another kind.
void Generate(const GenerateOptions& options, std::FILE* output);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_GENERATE_H_
