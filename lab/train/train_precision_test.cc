// Training in 16 bits.
#include <bit>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace train_precision_test {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

using PrecisionTest = TrainFixture;

TEST_F(PrecisionTest, SixteenBitsTrainAlmostAsFloat32) {
  const auto train = [this](std::vector<std::string> sets, const std::string& out) {
    for (const char* const set : {"train.epochs=12", "optimizer.accumulate=2"}) {
      sets.emplace_back(set);
    }
    return Go(Options(sets, out));
  };
  const auto weights = [this](const std::string& out) {
    return ReadTextFile(dir_ / out / "model.safetensors");
  };
  for (const std::string model : {"vit", "mlp"}) {
    if (model == "mlp") {
      WriteRecipe("[model]\nname = \"mlp\"\n" +
                  std::string(kRecipe.substr(kRecipe.find("[data]"))));
    }
    const double full = train({}, "f32").test.loss;
    EXPECT_THAT(console_, ::testing::Not(HasSubstr("precision")));
    for (const std::string precision : {"bf16", "f16"}) {
      const std::string set = "train.precision=" + precision;
      const RunState result = train({set}, precision);
      const auto steps = Metrics("lr", precision);
      EXPECT_LT(steps.back()["loss"].get<double>(), 0.5 * steps.front()["loss"].get<double>());
      EXPECT_NEAR(result.test.loss, full, 0.1 * full);
      EXPECT_NE(result.test.loss, full);
      EXPECT_EQ(result.skipped, 0);
      for (const json& step : steps) {
        EXPECT_EQ(step["loss_scale"], precision == "f16" ? 65536 : 1);
        EXPECT_GT(step["grad_norm"].get<double>(), 0);
        EXPECT_LT(step["grad_norm"].get<double>(), 100);  // of the plain loss
      }
      EXPECT_THAT(console_, HasSubstr(precision == "f16" ? "f16, loss scale 65536\n" : "bf16\n"));
      train({set}, "again");
      EXPECT_EQ(weights("again"), weights(precision));
      // 2^k of a scale is exact where no gradient is too small.
      train({set, "train.loss_scale=1024"}, "scaled");
      EXPECT_EQ(Metrics("lr", "scaled").front()["loss_scale"], 1024);
      if (precision == "bf16") {
        EXPECT_EQ(weights("scaled"), weights("bf16"));
      }
    }
  }
}

TEST_F(PrecisionTest, WeightsOfSixteenBitsTrainAlmostAsFloat32) {
  const std::vector<std::string> base = {"train.epochs=12", "optimizer.accumulate=2"};
  for (const std::string model : {"vit", "mlp", "linear"}) {
    if (model != "vit") {
      WriteRecipe("[model]\nname = \"" + model + "\"\n" +
                  std::string(kRecipe.substr(kRecipe.find("[data]"))));
    }
    const double full = Go(Options(base, "f32")).test.loss;
    EXPECT_THAT(console_, HasSubstr("bytes, 4 a parameter, and as many for gradients\n"));
    for (const std::string weights : {"bf16", "f16"}) {
      for (const std::string precision : {"f32", "bf16", "f16"}) {
        std::vector<std::string> sets = base;
        sets.push_back("train.weights=" + weights);
        sets.push_back("train.precision=" + precision);
        const std::string master = weights == "bf16" ? "split8" : "float32";
        sets.push_back("optimizer.precision.master=" + master);
        const RunState result = Go(Options(sets, "half"));
        SCOPED_TRACE(::testing::PrintToString(sets));
        EXPECT_NEAR(result.test.loss, full, 0.1 * full + 0.01);
        EXPECT_NE(result.test.loss, full);
        EXPECT_EQ(result.skipped, 0);
        const bool scaled = weights == "f16" || precision == "f16";
        EXPECT_EQ(Metrics("lr", "half").back()["loss_scale"], scaled ? 65536 : 1);
        EXPECT_THAT(console_,
                    HasSubstr(precision + ", weights " + weights + " with " + master + " master"));
      }
    }
  }
}

