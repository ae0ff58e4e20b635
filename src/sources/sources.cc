#include "sources/sources.h"

#include <algorithm>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/stages.h"
#include "sources/sharpness_methods.h"

namespace kudari::internal {
namespace {

constexpr std::string_view kSharpness = "sharpness.";
constexpr int64_t kFloat = sizeof(float);

int64_t NoBytes(const OptimizerSpec& /*spec*/, int64_t /*weights*/, int64_t /*elements*/) {
  return 0;
}

SourceEntry Plain() {
  return {.text = {.kind = "source",
                   .name = "plain",
                   .summary = "The gradient of one forward and backward pass, as it is"},
          .make = [](const OptimizerSpec& /*spec*/, std::unique_ptr<Source> inner,
                     const Engine& /*engine*/) { return inner; },
          .bytes = &NoBytes};
}

SourceEntry AccumulationEntry() {
  return {.text = {.kind = "source",
                   .name = "accumulate",
                   .summary =
                       "The gradient of a large batch from several small ones, weighted by samples",
                   .formula = "g <- sum(n_i g_i) / sum(n_i)"},
          .by_name = false,
          .make = [](const OptimizerSpec& spec, std::unique_ptr<Source> inner,
                     const Engine& /*engine*/) -> std::unique_ptr<Source> {
            if (spec.accumulate == 1) return inner;
            return std::make_unique<Accumulate>(spec.accumulate);
          },
          .bytes = [](const OptimizerSpec& spec, int64_t /*weights*/,
                      int64_t elements) { return spec.accumulate > 1 ? kFloat * elements : 0; }};
}

SourceEntry ShiftedPoint() {
  return {.text = {.kind = "source",
                   .name = "nesterov_lookahead",
                   .summary = "The gradient where the momentum is about to carry the weights",
                   .formula =
                       "g <- gradient at p - lr momentum b\n"
                       "then the rule momentum steps from p: b <- momentum b + g;  p <- p - lr b",
                   .paper =
                       "Sutskever et al., On the importance of initialization and momentum in deep "
                       "learning, 2013",
                   .use = "with the rule momentum only; the rule nesterov needs no shifted point",
                   .torch = "the rule nesterov is torch's form: with constant lr and momentum its "
                            "parameter is p - lr momentum b of this one"},
          .make = [](const OptimizerSpec& /*spec*/, std::unique_ptr<Source> inner,
                     const Engine& engine) -> std::unique_ptr<Source> {
            NesterovLookahead::Check(engine);
            return std::make_unique<NesterovLookahead>(std::move(inner));
          },
          .bytes = [](const OptimizerSpec& /*spec*/, int64_t weights,
                      int64_t /*elements*/) { return weights; }};
}

// Weights, and what is kept from one step to the next, in whose memory the gradient waits.
int64_t SharpnessBytes(const OptimizerSpec& spec, int64_t weights, int64_t elements) {
  const SharpnessMethod& method = FindSharpnessMethod(spec.source);
  if (method.gap) return weights + kFloat * elements;
  if (!method.reuses) return weights;
  const bool half = spec.sharpness->direction == StateFormat::kBFloat16;
  return (kFloat + (half ? 2 : kFloat)) * elements;
}

SourceEntry Entry(const SharpnessMethod& method) {
  SourceEntry entry = {.text = {.kind = "source",
                                .name = method.name,
                                .summary = method.summary,
                                .formula = method.formula,
                                .paper = method.paper,
                                .use = method.use},
                       .sharpness = true,
                       .make = [](const OptimizerSpec& spec, std::unique_ptr<Source> inner,
                                  const Engine& /*engine*/) -> std::unique_ptr<Source> {
                         return std::make_unique<Sharpness>(spec.source, *spec.sharpness,
                                                            std::move(inner));
                       },
                       .bytes = &SharpnessBytes};
  const SharpnessSpec defaults = Sharpness::Complete(method.name, {});
  for (const std::string& name : method.options) {
    OptionDescription option =
        DescribeOption(std::string(kSharpness), FindOption(SharpnessOptions(), name), defaults);
    if (name == "alpha" && !method.alpha_doc.empty()) option.doc = method.alpha_doc;
    entry.text.options.push_back(std::move(option));
  }
  return entry;
}

void ReadGroups(TableReader& reader, std::string_view key, SharpnessSpec& spec) {
  for (TableReader& item : reader.Tables(key)) {
    SharpnessSpec::Radius group;
    ReadOptions(item, RadiusOptions(), group);
    if (!item.Has("rho")) item.Fail("rho", "is missing");
    item.Finish();
    spec.groups.push_back(std::move(group));
  }
}

std::optional<std::string> GroupsText(const SharpnessSpec& spec) {
  std::string groups;
  for (const SharpnessSpec::Radius& group : spec.groups) {
    OptionTable<SharpnessSpec::Radius> options = RadiusOptions();
    if (group.classes.empty())
      std::erase_if(options, [](const auto& o) { return o.name == "class"; });
    groups += (groups.empty() ? "" : ", ") + InlineTable(options, group);
  }
  return "[" + groups + "]";
}

}  // namespace

bool SourceEntry::UsesSharpness(std::string_view name) const {
  return std::any_of(text.options.begin(), text.options.end(), [name](const OptionDescription& o) {
    return o.name == std::string(kSharpness).append(name);
  });
}

const std::vector<SourceEntry>& Sources() {
  static const std::vector<SourceEntry> entries = [] {
    std::vector<SourceEntry> all = {Plain(), Accumulation(), ShiftedPoint()};
    for (const SharpnessMethod& m : SharpnessMethods()) all.push_back(Entry(m));
    return all;
  }();
  return entries;
}

const SourceEntry& Accumulation() {
  static const SourceEntry entry = AccumulationEntry();
  return entry;
}

const std::vector<std::string>& SourceNames() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const SourceEntry& s : Sources()) {
      if (s.by_name) all.push_back(s.text.name);
    }
    return all;
  }();
  return names;
}

