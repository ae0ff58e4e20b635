// Embeddings with sparse gradients, beside LibTorch's own optimisers and whole gradients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "kudari/torch_lbfgs.h"
#include "kudari/torch_release.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace torch_sparse_test {

namespace nn = ::torch::nn;
namespace optim = ::torch::optim;
using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

/// A table of 50 words and a layer above it.
struct WordsImpl : nn::Module {
  explicit WordsImpl(bool sparse, at::ScalarType type = at::kFloat) {
    ::torch::manual_seed(1);
    table = register_module("table", nn::Embedding(nn::EmbeddingOptions(50, 6).sparse(sparse)));
    head = register_module("head", nn::Linear(6, 3));
    to(type);
  }
  /// For twelve words, some of them twice.
  Tensor Loss(int step) const {
    ::torch::manual_seed(100 + static_cast<uint64_t>(step));
    const Tensor words = at::randint(0, 20, {12}, at::kLong);
    return table.ptr()->forward(words).tanh().matmul(head->weight.t()).square().mean();
  }
  nn::Embedding table{nullptr};
  nn::Linear head{nullptr};
};
TORCH_MODULE(Words);

void TrainWords(optim::Optimizer& optimizer, const Words& model, int steps, int first = 0) {
  for (int step = first; step < first + steps; ++step) {
    optimizer.zero_grad();
    model->Loss(step).backward();
    optimizer.step();
  }
}

double Apart(const Words& a, const Words& b) {
  const at::NoGradGuard no_grad;
  return std::max((a->table->weight - b->table->weight).abs().max().item<double>(),
                  (a->head->weight - b->head->weight).abs().max().item<double>());
}

TEST(TorchSparseTest, TrajectoriesAreTorchs) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const double bound = type == at::kDouble ? 1e-14 : 1e-6;
    const Words theirs(true, type), ours(true, type);
    optim::SGD sgd(theirs->parameters(), optim::SGDOptions(0.5));
    Optimizer optimizer(ours, Sgd{.lr = 0.5});
    TrainWords(sgd, theirs, 30);
    TrainWords(optimizer, ours, 30);
    EXPECT_LT(Apart(theirs, ours), bound);
    EXPECT_GT(Apart(ours, Words(true, type)), 1e-3);

    const Words their_other(true, type), our_other(true, type);
    optim::Adagrad adagrad(their_other->parameters(), optim::AdagradOptions(0.1));
    Optimizer other(our_other, Adagrad{.lr = 0.1});
    TrainWords(adagrad, their_other, 30);
    TrainWords(other, our_other, 30);
    EXPECT_LT(Apart(their_other, our_other), bound);
  }
}

TEST(TorchSparseTest, SparseAdamLeavesOtherRowsAlone) {
  const Words model(true), start(true);
  Optimizer optimizer(model, SparseAdam{.lr = 0.01});
  TrainWords(optimizer, model, 20);
  const Tensor moved = (model->table->weight - start->table->weight).abs().sum(1);
  EXPECT_GT(moved.slice(0, 0, 20).max().item<double>(), 1e-2);
  EXPECT_EQ(moved.slice(0, 20, 50).max().item<double>(), 0);
  // A row of the last batch has moments that one of the first batch alone has had, undecayed.
  EXPECT_EQ(optimizer.core().State().At("tensors/table.weight/step").Int(), 20);
}

TEST(TorchSparseTest, ReleaseScalesAndUnscaledGradientsWork) {
  const Words stepped(true), released(true), scaled(true), unscaled(true);
  OptimizerSpec spec = SparseAdam{.lr = 0.01};
  Optimizer a(stepped, spec), b(released, spec), c(scaled, spec), d(unscaled, spec);
  GradientRelease release(b);
  GradScaler scaler_c, scaler_d;
  TrainWords(a, stepped, 5);
  for (int step = 0; step < 5; ++step) {
    release.Step([&] { return released->Loss(step); });
    c.zero_grad();
    scaler_c.Scale(scaled->Loss(step)).backward();
    EXPECT_FALSE(scaler_c.Step(c).skipped);
    scaler_c.Update();
    d.zero_grad();
    scaler_d.Scale(unscaled->Loss(step)).backward();
    scaler_d.Unscale(d);
    EXPECT_FALSE(scaler_d.Step(d).skipped);
    scaler_d.Update();
  }
  EXPECT_EQ(Apart(stepped, released), 0);
  EXPECT_EQ(Apart(stepped, scaled), 0);
  EXPECT_EQ(Apart(stepped, unscaled), 0);
}

TEST(TorchSparseTest, AGradientThatIsZeroedHasNoRows) {
  const Words model(true);
  Optimizer optimizer(model, SparseAdam{});
  model->Loss(0).backward();
  optimizer.ZeroGrad(false);
  EXPECT_TRUE(model->table->weight.grad().is_sparse());
  optimizer.Step();
  EXPECT_EQ(Apart(model, Words(true)), 0);
  EXPECT_EQ(optimizer.core().State().At("tensors/table.weight/step").Int(), 1);
  model->Loss(0).backward();
  optimizer.Step();
  EXPECT_GT(Apart(model, Words(true)), 0);
}

TEST(TorchSparseTest, OtherRulesSayWhichTakeThem) {
  const Words model(true);
  Optimizer optimizer(model, AdamW{});
  model->Loss(0).backward();
  EXPECT_EQ(
      ErrorOf([&] { optimizer.Step(); }),
      "tensor \"table.weight\" has a gradient of some rows; sgd, adagrad and sparse_adam take "
      "one, and adamw changes all rows in every step");
  EXPECT_EQ(Apart(model, Words(true)), 0);
  OptimizerSpec spec = Sgd{};
  spec.source = "sam";
  Optimizer sam(model, spec);
  EXPECT_THAT(ErrorOf([&] {
                sam.Step([&] {
                  Tensor loss = model->Loss(0);
                  loss.backward();
                  return loss;
                });
              }),
              HasSubstr("source = \"sam\" needs whole gradients"));
  EXPECT_EQ(Apart(model, Words(true)), 0);
  // One group for the table is enough.
  spec = AdamW{};
  spec.groups = {{.match = "table.weight", .rule = "sparse_adam"}};
  Optimizer both(model, spec);
  both.Step();
  EXPECT_GT(Apart(model, Words(true)), 0);
}

TEST(TorchSparseTest, WhatIsNotOfWholeRowsIsNamed) {
  const Tensor w = at::ones({4, 3}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{});
  const auto error = [&](const Tensor& g) {
    w.mutable_grad() = g;
    return ErrorOf([&] { optimizer.Step(); });
  };
  EXPECT_EQ(error(at::eye(4, 3).to_sparse()),
            "the gradient of parameter \"w\" is sparse, and must then be of whole rows of real "
            "numbers, as that of an embedding");
  EXPECT_THAT(error(at::ones({4, 3}, at::kDouble).to_sparse(1)),
              HasSubstr("is of type Double; it must be a dense float32 tensor"));
  EXPECT_THAT(error(at::ones({4, 2}).to_sparse(1)), HasSubstr("has the shape [4, 2]"));
  EXPECT_EQ(error(at::ones({4, 3}).to_sparse(1)), "no error");
  w.mutable_grad().reset();
  const Words model(true);
  Lbfgs lbfgs(*model, {});
  EXPECT_THAT(ErrorOf([&] {
                lbfgs.Step([&] {
                  Tensor loss = model->Loss(0);
                  loss.backward();
                  return loss;
                });
              }),
              HasSubstr("of layout Sparse"));
}

}  // namespace torch_sparse_test
}  // namespace kudari::torch
