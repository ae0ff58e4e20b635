// kudari-train: all commands, with those that need LibTorch.
#include "lab/verbs/program.h"
#include "lab/verbs/siblings.h"

int main(int argc, char** argv) {
  using namespace kudari::lab;  // NOLINT(google-build-using-namespace)
  static constexpr Training kTraining = {.train = &Train,
                                         .plan = &PlanTraining,
                                         .lr_find = &LrFind,
                                         .sharpness = &MeasureSharpness,
                                         .slice = &SliceLoss,
                                         .run_landscape = &ShowRunLandscape,
                                         .check_scaling = &CheckScaling,
                                         .generate = &Generate,
                                         .predict = &Predict,
                                         .without_traces = &WithoutTraces};
  return RunProgram(argc, argv, &kTraining);
}
