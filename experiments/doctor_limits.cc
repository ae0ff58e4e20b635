// The C++ side of experiments/doctor_limits.py: src/doctor with limits that can be set. Reads logs
// from the file that is named, each a line of JSON that says what it is and the lines of the log;
// then, from standard input, lines of "limit=value" with spaces between them. Answers each line
// with a line for each log: a list of verdict, confidence and evidence for each finding. The empty
// line stands for the limits as they are, and "limits" is answered with one line, a list of all
// limits and their values.
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "experiments/doctor_limit.h"
#include "kudari/doctor.h"
#include "lab/logs/run_log.h"

namespace {

using kudari::experiments::Limits;

std::vector<kudari::RunLog> ReadLogs(const std::string& path) {
  struct Text {
    nlohmann::json head;
    std::string lines;
  };
  std::vector<Text> texts;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(R"({"log":)")) {
      texts.push_back({nlohmann::json::parse(line), ""});
    } else {
      texts.back().lines += line + "\n";
    }
  }
  std::vector<kudari::RunLog> logs;
  for (const Text& text : texts) {
    logs.push_back(
        kudari::lab::ParseRunLog(text.lines, text.head["log"].get<std::string>(),
                                 {.steps_per_epoch = text.head["steps_per_epoch"].get<int64_t>()}));
    const auto planned = text.head["planned_steps"].get<int64_t>();
    if (planned > 0) logs.back().planned_steps = planned;
  }
  return logs;
}

void Set(const std::string& settings) {
  for (auto& [name, limit] : Limits()) limit.value = limit.shipped;
  std::istringstream in(settings);
  for (std::string setting; in >> setting;) {
    const size_t equals = setting.find('=');
    const auto limit = Limits().find(setting.substr(0, equals));
    if (limit == Limits().end()) throw std::runtime_error("no limit: " + setting);
    limit->second.value = std::stod(setting.substr(equals + 1));
  }
}

void PrintLimits() {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, limit] : Limits()) json[name] = limit.shipped;
  std::puts(json.dump().c_str());
}

void Answer(const std::vector<kudari::RunLog>& logs) {
  for (const kudari::RunLog& log : logs) {
    nlohmann::json findings = nlohmann::json::array();
    for (const kudari::Finding& f : kudari::Diagnose(log).findings) {
      findings.push_back({std::string(kudari::InfoOf(f).name), f.confidence, f.evidence});
    }
    std::puts(findings.dump().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw std::runtime_error("usage: doctor_limits LOGS < SETTINGS");
    const std::vector<kudari::RunLog> logs = ReadLogs(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      if (line == "limits") {
        PrintLimits();
      } else {
        Set(line);
        Answer(logs);
      }
      std::fflush(stdout);
    }
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
