// The C API beside the C++ library: the same bits, and what is told of wrong arguments.
#include "tests/support/c_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kudari/c.h"
#include "kudari/kudari.h"
#include "kudari/recipe.h"
#include "kudari/safetensors.h"
#include "kudari/state_file.h"
#include "tests/support/random.h"
#include "tests/support/rules.h"
#include "tests/support/temporary_folder.h"

namespace kudari {
namespace c_api_test {

using testing::Ending;
using testing::Handle;
using ::testing::HasSubstr;
using testing::kNan;
using testing::Made;
using testing::Random;
using testing::Recipe;
using testing::StateBytesOf;
using testing::Taken;
using testing::TemporaryFolder;
using Model = testing::CModel;

class EveryRule : public ::testing::TestWithParam<RuleEntry> {};

TEST_P(EveryRule, HasTheBitsOfTheCppLibraryAlsoAcrossStateAsBytes) {
  // Rules for matrices leave the others to a fallback.
  const std::string fallback = GetParam().whole == nullptr ? "" : "fallback = {rule = \"adamw\"}\n";
  const std::string recipe =
      Recipe(GetParam().name,
             "clip_norm = 1.5\n" + fallback + "[[optimizer.group]]\nmatch = \"layer.w*\"\n");
  Model of_c, of_cpp;
  Handle c = Made(of_c, recipe);
  ASSERT_NE(c, nullptr);
  Optimizer cpp(of_cpp.ForCpp(), ParseRecipe(recipe));
  Random random_c(5), random_cpp(5);
  for (int step = 0; step < 9; ++step) {
    of_c.Gradients(random_c);
    of_cpp.Gradients(random_cpp);
    kudari_report report = KUDARI_INIT(kudari_report);
    KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), &report));
    const Report expected = cpp.Step();
    EXPECT_EQ(report.grad_norm, expected.grad_norm);
    EXPECT_EQ(report.factor, expected.factor);
    EXPECT_EQ(report.clipped, expected.factor < 1 ? 1 : 0);
    EXPECT_EQ(report.first_nonfinite, -1);
    ASSERT_EQ(of_c.params, of_cpp.params) << "step " << step;
    if (step == 4) {
      const std::vector<std::byte> bytes = StateBytesOf(c);
      c = Made(of_c, recipe);
      KUDARI_ASSERT_OK(kudari_optimizer_load_state(c.get(), KUDARI_STATE, KUDARI_STRICT,
                                                   bytes.data(), bytes.size()));
    }
  }
  int64_t steps = 0;
  KUDARI_EXPECT_OK(kudari_optimizer_steps(c.get(), &steps));
  EXPECT_EQ(steps, 9);
  for (const std::string& slot : GetParam().slots) {
    size_t count = 0;
    KUDARI_ASSERT_OK(kudari_optimizer_slot(c.get(), 0, slot.c_str(), nullptr, 0, &count));
    std::vector<float> values(count);
    KUDARI_ASSERT_OK(kudari_optimizer_slot(c.get(), 0, slot.c_str(), values.data(), count, &count));
    EXPECT_EQ(values, cpp.SlotValues(0, slot)) << slot;
  }
}

