#include "lab/data/parts/tokens.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "core/suggest.h"
#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

class MemoryTokens : public TokenStream {
 public:
  explicit MemoryTokens(std::vector<int32_t> tokens) : tokens_(std::move(tokens)) {}

  int64_t size() const override { return std::ssize(tokens_); }
  void Read(int64_t begin, std::span<int64_t> to) const override {
    std::copy_n(tokens_.begin() + begin, to.size(), to.begin());
  }

 private:
  std::vector<int32_t> tokens_;
};

// The bytes of a file, mapped for reading.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) : path_(path.string()) {
    const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) Fail(std::strerror(errno));
    struct stat status = {};
    const bool known = fstat(fd, &status) == 0;
    const bool regular = known && S_ISREG(status.st_mode);
    const auto size = static_cast<size_t>(known ? status.st_size : 0);
    void* const memory =
        regular && size > 0 ? mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    const int error = errno;
    close(fd);
    if (!regular) Fail("is not a regular file");
    if (size == 0) Fail("is empty");
    if (memory == MAP_FAILED) Fail(std::strerror(error));
    bytes_ = {static_cast<const std::byte*>(memory), size};
  }
  ~MappedFile() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  [[noreturn]] void Fail(const std::string& what) const { throw Error(path_ + ": " + what); }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

template <class T>
class MappedTokens : public TokenStream {
 public:
  MappedTokens(std::unique_ptr<MappedFile> file, size_t header)
      : file_(std::move(file)), tokens_(file_->bytes().subspan(header)) {}

  int64_t size() const override { return static_cast<int64_t>(tokens_.size() / sizeof(T)); }
  void Read(int64_t begin, std::span<int64_t> to) const override {
    for (size_t i = 0; i < to.size(); ++i) {
      T token;  // which may be at any address
      std::memcpy(&token, tokens_.data() + (static_cast<size_t>(begin) + i) * sizeof(T), sizeof(T));
      to[i] = token;
    }
  }

 private:
  std::unique_ptr<MappedFile> file_;
  std::span<const std::byte> tokens_;
};

constexpr size_t kHeaderIntegers = 256;
constexpr int32_t kMagic = 20240520, kShort = 1, kLong = 7;

// What the file says it is, an array of integers, or nothing if it has no header.
std::array<int32_t, 3> HeaderOf(std::span<const std::byte> bytes) {
  std::array<int32_t, 3> header = {};
  if (bytes.size() >= kHeaderIntegers * sizeof(int32_t)) {
    std::memcpy(header.data(), bytes.data(), sizeof header);
  }
  return header[0] == kMagic ? header : std::array<int32_t, 3>();
}

std::shared_ptr<const TokenStream> Open(std::unique_ptr<MappedFile> file) {
  const auto [magic, version, count] = HeaderOf(file->bytes());
  const size_t header = magic == 0 ? 0 : kHeaderIntegers * sizeof(int32_t);
  const size_t width = magic != 0 && version == kLong ? sizeof(uint32_t) : sizeof(uint16_t);
  const size_t rest = file->bytes().size() - header;
  if (magic != 0 && version != kShort && version != kLong) {
    file->Fail("is a token file of version " + std::to_string(version) +
               ", but must have version 1 (uint16) or 7 (uint32)");
  }
  if (rest % width != 0) {
    file->Fail("has " + std::to_string(rest) + " bytes of tokens, which is not a multiple of " +
               std::to_string(width));
  }
  if (magic != 0 && rest / width != static_cast<size_t>(static_cast<uint32_t>(count))) {
    file->Fail("has " + std::to_string(rest / width) + " tokens, but says that it has " +
               std::to_string(static_cast<uint32_t>(count)));
  }
  if (width == sizeof(uint32_t)) {
    return std::make_shared<MappedTokens<uint32_t>>(std::move(file), header);
  }
  return std::make_shared<MappedTokens<uint16_t>>(std::move(file), header);
}

void CheckTokens(const fs::path& path, const TokenStream& tokens, int64_t vocabulary) {
  constexpr int64_t kPiece = 1 << 16;
  std::vector<int64_t> piece(static_cast<size_t>(std::min(kPiece, tokens.size())));
  for (int64_t begin = 0; begin < tokens.size(); begin += kPiece) {
    const auto count = static_cast<size_t>(std::min(kPiece, tokens.size() - begin));
    tokens.Read(begin, {piece.data(), count});
    const auto end = piece.begin() + static_cast<std::ptrdiff_t>(count);
    const auto bad = std::find_if(piece.begin(), end, [&](int64_t t) { return t >= vocabulary; });
    if (bad == end) continue;
    throw Error(path.string() + ": token " + std::to_string(begin + (bad - piece.begin())) +
                " is " + std::to_string(*bad) + ", which is outside [0, " +
                std::to_string(vocabulary) + "), data.vocabulary");
  }
}

}  // namespace

std::shared_ptr<const TokenStream> InMemory(std::vector<int32_t> tokens) {
  return std::make_shared<MemoryTokens>(std::move(tokens));
}

std::shared_ptr<const TokenStream> MapTokens(const fs::path& path, int64_t vocabulary) {
  auto tokens = Open(std::make_unique<MappedFile>(path));
  CheckTokens(path, *tokens, vocabulary);
  return tokens;
}

Split Pieces(std::shared_ptr<const TokenStream> tokens, int64_t begin, int64_t end,
             int64_t context) {
  Split split{.tokens = std::move(tokens)};
  for (int64_t at = begin; at + context < end; at += context) split.begins.push_back(at);
  split.samples = std::ssize(split.begins);
  return split;
}

void SplitStream(Dataset& data, const std::shared_ptr<const TokenStream>& tokens, double validation,
                 double test) {
  const int64_t context = data.shape.at(0), size = tokens->size();
  const auto share = [size](double part) {
    return static_cast<int64_t>(std::llround(part * static_cast<double>(size)));
  };
  const int64_t test_begin = size - share(test);
  const int64_t validation_begin = test_begin - share(validation);
  data.train = Pieces(tokens, 0, validation_begin, context);
  data.validation = Pieces(tokens, validation_begin, test_begin, context);
  data.test = Pieces(tokens, test_begin, size, context);
  const auto check = [&](const Split& split, const std::string& what, double part) {
    if (split.samples > 0 || part == 0) return;
    throw Error("data.context = " + std::to_string(context) + " is too long: the " + what +
                " part has " + std::to_string(share(part)) + " of the " + std::to_string(size) +
                " tokens of " + data.name + ", and a sample needs " + std::to_string(context + 1));
  };
  check(data.train, "training", 1 - validation - test);
  check(data.validation, "validation", validation);
  check(data.test, "test", test);
}

}  // namespace kudari::lab
