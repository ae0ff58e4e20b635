#include "lab/verbs/list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/registry.h"
#include "kudari/stages.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/files/output_file.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTitle = 34;  // of the list's first column

// Where state and traffic depend on the shape, they are given for this one.
constexpr int64_t kExampleShape[] = {768, 3072};

// What a rule costs for each parameter, in bytes.
struct Cost {
  double state, read, written;
  std::string where;  // " at 768 x 3072" if the shape matters
};

Cost CostOf(const RuleEntry& rule) {
  if (rule.whole == nullptr) {
    const MemoryTraffic traffic = rule.Traffic({});
    return {static_cast<double>(rule.slots.size() * sizeof(float)),
            static_cast<double>(traffic.read), static_cast<double>(traffic.written), ""};
  }
  double size = 1;
  for (const int64_t d : kExampleShape) size *= static_cast<double>(d);
  std::vector<double> defaults;
  for (const RuleEntry::Option& o : rule.options) defaults.push_back(o.default_value);
  double state = 0;
  for (const int64_t n : rule.whole->SlotSizes(defaults.data(), kExampleShape)) {
    state += static_cast<double>(n) * sizeof(float);
  }
  const MemoryTraffic traffic = rule.Traffic(kExampleShape);
  return {state / size, static_cast<double>(traffic.read) / size,
          static_cast<double>(traffic.written) / size,
          fmt::format(" at {}", fmt::join(kExampleShape, " x "))};
}

std::string StateText(const RuleEntry& rule, const Cost& cost) {
  std::string text = rule.slots.empty() ? "none" : fmt::format("{}", fmt::join(rule.slots, ", "));
  text += fmt::format(": {:.3g} bytes per parameter{}", cost.state, cost.where);
  if (!rule.memory.empty()) {
    std::vector<std::string> names;
    for (const auto& [name, initial] : rule.memory) names.push_back(name);
    text += fmt::format("; {}: one double per tensor", fmt::join(names, ", "));
  }
  return text;
}

std::string TrafficText(const RuleEntry& rule, const Cost& cost) {
  return fmt::format("{:.3g} bytes read and {:.3g} written per parameter and step{}{}", cost.read,
                     cost.written, cost.where, rule.norms > 0 ? ", in two passes" : "");
}

Json ToJson(const Description& d) {
  Json fields = Json::array();
  for (const OptionDescription& o : d.options) {
    // Numbers as numbers; an option that must be given has no default.
    auto value = Json::parse(o.default_value, nullptr, false);
    if (value.is_discarded()) value = nullptr;
    fields.push_back({{"name", o.name}, {"default", value}, {"range", o.range}, {"doc", o.doc}});
  }
  const auto bytes = [](int64_t n) { return n < 0 ? Json() : Json(n); };
  return {{"kind", d.kind},
          {"name", d.name},
          {"summary", d.summary},
          {"formula", d.formula},
          {"paper", d.paper},
          {"use", d.use},
          {"torch", d.torch},
          {"example", d.example},
          {"fields", fields},
          {"state", d.state},
          {"state_bytes_per_param", bytes(d.state_bytes)},
          {"bytes_read_per_param", bytes(d.bytes_read)},
          {"bytes_written_per_param", bytes(d.bytes_written)}};
}

/// Everything, the tables of a recipe that are the lab's last.
std::vector<Description> DescribeLab() {
  std::vector<Description> all = DescribeAll();
  for (Description& d : DescribeRecipe()) all.push_back(std::move(d));
  return all;
}

std::string Signature(const Description& d) {
  std::string text = d.name + "(";
  for (const OptionDescription& o : d.options) {
    if (&o != &d.options.front()) text += ", ";
    text += o.name;
    if (!o.default_value.empty()) text += " = " + o.default_value;
  }
  return text + ")";
}

std::string Title(const Description& d) { return d.kind == "schedule" ? Signature(d) : d.name; }

// What the card of a thing says below its options: heading and text.
std::vector<std::pair<std::string, std::string>> Remarks(const Description& d) {
  std::vector<std::pair<std::string, std::string>> remarks;
  if (d.kind == "rule") {
    const RuleEntry& rule = Registry::Builtin().Find(d.name);
    const Cost cost = CostOf(rule);
    remarks.emplace_back("state", StateText(rule, cost));
    remarks.emplace_back("traffic", TrafficText(rule, cost));
  }
  if (!d.use.empty()) remarks.emplace_back("use", d.use);
  if (!d.example.empty()) remarks.emplace_back("example", d.example);
  if (!d.torch.empty()) remarks.emplace_back("torch", d.torch);
  if (!d.paper.empty()) remarks.emplace_back("paper", d.paper);
  return remarks;
}

