// What runs say of pictures, and the pictures that they make.
#include "lab/verbs/predict.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lab/data/data.h"
#include "lab/files/encode_image.h"
#include "lab/train/image_predictor.h"
#include "lab/train/objective.h"
#include "lab/train/trainer.h"
#include "lab/verbs/generate.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace predict_test {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kGreyRecipe = R"toml([model]
name = "resnet"
depth = 8
width = 4
[data]
name = "mnist"
validation = 0.25
[optimizer]
rule = "adam"
lr = 1e-2
ema = {decay = 0.9}
[train]
epochs = 3
batch_size = 16
threads = 1
)toml";

constexpr std::string_view kShapesRecipe = R"toml([model]
name = "detector"
width = 8
[data]
name = "shapes"
images = 120
test_images = 8
[optimizer]
rule = "adam"
lr = 1e-2
[train]
epochs = 4
batch_size = 8
threads = 1
)toml";

class PredictTest : public TrainFixture {
 protected:
  // Images of 12 by 12 bytes in MNIST's form, with a bright stripe whose place is the class.
  void WriteIdx(const std::string& part, uint8_t count) const {
    std::mt19937_64 random(count);
    std::string images = {0, 0, 8, 3, 0, 0, 0, static_cast<char>(count), 0, 0, 0, 12, 0, 0, 0, 12};
    std::string labels = {0, 0, 8, 1, 0, 0, 0, static_cast<char>(count)};
    for (int i = 0; i < count; ++i) {
      const int label = i % 10;
      labels += static_cast<char>(label);
      for (int pixel = 0; pixel < 144; ++pixel) {
        const int shade = static_cast<int>(random() % 100) + (pixel % 12 == label ? 150 : 0);
        images += static_cast<char>(shade);
      }
    }
    std::ofstream(dir_ / (part + "-images-idx3-ubyte"), std::ios::binary) << images;
    std::ofstream(dir_ / (part + "-labels-idx1-ubyte"), std::ios::binary) << labels;
  }

  TrainOptions GreyOptions() {
    WriteIdx("train", 80);
    WriteIdx("t10k", 20);
    WriteRecipe(kGreyRecipe);
    TrainOptions options = Options({});
    options.changes.sets = {"data.path=" + dir_.path().string()};
    return options;
  }

  fs::path WritePicture(const std::string& name, const Image& image) const {
    fs::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name, std::ios::binary) << EncodePng(image);
    return dir_ / name;
  }

  struct Said {
    std::string text, errors;
    bool sound = false;
  };

  Said PredictAll(PredictOptions options) const {
    Said said;
    if (options.run.empty()) options.run = dir_ / "out";
    said.errors = kudari::testing::Printed([&](std::FILE* errors) {
      said.text = kudari::testing::Printed(
          [&](std::FILE* console) { said.sound = Predict(options, console, errors); });
    });
    return said;
  }

  std::string PredictError(const PredictOptions& options) const {
    return kudari::testing::ErrorOf([&] { PredictAll(options); });
  }

  json Results(PredictOptions options) const {
    options.json = dir_ / "result.json";
    PredictAll(std::move(options));
    return json::parse(ReadTextFile(dir_ / "result.json"));
  }
};

