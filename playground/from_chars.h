#ifndef KUDARI_PLAYGROUND_FROM_CHARS_H_
#define KUDARI_PLAYGROUND_FROM_CHARS_H_

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

// What libc++ 19 lacks of <charconv>: CMake includes this file before every source of the module.
namespace std {

/// Reads the longest decimal number at the start of a text, correctly rounded, as C++17 defines it
/// for numbers in digits.
inline from_chars_result from_chars(const char* first, const char* last, double& value) {
  const string_view text(first, static_cast<size_t>(last - first));
  size_t at = text.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const size_t start = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - start;
  };
  size_t count = digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    count += digits();
  }
  const bool zero = text.substr(0, at).find_first_of("123456789") == string_view::npos;
  if (count == 0) return {first, errc::invalid_argument};
  size_t end = at;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (digits() > 0) end = at;
  }
  const double read = strtod(string(text.substr(0, end)).c_str(), nullptr);
  if (!isfinite(read) || (read == 0 && !zero)) return {first + end, errc::result_out_of_range};
  value = read;
  return {first + end, errc()};
}

}  // namespace std

#endif  // KUDARI_PLAYGROUND_FROM_CHARS_H_
