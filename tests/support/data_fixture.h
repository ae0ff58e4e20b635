#ifndef KUDARI_TESTS_SUPPORT_DATA_FIXTURE_H_
#define KUDARI_TESTS_SUPPORT_DATA_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "lab/recipe/train_recipe.h"
#include "tests/support/temporary_folder.h"

namespace kudari::testing {

/// The [data] table of a recipe with these lines in it.
inline lab::DataConfig DataOf(const std::string& lines) {
  return lab::ParseTrainRecipe("[optimizer]\nrule = \"sgd\"\n[data]\n" + lines, "recipe").data;
}

/// The working folder is empty and $KUDARI_DATA is not set; both are as they were at the end.
class DataFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* old = std::getenv("KUDARI_DATA")) old_variable_ = old;
    unsetenv("KUDARI_DATA");
    old_folder_ = std::filesystem::current_path();
    std::filesystem::current_path(folder_.path());
  }
  void TearDown() override {
    std::filesystem::current_path(old_folder_);
    unsetenv("KUDARI_DATA");
    if (old_variable_) setenv("KUDARI_DATA", old_variable_->c_str(), 1);
  }

  /// Writes a file, and the folders above it.
  static void Write(const std::filesystem::path& path, std::string_view bytes) {
    if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }

  TemporaryFolder folder_;

 private:
  std::filesystem::path old_folder_;
  std::optional<std::string> old_variable_;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_DATA_FIXTURE_H_
