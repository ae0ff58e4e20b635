// Times AdamW steps on command, so that bench/peers/run.py can interleave them with others'.
// Reads lines from standard input and answers each with one on standard output:
//
//   setup kudari|libtorch TENSORS SIZE THREADS   "ready" after the first steps
//   run STEPS                                    nanoseconds that the steps took together
//   free                                         "freed"
//
// and ends with its input.

#include <torch/torch.h>

#include <chrono>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/rules/adamw.h"

namespace {

// The parameters and gradients that every contender gets, from the same allocator: ordinary
// magnitudes, no zeros, nothing random.
std::vector<at::Tensor> MakeParameters(int64_t tensors, int64_t size) {
  std::vector<at::Tensor> parameters;
  for (int64_t i = 0; i < tensors; ++i) {
    at::Tensor p = torch::linspace(0.5, 1.5, size);
    p.mutable_grad() = torch::linspace(1e-3, 2e-3, size);
    parameters.push_back(p);
  }
  return parameters;
}

// Each returns a function that takes one step and owns all that it needs.
std::function<void()> MakeKudari(std::vector<at::Tensor> parameters, int threads) {
  std::vector<kudari::Tensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors.push_back({.name = "t" + std::to_string(i),
                       .shape = parameters[i].sizes().vec(),
                       .param = parameters[i].data_ptr(),
                       .grad = parameters[i].grad().data_ptr()});
  }
  auto optimizer = std::make_shared<kudari::Optimizer>(std::move(tensors), kudari::AdamW{});
  optimizer->SetParallel({.threads = threads, .run = {}});
  return [parameters = std::move(parameters), optimizer] { optimizer->Step(); };
}

std::function<void()> MakeLibTorch(std::vector<at::Tensor> parameters, int threads) {
  at::set_num_threads(threads);
  for (at::Tensor& p : parameters) p.requires_grad_();
  auto optimizer = std::make_shared<torch::optim::AdamW>(std::move(parameters),
                                                         torch::optim::AdamWOptions(1e-3));
  return [optimizer] { optimizer->step(); };
}

std::function<void()> Setup(std::istream& arguments) {
  std::string contender;
  int64_t tensors = 0, size = 0;
  int threads = 0;
  arguments >> contender >> tensors >> size >> threads;
  if (!arguments || tensors < 1 || size < 1 || threads < 1) {
    throw std::runtime_error("setup needs a contender, tensors, their size and threads");
  }
  std::vector<at::Tensor> parameters = MakeParameters(tensors, size);
  if (contender == "kudari") return MakeKudari(std::move(parameters), threads);
  if (contender == "libtorch") return MakeLibTorch(std::move(parameters), threads);
  throw std::runtime_error("no contender is called " + contender);
}

int64_t Time(const std::function<void()>& step, int64_t steps) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < steps; ++i) step();
  const auto time = std::chrono::steady_clock::now() - start;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

void Serve() {
  std::function<void()> step;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream arguments(line);
    std::string command;
    arguments >> command;
    if (command == "setup") {
      step = nullptr;
      step = Setup(arguments);
      Time(step, 2);  // allocates the state and warms up
      std::cout << "ready" << std::endl;
    } else if (command == "run" && step) {
      int64_t steps = 0;
      arguments >> steps;
      std::cout << Time(step, steps) << std::endl;
    } else if (command == "free") {
      step = nullptr;
      std::cout << "freed" << std::endl;
    } else {
      throw std::runtime_error("cannot do \"" + line + "\"");
    }
  }
}

}  // namespace

int main() {
  try {
    Serve();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "peer_worker: " << error.what() << '\n';
    return 1;
  }
}
