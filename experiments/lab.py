"""What the experiments share: runs of `kudari train`, choices by validation, means with intervals,
and pictures."""

import concurrent.futures
import hashlib
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import threading

DOCS = pathlib.Path(__file__).parent.parent / "docs"
STUDENT = {3: 4.303, 5: 2.776}  # 97.5 % of Student's t, by the number of values


def arguments(parser):
    """The options of every experiment."""
    parser.add_argument("--kudari", default="build/release/kudari")
    parser.add_argument("--data", type=pathlib.Path, help="folder with the folders mnist and cifar10")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/experiments"),
                        help="folder where finished runs are kept; what is there is not run again")


def settings(source, **options):
    """The changes of a recipe that make it sharpness-aware."""
    return [f'optimizer.source="{source}"'] + [
        f"optimizer.sharpness.{name}={json.dumps(value)}" for name, value in options.items()]


class Lab:
    """Runs of one recipe with changes, several at a time, each kept by what it was asked for."""

    def __init__(self, options, name, recipe, data, extra=()):
        self.kudari, self.jobs = options.kudari, options.jobs
        self.data = options.data / data if options.data else None
        self.text, self.extra = recipe, extra
        self.folder = options.runs / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recipe = self.folder / "recipe.toml"
        self.recipe.write_text(recipe)
        self.lock, self.done, self.asked = threading.Lock(), 0, 0

    def path(self, sets, seed):
        """Where this run's results are."""
        key = json.dumps([self.text, sets, seed])  # extra options change no result
        return self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]

    def run(self, sets, seed, again=False):
        out = self.path(sets, seed)
        if again:
            out = out.with_name("again")
        result = out / "result.json"
        if again or not result.exists():
            trained = self.train(sets, seed, out)
            result.write_text(json.dumps(trained))
        with self.lock:
            self.done += 1
            print(f"\r{self.folder.name}: {self.done} of {self.asked} runs", end="",
                  file=sys.stderr, flush=True)
        return json.loads(result.read_text())

    def train(self, sets, seed, out):
        changes = [*sets, f"train.seed={seed}"] + ([f"data.path={self.data}"] if self.data else [])
        command = [self.kudari, "train", self.recipe, "--out", out, *self.extra]
        for change in changes:
            command += ["--set", change]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr}")
        value = lambda name: float(re.search(rf"^{name} +([\d.]+|nan|inf)", done.stdout, re.M)[1])
        gradients = re.search(r"^gradients +\d+, ([\d.]+) a step", done.stdout, re.M)
        return {"sets": sets, "seed": seed, "validation": value("validation accuracy"),
                "test": value("test accuracy"), "training loss": value("training loss"),
                "seconds": value("time"), "gradients": float(gradients[1]) if gradients else 1.0}

    def all(self, tasks):
        """The results of (sets, seed) each, in order."""
        self.done, self.asked = 0, len(tasks)
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            results = list(pool.map(lambda task: self.run(*task), tasks))
        print(file=sys.stderr)
        return results

    def ratios(self, slow, fast, pairs, sets):
        """Times of `slow` over those of `fast`, in turn, one run at a time."""
        self.done, self.asked = 0, 2 * pairs
        seconds = [self.run(which + sets, seed, again=True)["seconds"]
                   for seed in range(1, pairs + 1) for which in (slow, fast)]
        print(file=sys.stderr)
        return [a / b for a, b in zip(seconds[::2], seconds[1::2])]

    def choose(self, variants, seeds):
        """The variant with the best mean validation accuracy, and every mean."""
        runs = iter(self.all([(sets, seed) for sets in variants.values() for seed in seeds]))
        means = {key: statistics.mean(next(runs)["validation"] for _ in seeds) for key in variants}
        return max(means, key=means.get), means


def interval(values):
    """Mean and half of the 95 % confidence interval."""
    return statistics.mean(values), STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(
        len(values))


def text(values, digits=2):
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def rounded(values, digits=4):
    """Numbers as a picture needs them, with so many digits."""
    return [float(f"{value:.{digits}g}") for value in values]


def draw(kudari, name, charts, columns=1, **more):
    """Writes docs/plots/NAME.json, as `kudari plot` reads it, and draws docs/figures/NAME.svg."""
    file = DOCS / "plots" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    text = json.dumps(more | {"columns": columns, "charts": charts}, indent=1, ensure_ascii=False)
    lists = re.compile(r"\[[^][{}]*\]")  # of numbers or names, each on one line
    file.write_text(lists.sub(lambda found: re.sub(r"\s*\n\s*", "", found[0]), text) + "\n")
    subprocess.run([kudari, "plot", file, "--svg", DOCS / "figures" / f"{name}.svg", "--force"],
                   check=True)


def picture(name, what):
    """The lines of a page that show such a picture, and how to draw it again."""
    return [f"    kudari plot plots/{name}.json --svg figures/{name}.svg", "",
            f"![{what}](figures/{name}.svg)", ""]
