#ifndef KUDARI_LANGUAGE_H_
#define KUDARI_LANGUAGE_H_

// Included by every header that includes no other one of Kudari's, so that a compiler of an older
// C++ says this before anything else. (GCC 10 gives C++20 a smaller number than the standard.)
#if __cplusplus < 201709L
#error "Kudari needs C++20: compile with -std=c++20, or link the CMake target kudari::kudari"
#endif

#endif  // KUDARI_LANGUAGE_H_
