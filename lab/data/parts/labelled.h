#ifndef KUDARI_LAB_DATA_PARTS_LABELLED_H_
#define KUDARI_LAB_DATA_PARTS_LABELLED_H_

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/option_table.h"
#include "lab/data/data.h"
#include "lab/data/parts/byte_pairs.h"
#include "lab/data/parts/tokenizer.h"

namespace kudari::lab {

/// A text with a class, or two texts of which the class is said.
struct LabelledText {
  std::string text, pair;
  int64_t label = 0;
  int64_t line = 0;  ///< of the file that it is in
};

/// A file of them.
struct LabelledFile {
  std::filesystem::path path;
  std::vector<LabelledText> texts;
};

/// Texts with classes, from which samples are made. Without a file for validation or for the test
/// a share of the training texts is taken.
struct LabelledTexts {
  std::string name;
  int64_t classes = 0;
  bool pairs = false;  ///< whether each has a second text
  LabelledFile train, validation, test;
};

/// How texts with classes become samples.
struct LabelledOptions {
  int64_t context = 64, vocabulary = 0;
  std::string tokenizer = "wordpiece", vocabulary_file;
  bool lowercase = true;
  double test = 0;
};

/// The options of LabelledOptions, for those of a data set, which derive from it.
template <class O>
internal::OptionTable<O> LabelledTable() {
  return {
      {.name = "context",
       .member = &O::context,
       .least = 8,
       .most = 1 << 16,
       .doc = "number of tokens of a sample; longer texts are cut at their end, of two texts the "
              "longer one first"},
      {.name = "tokenizer",
       .member = &O::tokenizer,
       .choices = {"wordpiece", "bpe"},
       .doc = "wordpiece: BERT's, with the tokens of vocabulary_file; bpe: pieces learned from the "
              "training texts by byte-pair encoding, with bytes for what has none"},
      {.name = "vocabulary_file",
       .member = &O::vocabulary_file,
       .doc = "wordpiece: the file with a token a line, vocab.txt of published models"},
      {.name = "vocabulary",
       .member = &O::vocabulary,
       .least = 0,
       .most = kMostPieces,
       .doc = "bpe: the most tokens that are learned, at least 300; else 0"},
      {.name = "lowercase",
       .member = &O::lowercase,
       .doc = "whether texts become lower case, for wordpiece also without accents, as uncased "
              "models need them"},
      {.name = "test",
       .member = &O::test,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the samples, drawn with the seed, held out for the test"},
  };
}

/// The tokens of a sample: [CLS], the text and [SEP], for pairs the second text and another [SEP].
/// Of what is longer than `context` the last tokens of the longer text are dropped, one after the
/// other, and where both are as long of the second, as in BERT's code.
std::vector<int32_t> SampleTokens(const Tokenizer& tokenizer, const LabelledText& text, bool pair,
                                  int64_t context);

/// The samples, padded to data.context tokens. Pieces are learned from the training samples alone.
/// Throws Error naming an option that does not fit the others, and the file and line of a text
/// without tokens.
Dataset MakeLabelled(const LabelledTexts& texts, const LabelledOptions& options, double validation,
                     uint64_t seed);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_LABELLED_H_
