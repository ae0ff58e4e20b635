#include "lab/train/rollouts.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/torch_visit.h"
#include "lab/models/parts/policy.h"
#include "lab/train/visit.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

Policy& PolicyOf(Model& model) {
  auto* const policy = dynamic_cast<Policy*>(&model);
  if (policy == nullptr) throw Error("the model does not act");
  return *policy;
}

// Environments side by side.
class Group {
 public:
  Group(const EnvironmentData& data, int64_t count, uint64_t seed)
      : random_(seed), steps_(static_cast<size_t>(count)) {
    for (int64_t i = 0; i < count; ++i) environments_.push_back(data.make());
    shape_ = environments_.front()->shape();
    for (auto& environment : environments_) environment->Reset(random_);
  }

  int64_t size() const { return std::ssize(environments_); }
  const EnvironmentShape& shape() const { return shape_; }
  int64_t action_numbers() const { return shape_.actions > 0 ? 1 : shape_.action_size; }

  // [size, observation]
  Tensor Observations() const {
    Tensor x = ::torch::empty({size(), shape_.observation});
    for (int64_t i = 0; i < size(); ++i) {
      environments_[static_cast<size_t>(i)]->Observe(
          {x.data_ptr<float>() + i * shape_.observation, static_cast<size_t>(shape_.observation)});
    }
    return x;
  }

  struct Step {
    double reward = 0;
    bool terminated = false, cut = false;
  };

  // Takes the action [numbers] in one of them; an episode that is over stays so until Reset.
  Step Take(int64_t i, const float* action) {
    const auto at = static_cast<size_t>(i);
    const Outcome outcome =
        environments_[at]->Step({action, static_cast<size_t>(action_numbers())});
    ++steps_[at];
    return {outcome.reward, outcome.terminated,
            !outcome.terminated && steps_[at] >= shape_.most_steps};
  }

  void Reset(int64_t i) {
    environments_[static_cast<size_t>(i)]->Reset(random_);
    steps_[static_cast<size_t>(i)] = 0;
  }

  void Visit(StateVisitor& visitor) {
    VisitRandom("random", random_, visitor);
    visitor.Array("steps", steps_, {size()});
    for (size_t i = 0; i < environments_.size(); ++i) {
      std::vector<double>& state = environments_[i]->state();
      visitor.Array("environment" + std::to_string(i), state, {std::ssize(state)});
    }
  }

 private:
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Environment>> environments_;
  std::vector<int64_t> steps_;
  EnvironmentShape shape_;
};

class RolloutSource : public SampleSource {
 public:
  RolloutSource(std::shared_ptr<const EnvironmentData> data, uint64_t seed)
      : data_(std::move(data)),
        group_(*data_, data_->options.num_envs, seed),
        random_(at::detail::createCPUGenerator(seed)) {
    const int64_t width = group_.action_numbers() + kRolloutColumns;
    x_ = ::torch::zeros({size(), group_.shape().observation});
    y_ = ::torch::zeros({size(), width});
  }

  int64_t size() const override { return data_->options.num_envs * data_->options.num_steps; }
  bool in_memory() const override { return true; }

  Batch Rows(std::span<const int64_t> rows) const override {
    const Tensor index = ::torch::tensor(at::ArrayRef<int64_t>(rows.data(), rows.size()));
    return {x_.index_select(0, index), y_.index_select(0, index)};
  }

  void Attach(Model& model) override { model_ = &model; }

  void StartEpoch() override {
    if (epoch_++ % data_->options.update_epochs == 0) Collect();
  }

  void Visit(StateVisitor& visitor) override {
    visitor.Node("rollouts", [&] {
      visitor.Value("epoch", epoch_, 0);
      kudari::torch::VisitTensor("x", x_, visitor);
      kudari::torch::VisitTensor("y", y_, visitor);
      kudari::torch::VisitRandom("actions", random_, visitor);
      group_.Visit(visitor);
    });
  }

