#include "io/manifest.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/element_count.h"
#include "io/checksum.h"
#include "io/file.h"
#include "kudari/files.h"
#include "kudari/messages.h"

namespace kudari {
namespace internal {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "kudari.checkpoint";
constexpr int64_t kFormatVersion = 1;
constexpr uint64_t kMostBytes = 1'000'000'000;
constexpr size_t kDigits = 16;  // of a checksum
constexpr int64_t kMostInt = std::numeric_limits<int64_t>::max();

std::string Hex(uint64_t x) {
  std::string text(kDigits, '0');
  for (size_t i = kDigits; i-- > 0; x >>= 4) text[i] = "0123456789abcdef"[x & 15];
  return text;
}

// What follows the text that the checksum is of.
std::string Ending(uint64_t checksum) {
  return ",\n  \"checksum\": \"" + Hex(checksum) + "\"\n}\n";
}

// Reads the members of a manifest's objects, and says in errors where they are.
class MemberReader {
 public:
  MemberReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw Error(where_ + "is not an object");
  }

  [[noreturn]] void Fail(const char* key, const std::string& what) const {
    throw Error(where_ + Quoted(key) + " " + what);
  }

  const Json& Member(const char* key) const {
    const auto at = object_.find(key);
    if (at == object_.end()) Fail(key, "is missing");
    return *at;
  }

  int64_t Int(const char* key, int64_t low) const {
    const Json& value = Member(key);
    const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{kMostInt}
                                                 : value.is_number_integer();
    const int64_t x = fits ? value.get<int64_t>() : low - 1;
    if (x < low) Fail(key, "is not an integer from " + std::to_string(low) + " to 2^63 - 1");
    return x;
  }

  std::string Text(const char* key) const {
    const Json& value = Member(key);
    if (!value.is_string()) Fail(key, "is not a string");
    return value.get<std::string>();
  }

  uint64_t Xxh3(const char* key) const {
    const std::string text = Text(key);
    uint64_t x = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x, 16);
    if (text.size() != kDigits || error != std::errc() || Hex(x) != text) {
      Fail(key, "is not a checksum of 16 hexadecimal digits");
    }
    return x;
  }

  // Calls `add` with each member of an object.
  void Each(const char* key,
            const std::function<void(const std::string&, const Json&)>& add) const {
    const Json& object = Member(key);
    if (!object.is_object()) Fail(key, "is not an object");
    for (const auto& [name, value] : object.items()) add(name, value);
  }

  // Calls `add` with a reader of each object of an array.
  void EachOf(const char* key, const std::function<void(const MemberReader&)>& add) const {
    const Json& array = Member(key);
    if (!array.is_array()) Fail(key, "is not an array");
    for (size_t i = 0; i < array.size(); ++i) {
      add(MemberReader(array[i], where_ + key + "[" + std::to_string(i) + "]: "));
    }
  }

 private:
  const Json& object_;
  std::string where_;
};

CheckpointFile ReadFileEntry(const MemberReader& in, std::set<std::string>& names) {
  CheckpointFile file{.name = in.Text("name"),
                      .bytes = static_cast<uint64_t>(in.Int("bytes", 0)),
                      .xxh3 = in.Xxh3("xxh3")};
  if (!IsPlainName(file.name) || file.name == kManifestName) {
    in.Fail("name", "= " + Quoted(file.name) + " is no plain file name");
  }
  if (!names.insert(file.name).second) in.Fail("name", "= " + Quoted(file.name) + " is duplicate");
  return file;
}

CheckpointTensor ReadTensorEntry(const MemberReader& in, const std::set<std::string>& files,
                                 std::set<std::string>& paths) {
  CheckpointTensor tensor{.path = in.Text("path"),
                          .name = in.Text("name"),
                          .file = in.Text("file"),
                          .xxh3 = in.Xxh3("xxh3")};
  const std::string dtype = in.Text("dtype");
  const auto type = FindElementType(dtype);
  if (!type) in.Fail("dtype", "= " + Quoted(dtype) + " is unknown");
  tensor.type = *type;
  const Json& shape = in.Member("shape");
  if (!shape.is_array()) in.Fail("shape", "is not an array");
  for (const Json& n : shape) {
    if (!n.is_number_unsigned() || n.get<uint64_t>() > uint64_t{kMostInt}) {
      in.Fail("shape", "has a size that is not an integer from 0 to 2^63 - 1");
    }
    tensor.shape.push_back(n.get<int64_t>());
  }
  if (!ElementCount(tensor.shape)) in.Fail("shape", "is too large");
  if (!files.contains(tensor.file)) in.Fail("file", "= " + Quoted(tensor.file) + " is not a file");
  if (!paths.insert(tensor.path).second) {
    in.Fail("path", "= " + Quoted(tensor.path) + " is duplicate");
  }
  return tensor;
}

}  // namespace

