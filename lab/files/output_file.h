#ifndef KUDARI_LAB_FILES_OUTPUT_FILE_H_
#define KUDARI_LAB_FILES_OUTPUT_FILE_H_

#include <cstdio>
#include <filesystem>
#include <string_view>

namespace kudari::lab {

/// Whether an output file is "-", which stands for standard output.
bool IsStandardOutput(const std::filesystem::path& file);

/// Where a command with that output prints what people read: standard error if standard output is
/// for the output.
std::FILE* ConsoleBeside(const std::filesystem::path& output);

/// Writes to standard output for "-", otherwise as WriteFileAtomically does. Throws Error for what
/// the system reports.
void WriteOutput(const std::filesystem::path& file, std::string_view contents);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_OUTPUT_FILE_H_
