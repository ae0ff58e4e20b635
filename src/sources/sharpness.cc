#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "core/elements.h"
#include "core/suggest.h"
#include "core/sums.h"
#include "kernels/kernels.h"
#include "kudari/error.h"
#include "kudari/stages.h"
#include "kudari/state.h"
#include "sources/backup.h"
#include "sources/sharpness_methods.h"
#include "sources/sources.h"

namespace kudari {
namespace {

using internal::Coded;
using internal::kPiece;
using internal::Move;
using internal::SharpnessMethod;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Throws unless value is in [0, inf).
double Checked(const SharpnessMethod& method, const char* what, double value, int64_t step) {
  if (value >= 0 && value < kInfinite) return value;
  throw Error(method.name + ": " + what + " = " + internal::NumberText(value) + " at step " +
              std::to_string(step) + " is outside [0, inf)");
}

double Ratio(double a, double b) { return b == 0 ? 0 : a / b; }

// An oracle's plain calls, and the same calls again at perturbed weights.
class Calls {
 public:
  Calls(std::string_view method, const Oracle& oracle, std::vector<double>& samples)
      : method_(method), oracle_(oracle), samples_(samples) {
    samples_.clear();
  }

  Evaluation Plain() {
    const Evaluation e = oracle_(Pass::kPlain);
    if (!e.end) samples_.push_back(e.samples);
    return e;
  }

  Evaluation Perturbed() {
    if (next_ == samples_.size()) return Evaluation::End();
    const Evaluation e = oracle_(Pass::kPerturbed);
    if (e.end || e.samples != samples_[next_]) {
      throw Error(std::string(method_) + ": call " + std::to_string(next_ + 1) +
                  " of the perturbed pass was " +
                  (e.end ? "after the end of the data"
                         : "over " + internal::NumberText(e.samples) + " samples") +
                  ", that of the plain pass over " + internal::NumberText(samples_[next_]) +
                  "; both passes must see the same batches");
    }
    ++next_;
    return e;
  }

 private:
  std::string_view method_;
  const Oracle& oracle_;
  std::vector<double>& samples_;  // of the plain calls
  size_t next_ = 0;
};

// What comes before the last dot.
std::string_view ModuleOf(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

}  // namespace

class Sharpness::Work {
 public:
  Work(std::string_view method, const SharpnessSpec& spec, std::unique_ptr<Source> inner)
      : method_(internal::FindSharpnessMethod(method)),
        spec_(Complete(method, spec)),
        keeps_(method_.reuses || method_.gap),
        kept_format_(method_.reuses && spec_.direction == StateFormat::kBFloat16
                         ? internal::Format::kBFloat16
                         : internal::Format::kFloat32),
        inner_(inner != nullptr ? std::move(inner) : std::make_unique<PlainSource>()) {}

  Gradient Compute(Engine& engine, const Oracle& oracle);
  void Visit(const Engine& engine, StateVisitor& visitor);
  void Refresh() {
    Forget();
    inner_->Refresh();
  }

 private:
  // How a tensor is perturbed, and of which layer and part of the decomposition it is.
  struct Treatment {
    const Schedule* rho;  // null: not at all
    bool adapts;
    size_t layer, part;
    double scale = 0;   // of the step being taken: what its gradient is multiplied with
    bool kept = false;  // whether Kept(i) holds something
  };

  void Prepare(const Engine& engine);
  void Forget();
  bool Measure(const Engine& engine, const Gradient& plain);
  void Perturb(Engine& engine, const Gradient& plain);
  Gradient Random(const Engine& engine);
  void Compare(const Engine& engine, const Gradient& sharp);
  void Decompose(const Engine& engine, const Gradient& sharp);
  void MeasureDirection(const Engine& engine);
  Gradient Reuse(const Engine& engine, const Gradient& plain);
  Gradient CloseGap(const Engine& engine, const Gradient& plain, const Gradient& sharp);

