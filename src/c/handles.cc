#include "c/handles.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <stdexcept>

#include "kudari/error_kinds.h"
#include "kudari/messages.h"

namespace kudari::c {
namespace {

// The message of the thread's last error: `text`, or `fixed` if there was no memory for it.
struct LastError {
  std::string text;
  const char* fixed = "";
};

LastError& Last() {
  thread_local LastError last;
  return last;
}

int Keep(int code, const char* message) noexcept {
  LastError& last = Last();
  try {
    last.text = message;
    last.fixed = nullptr;
  } catch (...) {
    last.fixed = "out of memory, also for the message";
  }
  return code;
}

}  // namespace

int Fail() noexcept {
  try {
    throw;
  } catch (const CodedError& e) {
    return Keep(e.code(), e.what());
  } catch (const WrongStateError& e) {
    return Keep(KUDARI_WRONG_STATE, e.what());
  } catch (const NonFiniteError& e) {
    return Keep(KUDARI_NONFINITE, e.what());
  } catch (const Error& e) {
    return Keep(KUDARI_INVALID_ARGUMENT, e.what());
  } catch (const std::bad_alloc&) {
    return Keep(KUDARI_OUT_OF_MEMORY, "out of memory");
  } catch (const std::length_error&) {
    return Keep(KUDARI_OUT_OF_MEMORY, "more was asked for than memory can hold");
  } catch (const std::filesystem::filesystem_error& e) {
    return Keep(KUDARI_IO, e.what());
  } catch (const std::exception& e) {
    return Keep(KUDARI_INTERNAL, e.what());
  } catch (...) {
    return Keep(KUDARI_INTERNAL, "an exception of unknown type");
  }
}

void CheckArgument(const void* argument, std::string_view name) {
  if (argument == nullptr) {
    throw CodedError(KUDARI_INVALID_ARGUMENT, std::string(name) + " is null");
  }
}

std::string_view Utf8(const char* text, std::string_view name) {
  CheckArgument(text, name);
  const std::string_view view(text);
  if (!IsUtf8(view)) {
    throw CodedError(KUDARI_INVALID_ARGUMENT, std::string(name) + " is not UTF-8: " + Quoted(view));
  }
  return view;
}

void CheckInteger(std::string_view name, int64_t value, int64_t low, int64_t high) {
  if (low <= value && value <= high) return;
  throw CodedError(KUDARI_INVALID_ARGUMENT, std::string(name) + " = " + std::to_string(value) +
                                                " is outside [" + std::to_string(low) + ", " +
                                                std::to_string(high) + "]");
}

void CheckStructSize(std::string_view name, size_t size, size_t least) {
  constexpr size_t kMost = 4096;
  if (size >= least && size <= kMost && size % alignof(size_t) == 0) return;
  throw CodedError(KUDARI_INVALID_ARGUMENT,
                   std::string(name) + ": struct_size = " + std::to_string(size) + " is outside [" +
                       std::to_string(least) + ", " + std::to_string(kMost) +
                       "] or not a multiple of " + std::to_string(alignof(size_t)));
}

void* Allocate(size_t size) {
  void* const memory = std::malloc(std::max<size_t>(size, 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

char* Copy(std::string_view text) {
  auto* const copy = static_cast<char*>(Allocate(text.size() + 1));
  std::copy(text.begin(), text.end(), copy);
  copy[text.size()] = '\0';
  return copy;
}

}  // namespace kudari::c

extern "C" {

const char* kudari_last_error() {
  const kudari::c::LastError& last = kudari::c::Last();
  return last.fixed != nullptr ? last.fixed : last.text.c_str();
}

int32_t kudari_abi_version() { return KUDARI_ABI_VERSION; }

const char* kudari_version() { return KUDARI_VERSION; }

void kudari_free(void* memory) { std::free(memory); }

}  // extern "C"
