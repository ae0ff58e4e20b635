#include "kudari/torch_amp.h"

#include <ATen/autocast_mode.h>

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "parameters.h"

namespace kudari::torch {

Autocast::Autocast(at::ScalarType dtype)
    : enabled_(at::autocast::is_autocast_enabled(at::kCPU)),
      cache_enabled_(at::autocast::is_autocast_cache_enabled()),
      dtype_(at::autocast::get_autocast_dtype(at::kCPU)) {
  if (dtype != at::kBFloat16 && dtype != at::kHalf) {
    throw Error(std::string("Autocast: dtype = ") + at::toString(dtype) +
                " is neither BFloat16 nor Half");
  }
  at::autocast::set_autocast_enabled(at::kCPU, true);
  at::autocast::set_autocast_dtype(at::kCPU, dtype);
  at::autocast::set_autocast_cache_enabled(true);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_cache_enabled(cache_enabled_);
  at::autocast::set_autocast_dtype(at::kCPU, dtype_);
  at::autocast::set_autocast_enabled(at::kCPU, enabled_);
}

// By a tensor and not by a number: a 16-bit loss times 65,536 is to be a float32.
at::Tensor GradScaler::Scale(const at::Tensor& loss) const {
  return loss * at::scalar_tensor(scale(), at::kFloat);
}

Report GradScaler::Step(Optimizer& optimizer) { return optimizer.StepWith(&scaler_); }

Report GradScaler::Step(Optimizer& optimizer,
                        const std::function<kudari::Evaluation(Pass)>& closure) {
  return optimizer.StepWith(&scaler_, closure);
}

Report GradScaler::Step(Optimizer& optimizer, const std::function<kudari::Evaluation()>& closure) {
  return optimizer.StepWith(&scaler_, optimizer.WithPass(closure));
}

Report GradScaler::Step(Optimizer& optimizer, const std::function<at::Tensor()>& closure) {
  return optimizer.StepWith(&scaler_, optimizer.WithPass(closure));
}

void GradScaler::Unscale(Optimizer& optimizer) {
  const at::NoGradGuard no_grad;
  optimizer.BindParameters();
  std::string_view first_nonfinite;
  for (size_t i = 0; i < optimizer.parameters_.size(); ++i) {
    const auto& [name, p] = optimizer.parameters_[i];
    optimizer.CheckGradient(i);
    const at::Tensor& g = p.grad();
    if (!g.defined()) continue;
    if (g.scalar_type() == at::kHalf) {
      throw Error("Unscale: the gradient of parameter \"" + name +
                  "\" is float16: without the scale its small values would be lost; Step takes "
                  "scaled gradients and clips by the unscaled norm");
    }
    const at::Tensor values = g.is_sparse() ? g.coalesce().values() : g;
    if (first_nonfinite.empty() && !values.isfinite().all().item<bool>()) {
      first_nonfinite = optimizer.core_->tensors()[i].name;
    }
  }
  // Each is to be multiplied once, whatever memory it shares; and all, or none.
  std::vector<at::Tensor> gradients;
  std::set<const void*> memory;
  for (const auto& [name, p] : optimizer.parameters_) {
    at::Tensor& g = p.mutable_grad();
    if (!g.defined() || g.numel() == 0) continue;
    if (g.is_sparse()) {
      g = g.clone();
    } else if (!IsWritable(g) || !memory.insert(g.const_data_ptr()).second) {
      g = InMemory(g).clone();
    }
    gradients.push_back(g);
  }
  scaler_.Unscaled(*optimizer.core_, first_nonfinite);
  for (at::Tensor& g : gradients) g.mul_(1 / scale());
}

}  // namespace kudari::torch
