// The list of rules: the one line to touch besides the rule's own file. Included again, with
// KUDARI_LANES defined, wherever the updates are compiled.
#include "kudari/rules/adafactor.h"
#include "kudari/rules/adagrad.h"
#include "kudari/rules/adagrad_inside.h"
#include "kudari/rules/adam.h"
#include "kudari/rules/adamw.h"
#include "kudari/rules/amsgrad.h"
#include "kudari/rules/lion.h"
#include "kudari/rules/momentum.h"
#include "kudari/rules/nesterov.h"
#include "kudari/rules/radam.h"
#include "kudari/rules/rmsprop.h"
#include "kudari/rules/rmsprop_centered.h"
#include "kudari/rules/rmsprop_centered_momentum.h"
#include "kudari/rules/rmsprop_inside.h"
#include "kudari/rules/rmsprop_momentum.h"
#include "kudari/rules/sgd.h"

#ifndef KUDARI_RULES_ALL_H_
#define KUDARI_RULES_ALL_H_

namespace kudari {

using AllRules = TypeList<Sgd, Momentum, Nesterov, Adagrad, AdagradInside, Rmsprop, RmspropInside,
                          RmspropMomentum, RmspropCentered, RmspropCenteredMomentum, Adam, AdamW,
                          AmsGrad, RAdam, Lion>;

/// Those that step whole tensors.
using WholeRules = TypeList<Adafactor, AdafactorTorch>;

}  // namespace kudari

#endif  // KUDARI_RULES_ALL_H_
