// What programs that were written for torch::optim use: its constructors, names, parameter groups,
// schedulers and archives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace nn = ::torch::nn;  // TORCH_MODULE says torch::nn
namespace torch_optim_test {

using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace optim = ::torch::optim;

nn::Sequential Mlp(uint64_t seed = 1) {
  ::torch::manual_seed(seed);
  return nn::Sequential(nn::Linear(5, 7), nn::Tanh(), nn::Linear(7, 3));
}

Tensor Loss(nn::Sequential& model) {
  const Tensor x = ::torch::linspace(-1, 1, 80).reshape({16, 5});
  return (model->forward(x) - 0.5).square().mean();
}

std::vector<Tensor> Copies(const nn::Module& module) {
  std::vector<Tensor> copies;
  for (const Tensor& p : module.parameters()) copies.push_back(p.detach().clone());
  return copies;
}

bool Equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& x, const Tensor& y) { return x.equal(y); });
}

double Distance(const nn::Sequential& a, const nn::Sequential& b) {
  double most = 0;
  const auto pa = a->parameters(), pb = b->parameters();
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i] - pb[i]).abs().max().item<double>());
  }
  return most;
}

/// A step as every program of LibTorch has it.
void Train(optim::Optimizer& optimizer, nn::Sequential& model) {
  optimizer.zero_grad();
  Loss(model).backward();
  optimizer.step();
}

std::vector<std::string> Names(const Optimizer& optimizer) {
  std::vector<std::string> names;
  for (const kudari::Tensor& t : optimizer.core().tensors()) names.push_back(t.name);
  return names;
}

TEST(TorchOptimTest, ItIsMadeOfWhatProgramsHave) {
  nn::Sequential model = Mlp();
  const std::vector<std::string> names = {"0.weight", "0.bias", "2.weight", "2.bias"};
  EXPECT_EQ(Names(Optimizer(*model, AdamW{})), names);
  EXPECT_EQ(Names(Optimizer(model, AdamW{})), names);
  EXPECT_EQ(Names(Optimizer(model.ptr(), AdamW{})), names);
  EXPECT_EQ(Names(Optimizer(std::shared_ptr<nn::Module>(model.ptr()), AdamW{})), names);
  EXPECT_THAT(Names(Optimizer(model->parameters(), AdamW{})), ElementsAre("0", "1", "2", "3"));
  const Optimizer one({model->parameters()[0]}, AdamW{});
  EXPECT_THAT(Names(one), ElementsAre("0"));
  // The same tensor twice, as parameters() of tied weights has it.
  std::vector<Tensor> tied = model->parameters();
  tied.push_back(tied[0]);
  const Optimizer of_tied(tied, AdamW{});
  EXPECT_EQ(of_tied.core().tensors()[0].aliases, std::vector<std::string>{"4"});
}

TEST(TorchOptimTest, ItIsMadeOfSeveralModules) {
  nn::Sequential actor = Mlp(1);
  const nn::Linear critic(5, 1);
  const auto norm = std::make_shared<nn::BatchNorm1dImpl>(5);
  const Optimizer optimizer({{"actor", actor}, {"critic", critic}, {"norm", norm}, {"", *critic}},
                            AdamW{});
  EXPECT_THAT(Names(optimizer),
              ElementsAre("actor.0.weight", "actor.0.bias", "actor.2.weight", "actor.2.bias",
                          "critic.weight", "critic.bias", "norm.weight", "norm.bias"));
  EXPECT_EQ(optimizer.core().tensors()[4].aliases, std::vector<std::string>{"weight"});
  const std::vector<TensorPlan> plan = optimizer.core().Plan();
  EXPECT_EQ(plan[4].tensor_class, TensorClass::kMatrix);
  EXPECT_EQ(plan[6].tensor_class, TensorClass::kNorm);
  EXPECT_EQ(plan[7].tensor_class, TensorClass::kBias);
  // As under one module.
  nn::Module parent;
  parent.register_module("actor", actor.ptr());
  parent.register_module("critic", critic.ptr());
  const Optimizer whole(parent, AdamW{});
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(whole.core().tensors()[i].name, optimizer.core().tensors()[i].name);
    EXPECT_EQ(whole.core().Plan()[i].tensor_class, plan[i].tensor_class);
  }
}

