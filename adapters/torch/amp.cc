#include <ATen/autocast_mode.h>

#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/torch_amp.h"

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
  optimizer.BindGradients();  // checks them
  optimizer.ReleaseGradients();
  std::string_view first_nonfinite;
  std::vector<at::Tensor> gradients;
  for (size_t i = 0; i < optimizer.parameters_.size(); ++i) {
    const at::Tensor& g = optimizer.parameters_[i].second.grad();
    if (!g.defined()) continue;
    if (g.scalar_type() == at::kHalf) {
      throw Error(
          "Unscale: the gradient of parameter \"" + optimizer.parameters_[i].first +
          "\" is float16, which the scale keeps from vanishing: without it small ones would "
          "be lost; Step takes the gradients as they are and clips by the unscaled norm");
    }
    gradients.push_back(g);
    if (first_nonfinite.empty() && !g.isfinite().all().item<bool>()) {
      first_nonfinite = optimizer.engine_.tensors()[i].name;
    }
  }
  scaler_.Unscaled(optimizer.engine_, first_nonfinite);
  for (at::Tensor& g : gradients) g.mul_(1 / scale());
}

}  // namespace kudari::torch
