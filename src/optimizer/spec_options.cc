#include "optimizer/spec_options.h"

#include <algorithm>
#include <cstdint>

#include "kudari/stages.h"

namespace kudari::internal {
namespace {

/// The penalties, of a spec and of a group.
template <class C>
OptionTable<C> Penalties() {
  const auto penalty = [](const char* name, std::optional<Schedule> C::*member) {
    return Option<C>{.name = name,
                     .member = member,
                     .low = 0,
                     .high = kInfinity,
                     .doc = "strength; a group may have its own"};
  };
  return {penalty("l1", &C::l1), penalty("l2", &C::l2)};
}

const Strings& StateFormats() {
  static const Strings names = {"float32", "bfloat16", "linear8", "softsign8", "dynamic8"};
  return names;
}

void ReadSlots(TableReader& reader, std::string_view key, Precision& precision) {
  auto slots = reader.Table(key);
  if (!slots) return;
  for (const std::string& slot : slots->Keys()) {
    const std::string format = *slots->Choice(slot, StateFormats());
    const auto at = std::find(StateFormats().begin(), StateFormats().end(), format);
    precision.slots.insert_or_assign(slot, static_cast<StateFormat>(at - StateFormats().begin()));
  }
}

std::optional<std::string> SlotsText(const Precision& precision) {
  std::string slots;
  for (const auto& [slot, format] : precision.slots) {
    slots += (slots.empty() ? "" : ", ") + TomlText(slot) + " = " +
             TomlText(StateFormats().at(static_cast<size_t>(format)));
  }
  return "{" + slots + "}";
}

/// The options of a group, described: what it matches, then what it says about those tensors.
std::vector<OptionDescription> DescribedGroup() {
  std::vector<OptionDescription> all = {
      {"group.match", "\"*\"", "a glob", "names of tensors; any alias of tied weights counts"},
      {"group.match_regex", "", "a regular expression",
       "what part of the name has to match as well; ^ and $ are its ends"},
      {"group.class", "", "classes", "classes of tensors; none: any"},
      {"group.modules", "", "globs", "types of modules that hold the tensor; none: any"},
      {"group.rule", "", "the name of a rule", "its rule; none: that of the recipe"}};
  for (OptionDescription& o : DescribeOptions("group.", GroupOptions(), Group())) {
    all.push_back(std::move(o));
  }
  return all;
}

/// The options of those names, described.
std::vector<OptionDescription> Described(const OptionTable<OptimizerSpec>& options,
                                         const Strings& names) {
  std::vector<OptionDescription> all;
  for (const std::string& name : names) {
    all.push_back(DescribeOption("", FindOption(options, name), OptimizerSpec()));
  }
  return all;
}

}  // namespace

const OptionTable<OptimizerSpec>& TreatmentOptions() {
  using S = OptimizerSpec;
  static const OptionTable<S> options = [] {
    OptionTable<S> all = Penalties<S>();
    all.push_back({.name = "decay",
                   .member = WordOf<&S::decay>(),
                   .choices = {"rule", "independent"},
                   .doc = "rule: as the rule defines it; independent: relative to the number in "
                          "front of lr, for rules with decoupled decay"});
    all.push_back(
        {.name = "no_decay", .member = &S::no_decay, .doc = "tensors without weight decay"});
    all.push_back({.name = "layer_decay",
                   .member = &S::layer_decay,
                   .low = 0,
                   .high = 1,
                   .doc = "factor on lr for each layer that a tensor is below the last; 1: none"});
    all.push_back({.name = "layer_decay_min_scale",
                   .member = &S::layer_decay_min_scale,
                   .low = 0,
                   .high = 1,
                   .doc = "least factor on lr that layer_decay gives"});
    all.push_back({.name = "layer_decay_no_opt_scale",
                   .member = &S::layer_decay_no_opt_scale,
                   .low = 0,
                   .high = 1,
                   .doc = "tensors with a factor below this are frozen"});
    all.push_back({.name = "layer_match",
                   .member = &S::layer_match,
                   .range = "globs with # for numbers",
                   .doc = "where names have the layer's number, as in h.#.*; empty: by rule"});
    all.push_back({.name = "strict",
                   .member = &S::strict,
                   .doc = "whether a tensor that no group matches is an error"});
    all.push_back({.name = "no_adapt",
                   .member = &S::no_adapt,
                   .doc = "tensors that rules with a trust ratio neither adapt nor decay"});
    return all;
  }();
  return options;
}

const OptionTable<Group>& GroupOptions() {
  using G = Group;
  static const OptionTable<G> options = [] {
    OptionTable<G> all = Penalties<G>();
    all.push_back({.name = "lr_scale",
                   .member = &G::lr_scale,
                   .low = 0,
                   .high = kInfinity,
                   .doc = "multiplies the learning rate, its schedule included"});
    all.push_back({.name = "frozen",
                   .member = &G::frozen,
                   .doc = "whether the tensors stay as they are, as if they had no gradient"});
    all.push_back({.name = "frozen_until",
                   .member = &G::frozen_until,
                   .doc = "the first step at which they are trained",
                   .role = Role::kSteps});
    all.push_back({.name = "frozen_from",
                   .member = &G::frozen_from,
                   .doc = "the first step at which they are not trained any more",
                   .role = Role::kSteps});
    return all;
  }();
  return options;
}

const OptionTable<AdaptiveClip>& AdaptiveClipOptions() {
  using A = AdaptiveClip;
  static const OptionTable<A> options = {
      {.name = "clip",
       .member = &A::clip,
       .low = 0,
       .high = kInfinity,
       .doc = "largest ratio of the gradient's norm to that of the weights"},
      {.name = "eps",
       .member = &A::eps,
       .low = 0,
       .high = kInfinity,
       .doc = "lower bound on the norm of the weights"},
      {.name = "exclude", .member = &A::exclude, .doc = "tensors that are not clipped"}};
  return options;
}

const OptionTable<Precision>& PrecisionOptions() {
  using P = Precision;
  static const OptionTable<P> options = {
      {.name = "master",
       .member = WordOf<&P::master>(),
       .choices = {"none", "float32", "split8", "split16", "kahan"},
       .doc = "what keeps the digits that 16-bit parameters lack"},
      {.name = "rounding",
       .member = WordOf<&P::rounding>(),
       .choices = {"nearest", "stochastic"},
       .doc = "rounding of 16-bit parameters without a master, and of bfloat16 state"},
      {.name = "seed",
       .member = &P::seed,
       .least = INT64_MIN,
       .most = INT64_MAX,
       .doc = "seed of stochastic rounding"},
      {.name = "state",
       .member = WordOf<&P::state>(),
       .choices = StateFormats(),
       .doc = "how state is stored; tensors of fewer than 4,096 elements never use 8 bits"},
      {.name = "slots",
       .member = Within<P>{&ReadSlots, &SlotsText},
       .range = "formats by name of the buffer",
       .doc = "formats of single state buffers"},
      {.name = "exclude", .member = &P::exclude, .doc = "tensors whose state stays float32"},
      {.name = "check",
       .member = &P::check,
       .doc = "whether to count updates that round to zero and blocks that one element "
              "saturates; slower"}};
  return options;
}

const OptionTable<OptimizerSpec>& StageOptions() {
  using S = OptimizerSpec;
  static const OptionTable<S> options = [] {
    OptionTable<S> all = {
        {.name = "clip_norm",
         .member = &S::clip_norm,
         .low = 0,
         .high = kInfinity,
         .doc = "largest norm of the gradient"},
        {.name = "clip_norm_eps",
         .member = &S::clip_norm_eps,
         .low = 0,
         .high = kInfinity,
         .doc = "added to the norm that clip_norm is divided by"},
        {.name = "agc",
         .member = TableOf<&S::agc, &AdaptiveClipOptions>(),
         .doc = "adaptive clipping; unset: none"},
        {.name = "centralize", .member = &S::centralize, .doc = "whether to centralise gradients"},
        {.name = "clip_value",
         .member = &S::clip_value,
         .low = 0,
         .high = kInfinity,
         .doc = "largest magnitude of a gradient element"},
        {.name = "nonfinite",
         .member = WordOf<&S::nonfinite>(),
         .choices = {"propagate", "skip", "error"},
         .doc = "what to do about infinities and NaNs in the gradient"},
        {.name = "measure_norm",
         .member = &S::measure_norm,
         .doc = "whether to report the gradient's norm even if nothing needs it"},
        {.name = "source",
         .member = &S::source,
         .choices = SourceNames(),
         .range = "the name of a source",
         .doc = "name of this source"},
        {.name = "sharpness",
         .member = TableOf<&S::sharpness, &SharpnessOptions>(),
         .doc = "options of a sharpness-aware source"},
        {.name = "accumulate",
         .member = &S::accumulate,
         .least = 1,
         .most = INT64_MAX,
         .doc = "number of forward and backward calls per step"},
        {.name = "precision",
         .member = TableOf<&S::precision, &PrecisionOptions>(),
         .doc = "storage of parameters and state"}};
    for (const AveragerEntry& averager : Averagers()) all.push_back(averager.table);
    return all;
  }();
  return options;
}

const std::vector<StageEntry>& Stages() {
  static const std::vector<StageEntry> entries = {
      {.text = {.kind = "scale",
                .name = "clip_norm",
                .summary = "Clipping by global norm",
                .formula = "g <- g min(1, clip_norm / (norm(g) + 1e-6))",
                .paper = "Pascanu, Mikolov & Bengio, On the difficulty of training recurrent "
                         "neural networks, arXiv:1211.5063",
                .options = Described(StageOptions(), {"clip_norm"})},
       .make = [](const OptimizerSpec& spec) -> std::unique_ptr<Scale> {
         if (!spec.clip_norm) return nullptr;
         return std::make_unique<ClipNorm>(*spec.clip_norm, spec.clip_norm_eps);
       }},
      {.text = {.kind = "scale",
                .name = "clip_value",
                .summary = "Clipping by value, after clipping by norm",
                .formula = "g <- max(-clip_value, min(clip_value, g)), element by element",
                .options = Described(StageOptions(), {"clip_value"})}},
      {.text = {.kind = "scale",
                .name = "agc",
                .summary = "Adaptive gradient clipping, unit by unit, after clipping by norm",
                .formula = "g_u <- g_u min(1, clip max(norm(p_u), eps) / norm(g_u)) for each row, "
                           "filter or vector u",
                .paper = "Brock et al., High-Performance Large-Scale Image Recognition Without "
                         "Normalization, arXiv:2102.06171",
                .options = DescribeOptions("agc.", AdaptiveClipOptions(), AdaptiveClip())}},
      {.text = {.kind = "scale",
                .name = "centralize",
                .summary = "Gradient centralisation, unit by unit, after clipping",
                .formula = "g_u <- g_u - mean(g_u) for each row or filter u; vectors stay",
                .paper = "Yong et al., Gradient Centralization, arXiv:2004.01461",
                .options = Described(StageOptions(), {"centralize"})}},
      {.text = {.kind = "regulariser",
                .name = "l1",
                .summary = "Pulls weights towards zero by a constant: many end near it",
                .formula = "g <- g + l1 sign(p), after clipping, for any rule; sign(0) = 0",
                .paper = "Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996",
                .use = "to make most weights negligible: the lower the last learning rates, the "
                       "nearer to zero they end",
                .options = Described(TreatmentOptions(), {"l1"})}},
      {.text = {.kind = "regulariser",
                .name = "l2",
                .summary =
                    "Pulls weights towards zero in proportion: a coupled weight decay for any rule",
                .formula = "g <- g + l2 p, after clipping",
                .paper =
                    "Loshchilov & Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101",
                .use = "rules that divide by the gradient's size, such as adam, divide this by it "
                       "as well: the larger a weight's gradients are, the less it decays; "
                       "docs/weight-decay.md",
                .torch =
                    "as weight_decay of torch's Adam, SGD and other rules that are not decoupled",
                .options = Described(TreatmentOptions(), {"l2"})}},
      {.text =
           {.kind = "regulariser",
            .name = "decay",
            .summary = "Decoupled weight decay that does not depend on the height of lr",
            .formula = "p <- p - lr(t) / base weight_decay p, base: the number in front of "
                       "lr's schedule",
            .paper = "Loshchilov & Hutter, Decoupled Weight Decay Regularization, "
                     "arXiv:1711.05101, Algorithm 2",
            .use =
                "weight_decay is then that of the rule times the number in front of lr: 1e-4 where "
                "adamw with lr 1e-3 has 0.1. docs/weight-decay.md shows what that means for tuning",
            .torch = "None; it is big_vision's form",
            .options = Described(TreatmentOptions(), {"decay"})}},
      {.text = {.kind = "treatment",
                .name = "group",
                .summary = "Tensors that are treated differently: [[optimizer.group]]",
                .formula = "the last group that matches a tensor applies, with all that it says\n"
                           "lr of the tensor: lr(t) lr_scale, whatever sets lr(t)\n"
                           "frozen: t < frozen_until or t >= frozen_from",
                .paper = "gradual unfreezing: Howard & Ruder, Universal Language Model Fine-tuning "
                         "for Text Classification, arXiv:1801.06146",
                .use = "options of the rule may be set as well. A frozen tensor costs nothing in a "
                       "step, and norms leave it out; its gradient is still computed unless the "
                       "program turns that off",
                .torch = "lr_scale is timm's; a frozen tensor is one whose gradient is None",
                .options = DescribedGroup()}},
      {.text = {.kind = "treatment",
                .name = "layer_decay",
                .summary = "Learning rates that decay from the last layer to the first",
                .formula = "lr of a tensor: lr(t) max(layer_decay_min_scale, layer_decay^(last - "
                           "layer)),\nlayers counted by the numbers in names: "
                           "embeddings and stem, the blocks, the head",
                .paper = "Bao et al., BEiT: BERT Pre-Training of Image Transformers, "
                         "arXiv:2106.08254; Clark et al., ELECTRA, arXiv:2003.10555",
                .use =
                    "to fine-tune a pretrained model: 0.65 to 0.9. `kudari train --explain` shows "
                    "each tensor's layer",
                .torch = "timm's param_groups_layer_decay",
                .options =
                    Described(TreatmentOptions(), {"layer_decay", "layer_decay_min_scale",
                                                   "layer_decay_no_opt_scale", "layer_match"})}},
      {.text = {.kind = "treatment",
                .name = "strict",
                .summary = "Each tensor must be in a group",
                .formula = "a tensor that has the recipe's own rule or its fallback is an error",
                .options = Described(TreatmentOptions(), {"strict"})}},
      {.text = {.kind = "format",
                .name = "precision",
                .summary = "Storage of 16-bit parameters and of state; rules compute in float32",
                .formula =
                    "split8: weight = bfloat16 + 8 bits; split16: bfloat16 + 16 bits, float32 "
                    "exactly\n"
                    "kahan: bfloat16 + bfloat16\n"
                    "linear8: m = code scale, v = (code scale)^2, scale = the largest of 256 / 127 "
                    "or 255\n"
                    "softsign8: m = scale code / (254 - |code|), v as linear8\n"
                    "dynamic8: map[code] scale, the maps of bitsandbytes",
                .paper = "Micikevicius et al., Mixed Precision Training, arXiv:1710.03740; "
                         "Dettmers et al., 8-bit Optimizers via Block-wise Quantization, "
                         "arXiv:2110.02861; FlashOptim, arXiv:2602.23349",
                .use = "bfloat16 parameters with master = \"split8\" and state = \"linear8\": "
                       "AdamW in 7 bytes per parameter, gradient included, where float32 takes 16.",
                .options = DescribeOptions("precision.", PrecisionOptions(), Precision())}}};
  return entries;
}

}  // namespace kudari::internal

namespace kudari {

std::string_view Name(Master master) {
  const auto& choices = internal::FindOption(internal::PrecisionOptions(), "master").choices;
  return choices.at(static_cast<size_t>(master));
}

}  // namespace kudari
