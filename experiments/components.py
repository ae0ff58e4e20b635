#!/usr/bin/env python3
"""How fast the parts of SAM's gradient change; writes docs/components.md and its picture.

    python3 experiments/components.py [--kudari build/release/kudari] [--data DIR] [--jobs 2]

Figure 2 of the LookSAM paper (Liu et al., arXiv:2203.02714) says that g_v, the part of the perturbed
gradient g_s that is orthogonal to the gradient, changes least from one step to the fifth after it.
Every model is trained with SAM, and every fifth step compares the parts with those of five steps
before. DIR holds MNIST and CIFAR-10 in folders of these names, else they are looked for where the lab
looks. Needs nothing but Python.
"""

import argparse
import json
import statistics

import lab

SEEDS = (1, 2, 3)
PARTS = ("g_s", "g_h", "g_v")
TRAIN = "[train]\nepochs = {epochs}\nbatch_size = {batch}\nthreads = 1\n"
SGD = ('[optimizer]\nrule = "momentum"\nlr = "{lr} * cosine({steps})"\nmomentum = 0.9\n'
       'source = "sam"\nsharpness = {{rho = {rho}, k = 5}}\n')
ADAMW = ('[optimizer]\nrule = "adamw"\nlr = "1e-3 * warmup(50) * cosine({steps}, 0.01)"\n'
         'weight_decay = 0.05\nno_decay = ["bias", "norm"]\n'
         'source = "sam"\nsharpness = {{rho = {rho}, k = 5}}\n')
MLP = '[model]\nname = "mlp"\nhidden = [128, 128]\n'
MNIST = '[data]\nname = "mnist"\nsamples = 6000\n'
CASES = {
    "perceptron, MNIST, batches of 128": (
        "mnist", MLP + MNIST + SGD.format(lr=0.05, steps=705, rho=0.05)
        + TRAIN.format(epochs=15, batch=128)),
    "perceptron, MNIST, all 6,000 at once": (
        "mnist", MLP + MNIST + SGD.format(lr=0.1, steps=300, rho=0.05)
        + TRAIN.format(epochs=300, batch=6000)),
    "transformer, CIFAR-10, batches of 128": (
        "cifar10", '[model]\nname = "vit"\npatch = 8\ndim = 64\ndepth = 3\nheads = 4\n'
        '[data]\nname = "cifar10"\nvalidation = 0.1\nsamples = 8000\n'
        + ADAMW.format(steps=504, rho=0.1) + TRAIN.format(epochs=8, batch=128)),
}


def records(run):
    """What was tracked wherever there was something to compare with."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    tracked = [json.loads(line) for line in lines if '"components"' in line]
    return [{"step": t["step"], **t["components"]} for t in tracked if "change" in t["components"]]


def mean(of, kind, part):
    return statistics.mean(r[kind][part] for r in of)


def rows(runs):
    """A line of the table for the whole run, and for its last quarter."""
    for label, cut in (("whole run", 0.0), ("last quarter", 0.75)):
        kept = [record for run in runs for record in run[int(cut * len(run)):]]
        cells = []
        for kind in ("change", "relative", "cosine"):
            values = {part: mean(kept, kind, part) for part in PARTS}
            best = (max if kind == "cosine" else min)(values, key=values.get)
            cells += [f"**{v:.3g}**" if part == best else f"{v:.3g}"
                      for part, v in values.items()]
        ratio = statistics.mean(r["norm"]["g_v"] / r["norm"]["g_h"] for r in kept)
        yield label, cells + [f"{ratio:.2f}"]


def charts(results):
    """A chart a case: the change of each part over the steps, first seed."""
    for name, runs in results.items():
        steps = [r["step"] for r in runs[0]]
        yield {"title": name, "x_label": "step", "y_label": "norm of the change over 5 steps",
               "log_y": True,
               "series": [{"label": part, "x": steps,
                           "y": lab.rounded(r["change"][part] for r in runs[0])} for part in PARTS]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    lab.arguments(parser)
    options = parser.parse_args()
    results = {}
    for case, (data, recipe) in CASES.items():
        runs_of = lab.Lab(options, f"components-{data}", recipe, data, ["--track", "components"])
        runs_of.all([([], seed) for seed in SEEDS])
        results[case] = [records(runs_of.path([], seed)) for seed in SEEDS]
    lab.draw(options.kudari, "components", list(charts(results)), columns=2)
    lines = [
        "# How fast the parts of SAM's gradient change", "",
        "Written by `python3 experiments/components.py`. The LookSAM paper's figure 2 says that g_v, "
        "the part of the perturbed gradient g_s that is orthogonal to the gradient, changes less over "
        "five steps than g_h, the part along it, and than g_s, so that it can be reused. Here models are "
        "trained with SAM, and the figures are means over the run and over seeds "
        f"{', '.join(map(str, SEEDS))}. `change` is the norm of the difference between a part and the same "
        "part five steps earlier, `relative` is that divided by the earlier norm, and `cosine` is the cosine "
        "between the two. The best of each three is bold. The last column is norm(g_v) / norm(g_h), which "
        "indicates a natural alpha.", "",
        *lab.picture("components", "change over five steps"),
        "| model | | " + " | ".join(f"{kind} {part}" for kind in ("change", "relative", "cosine")
                                    for part in PARTS) + " | g_v / g_h |",
        "|---|---|" + "---|" * 10]
    for case, of in results.items():
        for label, cells in rows(of):
            lines.append(f"| {case} | {label} | " + " | ".join(cells) + " |")
    (lab.DOCS / "components.md").write_text("\n".join(lines) + "\n")
    print(f"written {lab.DOCS / 'components.md'}")


if __name__ == "__main__":
    main()
