// Any bytes are either the index of a model's files or an Error; with the right checksum behind
// them they are either a manifest, which is written and read as the same one, or an Error.

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "io/checksum.h"
#include "io/manifest.h"
#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/safetensors.h"

namespace {

void Require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

void CheckIndex(const std::string& text) {
  try {
    for (const auto& [tensor, file] : kudari::ParseSafeTensorsIndex(text, "input")) {
      Require(!file.empty() && file.front() != '.' && file.find('/') == std::string::npos,
              "a file of the index is in its folder");
    }
  } catch (const kudari::Error&) {
  }
}

void CheckManifest(const std::string& text) {
  char ending[64];
  const uint64_t sum = kudari::internal::Checksum::Of(text.data(), text.size());
  std::snprintf(ending, sizeof(ending), ",\n  \"checksum\": \"%016llx\"\n}\n",
                static_cast<unsigned long long>(sum));
  try {
    const auto manifest = kudari::ParseManifest(text + ending, "input");
    for (const kudari::CheckpointFile& file : manifest.files) {
      Require(!file.name.empty() && file.name.front() != '.' &&
                  file.name.find('/') == std::string::npos,
              "a file of the manifest is in its folder");
    }
    Require(manifest.step >= 0 && manifest.serial >= 1, "numbers are in range");
    const std::string again = kudari::internal::ManifestText(manifest);
    Require(kudari::ParseManifest(again, "again") == manifest, "it reads back");
  } catch (const kudari::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  CheckIndex(text);
  CheckManifest(text);
  return 0;
}
