#ifndef KUDARI_ADAPTERS_TORCH_KEEP_H_
#define KUDARI_ADAPTERS_TORCH_KEEP_H_

#include <torch/torch.h>

#include <utility>
#include <vector>

namespace kudari::torch {

/// Puts back, at its end, the state of torch's own generator for the CPU, if asked, and buffers of
/// a module such as the running statistics of batch norm.
class Keep {
 public:
  Keep(bool random, const std::vector<at::Tensor>& buffers) {
    if (random) random_ = at::detail::getDefaultCPUGenerator().get_state();
    for (const at::Tensor& buffer : buffers) {
      if (buffer.defined()) buffers_.emplace_back(buffer, buffer.clone());
    }
  }
  ~Keep() {
    const at::NoGradGuard no_grad;
    for (auto& [buffer, before] : buffers_) buffer.copy_(before);
    if (random_.defined()) at::Generator(at::detail::getDefaultCPUGenerator()).set_state(random_);
  }
  Keep(const Keep&) = delete;
  Keep& operator=(const Keep&) = delete;

 private:
  at::Tensor random_;
  std::vector<std::pair<at::Tensor, at::Tensor>> buffers_;
};

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_KEEP_H_
