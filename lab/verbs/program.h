#ifndef KUDARI_LAB_VERBS_PROGRAM_H_
#define KUDARI_LAB_VERBS_PROGRAM_H_

namespace kudari::lab {

struct Training;  // both in siblings.h
struct Fetching;

/// Runs the program with all commands; `training` and `fetching` as in Context. Prints errors;
/// returns the exit code for main: 0, 1 for an error or a run that diverged, 2 for arguments that
/// cannot be understood.
int RunProgram(int argc, char** argv, const Training* training, const Fetching* fetching = nullptr);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_PROGRAM_H_
