#include "lab/train/trainer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <functional>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "kudari/controllers.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "lab/console/progress.h"
#include "lab/machine/memory_plan.h"
#include "lab/models/models.h"
#include "lab/recipe/explain.h"
#include "lab/recipe/recipe.h"
#include "lab/train/components.h"
#include "lab/train/layer_norms.h"
#include "lab/train/live_doctor.h"
#include "lab/train/numerics.h"
#include "lab/train/objective.h"
#include "lab/train/session.h"
#include "lab/train/weights.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
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

  MemoryPlan Memory() const { return optimizer_.engine().Memory(); }
  void Explain() { progress_.Text(ExplainText(optimizer_.engine(), recipe_.optimizer)); }
  TrainResult Execute();

 private:
  void CheckOutput() const;
  void TrainEpochs();
  void TakeStep();
  void CheckTracking() const;
  Evaluation NextLoss(Pass pass);
  bool MeasuresLayers() const {  // in the step being taken
    const int64_t every = recipe_.train.layers_every;
    return every > 0 && last_.step % every == 0;
  }
  void EvaluateNow();
  void CheckStops(const Report& report);
  void Stop(std::string why) {
    if (result_.stopped.empty()) result_.stopped = std::move(why);
  }
  void Diverge(std::string_view what);
  bool Stopped() const { return !result_.stopped.empty(); }
  Status Now() const;
  std::string Heading() const;
  void ReduceRates(double validation_loss);
  std::string PrecisionText() const;
  std::string Summary() const;

  const TrainOptions& options_;
  Progress progress_;
  fs::path out_;
  Session session_;
  // Its parts.
  const Recipe& recipe_ = session_.recipe();
  const Dataset& data_ = session_.data();
  const Samples& train_ = session_.training();
  const Samples& validation_ = session_.validation();
  const Samples& test_ = session_.test();
  const Compute& compute_ = session_.compute();
  Model& model_ = session_.model();
  kudari::torch::Optimizer& optimizer_ = session_.optimizer();
  kudari::torch::GradScaler* const scaler_ = session_.scaler();
  Batches& batches_ = session_.batches();

  std::optional<MetricsFile> metrics_;
  int64_t steps_per_epoch_, steps_;
  std::optional<ComponentTracker> tracker_;
  std::optional<LayerNorms> layers_;
  std::optional<LiveDoctor> doctor_;  // unless the recipe wants none

  Clock::time_point start_;
  StepRecord last_;
  TrainResult result_;
  int64_t evaluated_step_ = 0, samples_seen_ = 0;
  EarlyStopping early_stopping_{{.patience = INT64_MAX}};  // knows the lowest validation loss
  std::optional<ReduceOnPlateau> plateau_;  // of what all learning rates are multiplied with
  std::vector<Schedule> rates_;             // the recipe's learning rates, beside the tensors
  // Sums over the samples since the last evaluation, and the mean loss of those before it.
  double interval_loss_ = 0, interval_samples_ = 0, former_mean_loss_ = kNan;
  double seconds_ = 0;
  NumericsCount numerics_;  // counts nothing unless optimizer.precision.check
};

// The recipe of a run that can be.
Recipe RecipeOf(const TrainOptions& options) {
  Recipe recipe = ReadTrainRecipe(options.recipe, options.sets);
  if (recipe.train.early_stopping > 0 && recipe.data.validation == 0) {
    throw Error("train.early_stopping needs validation data: data.validation is 0");
  }
  if (recipe.train.plateau_factor < 1 && recipe.data.validation == 0) {
    throw Error("train.plateau_factor needs validation data: data.validation is 0");
  }
  return recipe;
}

