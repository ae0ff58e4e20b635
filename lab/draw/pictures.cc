#include "lab/draw/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "core/quoted.h"
#include "lab/files/encode_image.h"

namespace kudari::lab {
namespace {

// Okabe and Ito's colours, which colour-blind people can tell apart, but for black.
constexpr std::array<std::string_view, 7> kColours = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                                      "#e69f00", "#56b4e9", "#f0e442"};
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

std::string XmlText(std::string_view text) {
  std::string safe;
  for (const char c : internal::Printable(text)) {
    if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else {
      safe += c;
    }
  }
  return safe;
}

// How much larger a picture is shown than it is.
double Zoom(const Image& image) {
  const auto side = static_cast<double>(std::max(image.width, image.height));
  return std::max(1.0, std::ceil(kLeastSide / side));
}

std::string FrameSvg(const PictureFrame& frame, double zoom, double top) {
  const std::string_view colour = kColours[static_cast<size_t>(frame.colour) % kColours.size()];
  const double x = kPageMargin + zoom * frame.left, y = top + zoom * frame.top;
  // Inside of the frame if there is no room above it.
  const double text = zoom * frame.top < kTextLine ? y + kTextLine - 4 : y - 4;
  return fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" "
      "stroke=\"{}\" stroke-width=\"3\"/>\n"
      "<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\" stroke=\"white\" stroke-width=\"3\" "
      "paint-order=\"stroke\">{}</text>\n",
      x, y, zoom * (frame.right - frame.left), zoom * (frame.bottom - frame.top), colour, x + 4,
      text, colour, XmlText(frame.label));
}

}  // namespace

std::string PicturesSvg(const std::vector<FramedPicture>& pictures) {
  std::string body;
  double width = 0, top = kPageMargin;
  for (const FramedPicture& picture : pictures) {
    const double zoom = Zoom(picture.image);
    const double wide = zoom * static_cast<double>(picture.image.width);
    const double high = zoom * static_cast<double>(picture.image.height);
    body += fmt::format("<text x=\"{:g}\" y=\"{:g}\">{}</text>\n", kPageMargin, top + kTextLine - 4,
                        XmlText(picture.caption));
    top += kTextLine;
    body += fmt::format(
        "<image x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\" "
        "style=\"image-rendering: {}\" href=\"data:image/png;base64,{}\"/>\n",
        kPageMargin, top, wide, high, zoom > 1 ? "pixelated" : "auto",
        Base64(EncodePng(picture.image)));
    for (const PictureFrame& frame : picture.frames) body += FrameSvg(frame, zoom, top);
    width = std::max(width, wide);
    top += high + kPageMargin;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:g}\" height=\"{1:g}\" "
      "font-family=\"sans-serif\" font-size=\"14\">\n"
      "<rect width=\"{0:g}\" height=\"{1:g}\" fill=\"white\"/>\n{2}</svg>\n",
      std::max(width + 2 * kPageMargin, 2 * kLeastSide), top, body);
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