TEST(TorchOptimTest, StepReturnsTheLossOfTheClosure) {
  nn::Sequential a = Mlp(), b = Mlp();
  Optimizer ours(a, Sgd{.lr = 0.1}), other(b, Sgd{.lr = 0.1});
  int calls = 0;
  Tensor made;
  const Tensor loss = ours.step([&] {
    ++calls;
    made = Loss(a);
    made.backward();
    return made;
  });
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(loss.is_same(made));
  Train(other, b);
  EXPECT_TRUE(Equal(Copies(*a), Copies(*b)));
  EXPECT_FALSE(other.step().defined());
  other.zero_grad();
  for (const Tensor& p : b->parameters()) EXPECT_FALSE(p.grad().defined());

  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.source = "sam";
  Optimizer sharp(a, spec);
  calls = 0;
  std::vector<Tensor> losses;
  const Tensor first = sharp.step([&] {
    losses.push_back(Loss(a));
    losses.back().backward();
    return losses.back();
  });
  ASSERT_EQ(losses.size(), 2U);
  EXPECT_TRUE(first.is_same(losses[0]));
}

OptimizerSpec WithGroups() {
  OptimizerSpec spec = AdamW{.lr = 0.01};
  spec.groups = {{.match = "2.*", .options = {{"lr", 0.02}}},
                 {.classes = {TensorClass::kEmbedding}},  // no parameter's
                 {.match = "0.bias", .lr_scale = 2}};
  return spec;
}

TEST(TorchOptimTest, ParameterGroupsAreThoseOfTheSpec) {
  nn::Sequential model = Mlp();
  Optimizer optimizer(model, WithGroups());
  std::vector<optim::OptimizerParamGroup>& groups = optimizer.param_groups();
  ASSERT_EQ(groups.size(), 3U);
  EXPECT_TRUE(Equal(groups[0].params(), {model->parameters()[0]}));
  EXPECT_EQ(groups[1].params().size(), 2U);
  EXPECT_EQ(groups[1].options().get_lr(), 0.02);
  EXPECT_EQ(groups[2].options().get_lr(), 0.01);
  for (optim::OptimizerParamGroup& group : groups) {
    group.options().set_lr(group.options().get_lr() / 2);
  }
  EXPECT_EQ(optimizer.Lr(), 0.005);
  EXPECT_EQ(optimizer.Lr(0), 0.01);
  EXPECT_EQ(optimizer.core().Value(1, "lr"), 0.01);  // with its factor
  optimizer.defaults().set_lr(0.25);
  EXPECT_EQ(groups[2].options().get_lr(), 0.25);
  EXPECT_EQ(optimizer.Lr(0), 0.25);
  EXPECT_EQ(optimizer.defaults().get_lr(), 0.25);
  optimizer.SetLr(0.5, 0);
  EXPECT_EQ(groups[1].options().get_lr(), 0.5);
  // They follow an optimizer that moves.
  Optimizer moved = std::move(optimizer);
  moved.param_groups()[1].options().set_lr(0.125);
  EXPECT_EQ(moved.Lr(0), 0.125);
  Train(moved, model);
  EXPECT_EQ(moved.core().steps(), 1);
}

