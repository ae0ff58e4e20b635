#include "lab/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <csignal>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "kudari/safetensors.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "lab/data.h"
#include "lab/models.h"
#include "lab/plan.h"
#include "lab/progress.h"
#include "lab/recipe.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::at::Tensor;
using Clock = std::chrono::steady_clock;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kEvaluationBatch = 512;

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

volatile std::sig_atomic_t interrupted = 0;

// While it lives, the first SIGINT only sets `interrupted`; the second has its former effect.
class InterruptScope {
 public:
  InterruptScope() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, &former_);
  }
  ~InterruptScope() { sigaction(SIGINT, &former_, nullptr); }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction former_ {};
};

// A part of the data as tensors: y holds classes or targets. Views of the data set's memory.
struct Samples {
  Tensor x, y;
  int64_t size() const { return x.defined() ? x.size(0) : 0; }
};

Samples ToSamples(Split& split, const Dataset& data) {
  const int64_t outputs = data.Outputs();
  std::vector<int64_t> shape = {split.Size()};
  shape.insert(shape.end(), data.shape.begin(), data.shape.end());
  const Tensor x = ::torch::from_blob(split.x.data(), shape, ::torch::kFloat32);
  if (data.classes > 0) {
    return {x, ::torch::from_blob(split.labels.data(), {split.Size()}, ::torch::kInt64)};
  }
  return {x, ::torch::from_blob(split.targets.data(), {split.Size(), outputs}, ::torch::kFloat32)};
}

enum class Loss { kCrossEntropy, kMeanSquare };

Loss ChooseLoss(const TrainConfig& config, const Dataset& data) {
  if (config.loss == "mse") return Loss::kMeanSquare;
  if (config.loss == "auto") return data.classes > 0 ? Loss::kCrossEntropy : Loss::kMeanSquare;
  if (data.classes == 0) {
    throw Error(fmt::format(
        "train.loss = \"cross_entropy\" needs classes; the data set {} has other targets: use "
        "\"mse\"",
        data.name));
  }
  return Loss::kCrossEntropy;
}

// The mean loss. Classes are one-hot targets for the mean square.
Tensor LossOf(Loss loss, const Tensor& output, const Tensor& y, double label_smoothing) {
  namespace f = ::torch::nn::functional;
  if (loss == Loss::kCrossEntropy) {
    return f::cross_entropy(output, y,
                            f::CrossEntropyFuncOptions().label_smoothing(label_smoothing));
  }
  const Tensor target =
      y.scalar_type() == ::torch::kInt64 ? ::torch::one_hot(y, output.size(1)).to(output) : y;
  return f::mse_loss(output, target);
}

// The order of an epoch's samples: Fisher and Yates's shuffle, spelled out because the standard
// library's may differ from one machine to the next.
void Shuffle(std::vector<int64_t>& order, std::mt19937_64& random) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

// Deals the batches of one epoch after the other.
class Batches {
 public:
  Batches(Samples samples, const TrainConfig& config)
      : samples_(std::move(samples)),
        batch_size_(config.batch_size),
        shuffle_(config.shuffle),
        random_(static_cast<uint64_t>(config.seed)),
        order_(static_cast<size_t>(samples_.size())) {
    std::iota(order_.begin(), order_.end(), 0);
  }

  void StartEpoch() {
    if (shuffle_) Shuffle(order_, random_);
    next_ = 0;
  }

  /// Whether the epoch has another batch.
  bool More() const { return next_ < samples_.size(); }

  /// Whether the epoch has another batch of full size, or all samples are fewer.
  bool MoreFull() const {
    return next_ + std::min(batch_size_, samples_.size()) <= samples_.size();
  }

  Samples Next() {
    const int64_t count = std::min(batch_size_, samples_.size() - next_);
    const Tensor index = ::torch::from_blob(order_.data() + next_, {count}, ::torch::kInt64);
    next_ += count;
    return {samples_.x.index_select(0, index), samples_.y.index_select(0, index)};
  }

 private:
  Samples samples_;
  int64_t batch_size_, next_ = 0;
  bool shuffle_;
  std::mt19937_64 random_;
  std::vector<int64_t> order_;
};

