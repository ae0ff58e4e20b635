// The command line of the lab. CLI11 is heavy to compile and stays in this file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "core/nearest.h"
#include "core/quoted.h"
#include "kudari/error.h"
#include "lab/advise.h"
#include "lab/bench.h"
#include "lab/doctor.h"
#include "lab/list.h"
#include "lab/replay.h"
#include "lab/scale.h"
#include "lab/schedule.h"
#ifdef KUDARI_WITH_TORCH
#include "lab/lr_find.h"
#include "lab/sharpness.h"
#include "lab/train.h"
#endif

namespace kudari::lab {
namespace {

int Run(int argc, char** argv) {
  CLI::App app("Kudari: optimisation for deep learning", "kudari");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.set_version_flag("--version", KUDARI_VERSION);

#ifdef KUDARI_WITH_TORCH
  TrainOptions train;
  int exit_code = 0;
  auto* const train_app = app.add_subcommand("train", "Train a model as a recipe says");
  train_app->add_option("recipe", train.recipe, "TOML file")->required();
  train_app->add_option("--set", train.sets, "Change the recipe: key=value")
      ->allow_extra_args(false);
  train_app->add_option("--out", train.out, "Folder of results [runs/<recipe>]");
  train_app->add_option("--export", train.export_file, "Write the final weights here too");
  train_app->add_flag("--explain", train.explain, "Say how each parameter is treated, and stop");
  std::string track;
  train_app->add_option("--track", track, "Statistics of the gradient's parts: components")
      ->check(CLI::IsMember({"components"}));
  train_app->callback([&] {
    train.track_components = !track.empty();
    exit_code = Train(train, stdout).diverged ? 1 : 0;
  });

  TrainOptions plan;
  auto* const plan_app = app.add_subcommand("plan", "Say what a recipe takes in memory");
  plan_app->add_option("recipe", plan.recipe, "TOML file")->required();
  plan_app->add_option("--set", plan.sets, "Change the recipe: key=value")->allow_extra_args(false);
  plan_app->callback([&] { PlanTraining(plan, stdout); });

  LrFindOptions find;
  auto* const find_app =
      app.add_subcommand("lr-find", "Find a learning rate: a range test, and what it suggests");
  const auto add_find = [&](const char* option, auto& value, const char* what) {
    return find_app->add_option(option, value, what);
  };
  add_find("recipe", find.recipe, "TOML file")->required();
  add_find("--set", find.sets, "Change the recipe: key=value")->allow_extra_args(false);
  add_find("--start", find.start, "The first learning rate [1e-7]");
  add_find("--end", find.end, "The last one [10]");
  add_find("--steps", find.steps, "From the one to the other [100]");
  add_find("--ramp", find.ramp, "exp or linear [exp]");
  add_find("--stop", find.stop, "At four times the best or the first smoothed loss [best]");
  add_find("--smooth", find.smooth, "Weight of the past in the smoothed loss [0.98]");
  add_find("--seeds", find.seeds, "Tests, with the recipe's seed and those after it [1]");
  add_find("--group", find.group,
           "Only of parameters whose name matches [those with optimizer.lr]");
  find_app->add_flag("--freeze", find.freeze, "Do not train the other parameters");
  add_find("--json", find.json, "Write everything here");
  add_find("--svg", find.svg, "Draw the curve here, .svg or .png");
  add_find("--write", find.write, "Write the recipe here, with the learning rate recommended");
  find_app->callback([&] { LrFind(find, stdout); });

  SharpnessOptions sharpness;
  auto* const sharpness_app = app.add_subcommand("sharpness", "Measure how sharp a minimum is");
  const auto add_sharpness = [&](const char* option, auto& value, const char* what) {
    return sharpness_app->add_option(option, value, what);
  };
  add_sharpness("run", sharpness.run, "Folder of results of kudari train")->required();
  add_sharpness("--samples", sharpness.samples, "The first so many for training, 0: all [1024]");
  add_sharpness("--rho", sharpness.rho, "Radius of the ball [0.05]");
  add_sharpness("--adaptive-rho", sharpness.adaptive_rho, "In units of the weights [0.5]");
  add_sharpness("--steps", sharpness.steps, "Of the ascent in the ball [10]");
  add_sharpness("--draws", sharpness.draws, "Of random directions and signs [20]");
  add_sharpness("--seed", sharpness.seed, "Of what is random [1]");
  auto* const sharpness_json =
      add_sharpness("--json", sharpness.json, "Write the measures here too");
  auto* const slice = add_sharpness(
      "--slice", sharpness.slice, "Draw the loss along 1 or 2 random directions, measure nothing");
  slice->excludes(sharpness_json);
  add_sharpness("--with", sharpness.with, "A second run in the same picture")->needs(slice);
  add_sharpness("--out", sharpness.out, "Folder of CSV and picture [that of the run]")
      ->needs(slice);
  add_sharpness("--points", sharpness.points, "Along each direction, odd [51; in 2-D 21]")
      ->needs(slice);
  add_sharpness("--range", sharpness.range, "Length, in units of the filters' norms [1]")
      ->needs(slice);
  sharpness_app->callback([&] {
    slice->count() > 0 ? SliceLoss(sharpness, stdout) : MeasureSharpness(sharpness, stdout);
  });
#else
  constexpr int exit_code = 0;
  auto* const train_app = app.add_subcommand("train", "Train a model (not in this build)");
  train_app->allow_extras();
  train_app->callback(
      [] { throw Error("train: this program was built without LibTorch (KUDARI_TORCH=OFF)"); });
  auto* const plan_app = app.add_subcommand("plan", "Say what a recipe takes (not in this build)");
  plan_app->allow_extras();
  plan_app->callback(
      [] { throw Error("plan: this program was built without LibTorch (KUDARI_TORCH=OFF)"); });
  auto* const find_app = app.add_subcommand("lr-find", "Find a learning rate (not in this build)");
  find_app->allow_extras();
  find_app->callback(
      [] { throw Error("lr-find: this program was built without LibTorch (KUDARI_TORCH=OFF)"); });
  auto* const sharpness_app =
      app.add_subcommand("sharpness", "Measure how sharp a minimum is (not in this build)");
  sharpness_app->allow_extras();
  sharpness_app->callback(
      [] { throw Error("sharpness: this program was built without LibTorch (KUDARI_TORCH=OFF)"); });
#endif

  DoctorOptions doctor;
  auto* const doctor_app = app.add_subcommand("doctor", "Say what is wrong with a training run");
  doctor_app
      ->add_option("run", doctor.run,
                   "Folder of kudari train, JSON lines, CSV or TensorBoard's events")
      ->required();
  doctor_app->add_option("--map", doctor.maps, "Which column is what: field=column")
      ->allow_extra_args(false);
  doctor_app->add_option("--steps-per-epoch", doctor.steps_per_epoch, "Where the log has no epochs")
      ->check(CLI::PositiveNumber);
  doctor_app
      ->add_option("--planned-steps", doctor.planned_steps,
                   "Of the whole run, where the log does not say; with more, it is not over")
      ->check(CLI::PositiveNumber);
  doctor_app->add_option("--json", doctor.json, "Write the findings here");
  doctor_app->add_option("--svg", doctor.svg, "Draw the curves here, .svg or .png");
  doctor_app->callback([&] { Doctor(doctor, stdout); });

  ReplayOptions replay;
  auto* const replay_app = app.add_subcommand("replay", "Apply an optimiser to recorded gradients");
  replay_app->add_option("--recipe", replay.recipe, "TOML file with [optimizer]")->required();
  replay_app->add_option("--params", replay.params, "Start, safetensors")->required();
  replay_app->add_option("--grads", replay.grads, "<step>/<parameter>, safetensors")->required();
  replay_app->add_option("--out", replay.out, "Final parameters, safetensors")->required();
  replay_app->add_option("--state-out", replay.state_out, "<parameter>/<slot>, safetensors");
  replay_app->callback([&] { Replay(replay, stdout); });

  AdviseOptions advise;
  auto* const advise_app = app.add_subcommand("advise", "Say what to train with, and why");
  const auto add_advise = [&](const char* option, auto& value, const char* what) {
    return advise_app->add_option(option, value, what);
  };
  add_advise("--task", advise.task, "cnn, detection, transformer, finetune, gan, rl or other");
  add_advise("--batch", advise.batch, "Samples of a step [what suits the task]");
  add_advise("--params", advise.params, "Parameters of the model, such as 124M");
  add_advise("--memory", advise.memory, "What there is for training, such as 16GiB");
  add_advise("--activations", advise.activations, "How much of it activations take [a quarter]");
  add_advise("--samples", advise.samples, "Of the training data, such as 1.28M");
  add_advise("--epochs", advise.epochs, "Passes over them [what suits the task]");
  add_advise("--priority", advise.priority, "accuracy, memory or speed");
  add_advise("--bandwidth", advise.bandwidth, "Of memory, bytes a second, such as 40GB [measured]");
  advise_app->add_flag("--explain", advise.explain, "Walk through the chart first");
  add_advise("--write", advise.write, "Write a recipe here");
  advise_app->callback([&] { Advise(advise, stdout); });

  ScaleOptions scale;
  bool check = false;
  auto* const scale_app = app.add_subcommand("scale", "Carry a recipe over to another batch");
  const auto add_scale = [&](const char* option, auto& value, const char* what) {
    return scale_app->add_option(option, value, what);
  };
  add_scale("recipe", scale.recipe, "TOML file")->required();
  add_scale("--batch", scale.batch, "Samples of a step, over all ranks")->required();
  add_scale("--rule", scale.rule, "linear, sqrt, adam_sde or none [what suits the optimiser]");
  add_scale("--accumulate", scale.accumulate, "Gradients of a step [as before]");
  add_scale("--ranks", scale.ranks, "Processes that will share a step [1]");
  add_scale("--from-ranks", scale.from_ranks, "Processes that the recipe was for [1]");
  add_scale("--set", scale.sets, "Change the recipe first: key=value")->allow_extra_args(false);
  add_scale("--write", scale.write, "Write the new recipe here");
  add_scale("--svg", scale.svg, "Draw learning rates by batch here, .svg or .png");
  scale_app->add_flag("--check", check, "Train both for a few epochs and compare");
  add_scale("--check-epochs", scale.check_epochs, "How many [3]")->check(CLI::Range(1, 1000000));
  scale_app->callback([&] {
#ifdef KUDARI_WITH_TORCH
    const Scaling scaling = Scale(scale, stdout);
    if (check) CheckScaling(scaling, scale, stdout);
#else
    if (check) {
      throw Error("--check: this program was built without LibTorch (KUDARI_TORCH=OFF)");
    }
    Scale(scale, stdout);
#endif
  });

  bool json = false;
  auto* const list_app = app.add_subcommand("list", "List rules, stages and schedules");
  list_app->add_flag("--json", json, "As JSON, with every field");
  list_app->callback([&] { List(json, stdout); });

  std::string name;
  bool all = false, schedules = false, markdown = false;
  auto* const describe_app = app.add_subcommand("describe", "Tell all about a rule or schedule");
  auto* const name_option = describe_app->add_option("name", name, "As kudari list shows it");
  auto* const all_option =
      describe_app->add_flag("--all", all, "Everything that kudari list shows");
  auto* const schedules_option =
      describe_app->add_flag("--schedules", schedules, "Every schedule")->excludes(name_option);
  describe_app->add_flag("--markdown", markdown, "As the page docs/rules.md or docs/schedules.md");
  all_option->excludes(name_option)->excludes(schedules_option);
  describe_app->callback([&] {
    if (markdown && !name.empty()) {
      throw Error("describe: --markdown is for --all or --schedules");
    } else if (markdown && (all || schedules)) {
      std::fputs((all ? RulesPage() : SchedulesPage()).c_str(), stdout);
    } else if (all) {
      DescribeEverything(stdout);
    } else if (schedules) {
      DescribeEverySchedule(stdout);
    } else if (name.empty()) {
      throw Error("describe: which? Give a name of kudari list, --all or --schedules");
    } else {
      DescribeByName(name, stdout);
    }
  });

  ScheduleOptions schedule;
  auto* const schedule_app = app.add_subcommand("schedule", "Show a schedule's values and curve");
  auto* const text_option = schedule_app->add_option("text", schedule.text, "The schedule");
  auto* const steps_option = schedule_app->add_option("--steps", schedule.steps, "Of training");
  schedule_app->add_option("--every", schedule.every, "The table's steps [round ones and joints]");
  auto* const csv_option = schedule_app->add_flag("--csv", schedule.csv, "All values, as CSV");
  schedule_app->add_flag("--json", schedule.json, "All values, as JSON")->excludes(csv_option);
  auto* const svg_option =
      schedule_app->add_option("--svg", schedule.file, "Draw the curve here, .svg or .png");
  bool examples = false;
  schedule_app->add_flag("--examples", examples, "Only draw an example of every schedule")
      ->needs(svg_option)
      ->excludes(text_option);
  schedule_app->callback([&] {
    if (examples) {
      DrawEverySchedule(schedule.file);
    } else if (text_option->count() == 0 || steps_option->count() == 0) {
      throw Error("schedule: give a text and --steps, as in \"0.1 * cosine(900)\" --steps 1000");
    } else {
      ShowSchedule(schedule, stdout);
    }
  });

  BenchOptions bench;
  auto* const bench_app = app.add_subcommand("bench", "Time every rule against its roofline");
  bench_app->add_option("--json", bench.json, "Write the results here too");
  bench_app->add_option("--filter", bench.filter, "Only cases that match, such as adamw/64M/2");
  bench_app->add_option("--rounds", bench.rounds, "Rounds of each case, at least 7")
      ->check(CLI::Range(7, 1000));
  bench_app->callback([&] { Bench(bench, stdout); });

  // CLI11 would only say that a subcommand is required.
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (argc > 1 && argv[1][0] != '-' &&
      std::find(names.begin(), names.end(), argv[1]) == names.end()) {
    throw Error("unknown command " + internal::Quoted(argv[1]) + internal::Suggest(argv[1], names));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, error;  // which have arguments in them
    const int code = app.exit(e, out, error);
    std::fputs(internal::Printable(out.str()).c_str(), stdout);
    std::fputs(internal::Printable(error.str()).c_str(), stderr);
    return code == 0 ? 0 : 2;
  }
  return exit_code;
}

}  // namespace
}  // namespace kudari::lab

int main(int argc, char** argv) {
  try {
    return kudari::lab::Run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fflush(stdout);
    std::fputs("kudari: there is not enough memory for that\n", stderr);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "kudari: %s\n", kudari::internal::Printable(e.what()).c_str());
  }
  return 1;
}
