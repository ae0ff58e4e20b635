#ifndef KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_
#define KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// A scalar of a TensorBoard event file.
struct ScalarEvent {
  std::string tag;
  int64_t step = 0;
  double value = 0;
  size_t record = 0;  ///< in the file, from 1
};

/// The scalars of an event file, in its order: simple values, and float or double tensors of one
/// element. Other events are passed over, and so is a last record that is not complete yet. Throws
/// Error naming file and record for what is damaged, as its checksums tell.
std::vector<ScalarEvent> ReadScalarEvents(std::string_view bytes, std::string_view name);

/// The checksum of TFRecords: CRC-32C (Castagnoli).
uint32_t Crc32c(std::string_view bytes);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_
