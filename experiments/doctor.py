#!/usr/bin/env python3
"""Runs the labelled suite of `kudari doctor` (experiments/doctor_suite.py), stores its curves in
tests/doctor, where lab/verbs/doctor_suite_test.cc reads them, and writes docs/doctor.md.

usage: python3 experiments/doctor.py [--kudari PROGRAM] [--data FOLDER] [--jobs N] [--runs FOLDER]
                                     [--page]      only the page, from the stored curves
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import lzma
import pathlib
import subprocess
import sys
import tempfile

import doctor_suite
from lab import arguments

PARTS = {"development": (doctor_suite.cases, doctor_suite.DEVELOPMENT),
         "held_out": (doctor_suite.cases, doctor_suite.HELD_OUT),
         "unseen": (doctor_suite.unseen, doctor_suite.UNSEEN)}
STORED = pathlib.Path("tests/doctor")
PAGE = pathlib.Path("docs/doctor.md")


def train(options, case, seed):
    """The folder of the run, which is trained unless it is there."""
    recipe = case.recipe()
    sets = [*case.sets, f"train.seed={seed}"]
    if case.data in ("mnist", "cifar10") and options.data:
        sets.append(f"data.path={options.data / case.data}")
    key = json.dumps([recipe, case.sets, seed])
    folder = options.runs / "doctor" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if (folder / "finished").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.toml").write_text(recipe)
    command = [options.kudari, "train", folder / "base.toml", "--out", folder]
    for change in sets:
        command += ["--set", change]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and "diverged" not in done.stdout:
        sys.exit(f"{case.name}: {' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr}")
    (folder / "finished").write_text(done.stdout)
    (folder / "model.safetensors").unlink(missing_ok=True)
    return folder


def rounded(value, digits):
    """The same with numbers of so many digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits - 1}e}")
    if isinstance(value, dict):
        return {key: rounded(v, 3 if key == "layers" else digits) for key, v in value.items()}
    return value


def stored(case, seed, folder):
    """A run as lines: what it is, and its metrics without what the doctor does not read."""
    lines, epochs = [], collections.Counter()
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        metrics = json.loads(line)
        if "test_loss" in metrics:
            continue
        if "loss" in metrics:
            epochs[metrics["epoch"]] += 1
        for key in ("seconds", "gradients", "epoch"):
            metrics.pop(key, None)
        if not metrics.get("skipped", True):
            metrics.pop("skipped")
            if metrics["loss_scale"] == 1:
                metrics.pop("loss_scale")
        lines.append(json.dumps(rounded(metrics, 4), separators=(",", ":")))
    text = (folder / "finished").read_text()
    planned = int(text.split(" steps, ")[0].rsplit(maxsplit=1)[-1])
    an_epoch = int(text.split(" steps, ")[1].split(" an epoch")[0])
    head = {"run": case.name, "seed": seed, "labels": case.labels, "allowed": case.allowed,
            "planned_steps": planned, "steps_per_epoch": an_epoch}
    return "\n".join([json.dumps(head), *lines]) + "\n"


def store(half, runs):
    STORED.mkdir(exist_ok=True)
    text = "".join(stored(*run) for run in runs)
    (STORED / f"{half}.jsonl.xz").write_bytes(lzma.compress(text.encode(), preset=9))


def load(half):
    """The stored runs: what each is and the text of its metrics."""
    runs = []
    for line in lzma.decompress((STORED / f"{half}.jsonl.xz").read_bytes()).decode().splitlines():
        if line.startswith('{"run"'):
            runs.append((json.loads(line), []))
        else:
            runs[-1][1].append(line)
    return runs


def examine(options, run):
    """The verdicts on a stored run, the surest first."""
    head, lines = run
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "metrics.jsonl"
        log.write_text("\n".join(lines) + "\n")
        found = pathlib.Path(folder) / "found.json"
        subprocess.run([options.kudari, "doctor", log, "--json", found, "--steps-per-epoch",
                        str(head["steps_per_epoch"]), "--planned-steps",
                        str(head["planned_steps"])], check=True, stdout=subprocess.DEVNULL)
        return [f["verdict"] for f in json.loads(found.read_text())["findings"]]


