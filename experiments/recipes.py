#!/usr/bin/env python3
"""What the recipes come to at their small scale; writes docs/recipes/index.md and a page for each.

    python3 experiments/recipes.py [--kudari build/release/kudari] [--data DIR] [--jobs 2] [--only NAME ...]

Every recipe of CASES is trained at its small scale with three seeds, and some of them once more with
what they are compared with. DIR holds the folders mnist, cifar10, text and so on, else data is looked
for where the lab looks. Finished runs are kept, so that what was stopped goes on.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tomllib

import lab

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ROOT / "docs" / "recipes"
INDEX = PAGES / "index.md"
SEEDS = (1, 2, 3)
TUNING_SEED = 101
DISTANCE = 0.5  # of images from the data, which a generator is to reach


@dataclasses.dataclass
class Variant:
    """One way to train: changes of the recipe, and changes of which validation chooses one."""
    name: str = ""
    sets: list = dataclasses.field(default_factory=list)
    unsets: list = dataclasses.field(default_factory=list)
    choices: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Case:
    recipe: str
    metric: str  # of the test or, where there is none, of the validation
    shows: str
    digits: int = 2
    percent: bool = False
    variants: list = dataclasses.field(default_factory=lambda: [Variant()])
    note: object = None  # a function of the runs by variant that returns a sentence
    classifier: list = None  # a recipe and changes of it, for the classifier that judges images


@dataclasses.dataclass
class Run:
    summary: dict
    cost: dict  # seconds of CPU, bytes of memory
    evaluations: list  # (step, the recipe's metric by name)


def steps_to(run, metric, target):
    """The step of the first evaluation at which `metric` was at most the target."""
    return next((e["step"] for e in run.evaluations if e.get(f"val_{metric}", 1e9) <= target), None)


def muon_share(runs):
    """How early Muon reaches the validation loss in which AdamW ends."""
    shares = []
    for muon, adamw in zip(runs["Muon and AdamW"], runs["AdamW"]):
        step = steps_to(muon, "loss", adamw.summary["validation"]["loss"])
        shares.append("never" if step is None else f"{step / muon.evaluations[-1]['step']:.2f}")
    return ("During its 600 steps Muon reaches the validation loss in which AdamW alone ends after these shares of "
            f"the steps, seed by seed: {', '.join(shares)}. The loss falls most in the last fifth, in which the "
            "learning rate does, so runs of 450 steps, with a last fifth of their own, say more.")


def fewer_epochs(runs):
    """Whether one cycle comes to what twice as many epochs with steps come to."""
    accuracy = {name: statistics.mean(run.summary["test"]["accuracy"] for run in of)
                for name, of in runs.items()}
    cycle, plain = accuracy["one cycle, 5 epochs"], accuracy["SGD in steps, 10 epochs"]
    return (f"One cycle of 5 epochs {'reaches' if cycle >= plain else 'does not reach'} what SGD in steps comes to "
            "in 10.")


def best_return(runs):
    """The evaluation whose weights were saved."""
    best = [max(e["val_episode_return"] for e in run.evaluations if "val_episode_return" in e)
            for run in runs[""]]
    return f"The best evaluation during training, seed by seed: {', '.join(f'{b:.1f}' for b in best)}."


def distances(runs):
    """How the distance falls, by the evaluations during training, and whether it falls far enough."""
    lines = []
    for name, of in runs.items():
        seeds = [[e["val_frechet_distance"] for e in run.evaluations if "val_frechet_distance" in e] for run in of]
        each = "; ".join(", ".join(f"{d:.2f}" for d in seed) for seed in seeds)
        lines.append(f"With {name}, the distance after each epoch, seed by seed: {each}.")
    reached = sum(run.summary["test"]["frechet_distance"] <= DISTANCE for run in runs["a classifier"])
    lines.append(f"With a classifier the distance is to fall to {DISTANCE}, which was set before these runs: "
                 f"{reached} of {len(SEEDS)} seeds.")
    return "\n\n".join(lines)


def over_majority(runs):
    scores = [100 * (run.summary["test"].get("accuracy") or run.summary["validation"]["accuracy"])
              for run in runs[""]]
    return ("The more frequent class is 50.4 % of the texts; the worst seed is "
            f"{min(scores) - 50.4:.1f} points above it.")


PLAIN = ["optimizer.rule=momentum", "optimizer.momentum=0.9",
         "optimizer.lr=0.1 * multistep([50%, 75%])"]
CASES = [
    Case("bert-finetune", "accuracy", percent=True, note=over_majority,
         shows="An encoder learns from scratch to tell positive from negative sentences. At full scale it starts "
               "from BERT's published weights."),
    Case("dcgan", "frechet_distance", note=distances,
         shows="Two optimisers, one for each part. The Fréchet distance of what is made from the data is computed in "
               "the probabilities of a classifier, and in a small network with fixed random weights (see "
               "[tasks](../tasks.md#generators)). The training is the same.",
         classifier=["digits-resnet8", "data.name=mnist", "data.samples=20000", "train.epochs=2",
                     "data.validation=0.1"],
         variants=[Variant("a classifier", ["train.classifier={classifier}"]), Variant("random weights")]),
    Case("detection", "map", digits=3,
         shows="A detector of painted shapes with a loss of three terms. The value is COCO's average precision at "
               "an IoU of 0.5."),
    Case("digits-vit", "accuracy", percent=True,
         shows="The example of the README: a small vision transformer."),
    Case("gpt2-124m", "loss", digits=3,
         shows="A GPT-2 of four blocks learns Shakespeare letter by letter."),
    Case("large-batch-vit", "accuracy", percent=True,
         shows="LAMB with Look-LayerSAM and accumulation: batches of 512 from samples of 128."),
    Case("nanochat-gpt", "loss", digits=3, note=muon_share,
         shows="Muon for the matrices and AdamW for the rest, against AdamW for all; AdamW's learning rate is "
               "chosen by validation with a seed of its own.",
         variants=[Variant("Muon and AdamW", ["train.eval_every=30"]),
                   Variant("Muon and AdamW, 450 steps", ["train.steps=450", "train.eval_every=450"]),
                   Variant("AdamW", ["optimizer.rule=adamw", "optimizer.beta1=0.9", "optimizer.beta2=0.95",
                                     "optimizer.weight_decay=0", "train.eval_every=600"],
                           ["optimizer.fallback", "optimizer.group", "optimizer.momentum"],
                           [[f"optimizer.lr={lr} * then(1, 80%, linear(end))"]
                            for lr in ("1e-3", "2e-3", "4e-3", "8e-3")])]),
    Case("onecycle", "accuracy", percent=True, note=fewer_epochs,
         shows="Whether one cycle needs fewer epochs than SGD whose learning rate falls in steps.",
         variants=[Variant("one cycle, 5 epochs"),
                   Variant("SGD in steps, 5 epochs",
                           PLAIN, ["optimizer.beta1"]),
                   Variant("SGD in steps, 10 epochs",
                           [*PLAIN, "train.epochs=10"], ["optimizer.beta1"])]),
    Case("ppo-cartpole", "episode_return", digits=1, note=best_return,
         shows="Proximal policy optimisation balances a pole. The value is the mean return of 100 episodes, at "
               "most 500."),
    Case("resnet20-cifar10", "accuracy", percent=True,
         shows="What flips and crops are worth on 9,000 images in 8 epochs.",
         variants=[Variant("with augmentation", ["data.samples=9000", "train.steps=560"]),
                   Variant("without", ["data.samples=9000", "train.steps=560"], ["augment"])]),
    Case("resnet50-imagenet", "accuracy", percent=True,
         shows="The recipe of the guide with a small residual network on images of CIFAR-10."),
    Case("rnn-clipping", "loss", digits=3,
         shows="Why gradients are clipped: the same recurrent network with and without a limit of the norm.",
         variants=[Variant("norm clipped at 0.25"), Variant("not clipped", [], ["optimizer.clip_norm"])]),
    Case("vae", "loss", digits=1,
         shows="A variational autoencoder; the value is the negative bound on the logarithm of the likelihood."),
    Case("vit-imagenet", "accuracy", percent=True,
         shows="The recipe of the guide with a small vision transformer on images of CIFAR-10."),
    Case("wrn28-cifar100", "accuracy", percent=True,
         shows="The recipe of the paper with a small network on handwritten digits."),
]


class Runs:
    def __init__(self, options):
        self.options = options

    def train(self, case, variant, sets, seed):
        """Trains once, on one thread, and keeps what came of it."""
        name = re.sub(r"[^\w.+-]+", "_", " ".join([variant.name or "as is", *sets, str(seed)]))
        out = self.folder(case, name)
        summary, cost = out / "summary.json", out / "cost.json"
        if not cost.exists():
            command = [self.options.kudari, "train", ROOT / "recipes" / f"{case.recipe}.toml",
                       "--scale", "small", "--out", out, "--force", "--json", summary]
            for key in variant.unsets:
                command += ["--unset", key]
            for change in [*variant.sets, *sets, f"train.seed={seed}", "train.threads=1",
                           *self.data(case)]:
                command += ["--set", change.replace("{classifier}", str(self.folder(case, "classifier")))]
            out.mkdir(parents=True, exist_ok=True)
            with open(out / "printed.txt", "w+") as printed:
                process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode not in (0, 1) or not summary.exists():
                    sys.exit(f"{' '.join(map(str, command))}\n{(out / 'printed.txt').read_text()}")
            cost.write_text(json.dumps({"seconds": usage.ru_utime + usage.ru_stime,
                                        "bytes": usage.ru_maxrss * 1024}))
        lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        return Run(json.loads(summary.read_text()), json.loads(cost.read_text()),
                   [line for line in lines if any(key.startswith("val_") for key in line)])

    def folder(self, case, name):
        return self.options.runs / "recipes" / case.recipe / name

    def classifier(self, case):
        """Trains what judges the images of a case."""
        out = self.folder(case, "classifier")
        if (out / "model.safetensors").exists():
            return
        recipe, *changes = case.classifier
        command = [self.options.kudari, "train", ROOT / "recipes" / f"{recipe}.toml", "--out", out, "--force"]
        for change in [*changes, *self.data(case)]:
            command += ["--set", change]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def data(self, case):
        """Where the data of the small scale is, if the options say so."""
        recipe = tomllib.loads((ROOT / "recipes" / f"{case.recipe}.toml").read_text())
        name = recipe.get("scale", {}).get("small", {}).get("data", recipe["data"])
        name = name["name"] if "name" in name else recipe["data"]["name"]
        folder = self.options.data / name if self.options.data else None
        return [f"data.path={folder}"] if folder and folder.exists() else []


def value(case, run):
    for part in ("test", "validation"):
        found = run.summary[part].get(case.metric)
        if found is not None:
            return found * (100 if case.percent else 1)
    return None


def diverged_in(case, run):
    return run.summary["diverged"] or value(case, run) is None


def result(case, runs):
    """The mean and its interval, or how many diverged."""
    diverged = sum(diverged_in(case, run) for run in runs)
    if diverged:
        return f"{diverged} of {len(runs)} diverged"
    return lab.text([value(case, run) for run in runs], case.digits) + (" %" if case.percent else "")


def row(case, name, runs):
    seconds = statistics.median(run.cost["seconds"] for run in runs)
    memory = max(run.cost["bytes"] for run in runs) / 2**20
    return f"{case.metric.replace('_', ' ')} | {result(case, runs)} | {seconds:.0f} s | {memory:.0f} MiB |"


def settings(tables):
    """The recipe's own words for the optimiser and the training."""
    lines = []
    for table, options in tables:
        for key, setting in options.items():
            if isinstance(setting, dict):
                setting = ", ".join(f"{k} = {json.dumps(v)}" for k, v in setting.items())
            elif isinstance(setting, list) and setting and isinstance(setting[0], dict):
                setting = "; ".join(", ".join(f"{k} = {json.dumps(v)}" for k, v in of.items())
                                    for of in setting)
            else:
                setting = json.dumps(setting)
            lines.append(f"| `{table}{key}` | `{setting}` |")
    return "| setting | value |\n|---|---|\n" + "\n".join(lines)


