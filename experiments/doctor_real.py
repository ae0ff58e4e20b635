#!/usr/bin/env python3
"""Counts how often `kudari doctor` is right on real logs that others made, and writes that into
docs/doctor.md.

usage: python3 experiments/doctor_real.py [FOLDER] [--kudari PROGRAM] [--jobs N]
                                          [--store]      keep the logs in tests/doctor (not AlgoPerf's)
                                          [--algoperf REPOSITORY]     count on AlgoPerf's logs as well
                                          [--page]       write the figures into docs/doctor.md
                                          [--stress]     only count verdicts on parts of the healthy logs

FOLDER has logs as CSV files, plain or packed as .xz, and expected.json, a list of
{"file", "kind", "class", "accept", "source"}: class is "healthy" (the doctor should be silent), "ill"
(any of the verdicts in `accept` is right), "uncertain" (not counted) or "not judgeable by loss" (the
doctor should be silent). Without it the logs stored in tests/doctor are read, which
lab/verbs/doctor_logs_test.cc examines as well.

REPOSITORY is a clone of github.com/mlcommons/submissions_algorithms, bare or not. Its logs are read and
never stored. What they are is a rule: healthy if the last validation loss is at most 1.03 times the
lowest; unstable if the last losses of training and validation are both above 1.3 times their lowest;
overfitting if that of validation is above 1.1 times its lowest and that of training at most 1.15 times.
Limits may be set on the logs of submissions up to the letter g, and of one that was looked at as a whole.
Those of the others are only counted: the table of confidences is of them.
"""

import argparse
import collections
import concurrent.futures
import csv
import dataclasses
import io
import json
import lzma
import math
import pathlib
import subprocess
import tempfile

from lab import arguments

STORED = pathlib.Path("tests/doctor/real.csv.xz")
PAGE = pathlib.Path("docs/doctor.md")
UNSTABLE = {"diverged", "lr_too_high", "warmup_too_short"}
STALLED = {"lr_too_low", "plateau", "underfitting"}
SURE = 0.8
ALGOPERF_ACCEPT = {"healthy": set(), "overfitting": {"overfitting"}, "unstable": UNSTABLE}
# Of AlgoPerf's submissions that are only counted, what was in view when the doctor was written.
LOOKED_AT_SUBMISSION = "nadamw_sequential"
LOOKED_AT = {"schedule_free_adamw/study_4/imagenet_resnet_pytorch/trial_2",
             "schedule_free_adamw/study_1/imagenet_resnet_large_bn_init_pytorch/trial_2",
             "schedule_free_prodigy/study_1/wmt_pytorch/trial_1"}


def read_folder(folder):
    """What each log is, and its text."""
    logs = []
    for entry in json.loads((folder / "expected.json").read_text()):
        packed = folder / (entry["file"] + ".xz")
        text = (lzma.decompress(packed.read_bytes()).decode() if packed.exists()
                else (folder / entry["file"]).read_text())
        logs.append((entry, text))
    return logs


def read_stored():
    logs = []
    for line in lzma.decompress(STORED.read_bytes()).decode().splitlines():
        if line.startswith("{"):
            logs.append((json.loads(line), []))
        else:
            logs[-1][1].append(line)
    return [(entry, "\n".join(lines) + "\n") for entry, lines in logs]


