#!/usr/bin/env python3
"""Writes data/landscapes.json: the paths of torch's optimisers, in float64 and with gradients by
autograd, down the functions of `kudari landscape`.

    .venv/bin/python tests/golden/make_landscapes.py

The learning rate of each is a fifth of the one, of 1, 2 and 5 times powers of ten, whose run ends
lowest, where steps do not yet jump across valleys; of functions without a lower bound it is 0.01, and
a run ends where it leaves the numbers. Of 200 steps every tenth is written, with the distance at which
torch itself is from there in float32: on a surface with ripples rounding decides where a run goes.
"""

import json
import math
import pathlib

import torch

STEPS, EVERY = 200, 10
RATES = [digit * 10.0**power for power in range(-4, 1) for digit in (1, 2, 5)]

FUNCTIONS = {  # name: loss, start
    "bowl": (lambda x, y: x**2 + 2 * y**2, (3, 2)),
    "ravine": (lambda x, y: (x**2 + 50 * y**2) / 2, (-10, 1)),
    "rosenbrock": (lambda x, y: (1 - x)**2 + 100 * (y - x**2)**2, (-1.2, 1)),
    "beale": (lambda x, y: (1.5 - x + x * y)**2 + (2.25 - x + x * y**2)**2
              + (2.625 - x + x * y**3)**2, (1, 1.5)),
    "himmelblau": (lambda x, y: (x**2 + y - 11)**2 + (x + y**2 - 7)**2, (0, 0)),
    "sharp": (lambda x, y: (x - 1)**2 + 10 * torch.sin(5 * x)**2
              + (y - 1)**2 + 10 * torch.sin(5 * y)**2, (-0.4, 2.3)),
    "noisy": (lambda x, y: (x - 2)**2 + (y - 2)**2
              + 0.5 * torch.sin(10 * x) * torch.sin(10 * y), (-0.5, 4)),
    "valleys": (lambda x, y: -torch.logsumexp(torch.stack([-50 * (x - 1)**2, -(x + 1)**2 / 0.72]), 0)
                + y**2 / 2, (1.5, 1.2)),
    "saddle": (lambda x, y: x**2 - y**2, (1.5, 0.01)),
    "monkey_saddle": (lambda x, y: x**3 - 3 * x * y**2, (1.2, 0.05)),
}
UNBOUNDED = ("saddle", "monkey_saddle")

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
}


def descend(loss_of, start, make, options, lr, dtype=torch.float64):
    """The finite places before the first step and after each, and the last loss."""
    # As a float32 program begins.
    w = torch.tensor(start, dtype=torch.float32).to(dtype).requires_grad_()
    optimizer = make([w], lr=lr, **options)
    places = [w.tolist()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(w[0], w[1]).backward()
        optimizer.step()
        if not all(math.isfinite(value) and abs(value) < 1e30 for value in w.tolist()):
            break
        places.append(w.tolist())
    loss = loss_of(w[0], w[1]).item()
    return places, loss if math.isfinite(loss) else math.inf


def main():
    cases = []
    for function, (loss_of, start) in FUNCTIONS.items():
        for rule, (make, options) in OPTIMIZERS.items():
            rates = [0.01] if function in UNBOUNDED else RATES
            best = min(rates, key=lambda lr: descend(loss_of, start, make, options, lr)[1])
            lr = best if function in UNBOUNDED else best / 5
            places, _ = descend(loss_of, start, make, options, lr)
            single, _ = descend(loss_of, start, make, options, lr, torch.float32)
            pairs = list(zip(places, single))[::EVERY]
            cases.append({"function": function, "rule": rule, "lr": lr,
                          "places": [place for place, _ in pairs],
                          "float32": [math.dist(*pair) for pair in pairs]})
    folder = pathlib.Path(__file__).parent / "data"
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "landscapes.json").write_text(
        f'{{"made_by":"tests/golden/make_landscapes.py","oracle":"torch {torch.__version__}",'
        f'"every":{EVERY},\n"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
