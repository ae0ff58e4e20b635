// What kudari/c.h has around an optimiser: schedules, range tests, loss scaling.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "c/handles.h"
#include "kudari/state.h"

namespace kudari::c {
namespace {

using Json = nlohmann::ordered_json;

// Sets an option unless it is 0, which stands for its default.
template <class T>
void Choose(T given, T& option) {
  if (given != 0) option = given;
}

LrRangeOptions OptionsOf(const kudari_lr_range_options& from) {
  LrRangeOptions options;
  Choose(from.start, options.start);
  Choose(from.end, options.end);
  Choose(from.steps, options.steps);
  Choose(from.stop_factor, options.stop_factor);
  CheckInteger("options: linear", from.linear, 0, 1);
  CheckInteger("options: never_stops", from.never_stops, 0, 1);
  if (from.linear != 0) options.ramp = LrRamp::kLinear;
  if (from.never_stops != 0) options.stop_at = LrStopAt::kNever;
  return options;
}

GradScalerOptions OptionsOf(const kudari_grad_scaler_options& from) {
  GradScalerOptions options;
  Choose(from.init_scale, options.init_scale);
  Choose(from.growth_factor, options.growth_factor);
  Choose(from.backoff_factor, options.backoff_factor);
  Choose(from.growth_interval, options.growth_interval);
  Choose(from.min_scale, options.min_scale);
  return options;
}

Json JsonOf(const LrRange& range) {
  Json points = Json::array(), suggestions = Json::array(), warnings = Json::array();
  for (const LrPoint& p : range.points) {
    points.push_back({{"lr", p.lr}, {"loss", p.loss}, {"smoothed", p.smoothed}});
  }
  const LrSuggestions found = SuggestLearningRates(range);
  for (const LrSuggestion& s : found.suggestions) {
    suggestions.push_back(
        {{"method", std::string(Name(s.method))}, {"lr", s.lr}, {"point", s.point}});
  }
  for (const LrWarning w : found.warnings) warnings.push_back(std::string(Name(w)));
  const std::optional<LrRecommendation> best = RecommendLearningRate({&found, 1});
  return {{"end", std::string(Name(range.end))},
          {"points", points},
          {"suggestions", suggestions},
          {"warnings", warnings},
          {"recommended", best ? Json(best->lr) : Json()}};
}

}  // namespace
}  // namespace kudari::c

using kudari::c::Deref;
using kudari::c::Guarded;

