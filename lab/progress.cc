#include "lab/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace kudari::lab {
namespace {

constexpr int kBarWidth = 24;
constexpr int kUsualWidth = 80;

bool IsTerminal(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) != 0 && term != nullptr && std::string_view(term) != "dumb";
}

bool WantsColor() {
  const char* no_color = std::getenv("NO_COLOR");
  return no_color == nullptr || *no_color == '\0';
}

int TerminalWidth(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kUsualWidth;
}

// The status as fields, the most important first.
std::vector<std::string> Fields(const Status& s) {
  std::vector<std::string> fields = {fmt::format("epoch {}/{}", s.epoch, s.epochs),
                                     fmt::format("step {}/{}", s.step, s.steps),
                                     fmt::format("loss {:.4f}", s.loss)};
  if (std::isfinite(s.val_accuracy)) {
    fields.push_back(fmt::format("val {:.2f} %", 100 * s.val_accuracy));
  } else if (std::isfinite(s.val_loss)) {
    fields.push_back(fmt::format("val loss {:.4f}", s.val_loss));
  }
  if (std::isfinite(s.seconds_left)) {
    fields.push_back(DurationText(s.seconds_left) + " left");
  }
  fields.push_back(fmt::format("lr {:.2e}", s.lr));
  fields.push_back(fmt::format("grad {:.3g}", s.grad_norm));
  fields.push_back(fmt::format("{:.0f} samples/s", s.samples_per_second));
  return fields;
}

std::string Bar(const Status& s) {
  const double done =
      s.steps > 0 ? static_cast<double>(s.step) / static_cast<double>(s.steps) : 0.0;
  const int filled = static_cast<int>(std::clamp(done, 0.0, 1.0) * kBarWidth);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  return fmt::format("[{}] {:3.0f} %", bar, 100 * done);
}

}  // namespace

std::string TextTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], widths[i]) : row[i];
    }
    text += '\n';
  }
  return text;
}

std::string DurationText(double seconds) {
  const int64_t s = std::llround(std::max(seconds, 0.0));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string StatusLine(const Status& status, int width) {
  const size_t room = static_cast<size_t>(std::max(width, 0));
  std::string line = Bar(status);
  if (line.size() > room) line.clear();
  for (const std::string& field : Fields(status)) {
    const std::string next = line.empty() ? field : line + "  " + field;
    if (next.size() > room) break;
    line = next;
  }
  return line;
}

std::string PlainLine(const Status& status) {
  std::string line;
  for (const std::string& field : Fields(status)) line += (line.empty() ? "" : "  ") + field;
  return line;
}

Progress::Progress(std::FILE* out)
    : out_(out), terminal_(IsTerminal(out)), color_(WantsColor()), shown_(Clock::now()) {}

void Progress::Step(const Status& status) {
  using std::chrono::milliseconds;
  if (Clock::now() - shown_ >= milliseconds(terminal_ ? 100 : 10000)) Show(status);
}

void Progress::Evaluation(const Status& status) { Show(status); }

void Progress::Text(const std::string& text) {
  Write((line_open_ ? "\r\x1b[K" : "") + text);
  line_open_ = false;
}

void Progress::Show(const Status& status) {
  shown_ = Clock::now();
  if (!terminal_) {
    Write(PlainLine(status) + "\n");
    return;
  }
  // One column is left free: a full line would make some terminals wrap.
  const std::string line = StatusLine(status, TerminalWidth(out_) - 1);
  Write(color_ ? "\r\x1b[36m" + line + "\x1b[0m\x1b[K" : "\r" + line + "\x1b[K");
  line_open_ = true;
}

void Progress::Write(const std::string& text) {
  std::fputs(text.c_str(), out_);
  std::fflush(out_);
}

}  // namespace kudari::lab
