// Downloads: parts/fetch.cc, files/download.cc and files/archive.cc, from a server in this process.
#include "lab/data/parts/fetch.h"

#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/data_sources.h"
#include "lab/files/archive.h"
#include "lab/files/download.h"
#include "lab/files/text_file.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace fetch_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// How a server treats requests.
struct Manners {
  bool ranges = true;
  size_t most = SIZE_MAX;  // bytes of a body after which it closes the connection
  int failures = 0;        // connections that it closes at once
};

// Serves files from memory on a port of this machine, one connection after the other.
class Server {
 public:
  Server() {
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(socket_, 16) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("there is no port to listen on");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    stopped_ = true;
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::string Address(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  void Put(const std::string& path, std::string bytes) {
    const std::lock_guard lock(mutex_);
    files_[path] = std::move(bytes);
  }
  void Behave(const Manners& manners) {
    const std::lock_guard lock(mutex_);
    manners_ = manners;
  }
  // The first byte that each request asked for, and which file.
  std::vector<std::string> Requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    while (!stopped_) {
      const int connection = accept(socket_, nullptr, nullptr);
      if (connection < 0) continue;
      Answer(connection);
      shutdown(connection, SHUT_WR);
      close(connection);
    }
  }

  void Answer(int connection) {
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = recv(connection, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      request.append(buffer, static_cast<size_t>(n));
    }
    const std::lock_guard lock(mutex_);
    const size_t begin = request.find(' ') + 1;
    const std::string path = request.substr(begin, request.find(' ', begin) - begin);
    size_t first = 0;
    if (const size_t at = request.find("Range: bytes="); at != std::string::npos) {
      first = std::stoul(request.substr(at + 13));
    }
    requests_.push_back(path + " " + std::to_string(first));
    if (manners_.failures > 0) {
      --manners_.failures;
      return;
    }
    const auto file = files_.find(path);
    if (file == files_.end())
      return Send(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    const std::string& bytes = file->second;
    if (!manners_.ranges) first = 0;
    if (first >= bytes.size() && first > 0) {
      return Send(connection, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n");
    }
    const std::string body = bytes.substr(first);
    const std::string range = "Content-Range: bytes " + std::to_string(first) + "-" +
                              std::to_string(bytes.size() - 1) + "/" +
                              std::to_string(bytes.size()) + "\r\n";
    Send(connection, (first > 0 ? "HTTP/1.1 206 Partial Content\r\n" + range
                                : std::string("HTTP/1.1 200 OK\r\n")) +
                         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                         body.substr(0, manners_.most));
  }

  static void Send(int connection, const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = send(connection, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return;
      done += static_cast<size_t>(n);
    }
  }

  int socket_ = -1, port_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  std::map<std::string, std::string> files_;
  Manners manners_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

std::string Body() {
  std::string body;
  for (int64_t i = 0; i < 100'000; ++i) body += std::to_string(i * i % 9973);
  return body;
}

// By coreutils' md5sum and sha256sum of "abc".
constexpr const char* kMd5 = "900150983cd24fb0d6963f7d28e17f72";
constexpr const char* kSha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

class Fetch : public kudari::testing::DataFixture {
 protected:
  // The file and checksum of a body, which is stored under its address.
  RemoteFile Remote(const std::string& body) {
    server_.Put("/f", body);
    Write("sum", body);
    return {server_.Address("/f"), ChecksumOf("sum", false), std::ssize(body)};
  }

  Server server_;
};

TEST_F(Fetch, ChecksumsAreTheKnownOnes) {
  Write("abc", "abc");
  EXPECT_EQ(ChecksumOf("abc", false), kSha256);
  EXPECT_EQ(ChecksumOf("abc", true), kMd5);
  EXPECT_EQ(ErrorOf([] { ChecksumOf("none", true); }), "none: No such file or directory");
  server_.Put("/abc", "abc");
  for (const char* sum : {kSha256, kMd5}) {
    DownloadFile({server_.Address("/abc"), sum, 3}, "got", {});
    EXPECT_EQ(ReadTextFile("got"), "abc");
  }
}

TEST_F(Fetch, TellsHowFarItIs) {
  const std::string body = Body();
  int64_t last = 0;
  DownloadFile(Remote(body), "got", [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, std::ssize(body));
    EXPECT_GT(done, last);
    last = done;
  });
  EXPECT_EQ(last, std::ssize(body));
  EXPECT_EQ(ReadTextFile("got"), body);
  EXPECT_FALSE(fs::exists("got.part"));
}

TEST_F(Fetch, BrokenConnectionsGoOn) {
  const std::string body = Body();
  const RemoteFile remote = Remote(body);
  server_.Behave({.most = body.size() / 3});
  DownloadFile(remote, "got", {});
  EXPECT_EQ(ReadTextFile("got"), body);
  const std::vector<std::string> requests = server_.Requests();
  EXPECT_EQ(requests.size(), 4U);
  EXPECT_EQ(requests[0], "/f 0");
  EXPECT_EQ(requests[1], "/f " + std::to_string(body.size() / 3));
}

TEST_F(Fetch, WhatIsThereIsKeptForALaterCall) {
  const std::string body = Body();
  const RemoteFile remote = Remote(body);
  Write("got.part", body.substr(0, 1000));
  server_.Behave({.failures = 1});
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              HasSubstr("cannot be downloaded: "));
  EXPECT_EQ(ReadTextFile("got.part"), body.substr(0, 1000));
  EXPECT_FALSE(fs::exists("got"));
  DownloadFile(remote, "got", {});
  EXPECT_EQ(ReadTextFile("got"), body);
  EXPECT_EQ(server_.Requests().back(), "/f 1000");
  // All of it, but not yet under its name.
  const size_t requests = server_.Requests().size();
  fs::rename("got", "got.part");
  DownloadFile(remote, "got", {});
  EXPECT_EQ(ReadTextFile("got"), body);
  EXPECT_EQ(server_.Requests().size(), requests);
}

TEST_F(Fetch, AServerWithoutRangesBeginsAgain) {
  const std::string body = Body();
  const RemoteFile remote = Remote(body);
  server_.Behave({.ranges = false});
  Write("got.part", body.substr(0, 1000));
  DownloadFile(remote, "got", {});
  EXPECT_EQ(ReadTextFile("got"), body);
  Write("got.part", body + "more");
  DownloadFile(remote, "got", {});
  EXPECT_EQ(ReadTextFile("got"), body);
}

TEST_F(Fetch, WrongFilesAreNotKept) {
  const std::string body = Body();
  RemoteFile remote = Remote(body);
  std::string other = body;
  other[500] = '#';
  server_.Put("/f", other);
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              HasSubstr(", but must have " + remote.checksum + "; nothing was kept"));
  server_.Put("/f", body + "#");
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              HasSubstr("has more than the " + std::to_string(body.size()) + " bytes"));
  server_.Put("/f", body.substr(1));
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              HasSubstr("has " + std::to_string(body.size() - 1) + " bytes, but must have"));
  remote.address = server_.Address("/none");
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              HasSubstr("/none: cannot be downloaded: The requested URL returned error: 404"));
  remote.address = "file:///etc/hostname";
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }), HasSubstr("cannot be downloaded"));
  remote.address = "http://127.0.0.1:1/f";
  EXPECT_THAT(ErrorOf([&] { DownloadFile(remote, "got", {}); }),
              StartsWith("http://127.0.0.1:1/f: cannot be downloaded: "));
  EXPECT_FALSE(fs::exists("got"));
  EXPECT_FALSE(fs::exists("got.part"));
  remote = Remote(body);
  EXPECT_EQ(ErrorOf([&] { DownloadFile(remote, "none/got", {}); }),
            "none/got.part: No such file or directory");
}

