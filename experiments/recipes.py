#!/usr/bin/env python3
"""What the recipes come to at their small scale; writes docs/recipes/index.md.

    python3 experiments/recipes.py [--kudari build/release/kudari] [--data DIR] [--jobs 2] [--only NAME]

Every recipe with a table [scale.small] is trained with three seeds, and some of them once more with
what they are compared with. DIR holds the folders mnist, cifar10, movie-reviews and text, else data is looked for
where the lab looks.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
import subprocess
import sys

import lab

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "recipes" / "index.md"
SEEDS = (1, 2, 3)
ADAMW = ["optimizer.rule=adamw", "optimizer.lr=1e-3 * then(1, 80%, linear(end))",
         "optimizer.beta2=0.95", "optimizer.weight_decay=0"]


@dataclasses.dataclass
class Variant:
    name: str
    sets: list = dataclasses.field(default_factory=list)
    unsets: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Case:
    recipe: str
    metric: str  # of the test or, where there is none, of the validation
    digits: int = 2
    percent: bool = False
    variants: list = dataclasses.field(default_factory=lambda: [Variant("")])
    diverges: bool = False  # whether a variant may


CASES = [
    Case("bert-finetune", "accuracy", percent=True),
    Case("dcgan", "frechet_distance"),
    Case("detection", "map", 3),
    Case("digits-vit", "accuracy", percent=True),
    Case("gpt2-124m", "loss", 3),
    Case("large-batch-vit", "accuracy", percent=True),
    Case("nanochat-gpt", "loss", 3, variants=[
        Variant("Muon and AdamW"),
        Variant("AdamW", ADAMW, ["optimizer.fallback", "optimizer.group", "optimizer.momentum"])]),
    Case("onecycle", "accuracy", percent=True, variants=[
        Variant("one cycle"),
        Variant("SGD, lr 0.1, steps", ["optimizer.rule=momentum",
                                       "optimizer.lr=0.1 * multistep([50%, 75%])",
                                       "optimizer.momentum=0.9"])]),
    Case("ppo-cartpole", "episode_return", 1),
    Case("resnet20-cifar10", "accuracy", percent=True, variants=[
        Variant("with augmentation"), Variant("without", unsets=["augment"])]),
    Case("resnet50-imagenet", "accuracy", percent=True),
    Case("rnn-clipping", "loss", 3, diverges=True, variants=[
        Variant("clip_norm 0.25"), Variant("without", unsets=["optimizer.clip_norm"])]),
    Case("vae", "loss", 1),
    Case("vit-imagenet", "accuracy", percent=True),
    Case("wrn28-cifar100", "accuracy", percent=True),
]


class Runs:
    def __init__(self, options):
        self.options = options

    def train(self, case, variant, seed):
        """The summary of a run, from its JSON, and the losses of its steps."""
        out = self.options.runs / "recipes" / case.recipe / f"{variant.name or 'as is'}-{seed}"
        summary = out / "summary.json"
        if not summary.exists():
            command = [self.options.kudari, "train", ROOT / "recipes" / f"{case.recipe}.toml",
                       "--scale", "small", "--out", out, "--force", "--json", summary]
            for key in variant.unsets:
                command += ["--unset", key]
            for change in [*variant.sets, f"train.seed={seed}", *self.data(case)]:
                command += ["--set", change]
            out.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0 and not case.diverges:
                sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr}")
        return json.loads(summary.read_text()), out / "metrics.jsonl"

    def data(self, case):
        text = (ROOT / "recipes" / f"{case.recipe}.toml").read_text()
        small = text[text.index("[scale.small]"):] if "[scale.small]" in text else ""
        for name, folder in (("text", "text"), ("cifar10", "cifar10"), ("mnist", "mnist"),
                             ("movie-reviews", "movie-reviews")):
            if f'name = "{name}"' in (small if "data = {name" in small else text):
                return [f"data.path={self.options.data / folder}"] if self.options.data else []
        return []


def value(case, summary):
    for part in ("test", "validation"):
        found = summary[part].get(case.metric)
        if found is not None:
            return found * (100 if case.percent else 1)
    return None


def steps_to(metrics, target):
    """The share of the run after which the validation loss was at most the target."""
    evaluations = [json.loads(line) for line in metrics.read_text().splitlines()
                   if '"val_loss"' in line]
    reached = [e["step"] for e in evaluations if e["val_loss"] <= target]
    return reached[0] / evaluations[-1]["step"] if reached else None


def row(case, variant, results):
    values = [value(case, summary) for summary, _ in results]
    seconds = sorted(summary["seconds"] for summary, _ in results)[1]
    name = f"`{case.recipe}`" + (f", {variant.name}" if variant.name else "")
    if any(v is None for v in values) or any(summary["diverged"] for summary, _ in results):
        diverged = sum(summary["diverged"] for summary, _ in results)
        shown = f"{diverged} of {len(results)} diverged"
    else:
        shown = lab.text(values, case.digits) + (" %" if case.percent else "")
    return f"| {name} | {case.metric.replace('_', ' ')} | {shown} | {seconds:.0f} s |"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    lab.arguments(parser)
    parser.add_argument("--only", help="one recipe; nothing is written then")
    options = parser.parse_args()
    runs = Runs(options)
    cases = [c for c in CASES if not options.only or c.recipe == options.only]
    cases = [c for c in cases if (ROOT / "recipes" / f"{c.recipe}.toml").exists()]
    tasks = [(case, variant, seed) for case in cases for variant in case.variants for seed in SEEDS]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda task: runs.train(*task), tasks))
    rows, shares, at = [], [], iter(done)
    for case in cases:
        results = [[next(at) for _ in SEEDS] for _ in case.variants]
        rows += [row(case, variant, of) for variant, of in zip(case.variants, results)]
        if case.recipe == "nanochat-gpt":
            shares = [steps_to(muon[1], adamw[0]["validation"]["loss"])
                      for muon, adamw in zip(*results)]
    table = "\n".join(rows)
    if options.only:
        print(table, shares or "")
        return
    PAGE.parent.mkdir(exist_ok=True)
    shown = ", ".join("never" if s is None else f"{s:.2f}" for s in shares)
    PAGE.write_text(f"""# What the recipes come to at their small scale

Written by `python3 experiments/recipes.py`: every recipe with a table `[scale.small]`, three seeds each,
which also determine the split; means and their 95 % confidence intervals over the seeds, on the test samples or,
where there are none, the validation samples. Times are of one run beside another on two cores, the median of three.
The settings of the papers are in the recipes; at this scale their results cannot be compared with the papers'.

| recipe | value | result | time |
|---|---|---|---|
{table}

nanochat-gpt: Muon and AdamW reach the validation loss in which AdamW alone ends after these shares of the
steps, seed by seed: {shown}.
""")


if __name__ == "__main__":
    main()