TEST(TorchOptimTest, SchedulersOfLibTorchSetTheLearningRate) {
  nn::Sequential a = Mlp(), b = Mlp();
  Optimizer ours(a, AdamW{.lr = 0.02});
  optim::AdamW theirs(b->parameters(), optim::AdamWOptions(0.02));
  optim::StepLR of_ours(ours, 3, 0.5), of_theirs(theirs, 3, 0.5);
  for (int step = 0; step < 10; ++step) {
    Train(ours, a);
    Train(theirs, b);
    of_ours.step();
    of_theirs.step();
    EXPECT_EQ(ours.Lr(), theirs.param_groups()[0].options().get_lr());
  }
  EXPECT_LT(ours.Lr(), 0.02 / 4);
  EXPECT_LT(Distance(a, b), 1e-6);

  Optimizer grouped(a, WithGroups());
  optim::ReduceLROnPlateauScheduler plateau(grouped, optim::ReduceLROnPlateauScheduler::min, 0.5F,
                                            /*patience=*/0);
  for (const float loss : {1.0F, 2.0F, 3.0F}) plateau.step(loss);
  EXPECT_NEAR(grouped.Lr(), 0.0025, 1e-9);  // in float there
  EXPECT_NEAR(grouped.Lr(0), 0.005, 1e-9);
}

TEST(TorchOptimTest, TheLearningRateIsSaved) {
  nn::Sequential model = Mlp();
  Optimizer optimizer(model, WithGroups()), loaded(model, WithGroups());
  Train(optimizer, model);
  optimizer.SetLr(1.0 / 3, 0);
  std::stringstream file;
  ::torch::save(optimizer, file);
  ::torch::load(loaded, file);
  EXPECT_EQ(loaded.Lr(), 0.01);
  EXPECT_EQ(loaded.param_groups()[1].options().get_lr(), 1.0 / 3);
  // As one of LibTorch's too.
  std::stringstream other;
  ::torch::save(static_cast<const optim::Optimizer&>(optimizer), other);
  Optimizer second(model, WithGroups());
  ::torch::load(static_cast<optim::Optimizer&>(second), other);
  EXPECT_EQ(FirstDifference(second.core().State(), optimizer.core().State()), "");
}

/// A body that an optimiser is made for, and a head that is added.
struct Transfer {
  nn::Sequential body = Mlp(1), head = Mlp(2);

  void Backward() {
    Loss(body).backward();
    Loss(head).backward();
  }
};

TEST(TorchOptimTest, AddedParametersChangeNothingForTheOthers) {
  OptimizerSpec spec = AdamW{.lr = 0.02};
  spec.options.at("lr") = 0.02 * Warmup(3);
  spec.ema = EmaSpec{.decay = 0.5};
  Transfer with, without;
  Optimizer a(with.body, spec), b(without.body, spec);
  Optimizer of_head(without.head, spec);
  for (int step = 0; step < 8; ++step) {
    if (step == 4) {
      a.add_param_group(with.head->parameters(), {.lr_scale = 0.5});
      ASSERT_EQ(a.param_groups().size(), 2U);
      EXPECT_EQ(a.param_groups()[1].params().size(), 4U);
      EXPECT_EQ(a.core().tensors()[4].name, "group1.0");
      EXPECT_EQ(a.core().Value(4, "lr"), 0.01);
      EXPECT_EQ(a.core().Value(3, "lr"), 0.02);
      of_head.SetLr(0.01);  // whose step counts are its own
    }
    for (Optimizer* const o : {&a, &b, &of_head}) o->zero_grad();
    with.Backward();
    without.Backward();
    a.step();
    b.step();
    if (step >= 4) of_head.step();
    ASSERT_TRUE(Equal(Copies(*with.body), Copies(*without.body))) << step;
    ASSERT_TRUE(Equal(Copies(*with.head), Copies(*without.head))) << step;
  }
  const EvaluationView of_a = a.EvaluationWeights(), of_b = b.EvaluationWeights();
  EXPECT_TRUE(Equal(Copies(*with.body), Copies(*without.body)));
}

