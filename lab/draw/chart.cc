#include "lab/draw/chart.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <unordered_map>

#include "kudari/error.h"
#include "kudari/files.h"
#include "lab/console/usage_error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// Okabe and Ito's colours, which the colour-blind can tell apart.
constexpr std::array<const char*, 6> kColors = {"#0072b2", "#d55e00", "#009e73",
                                                "#cc79a7", "#e69f00", "#56b4e9"};
// From dark to bright (viridis), also without colours.
constexpr const char* kPalette = "0 '#440154', 1 '#3b528b', 2 '#21918c', 3 '#5ec962', 4 '#fde725'";
constexpr double kContours = 12;  // lines at most, of values that are not spaced by logarithms

using File = std::unique_ptr<std::FILE, decltype(&std::fclose)>;

File TemporaryFile() {
  File file(std::tmpfile(), &std::fclose);
  if (file == nullptr)
    throw Error(fmt::format("cannot write a temporary file: {}", std::strerror(errno)));
  return file;
}

std::string Contents(std::FILE* file) {
  std::rewind(file);
  std::string text;
  std::array<char, 4096> block;
  while (const size_t n = std::fread(block.data(), 1, block.size(), file)) {
    text.append(block.data(), n);
  }
  return text;
}

// What gnuplot writes to its standard output. Files stand in for pipes, so that neither side can
// wait for the other.
std::string RunGnuplot(const std::string& script) {
  const File in = TemporaryFile(), out = TemporaryFile(), err = TemporaryFile();
  if (std::fwrite(script.data(), 1, script.size(), in.get()) != script.size() ||
      std::fflush(in.get()) != 0) {
    throw Error(fmt::format("cannot write a temporary file: {}", std::strerror(errno)));
  }
  std::rewind(in.get());
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, fileno(in.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, fileno(out.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, fileno(err.get()), STDERR_FILENO);
  // -d: the user's own settings would change the picture.
  std::string name = "gnuplot", defaults = "-d";
  std::array<char*, 3> arguments = {name.data(), defaults.data(), nullptr};
  pid_t child = 0;
  const int failure =
      posix_spawnp(&child, name.c_str(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failure != 0) {
    throw Error(fmt::format(
        "pictures are drawn by gnuplot, which cannot be run ({}); Debian has it in the package "
        "gnuplot-nox",
        std::strerror(failure)));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Error(fmt::format("gnuplot: {}", std::strerror(errno)));
  }
  std::string picture = Contents(out.get());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || picture.empty()) {
    throw Error("gnuplot failed: " + Contents(err.get()));
  }
  return picture;
}

// A string of gnuplot's between single quotes, where nothing else has a meaning. It takes a doubled
// quote for one only inside, not at the beginning: so each becomes a typographic one. Control
// characters would end the line.
std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "\u2019";
    } else {
      quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return quoted + "'";
}

// What every picture begins with: the format and the frame.
std::string Start(const fs::path& file, int width = 800, int height = 600, int font = 14) {
  CheckChartFile(file);
  const bool svg = file.extension() == ".svg";
  const std::string terminal =
      svg ? fmt::format("svg size {},{} dynamic font 'sans-serif,{}' background rgb 'white'", width,
                        height, font)
          : fmt::format("pngcairo size {},{} font 'sans-serif,{}'", width, height, font * 11 / 14);
  return fmt::format(
      "set terminal {} noenhanced\n"
      "set encoding utf8\n"
      "set datafile missing 'NaN'\n"
      "set border lc rgb '#404040'\n",
      terminal);
}

std::string Texts(const std::string& title, const std::string& x_label,
                  const std::string& y_label) {
  return fmt::format("set title {}\nset xlabel {}\nset ylabel {}\n", Quoted(title), Quoted(x_label),
                     Quoted(y_label));
}

// 2, 5 or 10 times a power of ten.
double RoundStep(double rough) {
  const double power = std::pow(10, std::floor(std::log10(rough)));
  return power * (rough < 2 * power ? 2 : rough < 5 * power ? 5 : 10);
}

