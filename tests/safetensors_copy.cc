// Reads a safetensors file of float32 tensors and writes it again: Kudari's half of io_peer.py.

#include <cstdio>
#include <exception>
#include <vector>

#include "kudari/safetensors.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FROM TO\n", argv[0]);
    return 2;
  }
  try {
    const kudari::SafeTensorsFile file{std::filesystem::path(argv[1])};
    std::vector<kudari::FloatTensor> tensors;
    for (const kudari::SafeTensor& t : file.tensors()) {
      tensors.push_back({t.name, t.shape, file.Floats(t.name)});
    }
    kudari::WriteSafeTensors(argv[2], tensors, file.metadata());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
