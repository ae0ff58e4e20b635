#!/usr/bin/env python3
"""Whether the learning rate that `kudari lr-find` recommends trains well; writes docs/lr-range-test.md.

    python3 experiments/lr_find.py [--kudari build/release/kudari] [--data DIR] [--jobs 2]

Ten recipes, small enough to train in seconds, have range tests with three seeds, and are trained with
each of twelve learning rates, half a decade apart, and with the recommended one. The page says how
near the recommendation comes to the best of the twelve. DIR holds MNIST in a folder of this name, else
it is looked for where the lab looks. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import lab

HERE = pathlib.Path(__file__).parent
TESTS = 3  # range tests, with seeds from 1
SEEDS = (1, 2)  # of training
GRID = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0]
ALLOWED = 1.0  # per cent
METHODS = ("valley", "steepest", "slide", "minimum/10")

MLP = '[model]\nname = "mlp"\nhidden = [64]\n'
DIGITS = '[data]\nname = "digits"\n'
MNIST = '[data]\nname = "mnist"\nsamples = 4000\nvalidation = 0.1\n'
TRAIN = "[train]\nepochs = {epochs}\nbatch_size = {batch}\nthreads = 1\n"
SCHEDULE = "{lr} * warmup({warmup}) * cosine({steps}, 0.01)"
SHORT = TRAIN.format(epochs=15, batch=64)
LONG = TRAIN.format(epochs=6, batch=64)

# Model, data, rest of [optimizer], [train], steps of the schedule.
RECIPES = {
    "linear, sgd": ('[model]\nname = "linear"\n', DIGITS, 'rule = "sgd"\n', SHORT, 255),
    "mlp, momentum": (MLP, DIGITS, 'rule = "momentum"\n', SHORT, 255),
    "mlp, adamw": (MLP, DIGITS, 'rule = "adamw"\nweight_decay = 0.05\n', SHORT, 255),
    "mlp, lion, bf16": (MLP, DIGITS, 'rule = "lion"\n', SHORT + 'precision = "bf16"\n', 255),
    "mlp, muon and adamw": (
        MLP, DIGITS, 'rule = "muon"\nfallback = {rule = "adamw", lr = 2e-3}\n', SHORT, 255),
    "mlp, SAM with momentum, two batches a step": (
        MLP, DIGITS, 'rule = "momentum"\nsource = "sam"\naccumulate = 2\n',
        TRAIN.format(epochs=15, batch=32), 255),
    "transformer, adamw": (
        '[model]\nname = "vit"\npatch = 2\ndim = 32\ndepth = 2\nheads = 2\n', DIGITS,
        'rule = "adamw"\nclip_norm = 1.0\n', SHORT, 255),
    "resnet, momentum": (
        '[model]\nname = "resnet"\nwidth = 4\n', DIGITS, 'rule = "momentum"\nweight_decay = 5e-4\n',
        TRAIN.format(epochs=6, batch=64), 102),
    "mlp, adamw, MNIST": (MLP, MNIST, 'rule = "adamw"\n', LONG, 342),
    "mlp, lamb, MNIST": (MLP, MNIST, 'rule = "lamb"\n', LONG, 342),
}


PAGE = """# Does the range test find the learning rate?

Written by `python3 experiments/lr_find.py`. For each recipe `kudari lr-find --seeds {tests}` recommended a \
learning rate. The recipe was then trained with 12 learning rates from {low} to {high}, half a decade apart, and \
with the recommended one, all with warm-up over 20 steps and a cosine. Accuracies are those of the final weights, \
in per cent: the mean of those on the validation and the test data, neither of which was used to choose anything, \
over {seeds} seeds; a run that diverged counts as 0. The best of the 12 is \
chosen by these same accuracies, so the comparison favours the grid, which took 12 times as long.

**{reached} of {count}** recommendations train to within 1 % of the best of the grid.

{results}

"At" is the best rate of the grid; "within 1 %" is the range of the rates whose accuracy is that close to it.

## What each method suggests

Medians over the seeds, and in brackets the ratio of the highest to the lowest over the seeds; "!" marks \
medians outside the range of rates that train to within 1 %.

