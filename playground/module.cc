// The WebAssembly module: PlaygroundAnswer for JavaScript, and exceptions without a runtime for
// them. A throw ends the call with an error in JavaScript, and with it the life of the module,
// whose owner makes another (module.mjs).
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <typeinfo>

#include "lab/landscape/playground.h"

namespace {

std::string question, answer;

}  // namespace

extern "C" {

/// Throws an Error with that message; module.mjs provides it.
[[noreturn]] __attribute__((import_module("kudari"), import_name("fail"))) void Fail(
    const char* message, size_t size);

void* __cxa_allocate_exception(size_t size) { return std::malloc(size); }

// All that the library throws begins with a std::exception.
[[noreturn]] void __cxa_throw(void* thrown, std::type_info* /*type*/, void (* /*destroy*/)(void*)) {
  const char* const message = static_cast<std::exception*>(thrown)->what();
  Fail(message, std::strlen(message));
}

/// Memory for a question of that size.
__attribute__((export_name("question"))) char* Question(size_t size) {
  question.resize(size);
  return question.data();
}

/// Answers the question; returns the size of the answer.
__attribute__((export_name("ask"))) size_t Ask() {
  answer = kudari::lab::PlaygroundAnswer(question);
  return answer.size();
}

/// The answer to the last question.
__attribute__((export_name("answer"))) const char* Answer() { return answer.data(); }

}  // extern "C"
