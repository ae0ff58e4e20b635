// The moves of L-BFGS, in the order of torch's LBFGS.
#include "optimizer/lbfgs_moves.h"

#include <algorithm>
#include <cmath>

#include "kudari/rule.h"

namespace kudari::internal {
namespace {

/// A pair is not used unless y s, which a convex loss makes positive, is above this.
constexpr double kLeastProduct = 1e-10;

class Mover {
 public:
  Mover(const std::function<double()>& closure, const LbfgsOptions& options, LbfgsVectors& vectors,
        LbfgsPast& past)
      : closure_(closure),
        options_(options),
        most_evaluations_(options.max_eval.value_or(options.max_iter * 5 / 4)),
        vectors_(vectors),
        past_(past) {}

  LbfgsReport Run() {
    vectors_.Reserve(VectorsFor(past_.pairs.size()));
    report_.loss = report_.final_loss = Evaluate(0);
    measured_ = vectors_.Measure(kLineGradients);
    report_.stop = MakeMoves();
    return report_;
  }

 private:
  LbfgsStop MakeMoves() {
    if (!std::isfinite(report_.loss) || !std::isfinite(measured_.sum)) return LbfgsStop::kNonFinite;
    if (measured_.largest <= options_.tolerance_grad) return LbfgsStop::kGradient;
    for (;;) {
      Prepare();
      const double slope = vectors_.Dot(kLineGradients + place_, kDirection);
      if (!(slope <= -options_.tolerance_change)) {
        past_.t = 0;
        return LbfgsStop::kChange;
      }
      if (!MoveOn(slope)) return LbfgsStop::kNonFinite;
      if (report_.iterations == options_.max_iter) return LbfgsStop::kIterations;
      if (report_.evaluations >= most_evaluations_) return LbfgsStop::kEvaluations;
      if (measured_.largest <= options_.tolerance_grad) return LbfgsStop::kGradient;
      const double moved = past_.t * vectors_.Measure(kDirection).largest;
      if (moved <= options_.tolerance_change ||
          std::abs(report_.final_loss - past_.loss) < options_.tolerance_change) {
        return LbfgsStop::kChange;
      }
    }
  }

  /// The loss, with the gradient in a place of the line.
  double Evaluate(size_t place) {
    ++report_.evaluations;
    ++past_.evaluations;
    const double loss = closure_();
    vectors_.TakeGradient(kLineGradients + place);
    return loss;
  }

  /// Makes the direction of the next move, and notes where it begins.
  void Prepare() {
    const auto history = static_cast<size_t>(options_.history_size);
    vectors_.Reserve(VectorsFor(past_.pairs.size()));
    past_.pairs.reserve(history);
    past_.ro.reserve(history);
    alpha_.reserve(history);
    ++report_.iterations;
    ++past_.iterations;
    const size_t gradient = kLineGradients + place_;
    if (past_.iterations > 1) Learn(gradient);
    FindDirection(gradient);
    vectors_.Scale(kFormerGradient, 1, gradient);
    past_.loss = report_.final_loss;
  }

  /// Takes the last move into the estimate of the curvature.
  void Learn(size_t gradient) {
    const size_t y = GradientChange(past_.spare), s = WeightChange(past_.spare);
    vectors_.Combine(y, 1, gradient, -1, kFormerGradient);
    vectors_.Scale(s, past_.t, kDirection);
    const double product = vectors_.Dot(y, s);
    if (!(product > kLeastProduct)) return;
    past_.scale = product / vectors_.Dot(y, y);
    const size_t taken = past_.spare;
    if (past_.pairs.size() == static_cast<size_t>(options_.history_size)) {
      past_.spare = past_.pairs.front();
      past_.pairs.erase(past_.pairs.begin());
      past_.ro.erase(past_.ro.begin());
    } else {
      past_.spare = past_.pairs.size() + 1;
    }
    past_.pairs.push_back(taken);
    past_.ro.push_back(1 / product);
  }

