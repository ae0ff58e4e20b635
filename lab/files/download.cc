#include "lab/files/download.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

File Open(const fs::path& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (file == nullptr) throw Error(path.string() + ": " + std::strerror(errno));
  return file;
}

int64_t SizeOf(const fs::path& path) {
  std::error_code none;
  const auto size = fs::file_size(path, none);
  return none ? 0 : static_cast<int64_t>(size);
}

// One try to get the rest of a file.
class Transfer {
 public:
  Transfer(const RemoteFile& remote, const fs::path& part, const TransferObserver& observer)
      : remote_(remote), part_(part), observer_(observer), done_(SizeOf(part)) {}

  // How it ended; `text` says why it failed.
  CURLcode Run(std::string& text) {
    static const CURLcode kReady = curl_global_init(CURL_GLOBAL_DEFAULT);
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                   &curl_easy_cleanup);
    if (kReady != CURLE_OK || curl == nullptr) throw std::bad_alloc();
    std::array<char, CURL_ERROR_SIZE> message = {};
    file_ = Open(part_, "ab");
    const auto set = [&](CURLoption option, auto value) {
      if (curl_easy_setopt(curl.get(), option, value) != CURLE_OK) throw std::bad_alloc();
    };
    set(CURLOPT_URL, remote_.address.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, 10L);
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_CONNECTTIMEOUT, 30L);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);  // bytes per second, for a minute
    set(CURLOPT_LOW_SPEED_TIME, 60L);
    set(CURLOPT_USERAGENT, "kudari");
    set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(done_));
    set(CURLOPT_ERRORBUFFER, message.data());
    set(CURLOPT_WRITEFUNCTION, &Transfer::OnBytes);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    const CURLcode code = curl_easy_perform(curl.get());
    const int closed = std::fclose(file_.release());
    if (closed != 0 && failure_.empty()) failure_ = std::strerror(errno);
    if (!failure_.empty()) throw Error(part_.string() + ": " + failure_);
    text = message[0] != '\0' ? message.data() : curl_easy_strerror(code);
    return code;
  }

 private:
  static size_t OnBytes(const char* bytes, size_t one, size_t count, void* self) {
    return static_cast<Transfer*>(self)->Write(bytes, one * count);
  }

  // Fewer bytes than it is given end the transfer.
  size_t Write(const char* bytes, size_t count) {
    if (done_ + static_cast<int64_t>(count) > remote_.bytes) return 0;
    if (std::fwrite(bytes, 1, count, file_.get()) != count) {
      failure_ = std::strerror(errno);
      return 0;
    }
    done_ += static_cast<int64_t>(count);
    if (observer_) observer_(done_, remote_.bytes);
    return count;
  }

  const RemoteFile& remote_;
  const fs::path& part_;
  const TransferObserver& observer_;
  int64_t done_;
  File file_;
  std::string failure_;  // of writing
};

[[noreturn]] void Fail(const RemoteFile& remote, const std::string& what) {
  throw Error(remote.address + ": " + what);
}

void GetAll(const RemoteFile& remote, const fs::path& part, const TransferObserver& observer) {
  if (SizeOf(part) > remote.bytes) fs::remove(part);
  while (SizeOf(part) < remote.bytes) {
    const int64_t before = SizeOf(part);
    std::string text;
    const CURLcode code = Transfer(remote, part, observer).Run(text);
    const int64_t after = SizeOf(part);
    if (code == CURLE_OK && after == remote.bytes) break;
    const bool refused = code == CURLE_RANGE_ERROR || code == CURLE_HTTP_RETURNED_ERROR;
    if (before > 0 && after == before && refused) {
      fs::remove(part);  // the server cannot go on from there: from the start, then
      continue;
    }
    if (code == CURLE_WRITE_ERROR) {
      fs::remove(part);
      Fail(remote, "has more than the " + std::to_string(remote.bytes) +
                       " bytes that are known of it; nothing was kept");
    }
    if (code == CURLE_OK) {
      fs::remove(part);
      Fail(remote, "has " + std::to_string(after) + " bytes, but must have " +
                       std::to_string(remote.bytes) + "; nothing was kept");
    }
    if (after > before) continue;  // the connection broke
    if (after == 0) fs::remove(part);
    Fail(remote, "cannot be downloaded: " + text +
                     (after > 0 ? "; what is there is kept for another try" : ""));
  }
}

}  // namespace

std::string ChecksumOf(const fs::path& path, bool md5) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned size = 0;
  const auto check = [&](int result) {
    if (result != 1) throw Error(path.string() + ": libcrypto cannot compute the checksum");
  };
  check(context != nullptr ? 1 : 0);
  check(EVP_DigestInit_ex(context.get(), md5 ? EVP_md5() : EVP_sha256(), nullptr));
  const File file = Open(path, "rb");
  std::string part(size_t{1} << 20, '\0');
  while (const size_t count = std::fread(part.data(), 1, part.size(), file.get())) {
    check(EVP_DigestUpdate(context.get(), part.data(), count));
  }
  if (std::ferror(file.get()) != 0) throw Error(path.string() + ": " + std::strerror(errno));
  check(EVP_DigestFinal_ex(context.get(), digest.data(), &size));
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

void DownloadFile(const RemoteFile& remote, const fs::path& file,
                  const TransferObserver& observer) {
  constexpr size_t kMd5Digits = 32;
  const fs::path part = file.string() + ".part";
  GetAll(remote, part, observer);
  const std::string sum = ChecksumOf(part, remote.checksum.size() == kMd5Digits);
  if (sum != remote.checksum) {
    fs::remove(part);
    Fail(remote, "what was downloaded has the checksum " + sum + ", but must have " +
                     remote.checksum + "; nothing was kept");
  }
  fs::rename(part, file);
}

}  // namespace kudari::lab
