#include <algorithm>
#include <functional>
#include <string>

#include "core/elements.h"
#include "kernels/kernels.h"
#include "kernels/parallel.h"
#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari {
namespace {

/// The tensors' own gradients after a single call.
Gradient OneCall(const Oracle& oracle) {
  const Evaluation e = oracle(Pass::kPlain);
  if (e.end || e.samples == 0) return {};
  return {.loss = e.loss, .samples = e.samples};
}

}  // namespace

Gradient PlainSource::Compute(Engine& /*engine*/, const Oracle& oracle) { return OneCall(oracle); }

Accumulate::Accumulate(int64_t count) : count_(count) {
  if (count < 1) throw Error("accumulate = " + std::to_string(count) + " is outside [1, ...]");
}

Gradient Accumulate::Compute(Engine& engine, const Oracle& oracle) {
  if (count_ == 1) return OneCall(oracle);
  // The sums are in units of the first batch's samples: equal batches are added as they are.
  const internal::KernelSet& kernels = internal::Kernels();
  const internal::Codecs& codecs = internal::CodecsFor(kernels.target);
  const std::span<const Tensor> tensors = engine.tensors();
  const int workers = internal::Threads(engine.parallel());
  sums_.resize(tensors.size());
  data_.assign(tensors.size(), nullptr);
  const auto add = [&](double weight) {
    const auto work = [&, weight](int worker) {
      for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].grad == nullptr) continue;
        const auto n = static_cast<size_t>(tensors[i].Size());
        const size_t begin = n * static_cast<size_t>(worker) / static_cast<size_t>(workers);
        const size_t end = n * static_cast<size_t>(worker + 1) / static_cast<size_t>(workers);
        const internal::Coded gradient = internal::GradientOf(tensors[i]);
        internal::ForFloats(codecs, gradient, begin, end, [&](size_t at, std::span<const float> g) {
          float* const sum = sums_[i].data() + at;
          if (data_[i] == nullptr) {
            std::transform(g.begin(), g.end(), sum,
                           [w = static_cast<float>(weight)](float x) { return w * x; });
          } else {
            kernels.add_scaled(sum, g.data(), static_cast<float>(weight), g.size());
          }
        });
      }
    };
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].grad != nullptr) sums_[i].resize(static_cast<size_t>(tensors[i].Size()));
    }
    internal::RunParallel(engine.parallel(), workers, std::cref(work));
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].grad != nullptr) data_[i] = sums_[i].data();
    }
  };

  double loss = 0, samples = 0, unit = 0;
  for (int64_t calls = 0; calls < count_; ++calls) {
    const Evaluation e = oracle(Pass::kPlain);
    if (e.end) break;
    if (e.samples == 0) continue;
    if (unit == 0) unit = e.samples;
    add(e.samples / unit);
    loss += e.loss * e.samples;
    samples += e.samples;
  }
  if (samples == 0) return {};
  // A group of one needs no factor: unit / samples is 1, and 1 * g is g.
  return {.loss = loss / samples, .samples = samples, .factor = unit / samples, .data = data_};
}

}  // namespace kudari
