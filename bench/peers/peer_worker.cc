// Times steps on command, so that bench/peers/run.py can interleave them with others'.
// Reads lines from standard input and answers each with one on standard output:
//
//   rules                                           the names of Kudari's rules
//   setup CONTENDER RULE THREADS SIZE...            "ready" after the first steps; a size is
//                                                   768x3072
//   run STEPS                                       nanoseconds that the steps took together
//   free                                            "freed"
//
// and ends with its input. A contender is libtorch, kudari or one of kStorage.

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

namespace {

using Sizes = std::vector<std::vector<int64_t>>;

// How Kudari's contenders store parameters and state.
struct Storage {
  std::string name;
  kudari::DType dtype = kudari::DType::kFloat32;
  kudari::Precision precision = {};
};

const Storage kStorage[] = {
    {"kudari"},
    {"kudari:linear8", kudari::DType::kFloat32, {.state = kudari::StateFormat::kLinear8}},
    {"kudari:dynamic8", kudari::DType::kFloat32, {.state = kudari::StateFormat::kDynamic8}},
    {"kudari:bfloat16", kudari::DType::kBFloat16, {.state = kudari::StateFormat::kBFloat16}},
    {"kudari:master", kudari::DType::kBFloat16, {.master = kudari::Master::kFloat32}},
    {"kudari:split8+linear8",
     kudari::DType::kBFloat16,
     {.master = kudari::Master::kSplit8, .state = kudari::StateFormat::kLinear8}},
};

// The parameters and gradients that every contender gets, from the same allocator: ordinary
// magnitudes, no zeros, nothing random.
std::vector<at::Tensor> MakeParameters(const Sizes& sizes, at::ScalarType type) {
  std::vector<at::Tensor> parameters;
  for (const std::vector<int64_t>& size : sizes) {
    const int64_t n = c10::multiply_integers(size);
    at::Tensor p = torch::linspace(0.5, 1.5, n).reshape(size).to(type);
    p.mutable_grad() = torch::linspace(1e-3, 2e-3, n).reshape(size).to(type);
    parameters.push_back(p);
  }
  return parameters;
}

// Each returns a function that takes one step and owns all that it needs.
std::function<void()> MakeKudari(const Sizes& sizes, const Storage& storage,
                                 const std::string& rule, int threads) {
  const bool narrow = storage.dtype == kudari::DType::kBFloat16;
  std::vector<at::Tensor> parameters = MakeParameters(sizes, narrow ? at::kBFloat16 : at::kFloat);
  std::vector<kudari::Tensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors.push_back({.name = "t" + std::to_string(i),
                       .shape = parameters[i].sizes().vec(),
                       .dtype = storage.dtype,
                       .param = parameters[i].data_ptr(),
                       .grad = parameters[i].grad().data_ptr()});
  }
  kudari::OptimizerSpec spec(rule);
  spec.precision = storage.precision;
  auto optimizer = std::make_shared<kudari::Optimizer>(std::move(tensors), spec);
  optimizer->SetParallel({.threads = threads, .run = {}});
  return [parameters = std::move(parameters), optimizer] { optimizer->Step(); };
}

template <class O, class Options>
std::function<void()> Stepper(std::vector<at::Tensor> parameters, const Options& options) {
  auto optimizer = std::make_shared<O>(std::move(parameters), options);
  return [optimizer] { optimizer->step(); };
}

std::function<void()> MakeLibTorch(const Sizes& sizes, const std::string& rule, int threads) {
  namespace optim = torch::optim;
  const std::vector<at::Tensor> parameters = MakeParameters(sizes, at::kFloat);
  at::set_num_threads(threads);
  for (const at::Tensor& p : parameters) p.requires_grad_();
  const optim::SGDOptions sgd(1e-3);
  if (rule == "sgd") return Stepper<optim::SGD>(parameters, sgd);
  if (rule == "momentum") {
    return Stepper<optim::SGD>(parameters, optim::SGDOptions(sgd).momentum(0.9));
  }
  if (rule == "nesterov") {
    return Stepper<optim::SGD>(parameters, optim::SGDOptions(sgd).momentum(0.9).nesterov(true));
  }
  if (rule == "adagrad") return Stepper<optim::Adagrad>(parameters, optim::AdagradOptions(1e-2));
  if (rule == "rmsprop") return Stepper<optim::RMSprop>(parameters, optim::RMSpropOptions(1e-2));
  if (rule == "adam") return Stepper<optim::Adam>(parameters, optim::AdamOptions(1e-3));
  if (rule == "adamw") return Stepper<optim::AdamW>(parameters, optim::AdamWOptions(1e-3));
  throw std::runtime_error("libtorch has no " + rule);
}

std::vector<int64_t> ParseSize(const std::string& text) {
  std::vector<int64_t> size;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, 'x');) size.push_back(std::stoll(part));
  return size;
}

std::function<void()> Setup(std::istream& arguments) {
  std::string contender, rule;
  int threads = 0;
  arguments >> contender >> rule >> threads;
  Sizes sizes;
  for (std::string text; arguments >> text;) sizes.push_back(ParseSize(text));
  if (sizes.empty() || threads < 1) {
    throw std::runtime_error("setup needs a contender, a rule, threads and sizes");
  }
  if (contender == "libtorch") return MakeLibTorch(sizes, rule, threads);
  for (const Storage& storage : kStorage) {
    if (contender == storage.name) return MakeKudari(sizes, storage, rule, threads);
  }
  throw std::runtime_error("no contender is called " + contender);
}

std::string RuleNames() {
  std::string names;
  for (const kudari::RuleEntry& rule : kudari::Registry::Builtin().rules()) {
    names += (names.empty() ? "" : " ") + rule.name;
  }
  return names;
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
    if (command == "rules") {
      std::cout << RuleNames() << '\n' << std::flush;
    } else if (command == "setup") {
      step = nullptr;
      step = Setup(arguments);
      Time(step, 2);  // allocates the state and warms up
      std::cout << "ready" << '\n' << std::flush;
    } else if (command == "run" && step) {
      int64_t steps = 0;
      arguments >> steps;
      std::cout << Time(step, steps) << '\n' << std::flush;
    } else if (command == "free") {
      step = nullptr;
      std::cout << "freed" << '\n' << std::flush;
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
