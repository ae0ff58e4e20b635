#include "lab/logs/run_log_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lab/logs/run_log_fields.h"
#include "lab/logs/run_log_json.h"

namespace kudari::lab {
namespace {

constexpr size_t kMostWords = 8;       // of a name
constexpr size_t kMostWord = 48;       // bytes of one
constexpr size_t kMostUnknown = 1000;  // columns that LogFields does not know

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsDigitOrComma(char c) { return IsDigit(c) || c == ','; }

// Between tokens: space, or what stands around names and numbers.
bool IsBreak(char c) {
  constexpr std::string_view kBreaks = " \t\r\f\v:=,|;()[]{}<>'\"";
  return kBreaks.find(c) != std::string_view::npos;
}

// "loss at step 10": what follows is the number's name, what is before may be that of the next one.
bool IsPreposition(std::string_view word) {
  static const std::set<std::string_view> words = {"at", "after", "of", "with", "and", "for", "in"};
  return words.contains(word);
}

// Says nothing about the number.
bool IsFiller(std::string_view word) {
  static const std::set<std::string_view> words = {"average", "avg",  "mean",    "the", "current",
                                                   "final",   "this", "running", "a",   "is"};
  return words.contains(word);
}

// llm.c's names.
std::string_view Unabbreviated(std::string_view plain) {
  if (plain == "s") return "step";
  if (plain == "trl") return "train_loss";
  if (plain == "tel") return "val_loss";
  return plain;
}

using Words = std::vector<std::string>;

std::string JoinedWords(const Words& words, size_t begin) {
  std::string text;
  for (size_t i = begin; i < words.size(); ++i) text += (i > begin ? " " : "") + words[i];
  return text;
}

// Where the token that begins at `begin` ends. Commas in "12,000" are a part of it.
size_t EndOfToken(std::string_view line, size_t begin) {
  size_t end = begin;
  for (; end < line.size() && line[end] != '\x1b'; ++end) {
    if (!IsBreak(line[end])) continue;
    const std::string_view before = line.substr(begin, end - begin), after = line.substr(end + 1);
    const bool in_number = line[end] == ',' && before.size() <= 11 && IsDigit(line[begin]) &&
                           std::ranges::all_of(before, IsDigitOrComma) && after.size() >= 3 &&
                           std::ranges::all_of(after.substr(0, 3), IsDigit) &&
                           (after.size() == 3 || IsBreak(after[3]));
    if (!in_number) break;
  }
  return end;
}

// Takes the numbers of one line after the other.
class LineReader {
 public:
  explicit LineReader(LogTable& table) : table_(table) {}

  void Read(std::string_view line);

 private:
  enum class Kind { kOther, kStep, kEpoch };

  void Punctuation(char c);
  void Token(std::string_view token);
  void Number(double value, std::string_view total);
  Words TakeName(bool given);
  void Add(const Words& words, double value, bool given);
  void Total(std::string_view text);
  void NotePart(size_t word);
  void ClearWords();
  void Break();