  Coded Kept(size_t i) const {
    return {.format = kept_format_, .data = const_cast<std::byte*>(kept_[i].data())};
  }
  // The k-th sum over tensors of which `group` says the same.
  template <class F>
  std::vector<double> Sum(size_t k, size_t groups, const F& group) const {
    std::vector<double> sums(groups);
    for (size_t i = 0; i < treated_.size(); ++i) sums[group(treated_[i])] += sums_.Of(i, k);
    return sums;
  }
  std::vector<double> SumOfParts(size_t k) const {
    return Sum(k, parts_, [](const Treatment& t) { return t.part; });
  }
  // (|w| + eta) g, or g where weights are not adapted to.
  const float* Adapted(const Treatment& t, const float* w, const float* g, size_t n,
                       float* buffer) const {
    if (!t.adapts) return g;
    kernels_->adapt(w, g, static_cast<float>(spec_.eta), n, buffer);
    return buffer;
  }

  const SharpnessMethod& method_;
  SharpnessSpec spec_;
  bool keeps_;
  internal::Format kept_format_;
  std::unique_ptr<Source> inner_;
  const internal::KernelSet* kernels_ = &internal::Kernels();
  const internal::Codecs* codecs_ = &internal::CodecsFor(kernels_->target);

  bool prepared_ = false;           // at the first call
  std::vector<Treatment> treated_;  // beside the tensors
  size_t layers_ = 0, parts_ = 0;
  internal::Backup backup_;
  internal::TensorSums sums_;
  std::vector<std::vector<std::byte>> kept_;  // g during the second pass, then the direction
  std::vector<double> direction_norms_;       // by part; none: not measured yet
  bool has_direction_ = false;                // what a state says: that it differs from none
  std::vector<std::vector<float>> random_;
  std::vector<const float*> data_;
  std::vector<double> samples_;
};

// All that can fail comes before the first member is changed.
void Sharpness::Work::Prepare(const Engine& engine) {
  if (prepared_) return;
  const std::span<const Tensor> tensors = engine.tensors();
  std::vector<Treatment> treated;
  std::map<std::string, size_t> layers;
  std::vector<bool> matched(spec_.groups.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].name;
    const TensorClass tensor_class = engine.Class(i);
    const auto is_in = [&](const std::vector<TensorClass>& classes) {
      return std::find(classes.begin(), classes.end(), tensor_class) != classes.end();
    };
    const std::string layer(spec_.layer == LayerUnit::kModule ? ModuleOf(name) : name);
    Treatment t{.rho = &*spec_.rho,
                .adapts = method_.move == Move::kAdaptive &&
                          (spec_.adapt_biases || tensor_class != TensorClass::kBias),
                .layer = layers.emplace(layer, layers.size()).first->second,
                .part = 0};
    for (size_t k = 0; k < spec_.groups.size(); ++k) {
      const SharpnessSpec::Radius& group = spec_.groups[k];
      if (!Matches(group.match, tensors[i])) continue;
      if (!group.classes.empty() && !is_in(group.classes)) continue;
      t.rho = &group.rho;
      matched[k] = true;
    }
    if (is_in(spec_.exclude)) t.rho = nullptr;
    if (spec_.decompose_layers) t.part = t.layer;
    treated.push_back(t);
  }
  for (size_t k = 0; k < matched.size(); ++k) {
    if (matched[k] || spec_.groups[k].match == "*") continue;
    throw Error(method_.name + ": group " + std::to_string(k) + " (match = \"" +
                spec_.groups[k].match + "\") matches no tensor");
  }
  std::vector<std::vector<std::byte>> kept;
  for (size_t i = 0; keeps_ && i < tensors.size(); ++i) {
    const auto size = static_cast<size_t>(tensors[i].Size());
    kept.emplace_back(size * internal::DataBytes(kept_format_));
  }
  treated_ = std::move(treated);
  kept_ = std::move(kept);
  layers_ = layers.size();
  parts_ = spec_.decompose_layers ? layers_ : 1;
  prepared_ = true;
}

Gradient Sharpness::Work::Compute(Engine& engine, const Oracle& oracle) {
  Prepare(engine);
  backup_.Begin(engine.tensors(), method_.reuses ? sizeof(float) : 0);
  Calls calls(method_.name, oracle, samples_);
  const Gradient plain = inner_->Compute(engine, [&](Pass) { return calls.Plain(); });
  if (plain.samples == 0) return plain;
  if (method_.cycles && engine.steps() % spec_.k != 0) {
    return method_.reuses ? Reuse(engine, plain) : plain;
  }
  if (!Measure(engine, plain)) return plain;
  Perturb(engine, plain);
  try {
    Gradient sharp = internal::AtChangedWeights(backup_, engine, [&] {
      return inner_->Compute(engine, [&](Pass) { return calls.Perturbed(); });
    });
    sharp.loss = plain.loss;
    if (method_.reuses) Decompose(engine, spec_.random_direction ? Random(engine) : sharp);
    return method_.gap ? CloseGap(engine, plain, sharp) : sharp;
  } catch (...) {
    Forget();  // what is kept is the plain gradient, and no direction
    throw;
  }
}

// No direction is kept.
void Sharpness::Work::Forget() {
  for (Treatment& t : treated_) t.kept = false;
  direction_norms_.clear();
}

// Finds what each gradient is multiplied with; false if one is not finite.
bool Sharpness::Work::Measure(const Engine& engine, const Gradient& plain) {
  const std::span<const Tensor> tensors = engine.tensors();
  const bool weights = method_.move != Move::kBall;
  sums_.Run(tensors, engine.parallel(),
            [&](size_t i, size_t begin, size_t end, internal::TensorSums::Lanes& lanes) {
              const Coded g = internal::GradientOf(plain, tensors[i], i);
              if (g.data == nullptr) return;
              internal::ForFloats(*codecs_, g, begin, end, [&](size_t at, auto values) {
                const size_t n = values.size();
                float loaded[kPiece], adapted[kPiece];
                const float* w = loaded;
                if (weights && tensors[i].dtype == DType::kFloat32) {
                  w = static_cast<const float*>(tensors[i].param) + at;
                } else if (weights) {
                  engine.LoadWeights(i, at, std::span(loaded, n));
                }
                const float* const x = Adapted(treated_[i], w, values.data(), n, adapted);
                kernels_->add_squares(x, n, lanes[0]);
                if (method_.move == Move::kLayers) kernels_->add_squares(w, n, lanes[1]);
              });
            });
  double total = 0, all = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    all += sums_.Of(i, 0);
    if (treated_[i].rho != nullptr) total += sums_.Of(i, 0);
  }
  if (!std::isfinite(all)) return false;

