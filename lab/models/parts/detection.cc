#include "lab/models/parts/detection.h"

#include <algorithm>
#include <limits>

namespace kudari::lab {
namespace {

double Area(const ObjectBox& b) {
  return std::max(0.0, b.right - b.left) * std::max(0.0, b.bottom - b.top);
}

struct Found {
  const ObjectBox* box;
  size_t image;
};

// The mean of precision over recall, for hits in the order of falling scores.
double MeanPrecision(const std::vector<char>& hits, int64_t truths) {
  constexpr int kPoints = 101;
  std::vector<double> recall, precision;
  int64_t right = 0;
  for (size_t i = 0; i < hits.size(); ++i) {
    right += hits[i];
    recall.push_back(static_cast<double>(right) / static_cast<double>(truths));
    precision.push_back(static_cast<double>(right) / static_cast<double>(i + 1));
  }
  for (size_t i = precision.size(); i > 1; --i) {
    precision[i - 2] = std::max(precision[i - 2], precision[i - 1]);
  }
  double sum = 0;
  for (int point = 0; point < kPoints; ++point) {
    const auto at = std::ranges::lower_bound(recall, point / (kPoints - 1.0));
    if (at != recall.end()) sum += precision[static_cast<size_t>(at - recall.begin())];
  }
  return sum / kPoints;
}

double AveragePrecision(const std::vector<std::vector<ObjectBox>>& found,
                        const std::vector<std::vector<ObjectBox>>& truth, int64_t label,
                        int64_t truths, double threshold) {
  std::vector<Found> sorted;
  for (size_t image = 0; image < found.size(); ++image) {
    for (const ObjectBox& box : found[image]) {
      if (box.label == label) sorted.push_back({&box, image});
    }
  }
  std::ranges::stable_sort(sorted, std::ranges::greater(),
                           [](const Found& f) { return f.box->score; });
  std::vector<std::vector<char>> taken;
  for (const auto& boxes : truth) taken.emplace_back(boxes.size());
  std::vector<char> hits;
  for (const auto& [box, image] : sorted) {
    size_t best = truth[image].size();
    double overlap = threshold;
    for (size_t k = 0; k < truth[image].size(); ++k) {
      if (truth[image][k].label != label || taken[image][k] != 0) continue;
      const double here = IntersectionOverUnion(*box, truth[image][k]);
      if (here < overlap) continue;
      overlap = here;
      best = k;
    }
    const bool hit = best < truth[image].size();
    if (hit) taken[image][best] = 1;
    hits.push_back(hit ? 1 : 0);
  }
  return MeanPrecision(hits, truths);
}

}  // namespace

double IntersectionOverUnion(const ObjectBox& a, const ObjectBox& b) {
  const double common = Area({.left = std::max(a.left, b.left),
                              .top = std::max(a.top, b.top),
                              .right = std::min(a.right, b.right),
                              .bottom = std::min(a.bottom, b.bottom)});
  const double both = Area(a) + Area(b) - common;
  return both > 0 ? common / both : 0;
}

std::vector<ObjectBox> Suppress(std::vector<ObjectBox> boxes, double threshold) {
  std::ranges::stable_sort(boxes, std::ranges::greater(), &ObjectBox::score);
  std::vector<ObjectBox> kept;
  for (const ObjectBox& box : boxes) {
    const bool covered = std::ranges::any_of(kept, [&](const ObjectBox& k) {
      return k.label == box.label && IntersectionOverUnion(k, box) > threshold;
    });
    if (!covered) kept.push_back(box);
  }
  return kept;
}

double MeanAveragePrecision(const std::vector<std::vector<ObjectBox>>& found,
                            const std::vector<std::vector<ObjectBox>>& truth, int64_t classes,
                            double threshold) {
  double sum = 0;
  int64_t present = 0;
  for (int64_t label = 0; label < classes; ++label) {
    int64_t truths = 0;
    for (const auto& boxes : truth) truths += std::ranges::count(boxes, label, &ObjectBox::label);
    if (truths == 0) continue;
    sum += AveragePrecision(found, truth, label, truths, threshold);
    ++present;
  }
  return present > 0 ? sum / static_cast<double>(present)
                     : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace kudari::lab