extern "C" {

int kudari_schedule_create(const char* text, int64_t run_steps, double steps_per_epoch,
                           kudari_schedule** schedule) {
  return Guarded([=] {
    kudari_schedule*& out = Deref(schedule, "schedule");
    kudari::Schedule curve = kudari::ParseSchedule(kudari::c::Utf8(text, "text"));
    if (run_steps != 0) {
      kudari::c::CheckInteger("run_steps", run_steps, 1, kudari::c::kMostSteps);
      curve = curve.Resolve({.steps = run_steps, .steps_per_epoch = steps_per_epoch});
    }
    if (!curve.IsResolved()) {
      throw kudari::Error("schedule \"" + curve.Text() +
                          "\": a length is relative to the run; give run_steps");
    }
    out = std::make_unique<kudari_schedule>(kudari_schedule{std::move(curve)}).release();
  });
}

int kudari_schedule_destroy(kudari_schedule* schedule) {
  delete schedule;
  return KUDARI_OK;
}

int kudari_schedule_value(const kudari_schedule* schedule, int64_t step, double* value) {
  return Guarded([=] {
    kudari::c::CheckInteger("step", step, 0, kudari::c::kMostSteps);
    Deref(value, "value") = Deref(schedule, "schedule").curve(step);
  });
}

int kudari_schedule_values(const kudari_schedule* schedule, int64_t first, size_t count,
                           double* values) {
  return Guarded([=] {
    const kudari::Schedule& curve = Deref(schedule, "schedule").curve;
    if (count == 0) return;
    kudari::c::CheckArgument(values, "values");
    kudari::c::CheckInteger("first", first, 0, kudari::c::kMostSteps);
    for (size_t i = 0; i < count; ++i) values[i] = curve(first + static_cast<int64_t>(i));
  });
}

int kudari_schedule_text(const kudari_schedule* schedule, char** text) {
  return Guarded([=] {
    char*& out = Deref(text, "text");
    out = kudari::c::Copy(Deref(schedule, "schedule").curve.Text());
  });
}

int kudari_lr_range_create(const kudari_lr_range_options* options, kudari_lr_range** test) {
  return Guarded([=] {
    kudari_lr_range*& out = Deref(test, "test");
    kudari_lr_range_options chosen = KUDARI_INIT(kudari_lr_range_options);
    if (options != nullptr) chosen = kudari::c::Read(options, "options");
    kudari_lr_range made{kudari::LrRangeTest(kudari::c::OptionsOf(chosen))};
    out = std::make_unique<kudari_lr_range>(std::move(made)).release();
  });
}

int kudari_lr_range_destroy(kudari_lr_range* test) {
  delete test;
  return KUDARI_OK;
}

int kudari_lr_range_lr(const kudari_lr_range* test, double* lr) {
  return Guarded([=] { Deref(lr, "lr") = Deref(test, "test").test.lr(); });
}

int kudari_lr_range_add(kudari_lr_range* test, double loss, int32_t* running) {
  return Guarded([=] {
    int32_t& out = Deref(running, "running");
    kudari::LrRangeTest& driven = Deref(test, "test").test;
    driven.Add(loss);
    out = driven.Running() ? 1 : 0;
  });
}

int kudari_lr_range_result(const kudari_lr_range* test, char** json) {
  return Guarded([=] {
    char*& out = Deref(json, "json");
    out = kudari::c::Copy(kudari::c::JsonOf(Deref(test, "test").test.range()).dump());
  });
}

int kudari_grad_scaler_create(const kudari_grad_scaler_options* options,
                              kudari_grad_scaler** scaler) {
  return Guarded([=] {
    kudari_grad_scaler*& out = Deref(scaler, "scaler");
    kudari_grad_scaler_options chosen = KUDARI_INIT(kudari_grad_scaler_options);
    if (options != nullptr) chosen = kudari::c::Read(options, "options");
    kudari_grad_scaler made{kudari::GradScaler(kudari::c::OptionsOf(chosen))};
    out = std::make_unique<kudari_grad_scaler>(std::move(made)).release();
  });
}

int kudari_grad_scaler_destroy(kudari_grad_scaler* scaler) {
  delete scaler;
  return KUDARI_OK;
}

int kudari_grad_scaler_scale(const kudari_grad_scaler* scaler, double* scale) {
  return Guarded([=] { Deref(scale, "scale") = Deref(scaler, "scaler").core.scale(); });
}

int kudari_grad_scaler_step(kudari_grad_scaler* scaler, kudari_optimizer* optimizer,
                            kudari_closure closure, void* user, kudari_report* report) {
  return Guarded([=] {
    kudari::GradScaler& core = Deref(scaler, "scaler").core;
    kudari_optimizer& o = Deref(optimizer, "optimizer");
    kudari::c::CheckOutput(report, "report");
    const kudari::c::Stepping stepping(o);
    const kudari::Report result = closure == nullptr
                                      ? core.Step(o.core)
                                      : core.Step(o.core, kudari::c::OracleOf(closure, user));
    kudari::c::Write(kudari::c::ReportOf(o, result), report);
  });
}

int kudari_grad_scaler_update(kudari_grad_scaler* scaler) {
  return Guarded([=] { Deref(scaler, "scaler").core.Update(); });
}

int kudari_grad_scaler_state(const kudari_grad_scaler* scaler, double* scale,
                             int64_t* growth_tracker) {
  return Guarded([=] {
    const kudari::GradScaler& core = Deref(scaler, "scaler").core;
    kudari::c::CheckArgument(scale, "scale");
    kudari::c::CheckArgument(growth_tracker, "growth_tracker");
    *scale = core.scale();
    *growth_tracker = core.growth_tracker();
  });
}

int kudari_grad_scaler_load_state(kudari_grad_scaler* scaler, double scale,
                                  int64_t growth_tracker) {
  return Guarded([=] {
    kudari::StateTree state;
    state.Add("scale", scale);
    state.Add("growth_tracker", growth_tracker);
    Deref(scaler, "scaler").core.LoadState(state);
  });
}

}  // extern "C"