TEST(TorchOptimTest, AddedGroupsTrainAsLibTorchs) {
  Transfer a, b;
  Optimizer ours(a.body, AdamW{.lr = 0.02});
  optim::AdamW theirs(b.body->parameters(), optim::AdamWOptions(0.02));
  for (int step = 0; step < 20; ++step) {
    if (step == 10) {
      ours.add_param_group(a.head->parameters(), {.options = {{"lr", 0.05}}});
      theirs.add_param_group(optim::OptimizerParamGroup(
          b.head->parameters(), std::make_unique<optim::AdamWOptions>(0.05)));
    }
    for (optim::Optimizer* const o :
         {static_cast<optim::Optimizer*>(&ours), static_cast<optim::Optimizer*>(&theirs)}) {
      o->zero_grad();
    }
    a.Backward();
    b.Backward();
    ours.step();
    theirs.step();
  }
  EXPECT_LT(Distance(a.body, b.body), 2e-6);
  EXPECT_LT(Distance(a.head, b.head), 2e-6);
}

TEST(TorchOptimTest, ModulesAreMergedUnderTheirNames) {
  Transfer merged, apart;
  nn::BatchNorm1d norm(5);
  OptimizerSpec spec = Momentum{.lr = 0.05};
  Optimizer a({{"body", merged.body}}, spec), b(apart.body, spec), c(apart.head, spec);
  Train(a, merged.body);
  Train(b, apart.body);
  a.AddParameters(NamedModules{{"head", merged.head}, {"norm", norm}},
                  {{.match = "head.*", .lr_scale = 2}});
  c.SetLr(0.1);
  EXPECT_EQ(Names(a).back(), "norm.bias");
  EXPECT_EQ(a.core().Plan()[4].group, 0);
  for (int step = 0; step < 3; ++step) {
    for (Optimizer* const o : {&a, &b, &c}) o->zero_grad();
    merged.Backward();
    apart.Backward();
    for (Optimizer* const o : {&a, &b, &c}) o->step();
  }
  EXPECT_TRUE(Equal(Copies(*merged.body), Copies(*apart.body)));
  EXPECT_TRUE(Equal(Copies(*merged.head), Copies(*apart.head)));
  // A state of all parts loads into an optimiser of all parts.
  Optimizer whole({{"body", merged.body}, {"head", merged.head}, {"norm", norm}}, a.core().spec());
  whole.core().LoadState(a.core().State());
  EXPECT_EQ(FirstDifference(whole.core().State(), a.core().State()), "");
}

TEST(TorchOptimTest, WhatCannotBeAddedIsNamed) {
  Transfer model;
  Optimizer optimizer({{"body", model.body}}, AdamW{});
  Train(optimizer, model.body);
  const StateTree before = optimizer.core().State();
  EXPECT_EQ(ErrorOf([&] { optimizer.add_param_group(model.body->parameters()); }),
            "AddParameters: parameter \"group1.0\" is the optimizer's \"body.0.weight\"");
  EXPECT_THAT(ErrorOf([&] {
                optimizer.add_param_group(optim::OptimizerParamGroup(
                    model.head->parameters(), std::make_unique<optim::AdamWOptions>(0.05)));
              }),
              HasSubstr("add_param_group: options of LibTorch's classes are not known here"));
  const Tensor whole = at::ones({3}, at::kLong);
  EXPECT_THAT(ErrorOf([&] { optimizer.add_param_group({{whole}}); }),
              HasSubstr("matches no tensor"));  // left out: it is frozen and of integers
  EXPECT_THAT(ErrorOf([&] {
                optimizer.AddParameters(NamedModules{{"body", model.head}});
              }),
              HasSubstr("duplicate tensor name \"body.0.weight\""));
  EXPECT_EQ(FirstDifference(optimizer.core().State(), before), "");
  EXPECT_EQ(optimizer.Parameters().size(), 4U);
  Train(optimizer, model.body);
  // Behind its back.
  optim::Optimizer& base = optimizer;
  base.add_param_group(optim::OptimizerParamGroup(model.head->parameters()));
  EXPECT_EQ(
      ErrorOf([&] { optimizer.step(); }),
      "param_groups() has 8 parameters and the optimizer 4; AddParameters and add_param_group "
      "add some");
}

}  // namespace torch_optim_test
}  // namespace kudari::torch