  /// The direction: minus the gradient times the estimate of the inverse Hessian, by the two-loop
  /// recursion (Nocedal & Wright, Algorithm 7.4).
  void FindDirection(size_t gradient) {
    const size_t count = past_.pairs.size();
    alpha_.resize(count);
    vectors_.Scale(kDirection, -1, gradient);
    for (size_t i = count; i-- > 0;) {
      alpha_[i] = vectors_.Dot(WeightChange(past_.pairs[i]), kDirection) * past_.ro[i];
      vectors_.Combine(kDirection, 1, kDirection, -alpha_[i], GradientChange(past_.pairs[i]));
    }
    vectors_.Scale(kDirection, past_.scale, kDirection);
    for (size_t i = 0; i < count; ++i) {
      const double beta = vectors_.Dot(GradientChange(past_.pairs[i]), kDirection) * past_.ro[i];
      vectors_.Combine(kDirection, 1, kDirection, alpha_[i] - beta, WeightChange(past_.pairs[i]));
    }
  }

  /// Makes a move; false if it was undone because what was found is not finite.
  bool MoveOn(double slope) {
    const double first =
        past_.iterations == 1 ? std::min(1.0, 1 / measured_.sum) * options_.lr : options_.lr;
    vectors_.BeginLine();
    try {
      return options_.line_search_fn == LineSearch::kNone ? MoveBy(first)
                                                          : SearchFrom(first, slope);
    } catch (...) {
      Undo();
      throw;
    }
  }

  /// Without a move the past is that of the one before, whose direction is gone: t = 0.
  void Undo() {
    vectors_.MoveBack();
    past_.t = 0;
    --past_.iterations;
  }

  bool MoveBy(double t) {
    vectors_.Move(t, kDirection);
    past_.t = t;
    if (report_.iterations == options_.max_iter) return true;
    const size_t place = (place_ + 1) % kLinePlaces;
    const double loss = Evaluate(place);
    const Magnitudes measured = vectors_.Measure(kLineGradients + place);
    if (!std::isfinite(loss) || !std::isfinite(measured.sum)) {
      Undo();
      return false;
    }
    report_.final_loss = loss;
    measured_ = measured;
    place_ = place;
    return true;
  }

  bool SearchFrom(double first, double slope) {
    const LineFunction at = [this](double t, size_t place) -> LinePoint {
      vectors_.Move(t, kDirection);
      const double loss = Evaluate(place);
      const double slope = vectors_.Dot(kLineGradients + place, kDirection);
      if (std::isfinite(loss) && std::isfinite(slope)) return {t, loss, slope, place};
      return {t, kInfinity, 0, place};
    };
    const LineResult found = StrongWolfe(at, {.start = {0, report_.final_loss, slope, place_},
                                              .first = first,
                                              .largest = vectors_.Measure(kDirection).largest,
                                              .tolerance_change = options_.tolerance_change,
                                              .most = most_evaluations_ - report_.evaluations});
    if (found.point.t == 0) {
      vectors_.MoveBack();
    } else {
      vectors_.Move(found.point.t, kDirection);
    }
    past_.t = found.point.t;
    report_.final_loss = found.point.loss;
    place_ = found.point.gradient;
    measured_ = vectors_.Measure(kLineGradients + place_);
    return true;
  }

  const std::function<double()>& closure_;
  const LbfgsOptions& options_;
  const int64_t most_evaluations_;
  LbfgsVectors& vectors_;
  LbfgsPast& past_;
  LbfgsReport report_;
  size_t place_ = 0;       // of the gradient at the weights
  Magnitudes measured_{};  // of that gradient
  std::vector<double> alpha_;
};

}  // namespace

LbfgsReport MoveByLbfgs(const std::function<double()>& closure, const LbfgsOptions& options,
                        LbfgsVectors& vectors, LbfgsPast& past) {
  return Mover(closure, options, vectors, past).Run();
}

}  // namespace kudari::internal
