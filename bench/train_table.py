#!/usr/bin/env python3
"""Trains with every rule and preset on handwritten digits and writes docs/digits.md.

    python3 bench/train_table.py [--kudari build/release/kudari] [--only adamw lion] [--out FILE]

The optimisers are those of bench/train_rules.toml, each run with the seeds 1 to 3: the same split
of the data, initial weights and order of samples for all of them. Fails if a rule or preset of the
program has no entry there. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
SEEDS = (1, 2, 3)
SCHEDULE = "warmup(50) * cosine(680, 0.05)"

MODEL = """[model]
name = "mlp"
hidden = [128, 128]
dropout = 0.1

[data]
name = "digits"

[train]
epochs = 40
batch_size = 64
threads = 1
"""

HEADER = f"""# Every rule on handwritten digits

Written by `make bench-train`: a perceptron with two hidden layers of 128 on scikit-learn's 1,797
digits of 8 x 8 pixels, 40 epochs of batches of 64, means over the seeds {SEEDS[0]} to {SEEDS[-1]}
(the range in brackets). The options are those of `bench/train_rules.toml`; everything else is the
rule's default. A learning rate that is a plain number is multiplied by `{SCHEDULE}`.
Biases and norms do not decay. Accuracy is that of the weights to be evaluated, which are averages
if the optimiser keeps any. Seconds are for a whole run on one thread of an unspecified machine, most of them
spent in the model; state is what the optimiser keeps per parameter.

The learning rates were chosen by hand from a few: this table shows that every rule trains, not
which is best. One test image is 0.28 %.

| optimiser | options | test accuracy | test loss | seconds | state, bytes a parameter |
| --- | --- | --- | --- | --: | --: |
"""


def read_entries(text):
    """Name: lines of an [optimizer] table, without comments."""
    entries, name = {}, None
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            name = match[1]
            entries[name] = []
        elif line and not line.startswith("#"):
            entries[name].append(line)
    return entries


def recipe(name, lines, presets, seed):
    """The whole recipe. An entry that has neither rule nor preset is that of its name."""
    optimizer, hessian = [], []
    for line in lines:
        if match := re.fullmatch(r"lr = ([\d.e-]+)", line):
            line = f'lr = "{match[1]} * {SCHEDULE}"'
        (hessian if line.startswith("hessian") else optimizer).append(line)
    if not any(line.startswith(("rule", "preset")) for line in optimizer):
        optimizer.insert(0, f'{"preset" if name in presets else "rule"} = "{name}"')
    if not any(line.startswith("no_decay") for line in optimizer):
        optimizer.append('no_decay = ["bias", "norm"]')
    return "\n".join(hessian + ["[optimizer]"] + optimizer) + "\n" + MODEL + f"seed = {seed}\n"


def train(kudari, text, folder):
    """Accuracy, loss, seconds and bytes of state a parameter of one run."""
    (folder / "recipe.toml").write_text(text)
    done = subprocess.run([kudari, "train", folder / "recipe.toml", "--out", folder / "out", "--force"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{text}\n{done.stdout}{done.stderr}")
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    state = re.search(r"^state +\d+ bytes, (\S+) a parameter$", done.stdout, re.MULTILINE)
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    return lines[-1]["test_accuracy"], lines[-1]["test_loss"], seconds[-1], float(state[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kudari", default="build/release/kudari", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="print the rows of these alone")
    parser.add_argument("--out", default=HERE.parent / "docs/digits.md", type=pathlib.Path)
    arguments = parser.parse_args()

    listing = json.loads(subprocess.check_output([arguments.kudari, "list", "--json"]))
    rules = [d["name"] for d in listing if d["kind"] == "rule"]
    presets = [d["name"] for d in listing if d["kind"] == "preset"]
    entries = read_entries((HERE / "train_rules.toml").read_text())
    if missing := [name for name in rules + presets if name not in entries]:
        sys.exit(f"bench/train_rules.toml has no entry for {', '.join(missing)}")
    rows = []
    for name in arguments.only or entries:
        with tempfile.TemporaryDirectory() as folder:
            runs = [train(arguments.kudari, recipe(name, entries[name], presets, seed),
                          pathlib.Path(folder)) for seed in SEEDS]
        accuracy, loss, seconds, state = zip(*runs)
        options = "<br>".join(f"`{line}`" for line in entries[name])
        rows.append(f"| {name} | {options} | {100 * statistics.mean(accuracy):.2f} % "
                    f"({100 * min(accuracy):.2f}..{100 * max(accuracy):.2f}) "
                    f"| {statistics.mean(loss):.3f} ({min(loss):.3f}..{max(loss):.3f}) "
                    f"| {statistics.mean(seconds):.1f} | {state[0]:.3g} |")
        print(rows[-1], flush=True)
    if not arguments.only:
        arguments.out.write_text(HEADER + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
