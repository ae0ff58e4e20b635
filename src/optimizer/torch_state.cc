// The state of PyTorch's optimisers as Kudari's, and back.
#include "kudari/torch_state.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "core/regex.h"
#include "kernels/codecs.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "state/shape_text.h"

namespace kudari {
namespace {

constexpr int64_t kMostTorchSteps = int64_t{1} << 53;

// ---- Hyper-parameters ----

/// A group of PyTorch's options.
class TorchGroup {
 public:
  TorchGroup(const StateTree& group, size_t index)
      : group_(group), where_("param_groups/" + std::to_string(index)) {
    if (!group_.IsNode()) Fail("is " + group_.Kind() + ", but must be a node");
    optimizer_ = Text("optimizer").value_or("");
    if (optimizer_.empty()) Fail("has no \"optimizer\", the class, such as AdamW");
    for (size_t k = 0; const auto name = Text("params/" + std::to_string(k)); ++k) {
      names_.push_back(*name);
    }
  }

  const std::string& optimizer() const { return optimizer_; }
  const std::vector<std::string>& names() const { return names_; }

  /// An option that may be missing or None.
  std::optional<double> Find(const std::string& option) const {
    const StateTree* const found = group_.Find(option);
    if (found == nullptr) return std::nullopt;
    if (const auto* const x = std::get_if<double>(&found->value())) return *x;
    if (const auto* const x = std::get_if<int64_t>(&found->value())) {
      return static_cast<double>(*x);
    }
    Fail(option + " is " + found->Kind() + ", but must be a number");
  }
  double Number(const std::string& option) const {
    if (const auto x = Find(option)) return *x;
    Fail(option + " is missing, which " + optimizer_ + " has");
  }
  /// False if it is missing, as in files of versions that did not have the option.
  bool Flag(const std::string& option) const {
    const StateTree* const found = group_.Find(option);
    if (found == nullptr) return false;
    if (const auto* const x = std::get_if<bool>(&found->value())) return *x;
    Fail(option + " is " + found->Kind() + ", but must be a bool");
  }
  std::optional<std::string> Text(const std::string& option) const {
    const StateTree* const found = group_.Find(option);
    if (found == nullptr) return std::nullopt;
    if (const auto* const x = std::get_if<std::string>(&found->value())) return *x;
    Fail(option + " is " + found->Kind() + ", but must be a string");
  }

  [[noreturn]] void Fail(const std::string& what) const { throw Error(where_ + ": " + what); }

