#ifndef KUDARI_BACKEND_CPU_CPU_H_
#define KUDARI_BACKEND_CPU_CPU_H_

#include "backend/backend.h"
#include "kernels/codecs.h"
#include "kernels/doubles.h"
#include "kernels/kernels.h"

namespace kudari {

namespace internal {
struct PassOver;
}

/// The backend for host memory, with the kernels of one instruction set.
class CpuBackend final : public Backend {
 public:
  /// The default is the best instruction set, or the one named by KUDARI_TARGET; throws Error if
  /// there is none of that name.
  explicit CpuBackend(const internal::KernelSet& kernels = internal::Kernels());

  std::string_view name() const override { return "cpu"; }

  std::byte* Allocate(size_t bytes) override;
  void Free(std::byte* memory) noexcept override;
  void Read(const void* from, std::span<std::byte> to, const Parallel& parallel) override;
  void Write(std::span<const std::byte> from, void* to) noexcept override;
  void Copy(const void* from, void* to, size_t bytes) noexcept override;
  void Fill(void* at, uint8_t value, size_t bytes) noexcept override;

  void Load(const internal::Coded& from, size_t begin, std::span<float> to) override;
  void Store(std::span<const float> from, size_t begin, const internal::Coded& to) override;

  void Copy(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) override;
  void Convert(std::span<const internal::ArrayPair> pairs, const Parallel& parallel) override;
  void Blend(std::span<const internal::ArrayPair> pairs, double weight,
             const Parallel& parallel) override;
  void Meet(std::span<const internal::ArrayPair> pairs, double alpha,
            const Parallel& parallel) override;
  void Combine(std::span<const internal::Combination> combinations,
               const Parallel& parallel) override;
  void Perturb(std::span<const internal::Perturbation> perturbations, float eta,
               const Parallel& parallel) override;
  void Subtract(std::span<const internal::Shift> shifts, const Parallel& parallel) override;
  void SumProducts(std::span<const internal::ArrayPair> pairs, internal::BlockSums& sums,
                   const Parallel& parallel) override;
  void SumMeasured(std::span<const internal::Perturbation> perturbations, float eta, bool weights,
                   internal::BlockSums& sums, const Parallel& parallel) override;

  void Choose(internal::Cohort& cohort) const override;
  void Choose(const internal::Cohort& cohort, bool check, internal::TensorRecord& s) const override;

  void SumSquares(const internal::StepView& step, const internal::Work& work,
                  std::span<double> sums) override;
  double SumSquares(const internal::Coded& array, int64_t n) override;
  void FormUnits(const internal::StepView& step, std::span<const size_t> tensors,
                 const internal::UnitForms& forms) override;

  void FirstPass(const internal::StepView& step, const internal::Work& work,
                 std::span<double> sums) override;
  void SecondPass(const internal::StepView& step, const internal::Work& work) override;
  void UpdateRows(const internal::StepView& step, const internal::Work& work) override;
  void StepOneByOne(const internal::StepView& step, std::span<const size_t> tensors,
                    std::span<float* const> scratch) override;
  void StepSideBySide(const internal::StepView& step, std::span<const size_t> tensors,
                      std::span<float* const> scratch) override;

  void UpdateHessian(const internal::StepView& step, const internal::Work& work,
                     std::span<const internal::Coded> estimates) override;
  void Evaluate(const internal::StepView& step,
                std::span<const internal::EvaluatedTensor> tensors) override;

 private:
  void FirstPieces(const internal::StepView& step, const internal::Work& work, size_t begin,
                   size_t end, std::span<double> sums) const;
  void SecondPieces(const internal::StepView& step, const internal::Work& work, size_t begin,
                    size_t end) const;
  void UpdateRowsOf(const internal::StepView& step, const internal::Piece& piece) const;
  void BothPasses(const internal::PassOver& first, const float* const* next,
                  int64_t next_size) const;
  double SquaresOf(const internal::Coded& array, int64_t begin, int64_t size) const;
  void FormUnit(const internal::StepView& step, const internal::UnitForms& forms,
                internal::TensorRecord& s, int64_t unit) const;
  void StepWhole(const internal::StepView& step, size_t tensor, float* memory,
                 const Parallel& workers) const;

  const internal::KernelSet& kernels_;
  const internal::Codecs& codecs_;  // of the same instruction set
  const internal::DoubleKernels& doubles_;
  const size_t distance_ = internal::PrefetchDistance();
  const int64_t cached_;  // bytes that may be expected to stay in a core's second-level cache
};

}  // namespace kudari

#endif  // KUDARI_BACKEND_CPU_CPU_H_
