// Runs with LibTorch saved and loaded: as checkpoints, and by LibTorch's own torch::save.
#include "kudari/torch_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "kudari/files.h"
#include "kudari/kudari.h"
#include "kudari/safetensors.h"
#include "kudari/torch_visit.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::torch {
namespace torch_checkpoint_test {

namespace nn = ::torch::nn;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Dropout takes random numbers, and batch norm has buffers, of integers too.
struct Net : nn::Module {
  explicit Net(int64_t width = 8) {
    body = register_module("body", nn::Sequential(nn::Linear(5, width), nn::BatchNorm1d(width),
                                                  nn::ReLU(), nn::Dropout(0.3)));
    head = register_module("head", nn::Linear(width, 3));
    mask = register_buffer("mask", ::torch::ones({3}, at::kBool));
    // Neither contiguous nor of a type that is stepped.
    table = register_buffer("table", ::torch::arange(6, at::kDouble).reshape({2, 3}).t());
  }
  at::Tensor forward(const at::Tensor& x) { return head->forward(body->forward(x)) * mask; }

  nn::Sequential body{nullptr};
  nn::Linear head{nullptr};
  at::Tensor mask, table;
};

std::shared_ptr<Net> MakeNet(int64_t width, at::ScalarType type) {
  auto net = std::make_shared<Net>(width);
  if (type != at::kFloat) net->to(type);  // buffers, too
  return net;
}

// A run at work, with a scaler.
struct Training {
  explicit Training(const OptimizerSpec& spec = AdamW{.lr = 0.01}, int64_t width = 8,
                    at::ScalarType type = at::kFloat)
      : net(MakeNet(width, type)),
        optimizer(*net, spec),
        scaler({.init_scale = 8, .growth_interval = 2}) {}

  void Step() {
    const at::Tensor x = ::torch::randn({16, 5}).to(net->head->weight.scalar_type());
    optimizer.ZeroGrad();
    scaler.Scale((net->forward(x) - 0.5).square().mean()).backward();
    scaler.Step(optimizer);
    scaler.Update();
  }
  StateTree State() const { return RunState(*net, optimizer, &scaler); }

  std::shared_ptr<Net> net;
  Optimizer optimizer;
  GradScaler scaler;
};

class TorchCheckpointTest : public ::testing::Test {
 protected:
  TorchCheckpointTest() { ::torch::manual_seed(1); }

  std::filesystem::path Folder() const { return dir_ / "checkpoints"; }

