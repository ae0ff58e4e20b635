#!/usr/bin/env python3
"""Trains in float32 and with the seven-byte recipe and writes docs/parity.md or parity-mnist.md.

    python3 bench/parity.py [--task cifar10-vit|mnist-mlp|shakespeare-gpt] [--kudari build/release/kudari]
                            [--data DIR] [--jobs 2] [--of NAME ...]

DIR holds CIFAR-10 (one training file of 10,000 images is enough), MNIST or tinyshakespeare.txt, else it
is looked for where the lab looks. Every optimiser gets the same seeds, and a seed means the same split of the data, initial
weights and order of images for all of them. Needs nothing but Python.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
SEEDS = (1, 2, 3, 4, 5)
RECIPE = """[model]
name = "vit"
patch = 8
dim = 96
depth = 4
heads = 4

[data]
name = "cifar10"
validation = 0.1

[optimizer]
rule = "adamw"
lr = "1e-3 * warmup(100) * cosine(846, 0.01)"
weight_decay = 0.1
clip_norm = 1.0
no_decay = ["bias", "norm"]

[train]
batch_size = 64
threads = 1
"""

MNIST = """[model]
name = "mlp"
hidden = [256, 128]

[data]
name = "mnist"
validation = 0.1

[optimizer]
rule = "adamw"
lr = "1e-3 * warmup(100) * cosine(2532, 0.01)"
weight_decay = 0.1
clip_norm = 1.0
no_decay = ["bias", "norm"]

[train]
batch_size = 128
threads = 1
"""

GPT = """[model]
name = "gpt2"
layers = 4
heads = 4
dim = 128

[data]
name = "text"
context = 64
validation = 0.1
test = 0.1

[optimizer]
rule = "adamw"
lr = "1e-3 * warmup(100) * cosine(end, 0.01)"
beta2 = 0.95
weight_decay = 0.1
clip_norm = 1.0
no_decay = ["bias", "norm"]

[train]
batch_size = 32
threads = 1
"""

# Recipe, page, epochs, and what is trained on what.
TASKS = {
    "cifar10-vit": (RECIPE, "parity.md", 6, """Written by `make bench-parity`: a vision transformer (patches of 8, width 96, 4 blocks) on 9,000
CIFAR-10 images for 6 epochs of batches of 64, with 1,000 images for validation and 10,000 for
the test."""),
    "mnist-mlp": (MNIST, "parity-mnist.md", 6, """Written by `python3 bench/parity.py --task mnist-mlp`: a perceptron (784-256-128-10) on 54,000 MNIST
digits for 6 epochs of batches of 128, with 6,000 digits for validation and 10,000 for the
test."""),
    "shakespeare-gpt": (GPT, "parity-gpt.md", 1, """Written by `python3 bench/parity.py --task shakespeare-gpt`: a GPT-2 of 4 blocks of width 128 learns
the first 80 % of tinyshakespeare letter by letter, one epoch of batches of 32 pieces of 64 letters; a tenth
is for validation, and the last tenth for the test; beta2 0.95."""),
}

SEVEN = ["train.weights=bf16", "train.precision=bf16", "optimizer.precision.master=split8"]
VARIANTS = {
    "float32": [],
    "bf16 arithmetic alone": ["train.precision=bf16"],
    "7 bytes, linear8": SEVEN + ["optimizer.precision.state=linear8"],
    "7 bytes, softsign8": SEVEN + ["optimizer.precision.state=softsign8"],
}
MEASURES = ("training loss", "validation loss", "test loss", "test accuracy, %")

INTRODUCTION = """# Seven bytes a parameter against float32

{task} AdamW, learning rate 1e-3 with warm-up and cosine, weight decay 0.1, clipping at 1; nothing
is tuned for either. Such a short training on so few samples is far from the best that the data allows; it shows
whether the formats change the course of training, not how good the model can become.

- *float32*: weights, gradients, state and arithmetic in float32.
- *7 bytes*: weights and gradients in bfloat16, 8 more bits of each weight (`master = "split8"`), both
  moments in 8 bits (`state` as the name says), forward and backward under bfloat16 autocast. Layer
  norms, and the state of tensors under 4,096 elements, stay float32. The last column has the bytes
  of weights, gradients and the optimiser's state.

