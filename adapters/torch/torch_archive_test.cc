// Runs that LibTorch's own optimisers began go on here, and the reverse.
#include "kudari/torch_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <string>

#include "kudari/files.h"
#include "kudari/kudari.h"
#include "kudari/torch_state.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::torch {
namespace torch_archive_test {

namespace optim = ::torch::optim;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

constexpr int kSteps = 50;

::torch::nn::Sequential Mlp() {
  ::torch::manual_seed(1);
  return ::torch::nn::Sequential(::torch::nn::Linear(5, 7), ::torch::nn::Tanh(),
                                 ::torch::nn::Linear(7, 3));
}

// A random gradient, the same for each step whoever takes it.
void SetGradients(::torch::nn::Sequential& model, int step) {
  ::torch::manual_seed(1000 + static_cast<uint64_t>(step));
  for (at::Tensor& p : model->parameters()) p.mutable_grad() = ::torch::randn_like(p);
}

void Copy(const ::torch::nn::Sequential& from, ::torch::nn::Sequential& to) {
  const at::NoGradGuard no_grad;
  const auto a = from->parameters();
  auto b = to->parameters();
  for (size_t i = 0; i < a.size(); ++i) b[i].copy_(a[i]);
}

// The largest difference of weights, relative to the largest weight.
double Distance(const ::torch::nn::Sequential& a, const ::torch::nn::Sequential& b) {
  double most = 0, largest = 0;
  const auto pa = a->parameters(), pb = b->parameters();
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i] - pb[i]).abs().max().item<double>());
    largest = std::max(largest, pa[i].abs().max().item<double>());
  }
  return most / largest;
}

using Make = std::function<std::unique_ptr<optim::Optimizer>(std::vector<at::Tensor>)>;

template <class O, class Options>
Make Of(const Options& options) {
  return [options](std::vector<at::Tensor> parameters) {
    return std::make_unique<O>(std::move(parameters), options);
  };
}

struct Case {
  std::string name, optimizer;
  Make make;
};

std::vector<Case> Cases() {
  using Betas = std::tuple<double, double>;
  return {{"sgd", "SGD", Of<optim::SGD>(optim::SGDOptions(0.01).weight_decay(0.1))},
          {"momentum", "SGD", Of<optim::SGD>(optim::SGDOptions(0.01).momentum(0.9).dampening(0.2))},
          {"nesterov", "SGD",
           Of<optim::SGD>(optim::SGDOptions(0.01).momentum(0.9).nesterov(true).weight_decay(0.1))},
          {"adam", "Adam",
           Of<optim::Adam>(optim::AdamOptions(0.01).betas(Betas(0.8, 0.95)).weight_decay(0.1))},
          {"amsgrad", "Adam", Of<optim::Adam>(optim::AdamOptions(0.01).amsgrad(true).eps(1e-5))},
          {"adamw", "AdamW", Of<optim::AdamW>(optim::AdamWOptions(0.01).weight_decay(0.1))},
          {"rmsprop", "RMSprop", Of<optim::RMSprop>(optim::RMSpropOptions(0.01).alpha(0.9))},
          {"rmsprop_momentum", "RMSprop",
           Of<optim::RMSprop>(optim::RMSpropOptions(0.01).momentum(0.5).weight_decay(0.1))},
          {"rmsprop_centered_momentum", "RMSprop",
           Of<optim::RMSprop>(optim::RMSpropOptions(0.01).momentum(0.5).centered(true))},
          {"rmsprop_centered", "RMSprop",
           Of<optim::RMSprop>(optim::RMSpropOptions(0.01).centered(true))},
          {"adagrad", "Adagrad",
           Of<optim::Adagrad>(
               optim::AdagradOptions(0.1).lr_decay(0.01).initial_accumulator_value(0.2))}};
}

void Save(optim::Optimizer& optimizer, const std::string& path) { ::torch::save(optimizer, path); }

class TorchArchiveTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (dir_ / name).string(); }

  kudari::testing::TemporaryFolder dir_;
};

TEST_F(TorchArchiveTest, ARunOfLibTorchsGoesOnHere) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    auto theirs = Mlp(), ours = Mlp();
    const auto torch = c.make(theirs->parameters());
    for (int step = 0; step < kSteps; ++step) {
      SetGradients(theirs, step);
      torch->step();
    }
    Save(*torch, Path(c.name));
    Copy(theirs, ours);
    const StateTree old = ReadTorchArchive(Path(c.name), c.optimizer, *ours);
    Optimizer optimizer(*ours, SpecFromTorch(old));
    EXPECT_EQ(optimizer.core().spec().rule, c.name);
    EXPECT_EQ(optimizer.core().LoadState(StateFromTorch(old)), LoadReport());
    for (int step = kSteps; step < 2 * kSteps; ++step) {
      SetGradients(theirs, step);
      torch->step();
      SetGradients(ours, step);
      optimizer.Step();
    }
    EXPECT_LT(Distance(theirs, ours), 2e-6);
    EXPECT_GT(Distance(theirs, Mlp()), 0.01);
  }
}

