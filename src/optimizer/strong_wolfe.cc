#include "optimizer/strong_wolfe.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kudari::internal {
namespace {

constexpr double kDecrease = 1e-4, kCurvature = 0.9;  // c1 and c2

/// The minimiser in [low, high] of the cubic through two points with their slopes; the middle if
/// there is none.
double CubicMinimum(const LinePoint& a, const LinePoint& b, double low, double high) {
  const double middle = (low + high) / 2;
  const LinePoint &x = a.t <= b.t ? a : b, &y = a.t <= b.t ? b : a;
  const double d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t);
  const double square = d1 * d1 - a.slope * b.slope;
  if (!(square >= 0) || std::isinf(square)) return middle;
  const double d2 = std::sqrt(square);
  const double t = y.t - (y.t - x.t) * ((y.slope + d2 - d1) / (y.slope - x.slope + 2 * d2));
  return std::isnan(t) ? middle : std::clamp(t, low, high);
}

/// A place for a gradient beside those of two points.
size_t FreePlace(const LinePoint& a, const LinePoint& b) {
  size_t place = 0;
  while (place == a.gradient || place == b.gradient) ++place;
  return place;
}

class Search {
 public:
  Search(const LineFunction& at, const LineTask& task) : at_(at), task_(task) {}

  LineResult Run() {
    if (!Bracket()) Zoom();
    return {Low(), evaluations_};
  }

 private:
  LinePoint& Low() { return ends_[low_]; }
  LinePoint& High() { return ends_[1 - low_]; }
  /// Of two ends with the same loss the first is the lower one.
  void FindLow() { low_ = ends_[0].loss <= ends_[1].loss ? 0 : 1; }

  bool Decreases(const LinePoint& p) const {
    return p.loss <= task_.start.loss + kDecrease * p.t * task_.start.slope;
  }
  bool IsFlat(const LinePoint& p) const {
    return std::abs(p.slope) <= -kCurvature * task_.start.slope;
  }
  LinePoint Evaluate(double t, size_t place) {
    ++evaluations_;
    return at_(t, place);
  }

  /// Goes forward until two points have an acceptable one between them. Returns true if the search
  /// is over: a point on the way is acceptable, or there are no more steps to try.
  bool Bracket() {
    LinePoint former = task_.start;
    LinePoint now = Evaluate(task_.first, FreePlace(former, former));
    for (; tried_ < task_.most; ++tried_) {
      if (!Decreases(now) || (tried_ > 1 && now.loss >= former.loss)) break;
      if (IsFlat(now)) {
        ends_ = {now, now};
        return true;
      }
      if (now.slope >= 0) break;
      const double t = CubicMinimum(former, now, now.t + 0.01 * (now.t - former.t), now.t * 10);
      former = now;
      now = Evaluate(t, FreePlace(task_.start, former));
    }
    const bool is_over = tried_ >= task_.most;
    ends_ = {is_over ? task_.start : former, now};
    FindLow();
    return is_over;
  }

  /// A step between the ends of the bracket; a tenth of its length away from them if it is at an
  /// end, or near one for the second time.
  double Divide() {
    const double left = std::min(ends_[0].t, ends_[1].t), right = std::max(ends_[0].t, ends_[1].t);
    const double t = CubicMinimum(ends_[0], ends_[1], left, right);
    const double margin = 0.1 * (right - left);
    const bool is_near = std::min(right - t, t - left) < margin;
    const bool moves = is_near && (was_near_ || t >= right || t <= left);
    was_near_ = is_near && !moves;
    if (!moves) return t;
    return std::abs(t - right) < std::abs(t - left) ? right - margin : left + margin;
  }

  /// Narrows the bracket around an acceptable point, until the lower end is one.
  void Zoom() {
    for (; tried_ < task_.most; ++tried_) {
      if (std::abs(ends_[1].t - ends_[0].t) * task_.largest < task_.tolerance_change) return;
      const LinePoint now = Evaluate(Divide(), FreePlace(ends_[0], ends_[1]));
      if (!Decreases(now) || now.loss >= Low().loss) {
        High() = now;
        FindLow();
        continue;
      }
      const bool is_flat = IsFlat(now);
      if (!is_flat && now.slope * (High().t - Low().t) >= 0) High() = Low();
      Low() = now;
      if (is_flat) return;
    }
  }

  const LineFunction& at_;
  const LineTask& task_;
  std::array<LinePoint, 2> ends_;
  size_t low_ = 0;  // the end with the smaller loss
  int64_t evaluations_ = 0, tried_ = 0;
  bool was_near_ = false;
};

}  // namespace

LineResult StrongWolfe(const LineFunction& at, const LineTask& task) {
  return Search(at, task).Run();
}

}  // namespace kudari::internal
