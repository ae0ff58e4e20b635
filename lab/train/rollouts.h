#ifndef KUDARI_LAB_TRAIN_ROLLOUTS_H_
#define KUDARI_LAB_TRAIN_ROLLOUTS_H_

#include <cstdint>
#include <memory>

#include "lab/data/parts/environment.h"
#include "lab/train/samples.h"

namespace kudari::lab {

/// The steps that a policy takes in environments, as samples that it is trained with: x is the
/// observation, and y the action and what RolloutColumn names. New steps are taken after every
/// RolloutOptions::update_epochs epochs, by the model that was attached. Advantages are estimated
/// as by Schulman et al., arXiv:1506.02438; where an episode is cut, the value stands for its rest.
std::shared_ptr<SampleSource> Rollouts(std::shared_ptr<const EnvironmentData> data, uint64_t seed);

/// Episodes in which the policy takes the most probable actions, to be evaluated only.
std::shared_ptr<SampleSource> Episodes(std::shared_ptr<const EnvironmentData> data, uint64_t seed);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_ROLLOUTS_H_
