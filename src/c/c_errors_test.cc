// Wrong arguments of the C API, and structs of programs that were compiled with other versions of
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kudari/c.h"
#include "kudari/registry.h"
#include "tests/support/c_api.h"

namespace kudari {
namespace c_errors_test {

using testing::Handle;
using ::testing::HasSubstr;
using testing::Made;
using testing::Recipe;
using Model = testing::CModel;

TEST(CErrors, BadTensorsAreErrors) {
  Model model;
  const std::string recipe = Recipe("adamw");
  const auto error = [&](const std::function<void(kudari_tensor&)>& change) {
    std::vector<kudari_tensor> tensors = model.ForC();
    change(tensors[1]);
    kudari_optimizer* made = nullptr;
    EXPECT_EQ(
        kudari_optimizer_create(recipe.c_str(), tensors.data(), tensors.size(), nullptr, &made),
        KUDARI_INVALID_ARGUMENT);
    EXPECT_EQ(made, nullptr);
    return std::string(kudari_last_error());
  };
  const int64_t negative[] = {-12}, huge[] = {INT64_MAX};
  EXPECT_THAT(error([](auto& t) { t.name = nullptr; }), HasSubstr("tensors[1].name is null"));
  EXPECT_THAT(error([](auto& t) { t.name = "\xff"; }), HasSubstr("is not UTF-8: \"\\xff\""));
  EXPECT_THAT(error([](auto& t) { t.name = "layer.weight"; }), HasSubstr("layer.weight"));
  EXPECT_THAT(error([](auto& t) { t.name = ""; }), HasSubstr("name"));
  EXPECT_THAT(error([](auto& t) { t.dims = nullptr; }), HasSubstr("dims is null"));
  EXPECT_THAT(error([](auto& t) { t.rank = 65; }), HasSubstr("rank = 65 is outside [0, 64]"));
  EXPECT_THAT(error([](auto& t) { t.rank = SIZE_MAX; }), HasSubstr("rank"));
  EXPECT_THAT(error([&](auto& t) { t.dims = negative; }), HasSubstr("-12"));
  EXPECT_THAT(error([&](auto& t) { t.dims = huge; }), HasSubstr("layer.bias"));
  EXPECT_THAT(error([](auto& t) { t.dtype = 0; }), HasSubstr("dtype = 0 is outside [1, 4]"));
  EXPECT_THAT(error([](auto& t) { t.grad_dtype = 9; }), HasSubstr("grad_dtype = 9"));
  EXPECT_THAT(error([](auto& t) { t.device = 1; }), HasSubstr("device = 1"));
  EXPECT_THAT(error([](auto& t) { t.param = nullptr; }), HasSubstr("layer.bias"));
  EXPECT_THAT(error([&](auto& t) { t.param = model.params[0].data(); }), HasSubstr("overlap"));
  EXPECT_THAT(error([](auto& t) { t.tensor_class = "biass"; }), HasSubstr("did you mean \"bias\""));
  EXPECT_THAT(error([](auto& t) { t.struct_size = 8; }), HasSubstr("struct_size"));
}

TEST(CErrors, BadRecipesAndOptionsAreErrors) {
  Model model;
  const std::vector<kudari_tensor> tensors = model.ForC();
  const auto error = [&](const char* recipe, const kudari_optimizer_options* options = nullptr) {
    kudari_optimizer* made = nullptr;
    EXPECT_EQ(kudari_optimizer_create(recipe, tensors.data(), tensors.size(), options, &made),
              KUDARI_INVALID_ARGUMENT);
    EXPECT_EQ(made, nullptr);
    return std::string(kudari_last_error());
  };
  EXPECT_THAT(error(nullptr), HasSubstr("recipe is null"));
  EXPECT_THAT(error("[optimizer]\nrule = \"adamw\xfe\""), HasSubstr("not UTF-8"));
  EXPECT_THAT(error(""), HasSubstr("[optimizer] is missing"));
  EXPECT_THAT(error("[optimizer]\nrule = \"adamv\""), HasSubstr("did you mean \"adam"));
  EXPECT_THAT(error("[optimizer]\nrule = \"adamw\"\nlr = nan"), HasSubstr("lr"));
  EXPECT_THAT(error("[optimizer]\nrule = \"adamw\"\nlr = -1"), HasSubstr("outside"));
  EXPECT_THAT(error("[optimizer]\nrule = \"adamw\"\nlr = \"1e-3 * warmup(10%)\""), HasSubstr("lr"));
  kudari_optimizer_options options = KUDARI_INIT(kudari_optimizer_options);
  options.threads = -1;
  EXPECT_THAT(error(Recipe("sgd").c_str(), &options), HasSubstr("threads = -1"));
  options.threads = 0;
  options.run_steps = -5;
  EXPECT_THAT(error(Recipe("sgd").c_str(), &options), HasSubstr("run_steps = -5"));
  options.run_steps = 100;
  options.struct_size = 4;
  EXPECT_THAT(error(Recipe("sgd").c_str(), &options), HasSubstr("struct_size = 4"));
  options.struct_size = sizeof(options);
  EXPECT_NE(Made(model, Recipe("adamw", "lr = \"1e-3 * warmup(10%)\"\n"), &options), nullptr);
  KUDARI_EXPECT_ERROR(
      kudari_optimizer_create(Recipe("sgd").c_str(), tensors.data(), 3, nullptr, nullptr),
      KUDARI_INVALID_ARGUMENT, "optimizer is null");
  kudari_optimizer* made = nullptr;
  KUDARI_EXPECT_ERROR(kudari_optimizer_create(Recipe("sgd").c_str(), nullptr, 3, nullptr, &made),
                      KUDARI_INVALID_ARGUMENT, "tensors[0] is null");
}

TEST(CErrors, NullHandlesAndOutputsAreErrors) {
  Model model;
  const Handle c = Made(model, Recipe("sgd"));
  KUDARI_EXPECT_OK(kudari_optimizer_destroy(nullptr));
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(nullptr, nullptr), KUDARI_INVALID_ARGUMENT,
                      "optimizer is null");
  KUDARI_EXPECT_ERROR(kudari_optimizer_steps(c.get(), nullptr), KUDARI_INVALID_ARGUMENT,
                      "steps is null");
  KUDARI_EXPECT_ERROR(kudari_optimizer_step_closure(c.get(), nullptr, nullptr, 0, nullptr),
                      KUDARI_INVALID_ARGUMENT, "closure is null");
  KUDARI_EXPECT_ERROR(kudari_optimizer_state(c.get(), KUDARI_STATE, nullptr, nullptr),
                      KUDARI_INVALID_ARGUMENT, "bytes is null");
  KUDARI_EXPECT_ERROR(kudari_optimizer_update_hessian(c.get(), nullptr, 3), KUDARI_INVALID_ARGUMENT,
                      "estimates is null");
  float value = 0;
  size_t count = 0;
  KUDARI_EXPECT_ERROR(kudari_optimizer_slot(c.get(), 9, "m", nullptr, 0, &count),
                      KUDARI_INVALID_ARGUMENT, "tensor index 9");
  const Handle momentum = Made(model, Recipe("momentum"));
  KUDARI_ASSERT_OK(kudari_optimizer_step(momentum.get(), nullptr));
  const std::string slot = Registry::Builtin().Find("momentum").slots[0];
  KUDARI_EXPECT_ERROR(kudari_optimizer_slot(momentum.get(), 0, slot.c_str(), &value, 1, &count),
                      KUDARI_INVALID_ARGUMENT, "capacity = 1");
  // A report without its size is refused before the step.
  kudari_report report = {};
  KUDARI_EXPECT_ERROR(kudari_optimizer_step(c.get(), &report), KUDARI_INVALID_ARGUMENT,
                      "report: struct_size = 0");
  int64_t steps = -1;
  KUDARI_EXPECT_OK(kudari_optimizer_steps(c.get(), &steps));
  EXPECT_EQ(steps, 0);
}

TEST(CErrors, StructsOfOtherVersionsAreUnderstood) {
  Model model;
  // A program with a shorter report: what is behind it stays.
  const Handle c = Made(model, Recipe("sgd", "measure_norm = true\n"));
  kudari_report report = KUDARI_INIT(kudari_report);
  report.struct_size = offsetof(kudari_report, factor);
  report.factor = 123;
  KUDARI_ASSERT_OK(kudari_optimizer_step(c.get(), &report));
  EXPECT_EQ(report.grad_norm, 0);
  EXPECT_EQ(report.factor, 123);
  EXPECT_EQ(report.struct_size, offsetof(kudari_report, factor));
  // A program with longer tensors: what is not known here has to be zero.
  struct Longer {
    kudari_tensor known;
    int64_t added;
  };
  std::vector<Longer> longer;
  for (const kudari_tensor& t : model.ForC()) longer.push_back({t, 0});
  for (Longer& t : longer) t.known.struct_size = sizeof(Longer);
  kudari_optimizer* made = nullptr;
  KUDARI_ASSERT_OK(
      kudari_optimizer_create(Recipe("sgd").c_str(), &longer[0].known, 3, nullptr, &made));
  KUDARI_ASSERT_OK(kudari_optimizer_destroy(made));
  longer[2].added = 1;
  KUDARI_EXPECT_ERROR(
      kudari_optimizer_create(Recipe("sgd").c_str(), &longer[0].known, 3, nullptr, &made),
      KUDARI_INVALID_ARGUMENT, "tensors[2]: it has members");
}

}  // namespace c_errors_test
}  // namespace kudari