  // The gradient itself, not what memory holds of it, is what some scalings are relative to.
  const double unit = plain.factor / engine.loss_scale();
  const double norm = std::sqrt(total);
  const auto by_layer = [](const Treatment& t) { return t.layer; };
  const std::vector<double> squares = Sum(0, layers_, by_layer);
  const std::vector<double> weight_squares = Sum(1, layers_, by_layer);
  const auto scale_of = [&](const Treatment& t) {
    if (method_.move != Move::kLayers) return Ratio(1, norm);
    const double g = std::sqrt(squares[t.layer]), w = std::sqrt(weight_squares[t.layer]);
    switch (spec_.layer_scale) {
      case LayerScale::kWeightRatio:
        return Ratio(w, g);
      case LayerScale::kRatioGlobal:
        return Ratio(Ratio(w, g), unit * norm);
      case LayerScale::kUnitLayer:
        return Ratio(1, g);
      case LayerScale::kDouble:
        return Ratio(w, unit * g * g);
    }
    return 0.0;
  };
  for (Treatment& t : treated_) {
    t.scale = 0;
    if (t.rho == nullptr) continue;
    t.scale = scale_of(t) * Checked(method_, "rho", (*t.rho)(engine.steps()), engine.steps());
    // A gradient so small that float32 cannot hold the inverse of its norm is as good as none.
    if (!std::isfinite(static_cast<float>(t.scale))) t.scale = 0;
  }
  return true;
}

