#include "lab/logs/run_log_events.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <protozero/pbf_reader.hpp>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

using protozero::pbf_reader;
using protozero::pbf_wire_type;
using protozero::tag_and_type;

// Numbers of fields in tensorflow/core/util/event.proto, and of the messages in it.
namespace event {
constexpr uint32_t kStep = 2, kSummary = 5;
}
namespace summary {
constexpr uint32_t kValue = 1;
}
namespace value {
constexpr uint32_t kTag = 1, kSimpleValue = 2, kTensor = 8;
}
namespace tensor {
constexpr uint32_t kType = 1, kContent = 4, kFloats = 5, kDoubles = 6;
constexpr int32_t kFloat = 1, kDouble = 2;  // of DataType
}  // namespace tensor

// Of T, little-endian.
template <class T>
T Decoded(std::string_view bytes) {
  std::array<char, sizeof(T)> raw;
  for (size_t i = 0; i < raw.size(); ++i) {
    raw[i] = bytes[std::endian::native == std::endian::little ? i : raw.size() - 1 - i];
  }
  return std::bit_cast<T>(raw);
}

std::string_view Bytes(pbf_reader& message) {
  const protozero::data_view view = message.get_view();
  return {view.data(), view.size()};
}

// The element, if there is one alone.
template <class T>
std::optional<double> Only(std::string_view bytes) {
  if (bytes.size() != sizeof(T)) return std::nullopt;
  return Decoded<T>(bytes);
}

// Of a TensorProto.
std::optional<double> ScalarTensor(pbf_reader message) {
  int32_t type = 0;
  std::optional<double> floats, doubles;
  std::string_view content;
  while (message.next()) {
    switch (message.tag_and_type()) {
      case tag_and_type(tensor::kType, pbf_wire_type::varint):
        type = message.get_enum();
        break;
      case tag_and_type(tensor::kContent, pbf_wire_type::length_delimited):
        content = Bytes(message);
        break;
      case tag_and_type(tensor::kFloats, pbf_wire_type::length_delimited):
        floats = Only<float>(Bytes(message));
        break;
      case tag_and_type(tensor::kFloats, pbf_wire_type::fixed32):
        floats = message.get_float();
        break;
      case tag_and_type(tensor::kDoubles, pbf_wire_type::length_delimited):
        doubles = Only<double>(Bytes(message));
        break;
      case tag_and_type(tensor::kDoubles, pbf_wire_type::fixed64):
        doubles = message.get_double();
        break;
      default:
        message.skip();
    }
  }
  if (type == tensor::kFloat) return floats ? floats : Only<float>(content);
  if (type == tensor::kDouble) return doubles ? doubles : Only<double>(content);
  return std::nullopt;
}

using Take = std::function<void(const ScalarEvent&)>;

// Of a Summary.Value; `scalar` has its step and record.
void TakeScalar(pbf_reader message, ScalarEvent scalar, const Take& take) {
  std::optional<double> number;
  while (message.next()) {
    switch (message.tag_and_type()) {
      case tag_and_type(value::kTag, pbf_wire_type::length_delimited):
        scalar.tag = Bytes(message);
        break;
      case tag_and_type(value::kSimpleValue, pbf_wire_type::fixed32):
        number = message.get_float();
        break;
      case tag_and_type(value::kTensor, pbf_wire_type::length_delimited):
        number = ScalarTensor(message.get_message());
        break;
      default:
        message.skip();
    }
  }
  if (!number) return;
  scalar.value = *number;
  take(scalar);
}

void TakeScalars(std::string_view record, uint32_t number, const Take& take) {
  const pbf_reader message(record.data(), record.size());
  int64_t step = 0;  // which the format leaves out if it is 0
  pbf_reader steps = message;
  while (steps.next(event::kStep, pbf_wire_type::varint)) step = steps.get_int64();
  pbf_reader summaries = message;
  while (summaries.next(event::kSummary, pbf_wire_type::length_delimited)) {
    pbf_reader values = summaries.get_message();
    while (values.next(summary::kValue, pbf_wire_type::length_delimited)) {
      TakeScalar(values.get_message(), {.tag = {}, .step = step, .value = 0, .record = number},
                 take);
    }
  }
}

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1U) * 0x82F63B78U;
    table[i] = crc;
  }
  return table;
}();

// As TFRecords store it.
uint32_t Masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8U; }

// A record: its length, the checksum of that, its bytes, their checksum.
constexpr size_t kLength = 8, kChecksum = 4;

// Whether the checksum behind these bytes of a record is theirs.
bool Matches(std::string_view record, size_t at, size_t size) {
  const auto stored = Decoded<uint32_t>(record.substr(at + size, kChecksum));
  return stored == Masked(Crc32c(record.substr(at, size)));
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xFFU];
  return ~crc;
}

bool HasScalarEvents(std::string_view bytes) {
  return bytes.size() >= kLength + kChecksum && Matches(bytes, 0, kLength);
}

void ReadScalarEvents(std::string_view bytes, std::string_view name, const Take& take) {
  for (uint32_t number = 1; bytes.size() >= kLength + kChecksum; ++number) {
    const auto check = [&](size_t at, size_t size) {
      if (Matches(bytes, at, size)) return;
      throw Error(fmt::format("{}: record {} is damaged: its {} does not match the stored checksum",
                              name, number, at == 0 ? "length" : "content"));
    };
    check(0, kLength);
    const auto size = Decoded<uint64_t>(bytes.substr(0, kLength));
    constexpr size_t kFrame = kLength + 2 * kChecksum;
    if (bytes.size() < kFrame || size > bytes.size() - kFrame) break;
    check(kLength + kChecksum, size);
    try {
      TakeScalars(bytes.substr(kLength + kChecksum, size), number, take);
    } catch (const protozero::exception& e) {
      throw Error(fmt::format("{}: record {} is not an event: {}", name, number, e.what()));
    }
    bytes.remove_prefix(kFrame + size);
  }
}

}  // namespace kudari::lab