// What the model computes in, if that is not float32.
std::optional<at::ScalarType> TypeOf(const TrainConfig& config) {
  if (config.precision == "bf16") return at::kBFloat16;
  if (config.precision == "f16") return at::kHalf;
  return std::nullopt;
}

// The model's output as float32, computed in `type`: losses need more than 16 bits.
Tensor Forward(Model& model, const Tensor& x, std::optional<at::ScalarType> type) {
  std::optional<kudari::torch::Autocast> autocast;
  if (type) autocast.emplace(*type);
  return model.forward(x).to(at::kFloat);
}

Score Evaluate(Model& model, const Samples& samples, Loss loss,
               std::optional<at::ScalarType> type) {
  const ::torch::NoGradGuard no_grad;
  model.eval();
  double total = 0;
  int64_t right = 0;
  for (int64_t begin = 0; begin < samples.size(); begin += kEvaluationBatch) {
    const int64_t count = std::min(kEvaluationBatch, samples.size() - begin);
    const Tensor y = samples.y.narrow(0, begin, count);
    const Tensor output = Forward(model, samples.x.narrow(0, begin, count), type);
    total += LossOf(loss, output, y, 0).item<double>() * static_cast<double>(count);
    if (y.scalar_type() == ::torch::kInt64) right += (output.argmax(1) == y).sum().item<int64_t>();
  }
  model.train();
  const double n = static_cast<double>(samples.size());
  const bool classes = samples.size() > 0 && samples.y.scalar_type() == ::torch::kInt64;
  return {total / n, classes ? static_cast<double>(right) / n : kNan};
}

// Replaces every weight by the file's of the same name.
void LoadWeights(Model& model, const fs::path& path) {
  const ::torch::NoGradGuard no_grad;
  const SafeTensorsFile file(path);
  const auto parameters = model.named_parameters();
  for (const auto& item : parameters) {
    const Tensor& weight = item.value();
    const SafeTensor& stored = file.Find(item.key());
    if (weight.sizes() != at::IntArrayRef(stored.shape)) {
      throw Error(fmt::format("{}: tensor \"{}\" has the shape [{}], the model's has [{}]",
                              path.string(), item.key(), fmt::join(stored.shape, ", "),
                              fmt::join(weight.sizes(), ", ")));
    }
    const std::span<const float> values = file.Floats(item.key());
    std::copy(values.begin(), values.end(), weight.data_ptr<float>());
  }
  for (const SafeTensor& stored : file.tensors()) {
    if (!parameters.contains(stored.name)) {
      throw Error(fmt::format("{}: the model has no parameter \"{}\"", path.string(), stored.name));
    }
  }
}

void SaveWeights(const Model& model, const fs::path& path) {
  std::vector<FloatTensor> tensors;
  for (const auto& item : model.named_parameters()) {
    const Tensor& p = item.value();
    tensors.push_back(
        {item.key(), p.sizes().vec(), {p.data_ptr<float>(), static_cast<size_t>(p.numel())}});
  }
  WriteSafeTensors(path, tensors);
}

// NaN if the rule has no such option.
double OptionOf(const TensorPlan& plan, std::string_view name) {
  for (const auto& [option, value] : plan.options) {
    if (option == name) return value;
  }
  return kNan;
}

// Where the recipe says how a parameter is treated.
std::string SourceOf(const TensorPlan& plan) {
  if (plan.group == -1) return "recipe";
  if (plan.group == -2) return "fallback";
  return fmt::format("group {}", plan.group);
}

// Why a parameter has its class.
std::string ReasonOf(const ::kudari::Tensor& tensor, const OptimizerSpec& spec) {
  std::string reason = ClassReason(tensor.name, tensor.shape);
  for (const auto& [match, tensor_class] : spec.classes) {
    if (Glob(match, tensor.name)) reason = fmt::format("recipe says so for \"{}\"", match);
  }
  return reason;
}

// Whether a rule with a trust ratio uses it for the parameter; "-" for rules without.
std::string AdaptsText(const TensorPlan& plan, const OptimizerSpec& spec) {
  const RuleEntry& rule = Registry::Builtin().Find(plan.rule);
  if (rule.norms == 0) return "-";
  const TensorClass c = plan.tensor_class;
  const bool vector = c == TensorClass::kBias || c == TensorClass::kNorm;
  const bool adapts = spec.no_adapt ? std::find(spec.no_adapt->begin(), spec.no_adapt->end(), c) ==
                                          spec.no_adapt->end()
                                    : rule.adapts_vectors || !vector;
  return adapts ? "yes" : "no";
}

