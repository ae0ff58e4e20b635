#include "io/checkpoint_contents.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "io/file.h"
#include "io/manifest.h"
#include "io/safetensors_header.h"
#include "io/state_entries.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "state/shape_text.h"

namespace kudari::internal {

namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = size_t{1} << 18;  // stays in the cache between the disk and the checksums
constexpr std::string_view kTensorFile = ".safetensors";

// ---- Writing ----

// Arrays that go into files of one kind: the model, or all else.
struct Group {
  std::string base;  // of the files' names
  std::map<std::string, std::string> metadata = {};
  std::vector<SafeTensor> tensors = {};
  std::vector<std::string> paths = {};  // of the same tensors
};

// Writes the files of a checkpoint and notes what the manifest says of them.
class ContentsWriter {
 public:
  ContentsWriter(const fs::path& folder, std::string shown, CheckpointManifest& manifest)
      : folder_(folder), shown_(std::move(shown)), manifest_(manifest) {}

  void WriteGroup(const Group& group, uint64_t shard_bytes) {
    const std::vector<size_t> starts = Shards(group.tensors, shard_bytes);
    nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
    uint64_t total = 0;
    for (size_t i = 0; i < starts.size(); ++i) {
      const size_t begin = starts[i];
      const size_t end = i + 1 < starts.size() ? starts[i + 1] : group.tensors.size();
      const std::string name = FileName(group.base, i, starts.size());
      WriteShard(name, group, begin, end, i == 0);
      for (size_t k = begin; k < end; ++k) {
        weight_map[group.tensors[k].name] = name;
        total += group.tensors[k].bytes.size();
      }
    }
    if (starts.size() < 2) return;
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}},
                                          {"weight_map", weight_map}};
    WriteText(group.base + std::string(kTensorFile) + ".index.json", index.dump(2) + "\n");
  }

 private:
  // The index of the first tensor of each file.
  static std::vector<size_t> Shards(const std::vector<SafeTensor>& tensors, uint64_t most) {
    std::vector<size_t> starts = {0};
    uint64_t bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const uint64_t more = tensors[i].bytes.size();
      if (bytes > 0 && bytes + more > most) {
        starts.push_back(i);
        bytes = 0;
      }
      bytes += more;
    }
    return starts;
  }

  static std::string FileName(const std::string& base, size_t index, size_t count) {
    if (count == 1) return base + std::string(kTensorFile);
    char number[48];
    std::snprintf(number, sizeof(number), "-%05zu-of-%05zu", index + 1, count);
    return base + number + std::string(kTensorFile);
  }

  void WriteShard(const std::string& name, const Group& group, size_t begin, size_t end,
                  bool first) {
    const std::string where = shown_ + "/" + name;
    const std::span tensors = std::span(group.tensors).subspan(begin, end - begin);
    // Scalars are in the first file alone.
    const std::string header = SafeTensorsHeaderText(
        tensors, first ? group.metadata : std::map<std::string, std::string>(), where);
    NewFile out(folder_ / name);
    Checksum all;
    uint64_t bytes = 0;
    const auto write = [&](const char* from, size_t size) {
      all.Add(from, size);
      out.Write(from, size);
      bytes += size;
    };
    write(header.data(), header.size());
    for (size_t i = begin; i < end; ++i) {
      const SafeTensor& t = group.tensors[i];
      const auto* const data = reinterpret_cast<const char*>(t.bytes.data());
      Checksum own;
      for (size_t at = 0; at < t.bytes.size(); at += kChunk) {
        const size_t size = std::min(kChunk, t.bytes.size() - at);
        own.Add(data + at, size);
        write(data + at, size);
      }
      manifest_.tensors.push_back(
          {group.paths[i], t.name, name, *FindElementType(t.dtype), t.shape, own.Value()});
    }
    out.Sync();
    manifest_.files.push_back({name, bytes, all.Value()});
  }

  void WriteText(const std::string& name, const std::string& text) {
    NewFile out(folder_ / name);
    out.Write(text.data(), text.size());
    out.Sync();
    manifest_.files.push_back({name, text.size(), Checksum::Of(text.data(), text.size())});
  }

  const fs::path& folder_;
  std::string shown_;
  CheckpointManifest& manifest_;
};

// The name that an array has in files of the model: the last of its path, if a node of the model
// holds it. Empty otherwise.
std::string ModelName(const std::string& path, const std::vector<std::string>& nodes) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return "";
  const auto holds = [&](const std::string& node) { return path.compare(0, slash, node) == 0; };
  return std::ranges::any_of(nodes, holds) ? SplitPath(path).back() : "";
}

// ---- Reading ----

// Reads a file and adds what it reads to a checksum.
class SummedFile {
 public:
  SummedFile(const fs::path& path, const CheckpointFile& expected)
      : shown_(path.string()), expected_(expected), in_(path) {
    if (in_.size() != expected.bytes) {
      throw Error(shown_ + ": has " + std::to_string(in_.size()) + " bytes, but " +
                  std::to_string(expected.bytes) + " when it was saved");
    }
  }

