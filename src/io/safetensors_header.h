// The headers of safetensors files.
#ifndef KUDARI_IO_SAFETENSORS_HEADER_H_
#define KUDARI_IO_SAFETENSORS_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "kudari/state.h"

namespace kudari::internal {

/// A tensor as a header describes it; the offsets are from the start of the data.
struct StoredTensor {
  std::string name;
  ElementType type;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

struct SafeTensorsHeader {
  std::vector<StoredTensor> tensors;  ///< in the order of their data, which they cover exactly
  std::map<std::string, std::string> metadata;
  uint64_t data_bytes = 0;
};

/// Reads the next bytes of a file.
using ByteReader = std::function<void(void* to, size_t size)>;

/// Reads and validates the header of a file of `file_size` bytes; what follows is the data. Throws
/// Error; `file` is its name in messages.
SafeTensorsHeader ReadSafeTensorsHeader(uint64_t file_size, const ByteReader& read,
                                        const std::string& file);

/// The bytes that a file of these tensors starts with: the header's length and the header, padded
/// so that the data is aligned. Throws Error, see WriteSafeTensors.
std::string SafeTensorsHeaderText(std::span<const SafeTensor> tensors,
                                  const std::map<std::string, std::string>& metadata,
                                  const std::string& file);

}  // namespace kudari::internal

#endif  // KUDARI_IO_SAFETENSORS_HEADER_H_