std::string OptionsText(const Options& options) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : options) parts.push_back(name + " = " + value.Text());
  return fmt::format("{}", fmt::join(parts, ", "));
}

// How each parameter is treated and why; below it, the options of each rule.
std::string PlanText(const kudari::Optimizer& engine, const OptimizerSpec& partial) {
  const OptimizerSpec spec = Complete(partial);
  const std::vector<TensorPlan> plan = engine.Plan();
  std::vector<std::vector<std::string>> rows = {
      {"parameter", "shape", "class", "because", "rule", "from", "lr", "decay", "adapts"}};
  for (size_t i = 0; i < plan.size(); ++i) {
    const auto value = [&](const char* name) {
      const double x = OptionOf(plan[i], name);
      return std::isnan(x) ? "-" : fmt::format("{:.6g}", x);
    };
    rows.push_back({plan[i].name, fmt::format("[{}]", fmt::join(engine.tensors()[i].shape, ", ")),
                    std::string(Name(plan[i].tensor_class)), ReasonOf(engine.tensors()[i], spec),
                    plan[i].rule, SourceOf(plan[i]), value("lr"), value("weight_decay"),
                    AdaptsText(plan[i], spec)});
  }
  std::vector<std::vector<std::string>> rules;
  const auto add = [&](int group, const std::string& rule, const Options& options) {
    const auto uses = [group](const TensorPlan& p) { return p.group == group; };
    const auto count = std::count_if(plan.begin(), plan.end(), uses);
    if (count == 0) return;
    rules.push_back({SourceOf(*std::find_if(plan.begin(), plan.end(), uses)),
                     fmt::format("{} of {}", count, plan.size()), rule, OptionsText(options)});
  };
  add(-1, spec.rule, spec.options);
  if (spec.fallback) add(-2, spec.fallback->rule, spec.fallback->options);
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    add(static_cast<int>(i), spec.groups[i].rule, spec.groups[i].options);
  }
  rules.insert(rules.begin(), {"from", "parameters", "rule", "options"});
  return fmt::format("{}\n{}\n{}", TextTable(rows), TextTable(rules),
                     "lr and decay (weight_decay) are those of the first step; the class decides "
                     "about decay (no_decay),\nthe fallback and, for rules with a trust ratio, "
                     "whether it is used (adapts).\n");
}

