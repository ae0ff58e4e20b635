// The list of rules: the one line to touch besides the rule's own file. Included again, with
// KUDARI_LANES defined, wherever the updates are compiled.
#include "kudari/rules/adam.h"
#include "kudari/rules/adamw.h"
#include "kudari/rules/momentum.h"
#include "kudari/rules/nesterov.h"
#include "kudari/rules/sgd.h"

#ifndef KUDARI_RULES_ALL_H_
#define KUDARI_RULES_ALL_H_

namespace kudari {

using AllRules = TypeList<Sgd, Momentum, Nesterov, Adam, AdamW>;

}  // namespace kudari

#endif  // KUDARI_RULES_ALL_H_
