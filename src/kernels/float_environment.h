#ifndef KUDARI_KERNELS_FLOAT_ENVIRONMENT_H_
#define KUDARI_KERNELS_FLOAT_ENVIRONMENT_H_

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace kudari::internal {

/// Sets the floating-point mode that all kernels run in, on every target and thread, and restores
/// the previous mode on destruction: rounding to nearest, denormal numbers preserved, no traps. The
/// host program may have set flush to zero, another rounding mode or traps for some of its threads,
/// which would make results depend on the thread. Flushing to zero is not used because targets
/// differ in which results count as too small.
class [[nodiscard]] FloatEnvironment {
 public:
  FloatEnvironment() : host_(Get()) {
    if (Mode(host_) != kMode) Set((host_ & kFlags) | kMode);
  }
  ~FloatEnvironment() {
    if (Mode(host_) != kMode) Set(host_);
  }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using Register = uint32_t;
  static constexpr Register kFlags = 0x3F, kMode = 0x1F80;
  static Register Get() { return _mm_getcsr(); }
  static void Set(Register mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Register = uint64_t;
  static constexpr Register kFlags = 0, kMode = 0;
  static Register Get() {
    Register mode = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void Set(Register mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Register = uint32_t;
  static constexpr Register kFlags = 0, kMode = 0;
  static Register Get() { return kMode; }
  static void Set(Register /*mode*/) {}
#endif
  static Register Mode(Register host) { return host & ~kFlags; }

  const Register host_;
};

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_FLOAT_ENVIRONMENT_H_
