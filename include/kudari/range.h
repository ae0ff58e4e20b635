#ifndef KUDARI_RANGE_H_
#define KUDARI_RANGE_H_

#include <string>
#include <string_view>

namespace kudari {

/// The text of a range of values, "[0, 1)" and the like.
std::string RangeText(double low, double high);

/// Throws Error "where = value is outside [low, high]" if it is, or if value is a NaN.
void CheckRange(std::string_view where, double value, double low, double high);

}  // namespace kudari

#endif  // KUDARI_RANGE_H_