INSTANTIATE_TEST_SUITE_P(CApi, EveryRule, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

/// The loss sum(p^2) / 2 of a model, as a closure of both interfaces.
struct Quadratic {
  Model* model;
  int calls = 0;
  int fail_at = 0;  // the call that returns 17; 0: none

  double Evaluate() {
    double loss = 0;
    for (size_t i = 0; i < model->params.size(); ++i) {
      for (size_t k = 0; k < model->params[i].size(); ++k) {
        const float p = model->params[i][k];
        model->grads[i][k] = p;
        loss += static_cast<double>(p) * p / 2;
      }
    }
    return loss;
  }

  static int Closure(void* user, int32_t /*pass*/, kudari_evaluation* evaluation) {
    auto& self = *static_cast<Quadratic*>(user);
    if (++self.calls == self.fail_at) return 17;
    evaluation->loss = self.Evaluate();
    return 0;
  }
};

TEST(CApi, ClosuresDriveSharpnessSourcesAndFailWithoutLoss) {
  const std::string recipe =
      Recipe("adamw", "lr = 0.01\nsource = \"looksam\"\nsharpness = {k = 3}\n");
  Model of_c, of_cpp;
  const Handle c = Made(of_c, recipe);
  ASSERT_NE(c, nullptr);
  Optimizer cpp(of_cpp.ForCpp(), ParseRecipe(recipe));
  Quadratic user{&of_c}, expected{&of_cpp};
  for (int step = 0; step < 7; ++step) {
    // The second call is at perturbed weights, which have to be put back.
    const std::vector<std::vector<float>> before = of_c.params;
    user.fail_at = user.calls + (step % 3 == 0 ? 2 : 1);
    KUDARI_EXPECT_ERROR(
        kudari_optimizer_step_closure(c.get(), Quadratic::Closure, &user, 0, nullptr),
        KUDARI_CALLBACK, "returned 17");
    ASSERT_EQ(of_c.params, before);
    user.fail_at = 0;
    kudari_report report = KUDARI_INIT(kudari_report);
    KUDARI_ASSERT_OK(kudari_optimizer_step_closure(c.get(), Quadratic::Closure, &user, 0, &report));
    EXPECT_EQ(report.loss, cpp.Step([&](Pass) { return expected.Evaluate(); }).loss);
    ASSERT_EQ(of_c.params, of_cpp.params) << "step " << step;
  }
}

TEST(CApi, TheEndOfTheDataSkips) {
  Model model;
  const Handle c = Made(model, Recipe("sgd"));
  kudari_report report = KUDARI_INIT(kudari_report);
  const auto closure = [](void*, int32_t, kudari_evaluation* e) {
    e->end = 1;
    return 0;
  };
  KUDARI_ASSERT_OK(kudari_optimizer_step_closure(c.get(), closure, nullptr, 0, &report));
  EXPECT_EQ(report.skipped, 1);
  EXPECT_TRUE(std::isnan(report.loss));
}

TEST(CApi, CallsFromWithinAStepAreRefused) {
  Model model;
  const Handle c = Made(model, Recipe("sgd"));
  const auto closure = [](void* user, int32_t, kudari_evaluation* e) {
    auto* const o = static_cast<kudari_optimizer*>(user);
    KUDARI_EXPECT_ERROR(kudari_optimizer_destroy(o), KUDARI_WRONG_STATE, "within a step");
    KUDARI_EXPECT_ERROR(kudari_optimizer_step(o, nullptr), KUDARI_WRONG_STATE, "within a step");
    KUDARI_EXPECT_ERROR(kudari_optimizer_set_lr(o, KUDARI_ALL_GROUPS, 1), KUDARI_WRONG_STATE,
                        "within a step");
    int64_t steps = -1;
    KUDARI_EXPECT_OK(kudari_optimizer_steps(o, &steps));
    EXPECT_EQ(steps, 0);
    e->loss = 1;
    return 0;
  };
  KUDARI_ASSERT_OK(kudari_optimizer_step_closure(c.get(), closure, c.get(), 0, nullptr));
}

TEST(CApi, PointersAreRedirected) {
  Model model;
  const Handle c = Made(model, Recipe("sgd", "lr = 1.0\n"));
  std::vector<std::vector<float>> params = {std::vector<float>(84, 1), std::vector<float>(12, 1),
                                            std::vector<float>(5, 1)};
  const std::vector<float> grad(12, 0.25);
  void* const to[] = {params[0].data(), params[1].data(), params[2].data()};
  const void* const grads[] = {nullptr, grad.data(), nullptr};
  KUDARI_ASSERT_OK(kudari_optimizer_set_pointers(c.get(), to, grads, 3));
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  EXPECT_EQ(params[0], std::vector<float>(84, 1));
  EXPECT_EQ(params[1], std::vector<float>(12, 0.75));
  const void* const none[] = {nullptr, nullptr, nullptr};
  KUDARI_ASSERT_OK(kudari_optimizer_set_pointers(c.get(), nullptr, none, 3));
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(c.get(), nullptr), KUDARI_WRONG_STATE, "no tensor has");
  void* const bad[] = {params[0].data(), nullptr, params[2].data()};
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_pointers(c.get(), bad, grads, 3),
                      KUDARI_INVALID_ARGUMENT, "params[1] is null");
  // Nothing of the call that failed stays.
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(c.get(), nullptr), KUDARI_WRONG_STATE, "no tensor has");
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_pointers(c.get(), to, grads, 2), KUDARI_INVALID_ARGUMENT,
                      "count = 2 is not the number of tensors, 3");
}