void Sharpness::Work::Perturb(Engine& engine, const Gradient& plain) {
  const std::span<const Tensor> tensors = engine.tensors();
  for (size_t i = 0; keeps_ && i < tensors.size(); ++i) {
    treated_[i].kept = internal::GradientOf(plain, tensors[i], i).data != nullptr;
  }
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    backup_.Save(i, tensors[i], begin, end);
    const Coded g = internal::GradientOf(plain, tensors[i], i);
    if (g.data == nullptr) return;
    const Treatment& t = treated_[i];
    const auto scale = static_cast<float>(t.scale);
    internal::ForFloats(*codecs_, g, begin, end, [&](size_t at, auto values) {
      const size_t n = values.size();
      if (keeps_) codecs_->store(values.data(), at, n, Kept(i));
      if (scale == 0) return;
      float buffer[kPiece], once[kPiece], twice[kPiece];
      const bool in_place = tensors[i].dtype == DType::kFloat32;
      float* const w = in_place ? static_cast<float*>(tensors[i].param) + at : buffer;
      if (!in_place) engine.LoadWeights(i, at, std::span(buffer, n));
      const float* const x = Adapted(t, w, Adapted(t, w, values.data(), n, once), n, twice);
      kernels_->add_scaled(w, x, scale, n);
      if (!in_place) codecs_->store(w, at, n, internal::Visible(tensors[i]));
    });
  });
}

// Numbers that depend on the step and the tensor's name alone.
Gradient Sharpness::Work::Random(const Engine& engine) {
  random_.resize(treated_.size());
  data_.assign(treated_.size(), nullptr);
  for (size_t i = 0; i < treated_.size(); ++i) {
    const Tensor& t = engine.tensors()[i];
    if (!treated_[i].kept) continue;
    std::seed_seq seed(t.name.begin(), t.name.end());
    std::mt19937_64 random(seed);
    random.seed(random() + static_cast<uint64_t>(engine.steps()));
    random_[i].resize(static_cast<size_t>(t.Size()));
    for (float& x : random_[i]) x = static_cast<float>(random() >> 40U) / 8388608.0F - 1;
    data_[i] = random_[i].data();
  }
  return {.data = data_};
}

// Sums over the kept gradient g and that at the perturbed weights, where there are both: g.g_s, g.g
// and g_s.g_s.
void Sharpness::Work::Compare(const Engine& engine, const Gradient& sharp) {
  const std::span<const Tensor> tensors = engine.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    treated_[i].kept &= internal::GradientOf(sharp, tensors[i], i).data != nullptr;
  }
  sums_.Run(tensors, engine.parallel(),
            [&](size_t i, size_t begin, size_t end, internal::TensorSums::Lanes& lanes) {
              if (!treated_[i].kept) return;
              const Coded s = internal::GradientOf(sharp, tensors[i], i);
              internal::ForFloats(*codecs_, Kept(i), begin, end, [&](size_t at, auto g) {
                float buffer[kPiece];
                const float* const x = internal::FloatsOf(*codecs_, s, at, g.size(), buffer);
                kernels_->add_products(g.data(), x, g.size(), lanes[0]);
                kernels_->add_squares(g.data(), g.size(), lanes[1]);
                kernels_->add_squares(x, g.size(), lanes[2]);
              });
            });
}

