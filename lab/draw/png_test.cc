#include "lab/draw/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lab/draw/chart.h"
#include "lab/draw/svg.h"
#include "lab/files/decode_image.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace png_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

int RedAt(const Image& image, int64_t x, int64_t y) {
  return image.rgb[static_cast<size_t>(3 * (y * image.width + x))];
}

TEST(PngOfSvg, HasTwiceThePixels) {
  SvgDocument svg(40, 30, "", "");
  svg.root().Rect({10, 10, 20, 20}, {.fill = "#c80000"});
  const Image image = DecodeImage(PngOfSvg(svg.Text()));
  EXPECT_EQ(image.width, 80);
  EXPECT_EQ(image.height, 60);
  EXPECT_EQ(RedAt(image, 30, 30), 200);
  EXPECT_EQ(RedAt(image, 10, 10), 255);
  EXPECT_EQ(RedAt(image, 19, 30), 255);
  EXPECT_EQ(RedAt(image, 20, 20), 200);
}

TEST(PngOfSvg, ChartsAreDrawn) {
  const kudari::testing::TemporaryFolder dir;
  const LineChart chart{.title = "t", .series = {{"a", {0, 1}, {1, 2}}}};
  DrawChart(chart, dir / "c.png");
  const Image image = DecodeImage(ReadTextFile(dir / "c.png"));
  EXPECT_EQ(image.width, 1600);
  EXPECT_GT(image.height, 700);
}

TEST(PngOfSvg, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf([] { PngOfSvg("<svg"); }), HasSubstr("librsvg cannot draw the picture: "));
}

}  // namespace png_test
}  // namespace kudari::lab
