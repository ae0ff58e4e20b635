#include "lab/landscape/landscape.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"
#include "lab/files/text_file.h"
#include "lab/landscape/optimizer_json.h"
#include "lab/landscape/page_data.h"

namespace kudari::lab {

extern const std::string_view kLandscapePage;  // page.html

namespace {

using Json = nlohmann::ordered_json;

std::string PlaceText(Position at) { return fmt::format("({:.4g}, {:.4g})", at.x, at.y); }

// The first step after which a run has come down by 99 % of what there is, or "-".
std::string SoonText(const Surface& surface, const Descent& descent) {
  constexpr double kRest = 0.01;
  const double height = descent.losses.front() - surface.lowest;
  for (size_t step = 0; step < descent.losses.size(); ++step) {
    if (descent.losses[step] - surface.lowest <= kRest * height) return fmt::format("{}", step);
  }
  return "-";
}

std::string RateText(const Course& course) {
  return course.runner.spec.options.at("lr").Text() + (course.runner.lr_given ? "" : " *");
}

// A way of a course with the label that it has in pictures.
struct NamedWay {
  std::string label;
  const Descent* descent;
};

// That of the trained weights, and then, if there is one, that of the weights to evaluate.
std::vector<NamedWay> WaysOf(const Course& course) {
  std::vector<NamedWay> ways = {{course.runner.label, &course.descent}};
  if (course.evaluated) ways.push_back({course.runner.label + ", to evaluate", &*course.evaluated});
  return ways;
}

void Print(const Surface& surface, const std::vector<Course>& courses, int64_t steps,
           std::FILE* console) {
  std::vector<std::vector<std::string>> rows = {
      {"optimiser", "learning rate", "down by 99 % at", "loss at the end", "end", ""}};
  bool chosen = false;
  for (const Course& course : courses) {
    chosen = chosen || !course.runner.lr_given;
    for (const NamedWay& way : WaysOf(course)) {
      const bool trained = way.descent == &course.descent;
      rows.push_back(
          {trained ? way.label : "  to evaluate", trained ? RateText(course) : "",
           SoonText(surface, *way.descent), fmt::format("{:.4g}", way.descent->losses.back()),
           PlaceText(way.descent->places.back()), EndText(surface, *way.descent, steps)});
    }
  }
  const Position start = courses.front().descent.places.front();
  std::fputs(fmt::format("{}: {}\n{}\n{} from {}, where the loss is {:.4g}\n\n{}", surface.name,
                         surface.formula, surface.shows, Counted(steps, "step"), PlaceText(start),
                         courses.front().descent.losses.front(), TextTable(rows))
                 .c_str(),
             console);
  if (chosen) {
    std::fputs(
        fmt::format("* the smallest of 1e-4, 2e-4, 5e-4 ... {:g} with which the second half of the "
                    "steps is about as low as with the best\n",
                    LearningRates().back())
            .c_str(),
        console);
  }
}

Json CoursesJson(const Surface& surface, const std::vector<Course>& courses) {
  Json json = SurfaceJson(surface);
  json["runs"] = Json::array();
  for (const Course& course : courses) {
    Json run = {{"label", course.runner.label},
                {"lr", course.runner.spec.options.at("lr").Text()},
                {"lr_given", course.runner.lr_given}};
    run.update(WayJson(course.descent));
    if (course.evaluated) run["evaluated"] = WayJson(*course.evaluated);
    json["runs"].push_back(std::move(run));
  }
  return json;
}

// What contours and curves show: logarithms are of what is above the lowest.
std::string HeightLabel(const Surface& surface) {
  return surface.lowest == 0 ? "loss" : "loss above the lowest";
}

// Contours and paths, as lab/draw takes them.
ContourChart MapOf(const Surface& surface, const std::vector<Course>& courses) {
  ContourChart map = SurfaceMap(surface, surface.low, surface.high);
  for (const Course& course : courses) {
    for (const NamedWay& way : WaysOf(course)) {
      ChartPath path{.label = way.label};
      for (const Position& place : way.descent->places) {
        path.x.push_back(place.x);
        path.y.push_back(place.y);
      }
      map.paths.push_back(std::move(path));
    }
  }
  return map;
}

LineChart CurvesOf(const Surface& surface, const std::vector<Course>& courses) {
  LineChart curves{
      .title = "", .x_label = "step", .y_label = HeightLabel(surface), .points = false};
  for (const Course& course : courses) {
    for (const NamedWay& way : WaysOf(course)) {
      Series series{.label = way.label};
      for (size_t step = 0; step < way.descent->losses.size(); ++step) {
        series.x.push_back(static_cast<double>(step));
        series.y.push_back(way.descent->losses[step] - surface.lowest);
        curves.log_y = curves.log_y || series.y.back() > 0;  // it is not, if all stay at a minimum
      }
      curves.series.push_back(std::move(series));
    }
  }
  return curves;
}

// The playground's page, which begins with these courses.
std::string PlaygroundPage(const LandscapeOptions& options, const Surface& surface,
                           const std::vector<Course>& courses) {
  constexpr std::string_view kPlace = "<script id=\"settings\" type=\"application/json\">",
                             kNone = "null";
  std::string page = ReadTextFile(options.playground);
  const size_t place = page.find(std::string(kPlace).append(kNone).append("</script>"));
  if (place == std::string::npos) {
    throw Error(fmt::format("{}: is not the page that `make playground` writes",
                            options.playground.string()));
  }
  const Position start = courses.front().descent.places.front();
  Json settings = {{"function", surface.name},       {"start", {start.x, start.y}},
                   {"steps", options.descent.steps}, {"noise", options.descent.noise},
                   {"seed", options.descent.seed},   {"optimizers", Json::array()}};
  for (const Course& course : courses) {
    settings["optimizers"].push_back({{"label", course.runner.label},
                                      {"lr_given", course.runner.lr_given},
                                      {"optimizer", OptimizerJson(course.runner.spec)}});
  }
  return page.replace(place + kPlace.size(), kNone.size(), ScriptText(settings));
}

void CheckFiles(const LandscapeOptions& options) {
  if (!options.svg.empty()) CheckChartFile(options.svg);
  if (options.animated && (options.view_3d || options.svg.extension() != ".svg")) {
    throw UsageError("landscape: only contours in a file named .svg can play the steps");
  }
}

}  // namespace

void ListSurfaces(std::FILE* console) {
  std::vector<std::vector<std::string>> rows;
  for (const Surface& surface : Surfaces()) {
    rows.push_back({std::string(surface.name), std::string(surface.formula)});
    rows.push_back({"", std::string(surface.shows)});
  }
  std::fputs(
      (TextTable(rows) + "\nkudari landscape rosenbrock --svg rosenbrock.svg draws one.\n").c_str(),
      console);
}

ContourChart SurfaceMap(const Surface& surface, Position low, Position high) {
  constexpr size_t kCells = 200;
  HeightGrid grid = GridOf(surface.loss, low, high, kCells, kCells);
  ContourChart map{.title = std::string(surface.name) + ": " + std::string(surface.formula),
                   .x_label = "x",
                   .y_label = "y",
                   .z_label = HeightLabel(surface),
                   .log_z = surface.log_levels};
  const double most = *std::ranges::max_element(grid.height) - surface.lowest;
  for (double& loss : grid.height) {
    loss -= surface.lowest;
    if (surface.log_levels) loss = std::max(loss, most * kLeastShare);
  }
  map.x = std::move(grid.x);
  map.y = std::move(grid.y);
  map.z = std::move(grid.height);
  for (const Position& m : surface.minima) map.points.push_back({.x = m.x, .y = m.y});
  return map;
}

std::string LandscapePage(const Surface& surface, const std::vector<Course>& courses) {
  Json json = CoursesJson(surface, courses);
  json["grid"] = GridJson(surface);
  for (size_t k = 0; k < courses.size(); ++k) json["runs"][k].update(StyleJson(k));
  constexpr std::string_view kPlace = "KUDARI_DATA";
  std::string page(kLandscapePage);
  return page.replace(page.find(kPlace), kPlace.size(), ScriptText(json));
}

void ShowLandscape(const LandscapeOptions& options, std::FILE* console) {
  CheckFiles(options);
  const Surface& surface = FindSurface(options.function);
  std::vector<Course> courses;
  for (const std::vector<std::string>* texts : {&options.runners, &options.tables}) {
    for (const std::string& text : *texts) courses.push_back({ReadRunner(text), {}});
  }
  if (courses.empty() || courses.size() > kMostRunners) {
    throw UsageError(fmt::format("landscape: {} optimisers, which is not in [1, {}]",
                                 courses.size(), kMostRunners));
  }
  for (Course& course : courses) {
    OptimizerSpec& spec = course.runner.spec;
    try {
      if (!course.runner.lr_given) {
        spec.options.insert_or_assign("lr", BestLearningRate(surface, spec, options.descent));
      }
      spec = Complete(spec);
      EvaluatedWay evaluated(surface);
      course.descent = Descend(surface, spec, options.descent,
                               [&evaluated](Optimizer& optimizer) { evaluated.Watch(optimizer); });
      course.evaluated = evaluated.Way();
    } catch (const UsageError&) {
      throw;
    } catch (const Error& e) {
      throw Error(course.runner.label + ": " + e.what());
    }
  }
  std::string page;
  if (!options.html.empty()) {
    page = options.playground.empty() ? LandscapePage(surface, courses)
                                      : PlaygroundPage(options, surface, courses);
  }
  Print(surface, courses, options.descent.steps, console);
  if (!options.svg.empty()) {
    const ContourChart map = MapOf(surface, courses);
    if (options.view_3d) {
      DrawSurface(map, options.svg);
    } else {
      DrawLandscape(map, CurvesOf(surface, courses), options.animated, options.svg);
    }
  }
  if (!options.html.empty()) WriteOutput(options.html, page);
  if (!options.json.empty())
    WriteOutput(options.json, JsonText(CoursesJson(surface, courses), 2) + "\n");
}

}  // namespace kudari::lab
