#ifndef KUDARI_LAB_METRICS_H_
#define KUDARI_LAB_METRICS_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace kudari::lab {

/// What one optimiser step did.
struct StepRecord {
  int64_t step = 0, epoch = 0;  ///< both from 1
  double loss = 0, lr = 0;
  double grad_norm = 0;  ///< before clipping, of the plain loss
  bool skipped = false;
  double loss_scale = 1;
  double seconds = 0;  ///< since training began
};

/// Mean loss and share of right answers over a data set; the accuracy of a regression is a NaN.
struct Score {
  double loss = 0, accuracy = 0;
};

/// One line of JSON; what is not finite becomes null.
std::string StepJson(const StepRecord& record);
/// The same for an evaluation; `what` is "val" or "test".
std::string ScoreJson(int64_t step, std::string_view what, const Score& score);

/// Writes metrics as JSON lines. Each line reaches the file at once, so that a crash loses none.
class MetricsFile {
 public:
  /// Empties the file. Throws Error if it cannot be written.
  explicit MetricsFile(const std::filesystem::path& path);

  /// Throws Error if the system reports a failure, a full disk say.
  void Write(const std::string& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_METRICS_H_
