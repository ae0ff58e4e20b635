#include "core/regex.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::internal {
namespace {

using Instruction = Regex::Instruction;
using Op = Instruction::Op;
using Bytes = std::bitset<256>;
using Fragment = std::vector<Instruction>;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
constexpr std::string_view kPunctuation = "^$\\.*+?()[]{}|/-";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWord(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

void Add(Bytes& bytes, char first, char last) {
  for (int c = static_cast<unsigned char>(first); c <= static_cast<unsigned char>(last); ++c) {
    bytes.set(static_cast<size_t>(c));
  }
}
void Add(Bytes& bytes, char c) { Add(bytes, c, c); }

/// What \d and the like stand for; nothing for another letter.
std::optional<Bytes> NamedBytes(char letter) {
  Bytes bytes;
  switch (letter) {
    case 'd':
    case 'D':
      Add(bytes, '0', '9');
      break;
    case 'w':
    case 'W':
      for (const auto& [first, last] : {std::pair{'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {'_', '_'}}) {
        Add(bytes, first, last);
      }
      break;
    case 's':
    case 'S':
      for (const char c : {' ', '\t', '\n', '\v', '\f', '\r'}) Add(bytes, c);
      break;
    default:
      return std::nullopt;
  }
  return letter < 'a' ? ~bytes : bytes;
}

Instruction Takes(const Bytes& bytes) { return {.op = Op::kBytes, .bytes = bytes}; }
Instruction Split(size_t first, size_t second) {
  return {.op = Op::kSplit,
          .bytes = {},
          .first = static_cast<int32_t>(first),
          .second = static_cast<int32_t>(second)};
}

/// Compiles by descent: every part of the expression is a fragment without absolute positions.
class Compiler {
 public:
  explicit Compiler(std::string_view pattern) : text_(pattern) {}

  Fragment Compile() {
    if (text_.size() > Regex::kMostBytes) {
      throw Error("regular expression of " + std::to_string(text_.size()) +
                  " bytes; it must have at most " + std::to_string(Regex::kMostBytes));
    }
    Fragment all = Alternatives(0);
    if (at_ < text_.size()) Fail("\")\" without \"(\"");
    all.push_back({.op = Op::kMatch});
    return all;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw Error("regular expression " + Quoted(text_) + ", column " + std::to_string(at_ + 1) +
                ": " + what);
  }
  bool Next(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool Accept(char c) {
    const bool next = Next(c);
    if (next) ++at_;
    return next;
  }
  void Append(Fragment& to, const Fragment& more) const {
    if (to.size() + more.size() > Regex::kMostInstructions) {
      Fail("its repetitions make it too large: more than " +
           std::to_string(Regex::kMostInstructions) + " instructions");
    }
    to.insert(to.end(), more.begin(), more.end());
  }

  Fragment Alternatives(size_t depth) {
    if (depth > Regex::kMostDepth) Fail("groups are nested too deeply");
    std::vector<Fragment> parts = {Sequence(depth)};
    while (Accept('|')) parts.push_back(Sequence(depth));
    Fragment all = std::move(parts.back());
    for (parts.pop_back(); !parts.empty(); parts.pop_back()) {
      Fragment either = {Split(1, parts.back().size() + 2)};
      Append(either, parts.back());
      either.push_back(Split(all.size() + 1, all.size() + 1));
      Append(either, all);
      all = std::move(either);
    }
    return all;
  }

  Fragment Sequence(size_t depth) {
    Fragment all;
    while (at_ < text_.size() && !Next('|') && !Next(')')) Append(all, Repeated(depth));
    return all;
  }

  Fragment Repeated(size_t depth) {
    if (Next('*') || Next('+') || Next('?') || Next('{')) Fail("nothing to repeat");
    const size_t start = at_;
    Fragment atom = Atom(depth);
    const bool assertion = text_[start] == '^' || text_[start] == '$' ||
                           (text_[start] == '\\' && (text_[start + 1] | 0x20) == 'b');
    size_t least = 1;
    size_t most = 1;
    const size_t quantifier = at_;
    if (Accept('*')) {
      least = 0;
      most = kNoLimit;
    } else if (Accept('+')) {
      most = kNoLimit;
    } else if (Accept('?')) {
      least = 0;
    } else if (Accept('{')) {
      least = Count();
      most = least;
      if (Accept(',')) most = Next('}') ? kNoLimit : Count();
      if (!Accept('}')) Fail("expected \"}\"");
      if (most < least) Fail("a repetition ends below its beginning");
    } else {
      return atom;
    }
    if (assertion) {
      at_ = quantifier;
      Fail("nothing to repeat");
    }
    Accept('?');  // lazy: what matches is the same
    Fragment all;
    for (size_t k = 0; k < least; ++k) Append(all, atom);
    if (most == kNoLimit) {
      Fragment loop = {Split(1, atom.size() + 2)};
      Append(loop, atom);
      const auto back = -static_cast<int32_t>(atom.size()) - 1;
      loop.push_back({.op = Op::kSplit, .bytes = {}, .first = back, .second = back});
      Append(all, loop);
    } else {
      // Each that may come leaves out all that follow.
      const size_t rest = most - least;
      for (size_t k = 0; k < rest; ++k) {
        Append(all, {Split(1, (rest - k) * (atom.size() + 1))});
        Append(all, atom);
      }
    }
    return all;
  }

  size_t Count() {
    if (at_ >= text_.size() || !IsDigit(text_[at_])) Fail("expected a number");
    size_t count = 0;
    for (; at_ < text_.size() && IsDigit(text_[at_]); ++at_) {
      count = 10 * count + static_cast<size_t>(text_[at_] - '0');
      if (count > Regex::kMostInstructions) Fail("a number of repetitions is too large");
    }
    return count;
  }

  Fragment Atom(size_t depth) {
    const char c = text_[at_];
    if (c == '(') return Group(depth);
    if (c == '[') return {Takes(Class())};
    if (c == '\\') return {Escape()};
    if (c == ']' || c == '}') Fail("\"" + std::string(1, c) + "\" must be written \"\\" + c + "\"");
    ++at_;
    if (c == '^') return {{.op = Op::kBegin}};
    if (c == '$') return {{.op = Op::kEnd}};
    Bytes bytes;
    if (c == '.') {
      for (const char end : {'\n', '\r'}) Add(bytes, end);
      return {Takes(~bytes)};
    }
    Add(bytes, c);
    return {Takes(bytes)};
  }

  Fragment Group(size_t depth) {
    const size_t start = at_++;
    if (Accept('?') && !Accept(':')) {
      Fail("only (?: may begin with (?; look-ahead and look-behind are not supported");
    }
    Fragment inside = Alternatives(depth + 1);
    if (Accept(')')) return inside;
    at_ = start;
    Fail("\"(\" without \")\"");
  }

  Instruction Escape() {
    if (at_ + 1 < text_.size() && text_[at_ + 1] == 'b') {
      at_ += 2;
      return {.op = Op::kBoundary};
    }
    if (at_ + 1 < text_.size() && text_[at_ + 1] == 'B') {
      at_ += 2;
      return {.op = Op::kNoBoundary};
    }
    return Takes(EscapedBytes());
  }

  /// What an escape stands for, in a class or outside of one.
  Bytes EscapedBytes() {
    if (at_ + 1 == text_.size()) Fail("\"\\\" at the end");
    const char c = text_[at_ + 1];
    Bytes bytes;
    if (const auto named = NamedBytes(c)) {
      bytes = *named;
    } else if (const size_t control = std::string_view("tnvfr").find(c); control != text_.npos) {
      Add(bytes, "\t\n\v\f\r"[control]);
    } else if (kPunctuation.find(c) != kPunctuation.npos) {
      Add(bytes, c);
    } else {
      Fail(IsDigit(c) ? "back-references are not supported" : "unknown escape");
    }
    at_ += 2;
    return bytes;
  }

  Bytes Class() {
    const size_t start = at_++;
    const bool negated = Accept('^');
    Bytes all;
    while (!Next(']')) {
      if (at_ == text_.size()) {
        at_ = start;
        Fail("\"[\" without \"]\"");
      }
      const Bytes first = ClassMember();
      if (!Next('-') || at_ + 1 >= text_.size() || text_[at_ + 1] == ']') {
        all |= first;
        continue;
      }
      ++at_;
      const Bytes last = ClassMember();
      if (first.count() != 1 || last.count() != 1 || Only(first) > Only(last)) {
        Fail("a range ends below its beginning, or at what is not one character");
      }
      for (size_t c = Only(first); c <= Only(last); ++c) all.set(c);
    }
    if (all.none()) Fail("an empty class");
    ++at_;
    return negated ? ~all : all;
  }

  Bytes ClassMember() {
    if (at_ == text_.size()) Fail("a class without \"]\"");
    if (Next('\\')) return EscapedBytes();
    if (static_cast<unsigned char>(text_[at_]) >= 0x80) Fail("classes are of ASCII characters");
    Bytes bytes;
    Add(bytes, text_[at_++]);
    return bytes;
  }

  static size_t Only(const Bytes& bytes) {
    size_t c = 0;
    while (!bytes[c]) ++c;
    return c;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Regex::Regex(std::string_view pattern) : program_(Compiler(pattern).Compile()) {}

bool Regex::Search(std::string_view text) const {
  // All positions of the program that may be reached are followed at once.
  std::vector<size_t> now, next, stack;
  std::vector<size_t> seen(program_.size(), text.size() + 1);  // at which byte it was reached last
  const auto word = [text](size_t at) { return at < text.size() && IsWord(text[at]); };
  bool found = false;
  const auto follow = [&](size_t start, size_t at, std::vector<size_t>& reached) {
    stack.push_back(start);
    while (!stack.empty()) {
      const size_t position = stack.back();
      stack.pop_back();
      if (seen[position] == at) continue;
      seen[position] = at;
      const Instruction& i = program_[position];
      const auto go = [&](int32_t by) {
        stack.push_back(static_cast<size_t>(static_cast<int64_t>(position) + by));
      };
      const bool boundary = (at > 0 && word(at - 1)) != word(at);
      switch (i.op) {
        case Op::kBytes:
          reached.push_back(position);
          break;
        case Op::kSplit:
          go(i.first);
          go(i.second);
          break;
        case Op::kBegin:
          if (at == 0) go(1);
          break;
        case Op::kEnd:
          if (at == text.size()) go(1);
          break;
        case Op::kBoundary:
          if (boundary) go(1);
          break;
        case Op::kNoBoundary:
          if (!boundary) go(1);
          break;
        case Op::kMatch:
          found = true;
          break;
      }
    }
  };
  for (size_t at = 0;; ++at) {
    follow(0, at, now);
    if (found || at == text.size()) return found;
    next.clear();
    for (const size_t position : now) {
      if (program_[position].bytes[static_cast<unsigned char>(text[at])]) {
        follow(position + 1, at + 1, next);
      }
    }
    now.swap(next);
    if (found) return true;
  }
}

}  // namespace kudari::internal
