#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

ModelTraits TraitsOf(const ModelConfig& config) {
  return config.entry->traits ? config.entry->traits(config) : ModelTraits();
}

void OwnOptions::Read(internal::TableReader& reader) {
  if (held_) held_ = held_->Read(reader);
}

std::string OwnOptions::Lines() const { return held_ ? held_->Lines() : ""; }

std::vector<OptionDescription> OwnOptions::Describe() const {
  return held_ ? held_->Describe() : std::vector<OptionDescription>();
}

ModelEntry Built(ModelEntry entry, ModelEntry::Builder* build) {
  entry.build = build;
  return entry;
}

}  // namespace kudari::lab
