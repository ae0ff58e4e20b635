#include "lab/data/parts/fetch.h"

#include <filesystem>

#include "kudari/error.h"
#include "lab/data/parts/data_sources.h"
#include "lab/files/archive.h"
#include "lab/files/download.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

std::string AddressOf(const Download& file, const std::string& mirror) {
  if (mirror.empty()) return file.address;
  return mirror + (mirror.ends_with('/') ? "" : "/") +
         file.address.substr(file.address.rfind('/') + 1);
}

}  // namespace

void FetchData(const DataSource& source, const fs::path& folder, const std::string& mirror,
               const FetchObserver& observer) {
  try {
    fs::create_directories(folder);
    for (const Download& file : source.files) {
      if (IsComplete({.files = {file}}, folder)) continue;
      const std::string address = AddressOf(file, mirror);
      const auto told = [&](int64_t done, int64_t total) {
        if (observer) observer(address, done, total);
      };
      const fs::path name =
          file.archive ? file.address.substr(file.address.rfind('/') + 1) : file.kept.at(0);
      const fs::path to = folder / name;
      DownloadFile({.address = address, .checksum = file.checksum, .bytes = file.bytes}, to, told);
      if (!file.archive) continue;
      if (file.inner.empty()) {
        UnpackMembers(to, file.kept, folder);
      } else {
        UnpackMembers(to, {file.inner}, folder);
        const fs::path inner = folder / fs::path(file.inner).filename();
        UnpackMembers(inner, file.kept, folder);
        fs::remove(inner);
      }
      fs::remove(to);
    }
  } catch (const fs::filesystem_error& e) {
    throw Error(e.path1().string() + ": " + e.code().message());
  }
}

}  // namespace kudari::lab
