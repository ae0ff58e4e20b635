// Trains a model on command, so that bench/models/run.py can interleave it with others.
//
//     model_worker MODEL OPTIMIZER THREADS
//
// MODEL is gpt or vit, each of about 10 million parameters; OPTIMIZER is kudari or libtorch, both
// AdamW. For each line of standard input, a number of steps, it writes the nanoseconds that forward
// and backward passes took, and those that the optimiser took.

#include <torch/torch.h>

#include <chrono>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include "kudari/rules/adamw.h"
#include "kudari/torch.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"

namespace {

using kudari::lab::DataShape;
using kudari::lab::Model;

constexpr double kLr = 1e-4;

struct Task {
  std::string recipe;
  DataShape shape;
  at::Tensor x, y;
};

Task MakeTask(const std::string& name) {
  if (name == "gpt") {
    const DataShape shape{.sample = {128}, .outputs = 65, .vocabulary = 65, .next_token = true};
    return {"name = \"gpt2\"\nlayers = 6\nheads = 6\ndim = 384\ndropout = 0\n", shape,
            at::randint(65, {16, 128}, at::kLong), at::randint(65, {int64_t{16} * 128}, at::kLong)};
  }
  if (name == "vit") {
    return {"name = \"timm_vit\"\ndim = 384\ndepth = 6\nheads = 6\npatch = 4\n",
            DataShape{.sample = {3, 32, 32}, .outputs = 10}, at::randn({16, 3, 32, 32}),
            at::randint(10, {16}, at::kLong)};
  }
  throw std::runtime_error("no model is called " + name);
}

std::shared_ptr<Model> MakeModelOf(const Task& task) {
  const kudari::lab::Recipe recipe = kudari::lab::ParseTrainRecipe(
      "[model]\n" + task.recipe + "[data]\nname = \"digits\"\n[optimizer]\nrule = \"adamw\"\n",
      "model_worker");
  return kudari::lab::MakeModel(recipe.model, task.shape);
}

// Zeroes the gradients, then steps, on command.
struct Optimizer {
  std::function<void()> zero, step;
};

Optimizer MakeOptimizer(const std::string& name, const Model& model) {
  if (name == "kudari") {
    auto optimizer = std::make_shared<kudari::torch::Optimizer>(model, kudari::AdamW{.lr = kLr});
    return {[optimizer] { optimizer->ZeroGrad(); }, [optimizer] { optimizer->Step(); }};
  }
  if (name == "libtorch") {
    auto optimizer =
        std::make_shared<torch::optim::AdamW>(model.parameters(), torch::optim::AdamWOptions(kLr));
    return {[optimizer] { optimizer->zero_grad(); }, [optimizer] { optimizer->step(); }};
  }
  throw std::runtime_error("no optimiser is called " + name);
}

int64_t Time(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const auto time = std::chrono::steady_clock::now() - start;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

void Serve(const std::string& name, const std::string& optimizer_name, int threads) {
  at::set_num_threads(threads);
  torch::manual_seed(1);
  const Task task = MakeTask(name);
  const std::shared_ptr<Model> model = MakeModelOf(task);
  const Optimizer optimizer = MakeOptimizer(optimizer_name, *model);
  const auto pass = [&] {
    optimizer.zero();
    const at::Tensor logits = model->forward(task.x);
    torch::nn::functional::cross_entropy(logits.reshape({-1, logits.size(-1)}), task.y).backward();
  };
  std::cout << model->ParameterCount() << '\n' << std::flush;
  for (int64_t steps = 0; std::cin >> steps;) {
    int64_t passes = 0, updates = 0;
    for (int64_t i = 0; i < steps; ++i) {
      passes += Time(pass);
      updates += Time(optimizer.step);
    }
    std::cout << passes << ' ' << updates << '\n' << std::flush;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw std::runtime_error("usage: model_worker MODEL OPTIMIZER THREADS");
    Serve(argv[1], argv[2], std::stoi(argv[3]));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "model_worker: " << error.what() << '\n';
    return 1;
  }
}
