#ifndef KUDARI_OPTIMIZER_READ_SPEC_H_
#define KUDARI_OPTIMIZER_READ_SPEC_H_

#include "core/toml_table.h"
#include "kudari/registry.h"
#include "kudari/spec.h"

namespace kudari::internal {

/// The spec that the table [optimizer] of a document describes, as ParseRecipe reads it; `root` is
/// the reader of the document. Throws Error as ParseRecipe.
OptimizerSpec ReadSpec(TableReader& root, const Registry& registry = Registry::Builtin());

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_READ_SPEC_H_
