#include "lab/data/parts/tokens.h"

#include <fcntl.h>
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

#include "kudari/error.h"
#include "kudari/messages.h"

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

// A file that is read in pieces. Mapped memory would do the same, but a file that is cut short
// while it is in use, or a disk that fails, would end the process.
class OpenFile {
 public:
  explicit OpenFile(const fs::path& path) : path_(path.string()) {
    descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) Fail(std::strerror(errno));
    struct stat status = {};
    const bool regular = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
    size_ = static_cast<size_t>(status.st_size);
    if (regular && size_ > 0) return;
    close(descriptor_);
    Fail(regular ? "is empty" : "is not a regular file");
  }
  ~OpenFile() { close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  size_t size() const { return size_; }
  // Throws Error if the file has less than it had.
  void Read(size_t begin, std::span<std::byte> to) const {
    for (size_t done = 0; done < to.size();) {
      const ssize_t count =
          pread(descriptor_, to.data() + done, to.size() - done, static_cast<off_t>(begin + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) Fail(std::strerror(errno));
      if (count == 0) FailChanged();
      done += static_cast<size_t>(count);
    }
  }
  [[noreturn]] void Fail(const std::string& what) const { throw Error(path_ + ": " + what); }
  [[noreturn]] void FailChanged() const { Fail("was changed while it was in use"); }

 private:
  std::string path_;
  int descriptor_ = -1;
  size_t size_ = 0;
};

template <class T>
class FileTokens : public TokenStream {
 public:
  FileTokens(std::unique_ptr<OpenFile> file, size_t header, int64_t vocabulary)
      : file_(std::move(file)), header_(header), vocabulary_(vocabulary) {
    Check();
  }

  int64_t size() const override {
    return static_cast<int64_t>((file_->size() - header_) / sizeof(T));
  }
  void Read(int64_t begin, std::span<int64_t> to) const override {
    if (Load(begin, to) != to.end()) file_->FailChanged();
  }

 private:
  // The first of the tokens that is not in the vocabulary.
  std::span<int64_t>::iterator Load(int64_t begin, std::span<int64_t> to) const {
    std::vector<T> tokens(to.size());
    file_->Read(header_ + static_cast<size_t>(begin) * sizeof(T),
                std::as_writable_bytes(std::span(tokens)));
    std::ranges::copy(tokens, to.begin());
    return std::ranges::find_if(to, [this](int64_t token) { return token >= vocabulary_; });
  }

  void Check() const {
    constexpr int64_t kPiece = 1 << 16;
    std::vector<int64_t> memory(static_cast<size_t>(std::min(kPiece, size())));
    for (int64_t begin = 0; begin < size(); begin += kPiece) {
      const std::span<int64_t> piece(memory.data(),
                                     static_cast<size_t>(std::min(kPiece, size() - begin)));
      const auto bad = Load(begin, piece);
      if (bad == piece.end()) continue;
      file_->Fail("token " + std::to_string(begin + (bad - piece.begin())) + " is " +
                  std::to_string(*bad) + ", which is outside [0, " + std::to_string(vocabulary_) +
                  "), data.vocabulary");
    }
  }

  std::unique_ptr<OpenFile> file_;
  size_t header_;
  int64_t vocabulary_;
};

constexpr size_t kHeaderIntegers = 256;
constexpr int32_t kMagic = 20240520, kShort = 1, kLong = 7;

// What the file says it is, an array of integers, or nothing if it has no header.
std::array<int32_t, 3> HeaderOf(const OpenFile& file) {
  std::array<int32_t, 3> header = {};
  if (file.size() >= kHeaderIntegers * sizeof(int32_t)) {
    file.Read(0, std::as_writable_bytes(std::span(header)));
  }
  return header[0] == kMagic ? header : std::array<int32_t, 3>();
}

}  // namespace

std::shared_ptr<const TokenStream> InMemory(std::vector<int32_t> tokens) {
  return std::make_shared<MemoryTokens>(std::move(tokens));
}

std::shared_ptr<const TokenStream> OpenTokens(const fs::path& path, int64_t vocabulary) {
  auto file = std::make_unique<OpenFile>(path);
  const auto [magic, version, count] = HeaderOf(*file);
  const size_t header = magic == 0 ? 0 : kHeaderIntegers * sizeof(int32_t);
  const size_t width = magic != 0 && version == kLong ? sizeof(uint32_t) : sizeof(uint16_t);
  const size_t rest = file->size() - header;
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
    return std::make_shared<FileTokens<uint32_t>>(std::move(file), header, vocabulary);
  }
  return std::make_shared<FileTokens<uint16_t>>(std::move(file), header, vocabulary);
}

Split Pieces(std::shared_ptr<const TokenStream> tokens, int64_t begin, int64_t end,
             int64_t context) {
  Split split{.tokens = std::move(tokens)};
  for (int64_t at = begin; at + context < end; at += context) split.begins.push_back(at);
  split.samples = std::ssize(split.begins);
  return split;
}

std::array<int64_t, 2> PartEnds(int64_t size, double validation, double test) {
  const auto share = [size](double part) {
    return static_cast<int64_t>(std::llround(part * static_cast<double>(size)));
  };
  const int64_t test_begin = size - share(test);
  return {test_begin - share(validation), test_begin};
}

void SplitStream(Dataset& data, const std::shared_ptr<const TokenStream>& tokens,
                 const std::array<int64_t, 2>& ends, double validation, double test) {
  const int64_t context = data.shape.at(0), size = tokens->size();
  const auto part = [&](const std::string& what, int64_t begin, int64_t end, double share) {
    Split split = Pieces(tokens, begin, end, context);
    if (split.samples > 0 || share == 0) return split;
    throw Error("data.context = " + std::to_string(context) + " is too long: the " + what +
                " part has " + std::to_string(end - begin) + " of the " + std::to_string(size) +
                " tokens of " + data.name + ", and a sample needs " + std::to_string(context + 1));
  };
  data.train = part("training", 0, ends[0], 1);
  data.validation = part("validation", ends[0], ends[1], validation);
  data.test = part("test", ends[1], size, test);
}

}  // namespace kudari::lab