// The rule and its learning rate, and those of groups with rules of their own.
std::string OptimizerText(const OptimizerSpec& spec) {
  std::vector<std::string> parts;
  const auto add = [&](const std::string& rule, const Options& options) {
    const auto lr = options.find("lr");
    parts.push_back(lr == options.end() ? rule : fmt::format("{}, lr {}", rule, lr->second.Text()));
  };
  if (!spec.rule.empty()) add(spec.rule, spec.options);
  for (const Group& group : spec.groups) {
    if (!group.rule.empty() && group.rule != spec.rule) add(group.rule, group.options);
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

// Bytes that the optimiser keeps: the rules' state and that of averagers.
int64_t StateBytes(const kudari::Optimizer& engine) {
  const OptimizerState state = engine.State();
  size_t values = 0;
  for (const TensorState& t : state.tensors) {
    for (const TensorState::Buffer& b : t.buffers) values += b.values.size();
  }
  for (const auto& averager : state.averagers) {
    for (const auto& [name, x] : averager) values += x.size();
  }
  return static_cast<int64_t>(values * sizeof(float));
}

// One training run, from the recipe to the summary.
class Run {
 public:
  Run(const TrainOptions& options, std::FILE* console);

  MemoryPlan Memory() const { return optimizer_->engine().Memory(); }
  void Explain() { progress_.Text(PlanText(optimizer_->engine(), recipe_.optimizer)); }
  TrainResult Execute();

 private:
  void CheckOutput() const;
  void TrainEpochs();
  void TakeStep();
  Evaluation NextLoss();
  void FindEstimator();
  void EstimateHessian();
  void EvaluateNow();
  void CheckStops(const Report& report);
  void Stop(std::string why) {
    if (result_.stopped.empty()) result_.stopped = std::move(why);
  }
  void Diverge(std::string_view what);
  bool Stopped() const { return !result_.stopped.empty(); }
  Status Now() const;
  std::string Heading() const;
  std::string PrecisionText() const;
  std::string Summary() const;

  const TrainOptions& options_;
  Progress progress_;
  fs::path out_;
  Recipe recipe_;
  Dataset data_;
  Samples train_, validation_, test_;
  Loss loss_;
  std::optional<at::ScalarType> type_;  // what the model computes in, if not float32
  std::shared_ptr<Model> model_;
  std::optional<kudari::torch::Optimizer> optimizer_;
  std::optional<kudari::torch::GradScaler> scaler_;
  std::optional<Batches> batches_;
  std::optional<MetricsFile> metrics_;
  int64_t steps_per_epoch_, steps_;
  std::optional<size_t> lr_index_;          // of a parameter whose lr is shown
  std::string estimator_;                   // "" if no rule uses the Hessian
  std::optional<Batches> hessian_batches_;  // apart, so that estimates cost no training data

  Clock::time_point start_;
  StepRecord last_;
  TrainResult result_;
  int64_t evaluated_step_ = 0, samples_seen_ = 0;
  double best_val_loss_ = std::numeric_limits<double>::infinity();
  int64_t evaluations_since_best_ = 0;
  // Sums over the samples since the last evaluation, and the mean loss of those before it.
  double interval_loss_ = 0, interval_samples_ = 0, former_mean_loss_ = kNan;
  double seconds_ = 0;
};

Run::Run(const TrainOptions& options, std::FILE* console)
    : options_(options), progress_(console), out_(options.out) {
  if (out_.empty()) out_ = fs::path("runs") / options.recipe.stem();
  recipe_ = ReadTrainRecipe(options.recipe, options.sets);
  const TrainConfig& train = recipe_.train;
  if (train.early_stopping > 0 && recipe_.data.validation == 0) {
    throw Error("train.early_stopping needs validation data: data.validation is 0");
  }
  if (train.threads > 0) at::set_num_threads(static_cast<int>(train.threads));
  data_ = LoadData(recipe_.data.name, recipe_.data.path, static_cast<uint64_t>(train.seed),
                   recipe_.data.validation);
  if (data_.train.Size() == 0) throw Error(fmt::format("{}: no training samples", data_.name));
  train_ = ToSamples(data_.train, data_);
  validation_ = ToSamples(data_.validation, data_);
  test_ = ToSamples(data_.test, data_);
  loss_ = ChooseLoss(train, data_);
  type_ = TypeOf(train);
  if (const auto scaling = LossScaling(train)) scaler_.emplace(*scaling);
  ::torch::manual_seed(static_cast<uint64_t>(train.seed));
  model_ = MakeModel(recipe_.model, data_.shape, data_.Outputs());
  if (!train.init.empty()) LoadWeights(*model_, train.init);
  // The norm belongs to the metrics, whether the recipe asks for it or not.
  OptimizerSpec spec = recipe_.optimizer;
  spec.measure_norm = true;
  optimizer_.emplace(*model_, spec);
  optimizer_->engine().SetParallel({at::get_num_threads(), nullptr});
  batches_.emplace(train_, train);
  const std::vector<TensorPlan> plan = optimizer_->engine().Plan();
  // Rather of the recipe's own rule than of a group, and of that than of the fallback.
  const auto rank = [&plan](size_t i) { return plan[i].group == -2 ? INT_MAX : plan[i].group; };
  for (size_t i = 0; i < plan.size(); ++i) {
    if (std::isnan(OptionOf(plan[i], "lr"))) continue;
    if (!lr_index_ || rank(i) < rank(*lr_index_)) lr_index_ = i;
  }
  FindEstimator();

  const int64_t batch_count = (train_.size() + train.batch_size - 1) / train.batch_size;
  const int64_t accumulate = recipe_.optimizer.accumulate;
  steps_per_epoch_ = (batch_count + accumulate - 1) / accumulate;
  steps_ = train.epochs == 0 ? train.steps : train.epochs * steps_per_epoch_;
  if (train.steps > 0) steps_ = std::min(steps_, train.steps);
  result_.validation = result_.test = {kNan, kNan};
  result_.best_val_accuracy = kNan;
  if (!options.explain) CheckOutput();
}

// What can be known beforehand is better said before an hour of training than after it.
void Run::CheckOutput() const {
  if (fs::exists(out_) && !fs::is_directory(out_)) {
    throw Error(fmt::format("--out {}: is not a folder", out_.string()));
  }
  const fs::path folder = options_.export_file.parent_path();
  if (!folder.empty() && !fs::is_directory(folder)) {
    throw Error(fmt::format("--export {}: there is no folder {}", options_.export_file.string(),
                            folder.string()));
  }
}

TrainResult Run::Execute() {
  std::error_code error;
  fs::create_directories(out_, error);
  if (error) throw Error(fmt::format("--out {}: {}", out_.string(), error.message()));
  metrics_.emplace(out_ / "metrics.jsonl");
  WriteFileAtomically(out_ / "recipe.toml", ToToml(recipe_));
  progress_.Text(Heading());

  const InterruptScope interrupts;
  start_ = Clock::now();
  TrainEpochs();
  seconds_ = Seconds(start_);
  if (!result_.diverged) {
    const auto view = optimizer_->Evaluation();
    result_.test = Evaluate(*model_, test_, loss_, type_);
    metrics_->Write(ScoreJson(last_.step, "test", result_.test));
    SaveWeights(*model_, out_ / "model.safetensors");
    if (!options_.export_file.empty()) SaveWeights(*model_, options_.export_file);
  }
  result_.steps = last_.step;
  progress_.Text(Summary());
  return result_;
}

void Run::TrainEpochs() {
  model_->train();
  while (!Stopped()) {
    ++last_.epoch;
    batches_->StartEpoch();
    while (batches_->More() && !Stopped()) {
      TakeStep();
      const int64_t every = recipe_.train.eval_every;
      const bool due = every > 0 ? last_.step % every == 0 : !batches_->More();
      if (due && !result_.diverged) EvaluateNow();
    }
  }
  if (evaluated_step_ != last_.step && !result_.diverged) EvaluateNow();
}

// The oracle of a step: forward and backward over one batch.
Evaluation Run::NextLoss() {
  if (!batches_->More()) return {0, 0};
  const Samples batch = batches_->Next();
  samples_seen_ += batch.size();
  const Tensor output = Forward(*model_, batch.x, type_);
  const Tensor loss = LossOf(loss_, output, batch.y, recipe_.train.label_smoothing);
  (scaler_ ? scaler_->Scale(loss) : loss).backward();
  return {loss.item<double>(), static_cast<double>(batch.size())};
}

// Which estimate of the Hessian's diagonal the rules want, if any does.
void Run::FindEstimator() {
  for (const TensorPlan& plan : optimizer_->engine().Plan()) {
    if (Registry::Builtin().Find(plan.rule).scalar.hessian == nullptr) continue;
    std::string wanted = recipe_.hessian.estimator;
    if (wanted == "auto") wanted = plan.rule == "sophia_h" ? "hutchinson" : "gnb";
    if (!estimator_.empty() && wanted != estimator_) {
      throw Error("hessian.estimator = \"auto\": the recipe's rules want different ones");
    }
    estimator_ = wanted;
  }
  if (estimator_ == "gnb" && loss_ != Loss::kCrossEntropy) {
    throw Error("hessian.estimator = \"gnb\" needs train.loss = \"cross_entropy\"");
  }
  TrainConfig config = recipe_.train;
  ++config.seed;
  if (estimator_.empty()) return;
  hessian_batches_.emplace(train_, config);
  hessian_batches_->StartEpoch();
}

// After a step: the estimate over a batch of its own, at the new weights. It is rare and squares
// small gradients: in float32, whatever the precision.
void Run::EstimateHessian() {
  if (!hessian_batches_->MoreFull()) hessian_batches_->StartEpoch();
  const Samples batch = hessian_batches_->Next();
  if (estimator_ == "gnb") {
    const auto logits = [&] { return model_->forward(batch.x); };
    optimizer_->UpdateHessian(kudari::torch::GaussNewtonBartlett(optimizer_->Parameters(), logits));
  } else {
    const auto loss = [&] {
      return LossOf(loss_, model_->forward(batch.x), batch.y, recipe_.train.label_smoothing);
    };
    optimizer_->UpdateHessian(kudari::torch::Hutchinson(optimizer_->Parameters(), loss));
  }
}

void Run::TakeStep() {
  const int64_t seen_before = samples_seen_;
  last_.lr = lr_index_ ? optimizer_->engine().Value(*lr_index_, "lr") : kNan;
  const std::function<Evaluation()> closure = [this] { return NextLoss(); };
  const Report report = scaler_ ? scaler_->Step(*optimizer_, closure) : optimizer_->Step(closure);
  if (scaler_) scaler_->Update();
  ++last_.step;
  result_.skipped += report.skipped ? 1 : 0;
  if (!estimator_.empty() && !report.skipped && last_.step % recipe_.hessian.every == 0) {
    EstimateHessian();
  }
  last_.loss = report.loss;
  last_.grad_norm = report.grad_norm;
  last_.skipped = report.skipped;
  last_.loss_scale = report.loss_scale;
  last_.seconds = Seconds(start_);
  metrics_->Write(StepJson(last_));
  const double samples = static_cast<double>(samples_seen_ - seen_before);
  interval_samples_ += samples;
  interval_loss_ += samples * report.loss;
  CheckStops(report);
  if (!Stopped()) progress_.Step(Now());
}

void Run::CheckStops(const Report& report) {
  // No scale helps a loss that is not finite by itself: it is skipped only if the recipe says so.
  const bool skips =
      report.skipped && (!scaler_ || recipe_.optimizer.nonfinite == NonFinite::kSkip);
  if (!std::isfinite(report.loss) && !skips) {
    Diverge(fmt::format("the training loss is {}", report.loss));
  } else if (report.skipped && report.loss_scale == GradScalerOptions().min_scale) {
    Diverge(fmt::format("the gradient of \"{}\" is not finite at the smallest loss scale",
                        report.first_nonfinite));
  } else if (interrupted != 0) {
    Stop(fmt::format("interrupted at step {}, epoch {}", last_.step, last_.epoch));
  } else if (report.grad_norm < recipe_.train.min_grad_norm) {
    Stop(fmt::format("gradient norm {:.3g} is below train.min_grad_norm = {:g}", report.grad_norm,
                     recipe_.train.min_grad_norm));
  } else if (last_.step == steps_) {
    Stop("reached the end");
  }
}

void Run::Diverge(std::string_view what) {
  result_.diverged = true;
  result_.stopped = fmt::format("diverged: {} at step {}", what, last_.step);
}

void Run::EvaluateNow() {
  evaluated_step_ = last_.step;
  const TrainConfig& train = recipe_.train;
  if (validation_.size() > 0) {
    Score score;
    {
      const auto view = optimizer_->Evaluation();
      score = Evaluate(*model_, validation_, loss_, type_);
    }
    result_.validation = score;
    metrics_->Write(ScoreJson(last_.step, "val", score));
    if (!(score.accuracy <= result_.best_val_accuracy)) result_.best_val_accuracy = score.accuracy;
    if (!std::isfinite(score.loss)) {
      return Diverge(fmt::format("the validation loss is {}", score.loss));
    }
    ++evaluations_since_best_;
    if (score.loss < best_val_loss_) {
      best_val_loss_ = score.loss;
      evaluations_since_best_ = 0;
    }
    if (train.early_stopping > 0 && evaluations_since_best_ >= train.early_stopping) {
      Stop(fmt::format("no new lowest validation loss in {} evaluations (train.early_stopping)",
                       train.early_stopping));
    }
  }
  const double mean_loss = interval_loss_ / interval_samples_;
  const double change = std::abs(mean_loss - former_mean_loss_);
  if (change < train.min_loss_change) {
    Stop(fmt::format("the training loss changed by {:.3g}, less than train.min_loss_change = {:g}",
                     change, train.min_loss_change));
  }
  former_mean_loss_ = mean_loss;
  interval_loss_ = interval_samples_ = 0;
  progress_.Evaluation(Now());
}

Status Run::Now() const {
  const double seconds = Seconds(start_);
  return {.step = last_.step,
          .steps = steps_,
          .epoch = last_.epoch,
          .epochs = (steps_ + steps_per_epoch_ - 1) / steps_per_epoch_,
          .loss = last_.loss,
          .val_accuracy = result_.validation.accuracy,
          .val_loss = result_.validation.loss,
          .lr = last_.lr,
          .grad_norm = last_.grad_norm,
          .samples_per_second = static_cast<double>(samples_seen_) / seconds,
          .seconds_left =
              seconds * static_cast<double>(steps_ - last_.step) / static_cast<double>(last_.step)};
}

std::string Run::Heading() const {
  return fmt::format(
      "{}: {} with {} parameters on {} ({} training, {} validation, {} test samples)\n"
      "{} steps, {} an epoch, batches of {}, {} thread{}; results in {}\n",
      options_.recipe.stem().string(), recipe_.model.name, model_->ParameterCount(), data_.name,
      train_.size(), validation_.size(), test_.size(), steps_, steps_per_epoch_,
      recipe_.train.batch_size, at::get_num_threads(), at::get_num_threads() == 1 ? "" : "s",
      out_.string());
}

std::string Run::PrecisionText() const {
  std::string text = recipe_.train.precision;
  if (scaler_) text += fmt::format(", loss scale {:g}", scaler_->scale());
  if (result_.skipped > 0) {
    text += fmt::format(", {} step{} skipped by overflow", result_.skipped,
                        result_.skipped == 1 ? "" : "s");
  }
  return text;
}

std::string Run::Summary() const {
  const int64_t state_bytes = StateBytes(optimizer_->engine());
  const auto percent = [](double x) { return fmt::format("{:.2f}%", 100 * x); };
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{}, {} parameters", recipe_.model.name, model_->ParameterCount())},
      {"data", fmt::format("{}: {} training, {} validation, {} test samples", data_.name,
                           train_.size(), validation_.size(), test_.size())},
      {"optimiser", OptimizerText(recipe_.optimizer)},
      {"state", fmt::format("{} bytes, {:.3g} a parameter", state_bytes,
                            static_cast<double>(state_bytes) /
                                static_cast<double>(model_->ParameterCount()))},
      {"steps", fmt::format("{} of {}, in epoch {}", last_.step, steps_, last_.epoch)},
      {"time", fmt::format("{:.1f} s, {:.0f} samples/s", seconds_,
                           static_cast<double>(samples_seen_) / seconds_)},
      {"stopped", result_.stopped},
      {"training loss", fmt::format("{:.4f}", last_.loss)}};
  if (type_ || scaler_ || result_.skipped > 0) {
    rows.insert(rows.begin() + 3, {"precision", PrecisionText()});
  }
  if (validation_.size() > 0) {
    rows.push_back({"validation loss",
                    fmt::format("{:.4f}, lowest {:.4f}", result_.validation.loss, best_val_loss_)});
  }
  if (std::isfinite(result_.validation.accuracy)) {
    rows.push_back(
        {"validation accuracy", fmt::format("{}, best {}", percent(result_.validation.accuracy),
                                            percent(result_.best_val_accuracy))});
  }
  if (std::isfinite(result_.test.loss)) {
    rows.push_back({"test loss", fmt::format("{:.4f}", result_.test.loss)});
  }
  if (std::isfinite(result_.test.accuracy)) {
    rows.push_back({"test accuracy", percent(result_.test.accuracy)});
  }
  std::vector<std::string> files = {(out_ / "metrics.jsonl").string(),
                                    (out_ / "recipe.toml").string()};
  if (!result_.diverged) {
    files.push_back((out_ / "model.safetensors").string());
    if (!options_.export_file.empty()) files.push_back(options_.export_file.string());
  }
  rows.push_back({"written", fmt::format("{}", fmt::join(files, " "))});
  return "\n" + TextTable(rows);
}

}  // namespace

TrainResult Train(const TrainOptions& options, std::FILE* console) {
  Run run(options, console);
  if (!options.explain) return run.Execute();
  run.Explain();
  return {};
}

void PlanTraining(const TrainOptions& options, std::FILE* console) {
  TrainOptions look = options;
  look.explain = true;
  const Run run(look, console);
  const int threads = at::get_num_threads();
  PrintPlan(run.Memory(), MeasureBandwidth(threads), threads, console);
}

}  // namespace kudari::lab
