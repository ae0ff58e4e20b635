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
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/registry.h"
#include "kudari/safetensors.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "lab/batches.h"
#include "lab/components.h"
#include "lab/data.h"
#include "lab/explain.h"
#include "lab/layers.h"
#include "lab/models.h"
#include "lab/numerics.h"
#include "lab/objective.h"
#include "lab/plan.h"
#include "lab/progress.h"
#include "lab/recipe.h"
#include "lab/weights.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::at::Tensor;
using Clock = std::chrono::steady_clock;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

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

// One training run, from the recipe to the summary.
class Run {
 public:
  Run(const TrainOptions& options, std::FILE* console);

  MemoryPlan Memory() const { return optimizer_->engine().Memory(); }
  void Explain() { progress_.Text(ExplainText(optimizer_->engine(), recipe_.optimizer)); }
  TrainResult Execute();

 private:
  void CheckOutput() const;
  void TrainEpochs();
  void TakeStep();
  void CheckTracking() const;
  Evaluation NextLoss(Pass pass);
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
  Compute compute_;
  std::shared_ptr<Model> model_;
  std::optional<kudari::torch::Optimizer> optimizer_;
  std::optional<kudari::torch::GradScaler> scaler_;
  std::optional<Batches> batches_;
  std::optional<MetricsFile> metrics_;
  int64_t steps_per_epoch_, steps_;
  std::optional<size_t> lr_index_;          // of a parameter whose lr is shown
  std::string estimator_;                   // "" if no rule uses the Hessian
  std::optional<Batches> hessian_batches_;  // apart, so that estimates cost no training data
  std::vector<Samples> step_batches_;       // of the step, for perturbed passes over them
  size_t repeated_ = 0;
  std::optional<ComponentTracker> tracker_;
  std::optional<LayerNorms> layers_;

  Clock::time_point start_;
  StepRecord last_;
  TrainResult result_;
  int64_t evaluated_step_ = 0, samples_seen_ = 0;
  double best_val_loss_ = std::numeric_limits<double>::infinity();
  int64_t evaluations_since_best_ = 0;
  // Sums over the samples since the last evaluation, and the mean loss of those before it.
  double interval_loss_ = 0, interval_samples_ = 0, former_mean_loss_ = kNan;
  double seconds_ = 0;
  NumericsCount numerics_;  // counts nothing unless optimizer.precision.check
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
  data_ = LoadData(recipe_.data, static_cast<uint64_t>(train.seed));
  if (data_.train.Size() == 0) throw Error(fmt::format("{}: no training samples", data_.name));
  train_ = ToSamples(data_.train, data_);
  validation_ = ToSamples(data_.validation, data_);
  test_ = ToSamples(data_.test, data_);
  loss_ = ChooseLoss(train, data_);
  compute_ = ComputeOf(train);
  if (const auto scaling = LossScaling(train)) scaler_.emplace(*scaling);
  ::torch::manual_seed(static_cast<uint64_t>(train.seed));
  model_ = MakeModel(recipe_.model, data_.shape, data_.Outputs());
  model_->StoreWeights(compute_.weights);
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
  CheckTracking();
  if (options.track_components) tracker_.emplace();
  layers_.emplace(*model_);

  const int64_t batch_count = (train_.size() + train.batch_size - 1) / train.batch_size;
  const int64_t accumulate = recipe_.optimizer.accumulate;
  steps_per_epoch_ = (batch_count + accumulate - 1) / accumulate;
  steps_ = train.epochs == 0 ? train.steps : train.epochs * steps_per_epoch_;
  if (train.steps > 0) steps_ = std::min(steps_, train.steps);
  result_.validation = result_.test = {kNan, kNan};
  result_.best_val_accuracy = kNan;
  if (!options.explain) CheckOutput();
}

