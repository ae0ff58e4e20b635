// L-BFGS over tensors: its vectors are arrays of the tensors' backend.
#include "kudari/lbfgs.h"

#include <string>
#include <utility>

#include "backend/backend.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/range.h"
#include "kudari/rule.h"
#include "optimizer/lbfgs_moves.h"
#include "optimizer/lbfgs_vectors.h"
#include "optimizer/tensor_checks.h"
#include "state/shape_text.h"

namespace kudari {
namespace {

void CheckAtLeast1(const std::string& name, int64_t value) {
  if (value >= 1) return;
  throw Error("Lbfgs: " + name + " = " + std::to_string(value) + " is outside [1, ...]");
}

void CheckLength(double lr) {
  if (lr > 0 && lr < kInfinity) return;
  throw Error("Lbfgs: lr = " + NumberText(lr) + " is outside (0, inf)");
}

LbfgsOptions CheckedOptions(const LbfgsOptions& o) {
  CheckLength(o.lr);
  CheckAtLeast1("max_iter", o.max_iter);
  if (o.max_eval) CheckAtLeast1("max_eval", *o.max_eval);
  CheckRange("Lbfgs: tolerance_grad", o.tolerance_grad, 0, kInfinity);
  CheckRange("Lbfgs: tolerance_change", o.tolerance_change, 0, kInfinity);
  CheckAtLeast1("history_size", o.history_size);
  return o;
}

std::vector<Tensor> CheckedTensors(std::vector<Tensor> tensors) {
  internal::CheckTensors(tensors);
  for (const Tensor& t : tensors) {
    if (t.dtype == DType::kFloat32) continue;
    throw Error("Lbfgs: tensor \"" + t.name + "\" is " + std::string(Name(t.dtype)) +
                ", but must be float32");
  }
  return tensors;
}

}  // namespace

std::string_view Name(LbfgsStop stop) {
  switch (stop) {
    case LbfgsStop::kGradient:
      return "gradient";
    case LbfgsStop::kIterations:
      return "iterations";
    case LbfgsStop::kEvaluations:
      return "evaluations";
    case LbfgsStop::kChange:
      return "change";
    case LbfgsStop::kNonFinite:
      return "nonfinite";
  }
  return "";
}

class Lbfgs::Impl {
 public:
  Impl(std::vector<Tensor> the_tensors, const LbfgsOptions& the_options)
      : tensors(CheckedTensors(std::move(the_tensors))),
        options(CheckedOptions(the_options)),
        users_backend_(internal::UsersBackend(tensors)),
        backend_(internal::BackendFor(users_backend_)),
        vectors(tensors, *backend_) {
    internal::CheckMemory(tensors, users_backend_);
    for (const Tensor& t : tensors) shapes_.push_back(t.shape);
  }

  LbfgsReport Step(const std::function<double()>& closure) {
    CheckBetweenSteps("Step");
    CheckSame();
    const During during(*this);
    const std::function<double()> checked = [&] {
      const double loss = closure();
      for (const Tensor& t : tensors) {
        if (t.grad == nullptr || !t.grad_rows) continue;
        throw Error("Lbfgs: tensor \"" + t.name +
                    "\" has a gradient of some rows; the moves need whole gradients");
      }
      return loss;
    };
    return internal::MoveByLbfgs(checked, options, vectors, past);
  }

  void CheckBetweenSteps(const std::string& call) const {
    if (stepping_) throw Error("Lbfgs: " + call + " was called from within a step");
  }

  void Forget() {
    past.iterations = 0;
    past.pairs.clear();
    past.ro.clear();
    past.spare = 0;
    past.t = 0;
    past.scale = 1;
  }

  void Visit(StateVisitor& visitor);

  std::vector<Tensor> tensors;
  LbfgsOptions options;

 private:
  Backend* users_backend_;
  std::shared_ptr<Backend> backend_;

 public:
  internal::TensorVectors vectors;
  internal::LbfgsPast past;

 private:
  /// The time of a step, in which there is room for the weights that it may go back to.
  class During {
   public:
    explicit During(Impl& impl) : impl_(impl) {
      impl.vectors.MakeRoom();
      impl.stepping_ = true;
    }
    ~During() {
      impl_.vectors.FreeRoom();
      impl_.stepping_ = false;
    }
    During(const During&) = delete;
    During& operator=(const During&) = delete;

   private:
    Impl& impl_;
  };

  void CheckSame() const {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].dtype == DType::kFloat32 && tensors[i].shape == shapes_[i]) continue;
      throw Error("Lbfgs: tensor \"" + tensors[i].name +
                  "\" has another type or shape than when the optimiser was made");
    }
    internal::CheckMemory(tensors, users_backend_);
  }
  void VisitVectors(StateVisitor& visitor, size_t tensor, size_t rows);
  void VisitRows(StateVisitor& visitor, std::string_view name, size_t tensor,
                 const std::vector<size_t>& rows, bool is_list);

  std::vector<std::vector<int64_t>> shapes_;
  bool stepping_ = false;
};