// Round numbers between low and high, about `most` at most: steps of 1, 2 or 5 times a power of
// ten; logarithmic ones are digits times powers of ten, fewer of them the more powers there are.
std::vector<double> Levels(double low, double high, bool logarithmic, double most) {
  std::vector<double> levels;
  const auto outside = [&](double level) { return level <= low || level >= high; };
  const double decades = logarithmic ? std::log10(high / low) : 0;
  if (decades > 1) {
    const std::vector<std::vector<double>> choices = {
        {1, 1.5, 2, 3, 4, 5, 7}, {1, 2, 5}, {1, 3}, {1}};
    for (const std::vector<double>& digits : choices) {
      levels.clear();
      for (double power = std::floor(std::log10(low)); power <= std::log10(high); ++power) {
        for (const double digit : digits) levels.push_back(digit * std::pow(10, power));
      }
      std::erase_if(levels, outside);
      if (static_cast<double>(levels.size()) <= most) break;
    }
  } else if (high > low) {
    const double step = RoundStep((high - low) / most);
    for (double k = std::floor(low / step); k * step <= high; ++k) levels.push_back(k * step);
    std::erase_if(levels, outside);
  }
  return levels;
}

}  // namespace

void CheckChartFile(const fs::path& file) {
  if (file.extension() == ".svg" || file.extension() == ".png") return;
  throw UsageError(fmt::format("{}: a picture must be named .svg or .png", file.string()));
}

namespace {

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void Add(double x) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
};

bool IsDrawn(const LineChart& chart, double x, double y) {
  return std::isfinite(x) && std::isfinite(y) && (!chart.log_x || x > 0) && (!chart.log_y || y > 0);
}

// Adds what the chart draws. Throws Error for numbers that do not fit together.
void AddRanges(const LineChart& chart, Range& xs, Range& ys) {
  for (const Series& s : chart.series) {
    if (s.x.size() != s.y.size()) {
      throw Error(fmt::format("chart \"{}\", series \"{}\": {} values of x and {} of y",
                              chart.title, s.label, s.x.size(), s.y.size()));
    }
    for (size_t k = 0; k < s.x.size(); ++k) {
      if (!IsDrawn(chart, s.x[k], s.y[k])) continue;
      xs.Add(s.x[k]);
      ys.Add(s.y[k]);
    }
  }
  if (ys.high < ys.low) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
}

// Whether b passes through more than one point of a.
bool Covers(const Series& b, const Series& a) {
  constexpr double kNear = 1e-9;
  std::unordered_map<double, double> values;
  for (size_t k = 0; k < b.x.size(); ++k) values.emplace(b.x[k], b.y[k]);
  size_t common = 0;
  for (size_t k = 0; k < a.x.size(); ++k) {
    const auto at = values.find(a.x[k]);
    if (at == values.end()) continue;
    common += std::abs(at->second - a.y[k]) <= kNear * std::abs(at->second) ? 1 : 0;
  }
  return common > 1;
}

// What draws the lines; `name` tells the data of charts in one picture apart.
std::string LinesScript(const LineChart& chart, const std::string& name) {
  // Filled circle, square, triangle, inverted triangle, diamond, pentagon.
  constexpr std::array kShapes = {7, 5, 9, 11, 13, 15};
  std::string script = Texts(chart.title, chart.x_label, chart.y_label);
  script += "set grid lt 1 lc rgb '#e4e4e4'\n";
  std::vector<std::string> plots;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    script += fmt::format("${}{} << END\n", name, i);
    for (size_t k = 0; k < s.x.size(); ++k) {
      script += IsDrawn(chart, s.x[k], s.y[k]) ? fmt::format("{} {}\n", s.x[k], s.y[k])
                                               : std::string("\n");
    }
    script += "END\n";
    const auto covers = [&s](const Series& later) { return Covers(later, s); };
    const bool covered = std::any_of(chart.series.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                     chart.series.end(), covers);
    plots.push_back(fmt::format(
        "${}{} using 1:2 with {} lw {} lc rgb '{}' dt {} {}", name, i,
        chart.points ? fmt::format("linespoints pt {} ps 0.5", kShapes[i % kShapes.size()])
                     : "lines",
        covered ? 7 : 2, kColors[i % kColors.size()], i / kColors.size() + 1,
        s.label.empty() ? "notitle" : "title " + Quoted(s.label)));
  }
  return script + fmt::format("plot {}\n", fmt::join(plots, ", "));
}