// What the run's own evaluation computes for a test sample is what its picture gives, to the bit,
// with batch norms and averaged weights; and the data set is gone by then.
TEST_F(PredictTest, APictureOfASampleGivesTheSampleSLogits) {
  const TrainOptions options = GreyOptions();
  const RunState run = Go(options);
  EXPECT_GT(run.test.accuracy, 0.3);
  RecipeChanges changes = options.changes;
  changes.sets.push_back("train.init=" + (dir_ / "out/model.safetensors").string());
  Problem problem(ReadTrainRecipe(options.recipe, changes));
  for (const char* const file : {"train-images-idx3-ubyte", "t10k-images-idx3-ubyte"}) {
    fs::remove(dir_ / file);
  }
  problem.model().eval();
  const ::torch::NoGradGuard no_grad;
  ImagePredictor predictor(dir_ / "out");
  int64_t right = 0;
  PredictOptions all;
  for (int64_t i = 0; i < problem.test().size(); ++i) {
    const auto [x, y] = problem.test().Range(i, 1);
    const std::span<const float> values(x.data_ptr<float>(), static_cast<size_t>(x.numel()));
    const Image image = predictor.card().input.Picture(values);
    all.files.push_back(WritePicture("p" + std::to_string(i) + ".png", image));
    EXPECT_TRUE(predictor.Input(image).equal(x)) << i;
    const at::Tensor logits = Forward(problem.model(), x, problem.compute()).squeeze(0);
    EXPECT_TRUE(predictor.Outputs(image).equal(logits)) << i;
    const std::vector<ClassScore> classes = predictor.Classes(image);
    EXPECT_EQ(classes.size(), 10U);
    EXPECT_EQ(classes.front().label, logits.argmax().item<int64_t>());
    EXPECT_NEAR(classes.front().score, logits.softmax(0).max().item<double>(), 1e-6);
    right += classes.front().label == y.item<int64_t>() ? 1 : 0;
  }
  const auto size = static_cast<double>(problem.test().size());
  EXPECT_NEAR(static_cast<double>(right) / size, run.test.accuracy, 1e-9);

  // The verb says the same of the files.
  const json result = Results(all);
  EXPECT_EQ(result["model"], "resnet");
  EXPECT_EQ(result["data"], "mnist");
  ASSERT_EQ(result["files"].size(), all.files.size());
  for (size_t i = 0; i < all.files.size(); ++i) {
    const json& file = result["files"][i];
    EXPECT_EQ(file["file"], all.files[i].string());
    EXPECT_EQ(file["width"], 12);
    ASSERT_EQ(file["classes"].size(), 3U);
    const auto expected = predictor.Classes(DecodeImage(ReadTextFile(all.files[i])));
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(file["classes"][k]["label"], expected[k].label);
      EXPECT_EQ(file["classes"][k]["class"], std::to_string(expected[k].label));
      EXPECT_EQ(file["classes"][k]["probability"], expected[k].score);
    }
  }
}

TEST_F(PredictTest, WhatIsWrongWithAFileDoesNotKeepTheOthers) {
  Go(GreyOptions());
  const Image image{30, 12, std::vector<uint8_t>(1080, 90)};
  const fs::path sound = WritePicture("folder/deep/x.png", image);
  std::ofstream(dir_ / "folder/broken.jpg") << "\xFF\xD8\xFF and no more";
  std::ofstream(dir_ / "folder/notes.txt") << "no image by its name";
  std::ofstream(dir_ / "text.png") << "no image";
  fs::create_directories(dir_ / "empty");
  const fs::path gone = dir_ / "gone.png";
  const PredictOptions options = {
      .files = {dir_ / "text.png", gone, dir_ / "folder", dir_ / "empty"}, .top = 1};
  const Said said = PredictAll(options);
  EXPECT_FALSE(said.sound);
  EXPECT_THAT(said.text, StartsWith(sound.string() + ": "));
  EXPECT_EQ(std::ranges::count(said.text, '\n'), 1);
  EXPECT_EQ(std::ranges::count(said.text, '%'), 1);
  EXPECT_THAT(said.errors, HasSubstr("kudari: " + (dir_ / "text.png").string() +
                                     ": is neither a JPEG nor a PNG\n"));
  EXPECT_THAT(said.errors, HasSubstr("kudari: " + gone.string() + ": "));
  EXPECT_THAT(said.errors, HasSubstr("folder/broken.jpg: is a damaged JPEG"));
  EXPECT_THAT(said.errors, HasSubstr("empty: has no image, no file named .jpg, .jpeg or .png\n"));
  EXPECT_EQ(std::ranges::count(said.errors, '\n'), 4);
  EXPECT_EQ(Results(options)["files"].size(), 5U);
  EXPECT_TRUE(PredictAll({.files = {sound}}).sound);
  PredictAll({.files = {sound}, .out = dir_ / "seen.svg"});
  EXPECT_THAT(ReadTextFile(dir_ / "seen.svg"), HasSubstr("folder/deep/x.png: "));
}

