#!/usr/bin/env python3
"""Table 1 of LookSAM (arXiv:2203.02714) at the scale of two cores; writes docs/looksam-table.md.

    python3 experiments/looksam_table.py [--data DIR] [--kudari build/release/kudari] [--jobs 2]

SGD, SAM at every 5th, 10th and 20th step, LookSAM likewise, and SAM, on two networks with flips and
crops. DIR holds CIFAR-10 in the folder cifar10, else it is looked for where the lab looks. A seed means
the same samples, initial weights, order and augmentation for all methods. Finished runs are kept.
"""

import argparse
import pathlib

import lab

SEEDS = (1, 2, 3)
PAGE = pathlib.Path(__file__).parent.parent / "docs" / "looksam-table.md"
RHO, ALPHA = 0.02, 0.1  # chosen for docs/looksam-resnet.md
EPOCHS = 5

NETWORKS = {
    "ResNet-8": """[model]
name = "resnet"
depth = 8
width = 8
""",
    "ResNet-18": """[model]
name = "imagenet_resnet"
depth = 18
width = 8
stem = "small"
""",
}

RECIPE = """
[data]
name = "cifar10"
samples = 5000
validation = 0.1

[augment]
flip = 0.5
crop = 4

[optimizer]
rule = "nesterov"
lr = "0.1 * warmup(10%) * cosine(end, 0.01)"
momentum = 0.9
weight_decay = 5e-4
no_decay = ["bias", "norm"]

[train]
epochs = {epochs}
batch_size = 128
threads = 1
"""


def methods():
    """The changes of the recipe by the name of the method."""
    named = {"SGD": []}
    for k in (5, 10, 20):
        named[f"SAM-{k}"] = lab.settings("sam_k", rho=RHO, k=k)
        named[f"LookSAM-{k}"] = lab.settings("looksam", rho=RHO, k=k, alpha=ALPHA)
    return named | {"SAM": lab.settings("sam", rho=RHO)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    lab.arguments(parser)
    options = parser.parse_args()
    results = {}
    for network, model in NETWORKS.items():
        runs = lab.Lab(options, f"looksam-table-{network}", model + RECIPE.format(epochs=EPOCHS),
                       "cifar10")
        tasks = [(name, seed) for seed in SEEDS for name in methods()]
        trained = runs.all([(methods()[name], seed) for name, seed in tasks])
        for (name, _), run in zip(tasks, trained):
            results.setdefault((network, name), []).append(run)
    rows = []
    for name in methods():
        accuracy = [lab.text([run["test"] for run in results[network, name]]) for network in NETWORKS]
        against = [lab.text([run["test"] - base["test"] for run, base in
                             zip(results[network, name], results[network, "SGD"])])
                   if name != "SGD" else "" for network in NETWORKS]
        gradients = results["ResNet-8", name][0]["gradients"]
        cells = " | ".join(f"{a} | {b}" for a, b in zip(accuracy, against))
        rows.append(f"| {name} | {gradients:g} | {cells} |")
    table = "\n".join(rows)
    each = "\n".join(f"- {network}, {name}: " + ", ".join(f"{run['test']:.2f}" for run in of)
                     for (network, name), of in results.items())
    heads = " | ".join(f"{network}, % | against SGD" for network in NETWORKS)
    PAGE.write_text(f"""# LookSAM's Table 1, small

Written by `python3 experiments/looksam_table.py`. Table 1 of [LookSAM](https://arxiv.org/abs/2203.02714) trains
ResNet-18, ResNet-50 and WRN-28-10 on CIFAR-100 for 200 epochs. Here are its methods on two networks with 8 channels,
on 4,500 images of CIFAR-10 with flips and crops: {EPOCHS} epochs of batches of 128, SGD with Nesterov momentum 0.9,
lr 0.1 with a warm-up and a cosine, weight decay 5e-4. rho = {RHO} and alpha = {ALPHA} are those chosen for
[the small residual network](looksam-resnet.md). Accuracy is that of the final weights on the 10,000 test images, the
mean over seeds 1 to 3 with its 95 % confidence interval (Student's t), and the difference from SGD is taken seed by
seed. A step of SGD takes one gradient.

| method | gradients a step | {heads} |
|---|---|{'---|---|' * len(NETWORKS)}
{table}

Test accuracy of seeds 1 to 3:

{each}
""")


if __name__ == "__main__":
    main()
