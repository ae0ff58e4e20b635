#!/usr/bin/env python3
"""Writes stages.json: averages of weights, Lookahead and adaptive clipping that are not Kudari's.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_stages.py

Everything is in float64, from drawn inputs that float32 holds exactly; the file has these too.
Averages are of torch.optim.swa_utils, clipped gradients of timm.utils.agc. Lookahead is Algorithm 1
of arXiv:1907.08610 written out around torch's own optimisers: the packages' versions are not used
because one copies the slow weights at the first sync, which is then none, and two let the cached
momentum alias the live one. A case's "recipe" is what Kudari is to do the same with.
"""

import json
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import timm
import torch
from make_golden import splitmix64, value
from timm.utils.agc import adaptive_clip_grad
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

STEPS = 24
SIZE = 4


def draws(seed, shape):
    n = torch.Size(shape).numel()
    return torch.tensor([value(splitmix64(seed << 32 | i)) for i in range(n)],
                        dtype=torch.float64).reshape(shape)


WEIGHTS = draws(1, (STEPS, SIZE))
GRADIENTS = draws(2, (STEPS, SIZE))
START = draws(3, (SIZE,))


def averages(due, **kwargs):
    """The average after each step, null before there is one; `due` says which steps count."""
    model = torch.nn.ParameterList([torch.nn.Parameter(START.clone())])
    averaged = AveragedModel(model, **kwargs)
    rows = []
    for step in range(1, STEPS + 1):
        model[0].data.copy_(WEIGHTS[step - 1])
        if due(step):
            averaged.update_parameters(model)
        rows.append(averaged.module[0].tolist() if averaged.n_averaged > 0 else None)
    return rows


def always(step):
    return True


def warm(decay):
    def average(a, p, n):  # n updates have been; the first copied
        d = min(decay, (1 + n.item()) / (10 + n.item()))
        return d * a + (1 - d) * p
    return average


AVERAGES = {
    "ema = {decay = 0.9}": averages(always, avg_fn=get_ema_avg_fn(0.9)),
    "ema = {}": averages(always, multi_avg_fn=get_ema_multi_avg_fn(0.999)),
    "ema = {decay = 0.5, warmup = true}": averages(always, avg_fn=warm(0.5)),
    "ema = {decay = 0.999, warmup = true}": averages(always, avg_fn=warm(0.999)),
    "swa = {}": averages(always),
    "swa = {start = 7, every = 5}": averages(lambda s: s > 7 and (s - 7) % 5 == 0),
    "swa = {start = 3}": averages(lambda s: s > 3),
}

OPTIMISERS = {
    'rule = "momentum"\nlr = 0.1\nmomentum = 0.9':
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum_buffer"),
    'rule = "adam"\nlr = 0.1':
        (lambda p: torch.optim.Adam(p, lr=0.1), "exp_avg"),
}


def lookahead(make, momentum_name, k, alpha, state):
    """Weights and slow weights after each step."""
    theta = torch.nn.Parameter(START.clone())
    optimiser = make([theta])
    slow, cached = START.clone(), torch.zeros(SIZE, dtype=torch.float64)
    rows = []
    for step in range(1, STEPS + 1):
        theta.grad = GRADIENTS[step - 1].clone()
        optimiser.step()
        if step % k == 0:
            slow = slow + alpha * (theta.data - slow)
            theta.data.copy_(slow)
            if state == "reset":
                optimiser.state.clear()
            if state == "pullback":
                momentum = optimiser.state[theta][momentum_name]
                cached = cached + alpha * (momentum - cached)
                momentum.copy_(cached)
        rows.append({"weights": theta.tolist(), "slow": slow.tolist()})
    return rows


LOOKAHEAD = {}
for rule, (make, name) in OPTIMISERS.items():
    for k, alpha, state in [(5, 0.5, "keep"), (6, 0.8, "reset"), (4, 0.3, "pullback"),
                            (1, 0.5, "pullback")]:
        line = f'lookahead = {{k = {k}, alpha = {alpha}, state = "{state}"}}'
        LOOKAHEAD[f"{rule}\n{line}"] = lookahead(make, name, k, alpha, state)


def clipped():
    cases = []
    for seed, (shape, clip) in enumerate([((3, 4), 0.01), ((3, 4), 1.0), ((2, 3, 2, 2), 0.5),
                                          ((5,), 0.3), ((), 0.3)]):
        weights, gradient = draws(10 + seed, shape), draws(20 + seed, shape)
        if len(shape) > 1:
            weights[0] = 0  # the smallest norm counts
            gradient[1] *= 2.0**-10  # a unit that is left alone
        p = torch.nn.Parameter(weights)
        p.grad = gradient.clone()
        adaptive_clip_grad([p], clip_factor=clip)
        cases.append({"shape": shape, "clip": clip, "weights": weights.flatten().tolist(),
                      "gradient": gradient.flatten().tolist(),
                      "clipped": p.grad.flatten().tolist()})
    return cases


FILE = {
    "versions": {"torch": torch.__version__, "timm": timm.__version__},
    "start": START.tolist(),
    "weights": WEIGHTS.tolist(),
    "gradients": GRADIENTS.tolist(),
    "averages": [{"recipe": r, "values": v} for r, v in AVERAGES.items()],
    "lookahead": [{"recipe": r, "steps": v} for r, v in LOOKAHEAD.items()],
    "agc": clipped(),
}

if __name__ == "__main__":
    lines = []
    for key, part in FILE.items():
        if isinstance(part, list) and not isinstance(part[0], float):
            rows = ",\n".join("  " + json.dumps(row) for row in part)
            lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(part)}")
    path = pathlib.Path(__file__).with_name("stages.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
