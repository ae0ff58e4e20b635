#include "kudari/range.h"

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/rule.h"

namespace kudari {

std::string RangeText(double low, double high) {
  std::string text = low == -kInfinity ? "(" : "[";
  text += NumberText(low) + ", ";
  if (high == kInfinity) return text + "inf)";
  if (high == kBelow1) return text + "1)";
  return text + NumberText(high) + "]";
}

void CheckRange(std::string_view where, double value, double low, double high) {
  if (low <= value && value <= high && (value < kInfinity || high < kInfinity)) return;
  throw Error(std::string(where) + " = " + NumberText(value) + " is outside " +
              RangeText(low, high));
}

}  // namespace kudari