TEST(CApi, LearningRatesAndSchedulesAreSetByGroup) {
  Model model;
  const Handle c =
      Made(model, Recipe("adamw", "lr = 0.1\n[[optimizer.group]]\nmatch = \"*bias\"\nlr = 0.2\n"));
  const auto lr = [&](int32_t group) {
    double value = -1;
    KUDARI_EXPECT_OK(kudari_optimizer_lr(c.get(), group, &value));
    return value;
  };
  EXPECT_EQ(lr(KUDARI_NO_GROUP), 0.1);
  EXPECT_EQ(lr(0), 0.2);
  KUDARI_ASSERT_OK(kudari_optimizer_set_lr(c.get(), 0, 0.5));
  EXPECT_EQ(lr(KUDARI_NO_GROUP), 0.1);
  EXPECT_EQ(lr(0), 0.5);
  KUDARI_ASSERT_OK(kudari_optimizer_set_lr(c.get(), KUDARI_ALL_GROUPS, 0.0));
  EXPECT_EQ(lr(0), 0);
  KUDARI_ASSERT_OK(
      kudari_optimizer_set_schedule(c.get(), KUDARI_ALL_GROUPS, "weight_decay", "0.5 * warmup(4)"));
  double value = 0;
  KUDARI_ASSERT_OK(kudari_optimizer_value(c.get(), 2, "weight_decay", &value));
  EXPECT_EQ(value, 0.125);
  const std::vector<std::vector<float>> before = model.params;
  Random random(1);
  model.Gradients(random);
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  EXPECT_EQ(model.params, before) << "a learning rate of 0";
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_lr(c.get(), 0, kNan), KUDARI_INVALID_ARGUMENT, "nan");
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_lr(c.get(), 7, 0.1), KUDARI_INVALID_ARGUMENT, "7");
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_schedule(c.get(), 0, "wd", "1"), KUDARI_INVALID_ARGUMENT,
                      "wd");
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_schedule(c.get(), 0, "lr", "cosin(3)"),
                      KUDARI_INVALID_ARGUMENT, "did you mean \"cosine\"");
  KUDARI_EXPECT_ERROR(kudari_optimizer_value(c.get(), 3, "lr", &value), KUDARI_INVALID_ARGUMENT,
                      "tensor index 3");
}

TEST(CApi, ScaledStepsTellOfInfinities) {
  Model of_c, of_cpp;
  const Handle c = Made(of_c, Recipe("adam"));
  Optimizer cpp(of_cpp.ForCpp(), Adam());
  Random random_c(2), random_cpp(2);
  of_c.Gradients(random_c);
  of_cpp.Gradients(random_cpp);
  int32_t found_inf = -1;
  KUDARI_ASSERT_OK(kudari_optimizer_step_scaled(c.get(), 8, &found_inf, nullptr));
  cpp.StepScaled(8);
  EXPECT_EQ(found_inf, 0);
  EXPECT_EQ(of_c.params, of_cpp.params);
  of_c.grads[1][3] = std::numeric_limits<float>::infinity();
  kudari_report report = KUDARI_INIT(kudari_report);
  KUDARI_ASSERT_OK(kudari_optimizer_step_scaled(c.get(), 8, &found_inf, &report));
  EXPECT_EQ(found_inf, 1);
  EXPECT_EQ(report.skipped, 1);
  EXPECT_EQ(report.first_nonfinite, 1);
  EXPECT_EQ(of_c.params, of_cpp.params);
  KUDARI_EXPECT_ERROR(kudari_optimizer_step_scaled(c.get(), kNan, nullptr, nullptr),
                      KUDARI_INVALID_ARGUMENT, "scale");
  const Handle strict = Made(of_c, Recipe("adam", "nonfinite = \"error\"\n"));
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(strict.get(), nullptr), KUDARI_NONFINITE, "layer.bias");
}

TEST(CApi, AGradScalerFollowsTheCppOne) {
  Model model;
  const Handle c = Made(model, Recipe("sgd"));
  kudari_grad_scaler_options options = KUDARI_INIT(kudari_grad_scaler_options);
  options.init_scale = 16;
  options.growth_interval = 2;
  kudari_grad_scaler* made = nullptr;
  KUDARI_ASSERT_OK(kudari_grad_scaler_create(&options, &made));
  const std::unique_ptr<kudari_grad_scaler, Ending> scaler(made);
  std::vector<double> scales;
  for (int step = 0; step < 4; ++step) {
    Random random(9);
    model.Gradients(random);
    if (step == 2) model.grads[0][0] = std::numeric_limits<float>::infinity();
    KUDARI_ASSERT_OK(kudari_grad_scaler_step(made, c.get(), nullptr, nullptr, nullptr));
    KUDARI_EXPECT_ERROR(kudari_grad_scaler_step(made, c.get(), nullptr, nullptr, nullptr),
                        KUDARI_WRONG_STATE, "already been stepped");
    KUDARI_ASSERT_OK(kudari_grad_scaler_update(made));
    scales.push_back(0);
    KUDARI_ASSERT_OK(kudari_grad_scaler_scale(made, &scales.back()));
  }
  EXPECT_EQ(scales, std::vector<double>({16, 32, 16, 16}));
  double scale = 0;
  int64_t tracker = 0;
  KUDARI_ASSERT_OK(kudari_grad_scaler_state(made, &scale, &tracker));
  EXPECT_EQ(scale, 16);
  EXPECT_EQ(tracker, 1);
  KUDARI_ASSERT_OK(kudari_grad_scaler_load_state(made, 64, 0));
  KUDARI_ASSERT_OK(kudari_grad_scaler_scale(made, &scale));
  EXPECT_EQ(scale, 64);
  KUDARI_EXPECT_ERROR(kudari_grad_scaler_load_state(made, 64, 2), KUDARI_INVALID_ARGUMENT,
                      "growth_tracker");
  KUDARI_EXPECT_ERROR(kudari_grad_scaler_update(made), KUDARI_WRONG_STATE, "Update");
}

