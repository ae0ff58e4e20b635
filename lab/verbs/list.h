#ifndef KUDARI_LAB_VERBS_LIST_H_
#define KUDARI_LAB_VERBS_LIST_H_

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace kudari::lab {

/// Prints every rule, source, scale, averager, preset, schedule and recipe table: a line each.
void List(std::FILE* console);

/// Writes all but the tables as JSON to a file, or to standard output for "-".
void ListJson(const std::filesystem::path& file);

/// Prints all about the things of that name; throws Error with the nearest name.
void DescribeByName(std::string_view name, std::FILE* console);

/// Writes the same as JSON, as ListJson does: of the things of that name or, if it is empty, of
/// everything or of every schedule. Throws Error as DescribeByName.
void DescribeJson(std::string_view name, bool schedules, const std::filesystem::path& file);

/// Prints all about everything, or about every schedule.
void DescribeEverything(std::FILE* console);
void DescribeEverySchedule(std::FILE* console);

/// The rules and all that goes with them, except schedules, as one page of Markdown, docs/rules.md:
/// a table of the rules, then a section for each.
std::string RulesPage();

/// The schedules as one page of Markdown, docs/schedules.md: how they are written and combined,
/// then a section for each.
std::string SchedulesPage();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_LIST_H_
