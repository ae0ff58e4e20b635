#ifndef KUDARI_DOCTOR_INTEGRITY_H_
#define KUDARI_DOCTOR_INTEGRITY_H_

#include "kudari/doctor.h"

namespace kudari::internal {

/// The one run of a log that is judged: its steps rise.
struct SoundLog {
  RunLog log = {};
  /// Whether its losses are those of the evaluations, since the training loss ends long before.
  bool of_validation = false;
};

/// Takes from a log what can be judged as one run: of several runs the longest, of a run that was
/// resumed what was done last, and of one whose weights were lost what came after. Adds to the
/// diagnosis the run, and what it came across: notes, and the verdicts on restarts.
SoundLog MakeSound(const RunLog& log, Diagnosis& diagnosis);

/// Adds notes on numbers of the judged run that are odd: losses that are not finite or zero.
void NoteOddities(const RunLog& log, Diagnosis& diagnosis);

}  // namespace kudari::internal

#endif  // KUDARI_DOCTOR_INTEGRITY_H_
