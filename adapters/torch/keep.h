#ifndef KUDARI_ADAPTERS_TORCH_KEEP_H_
#define KUDARI_ADAPTERS_TORCH_KEEP_H_

#include <torch/torch.h>

#include <vector>

namespace kudari::torch {

/// Keeps a tensor's current memory and the values in it. Restore brings both back.
class KeptTensor {
 public:
  explicit KeptTensor(const at::Tensor& tensor)
      : tensor_(tensor), memory_(tensor.detach()), values_(memory_.clone()) {}

  void Restore() const {
    const at::NoGradGuard no_grad;
    tensor_.set_data(memory_);
    tensor_.copy_(values_);
  }

 private:
  at::Tensor tensor_, memory_, values_;
};

/// On destruction, restores the state of torch's default CPU generator, if asked to, and the values
/// of buffers such as the running statistics of batch norm.
class Keep {
 public:
  Keep(bool random, const std::vector<at::Tensor>& buffers) {
    if (random) random_ = at::detail::getDefaultCPUGenerator().get_state();
    for (const at::Tensor& buffer : buffers) {
      if (buffer.defined()) buffers_.emplace_back(buffer);
    }
  }
  ~Keep() {
    for (const KeptTensor& buffer : buffers_) buffer.Restore();
    if (random_.defined()) at::Generator(at::detail::getDefaultCPUGenerator()).set_state(random_);
  }
  Keep(const Keep&) = delete;
  Keep& operator=(const Keep&) = delete;

 private:
  at::Tensor random_;
  std::vector<KeptTensor> buffers_;
};

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_KEEP_H_
