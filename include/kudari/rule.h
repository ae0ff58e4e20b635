#ifndef KUDARI_RULE_H_
#define KUDARI_RULE_H_

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

namespace kudari {

/// One hyper-parameter of rule R: its name, where it lives and the closed range of its values.
template <class R>
struct Field {
  std::string_view name;
  double R::*member;
  double low, high;
  std::string_view doc;
};

/// One state buffer of a rule, of the parameter's shape and float32, zero at first. Named as torch
/// names it where torch has it.
struct Slot {
  std::string_view name;
};

template <class... R>
struct TypeList {};

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The largest double below one: the upper end of "[0, 1)".
inline constexpr double kBelow1 = 1 - std::numeric_limits<double>::epsilon() / 2;

// A rule is a struct that describes an optimiser once. Its members are hyper-parameters, all
// double, and it has:
//
//   kName, kSummary, kFormula, kPaper   text; kFormula states the conventions
//   kFields                             std::array of Field, one for each member
//   kState                              std::array of Slot, possibly empty
//   Coeffs<T>                           what Update needs, members all T
//   Coeffs<double> At(int64_t t) const  the coefficients of a tensor's t-th update, t = 1, 2, ...
//
// and, between #ifdef KUDARI_LANES and #endif, a function template over the number type V
//
//   template <class V, class T>
//   KUDARI_INLINE void Update(const Rule::Coeffs<T>& c, V g, V& p, V& slot0, ...)
//
// that may use + - * /, Fma, Sqrt and V(c.x). It is compiled once for each SIMD target and for
// scalar float and double. See rules/adamw.h.

}  // namespace kudari

#endif  // KUDARI_RULE_H_
