#include "lab/train/live_doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <span>
#include <sstream>
#include <string>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

// The log as tables of numbers with a row an entry. Tensors of all measured steps follow each
// other, and so do their names, each with a zero behind it.
constexpr size_t kStepColumns = 8, kEvaluationColumns = 3, kLayerColumns = 6;

StateTree Table(const std::vector<double>& cells, size_t columns) {
  return StateArray::Of(
      std::span<const double>(cells),
      {static_cast<int64_t>(cells.size() / columns), static_cast<int64_t>(columns)});
}

// The rows of a table.
std::vector<std::span<const double>> Rows(const StateTree& tree, std::string_view name,
                                          size_t columns) {
  const StateArray& table = tree.At(name).Array();
  const auto cells = table.As<double>();
  if (table.shape.size() != 2 || table.shape[1] != static_cast<int64_t>(columns)) {
    throw Error(
        fmt::format("state: \"{}\" of the doctor's log must have {} columns", name, columns));
  }
  std::vector<std::span<const double>> rows;
  for (size_t i = 0; i < cells.size(); i += columns) rows.push_back(cells.subspan(i, columns));
  return rows;
}

StateTree DoctorTree(const RunLog& log) {
  std::vector<double> steps, evaluations, layers;
  std::string names;
  for (const StepLog& s : log.steps) {
    steps.insert(steps.end(), {static_cast<double>(s.step), s.loss, s.lr, s.grad_norm,
                               s.micro_grad_norm, s.skipped ? 1.0 : 0, s.loss_scale, s.lost});
  }
  for (const EvaluationLog& e : log.evaluations) {
    evaluations.insert(evaluations.end(), {static_cast<double>(e.step), e.loss, e.accuracy});
  }
  for (const LayersLog& l : log.layers) {
    for (const LayerLog& t : l.tensors) {
      layers.insert(layers.end(), {static_cast<double>(l.step), t.grad, t.weight, t.update, t.trust,
                                   t.pinned ? 1.0 : 0});
      names += t.name + '\0';
    }
  }
  StateTree tree;
  tree.Add("steps", Table(steps, kStepColumns));
  tree.Add("evaluations", Table(evaluations, kEvaluationColumns));
  tree.Add("layers", Table(layers, kLayerColumns));
  tree.Add("names", StateArray::Of(std::as_bytes(std::span(names))));
  return tree;
}

RunLog DoctorLog(const StateTree& tree) {
  RunLog log;
  const auto integer = [](double x) { return static_cast<int64_t>(x); };
  for (const auto& row : Rows(tree, "steps", kStepColumns)) {
    log.steps.push_back({.step = integer(row[0]),
                         .loss = row[1],
                         .lr = row[2],
                         .grad_norm = row[3],
                         .micro_grad_norm = row[4],
                         .skipped = row[5] != 0,
                         .loss_scale = row[6],
                         .lost = row[7]});
  }
  for (const auto& row : Rows(tree, "evaluations", kEvaluationColumns)) {
    log.evaluations.push_back({.step = integer(row[0]), .loss = row[1], .accuracy = row[2]});
  }
  const auto bytes = tree.At("names").Array().As<uint8_t>();
  auto name = bytes.begin();
  for (const auto& row : Rows(tree, "layers", kLayerColumns)) {
    const auto end = std::find(name, bytes.end(), 0);
    if (end == bytes.end()) throw Error("state: \"names\" of the doctor's log has too few entries");
    if (log.layers.empty() || log.layers.back().step != integer(row[0])) {
      log.layers.push_back({.step = integer(row[0])});
    }
    log.layers.back().tensors.push_back({.name = std::string(name, end),
                                         .grad = row[1],
                                         .weight = row[2],
                                         .update = row[3],
                                         .trust = row[4],
                                         .pinned = row[5] != 0});
    name = end + 1;
  }
  return log;
}

}  // namespace

std::string FindingLine(const Finding& f) {
  const VerdictInfo& info = InfoOf(f);
  return fmt::format("{} ({:.2f}): {}", info.name, f.confidence, f.evidence);
}

LiveDoctor::LiveDoctor(int64_t planned_steps, int64_t steps_per_epoch)
    : log_{.steps_per_epoch = steps_per_epoch, .planned_steps = planned_steps} {}

void LiveDoctor::OnEvaluation(const EvaluationEvent& event) {
  if (!event.validation) return;
  Add(EvaluationLog{event.run.steps, event.validation->loss, event.validation->accuracy});
}

void LiveDoctor::Add(const StepRecord& r) {
  constexpr size_t kMostLayers = 400;
  steps_.Add(LogOf(r));
  if (log_.first_nonfinite.empty()) log_.first_nonfinite = r.first_nonfinite;
  if (r.layers.empty()) return;
  log_.layers.push_back({r.step, r.layers});
  if (log_.layers.size() < kMostLayers) return;
  // Every other one will do.
  for (size_t i = 1; 2 * i < kMostLayers; ++i) log_.layers[i] = std::move(log_.layers[2 * i]);
  log_.layers.resize(kMostLayers / 2);
}

std::vector<Finding> LiveDoctor::New() {
  constexpr double kSure = 0.75, kGrowth = 1.1;
  if (static_cast<double>(steps_.count()) < kGrowth * static_cast<double>(seen_)) return {};
  seen_ = steps_.count();
  std::vector<Finding> found = Diagnose(log_).findings;
  std::erase_if(found, [this](const Finding& f) {
    return f.confidence < kSure ||
           std::find(given_.begin(), given_.end(), f.verdict) != given_.end();
  });
  for (const Finding& f : found) given_.push_back(f.verdict);
  return found;
}

std::vector<Finding> LiveDoctor::AtTheEnd() const { return Diagnose(log_).findings; }

void LiveDoctor::Visit(StateVisitor& visitor) {
  visitor.Node("steps", steps_);
  visitor.Node("evaluations", evaluations_);
  visitor.Value("seen", seen_, 0);
  visitor.Value("first_nonfinite", log_.first_nonfinite);
  visitor.Custom(
      "log", [this] { return DoctorTree(log_); },
      [this](const StateTree& found) -> std::function<void()> {
        return [this, read = DoctorLog(found)]() mutable {
          log_.steps.swap(read.steps);
          log_.evaluations.swap(read.evaluations);
          log_.layers.swap(read.layers);
        };
      });
  visitor.Custom(
      "given",
      [this] {
        std::string given;
        for (const Verdict v : given_) {
          given += std::string(Verdicts()[static_cast<size_t>(v)].name) + " ";
        }
        return StateTree(given);
      },
      [this](const StateTree& found) -> std::function<void()> {
        std::vector<Verdict> given;
        std::istringstream names(found.Text());
        for (std::string name; names >> name;) given.push_back(FindVerdict(name).verdict);
        return [this, given = std::move(given)]() mutable { given_.swap(given); };
      });
}

}  // namespace kudari::lab
