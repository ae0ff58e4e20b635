#include "lab/console/progress.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <utility>

#include "kudari/messages.h"

namespace kudari::lab {
namespace {

constexpr size_t kBarWidth = 24, kBriefBarWidth = 8;
constexpr int kUsualWidth = 80;
// A row of the table of evaluations, which fits the usual width.
constexpr const char* kRow = "{:<8} {:<14} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7}\n";

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

// The status as fields, the most important first; `brief` saves columns.
std::vector<std::string> Fields(const Status& s, bool brief) {
  std::vector<std::string> fields;
  if (brief) {
    fields.push_back(fmt::format("{}/{}", s.epoch, s.epochs));
  } else {
    fields.push_back(fmt::format("epoch {}/{}", s.epoch, s.epochs));
    fields.push_back(fmt::format("step {}/{}", s.step, s.steps));
  }
  fields.push_back(fmt::format("loss {:.4f}", s.loss));
  if (!s.metric.empty()) {
    if (std::isfinite(s.val_metric)) {
      fields.push_back(fmt::format("{} {:.4g}", s.metric, s.val_metric));
    }
  } else if (std::isfinite(s.val_accuracy)) {
    fields.push_back(fmt::format("val {:.{}f}%", 100 * s.val_accuracy, brief ? 1 : 2));
  } else if (std::isfinite(s.val_loss)) {
    fields.push_back(fmt::format("val loss {:.4f}", s.val_loss));
  }
  fields.push_back(DurationText(s.seconds_left) + (brief ? "" : " left"));
  fields.push_back(fmt::format("lr {:.{}e}", s.lr, brief ? 1 : 2));
  fields.push_back(fmt::format("grad {:.{}g}", s.grad_norm, brief ? 2 : 3));
  fields.push_back(fmt::format("{:.0f}{}/s", s.samples_per_second, brief ? "" : " samples"));
  return fields;
}

std::string Bar(double done, size_t width) {
  std::string bar(static_cast<size_t>(std::clamp(done, 0.0, 1.0) * static_cast<double>(width)),
                  '=');
  if (bar.size() < width) bar += '>';
  bar.resize(width, ' ');
  return fmt::format("[{}] {:3.0f}%", bar, 100 * done);
}

double ShareOf(const Status& s) {
  return s.steps > 0 ? static_cast<double>(s.step) / static_cast<double>(s.steps) : 0.0;
}

}  // namespace

std::string TransferLine(const TransferStatus& status, int width) {
  const auto room = static_cast<size_t>(std::max(width, 0));
  const std::string bar = Bar(status.done / status.total, kBriefBarWidth);
  const std::string sizes = fmt::format("{} of {}", SizeText(status.done), SizeText(status.total));
  std::string line = fmt::format("{} {} {}", bar, sizes, status.what);
  if (line.size() > room) line.resize(room);
  return line;
}

std::string Wrapped(std::string_view text, size_t indent) {
  constexpr size_t kWidth = 100;
  std::string lines(indent, ' ');
  size_t column = indent;
  std::istringstream words(Printable(text));
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > kWidth) {
      lines += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) lines += ' ', ++column;
    lines += word;
    column += word.size();
  }
  return lines + "\n";
}

std::string TextTable(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = Printable(cell);
  }
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

std::string Counted(int64_t number, std::string_view what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

std::string SizeText(double bytes) {
  constexpr std::pair<double, const char*> kUnits[] = {
      {0x1p40, "TiB"}, {0x1p30, "GiB"}, {0x1p20, "MiB"}, {0x1p10, "KiB"}};
  for (const auto& [unit, name] : kUnits) {
    if (bytes >= unit) return fmt::format("{:.2f} {}", bytes / unit, name);
  }
  return fmt::format("{:.0f} B", bytes);
}

std::string Percent(double share) { return fmt::format("{:.2f}%", 100 * share); }

std::string DurationText(double seconds) {
  const int64_t s = std::llround(std::max(seconds, 0.0));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string StatusLine(const Status& status, int width) {
  const auto room = static_cast<size_t>(std::max(width, 0));
  std::string full = fmt::format("{}  {}", Bar(ShareOf(status), kBarWidth),
                                 fmt::join(Fields(status, false), "  "));
  if (full.size() <= room) return full;
  std::string line = Bar(ShareOf(status), kBriefBarWidth);
  if (line.size() > room) line.clear();
  for (const std::string& field : Fields(status, true)) {
    const std::string next = line.empty() ? field : line + " " + field;
    if (next.size() > room) break;
    line = next;
  }
  return line;
}

std::string PlainLine(const Status& status) {
  return fmt::format("{}", fmt::join(Fields(status, false), "  "));
}

std::string TableHeading(const Status& status) {
  return fmt::format(kRow, "epoch", "step", "loss", "val loss",
                     status.metric.empty() ? "val acc" : status.metric, "lr", "samples/s", "left");
}

std::string TableRow(const Status& s) {
  const auto known = [](double x, const std::string& text) {
    return std::isfinite(x) ? text : std::string("-");
  };
  return fmt::format(kRow, fmt::format("{}/{}", s.epoch, s.epochs),
                     fmt::format("{}/{}", s.step, s.steps), fmt::format("{:.4f}", s.loss),
                     known(s.val_loss, fmt::format("{:.4f}", s.val_loss)),
                     s.metric.empty() ? known(s.val_accuracy, Percent(s.val_accuracy))
                                      : known(s.val_metric, fmt::format("{:.4g}", s.val_metric)),
                     known(s.lr, fmt::format("{:.2e}", s.lr)),
                     fmt::format("{:.0f}", s.samples_per_second), DurationText(s.seconds_left));
}

Progress::Progress(std::FILE* out)
    : out_(out),
      terminal_(IsTerminal(out)),
      color_(WantsColor()),
      begun_(Clock::now()),
      shown_(begun_) {}

void Progress::Step(const Status& status) {
  using std::chrono::milliseconds;
  if (Clock::now() - shown_ >= milliseconds(terminal_ ? 100 : 10000)) Show(status);
}

void Progress::ShowEvaluation(const Status& status) {
  // One table for the whole run, above the line that keeps changing.
  Text((table_begun_ ? "" : TableHeading(status)) + TableRow(status));
  table_begun_ = true;
  if (terminal_) Show(status);
  shown_ = Clock::now();
}

void Progress::Text(const std::string& text) {
  Write((line_open_ ? "\r\x1b[K" : "") + Printable(text));
  line_open_ = false;
}

void Progress::Show(const Status& status) {
  shown_ = Clock::now();
  if (!terminal_) {
    Write(PlainLine(status) + "\n");
    return;
  }
  // One column is left free: a full line would make some terminals wrap.
  Draw(StatusLine(status, TerminalWidth(out_) - 1));
}

void Progress::Show(const TransferStatus& status) {
  using std::chrono::milliseconds;
  const Clock::time_point now = Clock::now();
  if (now - begun_ < milliseconds(1000) || now - shown_ < milliseconds(terminal_ ? 100 : 10000)) {
    return;
  }
  shown_ = now;
  if (terminal_) {
    Draw(TransferLine(status, TerminalWidth(out_) - 1));
  } else {
    Write(Printable(TransferLine(status, kUsualWidth)) + "\n");
  }
}

void Progress::Draw(const std::string& line) {
  Write(color_ ? "\r\x1b[36m" + line + "\x1b[0m\x1b[K" : "\r" + line + "\x1b[K");
  line_open_ = true;
}

void Progress::Write(const std::string& text) {
  std::fputs(text.c_str(), out_);
  std::fflush(out_);
}

}  // namespace kudari::lab