void Print(const Description& d, std::FILE* console) {
  fmt::print(console, "{} ({}): {}\n", Title(d), d.kind, d.summary);
  if (!d.formula.empty()) {
    std::string indented = "\n  ";
    for (const char c : d.formula) indented += c == '\n' ? std::string("\n  ") : std::string(1, c);
    fmt::print(console, "{}\n", indented);
  }
  if (!d.options.empty()) {
    std::vector<std::vector<std::string>> rows = {{"  field", "default", "range", "meaning"}};
    for (const OptionDescription& o : d.options) {
      rows.push_back({"  " + o.name, o.default_value, o.range, o.doc});
    }
    fmt::print(console, "\n{}", TextTable(rows));
  }
  const auto remarks = Remarks(d);
  if (!remarks.empty()) fmt::print(console, "\n");
  for (const auto& [heading, text] : remarks) {
    fmt::print(console, "  {:<8} {}", heading, Wrapped(text, 11).substr(11));
  }
}

void PrintAll(const std::vector<Description>& all, std::FILE* console) {
  for (const Description& d : all) {
    if (&d != &all.front()) fmt::print(console, "\n");
    Print(d, console);
  }
}

// The things of that name. Throws Error with the nearest name if there are none.
std::vector<Description> Named(std::string_view name) {
  std::vector<Description> found;
  std::vector<std::string> names;
  for (Description& d : DescribeLab()) {
    names.push_back(d.name);
    if (d.name == name) found.push_back(std::move(d));
  }
  if (!found.empty()) return found;
  throw Error(fmt::format("nothing is named \"{}\"{}", name, Suggest(name, names)));
}

void WriteJson(const std::vector<Description>& all, const std::filesystem::path& file) {
  Json list = Json::array();
  for (const Description& d : all) list.push_back(ToJson(d));
  WriteOutput(file, JsonText(list, 2) + "\n");
}

// Text in Markdown as it is.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '<') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string Row(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

std::string Code(const std::string& text) { return text.empty() ? "" : "`" + text + "`"; }

// A section of the page.
std::string Section(const Description& d) {
  std::string text = fmt::format("### {}\n\n{}.\n", Code(Title(d)), Escaped(d.summary));
  if (!d.formula.empty()) text += "\n```text\n" + d.formula + "\n```\n";
  if (!d.options.empty()) {
    text +=
        "\n" + Row({"field", "default", "range", "meaning"}) + Row({"---", "---", "---", "---"});
    for (const OptionDescription& o : d.options) {
      text += Row({Code(o.name), Code(o.default_value), Escaped(o.range), Escaped(o.doc)});
    }
  }
  const auto remarks = Remarks(d);
  if (!remarks.empty()) text += '\n';
  for (const auto& [heading, remark] : remarks) {
    text += fmt::format("- **{}**: {}\n", heading, Escaped(remark));
  }
  return text;
}

}  // namespace

void List(std::FILE* console) {
  std::string kind;
  for (const Description& d : DescribeLab()) {
    if (d.kind != kind) {
      fmt::print(console, "{}{}s\n", kind.empty() ? "" : "\n", d.kind);
      kind = d.kind;
    }
    const std::string title = Title(d);
    if (title.size() > kTitle) fmt::print(console, "  {}\n", title);
    fmt::print(console, "  {:<{}} {}", title.size() > kTitle ? "" : title, kTitle, d.summary);
    if (d.kind == "rule") {
      const Cost cost = CostOf(Registry::Builtin().Find(d.name));
      fmt::print(console, " ({:.3g} bytes of state per parameter{})", cost.state, cost.where);
    }
    fmt::print(console, "\n");
  }
  fmt::print(console, "\nkudari describe NAME shows one of these in full.\n");
}

void ListJson(const std::filesystem::path& file) { WriteJson(DescribeAll(), file); }

void DescribeByName(std::string_view name, std::FILE* console) { PrintAll(Named(name), console); }

void DescribeJson(std::string_view name, bool schedules, const std::filesystem::path& file) {
  WriteJson(!name.empty() ? Named(name) : schedules ? DescribeSchedules() : DescribeLab(), file);
}

void DescribeEverything(std::FILE* console) { PrintAll(DescribeLab(), console); }

void DescribeEverySchedule(std::FILE* console) { PrintAll(DescribeSchedules(), console); }

std::string RulesPage() {
  const std::vector<Description> all = DescribeAll();
  std::string text =
      "# Rules and stages\n\nGenerated by `kudari describe --all --markdown` (`make docs`) from "
      "the program's own descriptions.\nA rule is an update formula. A source makes the gradient "
      "of a step, a scale clips or centres it, and an\naverager follows the weights. Every field "
      "may be a schedule of the step (schedules.md). State and traffic\nare bytes per float32 "
      "parameter; traffic is the least that a step has to read and write.\n\n";
  text += Row({"rule", "", "state", "read", "written", "paper"}) +
          Row({"---", "---", "--:", "--:", "--:", "---"});
  for (const Description& d : all) {
    if (d.kind != "rule") continue;
    const Cost cost = CostOf(Registry::Builtin().Find(d.name));
    // The heading of the rule's section, as it becomes the name of a place on the page.
    text += Row({fmt::format("[`{}`](#{})", d.name, d.name), Escaped(d.summary),
                 fmt::format("{:.3g}{}", cost.state, cost.where), fmt::format("{:.3g}", cost.read),
                 fmt::format("{:.3g}", cost.written), Escaped(d.paper)});
  }
  std::string kind;
  for (const Description& d : all) {
    if (d.kind == "schedule") continue;
    if (d.kind != kind) {
      kind = d.kind;
      text += fmt::format("\n## {}{}s\n", static_cast<char>(std::toupper(kind.front())),
                          kind.substr(1));
    }
    text += "\n" + Section(d);
  }
  return text;
}

