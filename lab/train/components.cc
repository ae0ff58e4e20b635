#include "lab/train/components.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "lab/console/json_text.h"
#include "lab/console/usage_error.h"
#include "lab/train/session.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

Tensor Gradient(const std::vector<Tensor>& parameters, double loss_scale) {
  std::vector<Tensor> parts;
  for (const Tensor& p : parameters) {
    const Tensor& g = p.grad();
    parts.push_back(g.defined() ? g.detach().to(at::kDouble).flatten()
                                : ::torch::zeros({p.numel()}, at::kDouble));
  }
  return ::torch::cat(parts).div_(loss_scale);
}

double Dot(const Tensor& a, const Tensor& b) { return a.dot(b).item<double>(); }
double Norm(const Tensor& x) { return std::sqrt(Dot(x, x)); }
double Ratio(double a, double b) { return b == 0 ? 0 : a / b; }

// What is not finite becomes null.
nlohmann::ordered_json Number(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json();
}

}  // namespace

ComponentTracker::ComponentTracker(const Session& session) {
  const OptimizerSpec& spec = session.recipe().optimizer;
  if (!session.optimizer().core().spec().sharpness) {
    throw UsageError(fmt::format(
        "--track components needs a sharpness-aware source, such as sam; optimizer.source = \"{}\"",
        spec.source));
  }
  if (spec.accumulate > 1) {
    throw UsageError(
        fmt::format("--track components needs optimizer.accumulate = 1, not {}", spec.accumulate));
  }
  for (const Tensor& p : session.optimizer().Parameters()) size_ += p.numel();
}

void ComponentTracker::OnGradient(const GradientEvent& event) {
  Session& session = event.session;
  const kudari::Optimizer& core = session.optimizer().core();
  if (core.steps() % core.spec().sharpness->k != 0) return;
  const double scale = session.scaler() != nullptr ? session.scaler()->scale() : 1;
  const Tensor gradient = Gradient(session.optimizer().Parameters(), scale);
  if (event.pass == Pass::kPlain) {
    plain_ = gradient;
    sharp_ = Tensor();
  } else {
    sharp_ = gradient;
  }
}

void ComponentTracker::Visit(StateVisitor& visitor) {
  const auto save = [&] {
    StateTree former;
    for (const Component& c : components_) {
      if (!c.former.defined()) continue;
      former.Add(c.name, StateArray::Of(std::span<const double>(c.former.data_ptr<double>(),
                                                                static_cast<size_t>(size_))));
    }
    return former;
  };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    std::vector<Tensor> former(components_.size());
    for (size_t i = 0; i < former.size() && !found.members().empty(); ++i) {
      const auto values = found.At(components_[i].name).Array().As<double>();
      if (std::ssize(values) != size_) {
        visitor.Fail("former",
                     fmt::format("has {} elements, but must have {}", values.size(), size_));
      }
      former[i] = ::torch::empty({size_}, at::kDouble);
      std::ranges::copy(values, former[i].data_ptr<double>());
    }
    return [this, former = std::move(former)] {
      for (size_t i = 0; i < former.size(); ++i) components_[i].former = former[i];
      plain_ = sharp_ = Tensor();
    };
  };
  visitor.Custom("former", save, load);
}

void ComponentTracker::OnStep(const StepEvent& event) {
  if (plain_.defined() && sharp_.defined()) event.record.components = Json();
}

std::string ComponentTracker::Json() {
  components_[0].now = sharp_;
  components_[1].now = plain_ * Ratio(Dot(sharp_, plain_), Dot(plain_, plain_));
  components_[2].now = sharp_ - components_[1].now;
  nlohmann::ordered_json json;
  json["norm"]["g"] = Number(Norm(plain_));
  for (const Component& c : components_) json["norm"][c.name] = Number(Norm(c.now));
  for (Component& c : components_) {
    if (c.former.defined()) {
      const double change = Norm(c.now - c.former), former = Norm(c.former);
      json["change"][c.name] = Number(change);
      json["relative"][c.name] = Number(Ratio(change, former));
      json["cosine"][c.name] = Number(Ratio(Dot(c.now, c.former), Norm(c.now) * former));
    }
    c.former = c.now;
  }
  plain_ = sharp_ = Tensor();
  return JsonText(json);
}

}  // namespace kudari::lab