TEST(CApi, EvaluationWeightsComeAndGo) {
  Model model;
  const Handle c = Made(model, Recipe("sgd", "lr = 0.5\nema = {decay = 0.5}\n"));
  Random random(4);
  model.Gradients(random);
  // The average begins with the weights after the first step.
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  const std::vector<std::vector<float>> trained = model.params;
  KUDARI_ASSERT_OK(kudari_optimizer_begin_evaluation(c.get()));
  EXPECT_NE(model.params, trained);
  KUDARI_EXPECT_ERROR(kudari_optimizer_begin_evaluation(c.get()), KUDARI_WRONG_STATE, "view");
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(c.get(), nullptr), KUDARI_WRONG_STATE, "view");
  void* params[3] = {model.params[0].data(), model.params[1].data(), model.params[2].data()};
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_pointers(c.get(), params, nullptr, 3),
                      KUDARI_WRONG_STATE, "evaluat");
  KUDARI_ASSERT_OK(kudari_optimizer_end_evaluation(c.get()));
  EXPECT_EQ(model.params, trained);
  KUDARI_EXPECT_ERROR(kudari_optimizer_end_evaluation(c.get()), KUDARI_WRONG_STATE, "no eval");
  std::vector<std::vector<float>> before;
  {
    const Handle other = Made(model, Recipe("sgd", "ema = {decay = 0.5}\n"));
    KUDARI_ASSERT_OK(kudari_optimizer_step(other.get(), nullptr));
    KUDARI_ASSERT_OK(kudari_optimizer_step(other.get(), nullptr));
    before = model.params;
    KUDARI_ASSERT_OK(kudari_optimizer_begin_evaluation(other.get()));
    EXPECT_NE(model.params, before);
  }
  EXPECT_EQ(model.params, before) << "the end of the optimiser puts the trained weights back";
}

TEST(CApi, TensorsAreAdded) {
  Model of_c, of_cpp;
  const Handle c = Made(of_c, Recipe("adamw"));
  Optimizer cpp(of_cpp.ForCpp(), AdamW());
  std::vector<float> w_c(6, 1), w_cpp(6, 1), g(6, 0.5);
  const int64_t dims[] = {2, 3};
  kudari_tensor added = KUDARI_INIT(kudari_tensor);
  added.name = "added";
  added.rank = 2;
  added.dims = dims;
  added.dtype = KUDARI_FLOAT32;
  added.param = w_c.data();
  added.grad = g.data();
  added.tensor_class = "embedding";
  const char* const groups = "[[optimizer.group]]\nmatch = \"add*\"\nlr = 0.25\n";
  KUDARI_EXPECT_ERROR(
      kudari_optimizer_add_tensors(c.get(), &added, 1, "[[optimizer.group]]\nmatch = \"x\"\nl = 1"),
      KUDARI_INVALID_ARGUMENT, "3");
  KUDARI_ASSERT_OK(kudari_optimizer_add_tensors(c.get(), &added, 1, groups));
  cpp.AddTensors({{.name = "added",
                   .shape = {2, 3},
                   .param = w_cpp.data(),
                   .grad = g.data(),
                   .tensor_class = TensorClass::kEmbedding}},
                 {{.match = "add*", .options = {{"lr", 0.25}}}});
  size_t count = 0;
  KUDARI_ASSERT_OK(kudari_optimizer_tensors(c.get(), &count));
  EXPECT_EQ(count, 4U);
  for (int step = 0; step < 3; ++step) {
    KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
    cpp.Step();
  }
  EXPECT_EQ(w_c, w_cpp);
  EXPECT_NE(w_c[0], 1);
  KUDARI_EXPECT_ERROR(kudari_optimizer_add_tensors(c.get(), &added, 1, nullptr),
                      KUDARI_INVALID_ARGUMENT, "added");
}

