#include "lab/recipe/advice_chart.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "kudari/messages.h"
#include "lab/console/progress.h"
#include "lab/recipe/advice_data.h"

namespace kudari::lab {
namespace {

std::string QuestionText(const toml::table& question) {
  return fmt::format("{} [{}]\n", TextAt(question, "ask"), TextAt(question, "source"));
}

// The chart as it is being drawn. Questions that come after a setting are the same for many of
// them: they get a letter there and follow below.
class ChartTree {
 public:
  std::string Text() {
    std::string text = Tree("task", "", "");
    for (size_t i = 0; i < later_.size(); ++i) {
      text += fmt::format("\n({}) {}", Letter(i), Tree(later_[i], "", ""));
    }
    for (const std::string& note : notes_) text += "\n" + Wrapped(note, 0);
    return text;
  }

 private:
  static char Letter(size_t i) { return static_cast<char>('A' + i); }

  template <class T>
  static size_t PlaceOf(const T& value, std::vector<T>& list) {
    const auto at = std::find(list.begin(), list.end(), value);
    const auto place = static_cast<size_t>(at - list.begin());
    if (at == list.end()) list.push_back(value);
    return place;
  }

  // The question with its answers, each line but the first after `margin`.
  std::string Tree(const std::string& id, const std::string& task, const std::string& margin) {
    const toml::table& question = ChartQuestion(id);
    if (question.contains("note")) PlaceOf(TextAt(question, "note"), notes_);
    std::string text = QuestionText(question);
    const toml::array& answers = ArrayAt(question, "answer");
    size_t left = answers.size();
    ForTables(question, "answer", [&](const toml::table& answer) {
      const bool last = --left == 0;
      text += margin + (last ? "└─ " : "├─ ");
      text += AnswerText(answer, TextAt(question, "by") == "task" ? TextAt(answer, "is") : task,
                         margin + (last ? "   " : "│  "));
    });
    return text;
  }

  std::string AnswerText(const toml::table& answer, const std::string& task,
                         const std::string& margin) {
    std::string text = TextAt(answer, "says");
    if (answer.contains("is")) text = TextAt(answer, "is") + ": " + text;
    const std::string setting = SettingTaken(answer, task), next = TextOr(answer, "next", "");
    if (setting.empty() && !next.empty()) return text + "\n" + margin + Tree(next, task, margin);
    if (!setting.empty()) {
      // Beside a batch there is room on the line.
      text += (answer.contains("is") ? "\n" + margin : " ") + "=> " +
              TextAt(TableAt(TableAt(AdviceData(), "setting"), setting), "title");
    }
    if (answer.contains("change")) {
      const toml::table& changes = TableAt(AdviceData(), "change");
      text += " => " + TextAt(TableAt(changes, TextAt(answer, "change")), "title");
    }
    if (!next.empty()) text += fmt::format("; then ({})", Letter(PlaceOf(next, later_)));
    return text + "\n";
  }

  std::vector<std::string> later_, notes_;
};

using Row = std::vector<std::string>;

Row SettingRow(const std::string& task, const std::string& name) {
  const toml::table& setting = TableAt(TableAt(AdviceData(), "setting"), name);
  double low = NumberAt(setting, "lr"), high = low;
  if (setting.contains("lr_by_params")) {
    ForTables(setting, "lr_by_params", [&](const toml::table& row) {
      low = std::min(low, NumberAt(row, "lr"));
      high = std::max(high, NumberAt(row, "lr"));
    });
  }
  const auto range = [](double from, double to) {
    return from == to ? NumberText(from) : NumberText(from) + " to " + NumberText(to);
  };
  const toml::array& batch = ArrayAt(setting, "lr_batch");
  return {task,
          TextAt(TableAt(setting, "optimizer"), "rule"),
          range(low, high),
          range(batch[0].value_or(0.0), batch[1].value_or(0.0)),
          TextAt(setting, "lr_scaling"),
          TextAt(setting, "remark")};
}

// The rows of the settings that an answer leads to.
void AddRows(const toml::table& answer, const std::string& task, const std::string& label,
             std::vector<Row>& rows) {
  if (const std::string setting = SettingTaken(answer, task); !setting.empty()) {
    rows.push_back(SettingRow(label, setting));
    return;
  }
  ForTables(ChartQuestion(TextAt(answer, "next")), "answer", [&](const toml::table& next) {
    AddRows(next, task, fmt::format("{}, {} batch", task, TextAt(next, "name")), rows);
  });
}

}  // namespace

std::string ChartText() { return ChartTree().Text() + "\n" + CitedText(); }

std::string QuickReference() {
  std::vector<Row> rows = {
      {"task", "optimiser", "learning rate", "at samples", "follows", "remark"}};
  ForTables(ChartQuestion("task"), "answer", [&](const toml::table& answer) {
    const std::string task = TextAt(answer, "is");
    AddRows(answer, task, task, rows);
  });
  const toml::table& table = TableAt(AdviceData(), "table");
  std::string text = fmt::format("{} [{}]\n\n{}\n", TextAt(table, "title"), TextAt(table, "source"),
                                 TextTable(rows));
  std::vector<Row> priorities = {{"priority", "change"}};
  for (const char* const question : {"priority", "game-priority", "policy-priority"}) {
    ForTables(ChartQuestion(question), "answer", [&](const toml::table& answer) {
      if (!answer.contains("change")) return;
      const toml::table& changes = TableAt(AdviceData(), "change");
      const Row row = {TextAt(answer, "is"),
                       TextAt(TableAt(changes, TextAt(answer, "change")), "remark")};
      if (std::find(priorities.begin(), priorities.end(), row) == priorities.end()) {
        priorities.push_back(row);
      }
    });
  }
  return text + TextTable(priorities) + "\n" + Wrapped(TextAt(table, "text"), 0) + "\n" +
         CitedText();
}

}  // namespace kudari::lab
