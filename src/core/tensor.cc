#include "kudari/tensor.h"

#include <algorithm>
#include <array>

#include "core/tensor_names.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari {

namespace internal {

std::vector<std::string> WordsOf(std::string_view name) {
  std::vector<std::string> words(1);
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') {
      words.back() += static_cast<char>(c - 'A' + 'a');
    } else if (c >= 'a' && c <= 'z') {
      words.back() += c;
    } else if ((c < '0' || c > '9') && !words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.size() > 1 && words.back().empty()) words.pop_back();
  return words;
}

bool IsHeadWord(std::string_view word) {
  static constexpr std::string_view kHeads[] = {"head",   "heads",   "classifier",
                                                "logits", "unembed", "unembedding"};
  return std::ranges::find(kHeads, word) != std::end(kHeads);
}

}  // namespace internal

using internal::IsHeadWord;
using internal::WordsOf;

namespace {

constexpr std::array kTypeNames = {"float32", "bfloat16", "float16", "float64"};
constexpr std::array kClassNames = {"matrix", "convolution", "embedding", "head", "norm", "bias"};

struct Verdict {
  TensorClass tensor_class;
  std::string reason;
};

// Whose name tells what a parameter is for: the parameter itself ("cls_token"), or the layer that
// holds it, if the parameter is called a weight.
struct Bearer {
  std::string_view name;
  std::string_view parameter;  // the last component of the whole name
  std::string_view top;        // the first one that is not a wrapper's
  bool layer = false;          // `name` is a layer's
};

bool IsAnyOf(std::string_view x, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), x) != all.end();
}

bool IsNumber(std::string_view x) { return x.find_first_not_of("0123456789") == x.npos; }

Bearer BearerOf(std::string_view name) {
  Bearer bearer;
  std::vector<std::string_view> components;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find_first_of("./", begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    begin = end + 1;
    const bool wrapper = components.empty() && IsAnyOf(part, {"module", "model", "_orig_mod"});
    const bool last = end == name.size();
    // Layers of a list go by the list's name.
    if (last || (!wrapper && !IsNumber(part))) components.push_back(part);
  }
  bearer.name = bearer.parameter = components.back();
  components.pop_back();
  if (bearer.parameter.starts_with("original")) {  // torch's parametrizations of a weight
    while (!components.empty() && IsAnyOf(components.back(), {"weight", "parametrizations"})) {
      components.pop_back();
    }
  }
  bearer.layer = !components.empty() &&
                 (IsAnyOf(bearer.parameter, {"kernel"}) || bearer.parameter.starts_with("weight") ||
                  bearer.parameter.starts_with("original"));
  if (bearer.layer) bearer.name = components.back();
  bearer.top = components.empty() ? bearer.name : components.front();
  return bearer;
}

Verdict Judge(std::string_view name, const std::vector<int64_t>& shape) {
  const Bearer bearer = BearerOf(name);
  const std::vector<std::string> words = WordsOf(bearer.name);
  const auto says = [&](TensorClass c, std::string_view mark) {
    return Verdict{c, (bearer.layer ? "layer's name has " : "name has ") + Quoted(mark)};
  };
  const bool vector = std::count_if(shape.begin(), shape.end(), [](auto d) { return d > 1; }) <= 1;
  for (const std::string& word : words) {
    // A layer called a bias is one; what makes a bias is a layer like any other.
    if (IsAnyOf(word, {"bias", "biases"}) && (!bearer.layer || &word == &words.back())) {
      return says(TensorClass::kBias, word);
    }
    if (!vector) continue;
    if (word.find("norm") != word.npos) return says(TensorClass::kNorm, "norm");
    if (IsAnyOf(word, {"ln", "bn", "gn", "grn"})) return says(TensorClass::kNorm, word);
  }
  if (vector && IsAnyOf(bearer.parameter, {"weight_g", "original0"})) {
    return {TensorClass::kNorm, Quoted(bearer.parameter) + " is the gain of weight normalisation"};
  }
  if (bearer.layer && shape.size() >= 2) {
    if (IsHeadWord(words.back())) return says(TensorClass::kHead, words.back());
    if (const std::vector<std::string> top = WordsOf(bearer.top); IsHeadWord(top.back())) {
      return {TensorClass::kHead, "in " + Quoted(bearer.top)};
    }
    if (bearer.name == bearer.top && IsAnyOf(bearer.name, {"fc", "output", "proj_out", "embed_out",
                                                           "decoder", "score", "head_dist"})) {
      return {TensorClass::kHead, Quoted(bearer.name) + " at the top"};
    }
  }
  if (bearer.layer ? shape.size() == 2 : !shape.empty()) {  // tables of layers have 2 dimensions
    for (const std::string& word : words) {
      if (word.find("embed") != word.npos) return says(TensorClass::kEmbedding, "embed");
      if (IsAnyOf(word, {"emb", "wte", "wpe"})) return says(TensorClass::kEmbedding, word);
    }
    if (IsAnyOf(words.back(), {"token", "tokens"})) {
      return says(TensorClass::kEmbedding, words.back());
    }
    if (bearer.layer && bearer.name == bearer.top && bearer.name == "shared") {
      return {TensorClass::kEmbedding, "\"shared\" at the top"};
    }
  }
  if (shape.size() <= 1) {
    return {TensorClass::kNorm,
            std::to_string(shape.size()) + " dimension" + (shape.size() == 1 ? "" : "s")};
  }
  if (vector && !bearer.layer && std::find(words.begin(), words.end(), "weight") == words.end())
    return {TensorClass::kNorm, "no second dimension is above 1"};
  return {shape.size() == 2 ? TensorClass::kMatrix : TensorClass::kConvolution,
          std::to_string(shape.size()) + " dimensions"};
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
  return Judge(name, shape).reason;
}

std::string_view Name(DType dtype) { return kTypeNames.at(static_cast<size_t>(dtype)); }

int64_t Bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 8;
    case DType::kFloat32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
  }
  return 0;
}

std::string_view Name(TensorClass c) { return kClassNames.at(static_cast<size_t>(c)); }

TensorClass ParseTensorClass(std::string_view name) {
  for (size_t i = 0; i < kClassNames.size(); ++i) {
    if (name == kClassNames[i]) return static_cast<TensorClass>(i);
  }
  const std::vector<std::string> names(kClassNames.begin(), kClassNames.end());
  throw Error("unknown class " + Quoted(name) + Suggest(name, names));
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
