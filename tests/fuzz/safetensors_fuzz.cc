// Any bytes are either a safetensors file, whose tensors can be read and lie where they say, or an
// Error; and a file is either a state, which has each of its tensors and scalars, or an Error.

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "kudari/state_file.h"

namespace {

void Require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

void CheckState(const kudari::SafeTensorsFile& file) {
  kudari::StateTree state;
  try {
    state = kudari::StateOf(file, "input");
  } catch (const kudari::Error&) {
    return;
  }
  Require(state.Paths().size() + 1 == file.tensors().size() + file.metadata().size(),
          "a path for each tensor and scalar");
  for (const kudari::SafeTensor& t : file.tensors()) {
    const kudari::StateArray& array = state.At(t.name).Array();
    Require(array.shape == t.shape && std::ranges::equal(array.bytes, t.bytes), "the same array");
  }
  Require(kudari::FirstDifference(state, state).empty(), "a state equals itself");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const kudari::SafeTensorsFile file(bytes, "input");
    size_t total = 0;
    for (const kudari::SafeTensor& t : file.tensors()) {
      total += t.bytes.size();
      Require(file.Contains(t.name) && &file.Find(t.name) == &t, "a tensor is found by its name");
      Require(t.Size() == 0 || t.bytes.size() % static_cast<size_t>(t.Size()) == 0,
              "the bytes are a whole number for each element");
      unsigned sum = 0;
      for (const std::byte b : t.bytes) sum += static_cast<unsigned>(b);
      Require(sum <= 255 * t.bytes.size(), "every byte can be read");
      if (t.dtype == "F32") {
        const auto floats = file.Floats(t.name);
        Require(static_cast<int64_t>(floats.size()) == t.Size(), "a float for each element");
        Require(reinterpret_cast<uintptr_t>(floats.data()) % alignof(float) == 0, "aligned floats");
      }
      try {
        const auto integers = file.Integers(t.name);
        Require(static_cast<int64_t>(integers.size()) == t.Size(), "an integer for each element");
      } catch (const kudari::Error&) {
      }
    }
    Require(total < size || (total == 0 && size == 0), "no more data than the file has");
    CheckState(file);
  } catch (const kudari::Error&) {
  }
  return 0;
}
