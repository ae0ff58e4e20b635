#include "lab/verbs/predict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/data/parts/resize.h"
#include "lab/draw/pictures.h"
#include "lab/files/image_files.h"
#include "lab/files/output_file.h"
#include "lab/files/text_file.h"
#include "lab/train/image_predictor.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kMostDrawn = 100;  // pictures of one SVG

void CheckPredictOptions(const PredictOptions& options) {
  if (options.top && *options.top < 1) {
    throw UsageError(fmt::format("--top {}: is outside [1, ...]", *options.top));
  }
  if (options.threshold && !(*options.threshold >= 0 && *options.threshold <= 1)) {
    throw UsageError(fmt::format("--threshold {:g}: is outside [0, 1]", *options.threshold));
  }
  if (!options.out.empty() && options.out.extension() != ".svg") {
    throw UsageError(
        fmt::format("--out {}: must be the name of an SVG, NAME.svg", options.out.string()));
  }
}

// The picture at a size that a page has room for, and what is drawn in it.
FramedPicture Drawn(const Image& image, std::string caption, std::vector<PictureFrame> frames) {
  constexpr int64_t kMostSide = 640;
  const int64_t side = std::max(image.width, image.height);
  if (side <= kMostSide) {
    return {.image = image, .caption = std::move(caption), .frames = std::move(frames)};
  }
  const ImageSize size = {.width = std::max<int64_t>(1, image.width * kMostSide / side),
                          .height = std::max<int64_t>(1, image.height * kMostSide / side)};
  const auto area = static_cast<size_t>(size.width * size.height);
  std::vector<float> planes(3 * area);
  ScaleAndCrop(image, size, size, planes);
  Image smaller{size.width, size.height, std::vector<uint8_t>(3 * area)};
  for (size_t i = 0; i < 3 * area; ++i) {
    smaller.rgb[i] = static_cast<uint8_t>(std::lround(planes[i % 3 * area + i / 3]));
  }
  const double share = static_cast<double>(kMostSide) / static_cast<double>(side);
  for (PictureFrame& frame : frames) {
    for (double* const edge : {&frame.left, &frame.top, &frame.right, &frame.bottom}) {
      *edge *= share;
    }
  }
  return {.image = std::move(smaller), .caption = std::move(caption), .frames = std::move(frames)};
}

// Goes through the pictures and keeps what is to be said of them in the end.
class PictureReport {
 public:
  PictureReport(const PredictOptions& options, std::FILE* console, std::FILE* errors)
      : options_(options), console_(console), errors_(errors), predictor_(options.run) {
    const std::string& model = predictor_.recipe().model.name();
    if (predictor_.finds_boxes() && options.top) {
      throw UsageError(fmt::format("--top is for classes, and \"{}\" finds boxes", model));
    }
    if (!predictor_.finds_boxes() && options.threshold) {
      throw UsageError(fmt::format("--threshold is for boxes, and \"{}\" finds classes", model));
    }
  }

  // A file, or all images in a folder and below it.
  void Add(const fs::path& path) {
    std::error_code ignored;
    try {
      if (!fs::is_directory(path, ignored)) return AddFile(path);
      const std::vector<fs::path> images = ImagesIn(path);
      if (images.empty()) Fail(path, "has no image, no file named .jpg, .jpeg or .png");
      for (const fs::path& image : images) AddFile(image);
    } catch (const fs::filesystem_error& e) {
      Fail(e.path1(), e.code().message());
    }
  }

  // Writes the files that were asked for; returns whether nothing was wrong.
  bool Finish() {
    if (!options_.json.empty()) {
      const Json json = {{"run", options_.run.string()},
                         {"model", predictor_.recipe().model.name()},
                         {"data", predictor_.card().name},
                         {"files", files_}};
      WriteOutput(options_.json, JsonText(json, 2) + "\n");
    }
    if (!options_.out.empty()) {
      WriteOutput(options_.out, PicturesSvg(drawn_));
      fmt::print(console_, "written {}, {}\n", Printable(options_.out.string()),
                 Counted(std::ssize(drawn_), "picture"));
    }
    return sound_;
  }

 private:
  void Fail(const fs::path& path, const std::string& why) {
    sound_ = false;
    fmt::print(errors_, "kudari: {}: {}\n", Printable(path.string()), Printable(why));
    files_.push_back({{"file", path.string()}, {"error", why}});
  }

  void AddFile(const fs::path& path) {
    Image image;
    try {
      image = DecodeImage(ReadTextFile(path));
    } catch (const Error& e) {
      // Some name the file themselves.
      const std::string what = e.what(), name = path.string() + ": ";
      return Fail(path, what.starts_with(name) ? what.substr(name.size()) : what);
    }
    Json found = {{"file", path.string()}, {"width", image.width}, {"height", image.height}};
    std::vector<PictureFrame> frames;
    const std::string text =
        predictor_.finds_boxes() ? Boxes(image, found, frames) : Classes(image, found);
    const std::string line = Printable(path.string()) + ": " + text;
    fmt::print(console_, "{}\n", line);
    for (const PictureFrame& f : frames) {
      fmt::print(console_, "  {}, from {:.1f}, {:.1f} to {:.1f}, {:.1f}\n", Printable(f.label),
                 f.left, f.top, f.right, f.bottom);
    }
    files_.push_back(std::move(found));
    if (!options_.out.empty() && drawn_.size() < kMostDrawn) {
      drawn_.push_back(Drawn(image, line, std::move(frames)));
    }
  }

  std::string Classes(const Image& image, Json& found) {
    constexpr int64_t kTop = 3;
    std::vector<ClassScore> classes = predictor_.Classes(image);
    classes.resize(static_cast<size_t>(std::min(options_.top.value_or(kTop), std::ssize(classes))));
    std::vector<std::string> texts;
    for (const ClassScore& c : classes) {
      const std::string name = predictor_.card().ClassName(c.label);
      texts.push_back(Printable(name) + " " + Percent(c.score));
      found["classes"].push_back({{"label", c.label}, {"class", name}, {"probability", c.score}});
    }
    return fmt::format("{}", fmt::join(texts, ", "));
  }

  std::string Boxes(const Image& image, Json& found, std::vector<PictureFrame>& frames) {
    found["boxes"] = Json::array();
    constexpr double kThreshold = 0.25;
    for (const ObjectBox& b : predictor_.Boxes(image, options_.threshold.value_or(kThreshold))) {
      const std::string name = predictor_.card().ClassName(b.label);
      frames.push_back({.left = b.left,
                        .top = b.top,
                        .right = b.right,
                        .bottom = b.bottom,
                        .label = name + " " + Percent(b.score),
                        .colour = b.label});
      found["boxes"].push_back({{"label", b.label},
                                {"class", name},
                                {"score", b.score},
                                {"box", {b.left, b.top, b.right, b.bottom}}});
    }
    return frames.empty()
               ? "nothing found"
               : fmt::format("{} {}", frames.size(), frames.size() == 1 ? "box" : "boxes");
  }

  const PredictOptions& options_;
  std::FILE* console_;
  std::FILE* errors_;
  ImagePredictor predictor_;
  Json files_ = Json::array();
  std::vector<FramedPicture> drawn_;
  bool sound_ = true;
};

}  // namespace

bool Predict(const PredictOptions& options, std::FILE* console, std::FILE* errors) {
  CheckPredictOptions(options);
  PictureReport report(options, console, errors);
  for (const fs::path& path : options.files) report.Add(path);
  return report.Finish();
}

}  // namespace kudari::lab
