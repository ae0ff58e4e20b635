#include "lab/draw/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace kudari::lab {
namespace {

constexpr const char* kMinus = "−";
constexpr double kRounding = 1e-9;  // of a step, or of a value's own magnitude

// A power of ten times a factor, such as 3·10⁻⁵.
std::string PowerText(double x) {
  constexpr std::array kRaised = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  const double size = std::abs(x);
  const long power = size > 0 ? std::lround(std::floor(std::log10(size) + kRounding)) : 0;
  if (std::abs(power) < 2) return ValueText(x);
  std::string text = power < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(power))) {
    text += kRaised[static_cast<size_t>(digit - '0')];
  }
  const double factor = size / std::pow(10, static_cast<double>(power));
  if (std::abs(factor - 1) >= 1e-6) text = fmt::format("{:.3g}·{}", factor, text);
  return x < 0 ? kMinus + text : text;
}

// Digits times powers of ten, or some of the powers where these are too many, too.
std::vector<double> LogarithmicLevels(double low, double high, double most) {
  const std::vector<std::vector<double>> choices = {
      {1, 1.5, 2, 3, 4, 5, 7}, {1, 2, 5}, {1, 3}, {1}};
  const double first = std::floor(std::log10(low)), last = std::log10(high);
  const auto levels_of = [&](const std::vector<double>& digits, double every) {
    std::vector<double> levels;
    for (double power = std::floor(first / every) * every; power <= last; power += every) {
      for (const double digit : digits) levels.push_back(digit * std::pow(10, power));
    }
    std::erase_if(levels, [&](double level) { return level <= low || level >= high; });
    return levels;
  };
  for (const std::vector<double>& digits : choices) {
    std::vector<double> levels = levels_of(digits, 1);
    if (static_cast<double>(levels.size()) <= most) return levels;
  }
  return levels_of({1}, std::max(2.0, std::ceil((last - first) / most)));
}

}  // namespace

void Range::Add(double x) {
  low = std::min(low, x);
  high = std::max(high, x);
}

Range Widened(const Range& range, bool logarithmic) {
  if (range.low != range.high) return range;
  if (logarithmic) return {range.low / 2, range.high * 2};
  const double margin = range.low == 0 ? 1 : std::abs(range.low) / 2;
  return {range.low - margin, range.high + margin};
}

Range UpToTicks(const Range& range, double most) {
  if (Levels(range.low, range.high, false, most).empty()) return range;
  // The wider range may have ticks farther apart.
  Range rounded = range;
  for (double last = 0;;) {
    const double step = RoundStep((rounded.high - rounded.low) / most);
    if (step == last) return rounded;
    rounded = {std::min(range.low, std::floor(rounded.low / step + kRounding) * step),
               std::max(range.high, std::ceil(rounded.high / step - kRounding) * step)};
    last = step;
  }
}

double RoundStep(double rough) {
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double digit : {1, 2, 5}) {
    if (rough <= digit * power * (1 + 1e-6)) return digit * power;
  }
  return 10 * power;
}

std::vector<double> Levels(double low, double high, bool logarithmic, double most) {
  constexpr double kDigits = 0.5;  // decades from which on digits are better than equal steps
  // What differs in its last bits only has no round numbers between.
  const double size = std::max(std::abs(low), std::abs(high));
  if (!(high - low > 1e-12 * size) || !std::isfinite(high - low)) return {};
  if (logarithmic && std::log10(high / low) > kDigits) return LogarithmicLevels(low, high, most);
  std::vector<double> levels;
  const double step = RoundStep((high - low) / most);
  for (double k = std::floor(low / step); k * step < high; ++k) {
    if (k * step > low) levels.push_back(k * step);
  }
  return levels;
}

std::string ValueText(double x) {
  const std::string text = fmt::format("{:.10g}", std::abs(x));
  return x < 0 && text != "0" ? kMinus + text : text;
}

std::vector<std::string> ValueTexts(const std::vector<double>& values) {
  constexpr double kSmall = 1e-4, kLarge = 1e6;
  const bool plain = std::all_of(values.begin(), values.end(), [](double x) {
    return x == 0 || (std::abs(x) >= kSmall * (1 - kRounding) && std::abs(x) < kLarge);
  });
  std::vector<std::string> texts;
  for (const double x : values) texts.push_back(plain ? ValueText(x) : PowerText(x));
  return texts;
}

std::string RoundedText(double x) {
  return ValueTexts({std::strtod(fmt::format("{:.3g}", x).c_str(), nullptr)}).front();
}

std::vector<Tick> TicksAt(const std::vector<double>& values) {
  const std::vector<std::string> texts = ValueTexts(values);
  std::vector<Tick> ticks;
  for (size_t i = 0; i < values.size(); ++i) ticks.push_back({values[i], texts[i]});
  return ticks;
}

std::vector<Tick> Ticks(const Range& range, bool logarithmic, double most) {
  constexpr double kBeyond = 1 + kRounding;
  const double margin = kRounding * (range.high - range.low);
  return TicksAt(logarithmic ? Levels(range.low / kBeyond, range.high * kBeyond, true, most)
                             : Levels(range.low - margin, range.high + margin, false, most));
}

double Scale::operator()(double x) const {
  const double share = logarithmic_ ? std::log(x / range_.low) / std::log(range_.high / range_.low)
                                    : (x - range_.low) / (range_.high - range_.low);
  return begin_ + share * (end_ - begin_);
}

}  // namespace kudari::lab
