// Gradient release: a step tensor by tensor.
#include <algorithm>

#include "kernels/float_environment.h"
#include "kudari/error.h"
#include "kudari/error_kinds.h"
#include "optimizer/impl.h"

namespace kudari {

/// Throws Error if a step needs all gradients at once; `norm`: even if their norm is known.
void Optimizer::Impl::CheckStepTensor(bool norm) const {
  const std::string where = "StepTensor: ";
  if (spec.accumulate > 1 || spec.source != "plain") {
    throw Error(where +
                (spec.accumulate > 1 ? "accumulate = " + std::to_string(spec.accumulate)
                                     : "source = \"" + spec.source + "\"") +
                " needs every gradient until the step; use Step");
  }
  if (norm) return;
  const std::string needs =
      " needs the norm of all gradients before the first update; give it, from an earlier pass, or "
      "use Step";
  if (!scales.empty()) throw Error(where + "clipping by norm" + needs);
  if (spec.measure_norm) throw Error(where + "measure_norm" + needs);
  if (spec.nonfinite != NonFinite::kPropagate) {
    throw Error(where + "a nonfinite policy other than \"propagate\"" + needs);
  }
}

Report Optimizer::Impl::StepTensor(size_t index, std::optional<double> norm) {
  const internal::FloatEnvironment environment;
  CheckNotInside("StepTensor");
  CheckNoView("StepTensor");
  CheckIndex(index);
  CheckStepTensor(norm.has_value());
  const Tensor& tensor = tensor_list[index];
  if (!released.empty() && released[index] != 0) {
    throw Error("StepTensor: tensor \"" + tensor.name +
                "\" has already been stepped; call FinishStep after the last one");
  }
  const Inside step(*this);
  Report report;
  if (norm) {
    report.grad_norm = *norm;
    for (const auto& scale : scales)
      report.factor *= scale->Factor(*norm * report.factor, step_count);
  }
  SetValues(cohorts[records[index].cohort]);
  const Clips clips = ClipsNow();
  if (tensor.grad == nullptr || !records[index].owned) return report;
  if (Frozen(index, step_count)) {
    released.resize(tensor_list.size());
    released[index] = 1;
    return report;
  }
  if (records[index].param != tensor.param || tensor.backend != users_backend) BindParameters();
  released.reserve(tensor_list.size());

  divided = false;  // the next step binds all gradients
  BindGradient(index, tensor.grad, tensor.GradType(), tensor.grad_rows.has_value());
  active.assign(1, static_cast<uint32_t>(index));
  Divide();
  PrepareUpdate();
  released.resize(tensor_list.size());
  released[index] = 1;
  Update(report, clips);
  return report;
}

double Optimizer::Impl::GradientSquares(size_t index) const {
  const internal::FloatEnvironment environment;
  CheckIndex(index);
  const Tensor& tensor = tensor_list[index];
  if (tensor.grad == nullptr || Frozen(index, step_count)) return 0;
  const internal::Coded gradient = {.format = internal::FormatOf(tensor.GradType()),
                                    .data = const_cast<void*>(tensor.grad)};  // never written
  return backend_->SumSquares(gradient, internal::GradientSize(tensor));
}

void Optimizer::Impl::FinishStep() {
  CheckNotInside("FinishStep");
  if (released.empty()) throw WrongStateError("FinishStep: StepTensor has stepped no tensor");
  const Inside step(*this);
  released.clear();
  ++step_count;
  for (const Follower& f : averagers) f.averager->After(*this);
}

}  // namespace kudari
