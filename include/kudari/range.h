#ifndef KUDARI_RANGE_H_
#define KUDARI_RANGE_H_

#include <string>
#include <string_view>

#include "kudari/language.h"

namespace kudari {

/// A range as text, such as "[0, 1)".
std::string RangeText(double low, double high);

/// Throws Error "where = value is outside [low, high]" if the value is outside or a NaN.
void CheckRange(std::string_view where, double value, double low, double high);

}  // namespace kudari

#endif  // KUDARI_RANGE_H_
