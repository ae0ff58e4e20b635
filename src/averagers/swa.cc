#include "averagers/averagers.h"
#include "kudari/stages.h"

namespace kudari {

Swa::Swa(const SwaSpec& spec) : WeightAverage("swa"), spec_(spec) {
  internal::CheckCount("swa.start", spec.start, 0);
  internal::CheckCount("swa.every", spec.every, 1);
}

void Swa::After(Engine& engine) {
  const int64_t since = engine.steps() - spec_.start;
  if (since <= 0 || since % spec_.every != 0) return;
  MoveTowards(engine, 1 / static_cast<double>(count() + 1));
}

}  // namespace kudari
