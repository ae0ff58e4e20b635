#include "lab/verbs/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/optimizer.h"
#include "kudari/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace replay_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

constexpr int kSteps = 3;

// A matrix and, if asked for, a vector.
struct Problem {
  explicit Problem(bool vector) {
    shapes = {{"fc.weight", {3, 4}}};
    if (vector) shapes.emplace_back("fc.bias", std::vector<int64_t>{5});
    int64_t count = 0;
    for (const auto& [name, shape] : shapes) {
      const auto size = static_cast<size_t>(Tensor{.shape = shape}.Size());
      params.emplace_back(size);
      for (float& x : params.back()) x = static_cast<float>(++count * 37 % 23) / 23 - 0.4F;
      for (int step = 0; step < kSteps; ++step) {
        auto& g = grads.emplace_back(size);
        for (float& x : g) x = static_cast<float>(++count * 29 % 31) / 31 - 0.5F;
      }
    }
  }
  const std::vector<float>& Grad(size_t tensor, int step) const {
    return grads[tensor * kSteps + static_cast<size_t>(step)];
  }

  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  std::vector<std::vector<float>> params, grads;
};

// A folder with a problem's files.
class ReplayTest : public ::testing::Test {
 protected:
  void Run(const std::string& rule, const Problem& problem) {
    std::ofstream(dir_ / "r.toml") << "[optimizer]\nrule = \"" << rule << "\"\n";
    std::vector<SafeTensor> params, grads;
    for (size_t i = 0; i < problem.shapes.size(); ++i) {
      const auto& [name, shape] = problem.shapes[i];
      params.emplace_back(name, shape, problem.params[i]);
      for (int step = 0; step < kSteps; ++step) {
        grads.emplace_back(std::to_string(step + 1) + "/" + name, shape, problem.Grad(i, step));
      }
    }
    WriteSafeTensors(dir_ / "p", params);
    WriteSafeTensors(dir_ / "g", grads);
    std::FILE* const console = std::tmpfile();
    try {
      Replay({dir_ / "r.toml", dir_ / "p", dir_ / "g", dir_ / "o", dir_ / "s", {}}, console);
    } catch (const Error&) {
      std::fclose(console);
      throw;
    }
    std::fclose(console);
  }

  kudari::testing::TemporaryFolder dir_;
};

bool TakesVectors(const RuleEntry& rule) {
  if (rule.whole == nullptr) return true;
  std::vector<double> values;
  for (const RuleEntry::Option& o : rule.options) values.push_back(o.default_value);
  try {
    rule.whole->SlotSizes(values.data(), std::vector<int64_t>{5});
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST_F(ReplayTest, GoesOnFromACheckpointWithTheSameBits) {
  const Problem problem(true);
  Run("nadam", problem);
  const auto write = [&](const std::string& name, int from, int to) {
    std::vector<SafeTensor> grads;
    for (int step = from; step <= to; ++step) {
      grads.emplace_back(std::to_string(step - from + 1) + "/fc.weight", std::vector<int64_t>{3, 4},
                         problem.Grad(0, step % kSteps));
    }
    WriteSafeTensors(dir_ / name, grads);
  };
  const auto run = [&](const ReplayOptions& options) {
    std::FILE* const console = std::tmpfile();
    std::string error = ErrorOf([&] { Replay(options, console); });
    std::fclose(console);
    return error;
  };
  write("all", 1, 6);
  write("first", 1, 3);
  write("last", 4, 6);
  std::ofstream(dir_ / "r.toml") << "[optimizer]\nrule = \"nadam\"\nlr = \"0.1 * cosine(6)\"\n";
  EXPECT_EQ(run({dir_ / "r.toml", dir_ / "p", dir_ / "all", dir_ / "o", dir_ / "s", {}}),
            "no error");
  EXPECT_EQ(run({.recipe = dir_ / "r.toml",
                 .params = dir_ / "p",
                 .grads = dir_ / "first",
                 .out = dir_ / "o1",
                 .save = dir_ / "c"}),
            "no error");
  const Checkpoint saved = LoadCheckpoint(dir_ / "c");
  EXPECT_EQ(saved.manifest.step, 3);
  EXPECT_EQ(saved.manifest.texts.at("parameters"), "fc.weight\nfc.bias\n");
  EXPECT_EQ(run({.grads = dir_ / "last",
                 .out = dir_ / "o2",
                 .state_out = dir_ / "s2",
                 .checkpoint = dir_ / "c",
                 .save = dir_ / "c"}),
            "no error");
  const SafeTensorsFile all(dir_ / "o"), parts(dir_ / "o2");
  for (const char* const name : {"fc.weight", "fc.bias"}) {
    EXPECT_THAT(parts.Floats(name), ::testing::ElementsAreArray(all.Floats(name))) << name;
  }
  EXPECT_EQ(ReadFile(dir_ / "s2", 1 << 20), ReadFile(dir_ / "s", 1 << 20));
  EXPECT_EQ(LoadCheckpoint(dir_ / "c").manifest.step, 6);
  EXPECT_THAT(run({.grads = dir_ / "last", .out = dir_ / "o3"}),
              HasSubstr("replay: give --recipe and --params, or --checkpoint"));
  EXPECT_THAT(run({.recipe = dir_ / "r.toml",
                   .grads = dir_ / "last",
                   .out = dir_ / "o3",
                   .checkpoint = dir_ / "c"}),
              HasSubstr("replay: give --recipe and --params, or --checkpoint"));
}

TEST_F(ReplayTest, IsTheEngineForEveryRule) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    SCOPED_TRACE(rule.name);
    const Problem problem(TakesVectors(rule));
    Run(rule.name, problem);

    std::vector<std::vector<float>> params = problem.params;
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < params.size(); ++i) {
      tensors.push_back({.name = problem.shapes[i].first,
                         .shape = problem.shapes[i].second,
                         .param = params[i].data()});
    }
    Optimizer optimizer(tensors, OptimizerSpec(rule.name));
    for (int step = 0; step < kSteps; ++step) {
      for (size_t i = 0; i < params.size(); ++i) {
        optimizer.tensors()[i].grad = problem.Grad(i, step).data();
      }
      optimizer.Step();
    }
    const SafeTensorsFile out(dir_ / "o"), state(dir_ / "s");
    size_t buffers = 0;
    for (size_t i = 0; i < params.size(); ++i) {
      const std::string& name = optimizer.tensors()[i].name;
      EXPECT_THAT(out.Floats(name), ::testing::ElementsAreArray(params[i]));
      EXPECT_NE(params[i], problem.params[i]);
      for (const std::string& slot : rule.slots) {
        const std::vector<float> values = optimizer.SlotValues(i, slot);
        if (values.empty()) continue;
        ++buffers;
        EXPECT_THAT(state.Floats(name + "/" + slot), ::testing::ElementsAreArray(values));
      }
    }
    EXPECT_EQ(state.tensors().size(), buffers);
  }
}

