#ifndef KUDARI_LAB_DEMO_DEMO_H_
#define KUDARI_LAB_DEMO_DEMO_H_

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lab/draw/chart.h"

namespace kudari::lab {

/// A number that a demonstration can be shown with another value of, by --set.
struct DemoParameter {
  std::string name = {};
  double value = 0;          ///< unless it is set
  double low = 0, high = 0;  ///< both included
  std::string doc = {};      ///< a clause without a full stop
  bool whole = false;        ///< an integer
};

/// The values that a demonstration is run with.
class DemoSettings {
 public:
  /// The parameters' own values, apart from what `sets`, texts such as "lr=0.1", change. Throws
  /// UsageError for a negative seed, for a text without "=", with the nearest name for an unknown
  /// one, and for what is not a number or out of range.
  DemoSettings(std::span<const DemoParameter> parameters, std::span<const std::string> sets,
               int64_t seed);

  /// The value of a parameter, which must be one of the demonstration's.
  double operator()(std::string_view name) const;
  /// The same for a parameter that is whole.
  int64_t Whole(std::string_view name) const;
  /// The seed of all that is random, at least 0.
  uint64_t seed() const { return static_cast<uint64_t>(seed_); }

 private:
  std::vector<DemoParameter> parameters_;
  int64_t seed_;
};

/// What a demonstration has to show.
struct DemoResult {
  std::string text = {};                ///< a few lines on what is to be seen, with numbers
  nlohmann::ordered_json numbers = {};  ///< an object, for JSON
  std::vector<LineChart> charts = {};   ///< the lines that are drawn, for JSON
  std::string svg = {};                 ///< the picture
  std::vector<std::string> next = {};   ///< commands to try next
};

/// Something that the sources teach beside training, shown by the library's own code. The same
/// settings give the same bytes.
struct Demo {
  std::string_view name = {}, summary = {}, source = {};  ///< summary is a sentence
  std::vector<DemoParameter> parameters = {};
  DemoResult (*run)(const DemoSettings& settings) = nullptr;
};

/// All demonstrations in the order of the course: descent, optimisers, practice, sharpness.
std::span<const Demo> Demos();

/// The demonstration with that name. Throws UsageError with the nearest name.
const Demo& FindDemo(std::string_view name);

/// What `kudari demo` is asked for.
struct DemoOptions {
  std::string name = {};
  std::vector<std::string> sets = {};  ///< as DemoSettings reads them
  int64_t seed = 1;
  std::filesystem::path svg = {};   ///< of the picture, .svg or .png; empty: none
  std::filesystem::path json = {};  ///< of all numbers, "-" for standard output; empty: none
};

/// Runs a demonstration, prints what it shows, its parameters and what to try next, and writes the
/// files that are asked for. Throws UsageError as FindDemo, DemoSettings and CheckChartFile do,
/// before anything is written.
void ShowDemo(const DemoOptions& options, std::FILE* console);

/// Prints the demonstrations with their summaries and the sections that they belong to.
void ListDemos(std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DEMO_DEMO_H_