Run::Run(const TrainOptions& options, std::FILE* console)
    : options_(options),
      progress_(console),
      out_(options.out.empty() ? fs::path("runs") / options.recipe.stem() : options.out),
      session_(RecipeOf(options)) {
  CheckTracking();
  if (options.track_components) tracker_.emplace();
  layers_.emplace(model_);

  const TrainConfig& train = recipe_.train;
  const int64_t batch_count = (train_.size() + train.batch_size - 1) / train.batch_size;
  const int64_t accumulate = recipe_.optimizer.accumulate;
  steps_per_epoch_ = (batch_count + accumulate - 1) / accumulate;
  steps_ = train.epochs == 0 ? train.steps : train.epochs * steps_per_epoch_;
  if (train.steps > 0) steps_ = std::min(steps_, train.steps);
  if (train.doctor) doctor_.emplace(steps_, steps_per_epoch_);
  result_.validation = result_.test = {kNan, kNan};
  result_.best_val_accuracy = kNan;
  if (!options.explain) CheckOutput();
}

void Run::CheckTracking() const {
  if (!options_.track_components) return;
  if (!optimizer_.engine().spec().sharpness) {
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

  if (recipe_.train.early_stopping > 0) {
    early_stopping_ = EarlyStopping({.patience = recipe_.train.early_stopping});
  }
  if (recipe_.train.plateau_factor < 1) {
    plateau_.emplace(
        1, ReduceOnPlateauOptions{
               .factor = recipe_.train.plateau_factor,
               .improvement = {.threshold = recipe_.train.plateau_threshold, .relative = true},
               .patience = recipe_.train.plateau_patience,
               .cooldown = recipe_.train.plateau_cooldown,
               .eps = 0});
    for (size_t i = 0; i < optimizer_.engine().tensors().size(); ++i) {
      rates_.push_back(optimizer_.engine().ScheduleOf(i, "lr"));
    }
  }
  const InterruptScope interrupts;
  start_ = Clock::now();
  TrainEpochs();
  seconds_ = Seconds(start_);
  if (!result_.diverged) {
    const EvaluatedWeights view(optimizer_, model_, train_, recipe_.train, compute_);
    result_.test = Evaluate(model_, test_, session_.loss(), compute_);
    metrics_->Write(ScoreJson(last_.step, "test", result_.test));
    SaveWeights(model_, out_ / "model.safetensors");
    if (!options_.export_file.empty()) SaveWeights(model_, options_.export_file);
  }
  result_.steps = last_.step;
  progress_.Text(Summary());
  return result_;
}

void Run::TrainEpochs() {
  model_.train();
  while (!Stopped()) {
    ++last_.epoch;
    batches_.StartEpoch();
    while (batches_.More() && !Stopped()) {
      TakeStep();
      const int64_t every = recipe_.train.eval_every;
      const bool due = every > 0 ? last_.step % every == 0 : !batches_.More();
      if (due && !result_.diverged) EvaluateNow();
    }
  }
  if (evaluated_step_ != last_.step && !result_.diverged) EvaluateNow();
}

// The oracle of a step, which also counts.
Evaluation Run::NextLoss(Pass pass) {
  const Evaluation e = session_.NextLoss(pass);
  if (e.end) return e;
  if (pass == Pass::kPlain) samples_seen_ += static_cast<int64_t>(e.samples);
  if (last_.gradients++ == 0 && MeasuresLayers() && recipe_.optimizer.accumulate > 1) {
    last_.micro_grad_norm = session_.BatchGradientNorm();
  }
  if (tracker_ && optimizer_.engine().steps() % optimizer_.engine().spec().sharpness->k == 0) {
    const double scale = scaler_ != nullptr ? scaler_->scale() : 1;
    if (pass == Pass::kPlain) {
      tracker_->Plain(optimizer_.Parameters(), scale);
    } else {
      tracker_->Perturbed(optimizer_.Parameters(), scale);
    }
  }
  return e;
}

void Run::TakeStep() {
  const int64_t seen_before = samples_seen_;
  const auto shown = session_.lr_index();
  last_.lr = shown ? optimizer_.engine().Value(*shown, "lr") : kNan;
  last_.gradients = 0;
  last_.micro_grad_norm = kNan;
  const bool measures_layers = MeasuresLayers();
  if (measures_layers) layers_->Before();
  const std::function<Evaluation(Pass)> closure = [this](Pass pass) { return NextLoss(pass); };
  const Report report =
      scaler_ != nullptr ? scaler_->Step(optimizer_, closure) : optimizer_.Step(closure);
  if (scaler_ != nullptr) scaler_->Update();
  ++last_.step;
  result_.skipped += report.skipped ? 1 : 0;
  result_.gradients += last_.gradients;
  last_.layers = measures_layers ? layers_->After(report) : std::vector<LayerLog>();
  last_.first_nonfinite = report.first_nonfinite;
  last_.components = tracker_ && tracker_->Complete() ? tracker_->Json() : "";
  session_.EndStep(report.skipped);
  last_.loss = report.loss;
  last_.grad_norm = report.grad_norm;
  last_.skipped = report.skipped;
  last_.loss_scale = report.loss_scale;
  last_.numerics = report.numerics;
  numerics_.Add(report.numerics);
  last_.seconds = Seconds(start_);
  metrics_->Write(StepJson(last_));
  if (doctor_) doctor_->Add(last_);
  const double samples = static_cast<double>(samples_seen_ - seen_before);
  interval_samples_ += samples;
  interval_loss_ += samples * report.loss;
  CheckStops(report);
  if (!Stopped()) progress_.Step(Now());
}

void Run::CheckStops(const Report& report) {
  // No scale helps a loss that is not finite by itself: it is skipped only if the recipe says so.
  const bool skips =
      report.skipped && (scaler_ == nullptr || recipe_.optimizer.nonfinite == NonFinite::kSkip);
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
      const EvaluatedWeights view(optimizer_, model_, train_, recipe_.train, compute_);
      score = Evaluate(model_, validation_, session_.loss(), compute_);
    }
    result_.validation = score;
    metrics_->Write(ScoreJson(last_.step, "val", score));
    if (doctor_) doctor_->Add(EvaluationLog{last_.step, score.loss, score.accuracy});
    if (!(score.accuracy <= result_.best_val_accuracy)) result_.best_val_accuracy = score.accuracy;
    if (!std::isfinite(score.loss)) {
      return Diverge(fmt::format("the validation loss is {}", score.loss));
    }
    if (plateau_) ReduceRates(score.loss);
    if (early_stopping_.Observe(score.loss)) {
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
  if (!doctor_) return;
  for (const Finding& f : doctor_->New()) {
    progress_.Text(fmt::format("doctor, at step {}: {}\n", last_.step, FindingLine(f)));
  }
}

void Run::ReduceRates(double validation_loss) {
  const double before = plateau_->value(), now = plateau_->Observe(validation_loss);
  if (now == before) return;
  for (size_t i = 0; i < rates_.size(); ++i) {
    optimizer_.engine().SetSchedule(i, "lr", now * rates_[i]);
  }
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
      options_.recipe.stem().string(), recipe_.model.name, model_.ParameterCount(), data_.name,
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
  if (scaler_ != nullptr) text += fmt::format(", loss scale {:g}", scaler_->scale());
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
  const auto parameters = static_cast<double>(model_.ParameterCount());
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{}, {} parameters", recipe_.model.name, model_.ParameterCount())},
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
  if (compute_.autocast || compute_.weights != at::kFloat || scaler_ != nullptr ||
      result_.skipped > 0) {
    rows.insert(rows.begin() + 3, {"precision", PrecisionText()});
  }
  if (validation_.size() > 0) {
    rows.push_back({"validation loss", fmt::format("{:.4f}, lowest {:.4f}", result_.validation.loss,
                                                   early_stopping_.best().value_or(kNan))});
  }
  if (plateau_) {
    rows.push_back({"plateau", fmt::format("learning rates are {:g} of the recipe's in the end",
                                           plateau_->value())});
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
  if (doctor_) {
    std::vector<std::string> verdicts;
    for (const Finding& f : doctor_->AtTheEnd()) verdicts.emplace_back(InfoOf(f).name);
    rows.push_back({"doctor", verdicts.empty()
                                  ? "nothing wrong"
                                  : fmt::format("{}; kudari doctor {}", fmt::join(verdicts, ", "),
                                                out_.string())});
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
