#include "lab/metrics.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

std::string Number(double x) { return std::isfinite(x) ? fmt::format("{}", x) : "null"; }

}  // namespace

std::string StepJson(const StepRecord& r) {
  return fmt::format(
      R"({{"step":{},"epoch":{},"loss":{},"lr":{},"grad_norm":{},"skipped":{},"loss_scale":{},)"
      R"("seconds":{:.6f}}})",
      r.step, r.epoch, Number(r.loss), Number(r.lr), Number(r.grad_norm), r.skipped,
      Number(r.loss_scale), r.seconds);
}

std::string ScoreJson(int64_t step, std::string_view what, const Score& score) {
  return fmt::format(R"({{"step":{},"{}_loss":{},"{}_accuracy":{}}})", step, what,
                     Number(score.loss), what, Number(score.accuracy));
}

MetricsFile::MetricsFile(const std::filesystem::path& path)
    : path_(path.string()), file_(std::fopen(path_.c_str(), "wb")) {
  if (file_ == nullptr) throw Error(fmt::format("{}: {}", path_, std::strerror(errno)));
  std::setvbuf(file_.get(), nullptr, _IOLBF, BUFSIZ);
}

void MetricsFile::Write(const std::string& line) {
  if (std::fputs(line.c_str(), file_.get()) < 0 || std::fputc('\n', file_.get()) == EOF) {
    throw Error(fmt::format("{}: {}", path_, std::strerror(errno)));
  }
}

}  // namespace kudari::lab
