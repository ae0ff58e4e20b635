// States as files have them: arrays and texts by path.
#ifndef KUDARI_IO_STATE_ENTRIES_H_
#define KUDARI_IO_STATE_ENTRIES_H_

#include <map>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "kudari/state.h"

namespace kudari::internal {

/// The metadata that says that a file is of a state.
inline constexpr const char* kStateVersion = "kudari.state";

struct StateEntries {
  std::vector<SafeTensor> arrays;               ///< named by their paths; the bytes are the state's
  std::map<std::string, std::string> metadata;  ///< the scalars as texts, and the format's version
};

/// Takes a state apart. Throws Error for names that WriteState refuses; `file` is for messages.
StateEntries EntriesOf(const StateTree& state, const std::string& file);

/// Puts a value where there is none yet. Throws Error if there is one, or no place for one.
void PutEntry(StateTree& state, const std::string& file, const std::string& path, StateTree value);

/// Puts all scalars of a file's metadata into the state. Throws Error for another version.
void PutScalars(StateTree& state, const std::map<std::string, std::string>& metadata,
                const std::string& file);

}  // namespace kudari::internal

#endif  // KUDARI_IO_STATE_ENTRIES_H_
