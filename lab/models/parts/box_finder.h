#ifndef KUDARI_LAB_MODELS_PARTS_BOX_FINDER_H_
#define KUDARI_LAB_MODELS_PARTS_BOX_FINDER_H_

#include <torch/torch.h>

#include <vector>

#include "lab/models/parts/detection.h"

namespace kudari::lab {

/// What finds boxes in images: a model with this interface, too.
class BoxFinder {
 public:
  virtual ~BoxFinder() = default;
  /// The boxes in each of a batch of images that are at least as sure as the threshold, the surest
  /// first and, of those of a class that overlap much, only that.
  virtual std::vector<std::vector<ObjectBox>> Find(const at::Tensor& x, double threshold) = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_BOX_FINDER_H_