// Makes the direction of the kept gradient and that at the perturbed weights.
void Sharpness::Work::Decompose(const Engine& engine, const Gradient& sharp) {
  const std::span<const Tensor> tensors = engine.tensors();
  Compare(engine, sharp);
  const std::vector<double> products = SumOfParts(0), squares = SumOfParts(1);
  const std::vector<double> sharp_squares = SumOfParts(2);
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    const Treatment& t = treated_[i];
    if (!t.kept) return;
    const Coded s = internal::GradientOf(sharp, tensors[i], i);
    const auto parallel = static_cast<float>(Ratio(products[t.part], squares[t.part]));
    internal::ForFloats(*codecs_, s, begin, end, [&](size_t at, auto x) {
      float direction[kPiece], buffer[kPiece];
      std::copy(x.begin(), x.end(), direction);
      const float* const g = internal::FloatsOf(*codecs_, Kept(i), at, x.size(), buffer);
      kernels_->add_scaled(direction, g, -parallel, x.size());
      codecs_->store(direction, at, x.size(), Kept(i));
    });
  });
  MeasureDirection(engine);
  const double rounding = kept_format_ == internal::Format::kFloat32 ? 1e-6 : 1e-2;
  for (Treatment& t : treated_) {
    const double norm = direction_norms_[t.part];
    t.kept &= norm > rounding * std::sqrt(sharp_squares[t.part]) && norm < kInfinite;
  }
}

void Sharpness::Work::MeasureDirection(const Engine& engine) {
  sums_.Run(engine.tensors(), engine.parallel(),
            [&](size_t i, size_t begin, size_t end, internal::TensorSums::Lanes& lanes) {
              if (!treated_[i].kept) return;
              internal::ForFloats(*codecs_, Kept(i), begin, end, [&](size_t /*at*/, auto x) {
                kernels_->add_squares(x.data(), x.size(), lanes[0]);
              });
            });
  direction_norms_ = SumOfParts(0);
  for (double& x : direction_norms_) x = std::sqrt(x);
}

// g + alpha norm(g) / norm(g_v) g_v, in the memory of the backup.
Gradient Sharpness::Work::Reuse(const Engine& engine, const Gradient& plain) {
  const std::span<const Tensor> tensors = engine.tensors();
  if (direction_norms_.empty()) MeasureDirection(engine);
  sums_.Run(tensors, engine.parallel(),
            [&](size_t i, size_t begin, size_t end, internal::TensorSums::Lanes& lanes) {
              const Coded g = internal::GradientOf(plain, tensors[i], i);
              if (g.data == nullptr) return;
              internal::ForFloats(*codecs_, g, begin, end, [&](size_t /*at*/, auto x) {
                kernels_->add_squares(x.data(), x.size(), lanes[0]);
              });
            });
  const std::vector<double> squares = SumOfParts(0);
  for (const double s : squares) {
    if (!std::isfinite(s)) return plain;
  }
  const double alpha = Checked(method_, "alpha", (*spec_.alpha)(engine.steps()), engine.steps());
  data_.assign(tensors.size(), nullptr);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Coded g = internal::GradientOf(plain, tensors[i], i);
    if (g.data == nullptr) continue;
    const bool as_it_is = !treated_[i].kept && g.format == internal::Format::kFloat32;
    data_[i] = as_it_is ? static_cast<const float*>(g.data) : backup_.Floats(i);
  }
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    if (data_[i] != backup_.Floats(i)) return;
    const Treatment& t = treated_[i];
    const auto length =
        static_cast<float>(alpha * Ratio(std::sqrt(squares[t.part]), direction_norms_[t.part]));
    internal::ForFloats(
        *codecs_, internal::GradientOf(plain, tensors[i], i), begin, end, [&](size_t at, auto g) {
          float* const out = backup_.Floats(i) + at;
          std::copy(g.begin(), g.end(), out);
          if (!t.kept) return;
          float buffer[kPiece];
          const float* const x = internal::FloatsOf(*codecs_, Kept(i), at, g.size(), buffer);
          kernels_->add_scaled(out, x, length, g.size());
        });
  });
  Gradient gradient = plain;
  gradient.data = data_;
  return gradient;
}