TEST(CApi, StateGoesThroughFilesAndCheckpoints) {
  const TemporaryFolder folder;
  const std::string recipe = Recipe("adamw", "lr = 0.01\n");
  Model model;
  Handle c = Made(model, recipe);
  Random random(6);
  model.Gradients(random);
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  const std::string file = (folder / "state.safetensors").string();
  const std::string checkpoints = (folder / "checkpoints").string();
  KUDARI_ASSERT_OK(kudari_optimizer_save_file(c.get(), KUDARI_STATE, file.c_str()));
  EXPECT_EQ(FirstDifference(ReadState(file), StateOf(SafeTensorsFile(StateBytesOf(c), "b"), "b")),
            "");
  char* saved = nullptr;
  KUDARI_ASSERT_OK(kudari_optimizer_save_checkpoint(c.get(), checkpoints.c_str(), 2, &saved));
  EXPECT_EQ(Taken(saved), (folder / "checkpoints/step-1").string());
  const std::vector<std::vector<float>> at_one = model.params;
  model.Gradients(random);
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  const std::vector<std::vector<float>> at_two = model.params;

  // A fresh optimiser with other weights goes on from the checkpoint.
  Model other;
  for (std::vector<float>& p : other.params) p.assign(p.size(), 0);
  const Handle fresh = Made(other, recipe);
  char* loaded = nullptr;
  KUDARI_ASSERT_OK(kudari_optimizer_load_checkpoint(fresh.get(), checkpoints.c_str(), &loaded));
  EXPECT_THAT(Taken(loaded), HasSubstr("step-1"));
  EXPECT_EQ(other.params, at_one);
  for (size_t i = 0; i < other.grads.size(); ++i) {
    std::ranges::copy(model.grads[i], other.grads[i].begin());
  }
  KUDARI_ASSERT_OK(kudari_optimizer_step(fresh.get(), nullptr));
  EXPECT_EQ(other.params, at_two);

  KUDARI_ASSERT_OK(
      kudari_optimizer_load_file(fresh.get(), KUDARI_STATE, KUDARI_STRICT, file.c_str()));
  int64_t steps = 0;
  KUDARI_ASSERT_OK(kudari_optimizer_steps(fresh.get(), &steps));
  EXPECT_EQ(steps, 1);
  KUDARI_EXPECT_ERROR(kudari_optimizer_load_file(fresh.get(), KUDARI_STATE, KUDARI_STRICT,
                                                 (folder / "none").c_str()),
                      KUDARI_IO, "none");
  KUDARI_EXPECT_ERROR(
      kudari_optimizer_save_file(c.get(), KUDARI_STATE, (folder / "no/where").c_str()), KUDARI_IO,
      "no");
  KUDARI_EXPECT_ERROR(kudari_optimizer_load_checkpoint(fresh.get(), file.c_str(), nullptr),
                      KUDARI_IO, "state.safetensors");
  const Handle wrong = Made(other, Recipe("sgd"));
  KUDARI_EXPECT_ERROR(
      kudari_optimizer_load_file(wrong.get(), KUDARI_STATE, KUDARI_STRICT, file.c_str()),
      KUDARI_INVALID_ARGUMENT, "exp_avg");
  KUDARI_EXPECT_ERROR(kudari_optimizer_save_checkpoint(c.get(), checkpoints.c_str(), -1, nullptr),
                      KUDARI_INVALID_ARGUMENT, "keep");
  KUDARI_EXPECT_ERROR(kudari_optimizer_load_state(c.get(), KUDARI_STATE, KUDARI_STRICT, "abc", 3),
                      KUDARI_INVALID_ARGUMENT, "bytes");
  KUDARI_EXPECT_ERROR(kudari_optimizer_load_state(c.get(), 2, KUDARI_STRICT, "abc", 3),
                      KUDARI_INVALID_ARGUMENT, "form = 2");
}

TEST(CApi, TorchsStateGoesBothWays) {
  Model model;
  const Handle c = Made(model, Recipe("adamw", "lr = 0.01\n"));
  Random random(6);
  model.Gradients(random);
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  const std::vector<std::byte> bytes = StateBytesOf(c, KUDARI_TORCH_STATE);
  const StateTree torch = StateOf(SafeTensorsFile(bytes, "b"), "b");
  EXPECT_EQ(torch.At("param_groups/0/optimizer").Text(), "AdamW");
  char* recipe = nullptr;
  KUDARI_ASSERT_OK(kudari_recipe_from_torch(bytes.data(), bytes.size(), &recipe));
  const Handle again = Made(model, Taken(recipe));
  KUDARI_ASSERT_OK(kudari_optimizer_load_state(again.get(), KUDARI_TORCH_STATE, KUDARI_STRICT,
                                               bytes.data(), bytes.size()));
  EXPECT_EQ(StateBytesOf(again), StateBytesOf(c));
}

