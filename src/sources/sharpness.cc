#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "backend/stage_arrays.h"
#include "core/elements.h"
#include "core/sums.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/stages.h"
#include "kudari/state.h"
#include "sources/backup.h"
#include "sources/sharpness_methods.h"
#include "sources/sources.h"

namespace kudari {
namespace {

using internal::Coded;
using internal::Move;
using internal::SharpnessMethod;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Throws unless value is in [0, inf).
double Checked(const SharpnessMethod& method, const char* what, double value, int64_t step) {
  if (value >= 0 && value < kInfinite) return value;
  throw Error(method.name + ": " + what + " = " + NumberText(value) + " at step " +
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
      throw Error(
          std::string(method_) + ": call " + std::to_string(next_ + 1) +
          " of the perturbed pass was " +
          (e.end ? "after the end of the data" : "over " + NumberText(e.samples) + " samples") +
          ", that of the plain pass over " + NumberText(samples_[next_]) +
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
  void Perturb(const Engine& engine);
  Gradient Random(const Engine& engine);
  void Compare(const Engine& engine, const Gradient& sharp);
  void Decompose(const Engine& engine, const Gradient& sharp);
  void MeasureDirection(const Engine& engine);
  Gradient Reuse(const Engine& engine, const Gradient& plain);
  Gradient CloseGap(const Engine& engine, const Gradient& plain, const Gradient& sharp);

  // Nothing if nothing is kept of any tensor.
  Coded Kept(size_t i) const { return keeps_ ? kept_[i] : Coded(); }
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
  // The squares of an array where `wanted(i)` says where it is; no data: none.
  template <class F>
  std::vector<double> SquaresOfParts(const Engine& engine, const F& wanted) {
    pairs_.clear();
    for (size_t i = 0; i < treated_.size(); ++i) {
      pairs_.push_back({.to = wanted(i), .from = {}, .n = SizeOf(engine, i)});
    }
    engine.backend().SumProducts(pairs_, sums_, engine.parallel());
    return SumOfParts(1);
  }
  static size_t SizeOf(const Engine& engine, size_t i) {
    return static_cast<size_t>(engine.tensors()[i].Size());
  }

  const SharpnessMethod& method_;
  SharpnessSpec spec_;
  bool keeps_;
  internal::Format kept_format_;
  std::unique_ptr<Source> inner_;

  std::vector<Treatment> treated_;  // beside the tensors; empty before the first call
  size_t layers_ = 0, parts_ = 0;
  internal::Backup backup_;
  internal::BlockSums sums_;
  internal::StageArrays kept_;           // g during the second pass, then the direction
  std::vector<double> direction_norms_;  // by part; none: not measured yet
  bool has_direction_ = false;           // what a state says: that it differs from none
  internal::StageArrays random_;
  std::vector<const float*> data_;
  // Of the operation at hand.
  std::vector<internal::Perturbation> perturbations_;
  std::vector<internal::ArrayPair> pairs_;
  std::vector<internal::Combination> combinations_;
  std::vector<double> samples_;
};

// At the first call, and when tensors were added. All that can fail comes before the first member
// is changed.
void Sharpness::Work::Prepare(const Engine& engine) {
  const std::span<const Tensor> tensors = engine.tensors();
  if (treated_.size() == tensors.size()) return;
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
    if (i < treated_.size()) t.kept = treated_[i].kept;
    treated.push_back(t);
  }
  for (size_t k = 0; k < matched.size(); ++k) {
    if (matched[k] || spec_.groups[k].match == "*") continue;
    throw Error(method_.name + ": group " + std::to_string(k) + " (match = \"" +
                spec_.groups[k].match + "\") matches no tensor");
  }
  if (keeps_ && treated_.empty()) {
    kept_ = internal::StageArrays::OfAll(engine, kept_format_);
  } else if (keeps_) {
    kept_.Resize(engine);
  }
  treated_ = std::move(treated);
  layers_ = layers.size();
  parts_ = spec_.decompose_layers ? layers_ : 1;
  direction_norms_.clear();  // which are measured again
}

Gradient Sharpness::Work::Compute(Engine& engine, const Oracle& oracle) {
  Prepare(engine);
  backup_.Begin(engine, method_.reuses ? sizeof(float) : 0);
  Calls calls(method_.name, oracle, samples_);
  const Gradient plain = inner_->Compute(engine, [&](Pass) { return calls.Plain(); });
  if (plain.samples == 0) return plain;
  if (method_.cycles && engine.steps() % spec_.k != 0) {
    return method_.reuses ? Reuse(engine, plain) : plain;
  }
  if (!Measure(engine, plain)) return plain;
  Perturb(engine);
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
  perturbations_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    perturbations_.push_back({.weights = engine.Weights(i),
                              .visible = internal::Visible(tensors[i]),
                              .gradient = internal::GradientOf(engine, plain, i),
                              .kept = Kept(i),
                              .backup = backup_.Of(i),
                              .adapts = treated_[i].adapts,
                              .scale = 0,
                              .n = SizeOf(engine, i)});
  }
  engine.backend().SumMeasured(perturbations_, static_cast<float>(spec_.eta),
                               method_.move == Move::kLayers, sums_, engine.parallel());
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

void Sharpness::Work::Perturb(const Engine& engine) {
  for (size_t i = 0; i < treated_.size(); ++i) {
    perturbations_[i].scale = static_cast<float>(treated_[i].scale);
    if (keeps_) treated_[i].kept = perturbations_[i].gradient.data != nullptr;
  }
  engine.backend().Perturb(perturbations_, static_cast<float>(spec_.eta), engine.parallel());
}

// Numbers that depend on the step and the tensor's name alone.
Gradient Sharpness::Work::Random(const Engine& engine) {
  if (random_.count() != treated_.size()) {
    random_ = internal::StageArrays::OfAll(engine, internal::Format::kFloat32);
  }
  data_.assign(treated_.size(), nullptr);
  for (size_t i = 0; i < treated_.size(); ++i) {
    const Tensor& t = engine.tensors()[i];
    if (!treated_[i].kept) continue;
    std::seed_seq seed(t.name.begin(), t.name.end());
    std::mt19937_64 random(seed);
    random.seed(random() + static_cast<uint64_t>(engine.steps()));
    std::vector<float> values(SizeOf(engine, i));
    for (float& x : values) x = static_cast<float>(random() >> 40U) / 8388608.0F - 1;
    engine.backend().Write(std::as_bytes(std::span(values)), random_.Floats(i));
    data_[i] = random_.Floats(i);
  }
  return {.data = data_};
}

// Sums over the kept gradient g and that at the perturbed weights, where there are both: g.g_s, g.g
// and g_s.g_s.
void Sharpness::Work::Compare(const Engine& engine, const Gradient& sharp) {
  const std::span<const Tensor> tensors = engine.tensors();
  pairs_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Coded s = internal::GradientOf(engine, sharp, i);
    treated_[i].kept &= s.data != nullptr;
    const bool both = treated_[i].kept;
    pairs_.push_back(
        {.to = both ? Kept(i) : Coded(), .from = both ? s : Coded(), .n = SizeOf(engine, i)});
  }
  engine.backend().SumProducts(pairs_, sums_, engine.parallel());
}

// Makes the direction of the kept gradient and that at the perturbed weights.
void Sharpness::Work::Decompose(const Engine& engine, const Gradient& sharp) {
  const std::span<const Tensor> tensors = engine.tensors();
  Compare(engine, sharp);
  const std::vector<double> products = SumOfParts(0), squares = SumOfParts(1);
  const std::vector<double> sharp_squares = SumOfParts(2);
  combinations_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Treatment& t = treated_[i];
    if (!t.kept) continue;
    combinations_.push_back({.out = Kept(i),
                             .a = 1,
                             .x = internal::GradientOf(engine, sharp, i),
                             .b = -static_cast<float>(Ratio(products[t.part], squares[t.part])),
                             .y = Kept(i),
                             .n = SizeOf(engine, i)});
  }
  engine.backend().Combine(combinations_, engine.parallel());
  MeasureDirection(engine);
  const double rounding = kept_format_ == internal::Format::kFloat32 ? 1e-6 : 1e-2;
  for (Treatment& t : treated_) {
    const double norm = direction_norms_[t.part];
    t.kept &= norm > rounding * std::sqrt(sharp_squares[t.part]) && norm < kInfinite;
  }
}

void Sharpness::Work::MeasureDirection(const Engine& engine) {
  direction_norms_ =
      SquaresOfParts(engine, [&](size_t i) { return treated_[i].kept ? Kept(i) : Coded(); });
  for (double& x : direction_norms_) x = std::sqrt(x);
}

// g + alpha norm(g) / norm(g_v) g_v, in the memory of the backup.
Gradient Sharpness::Work::Reuse(const Engine& engine, const Gradient& plain) {
  const std::span<const Tensor> tensors = engine.tensors();
  if (direction_norms_.empty()) MeasureDirection(engine);
  const std::vector<double> squares =
      SquaresOfParts(engine, [&](size_t i) { return internal::GradientOf(engine, plain, i); });
  for (const double s : squares) {
    if (!std::isfinite(s)) return plain;
  }
  const double alpha = Checked(method_, "alpha", (*spec_.alpha)(engine.steps()), engine.steps());
  data_.assign(tensors.size(), nullptr);
  combinations_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Treatment& t = treated_[i];
    const Coded g = internal::GradientOf(engine, plain, i);
    if (g.data == nullptr) continue;
    if (!t.kept && g.format == internal::Format::kFloat32) {
      data_[i] = static_cast<const float*>(g.data);
      continue;
    }
    const double length = alpha * Ratio(std::sqrt(squares[t.part]), direction_norms_[t.part]);
    combinations_.push_back({.out = {.data = backup_.Floats(i)},
                             .a = 1,
                             .x = g,
                             .b = static_cast<float>(length),
                             .y = t.kept ? Kept(i) : Coded(),
                             .n = SizeOf(engine, i)});
    data_[i] = backup_.Floats(i);
  }
  engine.backend().Combine(combinations_, engine.parallel());
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
  combinations_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!treated_[i].kept) continue;
    data_[i] = kept_.Floats(i);
    combinations_.push_back({.out = Kept(i),
                             .a = sharp_share,
                             .x = internal::GradientOf(engine, sharp, i),
                             .b = plain_share,
                             .y = Kept(i),
                             .n = SizeOf(engine, i)});
  }
  engine.backend().Combine(combinations_, engine.parallel());
  Gradient gradient = sharp;
  gradient.data = data_;
  return gradient;
}

void Sharpness::Work::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Node("inner", [&] { inner_->Visit(engine, visitor); });
  if (!method_.reuses) return;
  if (visitor.loading() || !treated_.empty()) Prepare(engine);
  if (!visitor.loading()) {
    has_direction_ = std::ranges::any_of(treated_, &Treatment::kept);
  }
  const bool has_direction = visitor.Value("has_direction", has_direction_);
  visitor.Then([this] { Forget(); });
  if (!has_direction) return;
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    if (!visitor.Optional("direction", treated_[i].kept)) return;
    kept_.Visit(engine, i, "direction", visitor);
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