// g_s - alpha (g - (g.g_s / g_s.g_s) g_s), in the memory of the kept gradient.
Gradient Sharpness::Work::CloseGap(const Engine& engine, const Gradient& plain,
                                   const Gradient& sharp) {
  const std::span<const Tensor> tensors = engine.tensors();
  Compare(engine, sharp);
  const double product = SumOfParts(0)[0], squares = SumOfParts(2)[0];
  if (!std::isfinite(product) || !std::isfinite(squares)) return sharp;
  // Of what memory holds, which is another multiple of each gradient.
  const double alpha = Checked(method_, "alpha", (*spec_.alpha)(engine.steps()), engine.steps()) *
                       plain.factor / sharp.factor;
  const auto plain_share = static_cast<float>(-alpha);
  const auto sharp_share = static_cast<float>(1 + alpha * Ratio(product, squares));
  data_.assign(tensors.size(), nullptr);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (treated_[i].kept) data_[i] = static_cast<const float*>(Kept(i).data);
  }
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    if (data_[i] == nullptr) return;
    internal::ForFloats(
        *codecs_, internal::GradientOf(sharp, tensors[i], i), begin, end, [&](size_t at, auto x) {
          float* const kept = static_cast<float*>(Kept(i).data) + at;
          float sum[kPiece];
          std::transform(x.begin(), x.end(), sum, [&](float s) { return sharp_share * s; });
          kernels_->add_scaled(sum, kept, plain_share, x.size());
          std::copy(sum, sum + x.size(), kept);
        });
  });
  Gradient gradient = sharp;
  gradient.data = data_;
  return gradient;
}

void Sharpness::Work::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Node("inner", [&] { inner_->Visit(engine, visitor); });
  if (!method_.reuses) return;
  if (visitor.loading()) {
    Prepare(engine);
  } else {
    has_direction_ = std::ranges::any_of(treated_, &Treatment::kept);
  }
  const bool has_direction = visitor.Value("has_direction", has_direction_);
  visitor.Then([this] { Forget(); });
  if (!has_direction) return;
  const ElementType type =
      kept_format_ == internal::Format::kBFloat16 ? ElementType::kBFloat16 : ElementType::kFloat32;
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    if (!visitor.Optional("direction", treated_[i].kept)) return;
    visitor.Array("direction", type, engine.tensors()[i].shape, kept_[i].data());
    visitor.Then([this, i] { treated_[i].kept = true; });
  });
}

const std::vector<std::string>& Sharpness::Methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const SharpnessMethod& m : internal::SharpnessMethods()) all.push_back(m.name);
    return all;
  }();
  return names;
}

SharpnessSpec Sharpness::Complete(std::string_view method, const SharpnessSpec& spec) {
  const SharpnessMethod& m = internal::FindSharpnessMethod(method);
  SharpnessSpec full = spec;
  if (!full.rho) full.rho = m.rho;
  if (!full.alpha) full.alpha = m.alpha;
  const std::string where = m.name + ": ";
  internal::CheckOptions(where, internal::SharpnessOptions(), full);
  for (const SharpnessSpec::Radius& group : full.groups) {
    internal::CheckOptions(where, internal::RadiusOptions(), group);
  }
  return full;
}

Sharpness::Sharpness(std::string_view method, const SharpnessSpec& spec,
                     std::unique_ptr<Source> inner)
    : work_(std::make_unique<Work>(method, spec, std::move(inner))) {}
Sharpness::~Sharpness() = default;

Gradient Sharpness::Compute(Engine& engine, const Oracle& oracle) {
  return work_->Compute(engine, oracle);
}

void Sharpness::Visit(const Engine& engine, StateVisitor& visitor) {
  work_->Visit(engine, visitor);
}

void Sharpness::Refresh() { work_->Refresh(); }

}  // namespace kudari