def short(cell):
    """The number with five digits, or steps and whatever is no number as they are."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if number.is_integer() or not math.isfinite(number) else f"{number:.5g}"


def store(logs):
    """One file of all logs: a line of JSON that says what each is, and its rows."""
    lines = []
    for entry, text in logs:
        if entry["kind"] == "AlgoPerf":
            continue
        lines.append(json.dumps(entry))
        lines += [",".join(map(short, row)) for row in csv.reader(io.StringIO(text))]
    STORED.write_bytes(lzma.compress(("\n".join(lines) + "\n").encode(), preset=9 | lzma.PRESET_EXTREME))


def examine(options, text):
    """The findings on a log, the surest first: pairs of verdict and confidence."""
    with tempfile.TemporaryDirectory() as folder:
        log, found = pathlib.Path(folder) / "log.csv", pathlib.Path(folder) / "found.json"
        log.write_text(text)
        subprocess.run([options.kudari, "doctor", log, "--json", found], check=True,
                       stdout=subprocess.DEVNULL)
        return [(f["verdict"], f["confidence"]) for f in json.loads(found.read_text())["findings"]]


def examine_all(options, texts):
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda text: examine(options, text), texts))


def group(entry):
    """The row of the confusion table."""
    accept = set(entry["accept"])
    if entry["class"] != "ill":
        return entry["class"]
    if accept & UNSTABLE and accept & STALLED:
        return "ill: unstable or stalled"
    for name, verdicts in (("unstable", UNSTABLE), ("stalled", STALLED)):
        if accept & verdicts:
            return f"ill: {name}"
    return "ill: " + ", ".join(sorted(accept))


def count(examined):
    """Counts over pairs of what a log is and its findings."""
    n = collections.Counter()
    for entry, found in examined:
        given = {verdict for verdict, _ in found}
        if entry["class"] == "healthy":
            n["healthy"] += 1
            n["silent"] += not given
        elif entry["class"] == "ill":
            n["ill"] += 1
            n["named"] += bool(given & set(entry["accept"]))
        elif entry["class"] != "uncertain":
            n["unjudgeable"] += 1
            n["unjudged"] += not given
        if entry["class"] != "uncertain":
            n["verdicts"] += len(given)
            n["right"] += len(given & set(entry["accept"]))
    return n


def summary(name, examined):
    n = count(examined)
    return (f"| {name} | {len(examined)} | {n['silent']} of {n['healthy']} | "
            f"{n['named']} of {n['ill']} | {n['right']} of {n['verdicts']} | "
            f"{n['unjudged']} of {n['unjudgeable']} |")


def confusion(examined):
    """What was given first, by what is true."""
    table = collections.Counter((group(entry), found[0][0] if found else "silent")
                                for entry, found in examined)
    columns = sorted({column for _, column in table} - {"silent"}) + ["silent"]
    lines = ["| true | " + " | ".join(f"`{c}`" if c != "silent" else c for c in columns) + " |",
             "|---|" + "---:|" * len(columns)]
    for row in sorted({row for row, _ in table}):
        cells = [str(table[row, column] or "") for column in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def calibration(judged):
    """How often verdicts of a confidence are right, over pairs of right verdicts and findings."""
    right, given = collections.Counter(), collections.Counter()
    for accept, found in judged:
        for verdict, confidence in found:
            row = "0.8 to 1" if confidence >= SURE else "0.65 to 0.8" if confidence >= 0.65 else "0.5 to 0.65"
            given[row] += 1
            right[row] += verdict in accept
    return (["| confidence | verdicts | right |", "|---|---:|---:|"] +
            [f"| {row} | {given[row]} | {right[row]} |" for row in sorted(given)])


def mistakes(examined):
    lines = []
    for entry, found in examined:
        given = {verdict for verdict, _ in found}
        wrong = sorted(given - set(entry["accept"]))
        missed = entry["class"] == "ill" and not given & set(entry["accept"])
        if entry["class"] == "uncertain" or not (wrong or missed):
            continue
        name = entry["source"][0] if entry["source"] else entry["kind"]
        lines.append(f"- `{entry['file'].removesuffix('.csv')}` ({name}), {entry['class']}: " + "; ".join(
            ([f"said {', '.join(wrong)}"] if wrong else []) +
            (["missed " + " or ".join(entry["accept"])] if missed else [])))
    return lines or ["- none"]


# ---- AlgoPerf ----

def algoperf_logs(repository):
    """Step, training loss and validation loss of each run, by its path."""
    def git(*command, **options):
        return subprocess.run(["git", "-C", repository, *command], check=True, capture_output=True,
                              **options).stdout
    tree = git("ls-tree", "-r", "HEAD").decode().splitlines()
    files = [line for line in tree if "/logs/" in line and line.endswith("/eval_measurements.csv")]
    names = [line.split("\t")[1] for line in files]
    out = io.BytesIO(git("cat-file", "--batch", input="".join(
        line.split()[2] + "\n" for line in files).encode()))
    for name in names:
        size = int(out.readline().split()[2])
        rows = list(csv.DictReader(io.StringIO(out.read(size).decode())))
        out.read(1)
        loss = next((c for c in ("loss", "ctc_loss") if rows and f"train/{c}" in rows[0]), None)
        if loss is not None:
            yield name, [(row["global_step"], row[f"train/{loss}"], row[f"validation/{loss}"])
                         for row in rows]


def algoperf_class(rows):
    """By the rule; None where it does not say anything."""
    def numbers(column):
        return [float(row[column] or "nan") for row in rows]
    train, validation = numbers(1), numbers(2)
    if len(rows) < 4 or not (math.isfinite(train[-1]) and math.isfinite(validation[-1])):
        return None
    of_train = train[-1] / min(x for x in train if not math.isnan(x))
    of_validation = validation[-1] / min(x for x in validation if not math.isnan(x))
    if of_validation <= 1.03:
        return "healthy"
    if of_validation > 1.3 and of_train > 1.3:
        return "unstable"
    return "overfitting" if of_validation > 1.1 and of_train <= 1.15 else None


@dataclasses.dataclass
class AlgoPerfLog:
    kind: str
    submission: str
    is_counted: bool  # no limit was set on it
    text: str


def algoperf_examined(repository):
    """The logs of which the rule says what they are."""
    for path, rows in algoperf_logs(repository):
        kind = algoperf_class(rows)
        if kind is None:
            continue
        name = path.split("/logs/")[1].split("/", 1)[1].removesuffix("/eval_measurements.csv")
        submission = name.split("/")[0]
        yield AlgoPerfLog(
            kind, submission,
            submission > "h" and submission != LOOKED_AT_SUBMISSION and name not in LOOKED_AT,
            "step,loss,val_loss\n" + "".join(",".join(row) + "\n" for row in rows))


def algoperf(options):
    """Tables: how many logs of each class there are and of how many it was said; and confidences, of
    those that are only counted."""
    logs = list(algoperf_examined(options.algoperf))
    found = examine_all(options, [log.text for log in logs])
    right, all_of = collections.Counter(), collections.Counter()
    for log, findings in zip(logs, found):
        given, accept = {verdict for verdict, _ in findings}, ALGOPERF_ACCEPT[log.kind]
        for part in ("all", log.is_counted):
            all_of[log.kind, part] += 1
            right[log.kind, part] += bool(given & accept) if accept else not given
    said = {"healthy": "no verdict", "overfitting": "`overfitting`",
            "unstable": "`diverged`, `lr_too_high` or `warmup_too_short`"}

    def share(*key):
        return f"{right[key]} of {all_of[key]}, {100 * right[key] / all_of[key]:.1f} %"
    return ["| AlgoPerf's logs | said | all | limits may be set on | only counted |",
            "|---|---|---:|---:|---:|"] + [
        f"| {kind} | {said[kind]} | {share(kind, 'all')} | {share(kind, False)} | {share(kind, True)} |"
        for kind in said] + ["", *calibration([(ALGOPERF_ACCEPT[log.kind], findings)
                                               for log, findings in zip(logs, found) if log.is_counted])]


# ---- Parts of healthy logs ----

def parts_of(text):
    """Logs that show less of a healthy one: pairs of what was done and the text."""
    rows = list(csv.DictReader(io.StringIO(text)))
    has_loss = [i for i, row in enumerate(rows) if row.get("loss", "") != ""]

    def made(kept):
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(kept)
        return out.getvalue()

    def without(prefix, kept=lambda i: True):
        return [{name: "" if name.startswith(prefix) and not kept(i) else cell for name, cell in row.items()}
                for i, row in enumerate(rows)]
    for share in (0.2, 0.35, 0.5, 0.7, 0.85):
        if (count := int(share * len(has_loss))) >= 4:
            yield "cut off", made(rows[:has_loss[count - 1] + 1])
    for nth in (3, 10):
        if len(has_loss) >= 12 * nth:
            kept = set(has_loss[::nth])
            yield "thinned", made(without("loss", lambda i: i in kept))
    for share in (0.1, 0.3):
        if (count := int(share * len(has_loss))) > 2:
            yield "begun late", made(rows[has_loss[count]:])
    if "lr" in rows[0]:
        yield "without rates", made(without("lr", lambda i: False))
    if "val_loss" in rows[0]:
        yield "without evaluations", made(without("val_", lambda i: False))


def stress(options, logs):
    """A table: how many parts of the healthy logs there are, and how many get a verdict."""
    parts = [(entry["file"], *part) for entry, text in logs if entry["class"] == "healthy"
             for part in parts_of(text)]
    total, bad = collections.Counter(), collections.Counter()
    for (file, what, _), found in zip(parts, examine_all(options, [text for *_, text in parts])):
        total[what] += 1
        bad[what] += bool(found)
        if found:
            print(file, what, found)
    return ["| parts of healthy logs | logs | with a verdict |", "|---|---:|---:|"] + [
        f"| {what} | {total[what]} | {bad[what]} |" for what in total]


def write_page(name, lines, page=PAGE):
    """Puts lines between the page's marks of that name."""
    begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
    head, rest = page.read_text().split(begin)
    page.write_text(head + begin + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--store", action="store_true", help="keep the logs in tests/doctor")
    parser.add_argument("--page", action="store_true", help="write the figures into the page")
    parser.add_argument("--stress", action="store_true", help="only parts of the healthy logs")
    parser.add_argument("--algoperf", type=pathlib.Path, help="clone of AlgoPerf's submissions")
    options = parser.parse_args()
    logs = read_folder(options.folder) if options.folder else read_stored()
    if options.store:
        store(logs)
    if options.stress:
        lines = stress(options, logs)
        print("\n".join(lines))
        if options.page:
            write_page("stress", lines)
        return
    examined = list(zip([entry for entry, _ in logs], examine_all(options, [text for _, text in logs])))
    stored = [pair for pair in examined if pair[0]["kind"] != "AlgoPerf"]
    others = [pair for pair in examined if pair[0]["kind"] == "AlgoPerf"]
    table = ["| logs | number | healthy and silent | ill and named | verdicts that are right "
             "| not judgeable and not judged |", "|---|---:|---:|---:|---:|---:|",
             summary("public repositories and issues", stored)]
    if others:
        table.append(summary("AlgoPerf", others))
    lines = [*table, "", *confusion(examined), "",
             *calibration([(entry["accept"], found) for entry, found in examined
                           if entry["class"] != "uncertain"]), "", *mistakes(examined)]
    print("\n".join(lines))
    if options.page:
        write_page("real", lines)
    if options.algoperf:
        lines = algoperf(options)
        print("\n".join(lines))
        if options.page:
            write_page("algoperf", lines)


if __name__ == "__main__":
    main()
