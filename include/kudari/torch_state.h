#ifndef KUDARI_TORCH_STATE_H_
#define KUDARI_TORCH_STATE_H_

#include <string>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/spec.h"
#include "kudari/state.h"

namespace kudari {

// PyTorch's optimisers in and out. What their state_dict says is a StateTree here, in PyTorch's own
// words, whatever file it comes from or goes to:
//
//     param_groups/I/optimizer   the class, "AdamW"; groups of several optimisers may be together
//     param_groups/I/params/K    the name of the group's K-th parameter
//     param_groups/I/OPTION      double, bool or string; a tuple is a node with members 0, 1 ...;
//                                one that is None is not there
//     state/NAME/step            double, the updates of the parameter, where PyTorch counts them
//     state/NAME/BUFFER          an array, or a double for a single number such as mu_product
//     step                       int64, the steps of the run, which may be missing
//
// SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta, RMSprop, Adafactor, Muon, ASGD and
// Rprop have a twin in Kudari.

/// The spec with which Kudari goes on where PyTorch stopped: the twin of each group's class with
/// the group's hyper-parameters as they are now. Groups other than the largest become groups by
/// name. Throws Error naming the group, the option and its value for a class without a twin and for
/// what the twin cannot do (maximize, AdamW's amsgrad with a weight decay ...).
OptimizerSpec SpecFromTorch(const StateTree& torch);

/// The state for an optimiser with that spec and the tensors that the groups name; LoadState takes
/// it in strict mode. Without a `step`, that of the run is the largest of a parameter, and the
/// updates of parameters whose class counts none (SGD, Muon) are those of the run. Throws Error
/// naming the parameter and the buffer for what is missing, unknown or of a wrong type or shape.
///
///     const kudari::OptimizerSpec spec = kudari::SpecFromTorch(torch);
///     kudari::Optimizer optimizer(tensors, spec);
///     optimizer.LoadState(kudari::StateFromTorch(torch));
StateTree StateFromTorch(const StateTree& torch);

/// The state of an optimiser in PyTorch's words: a group for each class and set of hyper-parameters
/// at the next step, with its tensors in the optimiser's order. Coded state and masters are
/// decoded to float32. Throws Error naming the tensor and its rule if PyTorch has no such
/// optimiser, or one without the option that it has set (the weight_decay of rprop).
StateTree StateToTorch(const Optimizer& optimizer);

/// What this optimiser does or keeps that is not part of PyTorch's, one sentence each: averagers,
/// clipping, masters ... Whoever goes on in PyTorch has to do that, or without it.
std::vector<std::string> NotInTorch(const Optimizer& optimizer);

}  // namespace kudari

#endif  // KUDARI_TORCH_STATE_H_
