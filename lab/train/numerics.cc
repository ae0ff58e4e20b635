#include "lab/train/numerics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "lab/console/progress.h"
#include "lab/logs/metrics.h"

namespace kudari::lab {
namespace {

// Shares that are worth a word of advice. Some of the smallest updates are always lost, which does
// no harm.
constexpr double kManyLost = 0.25, kManySaturated = 0.01;

// The share of the whole model and the tensors with the largest ones.
std::string WorstText(std::span<const Numerics> tensors, double (*share)(const Numerics&)) {
  constexpr size_t kShown = 3;
  const double whole = share(TotalOf(tensors));
  if (whole == 0) return "none";
  std::vector<Numerics> all(tensors.begin(), tensors.end());
  std::stable_sort(all.begin(), all.end(),
                   [share](const Numerics& a, const Numerics& b) { return share(a) > share(b); });
  std::vector<std::string> worst;
  for (const Numerics& n : all) {
    if (worst.size() == kShown || share(n) == 0) break;
    worst.push_back(fmt::format("{} {}", n.tensor, Percent(share(n))));
  }
  return fmt::format("{}; most in {}", Percent(whole), fmt::join(worst, ", "));
}

// What helps against lost updates.
std::string LostAdvice(const Precision& precision, const std::string& weights) {
  if (weights == "f32") return "the learning rate is too small even for float32 weights";
  if (precision.master == Master::kNone && precision.rounding == Rounding::kStochastic) {
    return "harmless: weights are rounded stochastically, so their mean moves as it should";
  }
  const std::string too_small = "the learning rate is too small for " + weights + " weights";
  if (precision.master == Master::kNone) {
    const char* const master = weights == "bf16" ? "split8" : "float32";
    return fmt::format(
        "{}: keep the digits they lack (optimizer.precision.master = \"{}\") or round "
        "stochastically (optimizer.precision.rounding = \"stochastic\")",
        too_small, master);
  }
  if (precision.master == Master::kFloat32) return too_small + " and their float32 master";
  return fmt::format(
      "{} and their {} master: keep more digits (optimizer.precision.master = \"float32\")",
      too_small, Name(precision.master));
}

constexpr std::string_view kSaturatedAdvice =
    "one element is so large that the others of its block of 256 are lost: keep the state of such "
    "tensors in more bits (optimizer.precision.slots, .exclude) or in codes with a wider range "
    "(optimizer.precision.state = \"dynamic8\")";

}  // namespace

void NumericsCount::OnStep(const StepEvent& event) {
  for (const Numerics& n : event.report.numerics) {
    auto at = tensors_.find(n.tensor);
    if (at == tensors_.end()) at = tensors_.try_emplace(std::string(n.tensor)).first;
    const std::array both = {at->second, n};
    at->second = TotalOf(both);
    at->second.tensor = at->first;
  }
}

void NumericsCount::Visit(StateVisitor& visitor) {
  const auto save = [&] {
    StateTree tensors;
    for (const auto& [name, n] : tensors_) {
      const std::array counts = {n.elements, n.lost, n.blocks, n.saturated};
      tensors.Add(name, StateArray::Of(std::span<const int64_t>(counts)));
    }
    return tensors;
  };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    std::map<std::string, Numerics, std::less<>> tensors;
    for (const auto& [name, counts] : found.members()) {
      const auto c = counts.Array().As<int64_t>();
      if (c.size() != 4) visitor.Fail("tensors", "must have four counts of " + name);
      const auto at = tensors.try_emplace(name).first;
      at->second = {
          .tensor = at->first, .elements = c[0], .lost = c[1], .blocks = c[2], .saturated = c[3]};
    }
    return [this, tensors = std::move(tensors)]() mutable { tensors_.swap(tensors); };
  };
  if (visitor.Optional("tensors", !tensors_.empty())) {
    visitor.Custom("tensors", save, load);
  } else {
    visitor.Then([this] { tensors_.clear(); });
  }
}

std::vector<std::vector<std::string>> NumericsCount::Rows(const Precision& precision,
                                                          const std::string& weights) const {
  if (tensors_.empty()) return {};
  std::vector<Numerics> all;
  for (const auto& item : tensors_) all.push_back(item.second);
  const auto exceed = [&all](double (*share)(const Numerics&), double limit) {
    return std::any_of(all.begin(), all.end(),
                       [&](const Numerics& n) { return share(n) >= limit; });
  };
  std::vector<std::vector<std::string>> rows = {{"lost updates", WorstText(all, LostShare)}};
  if (exceed(LostShare, kManyLost)) rows.push_back({"", LostAdvice(precision, weights)});
  rows.push_back({"saturated", WorstText(all, SaturatedShare)});
  if (exceed(SaturatedShare, kManySaturated)) rows.push_back({"", std::string(kSaturatedAdvice)});
  return rows;
}

}  // namespace kudari::lab
