#include "lab/train/observer.h"

namespace kudari::lab {
namespace {

void VisitScore(std::string_view name, Score& score, StateVisitor& visitor) {
  visitor.Node(name, [&] {
    for (const Metric& metric : kMetrics) visitor.Value(metric.name, score.*metric.value);
  });
}

}  // namespace

void RunState::Visit(StateVisitor& visitor) {
  visitor.Value("steps", steps, 0);
  visitor.Value("epoch", epoch, 0);
  visitor.Value("skipped", skipped, 0);
  visitor.Value("gradients", gradients, 0);
  visitor.Value("samples", samples, 0);
  visitor.Value("seconds", seconds);
  visitor.Value("loss", loss);
  VisitScore("validation", validation, visitor);
  VisitScore("best", best, visitor);
}

}  // namespace kudari::lab
