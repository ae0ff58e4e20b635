#ifndef KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_
#define KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace kudari::lab {

/// A scalar of a TensorBoard event file.
struct ScalarEvent {
  std::string tag;
  int64_t step = 0;
  double value = 0;
  uint32_t record = 0;  ///< in the file, from 1
};

/// Gives `take` the scalars of an event file, in its order: simple values, and float or double
/// tensors of one element. Other events are passed over, and so is a last record that is not
/// complete yet. Throws Error naming file and record for what is damaged, as its checksums tell.
void ReadScalarEvents(std::string_view bytes, std::string_view name,
                      const std::function<void(const ScalarEvent&)>& take);

/// Whether the bytes begin as an event file, whose first checksum tells.
bool HasScalarEvents(std::string_view bytes);

/// The checksum of TFRecords: CRC-32C (Castagnoli).
uint32_t Crc32c(std::string_view bytes);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_EVENTS_H_