// An archive with these files, by libarchive.
std::string Archive(const std::vector<std::pair<std::string, std::string>>& files, bool zip) {
  archive* const writer = archive_write_new();
  if (zip) {
    archive_write_set_format_zip(writer);
  } else {
    archive_write_set_format_ustar(writer);
    archive_write_add_filter_gzip(writer);
  }
  archive_write_open_filename(writer, "archive");
  for (const auto& [name, bytes] : files) {
    archive_entry* const entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, std::ssize(bytes));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_write_header(writer, entry);
    archive_write_data(writer, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_free(writer);
  return ReadTextFile("archive");
}

TEST_F(Fetch, ArchivesAreUnpacked) {
  fs::create_directory("to");
  for (const bool zip : {false, true}) {
    const std::string bytes =
        Archive({{"a/one", "first"}, {"../two", "second"}, {"a/three", Body()}}, zip);
    Write("x", bytes);
    UnpackMembers("x", {"a/three", "a/one"}, "to");
    EXPECT_EQ(ReadTextFile("to/one"), "first");
    EXPECT_EQ(ReadTextFile("to/three"), Body());
    EXPECT_EQ(std::distance(fs::directory_iterator("to"), {}), 2);
    EXPECT_EQ(ErrorOf([] {
                UnpackMembers("x", {"a/one", "a/four"}, "to");
              }),
              "x: has no file a/four");
    Write("x", bytes.substr(0, bytes.size() / 2));
    EXPECT_THAT(ErrorOf([] { UnpackMembers("x", {"a/three"}, "to"); }), StartsWith("x: "));
  }
  Write("x", "no archive");
  EXPECT_THAT(ErrorOf([] { UnpackMembers("x", {"a"}, "to"); }), StartsWith("x: is "));
}

TEST_F(Fetch, DataIsFetchedWhereItIsMissing) {
  const std::string packed = Archive({{"in/one", "1"}, {"in/two", "2"}}, false);
  Write("sum", packed);
  server_.Put("/all.tar.gz", packed);
  server_.Put("/three.gz", "abc");
  const DataSource source{.name = "set",
                          .folder = "set",
                          .files = {{.address = "http://127.0.0.1:1/x/all.tar.gz",
                                     .checksum = ChecksumOf("sum", false),
                                     .bytes = std::ssize(packed),
                                     .kept = {"in/two", "in/one"},
                                     .archive = true},
                                    {.address = "http://127.0.0.1:1/x/three.gz",
                                     .checksum = kSha256,
                                     .bytes = 3,
                                     .kept = {"three.gz"}}}};
  EXPECT_FALSE(IsComplete(source, ".data/set"));
  EXPECT_THAT(ErrorOf([&] { FetchData(source, ".data/set", "", {}); }),
              StartsWith("http://127.0.0.1:1/x/all.tar.gz: cannot be downloaded"));
  std::string told;
  FetchData(source, ".data/set", server_.Address(""),
            [&](const std::string& address, int64_t, int64_t) { told = address; });
  EXPECT_EQ(told, server_.Address("/three.gz"));
  EXPECT_EQ(ReadTextFile(".data/set/one"), "1");
  EXPECT_EQ(ReadTextFile(".data/set/two"), "2");
  EXPECT_EQ(ReadTextFile(".data/set/three.gz"), "abc");
  EXPECT_EQ(std::distance(fs::directory_iterator(".data/set"), {}), 3);
  EXPECT_TRUE(IsComplete(source, ".data/set"));
  // What is there is not asked for again, and what is missing is.
  EXPECT_EQ(server_.Requests().size(), 2U);
  FetchData(source, ".data/set", server_.Address("/"), {});
  EXPECT_EQ(server_.Requests().size(), 2U);
  fs::remove(".data/set/two");
  FetchData(source, ".data/set", server_.Address("/"), {});
  EXPECT_THAT(server_.Requests(), ElementsAre("/all.tar.gz 0", "/three.gz 0", "/all.tar.gz 0"));
  Write("plain", "");
  EXPECT_THAT(ErrorOf([&] { FetchData(source, "plain/x", "", {}); }), StartsWith("plain"));
}

TEST_F(Fetch, ArchivesInArchivesAreUnpacked) {
  const std::string inner = Archive({{"deep/one", "1"}, {"deep/two", "2"}}, false);
  const std::string packed = Archive({{"a/README", "no"}, {"a/inner.tar.gz", inner}}, true);
  Write("sum", packed);
  server_.Put("/all.zip", packed);
  DataSource source{.name = "set",
                    .folder = "set",
                    .files = {{.address = server_.Address("/all.zip"),
                               .checksum = ChecksumOf("sum", false),
                               .bytes = std::ssize(packed),
                               .kept = {"deep/two"},
                               .archive = true,
                               .inner = "a/inner.tar.gz"}}};
  FetchData(source, "set", "", {});
  EXPECT_EQ(ReadTextFile("set/two"), "2");
  EXPECT_EQ(std::distance(fs::directory_iterator("set"), {}), 1);
  EXPECT_TRUE(IsComplete(source, "set"));
  source.files[0].kept = {"deep/three"};
  EXPECT_EQ(ErrorOf([&] { FetchData(source, "other", "", {}); }),
            "other/inner.tar.gz: has no file deep/three");
  source.files[0].inner = "a/none.zip";
  EXPECT_EQ(ErrorOf([&] { FetchData(source, "third", "", {}); }),
            "third/all.zip: has no file a/none.zip");
}

// What the table of sources says of each file must be enough to know it.
TEST(DataSources, AreComplete) {
  size_t sources = 0;
  for (const auto& entry : LabRegistry::Builtin().data.entries()) {
    const DataSource& source = entry->source;
    if (source.files.empty()) continue;
    ++sources;
    SCOPED_TRACE(source.name);
    EXPECT_EQ(EntryOfData(source.name), entry);
    EXPECT_TRUE(entry->find);
    for (const std::string* text :
         {&source.name, &source.folder, &source.contents, &source.home, &source.licence}) {
      EXPECT_FALSE(text->empty());
    }
    for (const Download& file : source.files) {
      EXPECT_THAT(file.address, StartsWith("https://"));
      EXPECT_EQ(file.checksum.size(), 64U);
      EXPECT_EQ(file.checksum.find_first_not_of("0123456789abcdef"), std::string::npos);
      EXPECT_GT(file.bytes, 1000);
      EXPECT_FALSE(file.kept.empty());
      EXPECT_TRUE(file.archive || (file.kept.size() == 1 && file.inner.empty()));
    }
  }
  EXPECT_EQ(sources, 7U);
}

TEST_F(Fetch, DataIsFoundWhereItIsPut) {
  setenv("KUDARI_DATA", folder_.path().c_str(), 1);
  EXPECT_EQ(WhereFound(*EntryOfData("synthetic")), std::nullopt);
  EXPECT_EQ(WhereFound(*EntryOfData("tinyshakespeare")), std::nullopt);
  EXPECT_EQ(ErrorOf([] { EntryOfData("fashion"); }).substr(0, 27), "unknown data set \"fashion\";");
  for (const auto& entry : LabRegistry::Builtin().data.entries()) {
    if (entry->source.files.empty() || entry->name == "digits") continue;
    SCOPED_TRACE(entry->name);
    const fs::path folder = UsualFolder(entry->source);
    EXPECT_EQ(folder, folder_ / entry->source.folder);
    for (const Download& file : entry->source.files) {
      for (const std::string& kept : file.kept) {
        EXPECT_FALSE(WhereFound(*entry)) << "before the last file is there";
        Write(folder / fs::path(kept).filename(), "");
      }
    }
    EXPECT_TRUE(IsComplete(entry->source, folder));
    ASSERT_TRUE(WhereFound(*entry));
    const fs::path found = *WhereFound(*entry);
    EXPECT_EQ(fs::is_directory(found) ? found : found.parent_path(), folder);
  }
}

}  // namespace fetch_test
}  // namespace kudari::lab
