#include "kudari/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "io/file.h"
#include "io/safetensors_header.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/state.h"

namespace kudari {

using internal::AtomicFile;
using internal::InputFile;

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

// A sparse file can be larger than all memory.
std::unique_ptr<std::byte[]> Allocated(uint64_t size, const std::string& file) {
  std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[size]);
  if (bytes == nullptr) {
    throw Error(file + ": needs " + std::to_string(size) +
                " bytes of memory, more than is available");
  }
  return bytes;
}

}  // namespace

int64_t SafeTensor::Size() const {
  int64_t size = 1;
  for (const int64_t n : shape) size *= n;
  return size;
}

SafeTensorsFile::SafeTensorsFile(const std::filesystem::path& path) : file_(path.string()) {
  InputFile in(path);
  Load(in.size(), [&in](void* to, size_t size) { in.Read(to, size); });
}

SafeTensorsFile::SafeTensorsFile(std::span<const std::byte> bytes, std::string_view name)
    : file_(name) {
  Load(bytes.size(), [&](void* to, size_t size) {
    if (size > 0) std::memcpy(to, bytes.data(), size);
    bytes = bytes.subspan(size);
  });
}

void SafeTensorsFile::Load(uint64_t file_size, const Reader& read) {
  internal::SafeTensorsHeader header = internal::ReadSafeTensorsHeader(file_size, read, file_);
  metadata_ = std::move(header.metadata);
  data_ = Allocated(header.data_bytes, file_);
  read(data_.get(), header.data_bytes);
  for (internal::StoredTensor& entry : header.tensors) {
    index_.emplace(entry.name, tensors_.size());
    tensors_.emplace_back(
        std::move(entry.name), Name(entry.type), std::move(entry.shape),
        std::span(data_.get() + entry.begin, static_cast<size_t>(entry.end - entry.begin)));
  }
  Align(header.data_bytes);
}

// The format lets a tensor start anywhere, say three bytes after a mask of three. Where that leaves
// one misaligned for its dtype, all are laid out again.
void SafeTensorsFile::Align(uint64_t data_size) {
  constexpr size_t kStep = 8;
  const auto misaligned = [&](const SafeTensor& t) {
    return (t.bytes.data() - data_.get()) % Bytes(*FindElementType(t.dtype)) != 0;
  };
  if (std::ranges::none_of(tensors_, misaligned)) return;
  auto aligned = Allocated(data_size + (kStep - 1) * tensors_.size(), file_);
  std::byte* at = aligned.get();
  for (SafeTensor& t : tensors_) {
    std::ranges::copy(t.bytes, at);
    t.bytes = {at, t.bytes.size()};
    at += (t.bytes.size() + kStep - 1) / kStep * kStep;
  }
  data_ = std::move(aligned);
}

bool SafeTensorsFile::Contains(std::string_view name) const { return index_.contains(name); }

const SafeTensor& SafeTensorsFile::Find(std::string_view name) const {
  const auto found = index_.find(name);
  if (found != index_.end()) return tensors_[found->second];
  std::vector<std::string> names;
  for (const SafeTensor& t : tensors_) names.push_back(t.name);
  throw Error(file_ + ": has no tensor " + Quoted(name) + Suggest(name, names));
}

std::span<const float> SafeTensorsFile::Floats(std::string_view name) const {
  const SafeTensor& t = Find(name);
  if (t.dtype != "F32") {
    throw Error(file_ + ": tensor " + Quoted(name) + " is " + t.dtype + ", but must be F32");
  }
  return {reinterpret_cast<const float*>(t.bytes.data()), t.bytes.size() / sizeof(float)};
}

namespace {

// The values of a tensor of C++ type T as integers; false at the first that is not an int64.
template <class T>
bool ToIntegers(std::span<const std::byte> bytes, std::vector<int64_t>& out) {
  const std::span values(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T));
  out.reserve(values.size());
  for (const T value : values) {
    if constexpr (std::is_same_v<T, float>) {
      // Written so that a NaN fails too.
      if (!(value >= -0x1p63F && value < 0x1p63F && value == std::trunc(value))) return false;
    } else if (!std::in_range<int64_t>(value)) {
      return false;
    }
    out.push_back(static_cast<int64_t>(value));
  }
  return true;
}

}  // namespace

std::vector<int64_t> SafeTensorsFile::Integers(std::string_view name) const {
  const SafeTensor& t = Find(name);
  using Convert = bool (*)(std::span<const std::byte>, std::vector<int64_t>&);
  static const std::map<std::string_view, Convert> kConverters = {
      {"BOOL", ToIntegers<uint8_t>}, {"U8", ToIntegers<uint8_t>},   {"I8", ToIntegers<int8_t>},
      {"U16", ToIntegers<uint16_t>}, {"I16", ToIntegers<int16_t>},  {"U32", ToIntegers<uint32_t>},
      {"I32", ToIntegers<int32_t>},  {"U64", ToIntegers<uint64_t>}, {"I64", ToIntegers<int64_t>},
      {"F32", ToIntegers<float>}};
  const auto convert = kConverters.find(t.dtype);
  if (convert == kConverters.end()) {
    throw Error(file_ + ": tensor " + Quoted(name) + " is " + t.dtype +
                ", but must be of an integer type or F32");
  }
  std::vector<int64_t> values;
  if (!convert->second(t.bytes, values)) {
    throw Error(file_ + ": tensor " + Quoted(name) + " has at index " +
                std::to_string(values.size()) + " a value that is not an int64");
  }
  return values;
}

void WriteSafeTensors(const std::filesystem::path& path, std::span<const SafeTensor> tensors,
                      const std::map<std::string, std::string>& metadata) {
  const std::string header = internal::SafeTensorsHeaderText(tensors, metadata, path.string());
  AtomicFile out(path);
  out.Write(header.data(), header.size());
  for (const SafeTensor& t : tensors) out.Write(t.bytes.data(), t.bytes.size());
  out.Commit();
}

}  // namespace kudari