def page(case, runs, changes):
    text = (ROOT / "recipes" / f"{case.recipe}.toml").read_text()
    recipe = tomllib.loads(text)
    source = " ".join(line[2:] for line in
                      re.match(r"(?:#.*\n)*", text)[0].splitlines())
    small = recipe.get("scale", {}).get("small")
    tested = case.metric in next(iter(runs.values()))[0].summary["test"]
    of = ("of 100 episodes" if case.metric == "episode_return" else
          "on the test samples" if tested else "on the validation samples")
    lines = [f"# {case.recipe}", "", f"Written by `python3 experiments/recipes.py`. {case.shows}", "",
             f"From [recipes/{case.recipe}.toml](../../recipes/{case.recipe}.toml): {source}", "",
             settings([(f"{table}.", recipe[table]) for table in
                       ("model", "data", "augment", "optimizer", "train") if table in recipe]), ""]
    if small:
        lines += ["The small scale changes:", "", settings([("", small)]), ""]
    lines += [f"    kudari train recipes/{case.recipe}.toml" + (" --scale small" if small else ""), "",
              "## Result", "",
              f"Seeds 1 to 3, which also determine the split; {case.metric.replace('_', ' ')} {of}; seconds of "
              "one thread and the most memory of the whole program.", "",
              "| | seed by seed | value | mean | CPU | memory |", "|---|---|---|---|---|---|"]
    for name, of_variant in runs.items():
        each = ", ".join("diverged" if diverged_in(case, run) else f"{value(case, run):.{case.digits}f}"
                         for run in of_variant)
        lines.append(f"| {name} | {each} | {row(case, name, of_variant)}")
    for name, sets in changes.items():
        if sets:
            lines += ["", f"Chosen for {name}: `{', '.join(sets)}`."]
    if case.note:
        lines += ["", case.note(runs)]
    (PAGES / f"{case.recipe}.md").write_text("\n".join(lines) + "\n")


