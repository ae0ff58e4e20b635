// A one-stage detector: for every cell of a grid, whether a box has its centre there, where its
// edges are, and what it holds, as in YOLO (Redmon et al., arXiv:1506.02640), with the focal loss
// of Lin et al., arXiv:1708.02002, for whether.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/box_finder.h"
#include "lab/models/parts/detection.h"
#include "lab/models/parts/layers.h"
#endif

namespace kudari::lab {
namespace {

struct DetectorOptions {
  int64_t width = 16;
  double score_threshold = 0.05, nms_threshold = 0.5;
};

const internal::OptionTable<DetectorOptions>& DetectorTable() {
  using O = DetectorOptions;
  static const internal::OptionTable<O> table = {
      {.name = "width",
       .member = &O::width,
       .least = 1,
       .most = 100'000,
       .doc = "number of channels of the first stage, doubled by each of the other two"},
      {.name = "score_threshold",
       .member = &O::score_threshold,
       .low = 0,
       .high = 1,
       .doc = "boxes that are less sure than this are not counted as found"},
      {.name = "nms_threshold",
       .member = &O::nms_threshold,
       .low = 0,
       .high = 1,
       .doc = "of boxes of a class that overlap by more than this, the surest counts"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeDetector() {
  return {.name = "detector",
          .doc = "one-stage detector of boxes with three stages of convolutions",
          .options = MakeOwnOptions(DetectorOptions(), DetectorTable()),
          .traits = [](const ModelConfig& /*config*/) {
            return ModelTraits{.batch_norm = true, .boxes = true, .own_loss = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kStages = 3, kStride = 1 << kStages;
constexpr int64_t kBoxNumbers = 5;  // of a target: the class and four edges

nn::Sequential MakeStage(int64_t in, int64_t out) {
  const auto convolution = [](int64_t from, int64_t to, int64_t stride) {
    nn::Conv2d layer(nn::Conv2dOptions(from, to, 3).stride(stride).padding(1).bias(false));
    nn::init::kaiming_normal_(layer->weight, 0, ::torch::kFanOut, ::torch::kReLU);
    return layer;
  };
  return nn::Sequential(convolution(in, out, 2), nn::BatchNorm2d(out), nn::ReLU(),
                        convolution(out, out, 1), nn::BatchNorm2d(out), nn::ReLU());
}

class Detector : public Model, public BoxFinder {
 public:
  Detector(const DetectorOptions& options, const DataShape& data)
      : options_(options), classes_(data.box_classes), boxes_(data.boxes) {
    constexpr double kPrior = 0.01;  // how probable a box is at first: the focal loss's pi
    int64_t in = data.sample[0], out = options.width;
    nn::ModuleList stages;
    for (int64_t i = 0; i < kStages; ++i) {
      stages->push_back(MakeStage(in, out));
      in = std::exchange(out, 2 * out);
    }
    stages_ = register_module("stages", stages);
    head_ = register_module("head", nn::Conv2d(nn::Conv2dOptions(in, 5 + classes_, 1)));
    nn::init::normal_(head_->weight, 0, 0.01);
    nn::init::zeros_(head_->bias);
    const ::torch::NoGradGuard no_grad;
    head_->bias[0] = -std::log((1 - kPrior) / kPrior);
  }

  // [batch, 5 + classes, rows, columns]: the logit of a box, the distances from the cell's centre
  // to its edges before exp, in cells, and the logits of the classes.
  Tensor forward(const Tensor& x) override {
    Tensor y = x.to(head_->weight.scalar_type());
    for (const auto& stage : *stages_) y = stage->as<nn::Sequential>()->forward(y);
    return head_(y);
  }

  Tensor TrainingLoss(const TrainingPass& pass) override {
    const Tensor output = forward(pass.batch.x).to(at::kFloat);
    const Tensor logits = output.select(1, 0);
    const int64_t rows = output.size(2), columns = output.size(3);
    const Tensor there = ::torch::zeros_like(logits);
    std::vector<int64_t> cells, labels;
    std::vector<float> edges;
    for (int64_t i = 0; i < pass.batch.size(); ++i) {
      for (const ObjectBox& box : TrueBoxes(pass.batch.y[i])) {
        const double x = (box.left + box.right) / 2 * static_cast<double>(columns);
        const double y = (box.top + box.bottom) / 2 * static_cast<double>(rows);
        const int64_t column = std::clamp<int64_t>(static_cast<int64_t>(x), 0, columns - 1);
        const int64_t row = std::clamp<int64_t>(static_cast<int64_t>(y), 0, rows - 1);
        there[i][row][column] = 1;
        cells.push_back((i * rows + row) * columns + column);
        labels.push_back(box.label);
        for (const double edge : {box.left, box.top, box.right, box.bottom}) {
          edges.push_back(static_cast<float>(edge));
        }
      }
    }
    const auto count = std::max<double>(1, static_cast<double>(cells.size()));
    Tensor found = Focal(logits, there) / count;
    if (cells.empty()) return found;
    // [batch rows columns, 5 + classes]
    const Tensor at =
        output.permute({0, 2, 3, 1}).flatten(0, 2).index_select(0, ::torch::tensor(cells));
    const Tensor boxes = Boxes(output).flatten(0, 2).index_select(0, ::torch::tensor(cells));
    const Tensor truth = ::torch::tensor(edges).view({-1, 4});
    return found + GeneralisedLoss(boxes, truth).sum() / count +
           at::cross_entropy_loss(at.narrow(1, 5, classes_), ::torch::tensor(labels));
  }

  std::optional<Score> EvaluateOn(const std::function<Batch()>& next) override {
    constexpr double kOverlap = 0.5;
    std::vector<std::vector<ObjectBox>> found, truth;
    double total = 0;
    for (Batch batch = next(); batch.size() > 0; batch = next()) {
      const Tensor output = forward(batch.x).to(at::kFloat);
      total += TrainingLoss({.batch = batch}).item<double>() * static_cast<double>(batch.size());
      for (int64_t i = 0; i < batch.size(); ++i) truth.push_back(TrueBoxes(batch.y[i]));
      for (auto& boxes : Decode(output, options_.score_threshold))
        found.push_back(std::move(boxes));
    }
    return Score{.loss = total / static_cast<double>(truth.size()),
                 .map = MeanAveragePrecision(found, truth, classes_, kOverlap)};
  }

  std::vector<std::vector<ObjectBox>> Find(const Tensor& x, double threshold) override {
    return Decode(forward(x).to(at::kFloat), threshold);
  }

 private:
  std::vector<ObjectBox> TrueBoxes(const Tensor& target) const {
    const Tensor rows = target.contiguous().view({boxes_, kBoxNumbers});
    const auto values = rows.accessor<float, 2>();
    std::vector<ObjectBox> boxes;
    for (int64_t k = 0; k < boxes_; ++k) {
      if (values[k][0] < 0) continue;
      boxes.push_back({.label = static_cast<int64_t>(values[k][0]),
                       .left = values[k][1],
                       .top = values[k][2],
                       .right = values[k][3],
                       .bottom = values[k][4]});
    }
    return boxes;
  }

  // Summed over all cells, with the paper's gamma and alpha.
  static Tensor Focal(const Tensor& logits, const Tensor& target) {
    constexpr double kGamma = 2, kAlpha = 0.25;
    const Tensor p = logits.sigmoid();
    const Tensor wrong = at::abs(target - p);
    const Tensor weight = kAlpha * target + (1 - kAlpha) * (1 - target);
    const Tensor loss =
        at::binary_cross_entropy_with_logits(logits, target, {}, {}, at::Reduction::None);
    return (weight * wrong.pow(kGamma) * loss).sum();
  }

  // Edges as shares of the image, [batch, rows, columns, 4].
  static Tensor Boxes(const Tensor& output) {
    constexpr double kMostLog = 5;
    const int64_t rows = output.size(2), columns = output.size(3);
    const Tensor reach = output.narrow(1, 1, 4).clamp_max(kMostLog).exp().permute({0, 2, 3, 1});
    const Tensor x = (::torch::arange(columns) + 0.5).view({1, 1, columns});
    const Tensor y = (::torch::arange(rows) + 0.5).view({1, rows, 1});
    const auto width = static_cast<double>(columns), height = static_cast<double>(rows);
    return at::stack({(x - reach.select(3, 0)) / width, (y - reach.select(3, 1)) / height,
                      (x + reach.select(3, 2)) / width, (y + reach.select(3, 3)) / height},
                     3);
  }

  // 1 - GIoU (Rezatofighi et al., arXiv:1902.09630) of boxes [n, 4], [n].
  static Tensor GeneralisedLoss(const Tensor& a, const Tensor& b) {
    const auto area = [](const Tensor& left, const Tensor& top, const Tensor& right,
                         const Tensor& bottom) {
      return (right - left).clamp_min(0) * (bottom - top).clamp_min(0);
    };
    const auto edge = [](const Tensor& boxes, int64_t i) { return boxes.select(1, i); };
    const auto whole = [&](const Tensor& boxes) {
      return area(edge(boxes, 0), edge(boxes, 1), edge(boxes, 2), edge(boxes, 3));
    };
    const Tensor high = at::maximum(a, b), low = at::minimum(a, b);
    const Tensor common = area(edge(high, 0), edge(high, 1), edge(low, 2), edge(low, 3));
    const Tensor hull = area(edge(low, 0), edge(low, 1), edge(high, 2), edge(high, 3));
    const Tensor both = whole(a) + whole(b) - common;
    return 1 - common / both + (hull - both) / hull;
  }

  // The boxes that are found in each image and are at least as sure as the threshold.
  std::vector<std::vector<ObjectBox>> Decode(const Tensor& output, double threshold) const {
    const Tensor probability = output.select(1, 0).sigmoid().unsqueeze(3) *
                               output.narrow(1, 5, classes_).permute({0, 2, 3, 1}).softmax(3);
    const auto [score, label] = probability.flatten(1, 2).max(2);
    const Tensor boxes = Boxes(output).flatten(1, 2).contiguous();
    const auto scores = score.accessor<float, 2>();
    const auto labels = label.accessor<int64_t, 2>();
    const auto edges = boxes.accessor<float, 3>();
    std::vector<std::vector<ObjectBox>> all;
    for (int64_t i = 0; i < output.size(0); ++i) {
      std::vector<ObjectBox> found;
      for (int64_t cell = 0; cell < boxes.size(1); ++cell) {
        if (scores[i][cell] < threshold) continue;
        found.push_back({.label = labels[i][cell],
                         .left = edges[i][cell][0],
                         .top = edges[i][cell][1],
                         .right = edges[i][cell][2],
                         .bottom = edges[i][cell][3],
                         .score = scores[i][cell]});
      }
      all.push_back(Suppress(std::move(found), options_.nms_threshold));
    }
    return all;
  }

  DetectorOptions options_;
  int64_t classes_, boxes_;
  nn::ModuleList stages_{nullptr};
  nn::Conv2d head_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildDetector(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<DetectorOptions>(config.options);
  if (data.sample[1] < 2 * kStride || data.sample[2] < 2 * kStride) {
    throw Error(
        fmt::format("model.name = \"detector\" needs images of at least {0} x {0}, not {1} x "
                    "{2}",
                    2 * kStride, data.sample[1], data.sample[2]));
  }
  const auto widest = static_cast<double>(options.width << (kStages - 1));
  CheckParameters(2 * 9 * 2 * widest * widest);
  return std::make_shared<Detector>(options, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
