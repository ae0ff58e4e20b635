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

#include "kudari/error.h"
#include "kudari/files.h"

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

// Round numbers between low and high: steps of 1, 2 or 5 times a power of ten; logarithmic ones are
// digits times powers of ten, fewer of them the more powers there are.
std::vector<double> Levels(double low, double high, bool logarithmic) {
  std::vector<double> levels;
  const double decades = logarithmic ? std::log10(high / low) : 0;
  if (decades > 1) {
    std::vector<double> digits = {1};
    if (decades < 6) digits = {1, 2, 5};
    if (decades < 2) digits = {1, 1.5, 2, 3, 4, 5, 7};
    for (double power = std::floor(std::log10(low)); power <= std::log10(high); ++power) {
      for (const double digit : digits) levels.push_back(digit * std::pow(10, power));
    }
  } else if (high > low) {
    const double rough = (high - low) / kContours;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double step = power * (rough < 2 * power ? 2 : rough < 5 * power ? 5 : 10);
    for (double k = std::floor(low / step); k * step <= high; ++k) levels.push_back(k * step);
  }
  std::erase_if(levels, [&](double level) { return level <= low || level >= high; });
  return levels;
}

}  // namespace

void CheckChartFile(const fs::path& file) {
  if (file.extension() == ".svg" || file.extension() == ".png") return;
  throw Error(fmt::format("{}: a picture must be named .svg or .png", file.string()));
}

namespace {

// What draws the lines; `name` tells the data of charts in one picture apart.
std::string LinesScript(const LineChart& chart, const std::string& name) {
  std::string script = Texts(chart.title, chart.x_label, chart.y_label);
  script += "set grid lc rgb '#d8d8d8'\nset key top center\n";
  if (chart.log_x) script += "set logscale x\nset format x '%.0e'\n";
  if (chart.log_y) script += "set logscale y\n";
  std::vector<std::string> plots;
  bool something = false;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    if (s.x.size() != s.y.size()) {
      throw Error(fmt::format("chart \"{}\", series \"{}\": {} values of x and {} of y",
                              chart.title, s.label, s.x.size(), s.y.size()));
    }
    script += fmt::format("${}{} << END\n", name, i);
    for (size_t k = 0; k < s.x.size(); ++k) {
      const bool drawn = std::isfinite(s.x[k]) && std::isfinite(s.y[k]) &&
                         (!chart.log_x || s.x[k] > 0) && (!chart.log_y || s.y[k] > 0);
      something = something || drawn;
      script += drawn ? fmt::format("{} {}\n", s.x[k], s.y[k]) : std::string("\n");
    }
    script += "END\n";
    plots.push_back(fmt::format("${}{} using 1:2 with {} lw 2 lc rgb '{}' dt {} {}", name, i,
                                chart.points ? "linespoints pt 7 ps 0.4" : "lines",
                                kColors[i % kColors.size()], i / kColors.size() + 1,
                                s.label.empty() ? "notitle" : "title " + Quoted(s.label)));
  }
  if (!something) throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  return script + fmt::format("plot {}\n", fmt::join(plots, ", "));
}

}  // namespace

void DrawChart(const LineChart& chart, const fs::path& file) {
  WriteFileAtomically(file, RunGnuplot(Start(file) + LinesScript(chart, "s")));
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
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const Series& s : charts[i].series) {
      for (const double y : s.y) {
        if (!std::isfinite(y)) continue;
        low = std::min(low, y);
        high = std::max(high, y);
      }
    }
    script += fmt::format("set ytics ('{0:.3g}' {0}, '{1:.3g}' {1})\n", low, high) +
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
  const std::vector<double> levels = Levels(*low, *high, chart.log_z);

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
