#ifndef KUDARI_LAB_MODELS_PARTS_DETECTION_H_
#define KUDARI_LAB_MODELS_PARTS_DETECTION_H_

#include <array>
#include <cstdint>
#include <vector>

namespace kudari::lab {

/// A box in an image, with edges as shares of its sides, and a class.
struct ObjectBox {
  int64_t label = 0;
  double left = 0, top = 0, right = 0, bottom = 0;
  double score = 1;  ///< of one that was found: how sure it is
};

/// The area that two boxes have in common by that of both together, 0 for empty ones.
double IntersectionOverUnion(const ObjectBox& a, const ObjectBox& b);

/// Greedy non-maximum suppression within each class: of boxes that overlap by more than
/// `threshold`, the one with the highest score stays. The result is sorted by falling score.
std::vector<ObjectBox> Suppress(std::vector<ObjectBox> boxes, double threshold);

/// Mean over the classes that occur in the truth of the average precision, as COCO defines it (Lin
/// et al., arXiv:1405.0312): of the highest precision at each of the recalls 0, 0.01, ... 1 or
/// beyond. A box that was found is right if there is a true box of its class in its image that it
/// overlaps by at least `threshold` and that none with a higher score has taken; it takes the one
/// it overlaps most. `found` and `truth` hold the boxes of one image each. A NaN if there are no
/// true boxes.
double MeanAveragePrecision(const std::vector<std::vector<ObjectBox>>& found,
                            const std::vector<std::vector<ObjectBox>>& truth, int64_t classes,
                            double threshold);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_DETECTION_H_
