#include "lab/draw/pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/read_svg.h"

namespace kudari::lab {
namespace pictures_test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Image Filled(int64_t width, int64_t height, uint8_t shade) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height), shade)};
}

uint8_t ShadeAt(const Image& image, int64_t x, int64_t y) {
  return image.rgb[static_cast<size_t>(3 * (y * image.width + x))];
}

// RFC 4648, the other way round.
std::string FromBase64(std::string_view text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    uint32_t digit = 62;
    if (c >= 'A' && c <= 'Z') digit = static_cast<uint32_t>(c - 'A');
    if (c >= 'a' && c <= 'z') digit = static_cast<uint32_t>(c - 'a' + 26);
    if (c >= '0' && c <= '9') digit = static_cast<uint32_t>(c - '0' + 52);
    if (c == '/') digit = 63;
    if (c == '=') break;
    bits = bits << 6 | digit;
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 255);
  }
  return bytes;
}

TEST(ImageGrid, EachImageHasItsPlace) {
  std::vector<Image> images;
  for (int i = 0; i < 5; ++i) images.push_back(Filled(50, 60, static_cast<uint8_t>(40 * i)));
  images[4].rgb[0] = 255;
  const Image grid = ImageGrid(images, 3);
  EXPECT_EQ(grid.width, 3 * 52 + 2);
  EXPECT_EQ(grid.height, 2 * 62 + 2);
  EXPECT_EQ(ShadeAt(grid, 2, 2), 0);
  EXPECT_EQ(ShadeAt(grid, 54, 61), 40);
  EXPECT_EQ(ShadeAt(grid, 106 + 49, 2), 80);
  EXPECT_EQ(ShadeAt(grid, 2, 64), 120);
  EXPECT_EQ(ShadeAt(grid, 54, 64), 255);
  EXPECT_EQ(ShadeAt(grid, 55, 64), 160);
  EXPECT_EQ(ShadeAt(grid, 0, 0), 128);     // a margin
  EXPECT_EQ(ShadeAt(grid, 52, 30), 128);   // a gap
  EXPECT_EQ(ShadeAt(grid, 106, 70), 128);  // where the sixth would be
}

TEST(ImageGrid, SmallImagesAreEnlarged) {
  Image image = Filled(8, 8, 0);
  image.rgb[3] = 200;  // the second pixel
  const Image grid = ImageGrid({image}, 1);
  EXPECT_EQ(grid.width, 48 + 4);
  EXPECT_EQ(ShadeAt(grid, 2 + 5, 2), 0);
  EXPECT_EQ(ShadeAt(grid, 2 + 6, 2), 200);
  EXPECT_EQ(ShadeAt(grid, 2 + 11, 2 + 5), 200);
  EXPECT_EQ(ShadeAt(grid, 2 + 12, 2), 0);
}

TEST(PicturesSvg, HasThePicturesAndWhatIsInThem) {
  Image image = Filled(160, 80, 7);
  image.rgb[4] = 99;
  const std::string svg = PicturesSvg(
      {{.image = image,
        .caption = "a<b>&.png: 2 boxes",
        .frames = {{.left = 10, .top = 20, .right = 30, .bottom = 50, .label = "R&D \x1b[0m"}}},
       {.image = Filled(400, 10, 0), .caption = "plain.png: cat 99.00%"}});
  EXPECT_THAT(kudari::testing::TextsOf(svg),
              ElementsAre("a<b>&.png: 2 boxes", "R&D \\x1b[0m", "plain.png: cat 99.00%"));
  // Twice as large as it is, and so is the frame.
  EXPECT_THAT(svg, HasSubstr("<image x=\"10\" y=\"28\" height=\"160\" width=\"320\""));
  EXPECT_THAT(svg, HasSubstr("<rect x=\"30\" y=\"68\" width=\"40\" height=\"60\""));
  EXPECT_THAT(svg, HasSubstr("<image x=\"10\" y=\"216\" height=\"10\" width=\"400\""));
  const std::string begin = "data:image/png;base64,";
  const size_t at = svg.find(begin) + begin.size();
  const Image again = DecodeImage(FromBase64(svg.substr(at, svg.find('"', at) - at)));
  EXPECT_EQ(again.width, 160);
  EXPECT_EQ(again.rgb, image.rgb);
}

}  // namespace pictures_test
}  // namespace kudari::lab
