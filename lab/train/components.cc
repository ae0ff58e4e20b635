#include "lab/train/components.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lab/console/json_text.h"

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

void ComponentTracker::Plain(const std::vector<Tensor>& parameters, double loss_scale) {
  plain_ = Gradient(parameters, loss_scale);
  sharp_ = Tensor();
}

void ComponentTracker::Perturbed(const std::vector<Tensor>& parameters, double loss_scale) {
  sharp_ = Gradient(parameters, loss_scale);
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
