#include "io/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/element_count.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "state/shape_text.h"

namespace kudari::internal {

namespace {

constexpr uint64_t kLengthBytes = 8;          // the header's length, before the header
constexpr uint64_t kMaxHeader = 100'000'000;  // as in the reference implementation
constexpr size_t kAlignment = 64;             // of the data in the files we write
constexpr std::string_view kMetadata = "__metadata__";

// The number of bytes of a tensor; false if it is too large.
bool ByteSize(std::span<const int64_t> shape, ElementType type, uint64_t& size) {
  const std::optional<int64_t> elements = ElementCount(shape);
  if (elements) size = static_cast<uint64_t>(*elements * Bytes(type));
  return elements.has_value();
}

struct Entry {
  std::string name;
  std::optional<ElementType> type = {};
  std::vector<int64_t> shape = {};
  std::vector<uint64_t> offsets = {};
  bool has_shape = false, has_offsets = false;
};

// Follows the parser through the only structure a header may have, so that whatever is nested
// deeper, appears twice or is of another type is rejected where it stands.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { Unexpected("null"); }
  bool boolean(bool value) override { Unexpected(value ? "true" : "false"); }
  bool number_float(double, const std::string& text) override { Unexpected(text); }
  bool binary(binary_t&) override { Unexpected("binary data"); }
  bool number_integer(int64_t value) override { Unexpected(std::to_string(value)); }

  bool number_unsigned(uint64_t value) override {
    if (place_ == Place::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        Unexpected(std::to_string(value));
      }
      entries.back().shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::kOffsets && entries.back().offsets.size() < 2) {
      entries.back().offsets.push_back(value);
    } else {
      Unexpected(std::to_string(value));
    }
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) {
      metadata.at(key_) = value;
    } else if (place_ == Place::kEntry && key_ == "dtype") {
      entries.back().type = FindElementType(value);
      if (!entries.back().type) Fail(Where() + "unknown dtype " + Quoted(value));
    } else {
      Unexpected(Quoted(value));
    }
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == kMetadata) {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      entries.push_back({.name = key_});
      keys_.clear();
      place_ = Place::kEntry;
    } else {
      Unexpected("an object");
    }
    return true;
  }

  bool key(std::string& value) override {
    key_ = value;
    const bool fresh = place_ == Place::kTop        ? names_.insert(value).second
                       : place_ == Place::kMetadata ? metadata.emplace(value, "").second
                                                    : keys_.insert(value).second;
    if (!fresh) Fail(Where() + "key " + Quoted(value) + " appears twice in the header");
    if (place_ == Place::kEntry && value != "dtype" && value != "shape" &&
        value != "data_offsets") {
      Fail(Where() + "unknown key " + Quoted(value) +
           "; known are \"dtype\", \"shape\" and \"data_offsets\"");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kEntry) {
      key_.clear();
      const Entry& entry = entries.back();
      if (!entry.type) Fail(Where() + "has no \"dtype\"");
      if (!entry.has_shape) Fail(Where() + "has no \"shape\"");
      if (!entry.has_offsets) Fail(Where() + "has no \"data_offsets\"");
    }
    place_ = place_ == Place::kTop ? Place::kStart : Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::kEntry && key_ == "shape") {
      entries.back().has_shape = true;
      place_ = Place::kShape;
    } else if (place_ == Place::kEntry && key_ == "data_offsets") {
      entries.back().has_offsets = true;
      place_ = Place::kOffsets;
    } else {
      Unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && entries.back().offsets.size() != 2) {
      Fail(Where() + "\"data_offsets\" must be two numbers");
    }
    place_ = Place::kEntry;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    FailAt(position);
  }

  [[noreturn]] void FailAt(size_t position) const {
    Fail("the header is not valid JSON at its byte " + std::to_string(position));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kEntry, kShape, kOffsets };

  [[noreturn]] void Fail(const std::string& what) const { throw Error(file_ + ": " + what); }

  // The tensor that is being read, if any.
  std::string Where() const {
    const bool inside =
        place_ != Place::kStart && place_ != Place::kTop && place_ != Place::kMetadata;
    return inside ? "tensor " + Quoted(entries.back().name) + ": " : "";
  }

  [[noreturn]] void Unexpected(const std::string& what) const {
    if (place_ == Place::kStart) Fail("the header is " + what + " where an object must be");
    if (place_ == Place::kTop && key_ != kMetadata) {
      Fail("tensor " + Quoted(key_) + ": is " + what + " where an object must be");
    }
    if (place_ == Place::kTop || place_ == Place::kMetadata) {
      Fail("\"__metadata__\" has " + what + " where only strings by name may be");
    }
    Fail(Where() + Quoted(key_) + " has " + what + ", but must be " +
         (key_ == "dtype"   ? "a string"
          : key_ == "shape" ? "an array of integers from 0 to 2^63 - 1"
                            : "an array of two integers from 0 to 2^64 - 1"));
  }

  const std::string& file_;
  Place place_ = Place::kStart;
  std::string key_;                     // the last one read
  std::set<std::string> names_, keys_;  // of the header and of the present entry
};

}  // namespace

