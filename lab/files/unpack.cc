#include "lab/files/unpack.h"

#include <lzma.h>
#include <zlib.h>

#include <functional>
#include <new>
#include <string_view>

#include "kudari/error.h"
#include "lab/files/text_file.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

/// Takes what is unpacked, part by part.
using Sink = std::function<void(std::string_view part)>;

constexpr size_t kPart = size_t{1} << 16;

[[noreturn]] void ThrowDamaged(const fs::path& path, bool truncated) {
  throw Error(path.string() + (truncated ? ": is truncated" : ": is damaged"));
}

void Gunzip(std::string_view packed, const fs::path& path, const Sink& sink) {
  z_stream stream = {};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK)
    throw Error(path.string() + ": zlib is out of memory");
  struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } const end{&stream};
  // zlib's interface is not const-correct; it only reads.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string part(kPart, '\0');
  while (true) {
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = static_cast<uInt>(part.size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    sink(std::string_view(part).substr(0, part.size() - stream.avail_out));
    if (result == Z_STREAM_END) {
      // A gzip file may be several, one after the other.
      if (stream.avail_in == 0) return;
      if (inflateReset(&stream) != Z_OK) ThrowDamaged(path, false);
    } else if (result != Z_OK || (stream.avail_in == 0 && stream.avail_out > 0)) {
      ThrowDamaged(path, result == Z_OK || result == Z_BUF_ERROR);
    }
  }
}

void Unxz(std::string_view packed, const fs::path& path, const Sink& sink) {
  constexpr uint64_t kMostMemory = uint64_t{1} << 28;  // a file may ask for 4 GiB
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMostMemory, LZMA_CONCATENATED) != LZMA_OK) {
    throw Error(path.string() + ": liblzma is out of memory");
  }
  struct End {
    lzma_stream* stream;
    ~End() { lzma_end(stream); }
  } const end{&stream};
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string part(kPart, '\0');
  lzma_ret result = LZMA_OK;
  while (result == LZMA_OK) {
    stream.next_out = reinterpret_cast<uint8_t*>(part.data());
    stream.avail_out = part.size();
    result = lzma_code(&stream, LZMA_FINISH);
    sink(std::string_view(part).substr(0, part.size() - stream.avail_out));
  }
  if (result == LZMA_MEM_ERROR) throw std::bad_alloc();
  if (result == LZMA_MEMLIMIT_ERROR) {
    throw Error(path.string() + ": takes " + std::to_string(lzma_memusage(&stream)) +
                " bytes of memory to be unpacked, which is outside [0, " +
                std::to_string(kMostMemory) + "]");
  }
  if (result != LZMA_STREAM_END) ThrowDamaged(path, result == LZMA_BUF_ERROR);
}

/// Unpacks twice, so that the size is known before there is memory for it.
std::string Unpacked(const fs::path& path,
                     void (*unpack)(std::string_view packed, const fs::path&, const Sink&)) {
  const std::string packed = ReadTextFile(path);
  size_t size = 0;
  unpack(packed, path, [&](std::string_view part) {
    size += part.size();
    if (size <= kMostRead) return;
    throw Error(path.string() + ": unpacks to more than " + std::to_string(kMostRead) + " bytes");
  });
  std::string contents;
  contents.reserve(size);
  unpack(packed, path, [&contents](std::string_view part) { contents += part; });
  return contents;
}

}  // namespace

std::string ReadUnpacked(const std::filesystem::path& path) {
  if (path.extension() == ".gz") return Unpacked(path, &Gunzip);
  if (path.extension() == ".xz") return Unpacked(path, &Unxz);
  return ReadTextFile(path);
}

}  // namespace kudari::lab
