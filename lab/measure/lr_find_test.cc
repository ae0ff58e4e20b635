#include "lab/measure/lr_find.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kudari/lr_range.h"
#include "lab/files/text_file.h"
#include "lab/recipe/train_recipe.h"
#include "lab/verbs/train.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace lr_find_test {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ErrorOf;
using ::testing::HasSubstr;

constexpr const char* kRecipe = R"toml([model]
name = "mlp"
hidden = [16]
[data]
name = "digits"
samples = 300
[optimizer]
rule = "adamw"
lr = "1e-2 * warmup(10)"  # to be found
[train]
steps = 30
batch_size = 64
threads = 1
)toml";

class LrFindTest : public ::testing::Test {
 protected:
  LrFindTest() {
    options_.recipe = folder_ / "recipe.toml";
    options_.steps = 40;
    std::ofstream(options_.recipe) << kRecipe;
  }

  // What it prints.
  std::string Find() {
    const fs::path file = folder_ / "console";
    const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::fopen(file.c_str(), "w"),
                                                                     &std::fclose);
    LrFind(options_, console.get());
    std::fflush(console.get());
    return ReadTextFile(file);
  }

  // What it writes as JSON.
  json FindJson() {
    options_.json = folder_ / "found.json";
    Find();
    return json::parse(ReadTextFile(options_.json));
  }

  testing::TemporaryFolder folder_;
  LrFindOptions options_;
};

TEST_F(LrFindTest, SaysShowsAndWritesWhatItFound) {
  options_.seeds = 2;
  options_.json = folder_ / "found.json";
  options_.svg = folder_ / "found.svg";
  options_.write = folder_ / "written.toml";
  const std::string text = Find();
  const json found = json::parse(ReadTextFile(options_.json));
  ASSERT_EQ(found["tests"].size(), 2U);
  EXPECT_EQ(found["tests"][1]["seed"], 2);
  EXPECT_NE(found["tests"][0]["points"][0]["loss"], found["tests"][1]["points"][0]["loss"]);
  const double lr = found["recommendation"]["lr"];
  EXPECT_GT(lr, 1e-5);
  EXPECT_LT(lr, 1);
  EXPECT_THAT(text, HasSubstr("smoothed loss\n"));
  EXPECT_THAT(text, HasSubstr("recommended: "));
  EXPECT_THAT(text, HasSubstr("optimizer.lr"));
  for (const LrMethod method : kLrMethods) EXPECT_THAT(text, HasSubstr(std::string(Name(method))));
  const std::string svg = ReadTextFile(options_.svg);
  for (const char* const label : {">seed 1<", ">seed 2<", "recommended: "}) {
    EXPECT_THAT(svg, HasSubstr(label));
  }

  const Recipe written = ReadTrainRecipe(options_.write);
  const Schedule& schedule = written.optimizer.options.at("lr");
  EXPECT_DOUBLE_EQ(schedule(100), lr);
  EXPECT_DOUBLE_EQ(schedule(0), lr / 10);
  EXPECT_THAT(ReadTextFile(options_.write), HasSubstr(" * warmup(10)\"  # to be found\n"));
}

// With learning rates that move nothing the losses are those of the batches, in training's order.
TEST_F(LrFindTest, BatchesAreThoseOfTraining) {
  options_.changes.sets = {"optimizer.rule=sgd", "optimizer.lr=0", "train.steps=12",
                           "model.dropout=0.3"};
  options_.start = 1e-30;
  options_.end = 2e-30;
  options_.steps = 12;
  for (const char* more : {"optimizer.accumulate=1", "optimizer.accumulate=2"}) {
    options_.changes.sets.emplace_back(more);
    const json found = FindJson();
    TrainOptions train;
    train.recipe = options_.recipe;
    train.changes.sets = options_.changes.sets;
    train.out = folder_ / "run";
    train.force = true;
    const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::fopen("/dev/null", "w"),
                                                                     &std::fclose);
    Train(train, console.get());
    std::ifstream metrics(folder_ / "run/metrics.jsonl");
    std::vector<double> expected, losses;
    for (std::string line; std::getline(metrics, line);) {
      const json record = json::parse(line);
      if (record.contains("lr")) expected.push_back(record["loss"]);
    }
    for (const json& point : found["tests"][0]["points"]) losses.push_back(point["loss"]);
    ASSERT_EQ(losses.size(), 12U);
    EXPECT_EQ(losses, expected) << more;
  }
}