TEST(CApi, TextsTellOfOptimisers) {
  Model model;
  const Handle c = Made(model, Recipe("adamw", "lr = 0.25\n"));
  char* text = nullptr;
  KUDARI_ASSERT_OK(kudari_optimizer_recipe(c.get(), &text));
  const std::string recipe = Taken(text);
  EXPECT_EQ(ParseRecipe(recipe), Complete(ParseRecipe(Recipe("adamw", "lr = 0.25\n"))));
  KUDARI_ASSERT_OK(kudari_complete_recipe(Recipe("adamw", "lr = 0.25\n").c_str(), &text));
  EXPECT_EQ(Taken(text), recipe);
  KUDARI_ASSERT_OK(kudari_optimizer_plan(c.get(), &text));
  const auto plan = nlohmann::json::parse(Taken(text));
  ASSERT_EQ(plan.size(), 3U);
  EXPECT_EQ(plan[1]["name"], "layer.bias");
  EXPECT_EQ(plan[1]["class"], "bias");
  EXPECT_EQ(plan[1]["group"], -1);
  EXPECT_EQ(plan[1]["options"]["lr"], 0.25);
  EXPECT_EQ(plan[1]["frozen"], false);
  kudari_memory memory = KUDARI_INIT(kudari_memory);
  KUDARI_ASSERT_OK(kudari_optimizer_memory(c.get(), &memory));
  EXPECT_EQ(memory.weights, 101 * 4);
  EXPECT_EQ(memory.gradients, 101 * 4);
  EXPECT_EQ(memory.state, 2 * 101 * 4);
  EXPECT_EQ(memory.total, 4 * 101 * 4);
}

TEST(CApi, TheRegistryIsDescribed) {
  char* text = nullptr;
  KUDARI_ASSERT_OK(kudari_describe("rule", &text));
  const auto rules = nlohmann::json::parse(Taken(text));
  ASSERT_EQ(rules.size(), Registry::Builtin().rules().size());
  for (size_t i = 0; i < rules.size(); ++i) {
    const RuleEntry& rule = Registry::Builtin().rules()[i];
    EXPECT_EQ(rules[i]["name"], rule.name);
    EXPECT_EQ(rules[i]["state"], nlohmann::json(rule.slots));
    ASSERT_EQ(rules[i]["options"].size(), rule.options.size());
    for (size_t k = 0; k < rule.options.size(); ++k) {
      const auto& option = rules[i]["options"][k];
      EXPECT_EQ(option["name"], rule.options[k].name);
      EXPECT_EQ(option["default"].get<double>(), rule.options[k].default_value);
      EXPECT_EQ(option["low"].is_null(), std::isinf(rule.options[k].low));
      EXPECT_NE(option["doc"], "");
    }
  }
  KUDARI_ASSERT_OK(kudari_describe(nullptr, &text));
  EXPECT_EQ(nlohmann::json::parse(Taken(text)).size(), DescribeAll().size());
  KUDARI_EXPECT_ERROR(kudari_describe("rul", &text), KUDARI_INVALID_ARGUMENT, "\"rule\"");
}

TEST(CApi, SchedulesHaveValues) {
  kudari_schedule* made = nullptr;
  KUDARI_ASSERT_OK(
      kudari_schedule_create("2e-3 * warmup(10%) * cosine(end, 0.05)", 1500, 0, &made));
  const std::unique_ptr<kudari_schedule, Ending> schedule(made);
  const Schedule expected = 2e-3 * Warmup(150) * Cosine(1500, 0.05);
  std::vector<double> values(300);
  KUDARI_ASSERT_OK(kudari_schedule_values(made, 20, values.size(), values.data()));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], expected(20 + static_cast<int64_t>(i)));
  }
  double value = 0;
  KUDARI_ASSERT_OK(kudari_schedule_value(made, 1500, &value));
  EXPECT_EQ(value, expected(1500));
  char* text = nullptr;
  KUDARI_ASSERT_OK(kudari_schedule_text(made, &text));
  EXPECT_EQ(Taken(text), expected.Text());
  KUDARI_EXPECT_ERROR(kudari_schedule_value(made, -1, &value), KUDARI_INVALID_ARGUMENT,
                      "step = -1");
  KUDARI_EXPECT_ERROR(kudari_schedule_create("cosine(end)", 0, 0, &made), KUDARI_INVALID_ARGUMENT,
                      "run_steps");
  KUDARI_EXPECT_ERROR(kudari_schedule_create("cosine(2ep)", 100, 0, &made), KUDARI_INVALID_ARGUMENT,
                      "epoch");
}

