// A generator and a discriminator of convolutions (Radford et al., arXiv:1511.06434), trained
// against each other by the losses of Goodfellow et al., arXiv:1406.2661, without saturation.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <utility>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/frechet.h"
#include "lab/models/parts/generator.h"
#include "lab/models/parts/layers.h"
#endif

namespace kudari::lab {
namespace {

struct DcganOptions {
  int64_t latent = 100, width = 64;
};

const internal::OptionTable<DcganOptions>& DcganTable() {
  using O = DcganOptions;
  static const internal::OptionTable<O> table = {
      {.name = "latent",
       .member = &O::latent,
       .least = 1,
       .most = 100'000,
       .doc = "number of random values that an image is made from"},
      {.name = "width",
       .member = &O::width,
       .least = 1,
       .most = 100'000,
       .doc = "number of channels of the largest layers; smaller ones have twice as many each"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeDcgan() {
  return {.name = "dcgan",
          .doc = "generator and discriminator of convolutions, trained against each other",
          .options = MakeOwnOptions(DcganOptions(), DcganTable()),
          .traits = [](const ModelConfig& /*config*/) {
            return ModelTraits{.batch_norm = true,
                               .own_loss = true,
                               .moving_loss = true,
                               .parts = {"discriminator", "generator"}};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kKernel = 4;  // of all convolutions, which halve or double the image's side
constexpr int64_t kLeastWithin = 4, kMostWithin = 7;  // of the smallest images within

// How often the sides of an image can be halved until both are from 4 to 7; 0: they cannot.
int64_t Halvings(int64_t height, int64_t width) {
  for (int64_t n = 1; height % 2 == 0 && width % 2 == 0; ++n) {
    height /= 2;
    width /= 2;
    if (height < kLeastWithin || width < kLeastWithin) return 0;
    if (height <= kMostWithin && width <= kMostWithin) return n;
  }
  return 0;
}

// The paper's weights: deviation 0.02, around 1 in batch norms.
nn::BatchNorm2d MakeNorm(int64_t channels) {
  nn::BatchNorm2d norm(channels);
  nn::init::normal_(norm->weight, 1, 0.02);
  return norm;
}

nn::Conv2d MakeHalving(int64_t in, int64_t out) {
  nn::Conv2d layer(nn::Conv2dOptions(in, out, kKernel).stride(2).padding(1).bias(false));
  nn::init::normal_(layer->weight, 0, 0.02);
  return layer;
}

nn::ConvTranspose2d MakeDoubling(int64_t in, int64_t out) {
  nn::ConvTranspose2d layer(
      nn::ConvTranspose2dOptions(in, out, kKernel).stride(2).padding(1).bias(false));
  nn::init::normal_(layer->weight, 0, 0.02);
  return layer;
}

// [batch, channels, height, width] -> [batch], the logit of being real.
nn::Sequential MakeDiscriminator(int64_t channels, int64_t halvings, int64_t width,
                                 std::pair<int64_t, int64_t> smallest) {
  nn::Sequential layers;
  int64_t in = channels, out = width;
  for (int64_t i = 0; i < halvings; ++i) {
    layers->push_back(MakeHalving(in, out));
    if (i > 0) layers->push_back(MakeNorm(out));
    layers->push_back(nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)));
    in = std::exchange(out, 2 * out);
  }
  nn::Conv2d last(nn::Conv2dOptions(in, 1, {smallest.first, smallest.second}).bias(false));
  nn::init::normal_(last->weight, 0, 0.02);
  layers->push_back(last);
  layers->push_back(nn::Flatten(nn::FlattenOptions().start_dim(0)));
  return layers;
}

// [batch, latent, 1, 1] -> [batch, channels, height, width] in [-1, 1].
nn::Sequential MakeGenerator(int64_t latent, int64_t channels, int64_t halvings, int64_t width,
                             std::pair<int64_t, int64_t> smallest) {
  nn::Sequential layers;
  int64_t out = width << (halvings - 1);
  nn::ConvTranspose2d first(
      nn::ConvTranspose2dOptions(latent, out, {smallest.first, smallest.second}).bias(false));
  nn::init::normal_(first->weight, 0, 0.02);
  layers->push_back(first);
  for (int64_t i = 0; i < halvings; ++i) {
    layers->push_back(MakeNorm(out));
    layers->push_back(nn::ReLU());
    const bool last = i + 1 == halvings;
    layers->push_back(MakeDoubling(out, last ? channels : out / 2));
    out /= 2;
  }
  layers->push_back(nn::Tanh());
  return layers;
}

class Dcgan : public Model, public Generator, public JudgedByFeatures {
 public:
  Dcgan(const DcganOptions& options, const DataShape& data)
      : latent_(options.latent),
        low_(data.low),
        high_(data.high),
        features_(FixedFeatures(data.sample[0])) {
    const int64_t halvings = Halvings(data.sample[1], data.sample[2]);
    const std::pair smallest = {data.sample[1] >> halvings, data.sample[2] >> halvings};
    discriminator_ = register_module(
        "discriminator", MakeDiscriminator(data.sample[0], halvings, options.width, smallest));
    generator_ = register_module("generator", MakeGenerator(options.latent, data.sample[0],
                                                            halvings, options.width, smallest));
  }

  // Logits of being real, [batch, 1].
  Tensor forward(const Tensor& x) override { return Judge(x).unsqueeze(1); }

  nn::Module& Part(size_t part) override {
    return part == 0 ? static_cast<nn::Module&>(*discriminator_) : *generator_;
  }

  Tensor TrainingLoss(const TrainingPass& pass) override {
    const auto loss = [](const Tensor& logits, double target) {
      return at::binary_cross_entropy_with_logits(logits, at::full_like(logits, target));
    };
    const int64_t count = pass.batch.size();
    if (pass.part == 1) return loss(Judge(Generate(count, pass.random)), 1);
    const Tensor fake = Generate(count, pass.random).detach();
    return loss(Judge(pass.batch.x), 1) + loss(Judge(fake), 0);
  }

  // As many images as there are samples, always from the same random values.
  std::optional<Score> EvaluateOn(const std::function<Batch()>& next) override {
    constexpr uint64_t kSeed = 1;
    const at::Generator random = at::detail::createCPUGenerator(kSeed);
    std::vector<Tensor> real, made;
    for (Batch batch = next(); batch.size() > 0; batch = next()) {
      real.push_back(features_(batch.x));
      made.push_back(features_(Generate(batch.size(), random).to(at::kFloat)));
    }
    return Score{.frechet_distance = FrechetDistance(at::cat(real), at::cat(made))};
  }

  void SetFeatures(ImageFeatures features) override { features_ = std::move(features); }

  Tensor Generate(int64_t count, const at::Generator& random) override {
    const Tensor z = ::torch::randn({count, latent_, 1, 1}, random).to(Type());
    return (generator_->forward(z) + 1) * (0.5 * (high_ - low_)) + low_;
  }

 private:
  // Of numbers in the range of the data, which becomes [-1, 1].
  Tensor Judge(const Tensor& x) {
    const Tensor scaled = (x - low_) * (2 / (high_ - low_)) - 1;
    return discriminator_->forward(scaled.to(Type())).to(at::kFloat);
  }
  at::ScalarType Type() const { return generator_->parameters().front().scalar_type(); }

  int64_t latent_;
  double low_, high_;
  ImageFeatures features_;
  nn::Sequential discriminator_{nullptr}, generator_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildDcgan(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<DcganOptions>(config.options);
  const int64_t halvings = Halvings(data.sample[1], data.sample[2]);
  if (halvings == 0) {
    throw Error(
        fmt::format("model.name = \"dcgan\" needs images whose sides can be halved until "
                    "both are from {} to {}, such as 28 x 28 or 64 x 64, not {} x {}",
                    kLeastWithin, kMostWithin, data.sample[1], data.sample[2]));
  }
  const auto widest = static_cast<double>(options.width << (halvings - 1));
  CheckParameters(kMostWithin * kMostWithin * widest * static_cast<double>(options.latent + 1) +
                  2 * kKernel * kKernel * widest * widest);
  return std::make_shared<Dcgan>(options, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
