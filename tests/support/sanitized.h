#ifndef KUDARI_TESTS_SUPPORT_SANITIZED_H_
#define KUDARI_TESTS_SUPPORT_SANITIZED_H_

namespace kudari::testing {

/// Whether this is a build with AddressSanitizer or ThreadSanitizer: it is ten times slower, and
/// takes memory of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_SANITIZED_H_
