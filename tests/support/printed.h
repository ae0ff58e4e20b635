#ifndef KUDARI_TESTS_SUPPORT_PRINTED_H_
#define KUDARI_TESTS_SUPPORT_PRINTED_H_

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace kudari::testing {

/// What f prints to the file that it is called with.
template <class F>
std::string Printed(const F& f) {
  struct Memory {
    ~Memory() { std::free(text); }
    char* text = nullptr;
    size_t size = 0;
  } memory;
  {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        open_memstream(&memory.text, &memory.size), &std::fclose);
    f(file.get());
  }
  return {memory.text, memory.size};
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_PRINTED_H_
