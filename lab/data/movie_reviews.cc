// Sentences of film reviews that people rated from -4 to 4 for sentiment (Hutto and Gilbert 2014,
// from Pang and Lee's snippets): a line for each, "number TAB mean rating TAB text". Those above 0
// are positive, those below are negative, and those of 0 are left out.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/labelled.h"
#include "lab/data/parts/utf8.h"
#include "lab/files/unpack.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReviews = "movieReviewSnippets_GroundTruth.txt";

const internal::OptionTable<LabelledOptions>& MovieTable() {
  static const internal::OptionTable<LabelledOptions> table = LabelledTable<LabelledOptions>();
  return table;
}

fs::path FindMovieReviews(const fs::path& path) {
  return FindFolder(path, {.file = kReviews,
                           .subfolders = {"movie-reviews"},
                           .how = "download it with kudari data get movie-reviews"});
}

LabelledFile ReadReviews(const fs::path& path) {
  const std::string bytes = ReadUnpacked(path);
  CheckUtf8(bytes, path);
  std::string_view rest = bytes;
  LabelledFile file{.path = path, .texts = {}};
  for (int64_t number = 1; !rest.empty(); ++number) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t first = std::min(line.find('\t'), line.size());
    const size_t second = std::min(line.find('\t', first + 1), line.size());
    double rating = 0;
    const char* const end = line.data() + second;
    const auto [read, error] = first < second
                                   ? std::from_chars(line.data() + first + 1, end, rating)
                                   : std::from_chars_result{end, std::errc::invalid_argument};
    if (error != std::errc() || read != end || second == line.size()) {
      throw Error(path.string() + ": line " + std::to_string(number) + " is " + Quoted(line) +
                  ", but must be a number, a rating and a text");
    }
    if (rating == 0) continue;
    file.texts.push_back({.text = std::string(line.substr(second + 1)),
                          .pair = {},
                          .label = rating > 0 ? 1 : 0,
                          .line = number});
  }
  return file;
}

Dataset LoadMovieReviews(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<LabelledOptions>(config.options);
  LabelledTexts texts{.name = "movie-reviews",
                      .classes = 2,
                      .train = ReadReviews(Require(FindMovieReviews(config.path), kReviews)),
                      .validation = {},
                      .test = {}};
  if (texts.train.texts.empty()) throw Error(texts.train.path.string() + ": has no ratings");
  return MakeLabelled(texts, options, config.validation, seed);
}

}  // namespace

DataEntry DescribeMovieReviews() {
  return {
      .name = "movie-reviews",
      .doc = "sentences of film reviews, positive or negative",
      .options = MakeOwnOptions(LabelledOptions(), MovieTable()),
      .load = &LoadMovieReviews,
      .source = {.name = "movie-reviews",
                 .folder = "movie-reviews",
                 .contents = "10,568 sentences of film reviews with ratings, 5,242 positive and "
                             "5,326 negative",
                 .home = "https://github.com/cjhutto/vaderSentiment, by PyPI's vaderSentiment",
                 .licence = "MIT; cite Hutto and Gilbert 2014, VADER",
                 .files = {{.address = "https://files.pythonhosted.org/packages/ab/3c/"
                                       "8c63fad2e90fb7f60fb2a15d91edcef2659ba5fe18b728a5"
                                       "9087f7a412e0/vaderSentiment-0.5.zip",
                            .checksum = "5d97c37f3ef6e24eef331122e055dbed"
                                        "afeb6a56abfce0608b326701116ea49a",
                            .bytes = 2448964,
                            .kept = {std::string("hutto_ICWSM_2014/") + kReviews},
                            .archive = true,
                            .inner = "vaderSentiment-0.5/additional_resources/"
                                     "hutto_ICWSM_2014.tar.gz"}}},
      .find = &FindMovieReviews};
}

}  // namespace kudari::lab
