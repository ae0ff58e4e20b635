// kudari: the commands that need LibTorch are left to kudari-train, since loading it takes longer
// than most others take in all.
#include "lab/verbs/program.h"

int main(int argc, char** argv) { return kudari::lab::RunProgram(argc, argv, nullptr); }
