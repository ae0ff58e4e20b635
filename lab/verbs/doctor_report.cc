#include "lab/verbs/doctor_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/logs/findings_json.h"
#include "lab/logs/run_log.h"
#include "lab/verbs/schedule_table.h"

namespace kudari::lab {
namespace {

constexpr int kColumns = 64, kRows = 5;

// What a finding is best seen in.
struct Curve {
  std::string name;
  std::vector<int64_t> steps = {};
  std::vector<double> values = {};
  bool is_loss = false;
};

Curve StepCurve(const RunLog& log, std::string name, double StepLog::*member) {
  Curve curve{.name = std::move(name)};
  for (const StepLog& s : log.steps) {
    curve.steps.push_back(s.step);
    curve.values.push_back(s.*member);
  }
  return curve;
}

Curve LossCurve(const RunLog& log) {
  Curve curve = StepCurve(log, "loss", &StepLog::loss);
  curve.is_loss = true;
  return curve;
}

Curve ValidationCurve(const RunLog& log) {
  Curve curve{.name = "validation loss", .is_loss = true};
  for (const EvaluationLog& e : log.evaluations) {
    curve.steps.push_back(e.step);
    curve.values.push_back(e.loss);
  }
  return curve;
}

Curve CurveOf(const RunLog& log, const Finding& finding) {
  switch (finding.verdict) {
    case Verdict::kOverfitting:
    case Verdict::kValNonfinite:
      return ValidationCurve(log);
    case Verdict::kScheduleEndedEarly:
      return StepCurve(log, "learning rate", &StepLog::lr);
    case Verdict::kLossScaleThrash:
      return StepCurve(log, "loss scale", &StepLog::loss_scale);
    case Verdict::kAccumulationSum:
      return StepCurve(log, "gradient norm", &StepLog::grad_norm);
    default:
      // Where the training loss has ended the validation loss shows it.
      return finding.last_step > log.steps.back().step ? ValidationCurve(log) : LossCurve(log);
  }
}

// The highest value that is shown: a loss that blows up would hide all that came before.
double MostShown(const Curve& curve) {
  constexpr double kMost = 1.2;
  const auto first = std::find_if(curve.values.begin(), curve.values.end(),
                                  [](double x) { return std::isfinite(x); });
  if (!curve.is_loss || first == curve.values.end()) return std::numeric_limits<double>::infinity();
  return kMost * std::abs(*first);
}

// The curve in block characters, and below it a line under the steps of the finding.
std::string PlotText(const RunLog& log, const Finding& finding) {
  Curve curve = CurveOf(log, finding);
  const double most = MostShown(curve);
  double highest = 0;
  for (double& x : curve.values) {
    highest = std::max(highest, x);
    if (x > most) x = most;
  }
  if (curve.values.size() < 2) return "";
  std::string chart = BlockChart(curve.values, kColumns, kRows);
  chart.erase(chart.find_last_of('\n', chart.size() - 2) + 1);  // its axis counts from 0
  const size_t margin = chart.find('|');
  if (margin == std::string::npos) return "";
  const auto column = [&](int64_t step) {
    const auto at = std::lower_bound(curve.steps.begin(), curve.steps.end(), step);
    const size_t index =
        std::min(static_cast<size_t>(at - curve.steps.begin()), curve.steps.size() - 1);
    return index * (kColumns - 1) / (curve.steps.size() - 1);
  };
  const size_t begin = column(finding.first_step), end = column(finding.last_step);
  chart += std::string(margin + 1 + begin, ' ') + std::string(end - begin + 1, '^') + "\n";
  const std::string cut =
      highest > most ? fmt::format("cut off at {:.3g}; it reaches {:.3g}\n", most, highest) : "";
  return fmt::format("{}{:>{}}{:<{}}{:>{}}\n{}", chart, "", margin + 1, curve.steps.front(),
                     kColumns / 2, fmt::format("step {}", curve.steps.back()), kColumns / 2, cut);
}

std::string Indented(const std::string& text, const std::string& indent) {
  std::string result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    result += indent + text.substr(begin, end - begin) + "\n";
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return result;
}

std::string FindingText(const RunLog& log, const Finding& f, size_t number) {
  const VerdictInfo& info = InfoOf(f);
  std::string text = fmt::format("{}. {}: {}\n", number, info.name, info.meaning);
  text += fmt::format("   confidence {:.2f}, steps {} to {}\n", f.confidence, f.first_step,
                      f.last_step);
  const auto paragraph = [&](std::string_view title, std::string_view body) {
    text += Wrapped(fmt::format("{}: {}.", title, body), 3);
  };
  paragraph("evidence", f.evidence);
  const std::string plot = PlotText(log, f);
  if (!plot.empty()) {
    text += fmt::format("\n   {}\n{}\n", CurveOf(log, f).name, Indented(plot, "   "));
  }
  paragraph("advice", info.action);
  paragraph("source", info.source);
  return text;
}

std::string NotesText(std::string_view title, std::span<const Note> notes) {
  std::string text;
  for (const Note& n : notes) text += Wrapped(fmt::format("{}: {}.", title, n.text), 0);
  return text;
}

// What the notes are about, each once.
std::string Subjects(std::span<const Note> notes) {
  std::vector<std::string> subjects;
  for (const Note& n : notes) {
    if (std::ranges::find(subjects, n.subject) == subjects.end()) subjects.push_back(n.subject);
  }
  return subjects.empty() ? "-" : fmt::format("{}", fmt::join(subjects, ", "));
}

std::string DiagnosisText(const Diagnosis& diagnosis) {
  std::string text;
  if (diagnosis.findings.empty()) {
    text += diagnosis.not_judged.empty()
                ? "nothing wrong found in this log\n"
                : "nothing wrong found in what can be judged of this log\n";
  }
  for (size_t i = 0; i < diagnosis.findings.size(); ++i) {
    text += "\n" + FindingText(diagnosis.run, diagnosis.findings[i], i + 1);
  }
  const std::string notes =
      NotesText("seen", diagnosis.seen) + NotesText("not judged", diagnosis.not_judged);
  if (!notes.empty()) text += "\n" + notes;
  return text;
}

Series SeriesOf(const Curve& curve, std::string label) {
  Series series{.label = std::move(label)};
  for (size_t i = 0; i < curve.steps.size(); ++i) {
    series.x.push_back(static_cast<double>(curve.steps[i]));
    series.y.push_back(curve.values[i]);
  }
  return series;
}

// The losses and, below them, learning rates and gradient norms if the log has any; each finding as
// a range over all of them.
void Draw(const RunLog& log, std::span<const Finding> findings, const std::string& title,
          const std::filesystem::path& file) {
  const auto panel = [](const std::string& name, const std::vector<Series>& series) {
    return LineChart{.x_label = "step", .y_label = name, .points = false, .series = series};
  };
  const Curve loss = LossCurve(log), validation = ValidationCurve(log);
  std::vector<LineChart> panels = {panel("loss", {SeriesOf(loss, "training loss")})};
  panels[0].title = title;
  panels[0].y_most = MostShown(loss);
  if (!validation.steps.empty()) panels[0].series.push_back(SeriesOf(validation, validation.name));
  for (const Finding& f : findings) {
    panels[0].marks.push_back({.label = std::string(InfoOf(f).name),
                               .from = static_cast<double>(f.first_step),
                               .to = static_cast<double>(f.last_step)});
  }
  const auto add = [&](const Curve& curve, bool log_y) {
    const auto drawn = [&](double x) { return std::isfinite(x) && (!log_y || x > 0); };
    if (std::none_of(curve.values.begin(), curve.values.end(), drawn)) return;
    panels.push_back(panel(curve.name, {SeriesOf(curve, "")}));
    panels.back().log_y = log_y;
  };
  add(StepCurve(log, "learning rate", &StepLog::lr), false);
  // A norm that explodes for a moment would hide the others.
  add(StepCurve(log, "gradient norm", &StepLog::grad_norm), true);
  DrawPanels(panels, file);
}

RunLogOptions LogOptions(const DoctorOptions& options) {
  return {.columns = ColumnsByField(options.maps), .steps_per_epoch = options.steps_per_epoch};
}

struct Examined {
  LogReading reading;
  Diagnosis diagnosis;
};

Examined Examine(const DoctorOptions& options, const std::filesystem::path& run) {
  Examined examined{.reading = ReadLog(run, LogOptions(options)), .diagnosis = {}};
  RunLog& log = examined.reading.log;
  if (options.planned_steps > 0) log.planned_steps = options.planned_steps;
  examined.diagnosis = Diagnose(log);
  return examined;
}

nlohmann::ordered_json ToJson(const Examined& examined, const std::filesystem::path& run) {
  const LogReading& reading = examined.reading;
  nlohmann::ordered_json json = {{"run", run.string()},
                                 {"steps", reading.log.steps.size()},
                                 {"evaluations", reading.log.evaluations.size()},
                                 {"columns", reading.columns},
                                 {"notes", reading.notes},
                                 {"findings", nlohmann::ordered_json::array()},
                                 {"seen", NotesJson(examined.diagnosis.seen)},
                                 {"not_judged", NotesJson(examined.diagnosis.not_judged)}};
  for (const Finding& f : examined.diagnosis.findings) json["findings"].push_back(FindingJson(f));
  return json;
}

}  // namespace

void Doctor(const DoctorOptions& options, std::FILE* console) {
  if (!options.svg.empty()) CheckChartFile(options.svg);
  const Examined examined = Examine(options, options.run);
  const RunLog& log = examined.reading.log;
  std::string text =
      fmt::format("{}: {}, {}, {}\n", options.run.string(), Counted(std::ssize(log.steps), "step"),
                  Counted(std::ssize(log.evaluations), "evaluation"),
                  Counted(std::ssize(log.layers), "measurement") + " of layers");
  for (const std::string& note : examined.reading.notes) {
    text += Wrapped(fmt::format("note: {}", note), 0);
  }
  text += DiagnosisText(examined.diagnosis);
  if (!options.json.empty()) {
    WriteOutput(options.json, JsonText(ToJson(examined, options.run), 2) + "\n");
  }
  if (!options.svg.empty()) {
    Draw(examined.diagnosis.run, examined.diagnosis.findings, options.run.string(), options.svg);
  }
  fmt::print(console, "{}", Printable(text));
}

void DoctorTable(const DoctorOptions& options, const std::vector<std::filesystem::path>& runs,
                 std::FILE* console) {
  if (!options.svg.empty()) throw UsageError("--svg draws one run, but several are given");
  LogOptions(options);  // throws if they are wrong for all
  std::vector<std::vector<std::string>> rows = {
      {"run", "steps", "evaluations", "verdicts", "seen", "not judged"}};
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::string errors;
  size_t failed = 0;
  for (const std::filesystem::path& run : runs) {
    try {
      const Examined examined = Examine(options, run);
      std::string verdicts;
      for (const Finding& f : examined.diagnosis.findings) {
        verdicts += fmt::format("{}{} ({:.2f})", verdicts.empty() ? "" : ", ", InfoOf(f).name,
                                f.confidence);
      }
      rows.push_back({OneLine(run.string()), fmt::format("{}", examined.reading.log.steps.size()),
                      fmt::format("{}", examined.reading.log.evaluations.size()),
                      verdicts.empty() ? "-" : verdicts, Subjects(examined.diagnosis.seen),
                      Subjects(examined.diagnosis.not_judged)});
      json.push_back(ToJson(examined, run));
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& e) {
      ++failed;
      rows.push_back({OneLine(run.string()), "-", "-", "not read", "-", "-"});
      errors += fmt::format("{}\n", e.what());
      json.push_back({{"run", run.string()}, {"error", e.what()}});
    }
  }
  if (!options.json.empty()) WriteOutput(options.json, JsonText(json, 2) + "\n");
  fmt::print(console, "{}",
             Printable(TextTable(rows) + (errors.empty() ? "" : "\nnot read:\n" + errors)));
  if (failed > 0) {
    std::fflush(console);
    throw Error(fmt::format("{} of {} logs could not be read", failed, runs.size()));
  }
}

}  // namespace kudari::lab
