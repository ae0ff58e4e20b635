#ifndef KUDARI_TESTS_SUPPORT_TFRECORD_H_
#define KUDARI_TESTS_SUPPORT_TFRECORD_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "lab/logs/run_log_events.h"

namespace kudari::testing {

/// A TFRecord of any content, with the checksums that belong to it.
inline std::string Record(std::string_view content) {
  const auto little = [](uint64_t x, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(x >> 8 * i & 0xFFU);
    return text;
  };
  const auto checksum = [&little](std::string_view bytes) {
    const uint32_t crc = lab::Crc32c(bytes);
    return little((crc >> 15 | crc << 17) + 0xA282EAD8U, 4);
  };
  const std::string length = little(content.size(), 8);
  return length + checksum(length) + std::string(content) + checksum(content);
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_TFRECORD_H_
