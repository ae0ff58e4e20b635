// A variational autoencoder (Kingma and Welling, arXiv:1312.6114) of two perceptrons, as in
// PyTorch's example.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <torch/torch.h>

#include "lab/models/models.h"
#include "lab/models/parts/generator.h"
#include "lab/models/parts/layers.h"
#endif

namespace kudari::lab {
namespace {

struct VaeOptions {
  int64_t hidden = 400, latent = 20;
  double beta = 1;
};

const internal::OptionTable<VaeOptions>& VaeTable() {
  using O = VaeOptions;
  static const internal::OptionTable<O> table = {
      {.name = "hidden",
       .member = &O::hidden,
       .least = 1,
       .most = 1'000'000,
       .doc = "width of the hidden layers"},
      {.name = "latent",
       .member = &O::latent,
       .least = 1,
       .most = 100'000,
       .doc = "number of random values that a sample is made from"},
      {.name = "beta",
       .member = &O::beta,
       .low = 0,
       .high = kInfinity,
       .doc = "weight of the divergence from the prior; 1: the bound on the likelihood"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeVae() {
  return {.name = "vae",
          .doc =
              "variational autoencoder of two perceptrons; the loss is the negative bound, for a "
              "sample",
          .options = MakeOwnOptions(VaeOptions(), VaeTable()),
          .traits = [](const ModelConfig& /*config*/) { return ModelTraits{.own_loss = true}; }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

class Vae : public Model, public Generator {
 public:
  Vae(const VaeOptions& options, const DataShape& data)
      : shape_(data.sample),
        latent_(options.latent),
        beta_(options.beta),
        low_(data.low),
        high_(data.high) {
    const int64_t size = Product(shape_);
    fc1_ = register_module("fc1", MakeLinear(size, options.hidden));
    fc21_ = register_module("fc21", MakeLinear(options.hidden, latent_));
    fc22_ = register_module("fc22", MakeLinear(options.hidden, latent_));
    fc3_ = register_module("fc3", MakeLinear(latent_, options.hidden));
    fc4_ = register_module("fc4", MakeLinear(options.hidden, size));
  }

  // The reconstruction from the mean code, [batch, size], in the range of the data.
  Tensor forward(const Tensor& x) override {
    return Decode(fc21_(Hidden(x))).sigmoid() * (high_ - low_) + low_;
  }

  Tensor TrainingLoss(const TrainingPass& pass) override {
    return Bound(pass.batch.x, pass.random) / static_cast<double>(pass.batch.size());
  }

  std::optional<Score> EvaluateOn(const std::function<Batch()>& next) override {
    constexpr uint64_t kSeed = 1;
    const at::Generator random = at::detail::createCPUGenerator(kSeed);
    double total = 0;
    int64_t samples = 0;
    for (Batch batch = next(); batch.size() > 0; batch = next()) {
      total += Bound(batch.x, random).item<double>();
      samples += batch.size();
    }
    return Score{.loss = total / static_cast<double>(samples)};
  }

  Tensor Generate(int64_t count, const at::Generator& random) override {
    std::vector<int64_t> shape = shape_;
    shape.insert(shape.begin(), count);
    const Tensor z = ::torch::randn({count, latent_}, random);
    return (Decode(z).sigmoid() * (high_ - low_) + low_).view(shape);
  }

 private:
  // In [0, 1], as the likelihood is that of independent coins.
  Tensor Scaled(const Tensor& x) const {
    return ((x.to(at::kFloat).flatten(1) - low_) / (high_ - low_)).clamp(0, 1);
  }
  Tensor Hidden(const Tensor& x) { return ::torch::relu(fc1_(Scaled(x).to(Type()))); }
  // Logits as float32, whatever the weights are.
  Tensor Decode(const Tensor& z) { return fc4_(::torch::relu(fc3_(z.to(Type())))).to(at::kFloat); }
  at::ScalarType Type() const { return fc1_->weight.scalar_type(); }

  // The negative of equation 10, with one draw, summed over the batch.
  Tensor Bound(const Tensor& x, const at::Generator& random) {
    const Tensor hidden = Hidden(x), mean = fc21_(hidden).to(at::kFloat);
    const Tensor log_variance = fc22_(hidden).to(at::kFloat);
    const Tensor noise = ::torch::randn(mean.sizes(), random, mean.options());
    const Tensor z = mean + noise * (0.5 * log_variance).exp();
    const Tensor reconstruction =
        at::binary_cross_entropy_with_logits(Decode(z), Scaled(x), {}, {}, at::Reduction::Sum);
    const Tensor divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum();
    return reconstruction + beta_ * divergence;
  }

  std::vector<int64_t> shape_;
  int64_t latent_;
  double beta_, low_, high_;
  nn::Linear fc1_{nullptr}, fc21_{nullptr}, fc22_{nullptr}, fc3_{nullptr}, fc4_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildVae(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<VaeOptions>(config.options);
  CheckParameters(2 * static_cast<double>(options.hidden) *
                  static_cast<double>(Product(data.sample) + options.latent));
  return std::make_shared<Vae>(options, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
