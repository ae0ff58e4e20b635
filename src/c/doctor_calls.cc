// The doctor of kudari/c.h: a log as tables of named columns in, findings as JSON out.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "c/handles.h"
#include "kudari/doctor.h"
#include "kudari/messages.h"

namespace kudari::c {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMostInteger = 0x1p53;

// A table of the caller's whose columns are found by name.
class Columns {
 public:
  /// Throws CodedError naming the table for a null, a column that is not among `known`, and one
  /// that is there twice.
  Columns(const kudari_table& table, std::string name, const std::vector<std::string>& known)
      : name_(std::move(name)), rows_(table.rows) {
    if (table.columns > 0) {
      CheckArgument(static_cast<const void*>(table.names), name_ + ": names");
      CheckArgument(static_cast<const void*>(table.values), name_ + ": values");
    }
    for (size_t i = 0; i < table.columns; ++i) {
      const std::string column(Utf8(table.names[i], name_ + ": names[" + std::to_string(i) + "]"));
      if (std::ranges::find(known, column) == known.end()) {
        throw Error(name_ + ": no column is called " + Quoted(column) + Suggest(column, known));
      }
      if (rows_ > 0) CheckArgument(table.values[i], name_ + ": column \"" + column + "\"");
      if (!columns_.emplace(column, table.values[i]).second) {
        throw Error(name_ + ": column \"" + column + "\" is there twice");
      }
    }
  }

  size_t rows() const { return rows_; }

  /// A value; `missing` where the table has no such column, or a NaN in it.
  double Value(const std::string& column, size_t row, double missing = kNotMeasured) const {
    const auto at = columns_.find(column);
    return at == columns_.end() || std::isnan(at->second[row]) ? missing : at->second[row];
  }

  /// Throws CodedError if the table has no such column.
  void Require(const std::string& column) const {
    if (!columns_.contains(column)) throw Error(name_ + ": column \"" + column + "\" is missing");
  }

  /// An integer in [low, high] that must be there.
  int64_t Integer(const std::string& column, size_t row, double low, double high) const {
    const double value = Value(column, row);
    if (low <= value && value <= high && value == std::floor(value)) {
      return static_cast<int64_t>(value);
    }
    throw Error(name_ + ": " + column + " = " + NumberText(value) + " in row " +
                std::to_string(row) + " is not an integer in [" + NumberText(low) + ", " +
                NumberText(high) + "]");
  }

 private:
  std::string name_;
  size_t rows_;
  std::map<std::string, const double*> columns_ = {};
};

std::vector<StepLog> StepsOf(const kudari_table& table) {
  const Columns columns(
      table, "steps",
      {"step", "loss", "lr", "grad_norm", "micro_grad_norm", "skipped", "loss_scale", "lost"});
  columns.Require("step");
  columns.Require("loss");
  std::vector<StepLog> steps;
  for (size_t i = 0; i < columns.rows(); ++i) {
    steps.push_back({.step = columns.Integer("step", i, 0, kMostInteger),
                     .loss = columns.Value("loss", i),
                     .lr = columns.Value("lr", i),
                     .grad_norm = columns.Value("grad_norm", i),
                     .micro_grad_norm = columns.Value("micro_grad_norm", i),
                     .skipped = columns.Value("skipped", i, 0) != 0,
                     .loss_scale = columns.Value("loss_scale", i, 1),
                     .lost = columns.Value("lost", i)});
  }
  return steps;
}

std::vector<EvaluationLog> EvaluationsOf(const kudari_table& table) {
  const Columns columns(table, "evaluations", {"step", "loss", "accuracy"});
  columns.Require("step");
  std::vector<EvaluationLog> evaluations;
  for (size_t i = 0; i < columns.rows(); ++i) {
    evaluations.push_back({.step = columns.Integer("step", i, 0, kMostInteger),
                           .loss = columns.Value("loss", i),
                           .accuracy = columns.Value("accuracy", i)});
  }
  return evaluations;
}

// Rows of one step that follow each other are the tensors of that step.
std::vector<LayersLog> LayersOf(const kudari_table& table,
                                const std::vector<std::string>& tensors) {
  const Columns columns(table, "layers",
                        {"step", "tensor", "grad", "weight", "update", "trust", "pinned"});
  columns.Require("step");
  columns.Require("tensor");
  std::vector<LayersLog> layers;
  for (size_t i = 0; i < columns.rows(); ++i) {
    const int64_t step = columns.Integer("step", i, 0, kMostInteger);
    const int64_t tensor = columns.Integer("tensor", i, 0, static_cast<double>(tensors.size()) - 1);
    if (layers.empty() || layers.back().step != step) layers.push_back({.step = step});
    layers.back().tensors.push_back({.name = tensors[static_cast<size_t>(tensor)],
                                     .grad = columns.Value("grad", i),
                                     .weight = columns.Value("weight", i),
                                     .update = columns.Value("update", i),
                                     .trust = columns.Value("trust", i),
                                     .pinned = columns.Value("pinned", i, 0) != 0});
  }
  return layers;
}

RunLog LogOf(const kudari_log& from) {
  std::vector<std::string> tensors;
  if (from.tensor_count > 0) CheckArgument(static_cast<const void*>(from.tensors), "log: tensors");
  for (size_t i = 0; i < from.tensor_count; ++i) {
    tensors.emplace_back(Utf8(from.tensors[i], "log: tensors[" + std::to_string(i) + "]"));
  }
  constexpr auto kMost = static_cast<int64_t>(kMostInteger);
  CheckInteger("log: steps_per_epoch", from.steps_per_epoch, 0, kMost);
  CheckInteger("log: planned_steps", from.planned_steps, 0, kMost);
  RunLog log;
  log.steps = StepsOf(Deref(from.steps, "log: steps"));
  if (from.evaluations != nullptr) log.evaluations = EvaluationsOf(*from.evaluations);
  if (from.layers != nullptr) log.layers = LayersOf(*from.layers, tensors);
  log.steps_per_epoch = from.steps_per_epoch;
  log.planned_steps = from.planned_steps;
  if (from.first_nonfinite != nullptr) {
    log.first_nonfinite = Utf8(from.first_nonfinite, "log: first_nonfinite");
  }
  return log;
}

Json JsonOf(const Finding& f) {
  const VerdictInfo& info = InfoOf(f);
  return {{"verdict", info.name},     {"confidence", f.confidence}, {"first_step", f.first_step},
          {"last_step", f.last_step}, {"evidence", f.evidence},     {"tensors", f.tensors},
          {"meaning", info.meaning},  {"action", info.action},      {"source", info.source}};
}

Json JsonOf(std::span<const Note> notes) {
  Json list = Json::array();
  for (const Note& n : notes) list.push_back({{"subject", n.subject}, {"text", n.text}});
  return list;
}

}  // namespace
}  // namespace kudari::c

extern "C" int kudari_diagnose(const kudari_log* log, char** json) {
  return kudari::c::Guarded([=] {
    char*& out = kudari::c::Deref(json, "json");
    const kudari::Diagnosis found = kudari::Diagnose(kudari::c::LogOf(kudari::c::Read(log, "log")));
    kudari::c::Json findings = kudari::c::Json::array();
    for (const kudari::Finding& f : found.findings) findings.push_back(kudari::c::JsonOf(f));
    const kudari::c::Json all = {{"findings", findings},
                                 {"seen", kudari::c::JsonOf(found.seen)},
                                 {"not_judged", kudari::c::JsonOf(found.not_judged)}};
    out = kudari::c::Copy(all.dump());
  });
}
