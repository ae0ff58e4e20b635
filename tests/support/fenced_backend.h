#ifndef KUDARI_TESTS_SUPPORT_FENCED_BACKEND_H_
#define KUDARI_TESTS_SUPPORT_FENCED_BACKEND_H_

#include <sys/mman.h>

#include <mutex>
#include <new>

#include "backend/cpu/cpu.h"

namespace kudari::testing {

/// A backend whose memory nobody but it can touch, as that of an accelerator: outside its own calls
/// the memory has neither read nor write permission. It works as the CPU's backend does.
class FencedBackend final : public Backend {
 public:
  FencedBackend() {
    memory_ = static_cast<std::byte*>(
        mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  ~FencedBackend() override { munmap(memory_, kSize); }

  std::string_view name() const override { return "fenced"; }

  /// What has been allocated and not freed.
  size_t arrays() const { return arrays_; }

  std::byte* Allocate(size_t bytes) override {
    if (bytes == 0) return nullptr;
    const size_t end = used_ + (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (end > kSize) throw std::bad_alloc();
    ++arrays_;
    return memory_ + std::exchange(used_, end);
  }
  // When nothing is left, all memory is there again.
  void Free(std::byte* memory) noexcept override {
    if (memory != nullptr && --arrays_ == 0) used_ = 0;
  }

  void Read(const void* from, std::span<std::byte> to, const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Read(from, to, parallel);
  }
  void Write(std::span<const std::byte> from, void* to) noexcept override {
    const Opened opened(*this);
    cpu_.Write(from, to);
  }
  void Copy(const void* from, void* to, size_t bytes) noexcept override {
    const Opened opened(*this);
    cpu_.Copy(from, to, bytes);
  }
  void Fill(void* at, uint8_t value, size_t bytes) noexcept override {
    const Opened opened(*this);
    cpu_.Fill(at, value, bytes);
  }

  void Load(const internal::Coded& from, size_t begin, std::span<float> to) override {
    const Opened opened(*this);
    cpu_.Load(from, begin, to);
  }
  void Store(std::span<const float> from, size_t begin, const internal::Coded& to) override {
    const Opened opened(*this);
    cpu_.Store(from, begin, to);
  }
  void Copy(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Copy(pairs, parallel);
  }
  void Convert(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Convert(pairs, parallel);
  }
  void Blend(std::span<const internal::ArrayPair> pairs, double weight,
             const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Blend(pairs, weight, parallel);
  }
  void Meet(std::span<const internal::ArrayPair> pairs, double alpha,
            const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Meet(pairs, alpha, parallel);
  }
  void Combine(std::span<const internal::Combination> combinations,
               const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Combine(combinations, parallel);
  }
  void Perturb(std::span<const internal::Perturbation> perturbations, float eta,
               const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Perturb(perturbations, eta, parallel);
  }
  void Subtract(std::span<const internal::Shift> shifts, const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.Subtract(shifts, parallel);
  }
  void SumProducts(std::span<const internal::ArrayPair> pairs, internal::BlockSums& sums,
                   const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.SumProducts(pairs, sums, parallel);
  }
  void SumMeasured(std::span<const internal::Perturbation> perturbations, float eta, bool weights,
                   internal::BlockSums& sums, const Parallel& parallel) override {
    const Opened opened(*this);
    cpu_.SumMeasured(perturbations, eta, weights, sums, parallel);
  }

  void Choose(internal::Cohort& cohort) const override { cpu_.Choose(cohort); }
  void Choose(const internal::Cohort& cohort, bool check,
              internal::TensorRecord& s) const override {
    cpu_.Choose(cohort, check, s);
  }

  void SumSquares(const internal::StepView& step, const internal::Work& work,
                  std::span<double> sums) override {
    const Opened opened(*this);
    cpu_.SumSquares(step, work, sums);
  }
  double SumSquares(const internal::Coded& array, int64_t n) override {
    const Opened opened(*this);
    return cpu_.SumSquares(array, n);
  }
  void FormUnits(const internal::StepView& step, std::span<const size_t> tensors,
                 const internal::UnitForms& forms) override {
    const Opened opened(*this);
    cpu_.FormUnits(step, tensors, forms);
  }
  void FirstPass(const internal::StepView& step, const internal::Work& work,
                 std::span<double> sums) override {
    const Opened opened(*this);
    cpu_.FirstPass(step, work, sums);
  }
  void UpdateRows(const internal::StepView& step, const internal::Work& work) override {
    const Opened opened(*this);
    cpu_.UpdateRows(step, work);
  }
  void SecondPass(const internal::StepView& step, const internal::Work& work) override {
    const Opened opened(*this);
    cpu_.SecondPass(step, work);
  }
  void StepOneByOne(const internal::StepView& step, std::span<const size_t> tensors,
                    std::span<float* const> scratch) override {
    const Opened opened(*this);
    cpu_.StepOneByOne(step, tensors, scratch);
  }
  void StepSideBySide(const internal::StepView& step, std::span<const size_t> tensors,
                      std::span<float* const> scratch) override {
    const Opened opened(*this);
    cpu_.StepSideBySide(step, tensors, scratch);
  }
  void UpdateHessian(const internal::StepView& step, const internal::Work& work,
                     std::span<const internal::Coded> estimates) override {
    const Opened opened(*this);
    cpu_.UpdateHessian(step, work, estimates);
  }
  void Evaluate(const internal::StepView& step,
                std::span<const internal::EvaluatedTensor> tensors) override {
    const Opened opened(*this);
    cpu_.Evaluate(step, tensors);
  }

 private:
  static constexpr size_t kSize = size_t{8} << 20;

  // While one lives the memory can be read and written, by any thread.
  class Opened {
   public:
    explicit Opened(FencedBackend& backend) : backend_(backend) {
      backend_.Open(1, PROT_READ | PROT_WRITE);
    }
    ~Opened() { backend_.Open(-1, PROT_NONE); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

   private:
    FencedBackend& backend_;
  };

  void Open(int change, int protection) {
    const std::lock_guard lock(mutex_);
    const bool edge = change > 0 ? open_ == 0 : open_ == 1;
    open_ += change;
    if (edge && mprotect(memory_, kSize, protection) != 0) std::abort();
  }

  CpuBackend cpu_;
  std::byte* memory_ = nullptr;
  size_t used_ = 0, arrays_ = 0;
  std::mutex mutex_;
  int open_ = 0;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_FENCED_BACKEND_H_