// The upper halves of the tensors of a file, which are bfloat16, as `dtype`.
void WriteHalves(const SafeTensorsFile& from, const std::string& dtype, const fs::path& path) {
  json header;
  std::string data;
  for (const SafeTensor& t : from.tensors()) {
    const size_t begin = data.size();
    for (const float x : from.Floats(t.name)) {
      const auto half = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
      data.append(reinterpret_cast<const char*>(&half), sizeof(half));
    }
    header[t.name] = {{"dtype", dtype}, {"shape", t.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const auto size = static_cast<uint64_t>(text.size());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof(size));
  out << text << data;
}

TEST_F(PrecisionTest, WeightsOfSixteenBitsAreSavedAndLoaded) {
  WriteRecipe("[model]\nname = \"mlp\"\n" + std::string(kRecipe.substr(kRecipe.find("[data]"))));
  std::vector<std::string> sets = {"train.weights=bf16", "optimizer.precision.master=split16"};
  const double trained = Go(Options(sets, "a")).test.loss;
  const fs::path weights = dir_ / "a/model.safetensors";
  const SafeTensorsFile file(weights);
  for (const SafeTensor& t : file.tensors()) {
    for (const float x : file.Floats(t.name)) ASSERT_EQ(std::bit_cast<uint32_t>(x) & 0xFFFF, 0U);
  }
  sets.insert(sets.end(), {"optimizer.lr=0", "train.steps=1"});
  const auto from = [&](const fs::path& path) {
    std::vector<std::string> all = sets;
    all.push_back("train.init=" + path.string());
    return Options(all, "b");
  };
  EXPECT_EQ(Go(from(weights)).test.loss, trained);
  EXPECT_EQ(ReadTextFile(weights), ReadTextFile(dir_ / "b/model.safetensors"));
  WriteHalves(file, "BF16", dir_ / "brain.safetensors");
  EXPECT_EQ(Go(from(dir_ / "brain.safetensors")).test.loss, trained);
  WriteHalves(file, "U16", dir_ / "whole.safetensors");
  EXPECT_THAT(MessageOf(from(dir_ / "whole.safetensors")),
              HasSubstr("has the dtype U16; weights are F32, BF16 or F16"));
}

TEST_F(PrecisionTest, OverflowSkipsStepsUntilTheScaleFits) {
  // The scale that f16 begins with is all right here; this one is not.
  const RunState result =
      Go(Options({"train.precision=f16", "train.loss_scale=3e38", "train.epochs=1"}, "static"));
  EXPECT_EQ(result.skipped, 8);
  EXPECT_FALSE(result.diverged);
  EXPECT_THAT(console_, HasSubstr("f16, loss scale 3e+38, 8 steps skipped by overflow"));
  for (const json& step : Metrics("lr", "static")) {
    EXPECT_EQ(step["skipped"], true);
    EXPECT_GT(step["loss"].get<double>(), 0);
    EXPECT_TRUE(step["grad_norm"].is_null());
  }

  // Images of 1e4 make gradients too large for the first scales.
  WriteRecipe("[model]\nname = \"linear\"\n" + std::string(kRecipe.substr(kRecipe.find("[data]"))));
  WriteQuarters(dir_ / "data.safetensors", 1e4F);
  const RunState found = Go(Options({"train.precision=f16", "optimizer.lr=1e-7"}, "dynamic"));
  const auto steps = Metrics("lr", "dynamic");
  ASSERT_EQ(steps.size(), 16U);
  double scale = 65536;
  int64_t skipped = 0;
  for (const json& step : steps) {
    EXPECT_EQ(step["loss_scale"], scale);
    if (step["skipped"]) {
      scale /= 2;
      ++skipped;
    }
  }
  EXPECT_EQ(found.skipped, skipped);
  EXPECT_GE(skipped, 1);
  EXPECT_LT(skipped, 16);
  EXPECT_EQ(steps.back()["skipped"], false);
}

TEST_F(PrecisionTest, NoScaleHelpsALossThatIsNotFinite) {
  WriteQuarters(dir_ / "data.safetensors", 1e6F);  // beyond float16
  const RunState result = Go(Options({"train.precision=f16"}));
  EXPECT_TRUE(result.diverged);
  EXPECT_THAT(result.stopped, HasSubstr("the training loss is nan at step 1"));
}

TEST_F(PrecisionTest, ResidualNetworkTrainsInSixteenBits) {
  WriteRecipe(ResNetRecipe());
  for (const std::string type : {"bf16", "f16"}) {
    for (const std::string where : {"train.precision=", "train.weights="}) {
      std::vector<std::string> sets = {where + type, "train.epochs=6", "train.loss_scale=1024"};
      if (where == "train.weights=") sets.emplace_back("optimizer.precision.master=float32");
      const RunState result = Go(Options(sets));
      EXPECT_GE(result.test.accuracy, 0.9) << where << type;
      EXPECT_EQ(result.skipped, 0);
    }
  }
}

TEST_F(PrecisionTest, SharpnessWorksWithEveryPrecision) {
  const auto train = [this](std::vector<std::string> sets) {
    sets.insert(sets.end(), {"optimizer.source=looksam", "optimizer.sharpness.alpha=0.2"});
    const RunState result = Go(Options(sets));
    EXPECT_FALSE(result.diverged);
    return result.test.loss;
  };
  const double floats = train({});
  for (const std::string precision : {"bf16", "f16"}) {
    EXPECT_NEAR(train({"train.precision=" + precision}), floats, 0.1) << precision;
  }
  EXPECT_NEAR(train({"train.weights=bf16", "optimizer.precision.master=split8"}), floats, 0.1);
  EXPECT_NEAR(train({"train.weights=f16", "optimizer.precision.master=float32"}), floats, 0.1);
}

}  // namespace train_precision_test
}  // namespace kudari::lab
