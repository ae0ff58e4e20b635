// The C API in tests: models as it and the C++ library see them, and calls that must work or fail.
#ifndef KUDARI_TESTS_SUPPORT_C_API_H_
#define KUDARI_TESTS_SUPPORT_C_API_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kudari/c.h"
#include "kudari/tensor.h"
#include "tests/support/random.h"

/// The result of a call of the C API that works, or the test fails with its message.
#define KUDARI_ASSERT_OK(call) ASSERT_EQ(call, KUDARI_OK) << kudari_last_error()
#define KUDARI_EXPECT_OK(call) EXPECT_EQ(call, KUDARI_OK) << kudari_last_error()
/// That a call fails with that code and a message that has the text.
#define KUDARI_EXPECT_ERROR(call, code, text)                                  \
  do {                                                                         \
    EXPECT_EQ(call, code) << kudari_last_error();                              \
    EXPECT_THAT(std::string(kudari_last_error()), ::testing::HasSubstr(text)); \
  } while (false)

namespace kudari::testing {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Ends handles, which must work.
struct Ending {
  void operator()(kudari_optimizer* o) const { EXPECT_EQ(kudari_optimizer_destroy(o), KUDARI_OK); }
  void operator()(kudari_schedule* s) const { EXPECT_EQ(kudari_schedule_destroy(s), KUDARI_OK); }
  void operator()(kudari_lr_range* t) const { EXPECT_EQ(kudari_lr_range_destroy(t), KUDARI_OK); }
  void operator()(kudari_grad_scaler* s) const {
    EXPECT_EQ(kudari_grad_scaler_destroy(s), KUDARI_OK);
  }
};
/// An optimiser of the C API.
using Handle = std::unique_ptr<kudari_optimizer, Ending>;

/// A text that the C API gave, which is freed.
inline std::string Taken(char* text) {
  std::string copy(text);
  kudari_free(text);
  return copy;
}

/// Three tensors with their memory, as both interfaces see them.
struct CModel {
  std::vector<std::string> names = {"layer.weight", "layer.bias", "norm.weight"};
  std::vector<std::vector<int64_t>> shapes = {{12, 7}, {12}, {5}};
  std::vector<std::vector<float>> params, grads;

  CModel() {
    Random random(3);
    for (const std::vector<int64_t>& shape : shapes) {
      size_t size = 1;
      for (const int64_t d : shape) size *= static_cast<size_t>(d);
      params.push_back(random.Floats(size));
      grads.emplace_back(size);
    }
  }

  /// Other gradients at the same places.
  void Gradients(Random& random) {
    for (std::vector<float>& g : grads) {
      for (float& x : g) x = random.Float();
    }
  }

  std::vector<kudari_tensor> ForC() {
    std::vector<kudari_tensor> list;
    for (size_t i = 0; i < names.size(); ++i) {
      kudari_tensor t = KUDARI_INIT(kudari_tensor);
      t.name = names[i].c_str();
      t.rank = shapes[i].size();
      t.dims = shapes[i].data();
      t.dtype = KUDARI_FLOAT32;
      t.param = params[i].data();
      t.grad = grads[i].data();
      list.push_back(t);
    }
    return list;
  }

  std::vector<Tensor> ForCpp() {
    std::vector<Tensor> list;
    for (size_t i = 0; i < names.size(); ++i) {
      list.push_back({.name = names[i],
                      .shape = shapes[i],
                      .param = params[i].data(),
                      .grad = grads[i].data()});
    }
    return list;
  }
};

/// An optimiser of the C API; null, with a failed test, if it cannot be made.
inline Handle Made(CModel& model, const std::string& recipe,
                   const kudari_optimizer_options* options = nullptr) {
  const std::vector<kudari_tensor> tensors = model.ForC();
  kudari_optimizer* made = nullptr;
  KUDARI_EXPECT_OK(
      kudari_optimizer_create(recipe.c_str(), tensors.data(), tensors.size(), options, &made));
  return Handle(made);
}

/// A recipe of that rule, with further lines of [optimizer].
inline std::string Recipe(const std::string& rule, const std::string& more = "") {
  return "[optimizer]\nrule = \"" + rule + "\"\n" + more;
}

/// The state of an optimiser as bytes.
inline std::vector<std::byte> StateBytesOf(const Handle& o, int32_t form = KUDARI_STATE) {
  void* bytes = nullptr;
  size_t size = 0;
  KUDARI_EXPECT_OK(kudari_optimizer_state(o.get(), form, &bytes, &size));
  const auto* const at = static_cast<const std::byte*>(bytes);
  std::vector<std::byte> copy(at, at + size);
  kudari_free(bytes);
  return copy;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_C_API_H_
