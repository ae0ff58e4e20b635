#ifndef KUDARI_EXPERIMENTS_DOCTOR_LIMIT_H_
#define KUDARI_EXPERIMENTS_DOCTOR_LIMIT_H_

#include <map>
#include <string>

namespace kudari::experiments {

/// A limit of the doctor: its value in src/doctor, and the one it has now.
struct Limit {
  double shipped = 0, value = 0;
};

/// All limits, by names such as "FindOverfitting.kRise".
inline std::map<std::string, Limit>& Limits() {
  static std::map<std::string, Limit> limits;
  return limits;
}

/// The limit of that name, which is `shipped` until something else is set. Stays where it is.
inline const Limit& LimitOf(const char* name, double shipped) {
  return Limits().try_emplace(name, Limit{shipped, shipped}).first->second;
}

}  // namespace kudari::experiments

#endif  // KUDARI_EXPERIMENTS_DOCTOR_LIMIT_H_
