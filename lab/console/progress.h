#ifndef KUDARI_LAB_CONSOLE_PROGRESS_H_
#define KUDARI_LAB_CONSOLE_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// How far a run is.
struct Status {
  int64_t step = 0, steps = 0;    ///< taken and in all
  int64_t epoch = 0, epochs = 0;  ///< the present one, from 1, and in all
  double loss = 0;
  double val_accuracy = 0, val_loss = 0;  ///< of the last evaluation; NaN: none yet, or none at all
  /// What is shown in place of the accuracy, if it is not empty, with its value.
  std::string_view metric = {};
  double val_metric = 0;
  double lr = 0, grad_norm = 0;
  double samples_per_second = 0, seconds_left = 0;
};

/// How far a transfer of bytes is.
struct TransferStatus {
  std::string what;            ///< the name of what is transferred
  double done = 0, total = 0;  ///< bytes, total above 0
};

/// The status as one line of at most `width` columns, with a bar of ASCII; the name is cut first.
std::string TransferLine(const TransferStatus& status, int width);

/// Rows of text in aligned columns, two spaces apart; the last column is not padded.
std::string TextTable(std::vector<std::vector<std::string>> rows);

/// Words in lines of at most 100 columns, each with the indentation in front.
std::string Wrapped(std::string_view text, size_t indent);

/// A number and what it counts: "1 step", "3 steps".
std::string Counted(int64_t number, std::string_view what);

/// "0:07", "12:30" or "1:05:00".
std::string DurationText(double seconds);

/// Bytes in the largest binary unit of which there is one: "488.28 MiB".
std::string SizeText(double bytes);

/// "12.34%".
std::string Percent(double share);

/// The status as one line of at most `width` columns, with a bar of ASCII: in brief if it does not
/// fit, and what does not fit even then is left out, the least important first.
std::string StatusLine(const Status& status, int width);
/// The same without a bar and of any width.
std::string PlainLine(const Status& status);

/// The heading of the table of evaluations, and a row of it: a line each, of at most 79 columns
/// unless numbers are large.
std::string TableHeading(const Status& status);
std::string TableRow(const Status& status);

/// Shows a run: a table of its evaluations and, on a terminal, below it one line that keeps
/// changing; otherwise, and on a terminal that cannot move its cursor, plain lines without escape
/// codes.
class Progress {
 public:
  explicit Progress(std::FILE* out);

  /// After every step: redraws at most ten times a second, or prints a line if ten seconds passed
  /// without one.
  void Step(const Status& status);
  /// After every evaluation: adds a row to a table that stays on the screen.
  void ShowEvaluation(const Status& status);
  /// Shows a transfer once it has taken a second: redraws at most ten times a second, or prints a
  /// line if ten seconds passed without one.
  void Show(const TransferStatus& status);
  /// Prints text of its own lines, which stay; it should end with a newline.
  void Text(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  void Show(const Status& status);
  void Draw(const std::string& line);
  void Write(const std::string& text);

  std::FILE* out_;
  bool terminal_, color_;
  bool line_open_ = false;    // the changing line is on the screen
  bool table_begun_ = false;  // the heading of the table of evaluations is
  Clock::time_point begun_, shown_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_CONSOLE_PROGRESS_H_