TEST_F(PredictTest, FoldersOfImagesGiveTheClassesTheirNames) {
  std::mt19937_64 random(3);
  for (const char* const name : {"cat", "dog"}) {
    for (int i = 0; i < 6; ++i) {
      Image image{40, 30, std::vector<uint8_t>(3600)};
      for (size_t k = 0; k < 3600; ++k) {
        image.rgb[k] =
            static_cast<uint8_t>(random() % 60 + (name[0] == 'd' && k % 3 == 0 ? 150 : 0));
      }
      WritePicture("train/" + std::string(name) + "/" + std::to_string(i) + ".png", image);
    }
  }
  Run("[model]\nname = \"linear\"\n[data]\nname = \"image-folder\"\nsize = 16\nresize = 20\n"
      "validation = 0.2\n[optimizer]\nrule = \"sgd\"\nlr = 0.01\n[train]\nepochs = 30\n"
      "batch_size = 4\nthreads = 1\n",
      {"data.path=" + dir_.path().string()});
  const DataConfig config = ReadTrainRecipe(dir_ / "out/recipe.toml").data;
  const Dataset data = LoadData(config, 1);
  ImagePredictor predictor(dir_ / "out");
  std::vector<float> values(size_t{3} * 16 * 16);
  data.train.read(7, values);  // the second of the dogs
  const Image dog = DecodeImage(ReadTextFile(dir_ / "train/dog/1.png"));
  EXPECT_TRUE(predictor.Input(dog).flatten().equal(::torch::tensor(values)));
  const json result = Results({.files = {dir_ / "train/dog/1.png", dir_ / "train/cat"}, .top = 1});
  EXPECT_EQ(result["files"].size(), 7U);
  EXPECT_EQ(result["files"][0]["classes"][0]["class"], "dog");
  EXPECT_EQ(result["files"][3]["classes"][0]["class"], "cat");
}

TEST_F(PredictTest, ADetectorGivesItsBoxesInPixels) {
  constexpr double kThreshold = 0.02;
  Run(kShapesRecipe);
  Problem problem(ReadTrainRecipe(
      dir_ / "r.toml", {.sets = {"train.init=" + (dir_ / "out/model.safetensors").string()}}));
  problem.model().eval();
  const ::torch::NoGradGuard no_grad;
  ImagePredictor predictor(dir_ / "out");
  ASSERT_TRUE(predictor.finds_boxes());
  const at::Tensor x = problem.test().Range(0, 1).x;
  const Image image =
      predictor.card().input.Picture({x.data_ptr<float>(), static_cast<size_t>(x.numel())});
  // Shares of the picture become its pixels, also where its proportions are not those of a sample.
  Image wide{128, 32, {}};
  for (int64_t y = 0; y < 32; ++y) {
    for (int64_t k = 0; k < 128; ++k) {
      const auto at = static_cast<size_t>(3 * (2 * y * 64 + k / 2));
      wide.rgb.insert(wide.rgb.end(), &image.rgb[at], &image.rgb[at] + 3);
    }
  }
  for (const Image& shown : {image, wide}) {
    const auto expected =
        dynamic_cast<BoxFinder&>(problem.model()).Find(predictor.Input(shown), kThreshold)[0];
    ASSERT_FALSE(expected.empty());
    const std::vector<ObjectBox> boxes = predictor.Boxes(shown, kThreshold);
    ASSERT_EQ(boxes.size(), expected.size());
    const auto inside = [](double share, int64_t side) {
      return std::clamp(share, 0.0, 1.0) * static_cast<double>(side);
    };
    for (size_t i = 0; i < boxes.size(); ++i) {
      EXPECT_EQ(boxes[i].label, expected[i].label);
      EXPECT_EQ(boxes[i].score, expected[i].score);
      EXPECT_EQ(boxes[i].left, inside(expected[i].left, shown.width));
      EXPECT_EQ(boxes[i].right, inside(expected[i].right, shown.width));
      EXPECT_EQ(boxes[i].top, inside(expected[i].top, shown.height));
      EXPECT_EQ(boxes[i].bottom, inside(expected[i].bottom, shown.height));
    }
  }
  const json result = Results({.files = {WritePicture("s.png", image), WritePicture("w.png", wide)},
                               .threshold = kThreshold});
  const auto boxes = predictor.Boxes(image, kThreshold);
  ASSERT_EQ(result["files"][0]["boxes"].size(), boxes.size());
  EXPECT_EQ(result["files"][0]["boxes"][0]["box"],
            json({boxes[0].left, boxes[0].top, boxes[0].right, boxes[0].bottom}));
  EXPECT_THAT((std::set<std::string>{"square", "disc", "triangle"}),
              ::testing::Contains(result["files"][0]["boxes"][0]["class"].get<std::string>()));
  EXPECT_EQ(result["files"][1]["boxes"].size(), predictor.Boxes(wide, kThreshold).size());

  const Said said =
      PredictAll({.files = {dir_ / "s.png"}, .threshold = kThreshold, .out = dir_ / "seen.svg"});
  EXPECT_THAT(said.text, HasSubstr("%, from "));
  EXPECT_THAT(ReadTextFile(dir_ / "seen.svg"), HasSubstr("stroke=\"#"));
  EXPECT_THAT(PredictAll({.files = {dir_ / "s.png"}, .threshold = 1}).text,
              HasSubstr("s.png: nothing found\n"));
  EXPECT_EQ(PredictError({.files = {dir_ / "s.png"}, .top = 2}),
            "--top is for classes, and \"detector\" finds boxes");
}

