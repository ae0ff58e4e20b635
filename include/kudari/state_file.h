#ifndef KUDARI_STATE_FILE_H_
#define KUDARI_STATE_FILE_H_

#include <filesystem>

#include "kudari/safetensors.h"
#include "kudari/state.h"

namespace kudari {

/// Writes a state as a safetensors file, completely or not at all, as WriteSafeTensors does. Arrays
/// become tensors named by their paths. Scalars become metadata under their paths, with their type
/// in front:
///
///     "tensors/fc.weight/step": "int64 12"        "scale": "double 65536"
///     "seed": "uint64 7"     "warm": "bool true"  "schedule": "string 0.1 * warmup(5)"
///
/// Doubles are written so that they read back exactly ("double nan 7ff8000000000000"); nodes
/// without members are not written. The metadata "kudari.state" is the version of this mapping,
/// "1". Throws Error for names that are not UTF-8, for nodes more than 100 deep, for a root member
/// called "kudari.state" or "__metadata__", and for failures reported by the system.
void WriteState(const std::filesystem::path& path, const StateTree& state);

/// Reads such a file. Throws Error naming the file and what is wrong with it.
StateTree ReadState(const std::filesystem::path& path);
/// Reads the state from an opened file; `name` stands for the file in messages.
StateTree StateOf(const SafeTensorsFile& file, std::string_view name);

}  // namespace kudari

#endif  // KUDARI_STATE_FILE_H_
