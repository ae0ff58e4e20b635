#ifndef KUDARI_KUDARI_H_
#define KUDARI_KUDARI_H_

// Includes everything that most programs need.
#include "kudari/batch_scaling.h"
#include "kudari/checkpoint.h"
#include "kudari/controllers.h"
#include "kudari/doctor.h"
#include "kudari/error.h"
#include "kudari/grad_scaler.h"
#include "kudari/huge_pages.h"
#include "kudari/lbfgs.h"
#include "kudari/lr_range.h"
#include "kudari/newton_schulz.h"
#include "kudari/optimizer.h"
#include "kudari/parallel.h"
#include "kudari/presets.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "kudari/rules/all.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"
#include "kudari/stages.h"
#include "kudari/state.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

#endif  // KUDARI_KUDARI_H_
