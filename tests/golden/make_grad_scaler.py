#!/usr/bin/env python3
"""Writes data/grad_scaler.json: loss scales that torch.amp.GradScaler goes through.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_grad_scaler.py

Each case has options, a script and, for each step of the script, whether the step was skipped, the
scale and the growth tracker after the update. A script has one character a step: "." for a finite
gradient, "i" and "n" for one with an infinity or a NaN. Of several optimisers each has a script.
"""

import json
import pathlib

import torch

DEFAULTS = {"init_scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5,
            "growth_interval": 2000}
VALUES = {".": 1.0, "i": float("inf"), "n": float("nan")}

CASES = [
    ({}, ["iii...."]),  # overflow at once, as long as the scale is too large
    ({"growth_interval": 3}, ["......." * 2]),
    ({"growth_interval": 3}, ["..i...n..i...."]),  # an overflow sets the tracker back
    ({"growth_interval": 1}, [".i..n..."]),
    ({"growth_interval": 2000}, ["." * 1999 + "." + ".."]),
    # Neither are powers of two: what float32 makes of them.
    ({"init_scale": 1000.1, "growth_factor": 1.37, "backoff_factor": 0.71, "growth_interval": 2},
     ["....i.....n....ii......"]),
    ({"init_scale": 2.0**126, "growth_interval": 1}, ["...i..."]),  # never infinite
    ({"init_scale": 3e38, "growth_factor": 1.1, "growth_interval": 2}, ["....."]),
    # Several optimisers: any overflow counts, once.
    ({"growth_interval": 2}, ["....i...", "..i.i..."]),
    ({"growth_interval": 3}, ["n.......", "..n.....", "....n..."]),
]


def run(options, scripts):
    scaler = torch.amp.GradScaler("cpu", **options)
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in scripts]
    optimizers = [torch.optim.SGD([p], lr=0.5) for p in parameters]
    steps = []
    for characters in zip(*scripts):
        skipped = []
        for p, optimizer, character in zip(parameters, optimizers, characters):
            p.grad = scaler.scale(torch.tensor([1.0, VALUES[character]]))
            before = p.detach().clone()
            scaler.step(optimizer)
            skipped.append(bool(torch.equal(before, p)))
        scaler.update()
        steps.append([skipped, scaler.get_scale(), scaler.state_dict()["_growth_tracker"]])
    return steps


def runs(steps):
    """Neighbours that differ by the counting tracker as [first tracker, count, skipped, scale]."""
    rows = []
    for skipped, scale, tracker in steps:
        last = rows[-1] if rows else None
        if last and last[2:] == [skipped, scale] and tracker == last[0] + last[1]:
            last[1] += 1
        else:
            rows.append([tracker, 1, skipped, scale])
    return rows


if __name__ == "__main__":
    cases = [json.dumps({"options": DEFAULTS | options, "scripts": scripts,
                         "runs": runs(run(options, scripts))}) for options, scripts in CASES]
    path = pathlib.Path(__file__).parent / "data" / "grad_scaler.json"
    versions = json.dumps({"torch": torch.__version__})
    path.write_text(f'{{\n"versions": {versions},\n"cases": [\n  ' + ",\n  ".join(cases) + "\n]\n}\n")
