#include "kudari/tensor.h"

#include <array>

#include "core/nearest.h"
#include "kudari/error.h"

namespace kudari {
namespace {

constexpr std::array kClassNames = {"matrix", "convolution", "embedding", "head", "norm", "bias"};

bool AnyOf(std::string_view word, std::initializer_list<std::string_view> words) {
  for (const std::string_view w : words) {
    if (word == w) return true;
  }
  return false;
}

}  // namespace

int64_t Tensor::Size() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

TensorClass Classify(std::string_view name, const std::vector<int64_t>& shape) {
  // Words of the name in lower case, without digits: "blocks.0.norm1.weight" has "norm".
  bool norm = false, embedding = false, head = false;
  std::string word, last;
  for (size_t i = 0; i <= name.size(); ++i) {
    const char c = i < name.size() ? name[i] : '.';
    if (c >= 'a' && c <= 'z') {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (c < '0' || c > '9') {
      const auto has = [&word](std::string_view part) {
        return word.find(part) != std::string::npos;
      };
      norm = norm || has("norm") || AnyOf(word, {"ln", "bn", "gn"});
      embedding = embedding || has("embed") || AnyOf(word, {"emb", "wte", "wpe", "token"});
      head = head || AnyOf(word, {"head", "classifier", "logits"});
      if (!word.empty()) last = word;
      word.clear();
    }
  }
  if (last == "bias") return TensorClass::kBias;
  if (norm || shape.size() <= 1) return TensorClass::kNorm;
  if (embedding) return TensorClass::kEmbedding;
  if (head) return TensorClass::kHead;
  return shape.size() == 2 ? TensorClass::kMatrix : TensorClass::kConvolution;
}

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

}  // namespace kudari
