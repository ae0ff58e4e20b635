#!/usr/bin/env python3
"""Kills training runs at random moments, and checks that each goes on as if nothing had happened.

usage: tests/chaos/chaos.py --kudari build/release/kudari [--kills 200] [--seed 1] [--keep FOLDER]

Each run is killed one to six times (SIGKILL): while it starts, trains, evaluates or saves, also just
after it was resumed. Once it is resumed for the last time, its weights, its last checkpoint and its
metrics must have the bytes of a run that nobody killed; wall times, which are no result, are left out.
The recipes take turns: averaging, sharpness-aware steps, 8-bit state, batch norm, augmentation.
"""

import argparse
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

RECIPES = {
    "averages": """
model = {name = "mlp", hidden = [64, 32]}
data = {name = "digits"}
optimizer = {rule = "adamw", lr = "3e-3 * warmup(10)", ema = {decay = 0.95}, lookahead = {k = 5, alpha = 0.5}}
train = {epochs = 3, batch_size = 32, eval_every = 25, save_every = 4, keep_best = true, threads = 1}
""",
    "sharpness": """
model = {name = "mlp", hidden = [64]}
data = {name = "digits"}
augment = {cutout = 2, mixup = 0.3}
optimizer = {rule = "momentum", lr = 0.05, source = "looksam", sharpness = {k = 3}, accumulate = 2}
train = {epochs = 4, batch_size = 24, save_every = 3, workers = 2, threads = 1}
""",
    "coded": """
model = {name = "vit", dim = 32, depth = 1, dropout = 0.1}
data = {name = "digits", samples = 600}
optimizer = {rule = "adam", lr = 2e-3, precision = {master = "split8", state = "linear8"}}
train = {epochs = 3, batch_size = 32, weights = "bf16", precision = "f16", save_every = 5, threads = 1}
""",
    "batch-norm": """
model = {name = "resnet", width = 4}
data = {name = "digits", samples = 400}
augment = {crop = 1}
optimizer = {rule = "nesterov", lr = 0.05, swa = {start = 10, every = 3}}
train = {epochs = 2, batch_size = 25, save_every = 2, keep = 3, plateau_factor = 0.5, threads = 1}
""",
}


class Chaos:
    def __init__(self, kudari, folder, seed):
        self.kudari, self.folder, self.random = kudari, folder, random.Random(seed)
        self.references = {}

    def command(self, name, out, resume):
        recipe = self.folder / f"{name}.toml"
        recipe.write_text(RECIPES[name])
        return [self.kudari, "train", recipe, "--resume" if resume else "--out", out]

    def finish(self, name, out, resume):
        """Trains to the end; returns how long that took."""
        start = time.monotonic()
        result = subprocess.run(self.command(name, out, resume), capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{name}: {out} cannot be resumed:\n{result.stdout}{result.stderr}")
        return time.monotonic() - start

    def reference(self, name):
        if name not in self.references:
            out = self.folder / f"{name}-whole"
            self.references[name] = out, self.finish(name, out, False)
        return self.references[name]

    def kill(self, name, out, resume, after):
        """Kills the run; returns whether it was still going on."""
        process = subprocess.Popen(self.command(name, out, resume), stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        try:
            text, _ = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        if process.returncode != 0:
            raise SystemExit(f"{name}: {out} cannot be resumed:\n{text}")
        return False

    def has_checkpoint(self, out):
        return any((out / "checkpoints").glob("step-*/manifest.json"))

    def run(self, name, number, most):
        """One run with at most so many kills; returns their number."""
        whole, seconds = self.reference(name)
        out = self.folder / f"{name}-{number}"
        kills = 0
        for _ in range(self.random.randint(1, min(6, most))):
            resume = self.has_checkpoint(out)
            if not resume and out.exists():
                shutil.rmtree(out)  # killed before the first checkpoint: it begins again
            kills += self.kill(name, out, resume, self.random.uniform(0, 1.1 * seconds))
        resume = self.has_checkpoint(out)
        if not resume and out.exists():
            shutil.rmtree(out)
        self.finish(name, out, resume)
        self.compare(whole, out)
        shutil.rmtree(out)
        return kills

    def compare(self, whole, out):
        for file in ("model.safetensors", "recipe.toml"):
            if (whole / file).read_bytes() != (out / file).read_bytes():
                raise SystemExit(f"{out / file} differs from {whole / file}")
        metrics = [re.sub(r'"seconds":[^,}]*', "", (f / "metrics.jsonl").read_text())
                   for f in (whole, out)]
        if metrics[0] != metrics[1]:
            raise SystemExit(f"{out}/metrics.jsonl differs from that of {whole}")
        diff = subprocess.run([self.kudari, "checkpoint", "diff", whole, out],
                              capture_output=True, text=True)
        lines = [line for line in diff.stdout.splitlines()
                 if not line.startswith(("run/seconds ", "the states are equal"))]
        if lines or diff.returncode not in (0, 1):
            raise SystemExit(f"{out}: the last checkpoint differs from that of {whole}:\n"
                             + "\n".join(lines) + diff.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kudari", required=True, type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="folder of the runs, which is kept")
    options = parser.parse_args()
    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="kudari-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(options.kudari.resolve(), folder, options.seed)
    kills = number = 0
    names = list(RECIPES)
    while kills < options.kills:
        kills += chaos.run(names[number % len(names)], number, options.kills - kills)
        number += 1
        print(f"{number} runs, {kills} kills", flush=True)
    if not options.keep:
        shutil.rmtree(folder)
    print(f"{kills} of {kills} resumed, byte-equal")


if __name__ == "__main__":
    sys.exit(main())
