#ifndef KUDARI_LAB_LOGS_METRICS_H_
#define KUDARI_LAB_LOGS_METRICS_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/doctor.h"
#include "kudari/step.h"
#include "lab/recipe/score.h"

namespace kudari::lab {

/// What one optimiser step did.
struct StepRecord {
  int64_t step = 0, epoch = 0;  ///< both from 1
  double loss = 0, lr = 0;
  double grad_norm = 0;  ///< before clipping, of the plain loss
  /// Of the gradient of the first of several batches that were accumulated; a NaN if not measured.
  double micro_grad_norm = std::numeric_limits<double>::quiet_NaN();
  bool skipped = false;
  double loss_scale = 1;
  int64_t gradients = 1;  ///< forward and backward calls
  double seconds = 0;     ///< since training began
  /// What 16-bit weights and 8-bit state lost, if the optimiser counts that.
  std::span<const Numerics> numerics = {};
  std::string components = {};        ///< a JSON object, if they are tracked
  std::vector<LayerLog> layers = {};  ///< norms by parameter, in steps that have them
  std::string first_nonfinite = {};   ///< the first tensor whose gradient is not finite, if known
  /// What one of several optimisers did.
  struct Part {
    std::string name;
    double loss = 0, lr = 0, grad_norm = 0;
  };
  std::vector<Part> parts = {};  ///< none if there is one optimiser for the whole model
};

/// The sum of the counts, without a name.
Numerics TotalOf(std::span<const Numerics> numerics);

/// Shares of what Numerics counts, 0 if there is nothing to count.
double LostShare(const Numerics& n);
double SaturatedShare(const Numerics& n);

/// What the doctor is to know of a step: what it is told while a run goes on, and what StepJson
/// writes for it to be read later.
StepLog LogOf(const StepRecord& record);

/// One line of JSON; what is not finite becomes null. Numerics, if there are any, become an object
/// with the shares "lost" and "saturated" of the whole model, and in "tensors" those of each tensor
/// that lost something. Norms by parameter become an object of objects with "grad", "weight",
/// "update" and, of those that were stepped with a trust ratio, "trust" and, if it is so,
/// "pinned":true. Parts become an object of objects with "loss", "lr" and "grad_norm". The name of
/// the first tensor that is not finite is written where there is one.
std::string StepJson(const StepRecord& record);
/// The same for an evaluation; `what` is "val" or "test". Perplexity and the like are written where
/// they are known.
std::string ScoreJson(int64_t step, std::string_view what, const Score& score);

/// Writes metrics as JSON lines. Each line reaches the file at once, so that a crash loses none.
class MetricsFile {
 public:
  /// Keeps the first `size` bytes of the file, those of a run that goes on, and drops the rest.
  /// Throws Error if it has fewer or cannot be written.
  explicit MetricsFile(const std::filesystem::path& path, int64_t size = 0);

  /// Throws Error if the system reports a failure, a full disk say.
  void Write(const std::string& line);
  /// Waits until the lines are on the disk. Throws Error as Write.
  void Sync();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_METRICS_H_