def index_rows():
    """The rows that the index has, by recipe."""
    rows = {}
    for line in INDEX.read_text().splitlines() if INDEX.exists() else []:
        if found := re.match(r"\| \[([\w-]+)\]", line):
            rows.setdefault(found[1], []).append(line)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    lab.arguments(parser)
    parser.add_argument("--only", nargs="+", help="these recipes; the index keeps its rows of others")
    options = parser.parse_args()
    all_runs = Runs(options)
    cases = [case for case in CASES if not options.only or case.recipe in options.only]
    variants = [(case, variant) for case in cases for variant in case.variants]
    for case in cases:
        if case.classifier:
            all_runs.classifier(case)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tuning = [(case, variant, sets, TUNING_SEED) for case, variant in variants
                  for sets in variant.choices]
        tuned = iter(list(pool.map(lambda task: all_runs.train(*task), tuning)))
        chosen = [min(((next(tuned).summary["validation"]["loss"], sets) for sets in variant.choices),
                      default=(0, []))[1] for _, variant in variants]
        tasks = [(case, variant, sets, seed) for (case, variant), sets in zip(variants, chosen)
                 for seed in SEEDS]
        done = iter(list(pool.map(lambda task: all_runs.train(*task), tasks)))
    PAGES.mkdir(exist_ok=True)
    rows, choices = index_rows(), iter(chosen)
    for case in cases:
        runs = {variant.name: [next(done) for _ in SEEDS] for variant in case.variants}
        changes = {variant.name: next(choices) for variant in case.variants}
        page(case, runs, changes)
        rows[case.recipe] = [f"| [{case.recipe}]({case.recipe}.md){', ' if name else ''}{name} | "
                             f"{row(case, name, of)}" for name, of in runs.items()]
        print("\n".join(rows[case.recipe]), flush=True)
    table = "\n".join(line for case in CASES for line in rows.get(case.recipe, []))
    INDEX.write_text(f"""# What the recipes come to at their small scale

Written by `python3 experiments/recipes.py`: recipes at `--scale small` with three seeds, which also determine
the split; means and their 95 % confidence intervals over the seeds, on the test samples or, where there are none,
the validation samples. CPU is the median time on one thread, memory the most of the whole program. The settings of the
papers are in the recipes; at this scale their results cannot be compared with the papers'.

| recipe | value | result | CPU | memory |
|---|---|---|---|---|
{table}
""")


if __name__ == "__main__":
    main()
