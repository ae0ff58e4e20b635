#include "io/checkpoint_contents.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "io/checksum.h"
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
  std::string base;                                  // of the files' names
  std::map<std::string, std::string> metadata = {};  // of each file
  std::map<std::string, std::string> scalars = {};   // metadata of the first file alone
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
    std::map<std::string, std::string> metadata = group.metadata;
    if (first) metadata.insert(group.scalars.begin(), group.scalars.end());
    const std::string header = SafeTensorsHeaderText(tensors, metadata, where);
    NewFile out(folder_ / name);
    out.Write(header.data(), header.size());
    Checksum all;
    all.Add(header.data(), header.size());
    uint64_t bytes = header.size();
    for (size_t i = begin; i < end; ++i) {
      const SafeTensor& t = group.tensors[i];
      Checksum own;
      for (size_t at = 0; at < t.bytes.size(); at += kChunk) {
        const auto part = t.bytes.subspan(at, std::min(kChunk, t.bytes.size() - at));
        own.Add(part.data(), part.size());
        out.Write(part.data(), part.size());
      }
      bytes += t.bytes.size();
      const uint64_t value = own.Value();
      all.Add(&value, sizeof(value));
      manifest_.tensors.push_back(
          {group.paths[i], t.name, name, *FindElementType(t.dtype), t.shape, value});
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

// Threads that read the tensors of a file: while some wait for the disk, others compute checksums.
constexpr size_t kReaders = 4;

void CheckSum(uint64_t found, uint64_t expected, const std::string& what) {
  if (found != expected) throw Error(what + " is damaged, since it does not match its checksum");
}

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

StateBytes Memory(uint64_t size, const std::string& what) {
  try {
    return StateBytes(size);
  } catch (const std::bad_alloc&) {
    throw Error(what + ": needs " + std::to_string(size) +
                " bytes of memory, more than is available");
  }
}

// A tensor that is being read.
struct Reading {
  const CheckpointTensor* expected;
  uint64_t offset, size;  // in the file
  std::string what;       // it is, in messages
  StateArray array = {};
  std::string failure = {};
};

// Compares the tensor with its checksum, and keeps it if it is asked for.
void ReadTensor(const InputFile& in, Reading& r, bool keep) {
  try {
    StateBytes bytes = Memory(keep ? r.size : std::min<uint64_t>(kChunk, r.size), r.what);
    Checksum own;
    for (size_t at = 0; at < r.size; at += kChunk) {
      const size_t part = std::min<uint64_t>(kChunk, r.size - at);
      std::byte* const to = bytes.data() + (keep ? at : 0);
      // The system is slow to touch new memory while it reads. Zeros take no way to the memory and
      // back if they are replaced while they are in the cache.
      if (keep) std::fill_n(to, part, std::byte{});
      in.ReadAt(r.offset + at, to, part);
      own.Add(to, part);
    }
    CheckSum(own.Value(), r.expected->xxh3, r.what);
    if (keep) r.array = {r.expected->type, r.expected->shape, std::move(bytes)};
  } catch (const Error& e) {
    r.failure = e.what();
  }
}

// Reads the tensors in threads, and says what is wrong with the first that is damaged.
void ReadTensors(const InputFile& in, std::vector<Reading>& readings, bool keep) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < readings.size(); i = next++) ReadTensor(in, readings[i], keep);
  };
  uint64_t chunks = 1;
  for (const Reading& r : readings) chunks += r.size / kChunk;
  {
    std::vector<std::jthread> threads;
    try {
      for (size_t i = 1; i < std::min<uint64_t>({kReaders, readings.size(), chunks}); ++i) {
        threads.emplace_back(work);
      }
    } catch (const std::system_error&) {  // there can be no more threads: those there are read all
    }
    work();
  }
  for (const Reading& r : readings) {
    if (!r.failure.empty()) throw Error(r.failure);
  }
}

void ReadTensorFile(InputFile& in, const std::string& shown, const CheckpointFile& file,
                    const std::vector<const CheckpointTensor*>& expected, StateTree* state) {
  in.Expect();
  Checksum all;
  uint64_t data = 0;  // where it begins
  const SafeTensorsHeader header = ReadSafeTensorsHeader(
      file.bytes,
      [&](void* to, size_t size) {
        in.Read(to, size);
        all.Add(to, size);
        data += size;
      },
      shown);
  if (header.tensors.size() != expected.size()) {
    throw Error(shown + ": has " + std::to_string(header.tensors.size()) +
                " tensors, but its manifest lists " + std::to_string(expected.size()));
  }
  std::vector<Reading> readings;
  for (size_t i = 0; i < expected.size(); ++i) {
    const StoredTensor& t = header.tensors[i];
    CheckStored(t, *expected[i], shown);
    all.Add(&expected[i]->xxh3, sizeof(expected[i]->xxh3));
    readings.push_back({.expected = expected[i],
                        .offset = data + t.begin,
                        .size = t.end - t.begin,
                        .what = shown + ": tensor " + Quoted(t.name)});
  }
  CheckSum(all.Value(), file.xxh3, shown + ":");
  ReadTensors(in, readings, state != nullptr);
  if (state == nullptr) return;
  if (header.metadata.contains(kStateVersion)) PutScalars(*state, header.metadata, shown);
  for (Reading& r : readings) PutEntry(*state, shown, r.expected->path, std::move(r.array));
}

void VerifyFile(InputFile& in, const std::string& shown, const CheckpointFile& file) {
  Checksum all;
  std::vector<char> chunk(std::min<uint64_t>(kChunk, file.bytes));
  for (uint64_t at = 0; at < file.bytes; at += kChunk) {
    const size_t part = std::min<uint64_t>(kChunk, file.bytes - at);
    in.Read(chunk.data(), part);
    all.Add(chunk.data(), part);
  }
  CheckSum(all.Value(), file.xxh3, shown + ":");
}

}  // namespace

void WriteContents(const fs::path& folder, const std::string& shown, const StateTree& state,
                   CheckpointManifest manifest, const CheckpointOptions& options) {
  StateEntries entries = EntriesOf(state, shown);
  // "format" is what Hugging Face's libraries ask for in each file.
  Group model{.base = "model", .metadata = {{"format", "pt"}}};
  Group rest{.base = "state", .scalars = std::move(entries.metadata)};
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
    const fs::path path = folder / file.name;
    InputFile in(path);
    if (in.size() != file.bytes) {
      throw Error(path.string() + ": has " + std::to_string(in.size()) + " bytes, but " +
                  std::to_string(file.bytes) + " when it was saved");
    }
    if (file.name.ends_with(kTensorFile)) {
      ReadTensorFile(in, path.string(), file, tensors, state);
    } else {
      VerifyFile(in, path.string(), file);
    }
  }
}

}  // namespace kudari::internal
