#include "lab/logs/run_log_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/logs/run_log.h"

namespace kudari::lab {
namespace {

bool IsEmpty(const Column& column) { return column.cells.empty() && column.bad_row == 0; }

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Adds the numbers of another column to cells; both are in the order of the log.
void AddUp(std::vector<Cell>& sum, const std::vector<Cell>& terms, bool has_steps) {
  const auto place = [has_steps](const Cell& cell) {
    return has_steps ? cell.step : static_cast<int64_t>(cell.row);
  };
  size_t kept = 0;
  auto term = terms.begin();
  for (size_t i = 0; i < sum.size() && term != terms.end();) {
    const int64_t wanted = place(sum[i]), found = place(*term);
    if (wanted == found) {
      sum[kept] = sum[i];
      sum[kept++].value += term->value;
    }
    if (wanted <= found) ++i;
    if (found <= wanted) ++term;
  }
  sum.resize(kept);
}

}  // namespace

RunLogColumns::RunLogColumns(const LogTable& table, std::string path,
                             const std::map<std::string, std::string>& given)
    : table_(table), path_(std::move(path)), given_(given) {
  for (const auto& [field, column] : given) {
    if (std::ranges::find(RunLogFields(), field) != RunLogFields().end()) continue;
    throw Error(fmt::format("unknown field {}{}", Quoted(field), Suggest(field, RunLogFields())));
  }
  for (size_t i = 0; i < table.columns.size(); ++i) {
    names_.emplace(PlainName(table.columns[i].name), i);
  }
}

std::string RunLogColumns::Titles() const {
  const std::string_view kind = table_.has_steps ? "tags" : "columns";
  if (table_.columns.empty()) return fmt::format("it has no {}", kind);
  std::vector<std::string> names;
  for (const Column& c : table_.columns) names.push_back(c.name);
  return fmt::format("its {} are {}", kind, QuotedList(names));
}

std::vector<size_t> RunLogColumns::Given(const LogField& field, const std::string& names) const {
  const auto at = [this](std::string_view name) {
    return static_cast<size_t>(std::ranges::find(table_.columns, name, &Column::name) -
                               table_.columns.begin());
  };
  if (const size_t whole = at(names); whole < table_.columns.size()) return {whole};
  std::vector<size_t> found;
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find('+', begin), names.size());
    const std::string name(Trimmed(std::string_view(names).substr(begin, end - begin)));
    found.push_back(at(name));
    if (found.back() == table_.columns.size()) {
      throw Error(fmt::format("{}: has no {}, which was given as {}; {}", path_, Quoted(name),
                              field.name, Titles()));
    }
    begin = end + 1;
  }
  return found;
}

// Columns that match, in the order of the log.
std::vector<size_t> RunLogColumns::Named(std::string_view pattern) const {
  const bool begins = pattern.ends_with('*');
  if (begins) pattern.remove_suffix(1);
  std::vector<size_t> found;
  for (auto at = names_.lower_bound(pattern); at != names_.end(); ++at) {
    if (begins ? !at->first.starts_with(pattern) : at->first != pattern) break;
    found.push_back(at->second);
  }
  std::ranges::sort(found);
  return found;
}

std::vector<size_t> RunLogColumns::Terms(const LogField& field) const {
  std::vector<size_t> found;
  for (const std::string_view term : field.terms) {
    const std::vector<size_t> named = Named(term);
    if (named.size() == 1 && !IsEmpty(table_.columns[named[0]])) found.push_back(named[0]);
  }
  return found.size() > 1 ? found : std::vector<size_t>();
}

std::vector<size_t> RunLogColumns::Find(const LogField& field) const {
  if (const auto given = given_.find(std::string(field.name)); given != given_.end()) {
    return Given(field, given->second);
  }
  std::vector<size_t> empty;
  for (const std::string_view pattern : field.columns) {
    std::vector<size_t> found = Named(pattern);
    if (empty.empty() && !found.empty()) empty = {found[0]};
    std::erase_if(found, [this](size_t i) { return IsEmpty(table_.columns[i]); });
    // Of many learning rates the first is that of the first group.
    if (found.size() > 1 && !pattern.ends_with('*')) {
      std::vector<std::string> names;
      for (const size_t i : found) names.push_back(table_.columns[i].name);
      throw Error(fmt::format("{}: {} could be any of {}; choose one, as in --map \"{}={}\"", path_,
                              field.name, QuotedList(names), field.name, OneLine(names[0])));
    }
    if (!found.empty()) return {found[0]};
  }
  std::vector<size_t> terms = Terms(field);
  return terms.empty() ? empty : terms;
}

std::string RunLogColumns::NameOf(const std::vector<size_t>& columns) const {
  std::string names;
  for (const size_t i : columns) names += (names.empty() ? "" : "+") + table_.columns[i].name;
  return names;
}

std::string RunLogColumns::NoLoss() const {
  std::vector<std::string> guesses;
  for (const auto& [plain, i] : names_) {
    const bool may_be = Has(plain, "loss") || Has(plain, "cost") || Has(plain, "objective");
    if (may_be && !IsEmpty(table_.columns[i])) guesses.push_back(OneLine(table_.columns[i].name));
  }
  std::string message = fmt::format(
      "{}: has no loss, which is usually called \"loss\" or \"train/loss\"; {}", path_, Titles());
  if (table_.columns.empty()) return message;
  message +=
      fmt::format("; name it, as in --map \"loss={}\"", guesses.empty() ? "NAME" : guesses.front());
  if (guesses.size() < 2) return message;
  return message +
         fmt::format(", or losses to be added up, \"loss={}+{}\"", guesses[0], guesses[1]);
}

std::string RunLogColumns::Unjudgeable() const {
  for (const Column& column : table_.columns) {
    const std::string plain = PlainName(column.name);
    if (Has(plain, "ep_rew") || Has(plain, "episode_reward") || Has(plain, "mean_reward") ||
        Has(plain, "reward_mean") || plain == "reward" || plain.ends_with("value_loss") ||
        plain.ends_with("policy_loss") || plain.ends_with("policy_gradient_loss")) {
      return fmt::format("the log is of reinforcement learning ({})", OneLine(column.name));
    }
    for (const std::string_view name : {"loss_d", "d_loss", "loss_disc", "disc_loss",
                                        "discriminator_loss", "loss_discriminator"}) {
      if (plain != name && !plain.ends_with("_" + std::string(name))) continue;
      return fmt::format("the log is of adversarial training ({})", OneLine(column.name));
    }
  }
  return "";
}

std::vector<Cell> CellsOf(const LogTable& table, const std::vector<size_t>& columns) {
  std::vector<Cell> cells;
  for (const size_t i : columns) {
    const Column& column = table.columns[i];
    if (column.bad_row > 0) {
      const Cell bad{.row = column.bad_row};
      throw Error(fmt::format("{}: {} = {} is not a number", table.Where(bad), OneLine(column.name),
                              Quoted(column.bad)));
    }
    if (i == columns.front()) {
      cells = column.cells;
    } else {
      AddUp(cells, column.cells, table.has_steps);
    }
  }
  return cells;
}

}  // namespace kudari::lab
