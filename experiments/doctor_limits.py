#!/usr/bin/env python3
"""Measures the limits of `kudari doctor`: how often each check is right and wrong, what changes where a
limit is moved, and how well limits that are fitted on some logs do on others.

usage: python3 experiments/doctor_limits.py --algoperf REPOSITORY [--program PROGRAM] [--jobs N]
                                            [--cross-validate]   fit on some logs, count on the others
                                            [--page]             write the tables into docs
       python3 experiments/doctor_limits.py --check    whether docs/doctor-limits.md has today's limits
       python3 experiments/doctor_limits.py --sources FOLDER     the sources of PROGRAM, for the build

PROGRAM is `cmake --build build/release --target doctor_limits`: src/doctor with its constants looked up
by name (experiments/doctor_limit_sources.py), so that what is measured is what is shipped. The logs are
those of doctor_real.py and doctor.py, each in two parts. On the first limits may be set: the public logs,
AlgoPerf's submissions up to the letter g, and the suite's development half. The others are only counted.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import doctor_limit_sources

PAGE = pathlib.Path("docs/doctor-limits.md")
SETS = {"public": "public logs", "algoperf": "AlgoPerf", "suite": "suite"}

# What each check says, by which its findings are told.
CHECKS = [
    ("divergence.cc", "FindNonfinite", "diverged", "was not finite at step"),
    ("divergence.cc", "FindNonfiniteGradients", "diverged", "gradient's norm is not finite"),
    ("divergence.cc", "FindZeros", "diverged", "to exactly 0"),
    ("divergence.cc", "FindDivergence", "diverged", ", rose to "),
    ("divergence.cc", "FindCollapse", "diverged", "and is back at"),
    ("integrity.cc", "FindRestart", "restart", ""),
    ("rates.cc", "FindRise", "lr_too_high", "the smoothed loss rose from"),
    ("rates.cc", "FindRise, stuck", "lr_too_high", "and is still"),
    ("rates.cc", "FindEndAboveLowest", "lr_too_high", "the smoothed loss was"),
    ("rates.cc", "FindDrift", "lr_too_high", "rises over the whole log"),
    ("rates.cc", "FindWave", "lr_too_high", "went up and down"),
    ("rates.cc", "FindShortWarmup", "warmup_too_short", ""),
    ("rates.cc", "FindLowRate", "lr_too_low", ""),
    ("stalls.cc", "FindConstant", "plateau", "the loss is always|evaluations: what is learned"),
    ("stalls.cc", "FindPlateau, hardly fallen", "plateau", "it had fallen by"),
    ("stalls.cc", "FindPlateau, at a high rate", "plateau", "of the highest learning rate"),
    ("stalls.cc", "FindEndedSchedule", "schedule_ended_early", ""),
    ("stalls.cc", "FindUnderfitting", "underfitting", ""),
    ("validation.cc", "FindOverfitting", "overfitting", ""),
    ("validation.cc", "FindNonfiniteValidation", "val_nonfinite", ""),
    ("bad_data.cc", "FindBadData", "data_problem", ""),
    ("tensors.cc", "FindGradientFlow", "vanishing_gradients", ""),
    ("tensors.cc", "FindGradientFlow, ratio", "exploding_gradients", "next to the output"),
    ("tensors.cc", "FindGradientFlow, sensitivity", "exploding_gradients", "at first a change"),
    ("tensors.cc", "FindDeadTensors", "dead_tensors", "that were measured"),
    ("tensors.cc", "FindUpdateRatios, fast", "update_ratio", "times as fast"),
    ("tensors.cc", "FindUpdateRatios, slow", "update_ratio", "of the pace"),
    ("tensors.cc", "FindPinnedTrust", "trust_ratio_pinned", ""),
    ("records.cc", "FindNoGradient", "dead_tensors", "nothing is trained"),
    ("records.cc", "FindSummedAccumulation", "accumulation_sum", ""),
    ("records.cc", "FindScaleCollapse", "loss_scale_thrash", "the loss scale fell"),
    ("records.cc", "FindScaleThrash", "loss_scale_thrash", "were skipped by overflow"),
    ("records.cc", "FindLostUpdates", "updates_lost", ""),
]


@dataclasses.dataclass
class Log:
    set: str
    source: str        # logs of one source are never in two parts
    text: str
    name: str = "log.csv"
    healthy: bool = False
    accept: frozenset = frozenset()   # any of these is right
    allowed: frozenset = frozenset()  # these are not wrong
    steps_per_epoch: int = 0
    planned_steps: int = 0

    def wrong(self, given):
        return given - self.accept - self.allowed

    def missed(self, given):
        return bool(self.accept) and not given & self.accept


def public_logs():
    import doctor_real
    return [Log("public", (entry["source"] or [entry["file"]])[0], text,
                healthy=entry["class"] == "healthy", accept=frozenset(entry["accept"]))
            for entry, text in doctor_real.read_stored() if entry["class"] != "uncertain"]


def algoperf_logs(repository):
    """Those of which limits may be set, and the others."""
    import doctor_real
    parts = [], []
    for log in doctor_real.algoperf_examined(repository):
        parts[log.is_counted].append(
            Log("algoperf", log.submission, log.text, healthy=log.kind == "healthy",
                accept=frozenset(doctor_real.ALGOPERF_ACCEPT[log.kind])))
    return parts


def suite_logs(half):
    import doctor
    return [Log("suite", head["run"], "\n".join(lines) + "\n", "metrics.jsonl", not head["labels"],
                frozenset(head["labels"]), frozenset(head["allowed"]), head["steps_per_epoch"],
                head["planned_steps"])
            for head, lines in doctor.load(half)]


class Doctor:
    """The findings on some logs with any limits."""

    def __init__(self, program, logs):
        self.logs, self.known = logs, {}
        self.file = tempfile.NamedTemporaryFile("w", suffix=".txt")
        for log in logs:
            head = {"log": log.name, "steps_per_epoch": log.steps_per_epoch,
                    "planned_steps": log.planned_steps}
            text = log.text if log.text.endswith("\n") else log.text + "\n"
            self.file.write(json.dumps(head).replace(": ", ":") + "\n" + text)
        self.file.flush()
        self.process = subprocess.Popen([program, self.file.name], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def findings(self, settings=()):
        """Of each log, its findings: lists of verdict, confidence and evidence."""
        self.process.stdin.write(" ".join(f"{name}={value!r}" for name, value in settings) + "\n")
        self.process.stdin.flush()
        return [json.loads(self.process.stdout.readline()) for _ in self.logs]

    def verdicts(self, settings=()):
        """Of each log, the set of its verdicts; kept."""
        settings = tuple(sorted(settings))
        if settings not in self.known:
            self.known[settings] = [frozenset(f[0] for f in found) for found in self.findings(settings)]
        return self.known[settings]


def errors(logs, verdicts):
    """Counts: false alarms of healthy and not judgeable logs, misses of ill ones, and their rates."""
    n = collections.Counter()
    for log, given in zip(logs, verdicts):
        ill = bool(log.accept)
        n["ill" if ill else "sound"] += 1
        n["missed" if ill else "alarms"] += log.missed(given) if ill else bool(log.wrong(given))
        n["verdicts"] += len(given - log.allowed)
        n["right"] += len(given & log.accept)
    return n


# ---- The page ----

def by_check(logs, findings):
    """Rows: of each check, on which logs it was right, wrong on ill ones, and wrong on healthy ones."""
    lines = ["| file | check | verdict | " + " | ".join(
        f"{name}: right | wrong | false alarms" for name in SETS.values()) + " |",
        "|---|---|---|" + "---:|" * (3 * len(SETS))]
    counts = collections.Counter()
    for log, found in zip(logs, findings):
        for verdict, _, evidence in found:
            check = next(i for i, (_, _, name, says) in enumerate(CHECKS)
                         if name == verdict and re.search(says, evidence))
            if verdict in log.allowed:
                continue
            what = "right" if verdict in log.accept else "wrong" if log.accept else "alarm"
            counts[check, log.set, what] += 1
    for i, (file, name, verdict, _) in enumerate(CHECKS):
        cells = [str(counts[i, part, what] or "") for part in SETS for what in ("right", "wrong", "alarm")]
        lines.append(f"| {file} | {name} | `{verdict}` | " + " | ".join(cells) + " |")
    return lines


def by_verdict(logs, findings):
    """Rows: of how many ill logs each verdict is right of, and how many of those got it."""
    lines = ["| verdict | " + " | ".join(f"{name}: found | of" for name in SETS.values()) + " |",
             "|---|" + "---:|" * (2 * len(SETS))]
    for verdict in dict.fromkeys(verdict for _, _, verdict, _ in CHECKS):
        cells = []
        for part in SETS:
            due = [any(f[0] == verdict for f in found) or bool({f[0] for f in found} & log.accept)
                   for log, found in zip(logs, findings) if log.set == part and verdict in log.accept]
            cells += [str(sum(due)), str(len(due))] if due else ["", ""]
        lines.append(f"| `{verdict}` | " + " | ".join(cells) + " |")
    return lines


def moved(limit, factor):
    """Another value: a number above 1 is 1 and a part, one above a half 1 less a part."""
    value = limit.value
    if isinstance(value, int):
        return max(1, value + (1 if factor > 1 else -1) * max(1, round(value * abs(factor - 1))))
    if 1 < value < 10:
        return 1 + (value - 1) * factor
    return 1 - (1 - value) * factor if 0.5 < value < 1 else value * factor


def by_limit(doctor, limits):
    """Rows: what changes where a limit is moved, in misses and false alarms."""
    shipped = errors(doctor.logs, doctor.verdicts())

    def change(settings):
        n = errors(doctor.logs, doctor.verdicts(settings))
        return [f"{n[key] - shipped[key]:+d}" if n[key] != shipped[key] else "" for key in ("missed", "alarms")]
    lines = ["| file | limit | value | lower | misses | false alarms | higher | misses | false alarms |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    for limit in limits:
        cells = []
        for value in sorted((moved(limit, 2 / 3), moved(limit, 3 / 2))):
            cells += [f"{value:.3g}", *(change([(limit.name, value)]) if value != limit.value else ["", ""])]
        lines.append(f"| {limit.file} | `{limit.name}` | {limit.text} | " + " | ".join(cells) + " |")
    return lines


def totals(name, logs, verdicts):
    lines = ["| logs | healthy or not judgeable | false alarms | ill | missed | verdicts | right |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for part, title in SETS.items():
        pairs = [(log, given) for log, given in zip(logs, verdicts) if log.set == part]
        n = errors(*zip(*pairs))
        lines.append(f"| {title}, {name} | {n['sound']} | {n['alarms']} | {n['ill']} | {n['missed']} | "
                     f"{n['verdicts']} | {n['right']} |")
    return lines


# ---- Cross-validation ----

FITTED = ("divergence.cc", "rates.cc", "stalls.cc", "validation.cc")
FACTORS = (0.5, 0.7, 1, 1.4, 2)
FOLDS = 4


def for_fits(setting):
    """Fewer logs, since a fit examines them hundreds of times: of AlgoPerf's healthy logs a quarter, and
    of the suite one seed of the runs whose fault shows in the losses."""
    of_tensors = {verdict for file, _, verdict, _ in CHECKS if file in ("tensors.cc", "records.cc", "bad_data.cc")}
    seen, healthy, kept = set(), 0, []
    for log in setting:
        if log.set == "algoperf" and log.healthy:
            healthy += 1
            if healthy % 4 > 0:
                continue
        if log.set == "suite":
            if log.source in seen or log.accept & of_tensors:
                continue
            seen.add(log.source)
        kept.append(log)
    return kept


def that_decide(doctor, limits):
    """The limits that change any verdict where they are half or twice as far."""
    shipped = doctor.verdicts()
    return [limit for limit in limits if any(doctor.verdicts([(limit.name, moved(limit, factor))]) != shipped
                                             for factor in (FACTORS[0], FACTORS[-1]))]


class Fit:
    """Limits that are fitted on some logs, from a random start."""

    def __init__(self, doctor, limits, logs, seed):
        self.doctor, self.limits, self.logs = doctor, limits, logs
        self.random = random.Random(seed)
        self.choice = [self.random.randrange(len(FACTORS)) for _ in limits]

    def settings(self, choice):
        return [(limit.name, moved(limit, FACTORS[k])) for limit, k in zip(self.limits, choice)
                if FACTORS[k] != 1]

    def score(self, choice):
        """The mean over the sets of how many healthy logs are silent, ill ones named and verdicts right,
        all as shares; where that is the same, what is nearer to the middle of what is tried."""
        verdicts = self.doctor.verdicts(self.settings(choice))
        score = 0
        for part in SETS:
            here = [i for i in self.logs if self.doctor.logs[i].set == part]
            n = errors([self.doctor.logs[i] for i in here], [verdicts[i] for i in here])
            score += 3 - n["alarms"] / n["sound"] - n["missed"] / n["ill"] - 1 + n["right"] / max(1, n["verdicts"])
        return score / len(SETS) - 1e-5 * sum(abs(k - len(FACTORS) // 2) for k in choice)

    def run(self):
        """Goes through the limits once, in a random order, and keeps the best factor of each."""
        best = self.score(self.choice)
        for i in self.random.sample(range(len(self.limits)), len(self.limits)):
            for k in set(range(len(FACTORS))) - {self.choice[i]}:
                other = [*self.choice[:i], k, *self.choice[i + 1:]]
                score = self.score(other)
                if score > best + 1e-9:
                    best, self.choice = score, other
        return self.settings(self.choice)


def cross_validate(options, setting, counted, limits):
    """Tables of what was found with limits that were fitted on other logs."""
    sources = sorted({log.source for log in setting if log.set == "public"})
    random.Random(1).shuffle(sources)
    fold_of = {source: k % FOLDS for k, source in enumerate(sources)}

    setting = for_fits(setting)
    limits = that_decide(Doctor(options.program, setting), limits)
    print(f"{len(limits)} limits, {len(setting)} logs", file=sys.stderr, flush=True)

    def one(fold):
        doctor = Doctor(options.program, setting)
        held_out = [i for i, log in enumerate(setting)
                    if log.set == "public" and fold_of[log.source] == fold]
        settings = Fit(doctor, limits, sorted(set(range(len(setting))) - set(held_out)), fold).run()
        verdicts = doctor.verdicts(settings)
        others = Doctor(options.program, counted).verdicts(settings)
        print(f"fold {fold + 1} of {FOLDS}: {len(doctor.known)} settings", file=sys.stderr, flush=True)
        return ([(setting[i], verdicts[i]) for i in held_out], list(zip(counted, others)))

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        folds = list(pool.map(one, range(FOLDS)))
    lines = ["| logs | silent of healthy and not judgeable | named of ill | verdicts right |",
             "|---|---:|---:|---:|"]
    for title, pairs in [("public logs, the part held out", [p for held, _ in folds for p in held]),
                         ("AlgoPerf's other submissions, mean of the fits",
                          [p for _, other in folds for p in other if p[0].set == "algoperf"]),
                         ("suite, held-out half, mean of the fits",
                          [p for _, other in folds for p in other if p[0].set == "suite"])]:
        n = errors(*zip(*pairs))
        times = 1 if "mean" not in title else FOLDS

        def of(part, whole):
            return f"{part / times:.4g} of {whole / times:.4g}, {100 * part / whole:.1f} %"
        lines.append(f"| {title} | {of(n['sound'] - n['alarms'], n['sound'])} | "
                     f"{of(n['ill'] - n['missed'], n['ill'])} | {of(n['right'], n['verdicts'])} |")
    return lines


def check(limits):
    """Whether the page lists the limits of the sources, with their values."""
    listed = re.findall(r"^\| (\S+) \| `([\w.]+)` \| ([^|]+) \|", PAGE.read_text(), re.M)
    known = [(limit.file, limit.name, limit.text) for limit in limits]
    for limit in [*(set(known) - set(listed)), *(set(listed) - set(known))]:
        print("differs from docs/doctor-limits.md:", *limit)
    return 0 if listed == known else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--algoperf", type=pathlib.Path, help="clone of AlgoPerf's submissions")
    parser.add_argument("--program", default="build/release/experiments/doctor_limits")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time")
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--page", action="store_true", help="write the tables into docs")
    options = parser.parse_args()
    if options.sources:
        doctor_limit_sources.write(options.sources)
        return 0
    limits = doctor_limit_sources.all_limits()
    if options.check:
        return check(limits)
    import doctor_real
    setting, counted = algoperf_logs(options.algoperf)
    setting = public_logs() + setting + suite_logs("development")
    counted = counted + suite_logs("held_out")
    if options.cross_validate:
        lines = cross_validate(options, setting, counted, [limit for limit in limits if limit.file in FITTED])
        print("\n".join(lines))
        if options.page:
            doctor_real.write_page("cross", lines, PAGE)
        return 0
    doctor = Doctor(options.program, setting)
    findings = doctor.findings()
    parts = {"totals": totals("development", setting, doctor.verdicts()),
             "checks": by_check(setting, findings), "verdicts": by_verdict(setting, findings),
             "limits": by_limit(doctor, limits)}
    for name, lines in parts.items():
        print("\n".join(lines) + "\n")
        if options.page:
            doctor_real.write_page(name, lines, PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
