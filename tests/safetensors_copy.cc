// Reads a safetensors file and writes it again: Kudari's half of io_peer.py.

#include <cstdio>
#include <exception>

#include "kudari/safetensors.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FROM TO\n", argv[0]);
    return 2;
  }
  try {
    const kudari::SafeTensorsFile file{std::filesystem::path(argv[1])};
    kudari::WriteSafeTensors(argv[2], file.tensors(), file.metadata());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
