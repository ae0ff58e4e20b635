#!/usr/bin/env python3
"""Runs what is said about the schedules of packages that Kudari's are compared with.

    python3 tests/golden/schedule_bugs.py

Needs tools/requirements-oracles.txt. Prints the table of DEVIATIONS.md.
"""

import importlib.metadata
import math
import warnings

import optax
import timm.scheduler
import torch
import transformers
from pytorch_optimizer import lr_scheduler as kozistr
from torch.optim import lr_scheduler

CHECKS = []


def check(package, said):
    """Registers a function that returns what was seen and whether it is as said."""
    def register(function):
        CHECKS.append((package, said, function))
        return function
    return register


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)


def rates(optimizer, scheduler, steps, edit=None):
    values = []
    for i in range(steps):
        if edit is not None and i == edit[0]:
            optimizer.param_groups[0]["lr"] = edit[1]
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def shown(values):
    return ", ".join(f"{v:.3g}" for v in values)


@check("torch", "CosineAnnealingLR's recursion drifts from its closed form")
def torch_drift():
    optimizer = sgd()
    values = rates(optimizer, lr_scheduler.CosineAnnealingLR(optimizer, T_max=60), 10000)
    worst = max(abs(v - (1 + math.cos(math.pi * s / 60)) / 2) for s, v in enumerate(values))
    return f"T_max = 60, 10,000 steps: by {worst:.1e}", worst > 1e-13


@check("torch", "CosineAnnealingLR gives wrong values after the rate was edited")
def torch_edited():
    optimizer = sgd()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    values = rates(optimizer, scheduler, 8, edit=(5, 0.9))
    return (f"0.9 put in for 0.5 at step 5, then {shown(values[6:])}; the curve: 0.345, 0.206",
            values[6] > 0.5)


@check("torch", "OneCycleLR(pct_start=0) begins below the peak, its first phase ending at step -1")
def torch_pct():
    optimizer = sgd()
    lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.0)
    first = optimizer.param_groups[0]["lr"]
    return f"10 steps, max_lr 1: first rate {first:.4f}", first < 1


@check("timm", "MultiStepLRScheduler drops one step before each milestone")
def timm_milestones():
    scheduler = timm.scheduler.MultiStepLRScheduler(sgd(), decay_t=[3], decay_rate=0.1)
    values = [scheduler._get_lr(t)[0] for t in range(5)]
    return f"decay_t = 3, steps 0 to 4: {shown(values)}", values[2] < 1


@check("timm", "CosineLRScheduler's restarts with cycle_mul come where logarithms say")
def timm_restart():
    scheduler = timm.scheduler.CosineLRScheduler(sgd(), t_initial=1, cycle_mul=3.0, cycle_limit=9)
    values = [scheduler._get_lr(t)[0] for t in (40, 121, 122)]
    return (f"t_initial = 1, cycle_mul = 3: at the restarts 40 and 121, and at 122: {shown(values)}",
            values[1] < 0.5)


@check("transformers", "get_cosine_schedule_with_warmup rises again after its end")
def hf_cosine():
    optimizer = sgd()
    scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 0, 4)
    values = rates(optimizer, scheduler, 9)
    return f"4 steps; at 4 and 8: {shown([values[4], values[8]])}", values[8] > 0.5


@check("transformers", "get_cosine_with_min_lr_schedule_with_warmup_lr_rate is one step ahead")
def hf_cosine_rate():
    optimizer = sgd()
    scheduler = transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
        optimizer, num_warmup_steps=4, num_training_steps=8, min_lr_rate=0.1)
    values = rates(optimizer, scheduler, 8)
    return f"warm-up 4 of 8 steps: {shown(values)}", values[0] == 0.25 and values[7] == 0.1


@check("optax", "cosine_onecycle_schedule has fastai's phases and torch's last value")
def optax_one_cycle():
    schedule = optax.cosine_onecycle_schedule(50, 1.0)
    values = [float(schedule(s)) for s in (0, 15, 50)]
    return (f"50 steps: at 0, 15, 50: {shown(values)}; torch's peak is at 14",
            abs(values[1] - 1) < 1e-6 and abs(values[2] - 4e-6) < 1e-9)


@check("pytorch-optimizer", "get_wsd_schedule's 1-sqrt decay ignores min_lr_ratio until it ends")
def kozistr_wsd():
    optimizer = sgd()
    scheduler = kozistr.get_wsd_schedule(optimizer, 0, 2, 4, min_lr_ratio=0.5, cooldown_type="1-sqrt")
    values = rates(optimizer, scheduler, 8)
    return f"2 stable, 4 of decay to 0.5: {shown(values)}", min(values) < 0.5


def main():
    warnings.filterwarnings("ignore", category=UserWarning)
    print("| package | said | seen | so? |\n|---|---|---|---|")
    for package, said, function in CHECKS:
        seen, so = function()
        version = importlib.metadata.version(package)
        print(f"| {package} {version} | {said} | {seen} | {'yes' if so else '**no**'} |")


if __name__ == "__main__":
    main()