 private:
  // Row t * envs + i is step t in environment i.
  void Collect() {
    const ::torch::NoGradGuard no_grad;
    const RolloutOptions& options = data_->options;
    const int64_t envs = options.num_envs, numbers = group_.action_numbers();
    const int64_t width = numbers + kRolloutColumns;
    Policy& policy = PolicyOf(*model_);
    model_->eval();
    std::vector<Group::Step> outcomes;
    std::vector<double> rest(static_cast<size_t>(size()));  // value of what a cut left out
    for (int64_t t = 0; t < options.num_steps; ++t) {
      const Tensor x = group_.Observations();
      const Action action = policy.Act(x, random_);
      const Tensor taken = action.action.contiguous();
      x_.narrow(0, t * envs, envs).copy_(x);
      const Tensor y = y_.narrow(0, t * envs, envs);
      y.narrow(1, 0, numbers).copy_(taken);
      y.select(1, numbers + kLogProb).copy_(action.log_prob);
      y.select(1, numbers + kValue).copy_(action.value);
      for (int64_t i = 0; i < envs; ++i) {
        const Group::Step step = group_.Take(i, taken.data_ptr<float>() + i * numbers);
        outcomes.push_back(step);
        if (step.cut) {
          const Tensor last = group_.Observations().narrow(0, i, 1);
          rest[static_cast<size_t>(t * envs + i)] =
              policy.Act(last, std::nullopt).value.item<double>();
        }
        if (step.terminated || step.cut) group_.Reset(i);
      }
    }
    const Tensor next = policy.Act(group_.Observations(), std::nullopt).value.to(at::kDouble);
    model_->train();
    float* const y = y_.data_ptr<float>();
    for (int64_t i = 0; i < envs; ++i) {
      double advantage = 0, later = next[i].item<double>();
      for (int64_t t = options.num_steps - 1; t >= 0; --t) {
        const auto row = static_cast<size_t>(t * envs + i);
        float* const at = y + (t * envs + i) * width + numbers;
        const Group::Step& step = outcomes[row];
        const bool over = step.terminated || step.cut;
        if (over) later = rest[row];
        const double value = at[kValue];
        const double error = step.reward + options.gamma * later - value;
        advantage = error + (over ? 0 : options.gamma * options.gae_lambda * advantage);
        at[kAdvantage] = static_cast<float>(advantage);
        at[kReturn] = static_cast<float>(advantage + value);
        later = value;
      }
    }
  }

  std::shared_ptr<const EnvironmentData> data_;
  Group group_;
  at::Generator random_;  // of the actions
  Tensor x_, y_;
  Model* model_ = nullptr;
  int64_t epoch_ = 0;
};

class EpisodeSource : public SampleSource {
 public:
  EpisodeSource(std::shared_ptr<const EnvironmentData> data, uint64_t seed)
      : data_(std::move(data)), seed_(seed) {}

  int64_t size() const override { return data_->options.episodes; }
  Batch Rows(std::span<const int64_t> /*rows*/) const override { return {}; }

  std::optional<Score> Evaluate(Model& model) const override {
    Policy& policy = PolicyOf(model);
    Group group(*data_, size(), seed_);
    std::vector<char> over(static_cast<size_t>(size()));
    double total = 0;
    for (int64_t left = size(); left > 0;) {
      const Tensor actions = policy.Act(group.Observations(), std::nullopt).action.contiguous();
      for (int64_t i = 0; i < size(); ++i) {
        if (over[static_cast<size_t>(i)] != 0) continue;
        const Group::Step step =
            group.Take(i, actions.data_ptr<float>() + i * group.action_numbers());
        total += step.reward;
        if (!step.terminated && !step.cut) continue;
        over[static_cast<size_t>(i)] = 1;
        --left;
      }
    }
    return Score{.episode_return = total / static_cast<double>(size())};
  }

 private:
  std::shared_ptr<const EnvironmentData> data_;
  uint64_t seed_;
};

}  // namespace

std::shared_ptr<SampleSource> Rollouts(std::shared_ptr<const EnvironmentData> data, uint64_t seed) {
  return std::make_shared<RolloutSource>(std::move(data), seed);
}

std::shared_ptr<SampleSource> Episodes(std::shared_ptr<const EnvironmentData> data, uint64_t seed) {
  return std::make_shared<EpisodeSource>(std::move(data), seed);
}

}  // namespace kudari::lab
