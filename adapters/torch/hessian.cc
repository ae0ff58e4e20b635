#include "keep.h"
#include "kudari/error.h"
#include "kudari/torch.h"

namespace kudari::torch {
namespace {

using ::torch::autograd::grad;
using ::torch::autograd::variable_list;

std::vector<at::Tensor> BuffersOf(const EstimateOptions& options) {
  return options.keep_buffers == nullptr ? std::vector<at::Tensor>()
                                         : options.keep_buffers->buffers();
}

variable_list Trained(const std::vector<at::Tensor>& parameters) {
  variable_list trained;
  for (const at::Tensor& p : parameters) {
    if (p.requires_grad()) trained.push_back(p);
  }
  return trained;
}

// One entry a parameter out of one a trained parameter, as optimisers take it: not in 16 bits.
std::vector<at::Tensor> Spread(const std::vector<at::Tensor>& parameters,
                               const variable_list& trained) {
  std::vector<at::Tensor> all;
  auto next = trained.begin();
  for (const at::Tensor& p : parameters) {
    at::Tensor& t = all.emplace_back(p.requires_grad() ? *next++ : at::Tensor());
    if (t.defined() && at::isReducedFloatingType(t.scalar_type())) t = t.to(at::kFloat);
  }
  return all;
}

void CheckDependent(const at::Tensor& t, const std::string& what) {
  if (!t.defined() || !t.requires_grad()) {
    throw Error(what + " not depend on any parameter that needs a gradient");
  }
}

// A label for each row, drawn from the softmax of its logits.
at::Tensor DrawLabels(const at::Tensor& logits, const std::optional<at::Generator>& generator) {
  const at::Tensor odds = logits.detach().softmax(1);
  if (!odds.isfinite().all().item<bool>()) {
    throw Error("GaussNewtonBartlett: the softmax of the logits is not finite");
  }
  return at::multinomial(odds, 1, true, generator).squeeze(1);
}

}  // namespace

PlainAttention::PlainAttention() : fused_(at::globalContext().userEnabledFlashSDP()) {
  at::globalContext().setSDPUseFlash(false);
}
PlainAttention::~PlainAttention() { at::globalContext().setSDPUseFlash(fused_); }

std::vector<at::Tensor> GaussNewtonBartlett(const std::vector<at::Tensor>& parameters,
                                            const std::function<at::Tensor()>& logits,
                                            const EstimateOptions& options) {
  const Keep keep(options.keep_random, BuffersOf(options));
  const at::AutoGradMode enabled(true);
  at::Tensor scores = logits();
  CheckDependent(scores, "GaussNewtonBartlett: the logits do");
  if (scores.dim() < 2 || scores.numel() == 0) {
    throw Error(c10::str("GaussNewtonBartlett: the logits have the shape ", scores.sizes(),
                         "; it must be [samples, classes], with or without more dimensions in "
                         "front, and none may be 0"));
  }
  scores = scores.reshape({-1, scores.size(-1)});
  const at::Tensor loss =
      ::torch::nn::functional::cross_entropy(scores, DrawLabels(scores, options.generator));
  return Spread(parameters, grad({loss}, Trained(parameters), {}, false, false, true));
}

std::vector<at::Tensor> Hutchinson(const std::vector<at::Tensor>& parameters,
                                   const std::function<at::Tensor()>& loss,
                                   const EstimateOptions& options) {
  const Keep keep(options.keep_random, BuffersOf(options));
  const at::AutoGradMode enabled(true);
  const PlainAttention plain;
  const at::Tensor value = loss();
  CheckDependent(value, "Hutchinson: the loss does");
  if (value.numel() != 1) {
    throw Error(c10::str("Hutchinson: the loss has the shape ", value.sizes(),
                         "; it must be a single value"));
  }
  const variable_list trained = Trained(parameters);
  const variable_list gradients = grad({value}, trained, {}, true, true, true);
  // Signs for every parameter, so that the draws do not depend on the loss. Where the gradient is
  // constant, it has no part in H u.
  variable_list signs, outputs, weights;
  for (size_t i = 0; i < trained.size(); ++i) {
    signs.push_back(2 * at::randint(0, 2, trained[i].sizes(), options.generator,
                                    trained[i].options().requires_grad(false)) -
                    1);
    if (!gradients[i].defined() || !gradients[i].requires_grad()) continue;
    outputs.push_back(gradients[i]);
    weights.push_back(signs[i]);
  }
  variable_list products(trained.size());
  if (!outputs.empty()) products = grad(outputs, trained, weights, false, false, true);
  for (size_t i = 0; i < trained.size(); ++i) {
    if (!gradients[i].defined()) continue;  // the loss does not depend on it
    products[i] = products[i].defined() ? signs[i] * products[i] : at::zeros_like(signs[i]);
  }
  return Spread(parameters, products);
}

}  // namespace kudari::torch
