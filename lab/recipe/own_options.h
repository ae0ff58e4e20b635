#ifndef KUDARI_LAB_RECIPE_OWN_OPTIONS_H_
#define KUDARI_LAB_RECIPE_OWN_OPTIONS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/option_table.h"
#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

/// The values of a struct C of options.
template <class C>
struct OwnValues final : OwnOptions::Held {
  OwnValues(C the_values, const internal::OptionTable<C>& the_table)
      : values(std::move(the_values)), table(the_table) {}

  std::shared_ptr<const Held> Read(internal::TableReader& reader) const override {
    auto read = std::make_shared<OwnValues>(*this);
    internal::ReadOptions(reader, table, read->values);
    return read;
  }
  std::string Lines() const override { return internal::OptionLines(table, values); }
  std::vector<OptionDescription> Describe() const override {
    return internal::DescribeOptions("", table, values);
  }

  C values;
  const internal::OptionTable<C>& table;
};

/// The options of an entry: a struct with its defaults, and the table of its members, which must
/// stay.
template <class C>
OwnOptions MakeOwnOptions(C defaults, const internal::OptionTable<C>& table) {
  return OwnOptions(std::make_shared<const OwnValues<C>>(std::move(defaults), table));
}

/// The struct; it must be the one that the entry's options were made from.
template <class C>
const C& ValuesOf(const OwnOptions& options) {
  return dynamic_cast<const OwnValues<C>&>(*options.held()).values;
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_OWN_OPTIONS_H_
