// The list of rules: the only place to change besides a new rule's own file. It is included again,
// with KUDARI_LANES defined, wherever the updates are compiled.
#include "kudari/rules/adabelief.h"
#include "kudari/rules/adadelta.h"
#include "kudari/rules/adafactor.h"
#include "kudari/rules/adagrad.h"
#include "kudari/rules/adagrad_inside.h"
#include "kudari/rules/adam.h"
#include "kudari/rules/adamax.h"
#include "kudari/rules/adamw.h"
#include "kudari/rules/amsgrad.h"
#include "kudari/rules/asgd.h"
#include "kudari/rules/lamb.h"
#include "kudari/rules/lambc.h"
#include "kudari/rules/larc.h"
#include "kudari/rules/lars.h"
#include "kudari/rules/lars_joint.h"
#include "kudari/rules/lars_outside.h"
#include "kudari/rules/lion.h"
#include "kudari/rules/momentum.h"
#include "kudari/rules/muon.h"
#include "kudari/rules/nadam.h"
#include "kudari/rules/nesterov.h"
#include "kudari/rules/radam.h"
#include "kudari/rules/rmsprop.h"
#include "kudari/rules/rmsprop_centered.h"
#include "kudari/rules/rmsprop_centered_momentum.h"
#include "kudari/rules/rmsprop_inside.h"
#include "kudari/rules/rmsprop_momentum.h"
#include "kudari/rules/rprop.h"
#include "kudari/rules/schedule_free_adamw.h"
#include "kudari/rules/schedule_free_sgd.h"
#include "kudari/rules/sgd.h"
#include "kudari/rules/sophia.h"
#include "kudari/rules/sophia_h.h"
#include "kudari/rules/sparse_adam.h"

#ifndef KUDARI_RULES_ALL_H_
#define KUDARI_RULES_ALL_H_

namespace kudari {

using AllRules =
    TypeList<Sgd, Momentum, Nesterov, Asgd, Rprop, Adagrad, AdagradInside, Adadelta, Rmsprop,
             RmspropInside, RmspropMomentum, RmspropCentered, RmspropCenteredMomentum, Adam, AdamW,
             AmsGrad, Adamax, NAdam, RAdam, AdaBelief, SparseAdam, Lion, Sophia, SophiaH,
             ScheduleFreeSgd, ScheduleFreeAdamW, Lars, LarsOutside, LarsJoint, Larc, Lamb, LambC>;

}  // namespace kudari

#endif  // KUDARI_RULES_ALL_H_