// A power of ten times a factor, such as 3·10⁻⁵.
std::string PowerText(double x) {
  constexpr std::array kRaised = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  const long power = std::lround(std::floor(std::log10(x) + 1e-9));
  if (std::abs(power) < 2) return fmt::format("{:.10g}", x);
  std::string text = power < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(power))) {
    text += kRaised[static_cast<size_t>(digit - '0')];
  }
  const double factor = x / std::pow(10, power);
  return std::abs(factor - 1) < 1e-6 ? text : fmt::format("{:.3g}·{}", factor, text);
}

// A logarithmic axis with ticks at those given, or at about `most` round numbers: plain ones, or
// powers of ten where some of them would be long; without texts if it is not `labelled`.
std::string LogAxis(char axis, Range range, std::vector<double> ticks, double most, bool labelled) {
  constexpr double kBeyond = 1 + 1e-9;  // the ends have ticks, too
  if (ticks.empty()) ticks = Levels(range.low / kBeyond, range.high * kBeyond, true, most);
  constexpr double kSmall = 1e-4, kLarge = 1e6;
  const auto is_plain = [](double x) { return x >= kSmall && x < kLarge; };
  const bool plain = std::all_of(ticks.begin(), ticks.end(), is_plain);
  std::vector<std::string> texts;
  for (const double x : ticks) {
    const std::string text = plain ? fmt::format("{:.10g}", x) : PowerText(x);
    texts.push_back(fmt::format("'{}' {}", labelled ? text : "", x));
  }
  return fmt::format("set logscale {0}\nset {0}tics ({1})\n", axis, fmt::join(texts, ", "));
}

// A picture in pixels: its size, and where its charts lie from left to right.
struct Frame {
  int width = 800, height = 600;
  double left = 100, right = 776;

  double Up(double from_top) const { return 1 - from_top / height; }
};

constexpr double kLetter = 8.6, kLine = 22;  // of the font, in pixels

// Where x lies on the picture.
double PixelOf(double x, const Frame& frame, const Range& xs, bool logarithmic) {
  const double share = logarithmic ? std::log(x / xs.low) / std::log(xs.high / xs.low)
                                   : (x - xs.low) / (xs.high - xs.low);
  return frame.left + share * (frame.right - frame.left);
}

// A label of marks at one place, and the line of text above the chart that it gets.
struct Label {
  std::string text;
  double from = 0, to = 0;            // of the mark
  double begin = 0, end = 0;          // of the text, in pixels
  bool strong = false, after = true;  // it stands to the right of its mark
  size_t row = 0;
};

// Labels of marks in rows, such that neither another label nor the line from another mark to its
// label crosses one. All labels are to one side of their marks. A line goes up to its own label
// only, so it is enough that a label is higher than those whose marks it lies over. Ranges, and
// labels that fit on neither side, have rows of their own.
std::vector<Label> PlaceLabels(const LineChart& chart, const Frame& frame, const Range& xs) {
  constexpr double kGap = 6, kSame = 2;
  std::vector<Label> labels;
  const auto pixel = [&](double x) { return PixelOf(x, frame, xs, chart.log_x); };
  std::vector<Mark> marks = chart.marks;
  std::stable_sort(marks.begin(), marks.end(),
                   [](const Mark& a, const Mark& b) { return a.from < b.from; });
  for (const Mark& m : marks) {
    const bool joined = !labels.empty() && m.from == m.to &&
                        labels.back().from == labels.back().to &&
                        pixel(m.from) - pixel(labels.back().from) < kSame;
    if (joined) {
      labels.back().text += ", " + m.label;
      labels.back().strong = labels.back().strong || m.strong;
    } else {
      labels.push_back({.text = m.label, .from = m.from, .to = m.to, .strong = m.strong});
    }
  }
  const auto width = [](const Label& l) { return kLetter * static_cast<double>(l.text.size()); };
  const bool after = std::all_of(labels.begin(), labels.end(), [&](const Label& l) {
    return pixel(l.from) + kGap + width(l) < frame.width;
  });
  const bool before = std::all_of(labels.begin(), labels.end(), [&](const Label& l) {
    return pixel(l.to) - kGap - width(l) > 0;
  });
  if (after) std::reverse(labels.begin(), labels.end());
  for (size_t i = 0; i < labels.size(); ++i) {
    Label& l = labels[i];
    l.after = after;
    const double x = pixel(after ? l.from : l.to);
    l.begin = after ? x + kGap : std::max(0.0, x - kGap - width(l));
    l.end = l.begin + width(l);
    for (size_t k = 0; k < i; ++k) {
      const double other = pixel(after ? labels[k].from : labels[k].to);
      const bool below = after ? other < l.end + kGap : other > l.begin - kGap;
      const bool alone = labels[k].from != labels[k].to || (!after && !before);
      if (below || alone) l.row = std::max(l.row, labels[k].row + 1);
    }
  }
  return labels;
}