TEST_F(PredictTest, OtherLossesMeanOtherScores) {
  TrainOptions options = GreyOptions();
  options.changes.sets.emplace_back("train.loss=bce_with_logits");
  Go(options);
  const Image image{12, 12, std::vector<uint8_t>(432, 90)};
  ImagePredictor predictor(dir_ / "out");
  const at::Tensor outputs = predictor.Outputs(image);
  for (const ClassScore& c : predictor.Classes(image)) {
    EXPECT_NEAR(c.score, outputs[c.label].sigmoid().item<double>(), 1e-6);
  }
  options.changes.sets.back() = "train.loss=mse";
  Go(options);
  ImagePredictor other(dir_ / "out");
  const at::Tensor values = other.Outputs(image);
  for (const ClassScore& c : other.Classes(image)) {
    EXPECT_EQ(c.score, values[c.label].item<float>());
  }
}

TEST_F(PredictTest, RunsThatSayNothingOfPictures) {
  const fs::path image = WritePicture("x.png", {4, 4, std::vector<uint8_t>(48, 90)});
  const auto error = [&](std::string_view recipe, std::vector<std::string> sets = {}) {
    Run(recipe, std::move(sets));
    return PredictError({.files = {image}});
  };
  const std::string out = (dir_ / "out").string();
  EXPECT_EQ(error(kGan), out + ": cannot predict: \"dcgan\" makes samples, by kudari generate");
  std::ofstream(dir_ / "text.txt") << std::string(400, 'x');
  EXPECT_EQ(error("model.name = \"rnn\"\ndata = {name = \"text\", context = 5}\n"
                  "optimizer = {rule = \"adam\"}\ntrain.steps = 1\n",
                  {"data.path=" + (dir_ / "text.txt").string()}),
            out + ": cannot predict: \"rnn\" is a language model, for kudari generate");
  EXPECT_EQ(error("model.name = \"actor_critic\"\ndata = {name = \"cartpole\", episodes = 1}\n"
                  "optimizer = {rule = \"adam\"}\ntrain.steps = 1\n"),
            out + ": cannot predict: \"actor_critic\" is a policy for the environment cartpole");
  EXPECT_THAT(error("model.name = \"mlp\"\ndata = {name = \"synthetic\", kind = \"moons\"}\n"
                    "optimizer = {rule = \"adam\"}\ntrain.steps = 1\n"),
              HasSubstr("are numbers of the shape [2], not images"));
  EXPECT_EQ(error(kRecipe, {"data.path=" + (dir_ / "data.safetensors").string()}),
            out +
                ": cannot predict: its weights do not say what is black and what is white in the "
                "images of safetensors");
  fs::remove(dir_ / "out/model.safetensors");
  EXPECT_EQ(PredictError({.files = {image}}),
            out + ": has no weights, model.safetensors: the run has not ended yet, or it diverged");
  EXPECT_THAT(PredictError({.run = dir_ / "nowhere", .files = {image}}),
              HasSubstr("nowhere/recipe.toml"));
  EXPECT_EQ(PredictError({.files = {image}, .top = 0}), "--top 0: is outside [1, ...]");
  EXPECT_EQ(PredictError({.files = {image}, .threshold = 1.5}),
            "--threshold 1.5: is outside [0, 1]");
  EXPECT_EQ(PredictError({.files = {image}, .out = "seen.png"}),
            "--out seen.png: must be the name of an SVG, NAME.svg");
}

