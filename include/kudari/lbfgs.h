#ifndef KUDARI_LBFGS_H_
#define KUDARI_LBFGS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kudari/state.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari {

/// How Lbfgs chooses the length of a move.
enum class LineSearch {
  kNone,        ///< always lr
  kStrongWolfe  ///< by a search, from lr on, for a point that satisfies the strong Wolfe conditions
};

/// Options of Lbfgs; names and defaults are torch's.
struct LbfgsOptions {
  double lr = 1;          ///< the length of a move, or the first that is tried; in (0, inf)
  int64_t max_iter = 20;  ///< moves of a step; at least 1
  /// Evaluations of a step, after which no further move begins; at least 1. Unset: max_iter 5 / 4.
  std::optional<int64_t> max_eval = std::nullopt;
  double tolerance_grad = 1e-7;  ///< a step ends if no gradient is larger; in [0, inf)
  /// A step ends if a move changed no weight, or not the loss, by more; in [0, inf).
  double tolerance_change = 1e-9;
  int64_t history_size = 100;  ///< moves that the curvature is estimated from; at least 1
  LineSearch line_search_fn = LineSearch::kNone;
};

/// Why a step of Lbfgs ended.
enum class LbfgsStop {
  kGradient,     ///< no gradient is larger than tolerance_grad
  kIterations,   ///< max_iter moves were made
  kEvaluations,  ///< max_eval evaluations were made
  kChange,       ///< the last move changed no weight, or not the loss, by more than
                 ///< tolerance_change, or the loss does not fall in the direction of the next
  kNonFinite     ///< a loss or a gradient was not finite where the step began or, without a line
                 ///< search, after the last move, which was undone
};

/// The name of a reason: "gradient", "iterations", "evaluations", "change" or "nonfinite".
std::string_view Name(LbfgsStop stop);

/// The outcome of a step of Lbfgs.
struct LbfgsReport {
  double loss = kNotMeasured;        ///< where the step began
  double final_loss = kNotMeasured;  ///< of the last evaluation at weights that were kept
  int64_t iterations = 0;            ///< moves, including one that was undone
  int64_t evaluations = 0;           ///< calls of the closure
  LbfgsStop stop = LbfgsStop::kIterations;
};

/// L-BFGS (Liu & Nocedal, 1989), as torch's LBFGS: a quasi-Newton method for losses without noise,
/// of all samples or of a physical model. A step makes several moves and evaluates the loss in
/// between, so it is not a rule of Optimizer. It keeps 2 (history_size + 1) + 5 vectors as long as
/// all weights together, fewer in the first moves, and one more during a step.
///
///     kudari::Lbfgs lbfgs(tensors, {.line_search_fn = kudari::LineSearch::kStrongWolfe});
///     const kudari::LbfgsReport report = lbfgs.Step([&] {
///       return LossAndGradients();  // writes the gradients of all tensors
///     });
///
/// Sums are made in double, block by block, so that the bits are the same for any number of
/// threads. A loss or a gradient that is not finite is data: the line search takes a shorter step.
class Lbfgs {
 public:
  /// For float32 parameters. Gradients may have any type, and one that is null counts as zeros.
  /// Throws Error naming the tensor or the option that is not valid.
  explicit Lbfgs(std::vector<Tensor> tensors, const LbfgsOptions& options = {});
  Lbfgs(Lbfgs&&) noexcept;
  Lbfgs& operator=(Lbfgs&&) noexcept;
  ~Lbfgs();

  /// Makes up to max_iter moves. `closure` writes the gradients at the weights as they are and
  /// returns the loss; it must not change weights. If it throws, the weights are those after the
  /// last completed move, and Step may be called again.
  LbfgsReport Step(const std::function<double()>& closure);

  /// The tensors, whose gradients may be pointed elsewhere, also by the closure.
  std::span<Tensor> tensors();
  std::span<const Tensor> tensors() const;
  const LbfgsOptions& options() const;
  /// Changes lr; throws Error unless it is in (0, inf).
  void SetLr(double lr);
  /// How work is distributed over threads.
  void SetParallel(const Parallel& parallel);

  /// The moves and the evaluations of all steps.
  int64_t iterations() const;
  int64_t evaluations() const;

  /// Tells that the parameters were given other values: moves made so far are forgotten.
  void Refresh();

  /// The state, with torch's names: n_iter, func_evals, t, H_diag, prev_loss and ro, and for each
  /// tensor d, prev_flat_grad, old_dirs and old_stps, the latter two with a row for each move.
  StateTree State() const;
  /// Replaces the state. Throws Error, with nothing changed, if it does not fit the tensors or has
  /// more moves than history_size.
  LoadReport LoadState(const StateTree& state, LoadMode mode = LoadMode::kStrict);
  /// Visits the state, for objects that contain an Lbfgs.
  void Visit(StateVisitor& visitor);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kudari

#endif  // KUDARI_LBFGS_H_
