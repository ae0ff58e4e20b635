#include "kudari/torch.h"

namespace kudari::torch {
namespace {

namespace nn = ::torch::nn;

// The module, then those in it, parents first. (Module::modules() gives itself only to shared
// ones.)
std::vector<nn::Module*> WithChildren(nn::Module& module) {
  std::vector<nn::Module*> all = {&module};
  for (const auto& m : module.modules(false)) all.push_back(m.get());
  return all;
}

// Batch norms of one dimensionality that keep statistics, their momenta unset while it lives.
template <class Norm>
class Averaging {
 public:
  explicit Averaging(nn::Module& module) {
    for (nn::Module* const m : WithChildren(module)) {
      auto* const norm = m->as<Norm>();
      if (norm == nullptr || !norm->running_mean.defined()) continue;
      norm->reset_running_stats();
      norms_.emplace_back(norm, norm->options.momentum());
      norm->options.momentum(std::nullopt);
    }
  }
  ~Averaging() {
    for (auto& [norm, momentum] : norms_) norm->options.momentum(momentum);
  }
  Averaging(const Averaging&) = delete;
  Averaging& operator=(const Averaging&) = delete;

  bool empty() const { return norms_.empty(); }

 private:
  std::vector<std::pair<Norm*, std::optional<double>>> norms_;
};

// Puts every module into training mode while it lives.
class Training {
 public:
  explicit Training(nn::Module& module) {
    for (nn::Module* const m : WithChildren(module)) modes_.emplace_back(m, m->is_training());
    module.train();
  }
  ~Training() {
    // A parent changes the modes of its children, which come after it.
    for (const auto& [m, training] : modes_) m->train(training);
  }
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

 private:
  std::vector<std::pair<nn::Module*, bool>> modes_;
};

}  // namespace

bool UpdateBatchNorm(nn::Module& module, const std::function<void()>& forward) {
  const Averaging<nn::BatchNorm1dImpl> one(module);
  const Averaging<nn::BatchNorm2dImpl> two(module);
  const Averaging<nn::BatchNorm3dImpl> three(module);
  if (one.empty() && two.empty() && three.empty()) return false;
  const Training training(module);
  const at::NoGradGuard no_grad;
  forward();
  return true;
}

}  // namespace kudari::torch
