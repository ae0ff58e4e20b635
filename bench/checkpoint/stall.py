#!/usr/bin/env python3
"""What saving checkpoints costs the steps of a training run.

    python3 bench/checkpoint/stall.py [--folder .] [--width 9450] [--steps 60] [--every 10] [--threads 0]

Needs what the build made: build/release/kudari and build/release/bench/checkpoint_worker. Trains a
perceptron with two hidden layers of that width by AdamW, without saves and with `train.save_every`, half
of the steps of each before the other's, so that both see the same machine. A save begins between two
steps, with a copy of the state, and is written while that step and the next ones are taken. Prints how
long steps take and, beside them, how long a copy of as many bytes takes alone, by the same function.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).parent.parent.parent
BUILD = ROOT / "build/release"
INPUTS, CLASSES = 64, 10  # of digits


def train(out, options, every):
    """Seconds of each step from the second on, by its number."""
    subprocess.run([BUILD / "kudari", "train", ROOT / "recipes/digits-mlp.toml", "--out", out,
                    "--set", f"model.hidden=[{options.width}, {options.width}]",
                    "--set", f"train.steps={options.steps}", "--set", "train.eval_every=1000000",
                    "--set", f"train.threads={options.threads}", "--set", "train.doctor=false",
                    "--set", f"train.save_every={every}", "--set", "train.keep=1"],
                   check=True, stdout=subprocess.DEVNULL)
    with open(out / "metrics.jsonl", encoding="utf-8") as lines:
        ends = {record["step"]: record["seconds"] for record in map(json.loads, lines)
                if "lr" in record}
    shutil.rmtree(out)
    return {step: end - ends[step - 1] for step, end in ends.items() if step - 1 in ends}


def copies(folder, mib, rounds, threads):
    """Seconds that copies of a state take by so many threads."""
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads > 0 else {})
    done = subprocess.run([BUILD / "bench/checkpoint_worker", folder / "none", str(mib)],
                          input="copy\n" * rounds, capture_output=True, text=True, check=True, env=environment)
    return [float(line) for line in done.stdout.split()]


def show(what, seconds):
    seconds = sorted(seconds)
    print(f"{what:<44} {statistics.median(seconds):7.3f} s  {seconds[0]:7.3f} {seconds[-1]:7.3f}"
          f"  {len(seconds):4d}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--width", type=int, default=9450)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0, help="that train; 0 is one a core, none left for the writer")
    options = parser.parse_args()
    weights = options.width * (INPUTS + options.width + CLASSES + 2) + CLASSES
    mib = 3 * 4 * weights >> 20  # with both moments
    folder = pathlib.Path(tempfile.mkdtemp(prefix="stall-bench-", dir=options.folder))
    quiet, beginning, beside, others, copied = [], [], [], [], []
    for _ in range(2):
        quiet += train(folder / "quiet", options, 0).values()
        for step, seconds in train(folder / "saving", options, options.every).items():
            # A save that is due after a step begins before the next.
            after = (step - 1) % options.every
            (beginning if after == 0 else beside if after == 1 else others).append(seconds)
        copied += copies(folder, mib, 9, options.threads)
    shutil.rmtree(folder)
    print(f"{'':<44} {'median':>9}  {'least':>7} {'most':>7}  {'steps':>5}")
    show("a step of a run that saves nothing", quiet)
    show("a step before which a save begins", beginning)
    show("the step after it, beside the same writer", beside)
    show("another step of the same run", others)
    show(f"a copy of {mib} MiB alone", copied)
    usual, writing, copy = (statistics.median(x) for x in (others, beside, copied))
    more = statistics.median(beginning) - usual
    print(f"the step before which a save begins takes {more:.3f} s more than usual, "
          f"{more / copy:.2f} of the copy;\nbeyond what the next step takes, beside the writer, "
          f"{more + usual - writing:.3f} s, {(more + usual - writing) / copy:.2f} of the copy")


if __name__ == "__main__":
    main()
