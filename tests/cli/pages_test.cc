// The commands that README.md and docs show, and what the pages say that they print.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "lab/files/text_file.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace pages_test {

namespace fs = std::filesystem;

struct Shown {
  std::string command;             // a line for a shell
  std::vector<std::string> lines;  // of its output; "..." stands for any number of lines
};

// Indented blocks of a page: "    $ kudari ..." with the lines below it, and lines that begin with
// kudari and show no output.
std::vector<Shown> CommandsOf(const std::string& page) {
  std::vector<Shown> commands;
  std::istringstream text(ReadTextFile(fs::path(KUDARI_SOURCE_DIR) / page));
  bool inside = false;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("    $ ") || (!inside && line.starts_with("    kudari "))) {
      const bool prompt = line[4] == '$';
      commands.push_back({line.substr(prompt ? 6 : 4), {}});
      if (!prompt) commands.back().lines = {"..."};
      inside = prompt;
    } else if (!line.empty() && !line.starts_with("    ")) {
      inside = false;
    } else if (inside) {
      commands.back().lines.push_back(line.empty() ? "" : line.substr(4));
    }
  }
  for (Shown& c : commands) {
    while (!c.lines.empty() && c.lines.back().empty()) c.lines.pop_back();
  }
  return commands;
}

std::string OutputOf(const std::string& command, const fs::path& folder, int& status) {
  const std::string line = "cd '" + folder.string() + "' && PATH='" +
                           fs::path(KUDARI_PROGRAM).parent_path().string() + "':$PATH && (" +
                           command + "\n) 2>&1";
  std::string text;
  std::FILE* const pipe = popen(line.c_str(), "r");  // NOLINT(bugprone-command-processor)
  if (pipe == nullptr) throw std::runtime_error("popen failed");
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
  status = pclose(pipe);
  return text;
}

// What is compared of a line. Numbers that training comes to depend on LibTorch and the processor,
// and so do the curves that are drawn of them.
std::string Compared(const std::string& line, bool trained) {
  std::string text = line;
  if (trained) {
    static const std::regex kCurve("^ *[-+0-9.e]* *\\|.*$|^ *\\^+.*$");
    static const std::regex kNumber("[-+]?[0-9][0-9.]*(e[-+]?[0-9]+)?%?");
    static const std::regex kSpace(" +");
    text = std::regex_replace(text, kCurve, "|");
    text = std::regex_replace(text, kNumber, "#");
    text = std::regex_replace(text, kSpace, " ");
  }
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// Whether the lines match from here on.
bool Match(const std::vector<std::string>& shown, size_t i, const std::vector<std::string>& real,
           size_t k) {
  for (; i < shown.size(); ++i, ++k) {
    if (shown[i].find_first_not_of(" .") == std::string::npos && shown[i].ends_with("...")) {
      for (size_t next = k; next <= real.size(); ++next) {
        if (Match(shown, i + 1, real, next)) return true;
      }
      return false;
    }
    if (k == real.size()) return false;
    const size_t rest = shown[i].find("...");
    if (rest == std::string::npos ? shown[i] != real[k]
                                  : !real[k].starts_with(shown[i].substr(0, rest))) {
      return false;
    }
  }
  return k == real.size();
}

std::vector<std::string> FilesOf(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// Those that show commands.
std::vector<std::string> Pages() {
  std::vector<std::string> pages = {
      "README.md",           "docs/lab.md",         "docs/commands.md",
      "docs/checkpoints.md", "docs/figures.md",     "docs/components.md",
      "docs/flatness.md",    "docs/label-noise.md", "docs/looksam-resnet.md",
      "docs/looksam-vit.md", "docs/sensitivity.md", "docs/weight-decay.md"};
  for (const char* const language : {"docs/course/en", "docs/course/ja"}) {
    for (const std::string& name : FilesOf(fs::path(KUDARI_SOURCE_DIR) / language)) {
      pages.push_back(std::string(language) + "/" + name);
    }
  }
  return pages;
}

// Commands that need a file of the user's, minutes, or a Python with torch.
bool IsLeftOut(const std::string& command) {
  return command.find("R.toml") != std::string::npos || command.starts_with("kudari bench") ||
         command.starts_with("kudari sharpness") || command.starts_with("kudari import-torch") ||
         command.starts_with("kudari export-torch");
}

// The commands that a demonstration ends with.
std::vector<std::string> NextCommandsOf(const std::string& shown) {
  std::vector<std::string> commands;
  std::istringstream text(shown.substr(shown.find("\ntry next\n")));
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("  kudari ")) commands.push_back(line.substr(2));
  }
  return commands;
}