void Run::CheckTracking() const {
  if (!options_.track_components) return;
  if (!optimizer_->engine().spec().sharpness) {
    throw Error(fmt::format(
        "--track components needs a sharpness-aware source, such as sam; optimizer.source = \"{}\"",
        recipe_.optimizer.source));
  }
  if (recipe_.optimizer.accumulate > 1) {
    throw Error(fmt::format("--track components needs optimizer.accumulate = 1, not {}",
                            recipe_.optimizer.accumulate));
  }
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
    const EvaluatedWeights view(*optimizer_, *model_, train_, recipe_.train, compute_);
    result_.test = Evaluate(*model_, test_, loss_, compute_);
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
Evaluation Run::NextLoss(Pass pass) {
  if (pass == Pass::kPlain) {
    if (!batches_->More()) return {0, 0};
    step_batches_.push_back(batches_->Next());
    samples_seen_ += step_batches_.back().size();
  }
  const Samples& batch =
      pass == Pass::kPlain ? step_batches_.back() : step_batches_.at(repeated_++);
  ++last_.gradients;
  const Tensor output = Forward(*model_, batch.x, compute_);
  const Tensor loss = LossOf(loss_, output, batch.y, recipe_.train.label_smoothing);
  (scaler_ ? scaler_->Scale(loss) : loss).backward();
  if (tracker_ && optimizer_->engine().steps() % optimizer_->engine().spec().sharpness->k == 0) {
    const double scale = scaler_ ? scaler_->scale() : 1;
    if (pass == Pass::kPlain) {
      tracker_->Plain(optimizer_->Parameters(), scale);
    } else {
      tracker_->Perturbed(optimizer_->Parameters(), scale);
    }
  }
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
// small gradients: without autocast, whatever the precision.
void Run::EstimateHessian() {
  if (!hessian_batches_->MoreFull()) hessian_batches_->StartEpoch();
  const Samples batch = hessian_batches_->Next();
  const auto logits = [&] { return Forward(*model_, batch.x, {.weights = compute_.weights}); };
  const kudari::torch::EstimateOptions keep{.keep_buffers = model_.get()};
  if (estimator_ == "gnb") {
    optimizer_->UpdateHessian(
        kudari::torch::GaussNewtonBartlett(optimizer_->Parameters(), logits, keep));
  } else {
    const auto loss = [&] {
      return LossOf(loss_, logits(), batch.y, recipe_.train.label_smoothing);
    };
    optimizer_->UpdateHessian(kudari::torch::Hutchinson(optimizer_->Parameters(), loss, keep));
  }
}

void Run::TakeStep() {
  const int64_t seen_before = samples_seen_;
  last_.lr = lr_index_ ? optimizer_->engine().Value(*lr_index_, "lr") : kNan;
  step_batches_.clear();
  repeated_ = 0;
  last_.gradients = 0;
  const int64_t every = recipe_.train.layers_every;
  const bool measures_layers = every > 0 && last_.step % every == 0;
  if (measures_layers) layers_->Before();
  const std::function<Evaluation(Pass)> closure = [this](Pass pass) { return NextLoss(pass); };
  const Report report = scaler_ ? scaler_->Step(*optimizer_, closure) : optimizer_->Step(closure);
  if (scaler_) scaler_->Update();
  ++last_.step;
  result_.skipped += report.skipped ? 1 : 0;
  result_.gradients += last_.gradients;
  last_.layers = measures_layers ? layers_->Json(report.loss_scale) : "";
  last_.components = tracker_ && tracker_->Complete() ? tracker_->Json() : "";
  if (!estimator_.empty() && !report.skipped && last_.step % recipe_.hessian.every == 0) {
    EstimateHessian();
  }
  last_.loss = report.loss;
  last_.grad_norm = report.grad_norm;
  last_.skipped = report.skipped;
  last_.loss_scale = report.loss_scale;
  last_.numerics = report.numerics;
  numerics_.Add(report.numerics);
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
      const EvaluatedWeights view(*optimizer_, *model_, train_, recipe_.train, compute_);
      score = Evaluate(*model_, validation_, loss_, compute_);
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
  if (recipe_.train.weights != "f32") {
    text += fmt::format(", weights {}", recipe_.train.weights);
    const Master master = recipe_.optimizer.precision.master;
    if (master != Master::kNone) text += fmt::format(" with {} master", Name(master));
  }
  if (scaler_) text += fmt::format(", loss scale {:g}", scaler_->scale());
  if (result_.skipped > 0) {
    text += fmt::format(", {} step{} skipped by overflow", result_.skipped,
                        result_.skipped == 1 ? "" : "s");
  }
  return text;
}

std::string Run::Summary() const {
  const MemoryPlan memory = Memory();
  int64_t weight_bytes = 0, state_bytes = memory.averages;  // masters among the state
  for (const TensorBytes& t : memory.tensors) {
    weight_bytes += t.weights;
    state_bytes += t.master;
    for (const auto& slot : t.state) state_bytes += slot.second;
  }
  const auto parameters = static_cast<double>(model_->ParameterCount());
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{}, {} parameters", recipe_.model.name, model_->ParameterCount())},
      {"data", fmt::format("{}: {} training, {} validation, {} test samples", data_.name,
                           train_.size(), validation_.size(), test_.size())},
      {"optimiser", OptimizerText(recipe_.optimizer)},
      {"weights", fmt::format("{} bytes, {:.3g} a parameter, and as many for gradients",
                              weight_bytes, static_cast<double>(weight_bytes) / parameters)},
      {"state", fmt::format("{} bytes, {:.3g} a parameter", state_bytes,
                            static_cast<double>(state_bytes) / parameters)},
      {"steps", fmt::format("{} of {}, in epoch {}", last_.step, steps_, last_.epoch)},
      {"time", fmt::format("{:.1f} s, {:.0f} samples/s", seconds_,
                           static_cast<double>(samples_seen_) / seconds_)},
      {"stopped", result_.stopped},
      {"training loss", fmt::format("{:.4f}", last_.loss)}};
  if (result_.gradients != last_.step) {
    rows.push_back({"gradients", fmt::format("{}, {:.3g} a step", result_.gradients,
                                             static_cast<double>(result_.gradients) /
                                                 static_cast<double>(last_.step))});
  }
  if (compute_.autocast || compute_.weights != at::kFloat || scaler_ || result_.skipped > 0) {
    rows.insert(rows.begin() + 3, {"precision", PrecisionText()});
  }
  if (validation_.size() > 0) {
    rows.push_back({"validation loss",
                    fmt::format("{:.4f}, lowest {:.4f}", result_.validation.loss, best_val_loss_)});
  }
  if (std::isfinite(result_.validation.accuracy)) {
    rows.push_back(
        {"validation accuracy", fmt::format("{}, best {}", Percent(result_.validation.accuracy),
                                            Percent(result_.best_val_accuracy))});
  }
  if (std::isfinite(result_.test.loss)) {
    rows.push_back({"test loss", fmt::format("{:.4f}", result_.test.loss)});
  }
  if (std::isfinite(result_.test.accuracy)) {
    rows.push_back({"test accuracy", Percent(result_.test.accuracy)});
  }
  for (auto& row : numerics_.Rows(recipe_.optimizer.precision, recipe_.train.weights)) {
    rows.push_back(std::move(row));
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
