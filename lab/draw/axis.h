#ifndef KUDARI_LAB_DRAW_AXIS_H_
#define KUDARI_LAB_DRAW_AXIS_H_

#include <limits>
#include <string>
#include <vector>

namespace kudari::lab {

/// The values from low to high; none if low is above high, as at first.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void Add(double x);
  bool IsEmpty() const { return high < low; }
};

/// The range, or a wider one around it if it is a single value.
Range Widened(const Range& range, bool logarithmic);

/// The range up to the next ticks, of which a linear axis has about `most` at most.
Range UpToTicks(const Range& range, double most);

/// 1, 2 or 5 times a power of ten, at least as large as a rough step, rounding aside.
double RoundStep(double rough);

/// Round numbers between low and high, about `most` at most: steps of 1, 2 or 5 times a power of
/// ten; logarithmic ones are digits times powers of ten, fewer of them the more powers there are.
std::vector<double> Levels(double low, double high, bool logarithmic, double most);

/// A value as a text of ten digits at most, with a minus sign.
std::string ValueText(double x);

/// Values as texts that belong together: plain numbers, or powers of ten such as 3·10⁻⁵ where some
/// of them would be long.
std::vector<std::string> ValueTexts(const std::vector<double>& values);

/// A value as such a text, of three digits.
std::string RoundedText(double x);

/// A place on an axis, and the text that it has.
struct Tick {
  double value = 0;
  std::string text = {};
};

/// Round numbers of a range, its ends among them if they are round.
std::vector<Tick> Ticks(const Range& range, bool logarithmic, double most);

/// Ticks at given values.
std::vector<Tick> TicksAt(const std::vector<double>& values);

/// From values to pixels: the range's low end is at `begin` and the high one at `end`.
class Scale {
 public:
  Scale(const Range& range, bool logarithmic, double begin, double end)
      : range_(range), logarithmic_(logarithmic), begin_(begin), end_(end) {}

  /// Not finite where the value is not, or has no logarithm.
  double operator()(double x) const;

  const Range& range() const { return range_; }

 private:
  Range range_;
  bool logarithmic_;
  double begin_, end_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_AXIS_H_