 private:
  const StateTree& group_;
  std::string where_, optimizer_;
  std::vector<std::string> names_;
};

std::string SgdRule(const TorchGroup& g) {
  if (g.Number("momentum") == 0) return "sgd";
  if (!g.Flag("nesterov")) return "momentum";
  if (const double x = g.Number("dampening"); x != 0) {
    g.Fail("dampening = " + NumberText(x) + ": nesterov = true is without dampening");
  }
  return "nesterov";
}

std::string AdamWRule(const TorchGroup& g) {
  if (!g.Flag("amsgrad")) return "adamw";
  const double decay = g.Number("weight_decay");
  if (decay == 0) return "amsgrad";
  g.Fail("amsgrad = true with a decoupled weight_decay = " + NumberText(decay) +
         ": Kudari has amsgrad with a coupled weight decay or with none");
}

std::string AdamRule(const TorchGroup& g) {
  if (g.Flag("decoupled_weight_decay")) return AdamWRule(g);
  return g.Flag("amsgrad") ? "amsgrad" : "adam";
}

/// Of NAdam and RAdam.
void RefuseDecoupled(const TorchGroup& g) {
  const double decay = g.Number("weight_decay");
  if (decay == 0 || !g.Flag("decoupled_weight_decay")) return;
  g.Fail("decoupled_weight_decay = true with weight_decay = " + NumberText(decay) + ": Kudari's " +
         g.optimizer() + " has a coupled weight decay");
}

std::string NAdamRule(const TorchGroup& g) {
  RefuseDecoupled(g);
  return "nadam";
}

std::string RAdamRule(const TorchGroup& g) {
  RefuseDecoupled(g);
  return "radam";
}

std::string RmspropRule(const TorchGroup& g) {
  std::string rule = "rmsprop";
  if (g.Flag("centered")) rule += "_centered";
  if (g.Number("momentum") != 0) rule += "_momentum";
  return rule;
}

constexpr double kMuonCoefficients[] = {3.4445, -4.7750, 2.0315};
constexpr double kMuonEps = 1e-7;

std::string MuonRule(const TorchGroup& g) {
  if (!g.Flag("nesterov")) g.Fail("nesterov = false: Kudari's Muon has Nesterov momentum");
  for (size_t i = 0; i < std::size(kMuonCoefficients); ++i) {
    const std::string name = "ns_coefficients/" + std::to_string(i);
    const double x = g.Find(name).value_or(kMuonCoefficients[i]);
    if (x == kMuonCoefficients[i]) continue;
    g.Fail(name + " = " + NumberText(x) + ", but must be " + NumberText(kMuonCoefficients[i]));
  }
  if (const double eps = g.Find("eps").value_or(kMuonEps); eps != kMuonEps) {
    g.Fail("eps = " + NumberText(eps) + ", but must be " + NumberText(kMuonEps));
  }
  const std::string adjust = g.Text("adjust_lr_fn").value_or("original");
  if (adjust == "match_rms_adamw") return "muon_match_rms";
  if (adjust == "original") return "muon";
  g.Fail("adjust_lr_fn = " + Quoted(adjust) + ", but must be original or match_rms_adamw");
}

template <const char* rule>
std::string OneRule(const TorchGroup& /*group*/) {
  return rule;
}

constexpr char kAdagradRule[] = "adagrad", kAdafactorRule[] = "adafactor_torch",
               kAdadeltaRule[] = "adadelta", kAdamaxRule[] = "adamax", kAsgdRule[] = "asgd",
               kRpropRule[] = "rprop", kSparseAdamRule[] = "sparse_adam";

/// A class of PyTorch's with a twin here.
struct TorchClass {
  std::string name;
  std::string (*rule)(const TorchGroup& group);  ///< the twin's
  bool counts;                                   ///< whether its state has a `step`
  std::vector<std::string> state;                ///< what it may keep beside that
};

const std::vector<TorchClass>& TorchClasses() {
  static const std::vector<TorchClass> classes = {
      {"SGD", &SgdRule, false, {"momentum_buffer"}},
      {"Adam", &AdamRule, true, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
      {"AdamW", &AdamWRule, true, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
      {"NAdam", &NAdamRule, true, {"exp_avg", "exp_avg_sq", "mu_product"}},
      {"RAdam", &RAdamRule, true, {"exp_avg", "exp_avg_sq"}},
      {"Adamax", &OneRule<kAdamaxRule>, true, {"exp_avg", "exp_inf"}},
      {"Adagrad", &OneRule<kAdagradRule>, true, {"sum"}},
      {"Adadelta", &OneRule<kAdadeltaRule>, true, {"square_avg", "acc_delta"}},
      {"RMSprop", &RmspropRule, true, {"square_avg", "grad_avg", "momentum_buffer"}},
      {"Adafactor", &OneRule<kAdafactorRule>, true, {"row_var", "col_var", "variance"}},
      {"Muon", &MuonRule, false, {"momentum_buffer"}},
      {"ASGD", &OneRule<kAsgdRule>, true, {"ax", "eta", "mu"}},
      {"Rprop", &OneRule<kRpropRule>, true, {"prev", "step_size"}},
      {"SparseAdam", &OneRule<kSparseAdamRule>, true, {"exp_avg", "exp_avg_sq"}}};
  return classes;
}

const TorchClass& ClassOf(const TorchGroup& group) {
  for (const TorchClass& c : TorchClasses()) {
    if (c.name == group.optimizer()) return c;
  }
  std::string known;
  for (const TorchClass& c : TorchClasses()) known += (known.empty() ? "" : ", ") + c.name;
  group.Fail("Kudari has no twin of PyTorch's " + OneLine(group.optimizer()) +
             "; it has those of " + known);
}

/// PyTorch's path of an option of Kudari's.
std::string TorchOption(const std::string& option) {
  if (option == "beta1") return "betas/0";
  if (option == "beta2") return "betas/1";
  if (option == "eps1") return "eps/0";
  if (option == "eps2") return "eps/1";
  if (option == "etaminus") return "etas/0";
  if (option == "etaplus") return "etas/1";
  if (option == "step_size_min") return "step_sizes/0";
  if (option == "step_size_max") return "step_sizes/1";
  return option;
}

/// Whether PyTorch's class has no such option, which is zero then.
bool IsKudarisOwn(std::string_view rule, std::string_view option) {
  return (rule == kRpropRule || rule == kSparseAdamRule) && option == "weight_decay";
}

/// A group as Kudari has it.
struct TwinGroup {
  const TorchClass* torch = nullptr;
  std::string rule = {};
  Options options = {};
  std::vector<std::string> names = {};
};

TwinGroup TwinOf(const TorchGroup& g) {
  const TorchClass& torch = ClassOf(g);
  if (g.Flag("maximize")) {
    g.Fail(
        "maximize = true: Kudari minimises; give it the negated loss, and import the state with "
        "maximize = false");
  }
  TwinGroup twin{.torch = &torch, .rule = torch.rule(g), .options = {}, .names = g.names()};
  for (const RuleEntry::Option& o : Registry::Builtin().Find(twin.rule).options) {
    if (IsKudarisOwn(twin.rule, o.name)) {
      twin.options.emplace(o.name, 0);
      continue;
    }
    const std::string name = TorchOption(o.name);
    // None stands for the smallest step between float32 numbers at 1, as the default does.
    const double value = name == "eps/0" ? g.Find(name).value_or(o.default_value) : g.Number(name);
    if (!(o.low <= value && value <= o.high)) {
      g.Fail(name + " = " + NumberText(value) + " is outside " + RangeText(o.low, o.high));
    }
    twin.options.emplace(o.name, value);
  }
  return twin;
}

std::vector<TwinGroup> TwinsIn(const StateTree& torch) {
  std::vector<TwinGroup> twins;
  std::set<std::string> known;
  for (size_t i = 0;; ++i) {
    const StateTree* const group = torch.Find("param_groups/" + std::to_string(i));
    if (group == nullptr) break;
    const TorchGroup read(*group, i);
    for (const std::string& name : read.names()) {
      if (!known.insert(name).second) read.Fail("parameter " + Quoted(name) + " is there twice");
    }
    twins.push_back(TwinOf(read));
  }
  if (known.empty()) throw Error("param_groups: there are no parameters");
  return twins;
}

/// Expressions that match these names and no others, each short enough for a group.
std::vector<std::string> Expressions(const std::vector<std::string>& names) {
  constexpr size_t kRoom = internal::Regex::kMostBytes - 100;
  std::vector<std::string> expressions;
  std::string inside;
  const auto end = [&] {
    if (!inside.empty()) expressions.push_back("^(?:" + inside + ")$");
    inside.clear();
  };
  for (const std::string& name : names) {
    std::string escaped;
    for (const char c : name) {
      if (std::string_view("^$\\.*+?()[]{}|").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
    if (inside.size() + escaped.size() > kRoom) end();
    inside += (inside.empty() ? "" : "|") + escaped;
  }
  end();
  return expressions;
}

// ---- State ----

int64_t Updates(const StateTree& state, const std::string& where) {
  const StateTree* const step = state.Member("step");
  if (step == nullptr) throw Error(where + " has no \"step\"");
  double updates = 0;
  if (const auto* const x = std::get_if<double>(&step->value())) {
    updates = *x;
  } else if (const auto* const n = std::get_if<int64_t>(&step->value())) {
    updates = static_cast<double>(*n);
  } else {
    throw Error(where + ": step is " + step->Kind() + ", but must be a number");
  }
  if (!(updates >= 0 && updates <= static_cast<double>(kMostTorchSteps)) ||
      updates != std::floor(updates)) {
    throw Error(where + ": step = " + NumberText(updates) + " is not an integer in [0, 2^53]");
  }
  return static_cast<int64_t>(updates);
}

/// An array of numbers that LoadState takes: float32, float64 or bfloat16.
StateArray StoredNumbers(const StateTree& found, const std::string& where) {
  const auto* const array = std::get_if<StateArray>(&found.value());
  if (array != nullptr) {
    if (array->type == ElementType::kFloat32 || array->type == ElementType::kFloat64 ||
        array->type == ElementType::kBFloat16) {
      return *array;
    }
    if (array->type == ElementType::kFloat16) {
      std::vector<float> values(array->bytes.size() / sizeof(uint16_t));
      const internal::Coded coded{internal::Format::kFloat16,
                                  const_cast<std::byte*>(array->bytes.data())};  // only read
      if (!values.empty()) {
        internal::ScalarCodecs().load(coded, 0, values.size(), values.data());
      }
      return StateArray::Of(std::span<const float>(values), array->shape);
    }
  }
  throw Error(where + " is " + found.Kind() + ", but must be an array of F64, F32, BF16 or F16");
}

int64_t ElementsOf(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (const int64_t n : shape) size *= n;
  return size;
}

/// The shape of the parameter that a factored or a whole variance is of.
std::vector<int64_t> AdafactorShape(const StateTree& state, const std::string& where) {
  if (const StateTree* const variance = state.Member("variance")) {
    return StoredNumbers(*variance, where + "/variance").shape;
  }
  const StateTree* const rows = state.Member("row_var");
  const StateTree* const columns = state.Member("col_var");
  if (rows == nullptr || columns == nullptr) {
    throw Error(where + " has neither \"variance\" nor both of \"row_var\" and \"col_var\"");
  }
  std::vector<int64_t> shape = StoredNumbers(*rows, where + "/row_var").shape;
  const std::vector<int64_t> other = StoredNumbers(*columns, where + "/col_var").shape;
  const bool fit = shape.size() >= 2 && other.size() == shape.size() && shape.back() == 1 &&
                   other[other.size() - 2] == 1 &&
                   std::equal(shape.begin(), shape.end() - 2, other.begin());
  if (!fit) {
    throw Error(where + ": row_var is " + internal::ShapeText<int64_t>(shape) + " and col_var " +
                internal::ShapeText<int64_t>(other) +
                ", but they must be [..., rows, 1] and [..., 1, columns]");
  }
  shape.back() = other.back();
  return shape;
}

/// Kudari's slots are flat where they are smaller than the parameter, and empty where it has none.
StateTree AdafactorSlots(const StateTree& state, const std::string& where) {
  const std::vector<int64_t> shape = AdafactorShape(state, where);
  StateTree slots;
  for (const char* const name : {"row_var", "col_var", "variance"}) {
    StateArray array{ElementType::kFloat32, {0}, {}};
    if (const StateTree* const found = state.Member(name)) {
      array = StoredNumbers(*found, where + "/" + name);
    }
    const int64_t size = ElementsOf(array.shape);
    array.shape = size == ElementsOf(shape) ? shape : std::vector{size};
    slots.Add(name, std::move(array));
  }
  return slots;
}

/// What a tensor has had, as far as PyTorch tells.
struct TensorPast {
  const StateTree* state;  // null for none
  const TwinGroup* twin;
  std::optional<int64_t> updates;  // of classes that count
};

/// The nodes of a tensor's state in Kudari, at step `run` of the run.
StateTree TensorState(const std::string& name, const TensorPast& past, int64_t run) {
  const RuleEntry& rule = Registry::Builtin().Find(past.twin->rule);
  const std::string where = "state/" + PathComponent(name);
  const auto has = [&](const std::string& slot) {
    return past.state != nullptr && past.state->Member(slot) != nullptr;
  };
  int64_t updates = past.updates.value_or(0);
  if (!past.twin->torch->counts) {
    const bool begun = rule.slots.empty() || std::ranges::any_of(rule.slots, has);
    updates = !begun ? 0 : rule.slots.empty() ? run : std::max<int64_t>(run, 1);
  }
  StateTree node;
  node.Add("step", updates);
  StateTree memory;
  for (const auto& [key, initial] : rule.memory) {
    double value = initial;
    if (updates > 0) {
      if (!has(key)) throw Error(where + " has no " + Quoted(key));
      const StateTree& found = *past.state->Member(key);
      const auto* const x = std::get_if<double>(&found.value());
      if (x == nullptr) {
        throw Error(where + ": " + key + " is " + found.Kind() + ", but must be a number");
      }
      value = *x;
    }
    memory.Add(key, value);
  }
  if (!rule.memory.empty()) node.Add("memory", std::move(memory));
  if (updates == 0 || rule.slots.empty()) return node;
  if (rule.name == kAdafactorRule) {
    node.Add("slots", AdafactorSlots(*past.state, where));
    return node;
  }
  StateTree slots;
  for (const std::string& slot : rule.slots) {
    if (!has(slot)) {
      throw Error(where + " has no " + Quoted(slot) + ", which " + past.twin->torch->name +
                  " keeps with these hyper-parameters");
    }
    slots.Add(slot, StoredNumbers(*past.state->Member(slot), where + "/" + slot));
  }
  node.Add("slots", std::move(slots));
  return node;
}

/// Throws Error if the state is of a parameter that no group has, or has what its class never has.
void CheckKnown(const StateTree& states, const std::map<std::string, TensorPast>& pasts) {
  for (const auto& [name, state] : states.members()) {
    const std::string where = "state/" + PathComponent(name);
    const auto past = pasts.find(name);
    if (past == pasts.end()) throw Error(where + ": no group has this parameter");
    if (!state.IsNode()) throw Error(where + " is " + state.Kind() + ", but must be a node");
    const TorchClass& torch = *past->second.twin->torch;
    for (const auto& [member, value] : state.members()) {
      if (torch.counts && member == "step") continue;
      if (std::ranges::find(torch.state, member) != torch.state.end()) continue;
      throw Error(where + ": " + torch.name + " keeps no " + Quoted(member) +
                  Suggest(member, torch.state));
    }
  }
}

}  // namespace

OptimizerSpec SpecFromTorch(const StateTree& torch) {
  std::vector<TwinGroup> twins;
  for (TwinGroup& twin : TwinsIn(torch)) {
    const auto same = std::ranges::find_if(twins, [&](const TwinGroup& t) {
      return t.rule == twin.rule && t.options == twin.options;
    });
    if (same == twins.end()) {
      twins.push_back(std::move(twin));
    } else {
      same->names.insert(same->names.end(), twin.names.begin(), twin.names.end());
    }
  }
  std::erase_if(twins, [](const TwinGroup& t) { return t.names.empty(); });
  const auto largest =
      std::ranges::max_element(twins, {}, [](const TwinGroup& t) { return t.names.size(); });
  OptimizerSpec spec(largest->rule, largest->options);
  for (auto twin = twins.begin(); twin != twins.end(); ++twin) {
    if (twin == largest) continue;
    for (const std::string& expression : Expressions(twin->names)) {
      spec.groups.push_back(
          {.rule = twin->rule, .options = twin->options, .match_regex = expression});
    }
  }
  return Complete(spec);
}

StateTree StateFromTorch(const StateTree& torch) {
  static const StateTree kNone;
  const std::vector<TwinGroup> twins = TwinsIn(torch);
  const StateTree* const found = torch.Member("state");
  const StateTree& states = found != nullptr ? *found : kNone;
  if (!states.IsNode()) throw Error("state is " + states.Kind() + ", but must be a node");
  std::map<std::string, TensorPast> pasts;
  int64_t run = 0;
  for (const TwinGroup& twin : twins) {
    for (const std::string& name : twin.names) {
      TensorPast past{.state = states.Member(name), .twin = &twin, .updates = std::nullopt};
      if (past.state != nullptr && past.state->IsNode() && twin.torch->counts) {
        past.updates = Updates(*past.state, "state/" + PathComponent(name));
        run = std::max(run, *past.updates);
      }
      pasts.emplace(name, past);
    }
  }
  CheckKnown(states, pasts);
  if (const StateTree* const step = torch.Member("step")) {
    run = step->Int();
    if (run < 0 || run > kMostTorchSteps) {
      throw Error("step = " + std::to_string(run) + " is outside [0, 2^53]");
    }
  }
  StateTree tensors;
  for (const auto& [name, past] : pasts) tensors.Add(name, TensorState(name, past, run));
  StateTree state;
  state.Add("step", run);
  state.Add("tensors", std::move(tensors));
  return state;
}

// ---- The way back ----

namespace {

/// What PyTorch calls a rule: its class, and the options that make it this rule.
struct TorchTwin {
  std::string_view rule, optimizer;
  std::vector<std::pair<std::string, StateTree>> options = {};
};

const std::vector<TorchTwin>& TorchTwins() {
  const std::string match = "match_rms_adamw";
  static const std::vector<TorchTwin> twins = {
      {"sgd", "SGD", {{"momentum", 0.0}, {"dampening", 0.0}, {"nesterov", false}}},
      {"momentum", "SGD", {{"nesterov", false}}},
      {"nesterov", "SGD", {{"dampening", 0.0}, {"nesterov", true}}},
      {"adam", "Adam", {{"amsgrad", false}}},
      {"amsgrad", "Adam", {{"amsgrad", true}}},
      {"adamw", "AdamW", {{"amsgrad", false}}},
      {"nadam", "NAdam"},
      {"radam", "RAdam"},
      {kAdamaxRule, "Adamax"},
      {"adagrad", "Adagrad"},
      {kAdadeltaRule, "Adadelta"},
      {"rmsprop", "RMSprop", {{"centered", false}, {"momentum", 0.0}}},
      {"rmsprop_momentum", "RMSprop", {{"centered", false}}},
      {"rmsprop_centered", "RMSprop", {{"centered", true}, {"momentum", 0.0}}},
      {"rmsprop_centered_momentum", "RMSprop", {{"centered", true}}},
      {kAdafactorRule, "Adafactor"},
      {kAsgdRule, "ASGD"},
      {kRpropRule, "Rprop"},
      {kSparseAdamRule, "SparseAdam"},
      {"muon", "Muon", {{"nesterov", true}}},
      {"muon_match_rms", "Muon", {{"nesterov", true}, {"adjust_lr_fn", match}}}};
  return twins;
}

const TorchTwin& TorchTwinOf(const TensorPlan& plan) {
  for (const TorchTwin& twin : TorchTwins()) {
    if (twin.rule == plan.rule) return twin;
  }
  std::string known;
  for (const TorchTwin& twin : TorchTwins()) {
    known += (known.empty() ? "" : ", ") + std::string(twin.rule);
  }
  throw Error("tensor " + Quoted(plan.name) + ": PyTorch has no twin of rule " + Quoted(plan.rule) +
              "; it has those of " + known);
}

StateTree TorchGroupOf(const TorchTwin& twin, const TensorPlan& plan) {
  StateTree group;
  group.Add("optimizer", std::string(twin.optimizer));
  for (const auto& [name, value] : twin.options) group.Set(name, value);
  for (const auto& [name, value] : plan.options) {
    if (IsKudarisOwn(twin.rule, name)) {
      if (value == 0) continue;
      throw Error("tensor " + Quoted(plan.name) + ": " + name + " = " + NumberText(value) +
                  ": PyTorch's " + std::string(twin.optimizer) + " has no " + name);
    }
    if (name == "ns_steps") {
      group.Set(name, static_cast<int64_t>(value));
    } else {
      group.Set(TorchOption(name), value);
    }
    // Without momentum there is no difference, and PyTorch refuses nesterov.
    if (twin.rule == "nesterov" && name == "momentum" && value == 0) group.Set("nesterov", false);
  }
  return group;
}

/// A buffer of a tensor in PyTorch's shape; nothing if PyTorch has none there.
std::optional<StateArray> TorchBuffer(const Optimizer& optimizer, size_t index,
                                      const StateTree& state, const std::string& slot) {
  const auto* const stored = std::get_if<StateArray>(&state.At("slots/" + slot).value());
  if (stored != nullptr && stored->type == ElementType::kFloat64) return *stored;
  std::vector<int64_t> shape = optimizer.tensors()[index].shape;
  const std::vector<float> values = optimizer.SlotValues(index, slot);
  if (slot == "row_var" || slot == "col_var") {
    if (shape.size() < 2) return std::nullopt;
    if (slot == "row_var") {
      shape.back() = 1;
    } else {
      shape[shape.size() - 2] = 1;
    }
  } else if (slot == "variance" && shape.size() >= 2) {
    return std::nullopt;
  }
  return StateArray::Of(std::span<const float>(values), std::move(shape));
}

/// What PyTorch keeps for a tensor; a node without members for nothing.
StateTree TorchTensorState(const Optimizer& optimizer, size_t index, const StateTree& state,
                           const TorchTwin& twin, const StateTree& group) {
  const bool counts = std::ranges::find(TorchClasses(), twin.optimizer, &TorchClass::name)->counts;
  const int64_t updates = state.At("step").Int();
  StateTree node;
  if (updates == 0) {
    if (twin.rule != kAdagradRule) return node;
    // PyTorch makes this state at once.
    const Tensor& t = optimizer.tensors()[index];
    const auto size = static_cast<size_t>(t.Size());
    const double initial = group.At("initial_accumulator_value").Double();
    const std::vector<float> floats(size, static_cast<float>(initial));
    const std::vector<double> doubles(size, initial);
    node.Add("step", 0.0);
    node.Add("sum", t.dtype == DType::kFloat64
                        ? StateArray::Of(std::span<const double>(doubles), t.shape)
                        : StateArray::Of(std::span<const float>(floats), t.shape));
    return node;
  }
  if (counts) node.Add("step", static_cast<double>(updates));
  const StateTree* const momentum = group.Member("momentum");
  const bool buffered = momentum == nullptr || momentum->Double() != 0;
  for (const std::string& slot : Registry::Builtin().Find(twin.rule).slots) {
    if (slot == "momentum_buffer" && !buffered && twin.optimizer != "Muon") continue;
    if (auto buffer = TorchBuffer(optimizer, index, state, slot)) {
      node.Add(slot, *std::move(buffer));
    }
  }
  if (const StateTree* const memory = state.Member("memory")) {
    for (const auto& [key, value] : memory->members()) node.Add(key, value);
  }
  return node;
}

}  // namespace

StateTree StateToTorch(const Optimizer& optimizer) {
  if (optimizer.spec().decay == Decay::kIndependent) {
    throw Error(
        "decay = \"independent\": PyTorch's weight decay is multiplied by the learning rate");
  }
  const StateTree state = optimizer.State();
  const std::vector<TensorPlan> plans = optimizer.Plan();
  std::vector<StateTree> groups;
  std::vector<std::vector<std::string>> names;
  StateTree states;
  for (size_t i = 0; i < plans.size(); ++i) {
    const TorchTwin& twin = TorchTwinOf(plans[i]);
    const StateTree group = TorchGroupOf(twin, plans[i]);
    const auto at = static_cast<size_t>(std::ranges::find(groups, group) - groups.begin());
    if (at == groups.size()) {
      groups.push_back(group);
      names.emplace_back();
    }
    names[at].push_back(plans[i].name);
    StateTree node =
        TorchTensorState(optimizer, i, *state.At("tensors").Member(plans[i].name), twin, group);
    if (!node.members().empty()) states.Add(plans[i].name, std::move(node));
  }
  StateTree torch;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (size_t k = 0; k < names[i].size(); ++k) {
      groups[i].Set("params/" + std::to_string(k), names[i][k]);
    }
    torch.Set("param_groups/" + std::to_string(i), std::move(groups[i]));
  }
  torch.Add("state", std::move(states));
  torch.Add("step", optimizer.steps());
  return torch;
}

std::vector<std::string> NotInTorch(const Optimizer& optimizer) {
  const OptimizerSpec& spec = optimizer.spec();
  const StateTree state = optimizer.State();
  std::vector<std::string> lost;
  if (const StateTree* const averagers = state.Member("averagers")) {
    for (const auto& [name, node] : averagers->members()) {
      lost.emplace_back("the state of the averager " + name + " is left out");
    }
  }
  if (spec.source != "plain") lost.emplace_back("the source " + spec.source + " is left out");
  if (spec.accumulate > 1) lost.emplace_back("gradients are not accumulated");
  if (spec.clip_norm) lost.emplace_back("gradients are not clipped by clip_norm");
  if (spec.clip_value) lost.emplace_back("gradients are not clipped by clip_value");
  if (spec.agc) lost.emplace_back("gradients are not clipped by agc");
  if (spec.centralize) lost.emplace_back("gradients are not centralised");
  bool scheduled = false, frozen = false, master = false;
  bool penalised = spec.l1 || spec.l2;
  for (const Group& group : spec.groups) penalised = penalised || group.l1 || group.l2;
  for (size_t i = 0; const TensorPlan& plan : optimizer.Plan()) {
    for (const auto& [option, value] : plan.options) {
      scheduled = scheduled || !optimizer.ScheduleOf(i, option).IsConstant();
    }
    frozen = frozen || optimizer.Frozen(i);
    master = master || !optimizer.SlotValues(i, "master").empty();
    ++i;
  }
  if (penalised) lost.emplace_back("the penalties l1 and l2 are left out");
  if (scheduled)
    lost.emplace_back(
        "hyper-parameters have their values at the next step; schedules are left out");
  if (frozen) lost.emplace_back("frozen tensors are not frozen");
  if (master) lost.emplace_back("masters are left out; the weights are those that the model sees");
  return lost;
}

}  // namespace kudari
