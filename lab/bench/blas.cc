#include "lab/bench/blas.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>

#include "kudari/error.h"
#include "kudari/optimizer.h"

namespace kudari::lab {
namespace {

constexpr const char* kCoreType = "OPENBLAS_CORETYPE";

/// A function of a library, or null.
template <class F>
F Symbol(void* library, const char* name) {
  void* const symbol = dlsym(library, name);
  F function = nullptr;
  std::memcpy(&function, &symbol, sizeof(function));
  return function;
}

}  // namespace

std::string OpenBlasCore(const std::string& target) {
  if (target == "avx512") return "SkylakeX";
  if (target == "avx2") return "Haswell";
  return {};
}

Blas LoadBlas() {
  const char* const wanted = std::getenv("KUDARI_BLAS");
  const std::string file = wanted == nullptr || *wanted == '\0' ? "libopenblas.so.0" : wanted;
  const std::string core = OpenBlasCore(std::string(KernelTarget()));
  const bool choose = std::getenv(kCoreType) == nullptr && !core.empty();
  if (choose) setenv(kCoreType, core.c_str(), 1);
  // Its names stay its own: LibTorch brings a BLAS, too. It is never unloaded, since its threads
  // live as long as the program.
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* const reason = library == nullptr ? dlerror() : nullptr;
  if (choose) unsetenv(kCoreType);
  if (library == nullptr) {
    throw Error(
        fmt::format("{}; install libopenblas0-openmp, or name a BLAS by KUDARI_BLAS", reason));
  }
  Blas blas{.name = file,
            .sgemm = Symbol<decltype(Blas::sgemm)>(library, "cblas_sgemm"),
            .set_threads = Symbol<void (*)(int)>(library, "openblas_set_num_threads")};
  if (blas.set_threads == nullptr) {
    blas.set_threads = Symbol<void (*)(int)>(library, "bli_thread_set_num_threads");
  }
  if (blas.sgemm == nullptr || blas.set_threads == nullptr) {
    throw Error(fmt::format("{} has no {}", file,
                            blas.sgemm == nullptr
                                ? "cblas_sgemm"
                                : "openblas_set_num_threads or bli_thread_set_num_threads"));
  }
  using Text = const char* (*)();
  const auto config = Symbol<Text>(library, "openblas_get_config");
  const auto corename = Symbol<Text>(library, "openblas_get_corename");
  if (config != nullptr && corename != nullptr) {
    blas.name += fmt::format(" ({}; core type {}, {})", config(), corename(),
                             choose ? "as requested" : "its own choice or the environment's");
  }
  return blas;
}

}  // namespace kudari::lab
