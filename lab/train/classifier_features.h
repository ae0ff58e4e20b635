#ifndef KUDARI_LAB_TRAIN_CLASSIFIER_FEATURES_H_
#define KUDARI_LAB_TRAIN_CLASSIFIER_FEATURES_H_

#include <filesystem>

#include "lab/data/data.h"
#include "lab/models/parts/frechet.h"

namespace kudari::lab {

/// The probabilities of the classes that the model of a run gives for images of this data. The
/// images are scaled as they were when it was trained. Throws Error as LoadRun, and for a run that
/// is not of a classifier or was trained on another data set.
ImageFeatures ClassifierFeatures(const std::filesystem::path& run, const Dataset& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_CLASSIFIER_FEATURES_H_
