#!/usr/bin/env python3
"""Writes data/lr_range.json: learning-rate range tests and what implementations that are not Kudari's
read off them.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_lr_range.py

"torch_lr_finder" has range tests of torch-lr-finder itself over a small net: the losses of the
batches, and its learning rates, smoothed losses and suggestion. Its history holds smoothed losses
only, so each test runs twice, the first time without smoothing and stopping. "fastai" has smoothed
losses and what the formulas of fastai's callback/schedule.py (2.7) say: fastai is not installed, they
are written down here again in numpy. Its slide has an absolute threshold, so it is given the losses
divided by the first of them.
"""

import importlib.metadata
import json
import math
import pathlib

import numpy as np
import torch
import torch_lr_finder

FOLDER = pathlib.Path(__file__).parent


def finder(lr, end, steps, mode, smooth, diverge, noise):
    torch.manual_seed(2)
    x = torch.randn(256, 8, dtype=torch.float64)
    y = x[:, :1] * x[:, 1:2] + noise * torch.randn(256, 1, dtype=torch.float64)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    test = torch_lr_finder.LRFinder(net, torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9),
                                    torch.nn.MSELoss())
    test.range_test(loader, end_lr=end, num_iter=steps, step_mode=mode, smooth_f=smooth,
                    diverge_th=diverge)
    return test


def torch_lr_finder_case(start, end, steps, mode, smooth, diverge, noise):
    raw = finder(start, end, steps, mode, 0, math.inf, noise).history["loss"]
    test = finder(start, end, steps, mode, smooth, diverge, noise)
    lrs, losses = test.history["lr"], test.history["loss"]
    kept = slice(10, len(lrs) - 5)  # as its plot() leaves out
    suggestion = lrs[kept][np.gradient(np.array(losses[kept])).argmin()]
    _, same = test.plot(suggest_lr=True, ax=Axes())
    assert same == suggestion
    return {"start": start, "end": end, "steps": steps, "mode": mode, "smooth": smooth,
            "diverge": diverge, "loss": [x if math.isfinite(x) else None for x in raw],
            "lr": lrs, "smoothed": losses, "steepest": suggestion}


class Axes:
    """Stands for matplotlib's, which the suggestion does not need."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def valley(losses):
    """The index that fastai's valley takes."""
    longest = [1] * len(losses)
    for i in range(len(losses)):
        before = [longest[j] for j in range(i) if losses[i] < losses[j]]
        longest[i] = 1 + max(before, default=0)
    end = int(np.argmax(longest))
    third = longest[end] / 3
    return end - longest[end] + int(third) + int(third / 2)


def slide(losses, width=15, threshold=0.005):
    slopes = np.gradient(losses)
    left = len(losses) - 1 - width
    found = left
    while left >= 0 and abs(slopes[left + width] - slopes[left]) > threshold:
        found, left = left, left - 1
    return found


def fastai_case(name, losses, steps, start=1e-7, end=10.0):
    """Smoothed losses of the steps that were taken of a ramp from start to end."""
    lrs = [start * (end / start) ** (i / steps) for i in range(len(losses))]
    kept = slice(steps // 10, len(losses) - 5)
    lr, loss = np.array(lrs[kept]), np.array(losses[kept])
    steepest = np.argmin((loss[1:] - loss[:-1]) / (np.log(lr[1:]) - np.log(lr[:-1])))
    return {"name": name, "start": start, "end": end, "steps": steps, "smoothed": list(losses),
            "valley": lr[valley(loss)], "slide": lr[slide(loss / loss[0])], "steepest": lr[steepest],
            "minimum/10": lr[np.argmin(loss)] / 10}


def curve(seed, steps, noise, blow_up=70):
    """Flat, then falling, then exploding, with noise, smoothed as fastai does."""
    random = np.random.default_rng(seed)
    i = np.arange(steps)
    raw = 2.3 - 1.8 / (1 + np.exp(-(i - 0.55 * steps) / (0.06 * steps)))
    raw = raw + np.exp((i - blow_up * steps / 100) / (0.03 * steps)) + noise * random.normal(size=steps)
    mean, smoothed = 0.0, []
    for k, x in enumerate(raw):
        mean = 0.98 * mean + 0.02 * x
        smoothed.append(mean / (1 - 0.98 ** (k + 1)))
        if smoothed[-1] > 4 * min(smoothed):
            break
    return [float(x) for x in smoothed]


def main():
    data = {
        "versions": {name: importlib.metadata.version(name)
                     for name in ("torch-lr-finder", "torch", "numpy")},
        "torch_lr_finder": [
            torch_lr_finder_case(1e-5, 10.0, 60, "exp", 0.05, 5, 0.1),
            torch_lr_finder_case(1e-4, 100.0, 40, "exp", 0.3, 3, 0.5),
            torch_lr_finder_case(1e-3, 0.5, 40, "linear", 0.05, 5, 0.1),
        ],
        "fastai": [
            fastai_case("smooth", curve(1, 100, 0), 100),
            fastai_case("noisy", curve(2, 100, 0.3), 100),
            fastai_case("long", curve(3, 160, 0.1), 160),
            fastai_case("still falling", curve(4, 100, 0.05, blow_up=200), 100),
        ],
    }
    lines = json.dumps(data, indent=None, separators=(", ", ": "))
    for key in ('"torch_lr_finder"', '"fastai"', '{"start": 0', '{"name"'):
        lines = lines.replace(key, "\n" + key)
    (FOLDER / "data/lr_range.json").write_text(lines + "\n")


main()