  kudari::testing::TemporaryFolder dir_;
};

TEST_F(TorchCheckpointTest, ALoadedRunGoesOnWithTheSameBits) {
  OptimizerSpec split = AdamW{.lr = 0.01};
  split.precision = {.master = Master::kSplit16, .state = StateFormat::kLinear8};
  split.ema = EmaSpec{.decay = 0.9};
  for (const auto& [spec, type] : std::vector<std::pair<OptimizerSpec, at::ScalarType>>{
           {AdamW{.lr = 0.01}, at::kFloat}, {split, at::kBFloat16}}) {
    std::filesystem::remove_all(Folder());
    Training one(spec, 8, type);
    for (int i = 0; i < 5; ++i) one.Step();
    const auto folder = Save(Folder(), *one.net, one.optimizer, one.scaler,
                             {.metrics = {{"loss", 0.5}}, .texts = {{"note", "x"}}});
    EXPECT_EQ(folder, Folder() / "step-5");
    for (int i = 0; i < 5; ++i) one.Step();
    const StateTree expected = one.State();

    ::torch::manual_seed(77);
    Training other(spec, 8, type);
    other.Step();
    const LoadedRun loaded = Load(Folder(), *other.net, other.optimizer, other.scaler);
    EXPECT_EQ(loaded.folder, folder);
    EXPECT_EQ(loaded.manifest.step, 5);
    EXPECT_EQ(loaded.manifest.metrics.at("loss"), 0.5);
    EXPECT_EQ(loaded.manifest.texts.at("note"), "x");
    EXPECT_EQ(ParseRecipe(loaded.manifest.texts.at("spec")), Complete(spec));
    EXPECT_EQ(loaded.report, LoadReport());
    EXPECT_THAT(loaded.damaged, IsEmpty());
    for (int i = 0; i < 5; ++i) other.Step();
    EXPECT_EQ(FirstDifference(other.State(), expected), "");
  }
}

TEST_F(TorchCheckpointTest, TheModelsFileHasTorchsNames) {
  Training run;
  run.Step();
  const auto folder = Save(Folder(), *run.net, run.optimizer);
  const SafeTensorsFile file(folder / "model.safetensors");
  std::vector<std::string> names;
  for (const auto& item : run.net->named_parameters()) names.push_back(item.key());
  for (const auto& item : run.net->named_buffers()) names.push_back(item.key());
  EXPECT_EQ(file.tensors().size(), names.size());
  for (const std::string& name : names) EXPECT_TRUE(file.Contains(name)) << name;
  EXPECT_EQ(file.Find("body.1.num_batches_tracked").dtype, "I64");
  EXPECT_EQ(file.Find("mask").dtype, "BOOL");
  EXPECT_THAT(file.Find("table").shape, ElementsAre(3, 2));
  EXPECT_EQ(LoadCheckpoint(folder).manifest.texts.at("parameters"),
            "body.0.weight\nbody.0.bias\nbody.1.weight\nbody.1.bias\nhead.weight\nhead.bias\n");
}

TEST_F(TorchCheckpointTest, BuffersOfAnyStridesComeBack) {
  Training one, other;
  {
    const at::NoGradGuard no_grad;
    one.net->table.mul_(3);
    one.net->mask.fill_(false);
  }
  Save(Folder(), *one.net, one.optimizer);
  const at::Tensor table = other.net->table;
  Load(Folder(), *other.net, other.optimizer);
  EXPECT_TRUE(other.net->table.equal(one.net->table));
  EXPECT_TRUE(other.net->mask.equal(one.net->mask));
  EXPECT_TRUE(other.net->table.is_same(table));
  EXPECT_FALSE(table.is_contiguous());

  // A lenient load leaves what has another shape as it is, wherever it lies.
  Training wide(AdamW{}, 6);
  wide.net->table.set_data(::torch::ones({4, 2}, at::kDouble).t());
  const LoadReport report = Load(Folder(), *wide.net, wide.optimizer, LoadMode::kLenient).report;
  EXPECT_THAT(report.misshapen, ::testing::Contains("model/buffers/table"));
  EXPECT_THAT(report.misshapen, ::testing::Contains("model/parameters/head.weight"));
  EXPECT_TRUE(wide.net->table.equal(::torch::ones({2, 4}, at::kDouble)));
}

TEST_F(TorchCheckpointTest, WhatDoesNotFitChangesNothing) {
  Training small(AdamW{.lr = 0.01}, 6);
  small.Step();
  Save(Folder(), *small.net, small.optimizer, small.scaler);
  Training run;
  run.Step();
  const StateTree before = run.State();
  const auto load = [&](LoadMode mode = LoadMode::kStrict) {
    return ErrorOf([&] { Load(Folder(), *run.net, run.optimizer, run.scaler, mode); });
  };
  EXPECT_THAT(load(), HasSubstr("state: \"model/parameters/body.0.weight\" is F32 [6, 5], but must "
                                "be F32 [8, 5]"));
  EXPECT_EQ(FirstDifference(run.State(), before), "");

  // A scaler that nobody asked for, and one that is not there.
  std::filesystem::remove_all(Folder());
  Training same;
  Save(Folder(), *same.net, same.optimizer, same.scaler);
  const StateTree unchanged = run.State();
  EXPECT_THAT(ErrorOf([&] { Load(Folder(), *run.net, run.optimizer); }),
              HasSubstr("\"scaler\" (a node) is unknown"));
  std::filesystem::remove_all(Folder());
  Save(Folder(), *same.net, same.optimizer);
  EXPECT_THAT(load(), HasSubstr("\"scaler\" is missing"));
  EXPECT_EQ(FirstDifference(run.State(), unchanged), "");
  EXPECT_THAT(
      Load(Folder(), *run.net, run.optimizer, run.scaler, LoadMode::kLenient).report.missing,
      ElementsAre("scaler"));

  EXPECT_THAT(ErrorOf([&] { Load(dir_ / "none", *run.net, run.optimizer); }),
              HasSubstr((dir_ / "none").string()));
}

TEST_F(TorchCheckpointTest, ADamagedCheckpointIsPassedOverAndTold) {
  Training run;
  run.Step();
  const auto first = Save(Folder(), *run.net, run.optimizer);
  const StateTree expected = RunState(*run.net, run.optimizer);
  run.Step();
  const auto second = Save(Folder(), *run.net, run.optimizer);
  std::string bytes = ReadFile(second / "model.safetensors", 1 << 20);
  bytes[bytes.size() - 3] ^= 1;
  std::ofstream(second / "model.safetensors", std::ios::binary) << bytes;
  Training other;
  const LoadedRun loaded = Load(Folder(), *other.net, other.optimizer);
  EXPECT_EQ(loaded.folder, first);
  ASSERT_EQ(loaded.damaged.size(), 1U);
  EXPECT_EQ(loaded.damaged[0].folder, second);
  EXPECT_EQ(FirstDifference(RunState(*other.net, other.optimizer), expected), "");
}

TEST_F(TorchCheckpointTest, TheSaverSavesWhatSaveSaves) {
  Training run;
  run.Step();
  {
    CheckpointSaver saver(Folder(), RunOptions());
    saver.Save(RunState(*run.net, run.optimizer), RunManifest(run.optimizer));
    saver.Wait();
  }
  Training other;
  EXPECT_EQ(Load(Folder(), *other.net, other.optimizer).manifest.step, 1);
  EXPECT_EQ(
      FirstDifference(RunState(*other.net, other.optimizer), RunState(*run.net, run.optimizer)),
      "");
}

TEST_F(TorchCheckpointTest, ModelsOfOthersNeedNotTellBuffersFromParameters) {
  Training run;
  run.Step();
  StateTree state = RunState(*run.net, run.optimizer);
  // As from a state dict, all in one, and without the generator.
  for (const std::string& path : state.At("model/buffers").Paths()) {
    state.Set("model/parameters/" + path, StateTree(state.At("model/buffers/" + path)));
  }
  state.Erase("model/buffers");
  state.Erase("random");
  SaveCheckpoint(Folder(), state, {}, RunOptions());
  Training other;
  ::torch::manual_seed(5);
  const at::Tensor random = at::detail::getDefaultCPUGenerator().get_state();
  const LoadedRun loaded = Load(Folder(), *other.net, other.optimizer);
  EXPECT_THAT(loaded.report.missing, ElementsAre("random"));
  EXPECT_TRUE(random.equal(at::detail::getDefaultCPUGenerator().get_state()));
  for (const auto& item : run.net->named_buffers()) {
    EXPECT_TRUE(item.value().equal(other.net->named_buffers()[item.key()])) << item.key();
  }
}

TEST_F(TorchCheckpointTest, LibTorchIsToldWhatALoadHasWritten) {
  Training run;
  run.Step();
  Save(Folder(), *run.net, run.optimizer);
  const at::Tensor loss = run.net->forward(::torch::randn({4, 5})).square().mean();
  Load(Folder(), *run.net, run.optimizer);
  EXPECT_THROW(loss.backward(), c10::Error) << "the graph is of other weights";
}

TEST_F(TorchCheckpointTest, TensorsThatNoStateHasAreRefusedByName) {
  Training run;
  StateTree state;
  StateVisitor visitor(state);
  EXPECT_THAT(ErrorOf([&] { VisitTensor("z", at::zeros({2}, at::kComplexFloat), visitor); }),
              HasSubstr("tensor \"z\" is of type ComplexFloat"));
  EXPECT_THAT(ErrorOf([&] { VisitTensor("s", at::eye(3).to_sparse(), visitor); }),
              HasSubstr("tensor \"s\" is of a sparse layout"));
}

// ---- torch::save ----

std::string Saved(const auto& value) {
  std::ostringstream out;
  ::torch::save(value, out);
  return out.str();
}

void LoadFrom(const std::string& bytes, auto& value) {
  std::istringstream in(bytes);
  ::torch::load(value, in);
}

TEST_F(TorchCheckpointTest, TorchSaveAndLoadAreTheIdiom) {
  OptimizerSpec spec = NAdam{.lr = 0.01};  // which has memory
  spec.precision = {.master = Master::kSplit16, .state = StateFormat::kSoftsign8};
  spec.source = "looksam";  // whose state has unsigned numbers
  Training one(spec, 200, at::kBFloat16);
  const auto step = [](Training& run) {
    run.optimizer.Step([&] {
      const at::Tensor x = ::torch::ones({16, 5}, at::kBFloat16);
      at::Tensor loss = (run.net->forward(x) - 0.5).square().mean();
      loss.backward();
      return loss;
    });
  };
  for (int i = 0; i < 3; ++i) step(one);
  one.optimizer.core().SetSchedule(0, "lr", 0.02 * Cosine(50));
  Training other(spec, 200, at::kBFloat16);
  {
    const at::NoGradGuard no_grad;
    const auto weights = one.net->parameters();
    auto copies = other.net->parameters();
    for (size_t i = 0; i < weights.size(); ++i) copies[i].copy_(weights[i]);
  }
  ::torch::save(one.optimizer, (dir_ / "optimizer.pt").string());
  ::torch::load(other.optimizer, (dir_ / "optimizer.pt").string());
  EXPECT_EQ(FirstDifference(other.optimizer.core().State(), one.optimizer.core().State()), "");

  GradScaler scaler({.init_scale = 512});
  LoadFrom(Saved(one.scaler), scaler);
  EXPECT_EQ(scaler.scale(), 8);
}

TEST_F(TorchCheckpointTest, ForeignAndDamagedArchivesAreRefused) {
  Training run, other(Momentum{});
  run.Step();
  other.Step();
  const StateTree before = run.State();
  const auto error = [&](const std::string& bytes) {
    std::string text = ErrorOf([&] { LoadFrom(bytes, run.optimizer); });
    EXPECT_EQ(FirstDifference(run.State(), before), "");
    return text;
  };
  const std::string good = Saved(run.optimizer);
  EXPECT_EQ(error(good), "no error");
  EXPECT_EQ(error(Saved(run.scaler)),
            "the archive is not of the state of an optimizer: it says that it is \"a loss scaler "
            "1\"");
  EXPECT_EQ(error(Saved(run.net)),
            "the archive is not of the state of an optimizer: it has no \"kudari_state\"");
  ::torch::optim::Adam adam(run.net->parameters());
  EXPECT_THAT(error(Saved(adam)), HasSubstr("it has no \"kudari_state\""));
  EXPECT_THAT(error(Saved(other.optimizer)), HasSubstr("state: "));

  // LibTorch's own complaint of what is no archive, or of what is unlike the rest.
  for (const std::string& bytes :
       {std::string(), std::string("x"), good.substr(0, good.size() / 2)}) {
    EXPECT_THROW(LoadFrom(bytes, run.optimizer), c10::Error);
    EXPECT_EQ(FirstDifference(run.State(), before), "");
  }
  // By hand: of the right kind, with the wrong things in it.
  const auto made = [](const std::function<void(::torch::serialize::OutputArchive&)>& fill) {
    ::torch::serialize::OutputArchive archive;
    archive.write("kudari_state", c10::IValue("an optimizer 1"));
    fill(archive);
    std::ostringstream out;
    archive.save_to(out);
    return out.str();
  };
  EXPECT_THAT(error(made([](auto&) {})), HasSubstr("state: \"step\" is missing"));
  EXPECT_THAT(error(made([](auto& a) { a.write("numbers", c10::IValue(1.0)); })),
              HasSubstr("it has as \"numbers\" no dictionary"));
  EXPECT_THAT(error(made([](auto& a) {
                c10::Dict<std::string, at::Tensor> arrays;
                arrays.insert("step", at::ones({2}));
                a.write("arrays", c10::IValue(arrays));
              })),
              HasSubstr("it has \"step\" without its type"));
  EXPECT_THAT(error(made([](auto& a) {
                c10::Dict<std::string, std::string> texts;
                texts.insert("step", "x");
                a.write("integers", c10::IValue(texts));
              })),
              HasSubstr("the archive is not of the state of an optimizer: "));
}

}  // namespace torch_checkpoint_test
}  // namespace kudari::torch
