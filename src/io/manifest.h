// The text of manifest.json.
#ifndef KUDARI_IO_MANIFEST_H_
#define KUDARI_IO_MANIFEST_H_

#include <string>

#include "kudari/checkpoint.h"
#include "kudari/error.h"

namespace kudari::internal {

inline constexpr const char* kManifestName = "manifest.json";

/// A checkpoint of a format that this version of the library does not know.
class NewerFormat : public Error {
 public:
  using Error::Error;
};

/// A manifest as JSON, whose last line is a checksum of the lines before it. Metrics must be
/// finite. Throws Error for texts that are not UTF-8.
std::string ManifestText(const CheckpointManifest& manifest);

}  // namespace kudari::internal

#endif  // KUDARI_IO_MANIFEST_H_
