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

namespace kudari {

/// A tensor in a safetensors file, or one to write.
struct SafeTensor {
  SafeTensor(std::string name, std::string_view dtype, std::vector<int64_t> shape,
             std::span<const std::byte> bytes)
      : name(std::move(name)), dtype(dtype), shape(std::move(shape)), bytes(bytes) {}
  /// One of float32.
  SafeTensor(std::string name, std::vector<int64_t> shape, std::span<const float> values)
      : SafeTensor(std::move(name), "F32", std::move(shape), std::as_bytes(values)) {}

  std::string name;
  std::string dtype;  ///< as the format writes it: "F32", "I64", ...; see ElementType
  std::vector<int64_t> shape;
  /// Row-major, little-endian. Of a file they are aligned for the dtype and live as long as it.
  std::span<const std::byte> bytes;

  /// Number of elements.
  int64_t Size() const;
};

/// A safetensors file, read whole. The header is checked completely: its length (at most 100 MB and
/// within the file), valid JSON without duplicate keys, known dtypes, sizes that do not overflow,
/// and ranges that cover the data exactly, without overlap or holes. Movable, not copyable.
class SafeTensorsFile {
 public:
  /// Throws Error naming the file and what is wrong with it.
  explicit SafeTensorsFile(const std::filesystem::path& path);
  /// The same over bytes in memory, which are copied; `name` stands for the file in messages.
  SafeTensorsFile(std::span<const std::byte> bytes, std::string_view name);

  /// In the order of the data.
  const std::vector<SafeTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool Contains(std::string_view name) const;
  /// Throws Error naming the file and the nearest name.
  const SafeTensor& Find(std::string_view name) const;
  /// The values of a float32 tensor; throws Error if it is of another dtype.
  std::span<const float> Floats(std::string_view name) const;
  /// The values of a tensor of any integer type or BOOL, or of a float32 tensor that holds only
  /// integers; throws Error for another dtype and for a value that is not an int64.
  std::vector<int64_t> Integers(std::string_view name) const;

 private:
  // Gives the next bytes of the file.
  using Reader = std::function<void(void* to, size_t size)>;
  void Load(uint64_t file_size, const Reader& read);
  void Align(uint64_t data_size);

  std::string file_;
  std::unique_ptr<std::byte[]> data_;  // the data alone, so that its start is aligned
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Writes a safetensors file, tensors in the order given, data aligned to 64 bytes. It appears
/// under its name only when it is complete: it is written beside it, synced and renamed, and a
/// failure leaves what was there. A link is followed, and an existing file keeps its permissions.
/// Throws Error for a name that appears twice, is empty or is "__metadata__", for an unknown dtype,
/// for a size that does not fit the shape, and for what the system reports.
void WriteSafeTensors(const std::filesystem::path& path, std::span<const SafeTensor> tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace kudari

#endif  // KUDARI_SAFETENSORS_H_
