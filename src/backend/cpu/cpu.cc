#include "backend/cpu/cpu.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "backend/cpu/coded_blocks.h"
#include "core/elements.h"
#include "kudari/huge_pages.h"

namespace kudari {

using internal::Coded;

namespace {

/// Three quarters of the second-level cache of a core; 0 if the system does not tell its size.
int64_t CachedBytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t bytes = std::max(0L, sysconf(_SC_LEVEL2_CACHE_SIZE)) / 4 * 3;
  return bytes;
#else
  return 0;
#endif
}

}  // namespace

CpuBackend::CpuBackend(const internal::KernelSet& kernels)
    : kernels_(kernels),
      codecs_(internal::CodecsFor(kernels.target)),
      doubles_(internal::DoublesFor(kernels.target)),
      cached_(CachedBytes()) {}

std::byte* CpuBackend::Allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, std::align_val_t(kAlignment)));
  internal::AdviseHugePagesWhenWritten(memory, bytes);
  return memory;
}

void CpuBackend::Free(std::byte* memory) noexcept {
  ::operator delete(memory, std::align_val_t(kAlignment));
}

void CpuBackend::Read(const void* from, std::span<std::byte> to, const Parallel& parallel) {
  internal::CopyBytes({static_cast<const std::byte*>(from), to.size()}, to.data(), parallel);
}

void CpuBackend::Write(std::span<const std::byte> from, void* to) noexcept {
  Copy(from.data(), to, from.size());
}

void CpuBackend::Copy(const void* from, void* to, size_t bytes) noexcept {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuBackend::Fill(void* at, uint8_t value, size_t bytes) noexcept {
  if (bytes > 0) std::memset(at, value, bytes);
}

void CpuBackend::Load(const Coded& from, size_t begin, std::span<float> to) {
  codecs_.load(from, begin, to.size(), to.data());
}

void CpuBackend::Store(std::span<const float> from, size_t begin, const Coded& to) {
  codecs_.store(from.data(), begin, from.size(), to);
}

void CpuBackend::Choose(internal::Cohort& cohort) const {
  if (cohort.penalized) cohort.penalize = kernels_.penalize;
  if (kernels_.rules != nullptr && cohort.rule.kernel >= 0) {
    cohort.kernels = kernels_.rules[cohort.rule.kernel];
  }
  if (!cohort.float64) return;
  if (cohort.penalized) cohort.exact_penalize = doubles_.penalize;
  const bool compiled = doubles_.rules != nullptr && cohort.rule.kernel >= 0;
  cohort.exact_passes = compiled ? doubles_.rules[cohort.rule.kernel] : cohort.rule.scalar64;
  if (compiled) cohort.exact_update_rows = doubles_.update_rows[cohort.rule.kernel];
}

void CpuBackend::Choose(const internal::Cohort& cohort, bool check,
                        internal::TensorRecord& s) const {
  s.fused = s.Unit() > 0 || cohort.penalized || check || !s.coded
                ? nullptr
                : internal::CodedKernel(kernels_.target, cohort.rule, s.storage->weights,
                                        s.gradient_format, s.storage->slots);
}

}  // namespace kudari
