#!/usr/bin/env python3
"""LookSAM against SAM, two thirds of SAM's gradients and two controls; one page of docs/ a task.

    python3 experiments/looksam.py TASK [--data DIR] [--kudari build/release/kudari] [--jobs 2]

TASK is one of mnist, vit, resnet. DIR holds MNIST and CIFAR-10 in folders of these names, else they
are looked for where the lab looks. Radii and alpha are chosen on validation data with seeds of their
own, before the runs that are reported. A seed means the same samples, initial weights and order for
all methods. Finished runs are kept, so that what was stopped goes on; times are always measured again,
and want a machine that does nothing else. Needs nothing but Python.
"""

import argparse
import dataclasses
import math
import statistics

import lab

SEEDS = (1, 2, 3, 4, 5)
TUNING_SEEDS = (101, 102)
RADII = (0.02, 0.05, 0.1, 0.2)
LAYER_RADII = (0.002, 0.005, 0.01, 0.02)
ALPHAS = (0.1, 0.3, 0.5, 0.7)
PAIRS = 7  # of runs whose times are compared


@dataclasses.dataclass
class Task:
    name: str  # of the page and its picture
    title: str
    what: str
    base: str
    data: str
    rate: float
    schedule: str
    epochs: int
    timed_epochs: int
    recipe: str  # without the learning rate and what all have in common

    def learning_rate(self, factor=1.0):
        return f"{self.rate * factor!r} * {self.schedule}"

    def text(self):
        return (f'{self.recipe}lr = "{self.learning_rate()}"\n\n[train]\nepochs = {self.epochs}\n'
                "batch_size = 128\nthreads = 1\n")


CIFAR = ("on 10,000 images of CIFAR-10 without augmentation: {} epochs of batches of 128 over 9,000; "
         "rho and alpha are chosen on the other 1,000 (seeds 101 and 102). {}, warm-up and cosine schedule. "
         "Accuracy is that of the final weights on the 10,000 test images")
TASKS = {
    "mnist": Task(
        name="label-noise", title="LookSAM where labels are wrong",
        what="a perceptron (784-128-128-10) on 6,000 MNIST digits, two fifths of them with a wrong "
             "label: 15 epochs of batches of 128, SGD with momentum, cosine schedule. rho and alpha are "
             "chosen on 6,000 other digits with correct labels (seeds 101 and 102). "
             "Accuracy is that of the final weights on the 10,000 test digits, whose labels are correct",
        base="SGD", data="mnist", rate=0.05, schedule="cosine(705)", epochs=15, timed_epochs=15,
        recipe="""[model]
name = "mlp"
hidden = [128, 128]

[data]
name = "mnist"
samples = 6000
label_noise = 0.4
validation = 0.1

[optimizer]
rule = "momentum"
momentum = 0.9
"""),
    "vit": Task(
        name="looksam-vit", title="LookSAM on a small vision transformer",
        what="a transformer (patches of 8, width 64, 3 blocks, 4 heads) " + CIFAR.format(12, "AdamW"),
        base="AdamW", data="cifar10", rate=1e-3, schedule="warmup(50) * cosine(852, 0.01)",
        epochs=12, timed_epochs=1,
        recipe="""[model]
name = "vit"
patch = 8
dim = 64
depth = 3
heads = 4

[data]
name = "cifar10"
validation = 0.1

[optimizer]
rule = "adamw"
weight_decay = 0.05
no_decay = ["bias", "norm"]
"""),
    "resnet": Task(
        name="looksam-resnet", title="LookSAM on a small residual network",
        what="ResNet-8 with 8 channels and batch norm "
             + CIFAR.format(6, "SGD with Nesterov momentum"),
        base="SGD", data="cifar10", rate=0.1, schedule="warmup(50) * cosine(426, 0.01)",
        epochs=6, timed_epochs=1,
        recipe="""[model]
name = "resnet"
depth = 8
width = 8

[data]
name = "cifar10"
validation = 0.1

[optimizer]
rule = "nesterov"
weight_decay = 5e-4
no_decay = ["bias", "norm"]
"""),
}


