// What the programs beside `kudari` do: kudari-train and kudari-fetch.
#ifndef KUDARI_LAB_VERBS_SIBLINGS_H_
#define KUDARI_LAB_VERBS_SIBLINGS_H_

#include "lab/data/parts/fetch.h"
#include "lab/measure/lr_find.h"
#include "lab/measure/measure_sharpness.h"
#include "lab/measure/run_landscape.h"
#include "lab/measure/scale_check.h"
#include "lab/verbs/generate.h"
#include "lab/verbs/predict.h"
#include "lab/verbs/torch_error.h"
#include "lab/verbs/train.h"

namespace kudari::lab {

/// What needs LibTorch, which takes longer to load than most commands to run. `kudari` itself is
/// linked without it.
struct Training {
  decltype(&Train) train;
  decltype(&PlanTraining) plan;
  decltype(&LrFind) lr_find;
  decltype(&MeasureSharpness) sharpness;
  decltype(&SliceLoss) slice;
  decltype(&ShowRunLandscape) run_landscape;
  decltype(&CheckScaling) check_scaling;
  decltype(&Generate) generate;
  decltype(&Predict) predict;
  decltype(&WithoutTraces) without_traces;
};

/// What needs libcurl, which also takes longer to load than most commands to run.
struct Fetching {
  decltype(&FetchData) fetch;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_SIBLINGS_H_