TEST(CApi, RangeTestsFollowTheCppOnes) {
  kudari_lr_range_options options = KUDARI_INIT(kudari_lr_range_options);
  options.steps = 60;
  kudari_lr_range* made = nullptr;
  KUDARI_ASSERT_OK(kudari_lr_range_create(&options, &made));
  const std::unique_ptr<kudari_lr_range, Ending> test(made);
  LrRangeTest expected({.steps = 60});
  int32_t running = 1;
  for (int i = 0; running != 0; ++i) {
    ASSERT_TRUE(expected.Running());
    double lr = 0;
    KUDARI_ASSERT_OK(kudari_lr_range_lr(made, &lr));
    EXPECT_EQ(lr, expected.lr());
    const double loss = i < 40 ? 2 - 0.04 * i : 0.4 * std::exp(0.5 * (i - 40));
    KUDARI_ASSERT_OK(kudari_lr_range_add(made, loss, &running));
    expected.Add(loss);
  }
  EXPECT_FALSE(expected.Running());
  KUDARI_EXPECT_ERROR(kudari_lr_range_add(made, 1, &running), KUDARI_WRONG_STATE, "ended");
  char* text = nullptr;
  KUDARI_ASSERT_OK(kudari_lr_range_result(made, &text));
  const auto result = nlohmann::json::parse(Taken(text));
  const LrSuggestions suggestions = SuggestLearningRates(expected.range());
  EXPECT_EQ(result["end"], "diverged");
  EXPECT_EQ(result["points"].size(), expected.range().points.size());
  ASSERT_EQ(result["suggestions"].size(), suggestions.suggestions.size());
  EXPECT_EQ(result["suggestions"][0]["lr"], suggestions.suggestions[0].lr);
  EXPECT_EQ(result["recommended"], RecommendLearningRate({&suggestions, 1})->lr);
  options.start = kNan;
  KUDARI_EXPECT_ERROR(kudari_lr_range_create(&options, &made), KUDARI_INVALID_ARGUMENT, "start");
}

TEST(CApi, TheDoctorReadsColumns) {
  std::vector<double> step, loss, lr;
  RunLog expected;
  Random random(8);
  for (int i = 1; i <= 400; ++i) {
    step.push_back(i);
    loss.push_back((i < 200 ? 2.0 - 0.005 * i : std::exp(0.05 * (i - 200))) +
                   0.01 * random.Float());
    lr.push_back(0.1);
    expected.steps.push_back({.step = i, .loss = loss.back(), .lr = 0.1});
  }
  const char* const names[] = {"step", "loss", "lr"};
  const double* const values[] = {step.data(), loss.data(), lr.data()};
  kudari_table steps{step.size(), 3, names, values};
  kudari_log log = KUDARI_INIT(kudari_log);
  log.steps = &steps;
  char* text = nullptr;
  KUDARI_ASSERT_OK(kudari_diagnose(&log, &text));
  const auto found = nlohmann::json::parse(Taken(text));
  const Diagnosis diagnosis = Diagnose(expected);
  ASSERT_FALSE(diagnosis.findings.empty());
  ASSERT_EQ(found["findings"].size(), diagnosis.findings.size());
  EXPECT_EQ(found["findings"][0]["verdict"], InfoOf(diagnosis.findings[0]).name);
  EXPECT_EQ(found["findings"][0]["evidence"], diagnosis.findings[0].evidence);
  EXPECT_EQ(found["not_judged"].size(), diagnosis.not_judged.size());
  step[7] = 7.5;
  KUDARI_EXPECT_ERROR(kudari_diagnose(&log, &text), KUDARI_INVALID_ARGUMENT,
                      "step = 7.5 in row 7 is not an integer");
  const char* const wrong[] = {"step", "los", "lr"};
  steps.names = wrong;
  KUDARI_EXPECT_ERROR(kudari_diagnose(&log, &text), KUDARI_INVALID_ARGUMENT,
                      "did you mean \"loss\"");
  log.steps = nullptr;
  KUDARI_EXPECT_ERROR(kudari_diagnose(&log, &text), KUDARI_INVALID_ARGUMENT, "steps is null");
}