std::string ManifestText(const CheckpointManifest& manifest) {
  Json json = {{"format", kFormat},
               {"version", kFormatVersion},
               {"library_version", manifest.library_version},
               {"serial", manifest.serial},
               {"step", manifest.step},
               {"metrics", Json::object()},
               {"texts", Json::object()},
               {"files", Json::array()},
               {"tensors", Json::array()}};
  for (const auto& [name, value] : manifest.metrics) json["metrics"][name] = value;
  for (const auto& [name, text] : manifest.texts) json["texts"][name] = text;
  for (const CheckpointFile& f : manifest.files) {
    json["files"].push_back({{"name", f.name}, {"bytes", f.bytes}, {"xxh3", Hex(f.xxh3)}});
  }
  for (const CheckpointTensor& t : manifest.tensors) {
    json["tensors"].push_back({{"path", t.path},
                               {"name", t.name},
                               {"file", t.file},
                               {"dtype", Name(t.type)},
                               {"shape", t.shape},
                               {"xxh3", Hex(t.xxh3)}});
  }
  std::string text;
  try {
    text = json.dump(2);
  } catch (const nlohmann::json::exception&) {
    throw Error("manifest: a name or a text is not valid UTF-8");
  }
  text.resize(text.size() - 2);  // the line break and the brace at the end
  return text + Ending(Checksum::Of(text.data(), text.size()));
}

}  // namespace internal

uint64_t CheckpointManifest::Bytes() const {
  uint64_t bytes = 0;
  for (const CheckpointFile& file : files) bytes += file.bytes;
  return bytes;
}

CheckpointManifest ParseManifest(std::string_view text, std::string_view name) {
  using namespace internal;  // NOLINT(google-build-using-namespace): of the same library
  const std::string where = std::string(name) + ": ";
  const size_t ending = Ending(0).size();
  const size_t size = text.size() - std::min(text.size(), ending);
  if (text.substr(size) != Ending(Checksum::Of(text.data(), size))) {
    throw Error(where + "is damaged, since it does not match the checksum at its end");
  }
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Error(where + "is not valid JSON");
  const MemberReader in(json, where);
  if (const std::string format = in.Text("format"); format != kFormat) {
    in.Fail("format", "= " + Quoted(format) + " is not " + Quoted(kFormat));
  }
  if (const int64_t version = in.Int("version", 1); version > kFormatVersion) {
    throw NewerFormat(where + "is of format " + std::to_string(version) +
                      ", which is newer than this version of Kudari; it reads up to format " +
                      std::to_string(kFormatVersion));
  }
  CheckpointManifest manifest{.step = in.Int("step", 0),
                              .serial = in.Int("serial", 1),
                              .library_version = in.Text("library_version")};
  in.Each("metrics", [&](const std::string& metric, const Json& value) {
    if (!value.is_number()) in.Fail("metrics", "has " + Quoted(metric) + ", which is no number");
    manifest.metrics.emplace(metric, value.get<double>());
  });
  in.Each("texts", [&](const std::string& title, const Json& value) {
    if (!value.is_string()) in.Fail("texts", "has " + Quoted(title) + ", which is no string");
    manifest.texts.emplace(title, value.get<std::string>());
  });
  std::set<std::string> files, paths;
  in.EachOf("files", [&](const MemberReader& file) {
    manifest.files.push_back(ReadFileEntry(file, files));
  });
  in.EachOf("tensors", [&](const MemberReader& tensor) {
    manifest.tensors.push_back(ReadTensorEntry(tensor, files, paths));
  });
  return manifest;
}

CheckpointManifest ReadManifest(const std::filesystem::path& checkpoint) {
  const std::filesystem::path file = checkpoint / internal::kManifestName;
  return ParseManifest(ReadFile(file, internal::kMostBytes), file.string());
}

}  // namespace kudari