const SourceEntry& FindSource(std::string_view name) {
  for (const SourceEntry& s : Sources()) {
    if (s.by_name && s.text.name == name) return s;
  }
  throw Error("source: unknown name \"" + std::string(name) + "\"" + Suggest(name, SourceNames()));
}

const OptionTable<SharpnessSpec::Radius>& RadiusOptions() {
  using R = SharpnessSpec::Radius;
  static const OptionTable<R> options = {
      {.name = "match", .member = &R::match, .doc = "glob on tensor names"},
      {.name = "class", .member = &R::classes, .doc = "classes of the tensors; []: any"},
      {.name = "rho",
       .member = &R::rho,
       .low = 0,
       .high = kInfinity,
       .doc = "radius of the perturbation"}};
  return options;
}

const OptionTable<SharpnessSpec>& SharpnessOptions() {
  using S = SharpnessSpec;
  static const OptionTable<S> options = {
      {.name = "rho",
       .member = &S::rho,
       .low = 0,
       .high = kInfinity,
       .doc = "radius of the perturbation"},
      {.name = "k",
       .member = &S::k,
       .least = 1,
       .most = INT64_MAX,
       .doc = "number of steps from one perturbed gradient to the next",
       .role = Role::kCounts},
      {.name = "alpha",
       .member = &S::alpha,
       .low = 0,
       .high = kInfinity,
       .doc = "length of the reused direction, relative to the gradient"},
      {.name = "layer_scale",
       .member = WordOf<&S::layer_scale>(),
       .choices = {"weight_ratio", "ratio_global", "unit_layer", "double"},
       .doc = "scale of a layer: norm(w_l) / norm(g_l); that over norm(g); 1 / norm(g_l); or "
              "norm(w_l) / norm(g_l)^2"},
      {.name = "layer",
       .member = WordOf<&S::layer>(),
       .choices = {"tensor", "module"},
       .doc = "what a layer is: one tensor, or those of a module together"},
      {.name = "decompose",
       .member = WordOf<&S::decompose_layers>(),
       .choices = {"global", "layer"},
       .doc = "whether the gradient is split as one vector or layer by layer"},
      {.name = "reuse",
       .member = WordOf<&S::random_direction>(),
       .choices = {"direction", "random"},
       .doc = "direction to reuse: g_v or, for experiments, a random one orthogonal to g"},
      {.name = "eta",
       .member = &S::eta,
       .low = 0,
       .high = kInfinity,
       .doc = "added to the magnitudes of weights"},
      {.name = "adapt",
       .member = WordOf<&S::adapt_biases>(),
       .choices = {"weights", "all"},
       .doc = "whether T is 1 for biases, or |p| + eta for all"},
      {.name = "exclude", .member = &S::exclude, .doc = "tensors that are not perturbed"},
      {.name = "direction",
       .member = WordOf<&S::direction>(),
       .choices = {"float32", "bfloat16"},
       .doc = "how the reused direction is stored"},
      {.name = "group",
       .member = Within<S>{&ReadGroups, &GroupsText},
       .range = "tables of match, class and rho",
       .doc = "tensors with a rho of their own"}};
  return options;
}

}  // namespace kudari::internal
