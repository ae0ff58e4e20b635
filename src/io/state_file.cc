#include "kudari/state_file.h"

#include <string>

#include "io/state_entries.h"

namespace kudari {

void WriteState(const std::filesystem::path& path, const StateTree& state) {
  const internal::StateEntries entries = internal::EntriesOf(state, path.string());
  WriteSafeTensors(path, entries.arrays, entries.metadata);
}

StateTree ReadState(const std::filesystem::path& path) {
  return StateOf(SafeTensorsFile(path), path.string());
}

StateTree StateOf(const SafeTensorsFile& file, std::string_view name) {
  const std::string shown(name);
  StateTree state;
  internal::PutScalars(state, file.metadata(), shown);
  for (const SafeTensor& t : file.tensors()) {
    internal::PutEntry(state, shown, t.name,
                       StateArray{*FindElementType(t.dtype), t.shape, t.bytes});
  }
  return state;
}

}  // namespace kudari