A seed determines the split, the initial weights and the order of the samples, which are the same for all
variants. The training loss is the mean over the last epoch, in which every sample occurs once.
"""


def train(kudari, recipe, epochs, data, variant, seed):
    """The measures of one run and its bytes a parameter."""
    sets = VARIANTS[variant] + [f"train.seed={seed}", f"train.epochs={epochs}"]
    if data:
        sets.append(f"data.path={data}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "recipe.toml").write_text(recipe)
        command = [kudari, "train", folder / "recipe.toml", "--out", folder / "out"]
        done = subprocess.run(command + [f"--set={s}" for s in sets], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{variant}, seed {seed}:\n{done.stdout}{done.stderr}")
        lines = [json.loads(x) for x in (folder / "out/metrics.jsonl").read_text().splitlines()]
    last = [x["loss"] for x in lines if x.get("epoch") == epochs]
    validation = [x["val_loss"] for x in lines if "val_loss" in x][-1]
    weights, state = (float(re.search(rf"^{key} +\d+ bytes, (\S+) a parameter", done.stdout,
                                      re.MULTILINE)[1]) for key in ("weights", "state"))
    measures = (statistics.mean(last), validation, lines[-1]["test_loss"],
                100 * lines[-1]["test_accuracy"])
    return measures, 2 * weights + state


def table(header, rows):
    lines = [header, ["---"] + ["--:"] * (len(header) - 1)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def verdict(runs, variant):
    """Rows of differences to float32, and whether all are within the spread of its seeds."""
    rows, outside = [], []
    for i, measure in enumerate(MEASURES):
        full = [runs["float32", seed][0][i] for seed in SEEDS]
        pairs = [runs[variant, seed][0][i] - full[k] for k, seed in enumerate(SEEDS)]
        difference, spread = statistics.mean(pairs), statistics.stdev(full)
        error = statistics.stdev(pairs) / math.sqrt(len(pairs))
        if abs(difference) > spread:
            outside.append(measure)
        rows.append([f"{variant}: {measure}", f"{difference:+.4f}", f"{error:.4f}", f"{spread:.4f}",
                     "within" if abs(difference) <= spread else "outside"])
    return rows, outside


def report(task, runs, variants):
    rows = []
    for variant in variants:
        for seed in SEEDS:
            measures, size = runs[variant, seed]
            rows.append([variant, str(seed)] + [f"{x:.4f}" for x in measures] + [f"{size:.2f}"])
    text = INTRODUCTION.format(task=task) + "\n## Runs\n\n"
    text += table(["optimiser", "seed", *MEASURES, "bytes a parameter"], rows)
    text += "\n## Mean and standard deviation over the seeds\n\n"
    rows = []
    for variant in variants:
        columns = zip(*(runs[variant, seed][0] for seed in SEEDS))
        rows.append([variant] + [f"{statistics.mean(c):.4f} ± {statistics.stdev(c):.4f}"
                                 for c in map(list, columns)])
    text += table(["optimiser", *MEASURES], rows)
    text += ("\n## Verdict\n\nThe mean difference from float32 over pairs of the same seed, its standard "
             "error, and, for comparison, the\nstandard deviation of float32 over the seeds:\n\n")
    rows, sentences = [], []
    for variant in variants[1:]:
        more, outside = verdict(runs, variant)
        rows += more
        sentences.append(f"- {variant}: " + (f"outside the seeds' spread in {', '.join(outside)}."
                                             if outside else
                                             "every measure is within the seeds' spread."))
    text += table(["difference", "mean", "standard error", "spread of float32", ""], rows)
    return text + "\n" + "\n".join(sentences) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kudari", default="build/release/kudari", type=pathlib.Path)
    parser.add_argument("--task", choices=TASKS, default="cifar10-vit")
    parser.add_argument("--data", help="folder of the data")
    parser.add_argument("--jobs", default=2, type=int, help="runs at a time, one thread each")
    parser.add_argument("--of", nargs="+", choices=list(VARIANTS)[1:], metavar="NAME",
                        default=["7 bytes, linear8"],
                        help="what to hold against float32: " + " or ".join(list(VARIANTS)[1:]))
    parser.add_argument("--out", type=pathlib.Path, help="page, otherwise of docs/")
    arguments = parser.parse_args()
    recipe, page, epochs, task = TASKS[arguments.task]

    runs = {}
    variants = ["float32"] + arguments.of
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(train, arguments.kudari, recipe, epochs, arguments.data, variant, seed):
                   (variant, seed) for variant in variants for seed in SEEDS}
        for future in concurrent.futures.as_completed(futures):
            try:
                runs[futures[future]] = future.result()
            except RuntimeError as error:
                pool.shutdown(cancel_futures=True)
                sys.exit(str(error))
            print(futures[future], runs[futures[future]], flush=True)
    out = arguments.out or HERE.parent / "docs" / page
    out.write_text(report(task, runs, variants))


if __name__ == "__main__":
    main()
