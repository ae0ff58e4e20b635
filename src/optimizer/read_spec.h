#ifndef KUDARI_OPTIMIZER_READ_SPEC_H_
#define KUDARI_OPTIMIZER_READ_SPEC_H_

#include "core/toml_table.h"
#include "kudari/registry.h"
#include "kudari/spec.h"

namespace kudari::internal {

/// Reads the spec from the [optimizer] table of a document; `root` is the reader of the document.
/// Throws the same errors as ParseRecipe.
OptimizerSpec ReadSpec(TableReader& root, const Registry& registry = Registry::Builtin());

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_READ_SPEC_H_