TEST_F(TorchArchiveTest, ARunBegunHereGoesOnInLibTorch) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    auto theirs = Mlp(), ours = Mlp();
    // The spec of an optimiser that has had no step.
    Save(*c.make(Mlp()->parameters()), Path("fresh"));
    Optimizer optimizer(*ours, SpecFromTorch(ReadTorchArchive(Path("fresh"), c.optimizer, *ours)));
    for (int step = 0; step < kSteps; ++step) {
      SetGradients(ours, step);
      optimizer.Step();
    }
    WriteTorchArchive(Path(c.name), optimizer);
    Copy(ours, theirs);
    const auto torch = c.make(theirs->parameters());
    // That the archive has the options, too, shows here.
    for (auto& group : torch->param_groups()) group.options().set_lr(123);
    ::torch::load(*torch, Path(c.name));
    for (int step = kSteps; step < 2 * kSteps; ++step) {
      SetGradients(theirs, step);
      torch->step();
      SetGradients(ours, step);
      optimizer.Step();
    }
    EXPECT_LT(Distance(theirs, ours), 2e-6);
  }
}

TEST_F(TorchArchiveTest, GroupsAndParametersWithoutStateComeAlong) {
  auto model = Mlp();
  const auto p = model->parameters();
  std::vector<optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{p[0], p[2]});
  groups.emplace_back(
      std::vector<at::Tensor>{p[1], p[3]},
      std::make_unique<optim::AdamWOptions>(optim::AdamWOptions(0.5).weight_decay(0)));
  optim::AdamW torch(groups, optim::AdamWOptions(0.01));
  p[0].mutable_grad() = ::torch::ones_like(p[0]);
  torch.step();
  Save(torch, Path("a"));
  const std::vector<std::string> names = {"0.weight", "2.weight", "0.bias", "2.bias"};
  const StateTree old = ReadTorchArchive(Path("a"), "AdamW", names);
  EXPECT_EQ(old.At("state").members().size(), 1U);
  Optimizer optimizer(*model, SpecFromTorch(old));
  optimizer.core().LoadState(StateFromTorch(old));
  EXPECT_EQ(optimizer.core().Value(0, "lr"), 0.01);
  EXPECT_EQ(optimizer.core().Value(1, "lr"), 0.5);
  EXPECT_EQ(optimizer.core().Value(3, "weight_decay"), 0);
  EXPECT_EQ(optimizer.core().SlotValues(0, "exp_avg").size(), 35U);
  EXPECT_TRUE(optimizer.core().SlotValues(1, "exp_avg").empty());
  // And back, into the same groups.
  WriteTorchArchive(Path("b"), optimizer);
  optim::AdamW again(groups, optim::AdamWOptions(0.02));
  ::torch::load(again, Path("b"));
  EXPECT_EQ(again.param_groups()[1].options().get_lr(), 0.5);
  EXPECT_EQ(again.state().size(), 1U);
}

TEST_F(TorchArchiveTest, WhatIsNoSuchArchiveIsRefused) {
  auto model = Mlp();
  optim::Adam adam(model->parameters());
  SetGradients(model, 0);
  adam.step();
  Save(adam, Path("adam"));
  ::torch::save(model, Path("model"));
  const auto error = [&](const std::string& name, const std::string& optimizer = "Adam") {
    return ErrorOf([&] { SpecFromTorch(ReadTorchArchive(Path(name), optimizer, *model)); });
  };
  EXPECT_EQ(error("adam"), "no error");
  EXPECT_EQ(error("adam", "LBFGS"),
            "optimizer = \"LBFGS\" is not one of Adagrad, Adam, AdamW, RMSprop, SGD");
  EXPECT_THAT(error("adam", "SGD"), HasSubstr("momentum is missing, which SGD has"));
  EXPECT_THAT(error("model"), HasSubstr("model: is not of an optimiser of LibTorch's"));
  EXPECT_THAT(error("none"), HasSubstr("none: cannot be read: "));
  const std::string bytes = ReadFile(Path("adam"), 1 << 20);
  for (const size_t size : {size_t{0}, size_t{10}, bytes.size() / 2, bytes.size() - 1}) {
    std::ofstream(Path("cut"), std::ios::binary) << bytes.substr(0, size);
    EXPECT_THAT(error("cut"), HasSubstr("cut: cannot be read: ")) << size;
  }
  EXPECT_THAT(ErrorOf([&] {
                ReadTorchArchive(Path("adam"), "Adam", {"a", "b", "c"});
              }),
              HasSubstr("is of more parameters than the 3 names"));
  EXPECT_THAT(ErrorOf([&] {
                ReadTorchArchive(Path("adam"), "Adam", {"a", "b", "c", "d", "e"});
              }),
              HasSubstr("is of 4 parameters, but there are 5 names"));
}

TEST_F(TorchArchiveTest, WhatLibTorchDoesNotHaveIsNotWritten) {
  auto model = Mlp();
  const auto error = [&](const OptimizerSpec& spec) {
    const Optimizer optimizer(*model, spec);
    return ErrorOf([&] { WriteTorchArchive(Path("a"), optimizer); });
  };
  EXPECT_THAT(error(NAdam{}), HasSubstr("LibTorch has no NAdam in C++"));
  EXPECT_THAT(error(Lion{}), HasSubstr("PyTorch has no twin of rule \"lion\""));
  OptimizerSpec two = AdamW{};
  two.groups = {{.match = "*.bias", .rule = "sgd"}};
  EXPECT_THAT(error(two), HasSubstr("would be several in LibTorch: AdamW and SGD"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "a"));
}

}  // namespace torch_archive_test
}  // namespace kudari::torch
