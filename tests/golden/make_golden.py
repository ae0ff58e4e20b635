#!/usr/bin/env python3
"""Writes data/RULE.json: trajectories, in float64, of implementations that are not Kudari's.

Run by hand, in an environment with tools/requirements-oracles.txt, for the rules named or for all:

    python3 tests/golden/make_golden.py [RULE...]

The same versions write the same bytes. golden_test.cc replays every case. oracles.py has the rules,
their oracles and cases; tensors.json the tensors: name, shape, whether it starts at zero, and the
binary exponent of its gradients (small gradients tell the conventions about epsilon apart).
"""

import json
import math
import os
import pathlib
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import oracles

FOLDER = pathlib.Path(__file__).parent
TENSORS = json.loads((FOLDER / "tensors.json").read_text())
RECORDED = [1, 2, 10, 50, 500]
AGREEMENT = 1e-12  # how near a second oracle must come, beside the largest value so far

# Gradients are drawn, not stored: golden_test.cc has the same generator. They do not depend on the
# parameters, and all are float32 values, so that a float and a double run see the same ones.
MASK = (1 << 64) - 1
FATE = 0xFFFF  # the element whose draw decides about a tensor's whole gradient


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


ESTIMATE = 0x100  # added to the tensor for estimates of the Hessian's diagonal


def draw(step, tensor, element):
    return splitmix64(step << 32 | tensor << 16 | element)


def value(bits):
    """In [-1, 1): the upper 24 bits, as a float32 holds them."""
    return ((bits >> 40) - 2**23) / 2**23


def initial(tensor):
    about = TENSORS[tensor]
    return [0.0 if about["zero"] else value(draw(0, tensor, i))
            for i in range(math.prod(about["shape"]))]


def gradient(step, tensor):
    """None (missing), all zeros, or values of which about one in sixteen is exactly zero."""
    about = TENSORS[tensor]
    fate = draw(step, tensor, FATE) % 8
    if fate == 0 or (step == 1 and about["name"] == "scalar"):
        return None
    n = math.prod(about["shape"])
    if fate == 1:
        return [0.0] * n
    bits = [draw(step, tensor, i) for i in range(n)]
    return [0.0 if b % 16 == 0 else value(b) * 2.0 ** about["exponent"] for b in bits]


def estimate(updates, tensor):
    """The one that comes after a tensor's updates 1, 11, 21, ..., or None."""
    if updates % 10 != 1:
        return None
    return [value(draw(updates, tensor + ESTIMATE, i))
            for i in range(math.prod(TENSORS[tensor]["shape"]))]


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


def evaluate(options, s):
    return {k: eval(v, functions(s)) if isinstance(v, str) else v for k, v in options.items()}


def trajectory(rule, oracle, options):
    """The records of one case: updates had, parameters and state of every tensor."""
    taken = range(1 if rule.matrices else len(TENSORS))  # the matrix comes first
    run = oracle.start([(initial(i), TENSORS[i]["shape"]) for i in taken], evaluate(options, 0))
    updates = [0] * len(taken)
    records = []
    for step in range(1, RECORDED[-1] + 1):
        gradients = [gradient(step, i) for i in taken]
        updates = [n + (g is not None) for n, g in zip(updates, gradients)]
        estimates = [estimate(n, i) if rule.curvature and g is not None else None
                     for i, (n, g) in enumerate(zip(updates, gradients))]
        run.step(gradients, evaluate(options, step - 1), estimates)
        if step not in RECORDED:
            continue
        tensors = []
        for i, n in enumerate(updates):
            state = run.state(i) if n else {}
            tensors.append({"updates": n, "param": run.param(i), "state": state})
            evaluated = run.evaluated(i) if n else None
            if evaluated is not None:
                tensors[-1]["evaluated"] = evaluated
        records.append({"step": step, "tensors": tensors})
    return records


def deviation(a, b):
    """The largest difference of parameters, beside the largest value of the tensor so far."""
    worst = 0.0
    for i in range(len(a[0]["tensors"])):
        scale = max(map(abs, initial(i)))
        for x, y in zip(a, b):
            p, q = x["tensors"][i]["param"], y["tensors"][i]["param"]
            scale = max(scale, *map(abs, q))
            worst = max([worst] + [abs(u - v) / scale for u, v in zip(p, q) if u != v])
    return worst


def write(name):
    rule = oracles.RULES[name]
    oracle, *others = rule.oracles
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    cases, confirmed = [], [0.0] * len(others)
    for case, options in rule.cases.items():
        records = trajectory(rule, oracle, options)
        for k, other in enumerate(others):
            if case in other.skips:
                continue
            confirmed[k] = max(confirmed[k], deviation(trajectory(rule, other, options), records))
            assert confirmed[k] < AGREEMENT, f"{name}, {case}: {other.name()}: {confirmed[k]}"
        lines = ",\n".join(compact(r) for r in records)
        cases.append(f'{compact({"case": case, "options": options})[:-1]},"records":[\n{lines}]}}')
    head = {"rule": name, "made_by": "tests/golden/make_golden.py", "oracle": oracle.name(),
            "confirmed_by": [{"oracle": o.name(), "deviation": float(f"{d:.1e}")}
                             for o, d in zip(others, confirmed)]}
    text = f'{compact(head)[:-1]},\n"cases":[\n' + ",\n".join(cases) + "]}\n"
    json.loads(text)
    (FOLDER / "data" / f"{name}.json").write_text(text)
    print(name, oracle.name(), *(f"[{o.name()}: {d:.1e}]" for o, d in zip(others, confirmed)))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or oracles.RULES:
        write(chosen)