// Steps without gradients count for the schedule, however many there are, and take no time.
TEST_F(ReplayTest, StepsWithoutGradientsArePassedAtOnce) {
  std::ofstream(dir_ / "r.toml") << "[optimizer]\nrule = \"sgd\"\n"
                                    "lr = \"multistep([3, 1000000000000000], 0.5)\"\n";
  const std::vector<float> one = {1};
  WriteSafeTensors(dir_ / "p", {{{"w", {1}, one}}});
  const auto replay = [&](const std::vector<std::string>& steps) {
    std::vector<SafeTensor> grads;
    for (const std::string& step : steps)
      grads.emplace_back(step + "/w", std::vector<int64_t>{1}, one);
    WriteSafeTensors(dir_ / "g", grads);
    const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
    Replay({dir_ / "r.toml", dir_ / "p", dir_ / "g", dir_ / "o", {}, {}}, console.get());
    return SafeTensorsFile(dir_ / "o").Floats("w")[0];
  };
  EXPECT_EQ(replay({"1"}), 0);
  EXPECT_EQ(replay({"1", "2", "3", "4", "5"}), 1 - 3 - 0.5F - 0.5F);
  EXPECT_EQ(replay({"3", "5"}), 1 - 1 - 0.5F);
  EXPECT_EQ(replay({"2", "9007199254740992"}), 1 - 1 - 0.25F);
  EXPECT_EQ(replay({"1000000000000001", "4"}), 1 - 0.5F - 0.25F);
  const std::string grads = (dir_ / "g").string();
  for (const char* step : {"0", "-1", "9007199254740993", "9223372036854775808", "x"}) {
    EXPECT_EQ(ErrorOf([&] {
                replay({"1", step});
              }),
              grads + ": tensor \"" + step +
                  "/w\": its name must be <step>/<parameter> with a step in [1, 2^53]");
  }
}

// The run is as long as what was recorded.
TEST_F(ReplayTest, SchedulesFollowTheRecordedSteps) {
  const Problem problem(false);
  const auto replayed = [&](const std::string& lr) {
    Run("sgd\"\nlr = \"" + lr, problem);
    const SafeTensorsFile out(dir_ / "o");
    const auto values = out.Floats("fc.weight");
    return std::vector<float>(values.begin(), values.end());
  };
  const std::vector<float> relative = replayed("0.5 * linear(end)");
  EXPECT_EQ(relative, replayed("0.5 * linear(3)"));
  EXPECT_NE(relative, replayed("0.5 * linear(2)"));
  try {
    replayed("warmup(1ep)");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("how many steps an epoch has is not known"));
  }
}

TEST_F(ReplayTest, MatrixRulesNameTheVectorAndTheWayOut) {
  try {
    Run("muon", Problem(true));
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("muon: tensor \"fc.bias\" has "));
    EXPECT_THAT(e.what(), HasSubstr("fallback"));
  }
  EXPECT_FALSE(fs::exists(dir_ / "o"));
}

}  // namespace replay_test
}  // namespace kudari::lab