TEST(PagesTest, WhatDemonstrationsSayToTryNextRuns) {
  const kudari::testing::TemporaryFolder folder;
  fs::create_directory_symlink(fs::path(KUDARI_SOURCE_DIR) / "recipes", folder / "recipes");
  int status = 0, commands = 0;
  static const std::regex kName("(^|\n)([a-z-]+) \\(");
  const std::string list = OutputOf("kudari demo", folder.path(), status);
  for (std::sregex_iterator name(list.begin(), list.end(), kName), end; name != end; ++name) {
    const std::string demo = "kudari demo " + (*name)[2].str();
    const std::string shown = OutputOf(demo, folder.path(), status);
    ASSERT_EQ(status, 0) << shown;
    for (const std::string& next : NextCommandsOf(shown)) {
      if (next.starts_with("kudari lr-find")) continue;  // needs LibTorch
      const std::string output = OutputOf(next, folder.path(), status);
      EXPECT_EQ(status, 0) << demo << ": " << next << '\n' << output;
      ++commands;
    }
  }
  EXPECT_GT(commands, 40);
}

TEST(PagesTest, TranslationsShowTheSameCommandsAndPictures) {
  const fs::path course = fs::path(KUDARI_SOURCE_DIR) / "docs/course";
  const std::vector<std::string> chapters = FilesOf(course / "en");
  EXPECT_EQ(chapters.size(), 5U);
  EXPECT_EQ(FilesOf(course / "ja"), chapters);
  static const std::regex kPicture("\\]\\((../../figures/[^)]*)\\)");
  const auto shown = [](const std::string& page) {
    std::vector<std::string> all;
    for (const Shown& c : CommandsOf(page)) all.push_back(c.command);
    const std::string text = ReadTextFile(fs::path(KUDARI_SOURCE_DIR) / page);
    for (std::sregex_iterator at(text.begin(), text.end(), kPicture), end; at != end; ++at) {
      all.push_back((*at)[1]);
      EXPECT_TRUE(fs::exists((fs::path(KUDARI_SOURCE_DIR) / page).parent_path() / all.back()))
          << page;
    }
    return all;
  };
  for (const std::string& chapter : chapters) {
    EXPECT_EQ(shown("docs/course/ja/" + chapter), shown("docs/course/en/" + chapter));
  }
}

TEST(PagesTest, CommandsPrintWhatThePagesShow) {
  const kudari::testing::TemporaryFolder folder;
  fs::create_directory_symlink(fs::path(KUDARI_SOURCE_DIR) / "recipes", folder / "recipes");
  fs::create_directory_symlink(fs::path(KUDARI_SOURCE_DIR) / "docs/plots", folder / "plots");
  fs::create_directory(folder / "figures");
  int commands = 0;
  std::set<std::string> ran;  // several pages draw the same picture
  for (const std::string& page : Pages()) {
    for (const Shown& c : CommandsOf(page)) {
      const bool shows = c.lines != std::vector<std::string>{"..."};
      if (!shows && !ran.insert(c.command).second) continue;
      static const std::regex kTrains(
          "^kudari (train|plan|lr-find|sharpness|(doctor|landscape|report) runs)|--check|replay");
      const bool trains = std::regex_search(c.command, kTrains);
#ifndef KUDARI_WITH_TORCH
      if (trains) continue;  // needs LibTorch
#endif
      if (IsLeftOut(c.command)) continue;
      SCOPED_TRACE(std::string(page) + ": " + c.command);
      int status = 0;
      std::istringstream output(OutputOf(c.command, folder.path(), status));
      EXPECT_EQ(status, 0) << output.str();
      std::vector<std::string> real, shown;
      for (std::string line; std::getline(output, line);) real.push_back(Compared(line, trains));
      while (!real.empty() && real.back().empty()) real.pop_back();
      for (const std::string& line : c.lines) shown.push_back(Compared(line, trains));
      EXPECT_TRUE(Match(shown, 0, real, 0)) << output.str();
      ++commands;
    }
  }
#ifdef KUDARI_WITH_TORCH
  constexpr int kLeast = 98;
#else
  constexpr int kLeast = 83;
#endif
  EXPECT_GE(commands, kLeast);
  // The pictures of all pages, which `make figures` draws again.
  const fs::path kept = fs::path(KUDARI_SOURCE_DIR) / "docs/figures";
  const std::vector<std::string> names = FilesOf(kept);
  EXPECT_EQ(FilesOf(folder / "figures"), names);
  for (const std::string& name : names) {
    EXPECT_TRUE(ReadTextFile(folder / "figures" / name) == ReadTextFile(kept / name)) << name;
  }
}

}  // namespace pages_test
}  // namespace kudari::lab
