#include "kudari/torch_release.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "kudari/error.h"

namespace kudari::torch {

struct GradientRelease::State {
  Optimizer* optimizer;
  Mode mode;
  enum class Doing { kNothing, kMeasuring, kStepping } doing = Doing::kNothing;
  std::vector<double> squares = {};  // of each parameter's gradient, from the first pass
  std::optional<double> norm = std::nullopt;
  Report report = {};
  bool stepped = false;

  // Called by backward when a parameter's gradient is complete.
  void Arrived(size_t index) {
    if (doing == Doing::kNothing) return;  // somebody else's backward
    kudari::Optimizer& core = *optimizer->core_;
    optimizer->CheckGradient(index);
    optimizer->BindGradient(index);
    const Bound bound{*optimizer, index};
    if (doing == Doing::kMeasuring) {
      squares[index] = core.GradientSquares(index);
    } else {
      const bool written = !core.Frozen(index);
      const Report one = core.StepTensor(index, norm);
      report.factor = one.factor;
      report.grad_norm = one.grad_norm;
      report.bytes_read += one.bytes_read;
      report.bytes_written += one.bytes_written;
      stepped = true;
      if (written) {
        optimizer->NoteWritten(index);
        at::autocast::clear_cache();
      }
    }
    optimizer->parameters_[index].second.mutable_grad().reset();
  }

  // Ends the step if one has begun.
  void Finish() {
    if (!stepped) return;
    optimizer->core_->FinishStep();
    optimizer->stepped_ = optimizer->core_->steps();
    if (optimizer->WroteAll()) optimizer->NoteStep(true);
  }

 private:
  // While it lives the engine has a gradient.
  struct Bound {
    Optimizer& optimizer;
    size_t index;
    ~Bound() { optimizer.ReleaseGradient(index); }
  };
};

class GradientRelease::Hook : public ::torch::autograd::PostAccumulateGradHook {
 public:
  Hook(std::shared_ptr<State> state, size_t index) : state_(std::move(state)), index_(index) {}
  void operator()(const ::torch::autograd::Variable& /*parameter*/) override {
    state_->Arrived(index_);
  }

 private:
  std::shared_ptr<State> state_;
  size_t index_;
};

GradientRelease::GradientRelease(Optimizer& optimizer, Mode mode)
    : state_(std::make_shared<State>(State{.optimizer = &optimizer, .mode = mode})) {
  for (const auto& [name, p] : optimizer.parameters_) {
    if (::torch::autograd::impl::post_acc_grad_hooks(p) == nullptr) continue;
    throw Error("gradient release: parameter \"" + name +
                "\" already has a hook that is called when its gradient is ready");
  }
  for (size_t i = 0; i < optimizer.parameters_.size(); ++i) {
    ::torch::autograd::impl::set_post_acc_grad_hooks(optimizer.parameters_[i].second,
                                                     std::make_unique<Hook>(state_, i));
  }
}

GradientRelease::~GradientRelease() {
  for (const auto& [name, p] : state_->optimizer->parameters_) {
    ::torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
  }
}

Report GradientRelease::Step(const std::function<at::Tensor()>& loss) {
  State& state = *state_;
  Optimizer& optimizer = *state.optimizer;
  optimizer.FollowParameters();
  kudari::Optimizer& core = optimizer.core();
  for (const auto& [name, p] : optimizer.parameters_) {
    if (!p.grad().defined()) continue;
    throw Error("gradient release: parameter \"" + name +
                "\" has a gradient before the step; call ZeroGrad");
  }
  const auto backward = [&](State::Doing doing) {
    const at::AutoGradMode enabled(true);
    const at::Tensor value = loss();
    optimizer.BindParameters();
    state.doing = doing;
    // Also if backward throws.
    const std::unique_ptr<State, void (*)(State*)> done(
        &state, [](State* s) { s->doing = State::Doing::kNothing; });
    value.backward();
    return value.item<double>();
  };
  state.report = {};
  state.stepped = false;
  state.norm.reset();
  if (state.mode == Mode::kTwoPasses) {
    state.squares.assign(optimizer.parameters_.size(), 0);
    state.report.loss = backward(State::Doing::kMeasuring);
    double sum = 0;
    for (const double s : state.squares) sum += s;
    state.norm = state.report.grad_norm = std::sqrt(sum);
    if (!std::isfinite(sum) && core.spec().nonfinite != NonFinite::kPropagate) {
      for (size_t i = 0; i < state.squares.size(); ++i) {
        if (std::isfinite(state.squares[i])) continue;
        state.report.first_nonfinite = core.tensors()[i].name;
        break;
      }
      if (core.spec().nonfinite == NonFinite::kError) {
        throw Error("the gradient of \"" + std::string(state.report.first_nonfinite) +
                    "\" is not finite");
      }
      state.report.skipped = true;
      return state.report;
    }
  } else {
    core.CheckStepTensor();
  }
  try {
    state.report.loss = backward(State::Doing::kStepping);
  } catch (...) {
    state.Finish();
    throw;
  }
  state.report.skipped = !state.stepped;
  state.Finish();
  return state.report;
}

}  // namespace kudari::torch
