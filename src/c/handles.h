// What is behind the handles of kudari/c.h, and how its functions begin and end.
#ifndef KUDARI_C_HANDLES_H_
#define KUDARI_C_HANDLES_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kudari/c.h"
#include "kudari/error.h"
#include "kudari/grad_scaler.h"
#include "kudari/lr_range.h"
#include "kudari/optimizer.h"
#include "kudari/schedule.h"

struct kudari_optimizer {
  explicit kudari_optimizer(kudari::Optimizer made) : core(std::move(made)) {}

  kudari::Optimizer core;
  std::optional<kudari::EvaluationView> view = std::nullopt;  // ends before the optimiser
  bool stepping = false;                                      // so that a closure cannot end it
};

struct kudari_schedule {
  kudari::Schedule curve;
};

struct kudari_lr_range {
  kudari::LrRangeTest test;
};

struct kudari_grad_scaler {
  kudari::GradScaler core;
};

namespace kudari::c {

/// The most steps that a run may have.
inline constexpr int64_t kMostSteps = int64_t{1} << 53;

/// An error with a code of kudari/c.h.
class CodedError : public Error {
 public:
  CodedError(int code, std::string_view message) : Error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

/// Keeps the message of the exception that is being handled and returns its code. Never throws.
int Fail() noexcept;

/// Calls f, which does the work of a function of kudari/c.h, and returns its code.
template <class F>
int Guarded(const F& f) noexcept {
  try {
    f();
    return KUDARI_OK;
  } catch (...) {
    return Fail();
  }
}

/// Calls f, which reads or writes files; what it throws as Error becomes KUDARI_IO.
template <class F>
auto WithFiles(const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw CodedError(KUDARI_IO, e.what());
  }
}

/// Throws CodedError for an argument that is null; `name` is its name in kudari/c.h.
void CheckArgument(const void* argument, std::string_view name);

/// The object behind a pointer. Throws CodedError if it is null.
template <class T>
T& Deref(T* pointer, std::string_view name) {
  CheckArgument(pointer, name);
  return *pointer;
}

/// A text of the caller's. Throws CodedError if it is null or not UTF-8.
std::string_view Utf8(const char* text, std::string_view name);

/// Throws CodedError unless `value` is in [low, high].
void CheckInteger(std::string_view name, int64_t value, int64_t low, int64_t high);

/// Throws CodedError unless a struct may have that size.
void CheckStructSize(std::string_view name, size_t size, size_t least);

/// A copy of a text or of bytes for the caller, who frees it.
char* Copy(std::string_view text);

/// So many bytes for the caller, who frees them. Throws std::bad_alloc.
void* Allocate(size_t size);

/// A struct of the caller's as this library knows it: members that the caller does not have are
/// zero. Throws CodedError if it is too small for a member `least` bytes into it, or has members
/// that are not known here and not zero.
template <class T>
T Read(const T* from, std::string_view name, size_t least = sizeof(size_t)) {
  static_assert(std::is_trivially_copyable_v<T>);
  CheckArgument(from, name);
  const size_t size = from->struct_size;
  CheckStructSize(name, size, least);
  const char* const bytes = reinterpret_cast<const char*>(from);
  if (size > sizeof(T) &&
      std::any_of(bytes + sizeof(T), bytes + size, [](char c) { return c != 0; })) {
    throw CodedError(KUDARI_INVALID_ARGUMENT,
                     std::string(name) + ": it has members that this version of Kudari lacks");
  }
  T out = {};
  std::memcpy(&out, bytes, std::min(size, sizeof(T)));
  return out;
}

/// Throws CodedError unless `to`, a struct to be written, is null or has its size.
template <class T>
void CheckOutput(const T* to, std::string_view name) {
  if (to != nullptr) CheckStructSize(name, to->struct_size, sizeof(size_t));
}

/// Writes what the caller has room for and leaves its struct_size.
template <class T>
void Write(T value, T* to) {
  if (to == nullptr) return;
  value.struct_size = to->struct_size;
  std::memcpy(to, &value, std::min(to->struct_size, sizeof(T)));
}

/// The report in C's words.
kudari_report ReportOf(const kudari_optimizer& optimizer, const Report& report);

/// The oracle that calls a closure. It throws CodedError if the closure fails.
Oracle OracleOf(kudari_closure closure, void* user);

/// Marks an optimiser as stepping while it lives.
class Stepping {
 public:
  explicit Stepping(kudari_optimizer& optimizer)
      : optimizer_(optimizer), before_(std::exchange(optimizer.stepping, true)) {}
  Stepping(const Stepping&) = delete;
  Stepping& operator=(const Stepping&) = delete;
  ~Stepping() { optimizer_.stepping = before_; }

 private:
  kudari_optimizer& optimizer_;
  bool before_;
};

}  // namespace kudari::c

#endif  // KUDARI_C_HANDLES_H_