  LogTable& table_;
  size_t unknown_ = 0;  // columns
  // Of the line so far:
  Words words_;               // of the name that comes before the next number
  Words before_;              // words before the preposition of the last name
  bool given_ = false;        // ":" or "=" is behind the name
  bool is_val_ = false;       // it is about held-out data
  bool after_val_ = false;    // the last name with a part was, as in "val loss 1 acc 2"
  std::vector<size_t> open_;  // numbers of words before the brackets that are open
  bool in_square_ = false;    // the last bracket is "["
  Kind last_ = Kind::kOther;  // of the number before
  bool total_next_ = false;   // the number before is a step, with "/" behind it
};

void LineReader::Read(std::string_view line) {
  words_.clear();
  before_.clear();
  open_.clear();
  given_ = is_val_ = after_val_ = in_square_ = total_next_ = false;
  last_ = Kind::kOther;
  for (size_t i = 0; i < line.size();) {
    if (line[i] == '\x1b') {  // colours of a terminal, up to a letter
      while (i < line.size() && std::isalpha(static_cast<unsigned char>(line[i])) == 0) ++i;
      ++i;
    } else if (IsBreak(line[i])) {
      Punctuation(line[i++]);
    } else {
      const size_t end = EndOfToken(line, i);
      Token(line.substr(i, end - i));
      i = end;
    }
  }
}

// Whether the line is about held-out data, if the word is the first of a part of it.
void LineReader::NotePart(size_t word) {
  if (word >= words_.size()) return;
  const std::string plain = PlainName(words_[word]);
  if (IsPart(plain)) is_val_ = IsHeldOut(plain);
}

void LineReader::ClearWords() {
  words_.clear();
  std::ranges::fill(open_, size_t{0});
}

// The end of a part of the line.
void LineReader::Break() {
  NotePart(0);
  ClearWords();
  before_.clear();
  given_ = false;
}

void LineReader::Punctuation(char c) {
  switch (c) {
    case ':':
    case '=':
      given_ = true;
      break;
    case '(':
    case '[':
      if (open_.size() < kMostWords) open_.push_back(words_.size());
      in_square_ = c == '[';
      break;
    case ')':
    case ']':
      if (!open_.empty()) {
        NotePart(open_.back());
        words_.resize(std::min(open_.back(), words_.size()));
        open_.pop_back();
      }
      in_square_ = false;
      break;
    case ',':
    case '|':
    case ';':
    case '}':
    case '>':
      Break();
      break;
    default:
      break;
  }
}

void LineReader::Token(std::string_view token) {
  while (token.ends_with('.')) token.remove_suffix(1);
  if (token.starts_with('/') && last_ == Kind::kStep && words_.empty()) return Total(token);
  const auto is_letter = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  if (std::ranges::none_of(token, is_letter)) return Break();
  const size_t slash = std::min(token.find('/'), token.size());
  const size_t sign = token.starts_with('-') || token.starts_with('+') ? 1 : 0;
  const bool is_figure = token.size() > sign && (IsDigit(token[sign]) || token[sign] == '.');
  std::string text(token.substr(0, slash));
  if (is_figure) std::erase(text, ',');
  const auto number = NumberIn(text);
  const auto named = [this] {
    if (words_.empty()) return given_ && !before_.empty();
    return given_ || IsLogField(PlainName(JoinedWords(words_, 0)));
  };
  if (number && (is_figure || (slash == token.size() && named()))) {
    return Number(*number, token.substr(slash));
  }
  total_next_ = false;
  if (is_figure) {  // a date, or a number with a unit
    ClearWords();
    return;
  }
  if (given_ && token == "tensor") return;  // as Python prints it
  if (words_.size() == kMostWords) words_.erase(words_.begin());
  words_.emplace_back(token.substr(0, kMostWord));
  given_ = false;
}

// Notes the total behind a step, "/1000", "/" alone, or a number behind that.
void LineReader::Total(std::string_view text) {
  total_next_ = text == "/";
  if (text.starts_with('/')) text.remove_prefix(1);
  const auto total = NumberIn(text);
  if (total && *total >= 1 && *total <= 1e15) table_.planned_steps = static_cast<int64_t>(*total);
}

// `total` is "/1000" in "10/1000".
void LineReader::Number(double value, std::string_view total) {
  if (std::exchange(total_next_, false)) return Total(fmt::format("{}", value));
  const bool given = std::exchange(given_, false);
  const bool of_epoch = in_square_ && !total.empty();  // "Epoch [1][10/500]"
  const Words words =
      of_epoch && words_.empty() && last_ == Kind::kEpoch ? Words{"iter"} : TakeName(given);
  if (words.empty()) return;
  Add(words, value, given);
  if (last_ == Kind::kStep && !total.empty() && !of_epoch) Total(total);
}

// The name of a number that follows.
Words LineReader::TakeName(bool given) {
  Words words = words_;
  ClearWords();
  if (words.empty()) {  // "loss at step 10: 2.5"
    if (given) words.swap(before_);
    return words;
  }
  if (PlainName(words.back()) == "of") words.pop_back();  // "a loss of 2.5"
  const auto name = std::find_if(words.rbegin(), words.rend(), [](const std::string& word) {
                      return IsPreposition(PlainName(word));
                    }).base();
  before_.assign(words.begin(), name == words.begin() ? name : name - 1);
  words.erase(words.begin(), name);
  if (!before_.empty() && IsHeldOut(PlainName(before_[0]))) is_val_ = true;
  return words;
}

void LineReader::Add(const Words& words, double value, bool given) {
  const auto is_known = [this](const std::string& plain) {
    return IsLogField(plain) || ((is_val_ || after_val_) && IsLogField("val_" + plain));
  };
  size_t begin = 0;
  std::string plain(Unabbreviated(PlainName(JoinedWords(words, begin))));
  while (!is_known(plain) && begin + 1 < words.size() && IsFiller(PlainName(words[begin]))) {
    plain = PlainName(JoinedWords(words, ++begin));
  }
  const std::string first = PlainName(words[begin]);
  if (IsPart(first)) after_val_ = IsHeldOut(first);
  if (IsHeldOut(plain)) is_val_ = true;  // "Test: [1/100]"
  const bool known = is_known(plain);
  last_ = Kind::kOther;
  if (IsNamed(LogFieldOf("step"), plain)) last_ = Kind::kStep;
  if (IsNamed(LogFieldOf("epoch"), plain)) last_ = Kind::kEpoch;
  if (last_ == Kind::kStep && !(value >= 0 && value == std::trunc(value))) return;
  if (!known && (!given || plain.empty() || IsPart(plain) || unknown_ >= kMostUnknown)) return;
  std::string name = known ? plain : JoinedWords(words, begin);
  const bool val_is_known = IsLogField("val_" + plain);
  const bool of_val =
      is_val_ ? val_is_known || !known : after_val_ && val_is_known && !IsLogField(plain);
  if (of_val && !IsHeldOut(first)) name = "val_" + name;
  const size_t columns = table_.columns.size();
  table_.Add({.value = value, .row = table_.rows}, table_.At(name));
  if (!known) unknown_ += table_.columns.size() - columns;
}

}  // namespace

LogTable ParseText(std::string_view text, std::string_view name) {
  LogTable table("line");
  table.is_text = true;
  table.files.emplace_back(name);
  LineReader reader(table);
  while (!text.empty()) {
    std::string_view line = TakeLine(text);
    table.AddRow();
    const size_t begin = line.find("{\"");
    const size_t end = line.rfind('}');
    if (begin < end && end != std::string_view::npos &&
        ReadJsonRow(line.substr(begin, end + 1 - begin), table)) {
      continue;
    }
    // A progress bar comes to be in one line many times.
    while (!line.empty()) {
      const size_t back = line.find('\r');
      reader.Read(line.substr(0, back));
      line.remove_prefix(back == std::string_view::npos ? line.size() : back + 1);
      if (!Trimmed(line).empty()) table.AddRow();
    }
  }
  return table;
}

}  // namespace kudari::lab