// The legend below the charts, which is one for all of them.
struct Legend {
  size_t columns = 1;
  double height = 0;  // in pixels
};

Legend LegendOf(const std::vector<LineChart>& charts, const Frame& frame) {
  constexpr double kSample = 70, kMargin = 24;  // of each entry, around all of them
  size_t entries = 0, longest = 0;
  for (const LineChart& chart : charts) {
    for (const Series& s : chart.series) {
      entries += s.label.empty() ? 0 : 1;
      longest = std::max(longest, s.label.size());
    }
  }
  if (entries == 0) return {};
  const double entry = kSample + kLetter * static_cast<double>(longest);
  const size_t columns = std::clamp<size_t>(static_cast<size_t>(frame.width / entry), 1, entries);
  const size_t rows = (entries + columns - 1) / columns;
  return {columns, kMargin + kLine * static_cast<double>(rows)};
}

// The marks of a chart between two heights; `rows` is the height of the lowest row of labels, from
// the top of the picture, and 0 for a chart without labels.
std::string MarksScript(const std::vector<Label>& labels, const Frame& frame, double rows) {
  // None of the first two colours, which lines have.
  constexpr std::array kBars = {"#cc79a7", "#e69f00", "#56b4e9", "#009e73"};
  std::string script = "unset arrow\nunset label\nunset object\n";
  size_t bars = 0;
  for (const Label& l : labels) {
    const double middle = rows - kLine * static_cast<double>(l.row);
    const bool bar = l.from != l.to;
    const std::string color = bar ? kBars[bars++ % kBars.size()] : l.strong ? "#b00020" : "#606060";
    const double top = frame.Up(middle + (bar ? kLine / 2 : 0));
    if (bar) {
      script += fmt::format(
          "set object rectangle from first {}, graph 0 to first {}, graph 1 behind fc rgb '{}' "
          "fillstyle transparent solid 0.15 noborder\n",
          l.from, l.to, color);
    } else {
      script += fmt::format(
          "set arrow from first {0}, graph 0 to first {0}, {1} nohead lw {2} dt {3} "
          "lc rgb '{4}'\n",
          l.from, rows == 0 ? std::string("graph 1") : fmt::format("screen {}", top),
          l.strong ? 2.5 : 1.5, l.strong ? 1 : 2, color);
    }
    if (rows == 0) continue;
    if (bar) {
      script += fmt::format(
          "set arrow from first {}, screen {} to first {}, screen {} nohead lw 5 "
          "lc rgb '{}'\n",
          l.from, top, l.to, top, color);
    }
    script +=
        fmt::format("set label {} at screen {}, screen {} {} tc rgb '{}'\n", Quoted(l.text),
                    (l.after ? l.begin : l.end) / frame.width, frame.Up(middle - (bar ? 2 : 0)),
                    l.after ? "left" : "right", bar ? "#202020" : color);
  }
  return script;
}

// Ranges and ticks of a chart that is `height` pixels high; only the last of several has texts at
// its x axis.
std::string AxesScript(const LineChart& chart, const Range& xs, const Range& ys, double height,
                       bool last) {
  constexpr double kMostTicks = 12, kAround = 1.2;
  const double y_ticks = height / kLine * 0.7;
  std::string script =
      fmt::format("unset logscale\nset xtics auto\nset format x '{}'\nset xrange [{}:{}]\n",
                  last ? "%g" : "", xs.low, xs.high);
  if (chart.log_x) script += LogAxis('x', xs, chart.x_ticks, kMostTicks, last);
  if (chart.log_y) {
    return script + fmt::format("set yrange [{}:{}]\n", ys.low / kAround, ys.high * kAround) +
           LogAxis('y', ys, {}, y_ticks, true);
  }
  if (ys.low == ys.high) {  // gnuplot would have many ticks of one text
    const double margin = ys.low == 0 ? 1 : std::abs(ys.low) / 2;
    return script + fmt::format("set yrange [{}:{}]\nset ytics ('{:.6g}' {})\n", ys.low - margin,
                                ys.high + margin, ys.low, ys.low);
  }
  // A line along the upper end would be taken for the frame.
  script += chart.y_most ? fmt::format("set yrange [*:{}]\n", ys.high)
                         : std::string("set offsets 0, 0, graph 0.03, 0\n");
  return script + fmt::format("set ytics {}\n", RoundStep((ys.high - ys.low) / y_ticks));
}

}  // namespace

