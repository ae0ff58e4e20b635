#include "kudari/tensor.h"

#include <algorithm>
#include <array>

#include "core/nearest.h"
#include "kudari/error.h"

namespace kudari {
namespace {

constexpr std::array kTypeNames = {"float32", "bfloat16", "float16"};
constexpr std::array kClassNames = {"matrix", "convolution", "embedding", "head", "norm", "bias"};

// What marks a class: a word of the name that has `part` in it or is one of `words`.
struct Mark {
  TensorClass tensor_class;
  std::string_view part;
  std::array<std::string_view, 4> words;
};
constexpr std::array kMarks = {
    Mark{TensorClass::kNorm, "norm", {"ln", "bn", "gn"}},
    Mark{TensorClass::kEmbedding, "embed", {"emb", "wte", "wpe", "token"}},
    Mark{TensorClass::kHead, "", {"head", "classifier", "logits"}}};

struct Verdict {
  TensorClass tensor_class;
  std::string_view mark;  // empty: the shape decided
};

// The mark that a word bears, empty if it bears none.
std::string_view MarkIn(std::string_view word, const Mark& mark) {
  if (!mark.part.empty() && word.find(mark.part) != word.npos) return mark.part;
  const auto at = std::find(mark.words.begin(), mark.words.end(), word);
  return at == mark.words.end() ? std::string_view() : *at;
}

Verdict Judge(std::string_view name, const std::vector<int64_t>& shape) {
  // Words of the name in lower case, without digits: "blocks.0.norm1.weight" has "norm".
  std::array<std::string_view, kMarks.size()> found;
  std::string word, last;
  for (size_t i = 0; i <= name.size(); ++i) {
    const char c = i < name.size() ? name[i] : '.';
    if (c >= 'a' && c <= 'z') {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (c < '0' || c > '9') {
      for (size_t k = 0; k < found.size(); ++k) {
        if (found[k].empty()) found[k] = MarkIn(word, kMarks[k]);
      }
      if (!word.empty()) last = word;
      word.clear();
    }
  }
  if (last == "bias") return {TensorClass::kBias, "bias"};
  for (size_t k = 0; k < found.size(); ++k) {
    // Vectors are norms, whatever else their name says.
    if (kMarks[k].tensor_class != TensorClass::kNorm && shape.size() <= 1) break;
    if (!found[k].empty()) return {kMarks[k].tensor_class, found[k]};
  }
  if (shape.size() <= 1) return {TensorClass::kNorm, {}};
  return {shape.size() == 2 ? TensorClass::kMatrix : TensorClass::kConvolution, {}};
}

}  // namespace

int64_t Tensor::Size() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

TensorClass Classify(std::string_view name, const std::vector<int64_t>& shape) {
  return Judge(name, shape).tensor_class;
}

std::string ClassReason(std::string_view name, const std::vector<int64_t>& shape) {
  const Verdict verdict = Judge(name, shape);
  if (verdict.tensor_class == TensorClass::kBias) return "name ends in \"bias\"";
  if (!verdict.mark.empty()) return "name has \"" + std::string(verdict.mark) + "\"";
  if (shape.size() == 1) return "1 dimension";
  return std::to_string(shape.size()) + " dimensions";
}

std::string_view Name(DType dtype) { return kTypeNames.at(static_cast<size_t>(dtype)); }

int64_t Bytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

std::string_view Name(TensorClass c) { return kClassNames.at(static_cast<size_t>(c)); }

TensorClass ParseTensorClass(std::string_view name) {
  for (size_t i = 0; i < kClassNames.size(); ++i) {
    if (name == kClassNames[i]) return static_cast<TensorClass>(i);
  }
  const std::vector<std::string> names(kClassNames.begin(), kClassNames.end());
  throw Error("unknown class \"" + std::string(name) + "\"" + internal::Suggest(name, names));
}

bool Glob(std::string_view pattern, std::string_view name) {
  // The last * takes as little as it can; on a mismatch it takes one character more.
  size_t p = 0, n = 0, star = std::string_view::npos, after = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool Matches(std::string_view pattern, const Tensor& tensor) {
  return Glob(pattern, tensor.name) ||
         std::any_of(tensor.aliases.begin(), tensor.aliases.end(),
                     [pattern](const std::string& alias) { return Glob(pattern, alias); });
}

}  // namespace kudari
