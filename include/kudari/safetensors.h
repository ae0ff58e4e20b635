#ifndef KUDARI_SAFETENSORS_H_
#define KUDARI_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/language.h"

namespace kudari {

/// A tensor in a safetensors file, or one to be written.
struct SafeTensor {
  /// A tensor of any dtype over existing bytes.
  SafeTensor(std::string name, std::string_view dtype, std::vector<int64_t> shape,
             std::span<const std::byte> bytes)
      : name(std::move(name)), dtype(dtype), shape(std::move(shape)), bytes(bytes) {}
  /// A float32 tensor.
  SafeTensor(std::string name, std::vector<int64_t> shape, std::span<const float> values)
      : SafeTensor(std::move(name), "F32", std::move(shape), std::as_bytes(values)) {}

  std::string name;
  std::string dtype;  ///< as the format spells it: "F32", "I64", ...; see ElementType
  std::vector<int64_t> shape;
  /// Row-major, little-endian. The bytes of a tensor in a file are aligned for its dtype and live
  /// as long as the file object.
  std::span<const std::byte> bytes;

  /// Number of elements.
  int64_t Size() const;
};

/// A safetensors file, read completely. The header is validated in full: its length (at most 100 MB
/// and within the file), valid JSON without duplicate keys, known dtypes, sizes that do not
/// overflow, and ranges that cover the data exactly, without overlaps or gaps. Movable, not
/// copyable.
class SafeTensorsFile {
 public:
  /// Throws Error naming the file and what is wrong with it.
  explicit SafeTensorsFile(const std::filesystem::path& path);
  /// Parses a copy of bytes in memory; `name` stands for the file in messages.
  SafeTensorsFile(std::span<const std::byte> bytes, std::string_view name);

  /// The tensors in the order of their data.
  const std::vector<SafeTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Whether the file has a tensor of that name.
  bool Contains(std::string_view name) const;
  /// Returns a tensor. Throws Error naming the file and the nearest name if there is none.
  const SafeTensor& Find(std::string_view name) const;
  /// The values of a float32 tensor. Throws Error for another dtype.
  std::span<const float> Floats(std::string_view name) const;
  /// The values of a tensor of any integer type or BOOL, or of a float32 tensor that holds only
  /// integers. Throws Error for another dtype and for a value outside int64.
  std::vector<int64_t> Integers(std::string_view name) const;

 private:
  // Reads the next bytes of the file.
  using Reader = std::function<void(void* to, size_t size)>;
  void Load(uint64_t file_size, const Reader& read);
  void Align(uint64_t data_size);

  std::string file_;
  std::unique_ptr<std::byte[]> data_;  // the data alone, so that its start is aligned
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Reads the index of a model in several files, as Hugging Face's libraries write it: the file of
/// each tensor by the tensor's name. Files are named relative to the index. Throws Error naming the
/// index and what is wrong with it, also for a name that leaves its folder.
std::map<std::string, std::string> ReadSafeTensorsIndex(const std::filesystem::path& path);

/// The same from the text of an index; `name` stands for the file in messages.
std::map<std::string, std::string> ParseSafeTensorsIndex(std::string_view text,
                                                         std::string_view name);

/// Writes a safetensors file with the tensors in the order given and the data aligned to 64 bytes.
/// The file appears under its name only when it is complete: a temporary file beside it is written,
/// synced and renamed, and a failure leaves the previous file in place. A symbolic link is
/// followed, and an existing file keeps its permissions. Throws Error for a name that is
/// duplicated, empty or "__metadata__", for an unknown dtype, for a size that does not match the
/// shape, and for failures reported by the system.
void WriteSafeTensors(const std::filesystem::path& path, std::span<const SafeTensor> tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace kudari

#endif  // KUDARI_SAFETENSORS_H_
