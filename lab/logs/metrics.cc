#include "lab/logs/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

#include "kudari/error.h"
#include "lab/console/json_text.h"

namespace kudari::lab {
namespace {

std::string Number(double x) { return std::isfinite(x) ? fmt::format("{}", x) : "null"; }

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string SharesJson(double lost, double saturated) {
  return fmt::format(R"("lost":{},"saturated":{})", lost, saturated);
}

// The key "numerics" with what stands before it, or nothing; `lost` is the share of them all.
std::string NumericsJson(std::span<const Numerics> numerics, double lost) {
  if (numerics.empty()) return "";
  std::string tensors;
  for (const Numerics& n : numerics) {
    if (n.lost == 0 && n.saturated == 0) continue;
    tensors +=
        fmt::format("{}{}:{{{}}}", tensors.empty() ? "" : ",", JsonText(nlohmann::json(n.tensor)),
                    SharesJson(LostShare(n), SaturatedShare(n)));
  }
  return fmt::format(R"(,"numerics":{{{},"tensors":{{{}}}}})",
                     SharesJson(lost, SaturatedShare(TotalOf(numerics))), tensors);
}

// The key "layers" with what stands before it, or nothing.
std::string LayersJson(const std::vector<LayerLog>& layers) {
  if (layers.empty()) return "";
  std::string text;
  for (const LayerLog& t : layers) {
    text += fmt::format(R"({}{}:{{"grad":{},"weight":{},"update":{})", text.empty() ? "" : ",",
                        JsonText(nlohmann::json(t.name)), Number(t.grad), Number(t.weight),
                        Number(t.update));
    if (!std::isnan(t.trust)) text += fmt::format(R"(,"trust":{})", Number(t.trust));
    text += t.pinned ? R"(,"pinned":true})" : "}";
  }
  return fmt::format(R"(,"layers":{{{}}})", text);
}

// The key "parts" with what stands before it, or nothing.
std::string PartsJson(const std::vector<StepRecord::Part>& parts) {
  std::string text;
  for (const StepRecord::Part& part : parts) {
    text += fmt::format(R"({}{}:{{"loss":{},"lr":{},"grad_norm":{}}})", text.empty() ? "" : ",",
                        JsonText(nlohmann::json(part.name)), Number(part.loss), Number(part.lr),
                        Number(part.grad_norm));
  }
  return text.empty() ? "" : fmt::format(R"(,"parts":{{{}}})", text);
}

std::string NonFiniteJson(const std::string& tensor) {
  if (tensor.empty()) return "";
  return fmt::format(R"(,"first_nonfinite":{})", JsonText(nlohmann::json(tensor)));
}

}  // namespace

Numerics TotalOf(std::span<const Numerics> numerics) {
  Numerics total;
  for (const Numerics& n : numerics) {
    total.elements += n.elements;
    total.lost += n.lost;
    total.blocks += n.blocks;
    total.saturated += n.saturated;
  }
  return total;
}

double LostShare(const Numerics& n) { return Share(n.lost, n.elements); }

double SaturatedShare(const Numerics& n) { return Share(n.saturated, n.blocks); }

StepLog LogOf(const StepRecord& r) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {.step = r.step,
          .loss = r.loss,
          .lr = r.lr,
          .grad_norm = std::isnan(r.grad_norm) ? kInfinity : r.grad_norm,
          .micro_grad_norm = r.micro_grad_norm,
          .skipped = r.skipped,
          .loss_scale = r.loss_scale,
          .lost = r.numerics.empty() ? kNotMeasured : LostShare(TotalOf(r.numerics))};
}

std::string StepJson(const StepRecord& r) {
  const StepLog log = LogOf(r);
  return fmt::format(
      R"({{"step":{},"epoch":{},"loss":{},"lr":{},"grad_norm":{},"skipped":{},"loss_scale":{},)"
      R"("gradients":{},"seconds":{:.6f}{}{}{}{}{}{}}})",
      log.step, r.epoch, Number(log.loss), Number(log.lr), Number(log.grad_norm), log.skipped,
      Number(log.loss_scale), r.gradients, r.seconds,
      std::isfinite(log.micro_grad_norm)
          ? fmt::format(",\"micro_grad_norm\":{}", log.micro_grad_norm)
          : "",
      NumericsJson(r.numerics, log.lost),
      r.components.empty() ? "" : ",\"components\":" + r.components, LayersJson(r.layers),
      PartsJson(r.parts), NonFiniteJson(r.first_nonfinite));
}

std::string ScoreJson(int64_t step, std::string_view what, const Score& score) {
  std::string text = fmt::format(R"({{"step":{})", step);
  for (const Metric& metric : kMetrics) {
    const double value = score.*metric.value;
    const bool always = metric.value == &Score::loss || metric.value == &Score::accuracy;
    if (!always && std::isnan(value)) continue;
    text += fmt::format(R"(,"{}_{}":{})", what, metric.name, Number(value));
  }
  return text + "}";
}

MetricsFile::MetricsFile(const std::filesystem::path& path, int64_t size) : path_(path.string()) {
  if (size > 0) {
    std::error_code error;
    const auto found = std::filesystem::file_size(path, error);
    if (error) throw Error(fmt::format("{}: {}", path_, error.message()));
    if (found < static_cast<uintmax_t>(size)) {
      throw Error(fmt::format("{}: has {} bytes, fewer than the {} of the run to resume", path_,
                              found, size));
    }
    std::filesystem::resize_file(path, static_cast<uintmax_t>(size), error);
    if (error) throw Error(fmt::format("{}: {}", path_, error.message()));
  }
  const int flags = size > 0 ? O_APPEND : O_CREAT | O_TRUNC;
  const int fd = open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0666);
  if (fd >= 0) file_.reset(fdopen(fd, "wb"));
  if (file_ == nullptr) throw Error(fmt::format("{}: {}", path_, std::strerror(errno)));
  std::setvbuf(file_.get(), nullptr, _IOLBF, BUFSIZ);
}

void MetricsFile::Sync() {
  if (std::fflush(file_.get()) == 0 && fsync(fileno(file_.get())) == 0) return;
  throw Error(fmt::format("{}: {}", path_, std::strerror(errno)));
}

void MetricsFile::Write(const std::string& line) {
  if (std::fputs(line.c_str(), file_.get()) < 0 || std::fputc('\n', file_.get()) == EOF) {
    throw Error(fmt::format("{}: {}", path_, std::strerror(errno)));
  }
}

}  // namespace kudari::lab