SafeTensorsHeader ReadSafeTensorsHeader(uint64_t file_size, const ByteReader& read,
                                        const std::string& file) {
  SafeTensorsHeader result;
  if (file_size < kLengthBytes) {
    throw Error(file + ": is truncated: it has " + std::to_string(file_size) +
                " bytes, and the length of the header alone takes 8");
  }
  uint64_t header_size = 0;
  read(&header_size, sizeof(header_size));
  if (header_size > kMaxHeader) {
    throw Error(file + ": header length " + std::to_string(header_size) +
                " is outside [2, 100000000]; is this a safetensors file?");
  }
  if (header_size > file_size - kLengthBytes) {
    throw Error(file + ": is truncated: its header should have " + std::to_string(header_size) +
                " bytes, and only " + std::to_string(file_size - kLengthBytes) + " follow");
  }
  std::string header(header_size, '\0');
  read(header.data(), header.size());
  if (!header.starts_with('{')) throw Error(file + ": the header does not start with {");
  HeaderReader reader(file);
  // The parser would take a zero byte for the end.
  if (const size_t zero = header.find('\0'); zero != std::string::npos) reader.FailAt(zero + 1);
  nlohmann::json::sax_parse(header, &reader);
  result.metadata = std::move(reader.metadata);

  const uint64_t data_size = result.data_bytes = file_size - kLengthBytes - header_size;
  std::ranges::stable_sort(reader.entries, {}, &Entry::offsets);
  uint64_t end = 0;  // of the tensors so far
  for (Entry& entry : reader.entries) {
    const std::string where = file + ": tensor " + Quoted(entry.name) + ": ";
    const std::string range = ShapeText<uint64_t>(entry.offsets);
    uint64_t size = 0;
    if (!ByteSize(entry.shape, *entry.type, size)) {
      throw Error(where + "shape " + ShapeText<int64_t>(entry.shape) + " is too large");
    }
    if (entry.offsets[1] < entry.offsets[0] || entry.offsets[1] - entry.offsets[0] != size) {
      throw Error(where + "data_offsets " + range + " do not hold the " + std::to_string(size) +
                  " bytes of " + std::string(Name(*entry.type)) + " " +
                  ShapeText<int64_t>(entry.shape));
    }
    if (entry.offsets[0] != end) {
      throw Error(where + "data_offsets " + range +
                  (entry.offsets[0] < end
                       ? " overlap the tensor before, which ends at "
                       : " leave a hole after the tensor before, which ends at ") +
                  std::to_string(end));
    }
    end = entry.offsets[1];
    if (end > data_size) {
      throw Error(file + ": is truncated: tensor " + Quoted(entry.name) + " ends at " +
                  std::to_string(end) + " of " + std::to_string(data_size) + " bytes of data");
    }
    result.tensors.push_back({std::move(entry.name), *entry.type, std::move(entry.shape),
                              entry.offsets[0], entry.offsets[1]});
  }
  if (end != data_size) {
    throw Error(file + ": the tensors end at " + std::to_string(end) + ", but " +
                std::to_string(data_size) + " bytes of data follow the header");
  }
  return result;
}

std::string SafeTensorsHeaderText(std::span<const SafeTensor> tensors,
                                  const std::map<std::string, std::string>& metadata,
                                  const std::string& file) {
  std::string header = "{";
  try {
    if (!metadata.empty()) header += Quoted(kMetadata) + ":" + nlohmann::json(metadata).dump();
    std::set<std::string_view> names;
    uint64_t offset = 0;
    for (const SafeTensor& t : tensors) {
      const std::string where = file + ": tensor " + Quoted(t.name) + ": ";
      if (t.name.empty()) throw Error(file + ": a tensor has an empty name");
      if (t.name == kMetadata) throw Error(where + "the format reserves this name");
      if (!names.insert(t.name).second) throw Error(where + "appears twice");
      const std::optional<ElementType> type = FindElementType(t.dtype);
      if (!type) throw Error(where + "unknown dtype " + Quoted(t.dtype));
      uint64_t size = 0;
      if (!ByteSize(t.shape, *type, size) || size != t.bytes.size()) {
        throw Error(where + std::to_string(t.bytes.size()) + " bytes do not fit " + t.dtype + " " +
                    ShapeText<int64_t>(t.shape));
      }
      if (header.size() > 1) header += ',';
      header += nlohmann::json(t.name).dump() + ":{\"dtype\":\"" + t.dtype +
                "\",\"shape\":" + nlohmann::json(t.shape).dump() + ",\"data_offsets\":[" +
                std::to_string(offset) + "," + std::to_string(offset + size) + "]}";
      offset += size;
    }
  } catch (const nlohmann::json::exception&) {
    throw Error(file + ": a name or a metadata text is not valid UTF-8");
  }
  header += '}';
  const size_t used = (kLengthBytes + header.size()) % kAlignment;
  if (used != 0) header.append(kAlignment - used, ' ');
  if (header.size() > kMaxHeader) {
    throw Error(file + ": the names and shapes take " + std::to_string(header.size()) +
                " bytes, more than the 100000000 that a header may have");
  }
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header;
}

}  // namespace kudari::internal
