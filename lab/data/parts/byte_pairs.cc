#include "lab/data/parts/byte_pairs.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/utf8.h"

namespace kudari::lab {
namespace {

using ::sentencepiece::SentencePieceTrainer;

constexpr std::string_view kSpace = "\u2581";  // how SentencePiece writes a space
constexpr size_t kLongest = 4096;              // bytes of a text that it learns from at once
constexpr int32_t kBegin = 2, kSeparator = 3;

// Calls f with the parts of a text that are exact in SentencePiece's own writing: without line
// feeds and kSpace, which are between them and to which `between` is called.
template <class F, class G>
void ForParts(std::string_view text, const F& f, const G& between) {
  while (!text.empty()) {
    const size_t line = text.find('\n'), space = text.find(kSpace);
    const std::string_view part = text.substr(0, std::min(line, space));
    if (!part.empty()) f(part);
    text.remove_prefix(part.size());
    if (text.empty()) break;
    const std::string_view mark = text.substr(0, line < space ? 1 : kSpace.size());
    between(mark);
    text.remove_prefix(mark.size());
  }
}

// The texts in parts that are not too long for the trainer.
class Parts : public sentencepiece::SentenceIterator {
 public:
  Parts(std::span<const std::string_view> texts, bool exact) {
    for (const std::string_view text : texts) {
      ForParts(
          text, [this](std::string_view part) { Cut(part); }, [](std::string_view) {});
    }
    if (parts_.empty()) throw Error("data.tokenizer = \"bpe\": the training texts are empty");
    if (exact) parts_.emplace_back(" ");  // so that a space has a piece
    current_ = parts_.front();
  }

  bool done() const override { return next_ == parts_.size(); }
  void Next() override {
    if (++next_ < parts_.size()) current_ = parts_[next_];
  }
  const std::string& value() const override { return current_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void Cut(std::string_view part) {
    while (!part.empty()) {
      size_t size = std::min(kLongest, part.size());
      while (size < part.size() && IsWithinCharacter(part[size])) --size;
      parts_.push_back(part.substr(0, size));
      part.remove_prefix(size);
    }
  }

  std::vector<std::string_view> parts_;
  size_t next_ = 0;
  std::string current_;
};

void Check(const sentencepiece::util::Status& status, int64_t vocabulary) {
  if (status.ok()) return;
  throw Error("data.vocabulary = " + std::to_string(vocabulary) +
              " is not what SentencePiece can learn from the training texts: " + status.message());
}

}  // namespace

struct BytePairs::Impl {
  // Exact pieces have no token for the unknown, which is SentencePiece's first.
  explicit Impl(bool exact) : skipped(exact ? 1 : 0) {}

  void Append(std::string_view text, std::vector<int32_t>& tokens) const {
    std::vector<int> ids;
    const auto status = pieces.Encode(text, &ids);
    if (!status.ok()) throw Error("SentencePiece: " + status.ToString());
    for (const int id : ids) tokens.push_back(id - skipped);
  }
  // The text of one of SentencePiece's pieces: that of a byte is "<0x0A>".
  std::string TextOf(int id) const {
    std::string text = pieces.IdToPiece(id);
    if (pieces.IsByte(id)) return {static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16))};
    for (size_t at = 0; (at = text.find(kSpace, at)) != std::string::npos;) {
      text.replace(at, kSpace.size(), " ");
    }
    return text;
  }

  int skipped;
  sentencepiece::SentencePieceProcessor pieces;
};

BytePairs::BytePairs(std::span<const std::string_view> texts, int64_t vocabulary, Style style) {
  const bool exact = style == Style::kExact;
  auto impl = std::make_unique<Impl>(exact);
  const char* const rule = exact                      ? "identity"
                           : style == Style::kUncased ? "nmt_nfkc_cf"
                                                      : "nmt_nfkc";
  std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"byte_fallback", "true"},
      {"vocab_size", std::to_string(vocabulary + impl->skipped)},
      {"hard_vocab_limit", "false"},
      {"character_coverage", "0.9995"},
      {"required_chars", std::string(exact ? kSpace : "")},
      {"max_sentence_length", std::to_string(kLongest)},
      {"normalization_rule_name", rule},
      {"add_dummy_prefix", exact ? "false" : "true"},
      {"remove_extra_whitespaces", exact ? "false" : "true"},
      {"pad_id", exact ? "-1" : "0"},
      {"unk_id", exact ? "0" : "1"},
      {"bos_id", exact ? "-1" : std::to_string(kBegin)},
      {"eos_id", exact ? "-1" : std::to_string(kSeparator)},
      {"num_threads", "1"},
      {"minloglevel", "4"}};  // it writes nothing
  Parts parts(texts, exact);
  std::string model;
  Check(SentencePieceTrainer::Train(options, &parts, &model), vocabulary);
  Check(impl->pieces.LoadFromSerializedProto(model), vocabulary);
  impl_ = std::move(impl);
}

BytePairs::~BytePairs() = default;
BytePairs::BytePairs(BytePairs&&) noexcept = default;

std::vector<int32_t> BytePairs::Encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  if (impl_->skipped == 0) {
    impl_->Append(text, tokens);
    return tokens;
  }
  const int first = impl_->pieces.PieceToId("<0x00>");
  ForParts(
      text, [&](std::string_view part) { impl_->Append(part, tokens); },
      [&](std::string_view mark) {
        for (const char c : mark) tokens.push_back(first + static_cast<uint8_t>(c) - 1);
      });
  return tokens;
}

std::vector<std::string> BytePairs::Symbols() const {
  std::vector<std::string> symbols;
  for (int id = impl_->skipped; id < impl_->pieces.GetPieceSize(); ++id) {
    symbols.push_back(impl_->TextOf(id));
  }
  return symbols;
}

namespace {

class BytePairTokenizer : public Tokenizer {
 public:
  explicit BytePairTokenizer(BytePairs pairs)
      : pairs_(std::move(pairs)), size_(std::ssize(pairs_.Symbols())) {}

  int64_t size() const override { return size_; }
  int32_t begin() const override { return kBegin; }
  int32_t separator() const override { return kSeparator; }
  std::vector<int32_t> Encode(std::string_view text) const override { return pairs_.Encode(text); }

 private:
  BytePairs pairs_;
  int64_t size_;
};

}  // namespace

void CheckPieces(std::string_view tokenizer, int64_t vocabulary) {
  const bool learned = tokenizer == "bpe";
  const int64_t least = learned ? kLeastPieces : 0, most = learned ? kMostPieces : 0;
  if (vocabulary >= least && vocabulary <= most) return;
  throw Error("data.vocabulary = " + std::to_string(vocabulary) +
              (learned ? " is outside [" + std::to_string(least) + ", " + std::to_string(most) + "]"
                       : " must be 0") +
              " for data.tokenizer = " + Quoted(tokenizer));
}

std::unique_ptr<const Tokenizer> LearnBytePairs(std::span<const std::string_view> texts,
                                                int64_t vocabulary, bool lowercase) {
  const auto style = lowercase ? BytePairs::Style::kUncased : BytePairs::Style::kCased;
  return std::make_unique<BytePairTokenizer>(BytePairs(texts, vocabulary, style));
}

}  // namespace kudari::lab
