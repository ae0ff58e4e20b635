#!/usr/bin/env python3
"""Writes regularisation.json: trajectories of penalised and decayed weights that are not Kudari's.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_regularisation.py

Everything is in float64, from drawn inputs that float32 holds exactly; the file has these too. The
gradients of penalised losses are torch's, by autograd of sum(g p) + l1 sum(|p|) + l2 / 2 sum(p^2).
Decay that is independent of the learning rate's height is optax's chain as big_vision builds it:
the learning rate scales the update of Adam or Lion, the decay is added, the schedule scales both.
A case's "recipe" is what Kudari is to do the same with.
"""

import json
import math
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import jax
import lion_pytorch
import optax
import torch
from make_golden import splitmix64, value

jax.config.update("jax_enable_x64", True)

STEPS = 24
SIZE = 6


def draws(seed, count):
    return [value(splitmix64(seed << 32 | i)) for i in range(count)]


START = [0.0] + draws(4, SIZE - 1)  # where |p| has a corner, torch's derivative is 0
GRADIENTS = [draws(5 + s, SIZE) for s in range(STEPS)]


def linear(steps):
    return lambda s: 1 - min(s / steps, 1)


def constant(s):
    return 1.0


def penalised(make, l1=0.0, l2=0.0, l1_curve=constant):
    """Weights after each step; make(parameters) is an optimiser."""
    p = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimiser = make([p])
    rows = []
    for step, g in enumerate(GRADIENTS):
        loss = (torch.tensor(g, dtype=torch.float64) * p).sum()
        loss = loss + l1 * l1_curve(step) * p.abs().sum() + l2 / 2 * (p * p).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rows.append(p.tolist())
    return rows


def independent(direction, lr, decay, curve):
    transform = optax.chain(direction, optax.scale(lr), optax.add_decayed_weights(decay),
                            optax.scale_by_schedule(curve), optax.scale(-1.0))
    p = jax.numpy.array(START)
    state = transform.init(p)
    rows = []
    for g in GRADIENTS:
        updates, state = transform.update(jax.numpy.array(g), state, p)
        p = optax.apply_updates(p, updates)
        rows.append(p.tolist())
    return rows


def warmup_cosine(s):
    """warmup(5) * cosine(24, 0.1)"""
    at = jax.numpy.minimum(s / STEPS, 1.0)
    return jax.numpy.minimum((s + 1) / 5, 1.0) * (0.1 + 0.9 * (1 + jax.numpy.cos(math.pi * at)) / 2)


optim = torch.optim
PENALISED = {
    'rule = "adam"\nlr = 0.02\nl2 = 0.3':
        penalised(lambda p: optim.Adam(p, lr=0.02, weight_decay=0.3)),
    'rule = "adam"\nlr = 0.02\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: optim.Adam(p, lr=0.02), l1=0.2, l2=0.1),
    'rule = "adamw"\nlr = 0.02\nweight_decay = 0.5\nl1 = "0.2 * linear(12)"':
        penalised(lambda p: optim.AdamW(p, lr=0.02, weight_decay=0.5), l1=0.2,
                  l1_curve=linear(12)),
    'rule = "sgd"\nlr = 0.1\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: optim.SGD(p, lr=0.1), l1=0.2, l2=0.1),
    'rule = "sgd"\nlr = 0.1\nweight_decay = 0.3\nl2 = 0.1':
        penalised(lambda p: optim.SGD(p, lr=0.1, weight_decay=0.4)),
    'rule = "momentum"\nlr = 0.05\nmomentum = 0.9\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: optim.SGD(p, lr=0.05, momentum=0.9), l1=0.2, l2=0.1),
    'rule = "rmsprop"\nlr = 0.01\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: optim.RMSprop(p, lr=0.01), l1=0.2, l2=0.1),
    'rule = "nadam"\nlr = 0.01\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: optim.NAdam(p, lr=0.01), l1=0.2, l2=0.1),
    'rule = "lion"\nlr = 0.01\nweight_decay = 0.5\nl1 = 0.2\nl2 = 0.1':
        penalised(lambda p: lion_pytorch.Lion(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.5),
                  l1=0.2, l2=0.1),
}

CURVE = '"0.02 * warmup(5) * cosine(24, 0.1)"'
INDEPENDENT = {
    f'rule = "adamw"\nlr = {CURVE}\nweight_decay = 0.03\ndecay = "independent"':
        independent(optax.scale_by_adam(0.9, 0.999, 1e-8), 0.02, 0.03, warmup_cosine),
    'rule = "adamw"\nlr = 0.02\nweight_decay = 0.03\ndecay = "independent"':
        independent(optax.scale_by_adam(0.9, 0.999, 1e-8), 0.02, 0.03, constant),
    f'rule = "lion"\nlr = {CURVE}\nweight_decay = 0.03\ndecay = "independent"':
        independent(optax.scale_by_lion(0.9, 0.99), 0.02, 0.03, warmup_cosine),
}

if __name__ == "__main__":
    versions = {m.__name__: m.__version__ for m in (jax, optax, torch)}
    cases = [{"recipe": recipe, "weights": rows} for recipe, rows in (PENALISED | INDEPENDENT).items()]
    rows = ",\n".join("  " + json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("regularisation.json")
    path.write_text(f'{{\n"versions": {json.dumps(versions)},\n"start": {json.dumps(START)},\n'
                    f'"gradients": {json.dumps(GRADIENTS)},\n"cases": [\n{rows}\n]\n}}\n')