TEST_F(LrFindTest, RecipesOfAllKinds) {
  const std::vector<std::vector<std::string>> kinds = {
      {"optimizer.source=looksam", "optimizer.accumulate=2"},
      {"train.precision=bf16", "train.weights=bf16", "optimizer.precision.master=split8"},
      {"train.precision=f16"},
      {"optimizer.rule=sophia", "hessian.every=3"},
      {"optimizer.rule=muon", "optimizer.fallback={rule=\"adamw\"}", "optimizer.ema={}"},
      {"model.name=resnet", "model.width=2"}};
  for (const std::vector<std::string>& sets : kinds) {
    if (sets[0] == "model.name=resnet") {  // which has no hidden layers to say
      std::ofstream(options_.recipe) << "[data]\nsamples = 300\n[optimizer]\nrule = \"momentum\"\n";
    }
    options_.changes.sets = sets;
    options_.steps = 16;
    const json found = FindJson();
    EXPECT_GE(found["tests"][0]["points"].size(), 8U) << sets[0];
  }
}

TEST_F(LrFindTest, OneGroup) {
  options_.group = "head.*";
  options_.freeze = true;
  options_.write = folder_ / "written.toml";
  const json found = FindJson();
  EXPECT_EQ(found["parameters"], json({"head.weight", "head.bias"}));
  const Recipe written = ReadTrainRecipe(options_.write);
  ASSERT_EQ(written.optimizer.groups.size(), 1U);
  EXPECT_EQ(written.optimizer.groups[0].match, "head.*");
  EXPECT_DOUBLE_EQ(written.optimizer.groups[0].options.at("lr")(100),
                   found["recommendation"]["lr"].get<double>());
  EXPECT_DOUBLE_EQ(written.optimizer.options.at("lr")(100), 1e-2);
}

TEST_F(LrFindTest, BadInputIsNamed) {
  const LrFindOptions good = options_;
  const auto error = [&](const auto& change) {
    options_ = good;
    change(options_);
    return ErrorOf([&] { Find(); });
  };
  using O = LrFindOptions;
  EXPECT_THAT(error([](O& o) { o.start = 0; }), HasSubstr("start = 0 is outside (0, inf)"));
  EXPECT_THAT(error([](O& o) { o.end = 1e-8; }), HasSubstr("end = 1e-08 is outside (1e-07, inf)"));
  EXPECT_THAT(error([](O& o) { o.steps = 1; }), HasSubstr("steps = 1 is outside"));
  EXPECT_THAT(error([](O& o) { o.smooth = 1; }), HasSubstr("smooth = 1 is outside [0, 1)"));
  EXPECT_THAT(error([](O& o) { o.ramp = "log"; }),
              HasSubstr("--ramp = \"log\" must be exp or linear"));
  EXPECT_THAT(error([](O& o) { o.stop = "last"; }),
              HasSubstr("--stop = \"last\" must be best or first"));
  EXPECT_THAT(error([](O& o) { o.seeds = 0; }), HasSubstr("--seeds = 0 must be at least 1"));
  EXPECT_THAT(error([](O& o) { o.svg = "x.jpg"; }),
              HasSubstr("x.jpg: a picture must be named .svg or .png"));
  EXPECT_THAT(error([](O& o) { o.json = "none/x.json"; }), HasSubstr("there is no folder none"));
  EXPECT_THAT(error([](O& o) { o.group = "haed"; }), HasSubstr("\"haed\" matches no parameter"));
  EXPECT_THAT(error([](O& o) {
                o.changes.sets = {"optimizer.lr=then(1e-2, 5, 1e-3)"};
                o.write = "written.toml";
              }),
              HasSubstr("no numeric factor"));
}

}  // namespace lr_find_test
}  // namespace kudari::lab
