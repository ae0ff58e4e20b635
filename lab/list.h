#ifndef KUDARI_LAB_LIST_H_
#define KUDARI_LAB_LIST_H_

#include <cstdio>
#include <string_view>

namespace kudari::lab {

/// Prints every rule, source, scale, averager and schedule: a line each, or all as JSON.
void List(bool json, std::FILE* console);

/// Prints all about the things of that name; throws Error with the nearest name.
void DescribeByName(std::string_view name, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LIST_H_