void DrawChart(const LineChart& chart, const fs::path& file) { DrawPanels({chart}, file); }

void DrawPanels(const std::vector<LineChart>& charts, const fs::path& file) {
  constexpr double kTitle = 44, kFirst = 360, kOther = 150, kGap = 22, kAxis = 56;
  Range xs;
  std::vector<Range> ys(charts.size());
  for (size_t i = 0; i < charts.size(); ++i) AddRanges(charts[i], xs, ys[i]);
  const LineChart& first = charts.front();
  for (const Mark& m : first.marks) {
    xs.Add(m.from);
    xs.Add(m.to);
  }
  if (xs.low == xs.high) {
    xs = first.log_x ? Range{xs.low / 2, xs.high * 2} : Range{xs.low - 1, xs.high + 1};
  }

  std::vector<std::string> notes;
  for (size_t i = 0; i < charts.size(); ++i) {
    if (!charts[i].y_most || ys[i].high <= *charts[i].y_most) continue;
    notes.push_back(fmt::format("The {} is cut off at {:.3g}; it reaches {:.3g}", charts[i].y_label,
                                *charts[i].y_most, ys[i].high));
    ys[i].high = *charts[i].y_most;
    ys[i].low = std::min(ys[i].low, ys[i].high);
  }

  Frame frame;
  const std::vector<Label> labels = PlaceLabels(first, frame, xs);
  size_t rows = 0;
  for (const Label& l : labels) rows = std::max(rows, l.row + 1);
  const double notes_end = kTitle + kLine * static_cast<double>(notes.size());
  const double top = notes_end + kLine * static_cast<double>(rows) + (rows > 0 ? 6 : 0);
  const double others = static_cast<double>(charts.size() - 1);
  const Legend legend = LegendOf(charts, frame);
  frame.height = static_cast<int>(top + kFirst + others * (kOther + kGap) + kAxis + legend.height);

  std::string script = Start(file, frame.width, frame.height);
  script += fmt::format("set multiplot\nset lmargin at screen {}\nset rmargin at screen {}\n",
                        frame.left / frame.width, frame.right / frame.width);
  script += fmt::format("set key at screen 0.5, screen {} center bottom horizontal maxcols {}\n",
                        8.0 / frame.height, legend.columns);
  double begin = top;
  for (size_t i = 0; i < charts.size(); ++i) {
    const bool last = i + 1 == charts.size();
    LineChart chart = charts[i];
    const double end = begin + (i == 0 ? kFirst : kOther);
    script += fmt::format("set tmargin at screen {}\nset bmargin at screen {}\n", frame.Up(begin),
                          frame.Up(end));
    script += MarksScript(labels, frame, i == 0 ? top - kLine / 2 - 6 : 0);
    if (i == 0) {
      for (size_t k = 0; k < notes.size(); ++k) {
        script += fmt::format("set label {} at screen 0.5, screen {} center tc rgb '#606060'\n",
                              Quoted(notes[k]),
                              frame.Up(kTitle + kLine * (static_cast<double>(k) + 0.2)));
      }
      script += fmt::format("set label {} at screen 0.5, screen {} center\n", Quoted(first.title),
                            frame.Up(kTitle / 2));
    }
    // gnuplot would put it beside the ticks, here and there, and leaves it out if they are long.
    script += fmt::format("set label {} at screen 0.02, screen {} center rotate by 90\n",
                          Quoted(chart.y_label), frame.Up((begin + end) / 2));
    chart.title.clear();
    chart.y_label.clear();
    if (!last) chart.x_label.clear();
    script += AxesScript(chart, xs, ys[i], end - begin, last);
    script += LinesScript(chart, fmt::format("p{}s", i)) + "set yrange [*:*]\nunset offsets\n";
    begin = end + kGap;
  }
  WriteFileAtomically(file, RunGnuplot(script + "unset multiplot\n"));
}

