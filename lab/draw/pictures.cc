#include "lab/draw/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "lab/draw/plot.h"
#include "lab/draw/svg.h"
#include "lab/files/encode_image.h"

namespace kudari::lab {
namespace {

constexpr double kLeastSide = 320;  // of a picture in an SVG, the longer one, in pixels
constexpr double kTextLine = 18, kPageMargin = 10;

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

// How much larger a picture is shown than it is.
double Zoom(const Image& image) {
  const auto side = static_cast<double>(std::max(image.width, image.height));
  return std::max(1.0, std::ceil(kLeastSide / side));
}

void DrawPictureFrame(SvgElement svg, const PictureFrame& frame, double zoom, double top) {
  const LineStyle style = StyleOf(static_cast<size_t>(frame.colour));
  const double x = kPageMargin + zoom * frame.left, y = top + zoom * frame.top;
  svg.Rect({x, y, kPageMargin + zoom * frame.right, top + zoom * frame.bottom},
           {.stroke = style.colour, .width = 3});
  // Inside of the frame if there is no room above it.
  const double text = zoom * frame.top < kTextLine ? y + kTextLine - 4 : y - 4;
  svg.Text({x + 4, text}, frame.label, {.colour = style.text, .halo = true});
}

}  // namespace

std::string PicturesSvg(const std::vector<FramedPicture>& pictures) {
  double width = 2 * kLeastSide, height = kPageMargin;
  for (const FramedPicture& picture : pictures) {
    const double zoom = Zoom(picture.image);
    width = std::max(width, zoom * static_cast<double>(picture.image.width) + 2 * kPageMargin);
    height += kTextLine + zoom * static_cast<double>(picture.image.height) + kPageMargin;
  }
  SvgDocument svg(width, height, "Pictures", fmt::format("{} pictures", pictures.size()));
  double top = kPageMargin;
  for (const FramedPicture& picture : pictures) {
    const double zoom = Zoom(picture.image);
    const double high = zoom * static_cast<double>(picture.image.height);
    svg.root().Text({kPageMargin, top + kTextLine - 4}, picture.caption);
    top += kTextLine;
    SvgElement image = svg.root().Add("image");
    image.Set("x", kPageMargin).Set("y", top).Set("height", high);
    image.Set("width", zoom * static_cast<double>(picture.image.width));
    image.Set("style", zoom > 1 ? "image-rendering: pixelated" : "image-rendering: auto");
    image.Set("href", "data:image/png;base64," + Base64(EncodePng(picture.image)));
    for (const PictureFrame& frame : picture.frames) {
      DrawPictureFrame(svg.root(), frame, zoom, top);
    }
    top += high + kPageMargin;
  }
  return svg.Text();
}

Image ImageGrid(const std::vector<Image>& images, int64_t columns) {
  constexpr int64_t kLeast = 48, kGap = 2;  // a side of an image, and between two, in pixels
  constexpr uint8_t kGrey = 128;            // of the gaps, so that black and white images end
  const int64_t width = images.front().width, height = images.front().height;
  const int64_t shorter = std::min(width, height), zoom = (kLeast + shorter - 1) / shorter;
  const int64_t rows = (std::ssize(images) + columns - 1) / columns;
  Image grid{columns * (width * zoom + kGap) + kGap, rows * (height * zoom + kGap) + kGap, {}};
  grid.rgb.resize(static_cast<size_t>(3 * grid.width * grid.height), kGrey);
  for (int64_t i = 0; i < std::ssize(images); ++i) {
    const int64_t left = kGap + i % columns * (width * zoom + kGap);
    const int64_t top = kGap + i / columns * (height * zoom + kGap);
    const std::vector<uint8_t>& from = images[static_cast<size_t>(i)].rgb;
    for (int64_t y = 0; y < height * zoom; ++y) {
      for (int64_t x = 0; x < width * zoom; ++x) {
        const auto at = static_cast<size_t>(3 * (y / zoom * width + x / zoom));
        const auto to = static_cast<size_t>(3 * ((top + y) * grid.width + left + x));
        std::copy_n(&from[at], 3, &grid.rgb[to]);
      }
    }
  }
  return grid;
}

}  // namespace kudari::lab