def methods(task, rho, layer_rho, alpha):
    """The changes of the recipe by the name of the method, the base first."""
    inflated = math.sqrt(1 + alpha**2)
    looksam = {"rho": rho, "k": 5, "alpha": alpha}
    return {
        task.base: [],
        f"{task.base}, lr × {inflated:.3f} (control)": [
            f"optimizer.lr={task.learning_rate(inflated)}"],
        "SAM-5": lab.settings("sam_k", rho=rho, k=5),
        "LookSAM-5": lab.settings("looksam", **looksam),
        "LookSAM-5, random direction (control)": lab.settings("looksam", **looksam, reuse="random"),
        "LookSAM-10": lab.settings("looksam", **(looksam | {"k": 10})),
        "Look-LayerSAM-5": lab.settings("look_layersam", **(looksam | {"rho": layer_rho})),
        "SAM": lab.settings("sam", rho=rho),
    }


def chart(runs):
    """Test accuracy of each method with its interval, and every seed."""
    rows = []
    for name, of in runs.items():
        test = [run["test"] for run in of]
        mean, half = lab.rounded(lab.interval(test))
        rows.append({"label": name, "mean": mean, "error": half, "values": test})
    return {"kind": "intervals",
            "title": "Each seed, and their mean with its 95 % confidence interval",
            "x_label": "test accuracy (%)", "rows": rows}


def page(name, task, chosen, means, runs, ratios):
    base = [run["test"] for run in runs[task.base]]
    rho, layer_rho, alpha = chosen
    lines = [
        f"# {task.title}", "",
        f"Written by `python3 experiments/looksam.py {name}`: {task.what}: mean over seeds 1 to 5 and its "
        "95 % confidence interval (Student's t). The last column is the difference from "
        f"{task.base}, seed by seed.", "",
        f"Chosen: rho = {rho}, alpha = {alpha}; rho = {layer_rho} by layers.", "",
        *lab.picture(task.name, "test accuracy by method"),
        "| method | test accuracy, % | gradients a step | training loss | "
        f"against {task.base} |", "|---|---|---|---|---|"]
    for method, of in runs.items():
        test = [run["test"] for run in of]
        against = "" if method == task.base else lab.text([a - b for a, b in zip(test, base)])
        loss = lab.text([run["training loss"] for run in of], 3)
        lines.append(f"| {method} | {lab.text(test)} | {of[0]['gradients']:g} | {loss} | {against} |")
    lines += [
        "", f"Training time, SAM over LookSAM-5, {PAIRS} pairs of runs in turn (epochs: "
        f"{task.timed_epochs}): median **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to "
        f"{max(ratios):.2f}); the paper reports 1.50, and the gradients alone would give 1.667.", "",
        "## Candidates for rho and alpha", "", "Mean validation accuracy, %.", ""]
    for what, of in means.items():
        lines.append(f"- {what}: " + ", ".join(f"{k}: {v:.2f}" for k, v in of.items()))
    lines += ["", "## Every run", "", "Test accuracy, %, of seeds 1 to 5.", ""]
    for method, of in runs.items():
        lines.append(f"- {method}: " + ", ".join(f"{run['test']:.2f}" for run in of))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--no-page", action="store_true", help="only the runs, not the times")
    lab.arguments(parser)
    options = parser.parse_args()
    task = TASKS[options.task]
    runs_of = lab.Lab(options, f"looksam-{options.task}", task.text(), task.data)

    means = {}
    rho, means["rho"] = runs_of.choose(
        {r: lab.settings("sam", rho=r) for r in RADII}, TUNING_SEEDS)
    alpha, means["alpha"] = runs_of.choose(
        {a: lab.settings("looksam", rho=rho, k=5, alpha=a) for a in ALPHAS}, TUNING_SEEDS)
    layer_rho, means["rho by layers"] = runs_of.choose(
        {r: lab.settings("look_layersam", rho=r, k=5, alpha=alpha) for r in LAYER_RADII},
        TUNING_SEEDS)
    named = methods(task, rho, layer_rho, alpha)
    tasks = [(name, seed) for seed in SEEDS for name in named]  # methods in turn
    runs = {name: [] for name in named}
    for (name, _), run in zip(tasks, runs_of.all([(named[n], s) for n, s in tasks])):
        runs[name].append(run)
    if options.no_page:
        return
    lab.draw(options.kudari, task.name, [chart(runs)])
    ratios = runs_of.ratios(named["SAM"], named["LookSAM-5"], PAIRS,
                            [f"train.epochs={task.timed_epochs}"])
    file = lab.DOCS / f"{task.name}.md"
    file.write_text(page(options.task, task, (rho, layer_rho, alpha), means, runs, ratios))
    print(f"written {file}")


if __name__ == "__main__":
    main()
