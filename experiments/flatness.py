#!/usr/bin/env python3
"""Whether SAM ends in flatter places than SGD: two surfaces, two networks; writes docs/flatness.md.

    python3 experiments/flatness.py [--data DIR] [--kudari build/release/kudari] [--jobs 2]

The surfaces are run by the program flat_surface beside this script, the networks are those of
looksam.py, whose finished runs are used where there are any. Needs nothing but Python.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys

import lab
import looksam

SEEDS = (1, 2, 3)
NETWORKS = {
    "mnist": ("perceptron, MNIST, two fifths of the labels wrong", {"rho": 0.2, "alpha": 0.3}),
    "vit": ("transformer, CIFAR-10", {"rho": 0.05, "alpha": 0.1}),
}
MEASURES = {  # title, digits, unit
    "sam_sharpness": ("SAM", 4, 1), "ascent_sharpness": ("ascent", 4, 1),
    "average_sharpness": ("average, millionths", 1, 1e-6),
    "adaptive_sharpness": ("adaptive", 3, 1), "largest_eigenvalue": ("eigenvalue", 1, 1),
    "trace": ("trace", 0, 1),
}
# The pictures of surfaces: what a run calls it and what `kudari landscape` does, noise, radii.
PANELS = (("ripples", "sharp", 0.0, (0.0, 0.3)), ("valleys", "valleys", 20.0, (0.0, 0.3)))


def surfaces(program):
    """The runs by surface, noise and rho."""
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    runs = {}
    for row in csv.DictReader(done.stdout.splitlines()):
        key = (row["surface"], float(row["noise"]), float(row["rho"]))
        runs.setdefault(key, []).append(
            {name: float(value) for name, value in row.items() if name != "surface"})
    return runs


def surface_charts(runs):
    """The losses as contours, and where SGD and SAM end on them."""
    for name, surface, noise, radii in PANELS:
        starts = [r["x0"] for (of_name, _, _), of in runs.items() if of_name == name for r in of]
        low, high = min(starts) - 0.2, max(starts) + 0.2
        dots = []
        for rho in radii:
            # Many runs end at one place.
            ends = sorted({(round(r["x"], 3), round(r["y"], 3)) for r in runs[name, noise, rho]})
            dots.append({"label": f"SAM, rho = {rho:g}" if rho else "SGD",
                         "x": [x for x, _ in ends], "y": [y for _, y in ends]})
        yield {"kind": "surface", "title": f"{name}, noise {noise:g}: where runs end",
               "surface": surface, "low": [low, low], "high": [high, high], "dots": dots}


def surface_rows(runs):
    for (surface, noise, rho), of in runs.items():
        share = lambda test: f"{100 * sum(map(test, of)) / len(of):.0f}"
        median = lambda name: f"{statistics.median(r[name] for r in of):.3g}"
        wide = share(lambda r: r["x"] < 0.6) if surface == "valleys" else ""
        narrow = share(lambda r: 0.8 < r["x"] < 1.3) if surface == "valleys" else ""
        yield (f"| {surface} | {noise:g} | {rho:g} | {median('loss')} | {median('curvature')} | "
               f"{median('rise')} | {share(lambda r: r['curvature'] > 0)} | {narrow} | {wide} |")


class Measured:
    """Runs of a network and what `kudari sharpness` says of them."""

    def __init__(self, options, name):
        self.kudari, self.name = options.kudari, name
        self.title, of = NETWORKS[name]
        self.task = looksam.TASKS[name]
        self.runs = lab.Lab(options, f"looksam-{name}", self.task.text(), self.task.data)
        self.methods = {self.task.base: [],
                        f"SAM, rho = {of['rho']}": lab.settings("sam", rho=of["rho"]),
                        "LookSAM-5": lab.settings("looksam", rho=of["rho"], k=5, alpha=of["alpha"])}

    def rows(self):
        tasks = [(sets, seed) for sets in self.methods.values() for seed in SEEDS]
        results = iter(self.runs.all(tasks))
        for name, sets in self.methods.items():
            runs = [next(results) for _ in SEEDS]
            measures = [self.measure(self.runs.path(sets, seed)) for seed in SEEDS]
            cells = [lab.text([run["test"] for run in runs], 1),
                     lab.text([m["loss"] for m in measures], 3)]
            for key, (_, digits, unit) in MEASURES.items():
                cells.append(lab.text([self.number(m[key]) / unit for m in measures], digits))
            yield f"| {self.title} | {name} | " + " | ".join(cells) + " |"

    def measure(self, run):
        file = run / "sharpness.json"
        if not file.exists():
            self.call("sharpness", run, "--json", file)
        return json.loads(file.read_text())

    @staticmethod
    def number(value):
        return next(value[k] for k in ("mean", "value") if k in value) if isinstance(
            value, dict) else value

    def slice(self):
        """Draws the loss along one direction from the ends of the base and of SAM, seed 1."""
        base, sam, _ = self.methods.values()
        runs = [self.runs.path(sets, 1) for sets in (base, sam)]
        out = self.runs.folder / "slice"
        self.call("sharpness", runs[0], "--slice", "1", "--with", runs[1], "--out", out, "--force")
        with next(out.glob("*.csv")).open() as file:
            rows = list(csv.DictReader(file))
        x = lab.rounded(float(row["alpha"]) for row in rows)
        lab.draw(self.kudari, f"flatness-{self.name}", [{
            "title": self.title, "log_y": True, "y_label": "training loss",
            "x_label": "distance along a random direction, in units of the filters' norms",
            "series": [{"label": label, "x": x,
                        "y": lab.rounded(float(row[column]) for row in rows)}
                       for label, column in ((self.task.base, "loss"), ("SAM", "loss2"))]}])

    def call(self, *arguments):
        done = subprocess.run([self.kudari, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--surface", default="build/release/experiments/flat_surface")
    lab.arguments(parser)
    options = parser.parse_args()
    runs = surfaces(options.surface)
    lab.draw(options.kudari, "flatness-surfaces", list(surface_charts(runs)))
    networks = [Measured(options, name) for name in NETWORKS]
    rows = [row for network in networks for row in network.rows()]
    for network in networks:
        network.slice()
    lines = [
        "# Are SAM's minima flatter?", "",
        "Written by `python3 experiments/flatness.py`.", "", "## On surfaces", "",
        "SGD (rho = 0) and SAM, 1,000 steps with a cosine schedule from each of 400 starts on a grid; "
        "Gaussian noise, with the standard deviation in the table, is added to every gradient, the same in both "
        "passes of a step. Medians over the starts: loss at the end, the larger eigenvalue of the Hessian there, "
        "and the largest rise of the loss within 0.05; then the percentages of ends where the surface "
        "curves upwards, in the narrow valley and in the wide one.", "",
        "- *ripples*: (x - 1)^2 + 10 sin(5x)^2 along both axes. **Its valleys are all equally narrow**: "
        "each has a curvature of 502, give or take 0.4 %. So there is nothing flatter "
        "for SAM to find, and with a radius near half a ripple (0.31) it takes the gradient of the next "
        "slope: it climbs, and rests on *maxima*. rho must be small compared with the width of the "
        "valleys.",
        "- *valleys*: two valleys of the same depth, of curvature 100 and 2.8. With noisy "
        "gradients, the larger rho is, the fewer ends are in the narrow one, though some of those that left "
        "it are still on the ridge between the two. Without noise SGD stays on its side, and SAM with a "
        "radius as long as the width of the narrow valley ends on the ridge (0.3) or beyond (0.5).", "",
        *lab.picture("flatness-surfaces", "where SGD and SAM end"),
        "| surface | noise | rho | loss | curvature | rise | curving upwards, % | narrow, % | wide, % |",
        "|---|---|---|---|---|---|---|---|---|", *surface_rows(runs), "", "## In networks", "",
        "Final weights of the runs of [label-noise.md](label-noise.md) and "
        "[looksam-vit.md](looksam-vit.md), measured by `kudari sharpness` on 1,024 training samples; "
        "mean over seeds 1 to 3 and its 95 % confidence interval. SAM: rise of the loss at rho = 0.05 "
        "along the gradient; ascent: by ten steps within that ball; average: along random "
        "directions; adaptive: ASAM's, rho = 0.5; the Hessian's largest eigenvalue; its trace. "
        "Slices are along one random filter-normalised direction, seed 1. **By every measure SAM and "
        "LookSAM end in flatter minima**, even where that does not change the test accuracy, as in the "
        "transformer.", "",
        "| network | method | test accuracy, % | loss | "
        + " | ".join(title for title, _, _ in MEASURES.values()) + " |",
        "|---" * (4 + len(MEASURES)) + "|", *rows, ""]
    for network in networks:
        lines += lab.picture(f"flatness-{network.name}", f"slices, {network.title}")
    (lab.DOCS / "flatness.md").write_text("\n".join(lines[:-1]) + "\n")
    print(f"written {lab.DOCS / 'flatness.md'}")


if __name__ == "__main__":
    main()
