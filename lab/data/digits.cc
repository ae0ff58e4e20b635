// The 8x8 digits of scikit-learn (UCI optical recognition of handwritten digits): digits.csv.gz or
// digits.csv, a row of 64 values from 0 to 16 and the label. It comes in one piece: `validation`
// is a share of the whole, in [0, 0.8), and a fifth, drawn with the seed too, becomes the test
// samples.
#include <charconv>
#include <cmath>
#include <random>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/files/unpack.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr double kDigitsTest = 0.2;

fs::path FindDigits(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> looked;
  for (const fs::path& root : DataRoots(path)) {
    if (fs::is_regular_file(root, ignored)) return root;
    looked.insert(looked.end(), {root, root / "digits"});
  }
  for (const fs::path& folder : looked) {
    if (auto found = FindIn(folder, "digits.csv")) return *found;
  }
  if (path.empty()) {
    fs::path built_in = KUDARI_DIGITS;
    if (fs::is_regular_file(built_in, ignored)) return built_in;
    if (!built_in.empty()) looked.push_back(built_in);
  }
  throw Error("data: no digits.csv.gz at " + AsList(looked) +
              "; download it with kudari data get digits, or set data.path in the recipe or "
              "KUDARI_DATA to the folder that holds scikit-learn's digits.csv.gz");
}

Dataset LoadDigits(const DataConfig& config, uint64_t seed) {
  const fs::path path = config.path;
  const double validation = config.validation;
  CheckShare(validation, 1 - kDigitsTest);
  constexpr size_t kPixels = 64;
  const fs::path file = FindDigits(path);
  const std::string text = ReadUnpacked(file);
  Dataset data{.name = "digits", .shape = {1, 8, 8}, .classes = 10, .brightest = 16};
  Split& all = data.train;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    for (size_t column = 0; column <= kPixels; ++column) {
      int value = 0;
      const auto result = std::from_chars(at, end, value);
      const int most = column < kPixels ? 16 : 9;
      const char* after = result.ptr;
      if (after < end && *after == '\r') ++after;
      const bool closed =
          column < kPixels ? after < end && *after == ',' : after == end || *after == '\n';
      if (result.ec != std::errc() || value < 0 || value > most || !closed) {
        throw Error(file.string() + ": line " + std::to_string(all.samples + 1) + ", column " +
                    std::to_string(column + 1) +
                    ": must be 64 integers from 0 to 16 and a label from 0 to 9");
      }
      at = after == end ? end : after + 1;
      if (column < kPixels) {
        all.x.push_back(static_cast<float>(value));
      } else {
        all.labels.push_back(value);
      }
    }
    ++all.samples;
  }
  if (all.samples == 0) throw Error(file.string() + ": is empty");
  std::mt19937_64 random(seed);
  data.test = TakeOut(all, data.classes, kDigitsTest, random);
  data.validation = TakeOut(all, data.classes, validation / (1 - kDigitsTest), random);
  Standardize(data);
  return data;
}

}  // namespace

DataEntry DescribeDigits() {
  return {
      .name = "digits",
      .doc = "8x8 images of handwritten digits, in ten classes; a fifth of them form the test set",
      .load = &LoadDigits,
      .source = {.name = "digits",
                 .folder = "digits",
                 .contents = "1,797 images of 8x8, ten digits",
                 .home = "https://archive.ics.uci.edu/dataset/80, by PyPI's package scikit-learn",
                 .licence = "CC BY 4.0; scikit-learn: BSD-3-Clause",
                 .files = {{.address =
                                "https://files.pythonhosted.org/packages/69/46/f8b95a7a16fd13"
                                "b458401d5e85a63d88ecb3679f3649812d5fdbea4c8357/"
                                "scikit_learn-1.9.1-cp311-cp311-"
                                "manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
                            .checksum = "52a0703bbc07ad27f560fa63fa68e4c5"
                                        "4dd735bfbbf65b4dd3c225dc7547b6df",
                            .bytes = 9315422,
                            .kept = {"sklearn/datasets/data/digits.csv.gz"},
                            .archive = true}}},
      .find = &FindDigits};
}

}  // namespace kudari::lab
