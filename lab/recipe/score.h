#ifndef KUDARI_LAB_RECIPE_SCORE_H_
#define KUDARI_LAB_RECIPE_SCORE_H_

#include <array>
#include <string_view>

#include "kudari/doctor.h"

namespace kudari::lab {

/// What an evaluation found; a NaN where the task has no such thing.
struct Score {
  double loss = kNotMeasured;            ///< mean over the samples
  double accuracy = kNotMeasured;        ///< share of right answers
  double perplexity = kNotMeasured;      ///< exp of the cross-entropy of a token
  double bits_per_byte = kNotMeasured;   ///< cross-entropy in bits per byte of the text
  double episode_return = kNotMeasured;  ///< mean sum of rewards of an episode
  double map = kNotMeasured;             ///< mean average precision of detected boxes, at IoU 0.5
  /// Fréchet distance between generated and real samples, in the features of a small fixed network.
  double frechet_distance = kNotMeasured;
};

/// One of the values of a Score.
struct Metric {
  std::string_view name;
  std::string_view brief;  ///< the heading of a narrow column
  double Score::*value;
  bool higher_is_better = false;
  bool aim = false;  ///< it is what the task is about wherever it is measured, rather than the loss
};

/// All of them, the loss first.
inline constexpr std::array kMetrics = {
    Metric{"loss", "val loss", &Score::loss},
    Metric{"accuracy", "val acc", &Score::accuracy, true},
    Metric{"perplexity", "val ppl", &Score::perplexity},
    Metric{"bits_per_byte", "val bpb", &Score::bits_per_byte},
    Metric{"episode_return", "return", &Score::episode_return, true, true},
    Metric{"map", "val mAP", &Score::map, true, true},
    Metric{"frechet_distance", "frechet", &Score::frechet_distance, false, true}};

/// The metric with that name, one of kMetrics; if it is "auto", what the task is about.
const Metric& MonitoredMetric(std::string_view name, const Score& score);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_SCORE_H_