{methods}
"""


class Runs(lab.Lab):
    """Runs of which some diverge: those get nothing right."""

    def train(self, sets, seed, out):
        try:
            return super().train(sets, seed, out)
        except SystemExit as error:
            if "diverged" not in str(error):
                raise
            return {"sets": sets, "seed": seed, "test": 0.0, "validation": 0.0, "seconds": 0.0}


def recipe_of(name):
    model, data, rest, train, steps = RECIPES[name]
    schedule = SCHEDULE.format(lr="1e-3", warmup=20, steps=steps)
    return f'{model}{data}[optimizer]\n{rest}lr = "{schedule}"\n{train}'


def with_lr(name, lr):
    return [f'optimizer.lr="{SCHEDULE.format(lr=lr, warmup=20, steps=RECIPES[name][4])}"']


def find(runs, kudari):
    """What the range tests say."""
    result = runs.folder / "lr-find.json"
    if not result.exists():
        command = [kudari, "lr-find", runs.recipe, "--seeds", str(TESTS), "--json", result]
        if runs.data:
            command += ["--set", f"data.path={runs.data}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr}")
    return json.loads(result.read_text())


def study(options, name):
    """What the range tests say, the accuracy at each rate of the grid and at the recommended."""
    runs = Runs(options, "lr-find-" + "".join(c if c.isalnum() else "-" for c in name),
                recipe_of(name), "mnist")
    if RECIPES[name][1] != MNIST:
        runs.data = None
    found = find(runs, options.kudari)
    rates = [*GRID, found["recommendation"]["lr"]]
    results = runs.all([(with_lr(name, lr), seed) for lr in rates for seed in SEEDS])
    # Neither validation nor test data choose anything here: both together are less noisy.
    held_out = iter([(r["validation"] + r["test"]) / 2 for r in results])
    scores = [statistics.mean(next(held_out) for _ in SEEDS) for _ in rates]
    return found, dict(zip(GRID, scores)), scores[-1]


def good_rates(grid):
    """The rates of the grid that are good enough, from the least to the largest."""
    return [lr for lr, score in grid.items() if score >= max(grid.values()) - ALLOWED]


def results_row(name, found, grid, score):
    best = max(grid, key=grid.get)
    good = good_rates(grid)
    return [name, f"{found['recommendation']['lr']:g}", f"{score:.2f}", f"{grid[best]:.2f}",
            f"{best:g}", f"{good[0]:g} to {good[-1]:g}",
            "yes" if score >= grid[best] - ALLOWED else "**no**"]


def methods_row(name, found, grid, _):
    cells = [name]
    good = good_rates(grid)
    by_method = {s["method"]: s for s in found["suggestions"]}
    for method in METHODS:
        s = by_method.get(method)
        if s is None:
            cells.append("-")
            continue
        inside = good[0] <= s["median"] <= good[-1]
        spread = s["highest"] / s["lowest"]
        cells.append(f"{s['median']:.2g}{'' if inside else ' !'} ({spread:.1f})")
    warnings = sorted({w for t in found["tests"] for w in t["warnings"]})
    return cells + [", ".join(warnings) or "-"]


def table(titles, rows):
    return ["| " + " | ".join(cells) + " |" for cells in [titles, ["---"] * len(titles), *rows]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    lab.arguments(parser)
    parser.add_argument("--docs", type=pathlib.Path, default=HERE.parent / "docs")
    options = parser.parse_args()
    studies = {name: study(options, name) for name in RECIPES}
    rows = [results_row(name, *studies[name]) for name in RECIPES]
    reached = sum(row[-1] == "yes" for row in rows)
    (options.docs / "lr-range-test.md").write_text(PAGE.format(
        tests=TESTS, seeds=len(SEEDS), reached=reached, count=len(rows), low=f"{GRID[0]:g}", high=f"{GRID[-1]:g}",
        results="\n".join(table(["recipe", "recommended", "accuracy", "best of 12", "at",
                                 "within 1 %", "reached"], rows)),
        methods="\n".join(table(["recipe", *METHODS, "warnings"],
                                [methods_row(name, *studies[name]) for name in RECIPES]))))
    print(f"{reached} of {len(rows)} within {ALLOWED:g} %")


main()