/// One vector's part of a tensor or, for a list, several in an array with one more dimension.
void Lbfgs::Impl::VisitRows(StateVisitor& visitor, std::string_view name, size_t tensor,
                            const std::vector<size_t>& rows, bool is_list) {
  std::vector<int64_t> shape = shapes_[tensor];
  const auto bytes = static_cast<size_t>(tensors[tensor].Size()) * sizeof(float);
  if (is_list) shape.insert(shape.begin(), static_cast<int64_t>(rows.size()));
  const std::string kind = "F32 " + internal::ShapeText<int64_t>(shape);
  visitor.Custom(
      name,
      [&] {
        StateArray array{ElementType::kFloat32, shape, StateBytes(rows.size() * bytes)};
        for (size_t k = 0; k < rows.size(); ++k) {
          backend_->Read(vectors.Part(rows[k], tensor).data,
                         std::span(array.bytes).subspan(k * bytes, bytes), vectors.parallel());
        }
        return StateTree(std::move(array));
      },
      [&](const StateTree& found) -> std::function<void()> {
        const auto* const array = std::get_if<StateArray>(&found.value());
        if (array == nullptr || array->type != ElementType::kFloat32 || array->shape != shape) {
          visitor.Misfit(name, "is " + found.Kind() + ", but must be " + kind);
        }
        return [this, array, rows, tensor, bytes] {
          for (size_t k = 0; k < rows.size(); ++k) {
            backend_->Write(std::span(array->bytes).subspan(k * bytes, bytes),
                            vectors.Part(rows[k], tensor).data);
          }
        };
      },
      kind);
}

/// Pairs that are loaded get the first numbers.
void Lbfgs::Impl::VisitVectors(StateVisitor& visitor, size_t tensor, size_t rows) {
  std::vector<size_t> changes, moves;
  for (size_t k = 0; k < rows; ++k) {
    const size_t pair = visitor.loading() ? k : past.pairs[k];
    changes.push_back(internal::GradientChange(pair));
    moves.push_back(internal::WeightChange(pair));
  }
  VisitRows(visitor, "d", tensor, {internal::kDirection}, false);
  VisitRows(visitor, "prev_flat_grad", tensor, {internal::kFormerGradient}, false);
  VisitRows(visitor, "old_dirs", tensor, changes, true);
  VisitRows(visitor, "old_stps", tensor, moves, true);
}

void Lbfgs::Impl::Visit(StateVisitor& visitor) {
  CheckBetweenSteps(visitor.loading() ? "LoadState" : "State");
  const int64_t iterations = visitor.Value("n_iter", past.iterations, 0);
  visitor.Value("func_evals", past.evaluations, 0);
  if (iterations == 0) return visitor.Then([this] { Forget(); });
  visitor.Value("t", past.t);
  visitor.Value("H_diag", past.scale);
  visitor.Value("prev_loss", past.loss);
  size_t rows = past.pairs.size();
  if (const StateTree* const found = visitor.Found("ro")) {
    const auto* const array = std::get_if<StateArray>(&found->value());
    rows = array == nullptr ? 0 : array->bytes.size() / sizeof(double);
    if (static_cast<int64_t>(rows) > options.history_size) {
      visitor.Fail("ro", "has " + std::to_string(rows) + " moves, more than history_size = " +
                             std::to_string(options.history_size));
    }
  }
  visitor.Array("ro", past.ro);
  if (visitor.loading()) vectors.Reserve(internal::VectorsFor(rows));
  visitor.Tensors(tensors, [&](size_t i) { VisitVectors(visitor, i, rows); });
  visitor.Then([this, pairs = std::vector<size_t>(rows)]() mutable {
    for (size_t k = 0; k < pairs.size(); ++k) pairs[k] = k;
    past.spare = pairs.size();
    past.pairs.swap(pairs);
  });
}

Lbfgs::Lbfgs(std::vector<Tensor> tensors, const LbfgsOptions& options)
    : impl_(std::make_unique<Impl>(std::move(tensors), options)) {}
Lbfgs::Lbfgs(Lbfgs&&) noexcept = default;
Lbfgs& Lbfgs::operator=(Lbfgs&&) noexcept = default;
Lbfgs::~Lbfgs() = default;

LbfgsReport Lbfgs::Step(const std::function<double()>& closure) { return impl_->Step(closure); }

std::span<Tensor> Lbfgs::tensors() { return impl_->tensors; }
std::span<const Tensor> Lbfgs::tensors() const { return impl_->tensors; }
const LbfgsOptions& Lbfgs::options() const { return impl_->options; }

void Lbfgs::SetLr(double lr) {
  impl_->CheckBetweenSteps("SetLr");
  CheckLength(lr);
  impl_->options.lr = lr;
}

void Lbfgs::SetParallel(const Parallel& parallel) {
  impl_->CheckBetweenSteps("SetParallel");
  impl_->vectors.SetParallel(parallel);
}

int64_t Lbfgs::iterations() const { return impl_->past.iterations; }
int64_t Lbfgs::evaluations() const { return impl_->past.evaluations; }

void Lbfgs::Refresh() {
  impl_->CheckBetweenSteps("Refresh");
  impl_->Forget();
}

StateTree Lbfgs::State() const { return StateOf(*this); }

LoadReport Lbfgs::LoadState(const StateTree& state, LoadMode mode) {
  return LoadInto(*this, state, mode);
}

void Lbfgs::Visit(StateVisitor& visitor) { impl_->Visit(visitor); }

}  // namespace kudari
