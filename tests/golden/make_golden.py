#!/usr/bin/env python3
"""Writes golden.json: trajectories of torch's own optimisers in float64, parameters and state.

Run by hand with a Python that has torch 2.13:

    python3 tests/golden/make_golden.py

The same versions write the same bytes. golden_test.cc replays every case. A new rule needs an entry
in RULES below: how its options are called in the independent implementation, and at least four
cases, the first of them with every default. Nothing here may be computed by Kudari.
"""

import json
import math
import os
import pathlib
import platform

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import torch

# Every tensor: name, shape, whether it starts at zero, and the binary exponent of its gradients:
# small gradients tell the conventions about epsilon apart.
TENSORS = [
    ("matrix.weight", (3, 5), False, 0),
    ("vector.weight", (7,), False, -9),
    ("scalar", (), False, 1),
    ("zeros.bias", (2,), True, -2),
]
STEPS = 1000
RECORDED = [1, *range(5, 51, 5), 100, 1000]

# Gradients are drawn, not stored: golden_test.cc has the same generator. They do not depend on the
# parameters, and all are float32 values, so that a float and a double run see the same ones.
MASK = (1 << 64) - 1
FATE = 0xFFFF  # the element whose draw decides about a tensor's whole gradient


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw(step, tensor, element):
    return splitmix64(step << 32 | tensor << 16 | element)


def value(bits):
    """In [-1, 1): the upper 24 bits, as a float32 holds them."""
    return ((bits >> 40) - 2**23) / 2**23


def initial(tensor):
    _, shape, zero, _ = TENSORS[tensor]
    return [0.0 if zero else value(draw(0, tensor, i)) for i in range(math.prod(shape))]


def gradient(step, tensor):
    """None (missing), all zeros, or values of which about one in sixteen is exactly zero."""
    name, shape, _, exponent = TENSORS[tensor]
    fate = draw(step, tensor, FATE) % 8
    if fate == 0 or (step == 1 and name == "scalar"):
        return None
    n = math.prod(shape)
    if fate == 1:
        return [0.0] * n
    bits = [draw(step, tensor, i) for i in range(n)]
    return [0.0 if b % 16 == 0 else value(b) * 2.0**exponent for b in bits]


# Options may be schedules, in Kudari's text, which is a Python expression over these functions of
# the step s = 0, 1, ...
def functions(s):
    def at(steps):
        return min(s / steps, 1.0)

    return {
        "warmup": lambda steps: min((s + 1) / steps, 1.0),
        "linear": lambda steps, last=0.0: 1 + (last - 1) * at(steps),
        "cosine": lambda steps, last=0.0: last
        + (1 - last) * (1 + math.cos(math.pi * at(steps))) / 2,
    }


def evaluate(option, s):
    return eval(option, functions(s)) if isinstance(option, str) else option


def sgd_options(options):
    return options


def adam_options(options):
    defaults = {"beta1": 0.9, "beta2": 0.999}
    named = {k: v for k, v in options.items() if k not in defaults}
    betas = tuple(options.get(k, v) for k, v in defaults.items())
    return {**named, "betas": betas}


# Rule: torch's class, what makes it this rule, the translation of options, and the cases. An
# option that a case does not name has its default, torch's on one side and Kudari's on the other.
RULES = {
    "sgd": (torch.optim.SGD, {}, sgd_options, {
        "defaults": {},
        "weight decay": {"lr": 0.05, "weight_decay": 0.1},
        "large steps": {"lr": 0.75, "weight_decay": 0.01},
        "schedules": {"lr": "0.1 * warmup(10) * cosine(600, 0.1)",
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, sgd_options, {
        "defaults": {},
        "weight decay": {"lr": 0.02, "weight_decay": 0.1},
        "dampening": {"lr": 0.1, "momentum": 0.99, "dampening": 0.7, "weight_decay": 0.01},
        "schedules": {"lr": "0.05 * warmup(10) * cosine(600, 0.1)",
                      "momentum": "0.95 * linear(60, 0.8)", "dampening": "0.5 * cosine(100, 0.5)"},
    }),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, sgd_options, {
        "defaults": {},
        "weight decay": {"lr": 0.02, "weight_decay": 0.1},
        "little momentum": {"lr": 0.3, "momentum": 0.3, "weight_decay": 0.01},
        "schedules": {"lr": "0.05 * warmup(10) * cosine(600, 0.1)",
                      "momentum": "0.95 * linear(60, 0.8)"},
    }),
    "adam": (torch.optim.Adam, {}, adam_options, {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(600, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "adamw": (torch.optim.AdamW, {}, adam_options, {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(600, 0.1)", "eps": 1e-3,
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
}


def trajectory(make, fixed, translate, options):
    """The records of one case: updates had, parameters and state of every tensor."""
    parameters = [
        torch.tensor(initial(i), dtype=torch.float64).reshape(shape).requires_grad_()
        for i, (_, shape, _, _) in enumerate(TENSORS)
    ]
    at_step = lambda s: {**fixed, **translate({k: evaluate(v, s) for k, v in options.items()})}
    optimizer = make(parameters, foreach=False, **at_step(0))
    updates = [0] * len(TENSORS)
    records = []
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0].update(at_step(step - 1))
        for i, p in enumerate(parameters):
            g = gradient(step, i)
            updates[i] += g is not None
            p.grad = None if g is None else torch.tensor(g, dtype=torch.float64).reshape(p.shape)
        optimizer.step()
        if step not in RECORDED:
            continue
        tensors = []
        for p, count in zip(parameters, updates):
            state = optimizer.state[p]
            assert "step" not in state or int(state["step"]) == count
            tensors.append({
                "updates": count,
                "param": p.detach().flatten().tolist(),
                "state": {k: v.flatten().tolist() for k, v in state.items()
                          if k != "step" and v is not None},
            })
        records.append({"step": step, "tensors": tensors})
    return records


def main():
    head = {
        "made_by": "tests/golden/make_golden.py",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "tensors": [
            {"name": name, "shape": shape, "zero": zero, "exponent": exponent}
            for name, shape, zero, exponent in TENSORS
        ],
    }
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    cases = []
    for rule, (make, fixed, translate, sets) in RULES.items():
        for case, options in sets.items():
            records = trajectory(make, fixed, translate, options)
            lines = ",\n".join(compact(r) for r in records)
            about = compact({"rule": rule, "case": case, "options": options})
            cases.append(f'{about[:-1]},"records":[\n{lines}]}}')
    text = f'{compact(head)[:-1]},\n"cases":[\n' + ",\n".join(cases) + "]}\n"
    json.loads(text)
    (pathlib.Path(__file__).parent / "golden.json").write_text(text)


if __name__ == "__main__":
    main()