void DrawCharts(const std::vector<LineChart>& charts, int columns, const fs::path& file) {
  constexpr int kWidth = 260, kHeight = 170, kFont = 10;
  const int rows = (static_cast<int>(charts.size()) + columns - 1) / columns;
  std::string script = Start(file, columns * kWidth, rows * kHeight, kFont) +
                       fmt::format(
                           "set multiplot layout {},{}\n"
                           "set offsets 0, 0, graph 0.06, graph 0.06\n",
                           rows, columns);
  for (size_t i = 0; i < charts.size(); ++i) {
    // Only the extremes are marked: there is no room for more.
    Range xs, ys;
    AddRanges(charts[i], xs, ys);
    script +=
        fmt::format("set ytics ('{0:.3g}' {0}, '{1:.3g}' {1})\nunset key\n", ys.low, ys.high) +
        LinesScript(charts[i], fmt::format("c{}s", i));
  }
  WriteFileAtomically(file, RunGnuplot(script + "unset multiplot\n"));
}

void DrawChart(const ContourChart& chart, const fs::path& file) {
  const size_t columns = chart.x.size(), rows = chart.y.size();
  if (columns < 2 || rows < 2 || chart.z.size() != columns * rows) {
    throw Error(fmt::format("chart \"{}\": a grid of {} by {} with {} values", chart.title, columns,
                            rows, chart.z.size()));
  }
  const auto drawn = [&](double z) { return std::isfinite(z) && (!chart.log_z || z > 0); };
  std::vector<double> values;
  std::copy_if(chart.z.begin(), chart.z.end(), std::back_inserter(values), drawn);
  if (values.empty()) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const std::vector<double> levels = Levels(*low, *high, chart.log_z, kContours);

  std::string script = Start(file) + Texts(chart.title, chart.x_label, chart.y_label);
  script += fmt::format(
      "set view map\nset size ratio -1\nset xrange [{}:{}]\nset yrange [{}:{}]\n"
      "set palette defined ({})\nset cblabel {}\nset key inside top right opaque\n",
      chart.x.front(), chart.x.back(), chart.y.front(), chart.y.back(), kPalette,
      Quoted(chart.z_label));
  if (chart.log_z) script += "set logscale z\nset logscale cb\n";
  // A range of its own where all values are one, which gnuplot refuses.
  if (*low == *high) {
    const double margin = chart.log_z || *low != 0 ? std::abs(*low) / 2 : 1;
    script +=
        fmt::format("set zrange [{0}:{1}]\nset cbrange [{0}:{1}]\n", *low - margin, *high + margin);
  }
  script += "$grid << END\n";
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) {
      const double z = chart.z[i * columns + j];
      script += fmt::format("{} {} {}\n", chart.x[j], chart.y[i],
                            drawn(z) ? fmt::format("{}", z) : "NaN");
    }
    script += "\n";
  }
  script += "END\n";
  std::vector<std::string> plots = {"$grid using 1:2:3 with pm3d nocontour notitle"};
  if (!levels.empty()) {
    // The scale of colours says where the lines are.
    std::vector<std::string> marks;
    for (const double level : levels) marks.push_back(fmt::format("'{0:g}' {0}", level));
    script += fmt::format(
        "set contour base\nset cntrparam levels discrete {}\nset cntrlabel onecolor\n"
        "set cbtics ({})\n",
        fmt::join(levels, ","), fmt::join(marks, ", "));
    plots.emplace_back("$grid using 1:2:3 with lines nosurface lc rgb 'white' lw 1.5 notitle");
  }
  if (!chart.mark.empty()) {
    script += fmt::format("$mark << END\n0 0 {}\nEND\n", *low);
    plots.push_back(fmt::format(
        "$mark using 1:2:3 with points nocontour pt 2 ps 1.5 lw 2 lc rgb '#d55e00' title {}",
        Quoted(chart.mark)));
  }
  WriteFileAtomically(file, RunGnuplot(script + fmt::format("splot {}\n", fmt::join(plots, ", "))));
}

}  // namespace kudari::lab