TEST_F(PredictTest, GeneratorsKeepAPictureOfWhatTheyMake) {
  Run(kGan, {"optimizer.ema={decay=0.9}"});
  const std::string kept = ReadTextFile(dir_ / "out/samples.png");
  EXPECT_THAT(console_, HasSubstr("out/samples.png"));
  const Image grid = DecodeImage(kept);
  EXPECT_EQ(grid.width, 8 * (48 + 2) + 2);
  EXPECT_EQ(grid.height, grid.width);
  const auto generate = [&](GenerateOptions options) {
    options.run = dir_ / "out";
    options.out = dir_ / "made.png";
    kudari::testing::Printed([&](std::FILE* file) { Generate(options, file); });
    return ReadTextFile(dir_ / "made.png");
  };
  EXPECT_EQ(generate({}), kept);
  EXPECT_NE(generate({.seed = 2}), kept);
  EXPECT_EQ(DecodeImage(generate({.count = 3})).width, 2 * 50 + 2);
  const auto error = [&](GenerateOptions options) {
    options.run = dir_ / "out";
    return kudari::testing::ErrorOf([&] { Generate(options, stdout); });
  };
  EXPECT_EQ(error({}), "--out is missing: the PNG to write, NAME.png");
  EXPECT_EQ(error({.out = "x.svg"}), "--out x.svg: must be the name of a PNG, NAME.png");
  EXPECT_EQ(error({.count = 0, .out = "x.png"}), "--count 0: is outside [1, 10000]");
  EXPECT_EQ(error({.seed = -1, .out = "x.png"}), "--seed -1: is outside [0, ...]");
  EXPECT_EQ(error({.tokens = 3, .out = "x.png"}), "--tokens is for models that write texts, and " +
                                                      (dir_ / "out").string() +
                                                      " has one that makes images");
  // It belongs to the run: a run that takes the place of this one deletes it.
  Run(kRecipe, {"data.path=" + (dir_ / "data.safetensors").string()});
  EXPECT_FALSE(fs::exists(dir_ / "out/samples.png"));
}

TEST_F(PredictTest, PicturesNeedNoValidation) {
  Run("model = {name = \"vae\", hidden = 8, latent = 2}\n"
      "data = {name = \"digits\", samples = 32, validation = 0}\n"
      "optimizer = {rule = \"adam\"}\ntrain.steps = 2\n");
  EXPECT_EQ(DecodeImage(ReadTextFile(dir_ / "out/samples.png")).width, 402);
}

// Observers that look at the model during an evaluation see the weights that it is of.
TEST_F(PredictTest, TheWeightsShownAreThoseEvaluated) {
  class Watcher : public TrainObserver {
   public:
    void OnShown(const ShownEvent& event) override {
      Session& session = event.session;
      shown_ = Evaluate(session.model(), session.validation(), session.loss(), session.compute());
    }
    void OnEvaluation(const EvaluationEvent& event) override {
      ++evaluations_;
      EXPECT_EQ(event.validation->loss, shown_.loss);
      Session& session = event.session;
      EXPECT_NE(
          shown_.loss,
          Evaluate(session.model(), session.validation(), session.loss(), session.compute()).loss);
    }
    int evaluations_ = 0;

   private:
    Score shown_;
  } watcher;
  const TrainOptions options = GreyOptions();
  Trainer trainer(ReadTrainRecipe(options.recipe, options.changes));
  trainer.Add(watcher);
  trainer.Run();
  EXPECT_EQ(watcher.evaluations_, 3);
}

}  // namespace predict_test
}  // namespace kudari::lab