  const std::string& shown() const { return shown_; }

  void Read(void* to, size_t size) { Read(to, size, nullptr); }

  // Adds what it reads to a second checksum as well.
  void Read(void* to, size_t size, Checksum* own) {
    auto* const data = static_cast<char*>(to);
    for (size_t at = 0; at < size; at += kChunk) {
      const size_t part = std::min(kChunk, size - at);
      in_.Read(data + at, part);
      sum_.Add(data + at, part);
      if (own != nullptr) own->Add(data + at, part);
      read_ += part;
    }
  }

  // Throws Error unless everything has been read and is what was saved.
  void Finish() {
    std::vector<char> rest(kChunk);
    while (read_ < expected_.bytes) {
      Read(rest.data(), std::min<uint64_t>(rest.size(), expected_.bytes - read_));
    }
    if (sum_.Value() != expected_.xxh3) {
      throw Error(shown_ + ": is damaged, since it does not match its checksum");
    }
  }

 private:
  std::string shown_;
  const CheckpointFile& expected_;
  InputFile in_;
  Checksum sum_;
  uint64_t read_ = 0;
};

std::string KindText(std::string_view type, const std::vector<int64_t>& shape) {
  return std::string(type) + " " + ShapeText<int64_t>(shape);
}

void CheckStored(const StoredTensor& found, const CheckpointTensor& expected,
                 const std::string& shown) {
  if (found.name == expected.name && found.type == expected.type && found.shape == expected.shape) {
    return;
  }
  throw Error(shown + ": has " + Quoted(found.name) + " (" +
              KindText(Name(found.type), found.shape) + ") where its manifest says " +
              Quoted(expected.name) + " (" + KindText(Name(expected.type), expected.shape) + ")");
}

std::vector<std::byte> Memory(uint64_t size, const std::string& what) {
  try {
    return std::vector<std::byte>(size);
  } catch (const std::bad_alloc&) {
    throw Error(what + ": needs " + std::to_string(size) +
                " bytes of memory, more than is available");
  }
}

void ReadTensors(SummedFile& in, const CheckpointFile& file,
                 const std::vector<const CheckpointTensor*>& expected, StateTree* state) {
  const SafeTensorsHeader header = ReadSafeTensorsHeader(
      file.bytes, [&in](void* to, size_t size) { in.Read(to, size); }, in.shown());
  if (header.tensors.size() != expected.size()) {
    throw Error(in.shown() + ": has " + std::to_string(header.tensors.size()) +
                " tensors, but its manifest lists " + std::to_string(expected.size()));
  }
  if (state != nullptr && header.metadata.contains("kudari.state")) {
    PutScalars(*state, header.metadata, in.shown());
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const CheckpointTensor& t = *expected[i];
    CheckStored(header.tensors[i], t, in.shown());
    const std::string what = in.shown() + ": tensor " + Quoted(t.name);
    StateArray array{t.type, t.shape,
                     Memory(header.tensors[i].end - header.tensors[i].begin, what)};
    Checksum own;
    in.Read(array.bytes.data(), array.bytes.size(), &own);
    if (own.Value() != t.xxh3) {
      throw Error(what + " is damaged, since it does not match its checksum");
    }
    if (state != nullptr) PutEntry(*state, in.shown(), t.path, std::move(array));
  }
}

}  // namespace

void WriteContents(const fs::path& folder, const std::string& shown, const StateTree& state,
                   CheckpointManifest manifest, const CheckpointOptions& options) {
  StateEntries entries = EntriesOf(state, shown);
  // "format" is what Hugging Face's libraries ask for.
  Group model{.base = "model", .metadata = {{"format", "pt"}}};
  Group rest{.base = "state", .metadata = std::move(entries.metadata)};
  for (SafeTensor& t : entries.arrays) {
    std::string path = t.name;
    const std::string name = ModelName(path, options.model_nodes);
    Group& group = name.empty() ? rest : model;
    if (!name.empty()) t.name = name;
    group.tensors.push_back(std::move(t));
    group.paths.push_back(std::move(path));
  }
  ContentsWriter writer(folder, shown, manifest);
  if (!model.tensors.empty()) writer.WriteGroup(model, options.shard_bytes);
  writer.WriteGroup(rest, options.shard_bytes);
  const std::string text = ManifestText(manifest);
  NewFile out(folder / kManifestName);
  out.Write(text.data(), text.size());
  out.Sync();
  SyncFolder(folder);
}

void ReadContents(const fs::path& folder, const CheckpointManifest& manifest, StateTree* state) {
  for (const CheckpointFile& file : manifest.files) {
    std::vector<const CheckpointTensor*> tensors;
    for (const CheckpointTensor& t : manifest.tensors) {
      if (t.file == file.name) tensors.push_back(&t);
    }
    SummedFile in(folder / file.name, file);
    if (file.name.ends_with(kTensorFile)) ReadTensors(in, file, tensors, state);
    in.Finish();
  }
}

}  // namespace kudari::internal
