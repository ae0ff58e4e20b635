#include "lab/files/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <set>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

[[noreturn]] void Fail(const fs::path& path, const std::string& what) {
  throw Error(path.string() + ": " + what);
}

void Unpack(const fs::path& path, const Reader& reader, const fs::path& to) {
  std::ofstream file(to, std::ios::binary | std::ios::trunc);
  std::string part(size_t{1} << 16, '\0');
  while (true) {
    const auto count = archive_read_data(reader.get(), part.data(), part.size());
    if (count < 0) Fail(path, std::string("is damaged: ") + archive_error_string(reader.get()));
    if (count == 0) break;
    file.write(part.data(), count);
  }
  file.close();
  if (!file) Fail(to, "cannot be written");
}

}  // namespace

void UnpackMembers(const fs::path& archive, const std::vector<std::string>& members,
                   const fs::path& folder) {
  const Reader reader(archive_read_new(), &archive_read_free);
  if (reader == nullptr) throw std::bad_alloc();
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_zip(reader.get());
  const auto part_of = [&folder](const std::string& member) {
    return folder / (fs::path(member).filename().string() + ".part");
  };
  constexpr size_t kBlock = size_t{1} << 16;
  if (archive_read_open_filename(reader.get(), archive.c_str(), kBlock) != ARCHIVE_OK) {
    Fail(archive, std::string("is no archive: ") + archive_error_string(reader.get()));
  }
  std::set<std::string> missing(members.begin(), members.end());
  while (!missing.empty()) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(reader.get(), &entry);
    if (result == ARCHIVE_EOF) break;
    if (result < ARCHIVE_WARN) {
      Fail(archive, std::string("is damaged: ") + archive_error_string(reader.get()));
    }
    const char* const name = archive_entry_pathname(entry);
    if (name == nullptr || archive_entry_filetype(entry) != AE_IFREG) continue;
    if (missing.erase(name) > 0) Unpack(archive, reader, part_of(name));
  }
  if (!missing.empty()) Fail(archive, "has no file " + *missing.begin());
  for (const std::string& member : members) {
    fs::rename(part_of(member), folder / fs::path(member).filename());
  }
}

}  // namespace kudari::lab