def score(examined):
    """Counts of right, wrong and missed verdicts, and of healthy and silent runs."""
    right, wrong, missed = (collections.Counter() for _ in range(3))
    healthy = silent = 0
    for head, given in examined:
        for label in head["labels"]:
            (right if label in given else missed)[label] += 1
        for verdict in set(given) - set(head["labels"]) - set(head["allowed"]):
            wrong[verdict] += 1
        if not head["labels"]:
            healthy += 1
            silent += not given
    return right, wrong, missed, healthy, silent


def f1(right, wrong, missed):
    return 2 * right / max(1, 2 * right + wrong + missed)


def confusion(names, examined):
    """What was given first, by what is true; rows that share a first verdict share a column."""
    table = collections.Counter()
    for head, given in examined:
        truth = head["labels"][0] if head["labels"] else "healthy"
        table[truth, given[0] if given else "silent"] += 1
    rows = [*names, "healthy"]
    columns = [*names, "silent"]
    lines = ["| true | " + " | ".join(str(i + 1) for i in range(len(names))) + " | silent |",
             "|---|" + "---:|" * len(columns)]
    for i, row in enumerate(rows):
        number = f"{i + 1} " if row != "healthy" else ""
        cells = [str(table[row, column] or "") for column in columns]
        lines.append(f"| {number}`{row}` | " + " | ".join(cells) + " |")
    return lines


def mistakes_of(examined):
    lines = []
    for head, given in examined:
        extra = sorted(set(given) - set(head["labels"]) - set(head["allowed"]))
        lost = sorted(set(head["labels"]) - set(given))
        if extra or lost:
            lines.append(f"- `{head['run']}`, seed {head['seed']}: " + "; ".join(
                ([f"said {', '.join(extra)}"] if extra else []) +
                ([f"missed {', '.join(lost)}"] if lost else [])))
    return lines or ["- none"]


def page(options):
    examined = {}
    for half in PARTS:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            runs = load(half)
            examined[half] = list(zip([head for head, _ in runs],
                                      pool.map(lambda run: examine(options, run), runs)))
    names = []
    for head, _ in examined["held_out"]:
        names += [label for label in head["labels"] if label not in names]
    summary, scores = [], {}
    for half, runs in examined.items():
        scores[half] = right, wrong, missed, healthy, silent = score(runs)
        macro = sum(f1(right[n], wrong[n], missed[n]) for n in names) / len(names)
        summary.append(f"| {half} | {len(runs)} | {macro:.3f} | {silent} of {healthy} |")
    right, wrong, missed, *_ = scores["held_out"]
    verdicts = []
    for name in names:
        r, w, m = right[name], wrong[name], missed[name]
        verdicts.append(f"| `{name}` | {r + m} | {r / max(1, r + w):.2f} | {r / max(1, r + m):.2f} | "
                        f"{f1(r, w, m):.2f} |")
    text = PAGE.read_text()
    begin, end = "<!-- measured -->\n", "<!-- end -->\n"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    measured = "\n".join(
        ["| part | runs | macro F1 | healthy runs without a verdict |", "|---|---:|---:|---:|",
         *summary, "", "The held-out half, verdict by verdict:", "",
         "| verdict | runs | precision | recall | F1 |", "|---|---:|---:|---:|---:|", *verdicts, "",
         "Its confusion table, by the most confident verdict of each run (columns are numbered like the rows):",
         "", *confusion(names, examined["held_out"]), "", "Its mistakes:", "",
         *mistakes_of(examined["held_out"]), "", "Mistakes on unseen recipes:", "",
         *mistakes_of(examined["unseen"]), ""])
    PAGE.write_text(head + begin + measured + end + tail)
    print("\n".join(summary))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--page", action="store_true", help="only the page, from stored curves")
    options = parser.parse_args()
    if not options.page:
        tasks = {half: [(case, seed) for case in cases() for seed in seeds]
                 for half, (cases, seeds) in PARTS.items()}
        done, count = 0, sum(map(len, tasks.values()))
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for half, of_half in tasks.items():
                runs = []
                for task, folder in zip(of_half, pool.map(lambda t: train(options, *t), of_half)):
                    runs.append((*task, folder))
                    done += 1
                    print(f"\r{done} of {count} runs", end="", file=sys.stderr, flush=True)
                store(half, runs)
        print(file=sys.stderr)
    page(options)


if __name__ == "__main__":
    main()
