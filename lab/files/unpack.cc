#include "lab/files/unpack.h"

#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <fstream>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestFile = size_t{1} << 30;  // unpacked: nothing that is read comes near

std::string ReadPlain(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) throw Error(path.string() + ": cannot be read: " + error.message());
  if (size > kLargestFile) throw Error(path.string() + ": is larger than 1 GiB");
  std::string bytes(size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(bytes.data(), std::ssize(bytes))) throw Error(path.string() + ": cannot be read");
  return bytes;
}

// Makes room for more output behind the first `used` bytes.
void Grow(std::string& out, size_t used, const fs::path& path) {
  if (used >= kLargestFile) throw Error(path.string() + ": unpacks to more than 1 GiB");
  out.resize(std::clamp<size_t>(2 * used, size_t{1} << 16, kLargestFile));
}

[[noreturn]] void ThrowDamaged(const fs::path& path, bool truncated) {
  throw Error(path.string() + (truncated ? ": is truncated" : ": is damaged"));
}

std::string Gunzip(const std::string& packed, const fs::path& path) {
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
  std::string out;
  size_t used = 0;
  while (true) {
    if (used == out.size()) Grow(out, used, path);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + used);
    stream.avail_out = static_cast<uInt>(out.size() - used);
    const int result = inflate(&stream, Z_NO_FLUSH);
    used = out.size() - stream.avail_out;
    if (result == Z_STREAM_END) {
      // A gzip file may be several, one after the other.
      if (stream.avail_in == 0) break;
      if (inflateReset(&stream) != Z_OK) ThrowDamaged(path, false);
    } else if (result != Z_OK || (stream.avail_in == 0 && stream.avail_out > 0)) {
      ThrowDamaged(path, result == Z_OK || result == Z_BUF_ERROR);
    }
  }
  out.resize(used);
  return out;
}

std::string Unxz(const std::string& packed, const fs::path& path) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK) {
    throw Error(path.string() + ": liblzma is out of memory");
  }
  struct End {
    lzma_stream* stream;
    ~End() { lzma_end(stream); }
  } const end{&stream};
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string out;
  lzma_ret result = LZMA_OK;
  size_t used = 0;
  while (result == LZMA_OK) {
    if (used == out.size()) Grow(out, used, path);
    stream.next_out = reinterpret_cast<uint8_t*>(out.data() + used);
    stream.avail_out = out.size() - used;
    result = lzma_code(&stream, LZMA_FINISH);
    used = out.size() - stream.avail_out;
  }
  if (result != LZMA_STREAM_END) ThrowDamaged(path, result == LZMA_BUF_ERROR);
  out.resize(used);
  return out;
}

}  // namespace

std::string ReadUnpacked(const std::filesystem::path& path) {
  std::string bytes = ReadPlain(path);
  if (path.extension() == ".gz") return Gunzip(bytes, path);
  if (path.extension() == ".xz") return Unxz(bytes, path);
  return bytes;
}

}  // namespace kudari::lab