std::string SchedulesPage() {
  std::string text = R"page(# Schedules

Generated by `kudari describe --schedules --markdown` (`make docs`) from the program's own descriptions.

A schedule is a pure function of the step s = 0, 1, ..., where s = 0 is the first update. Any number in
a recipe may be a schedule: learning rate, momentum, betas, weight decay, rho, clipping. It is immutable
and has no state, so resuming needs only the step. Its text reads back as the same schedule:

    lr = "2e-3 * warmup(100) * cosine(1500, 0.05)"
    momentum = "onecycle_momentum(1500)"

A text is a product of numbers and calls. Arguments are given by position or by name
(`onecycle(1000, final_div = 1e3, shape = linear)`); milestones are a list (`multistep([30, 60])`).
Most curves begin at 1 or rise to it, so the number in front is the peak; a curve with `last` has that
value from s = steps on, one step after the last update of a training of that length. A phase of length 0
is a jump.
In C++ the same names are functions, `Cosine(1500, 0.05)`, and `*` is the product
(`kudari/schedule.h`). `ReduceOnPlateau` and `EarlyStopping` react to the loss, so they have state and are
not schedules (`kudari/controllers.h`).

`kudari schedule TEXT --steps N` prints values and draws the curve, with `--svg FILE` as a picture as well.

## Lengths relative to the run

An argument that counts steps (its range below is given in steps) may be a number of steps or a part of the run:

| length | meaning |
| --- | --- |
| `10%` | a tenth of the run's steps; from 0% to 100% |
| `30ep` | 30 epochs of the run; fractions are allowed |
| `end` | all steps of the run; in the second part of `then`, the steps from the boundary to the end |

    lr = "2e-3 * warmup(10%) * cosine(end, 0.05)"
    lr = "0.1 * multistep([30ep, 60ep, 80ep])"
    lr = "3e-4 * then(warmup(5%), 5%, linear(end))"

Such a schedule has values once it is resolved: each length becomes the nearest number of steps, at least 1
where the function does not allow 0. `kudari train` and the other commands that train resolve the recipe's
schedules as soon as the data is loaded, and print the result; `recipe.toml` keeps the text, so the same
schedule suits another batch size or number of epochs. `kudari schedule` resolves with `--steps` and
`--steps-per-epoch`. In C++, `Resolve(spec, {.steps = 1500, .steps_per_epoch = 100})` (`kudari/recipe.h`)
resolves a whole specification, and `Schedule::Resolve` one schedule; an optimiser refuses unresolved ones.

A schedule that does not fit the run causes a warning before the first step: a warm-up that does not end within
the run or takes more than half of it, and a curve over the run (linear, cosine, polynomial, trapezoid, wsd and
the onecycle schedules) that ends before 90 % of the run or is cut off before 90 % of its own length. In C++,
`ScheduleMisfits` returns these warnings.

![Every schedule over a hundred steps](schedules.svg)

## Schedules of other libraries

| elsewhere | here |
| --- | --- |
| warm-up s / W of Hugging Face, timm, big_vision: the first update has rate 0 | `warmup(W, 0)` |
| warm-up (s + 1) / W of nanochat, schedule-free | `warmup(W)` |
| torch `LinearLR(start_factor=f, total_iters=W)` | `warmup(W, f)` |
| Hugging Face's cosine, linear, polynomial with warm-up W, D steps after it | `then(warmup(W, 0), W, cosine(D))` |
| timm's cosine, `warmup_prefix=True` | the same |
| timm's default: the cosine runs underneath the warm-up | `then(warmup(W, 0), W, 1) * cosine(D)`, from step W on |
| Hugging Face's inverse square root | `warmup(W, 0) * inverse_sqrt(W)` |
| big_vision's rsqrt after a warm-up | `then(warmup(W, 0), W, rsqrt(timescale))` |
| MiniCPM's exponential decay with half-life h from step S on | `warmup(W) * then(1, S, exponential(0.5, h))` |
| torch `SequentialLR([A, B], [m])` | `then(A, m, B)` |
| momentum of torch `CyclicLR` | `triangular(up, down, 0.9, 0.8)` |
| nanochat's momentum in 2025 | `ramp(300, 0.85, 0.95)` |
| and in 2026, with a warm-down of D steps from step S on | `then(ramp(400, 0.85, 0.97), S, ramp(D, 0.97, 0.9))` |

`schedules_golden_test` compares all curves with torch, transformers, timm, optax and fastai's formula,
step by step; tests/golden/DEVIATIONS.md says where those differ, and why.

## Reference
)page";
  for (const Description& d : DescribeSchedules()) text += "\n" + Section(d);
  return text;
}

}  // namespace kudari::lab
