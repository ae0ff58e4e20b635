// kudari-train: all commands, with those that need LibTorch.
#include "lab/verbs/verbs.h"

int main(int argc, char** argv) {
  using namespace kudari::lab;  // NOLINT(google-build-using-namespace)
  static constexpr Training kTraining = {&Train,        &PlanTraining, &LrFind,   &MeasureSharpness,
                                         &SliceLoss,    &CheckScaling, &Generate, &Predict,
                                         &WithoutTraces};
  return RunProgram(argc, argv, &kTraining);
}