TEST(CApi, HessiansAreUpdated) {
  Model of_c, of_cpp;
  const Handle c = Made(of_c, Recipe("sophia"));
  Optimizer cpp(of_cpp.ForCpp(), Sophia());
  Random random_c(7), random_cpp(7);
  for (int step = 0; step < 4; ++step) {
    of_c.Gradients(random_c);
    of_cpp.Gradients(random_cpp);
    KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
    cpp.Step();
    if (step == 1) {
      KUDARI_ASSERT_OK(kudari_optimizer_update_hessian(c.get(), nullptr, 0));
      cpp.UpdateHessian();
      const float* const some[] = {of_c.grads[0].data(), nullptr, nullptr};
      KUDARI_ASSERT_OK(kudari_optimizer_update_hessian(c.get(), some, 3));
      cpp.UpdateHessian(some);
    }
  }
  EXPECT_EQ(of_c.params, of_cpp.params);
  const Handle sgd = Made(of_c, Recipe("sgd"));
  KUDARI_EXPECT_ERROR(kudari_optimizer_update_hessian(sgd.get(), nullptr, 0),
                      KUDARI_INVALID_ARGUMENT, "Hessian");
}

TEST(CApi, ThreadsHaveTheirOwnErrorsAndOptimisers) {
  KUDARI_EXPECT_ERROR(kudari_describe("here", nullptr), KUDARI_INVALID_ARGUMENT, "json is null");
  std::vector<std::string> messages(2), before(2);
  std::vector<std::vector<std::vector<float>>> ends(2);
  const auto work = [&](size_t i) {
    before[i] = kudari_last_error();
    Model model;
    kudari_optimizer_options options = KUDARI_INIT(kudari_optimizer_options);
    options.threads = 1;
    const Handle c = Made(model, Recipe("adamw"), &options);
    Random random(5);
    for (int step = 0; step < 200; ++step) {
      model.Gradients(random);
      EXPECT_EQ(kudari_optimizer_step(c.get(), nullptr), KUDARI_OK);
      EXPECT_EQ(kudari_optimizer_set_lr(c.get(), i == 0 ? 100 : 200, 1), KUDARI_INVALID_ARGUMENT);
    }
    messages[i] = kudari_last_error();
    ends[i] = model.params;
  };
  std::thread first(work, 0), second(work, 1);
  first.join();
  second.join();
  EXPECT_EQ(before, std::vector<std::string>({"", ""}));
  EXPECT_THAT(messages[0], HasSubstr("100"));
  EXPECT_THAT(messages[1], HasSubstr("200"));
  EXPECT_EQ(ends[0], ends[1]);
  EXPECT_THAT(std::string(kudari_last_error()), HasSubstr("json is null"));
}

TEST(CApi, TheNumberOfThreadsChangesNoBit) {
  Model one, three;
  const Handle a = Made(one, Recipe("lamb")), b = Made(three, Recipe("lamb"));
  KUDARI_ASSERT_OK(kudari_optimizer_set_threads(a.get(), 1));
  KUDARI_ASSERT_OK(kudari_optimizer_set_threads(b.get(), 3));
  KUDARI_EXPECT_ERROR(kudari_optimizer_set_threads(b.get(), 4097), KUDARI_INVALID_ARGUMENT,
                      "threads = 4097 is outside [0, 4096]");
  Random random(5), same(5);
  for (int step = 0; step < 5; ++step) {
    one.Gradients(random);
    three.Gradients(same);
    KUDARI_ASSERT_OK(kudari_optimizer_step(a.get(), nullptr));
    KUDARI_ASSERT_OK(kudari_optimizer_step(b.get(), nullptr));
  }
  EXPECT_EQ(one.params, three.params);
}

TEST(CApi, RefreshBeginsWithTheWeightsThatAreThere) {
  Model model;
  const Handle c = Made(model, Recipe("sgd", "lr = 0.5\nema = {decay = 0.5}\n"));
  Random random(4);
  model.Gradients(random);
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), nullptr));
  for (std::vector<float>& p : model.params) p.assign(p.size(), 2);
  const std::vector<std::vector<float>> given = model.params;
  KUDARI_ASSERT_OK(kudari_optimizer_refresh(c.get()));
  KUDARI_ASSERT_OK(kudari_optimizer_begin_evaluation(c.get()));
  EXPECT_EQ(model.params, given);
}

TEST(CApi, VersionsAreTold) {
  EXPECT_EQ(kudari_abi_version(), KUDARI_ABI_VERSION);
  EXPECT_THAT(std::string(kudari_version()), ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(std::string(kudari_kernel_target()), KernelTarget());
}

}  // namespace c_api_test
}  // namespace kudari
