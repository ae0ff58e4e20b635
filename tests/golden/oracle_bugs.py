#!/usr/bin/env python3
"""Runs what is said to be wrong with implementations that Kudari is or might be compared with.

    python3 tests/golden/oracle_bugs.py

Needs tools/requirements-oracles.txt. Prints the table of DEVIATIONS.md: what is said, what was
seen, and whether it is so in the installed versions.
"""

import contextlib
import importlib.metadata
import io
import math

import bitsandbytes
import optax
import pytorch_optimizer
import timm.optim
import timm.optim.adafactor_bv
import torch
from torch.optim import lr_scheduler

CHECKS = []


def check(package, said):
    """Registers a function that returns what was seen and whether it is as said."""
    def register(function):
        CHECKS.append((package, said, function))
        return function
    return register


def parameter(values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def step(optimizer, p, gradient):
    p.grad = torch.as_tensor(gradient, dtype=p.dtype).expand_as(p).clone()
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer.step()


def rms(tensor):
    return tensor.square().mean().sqrt().item()


@check("timm", "Lookahead copies slow weights at the first synchronisation, which does nothing")
def timm_lookahead():
    p = parameter([1.0])
    optimizer = timm.optim.Lookahead(torch.optim.SGD([p], lr=0.1), alpha=0.5, k=2)
    for _ in range(2):
        step(optimizer, p, 1.0)
    return (f"1 - 2 steps of 0.1, k = 2, alpha = 0.5: {p.item():.3f}; the paper: 0.900",
            p.item() < 0.85)


@check("pytorch-optimizer", "Lookahead's pullback keeps the live momentum for the slow one")
def kozistr_pullback():
    p = parameter([1.0])
    inner = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer = pytorch_optimizer.Lookahead(inner, k=1, alpha=0.5, pullback_momentum="pullback")
    live, slow, buffers = 0.0, 0.0, []
    for _ in range(3):
        step(optimizer, p, 1.0)
        live = 0.9 * live + 1
        slow = live = slow + 0.5 * (live - slow)
        buffers.append(inner.state[p]["momentum_buffer"].item())
    return (f"third buffer {buffers[-1]:.4f}; interpolated {live:.4f}; without pullback 2.7100",
            abs(buffers[-1] - live) > 0.1)


@check("timm", "AdafactorBigVision clips small updates up and leaves large ones")
def timm_adafactor():
    sizes = []
    for size in (1e-3, 1.0):  # gradients with a second moment of 1
        p = parameter([[0.0]])
        optimizer = timm.optim.adafactor_bv.AdafactorBigVision(
            [p], lr=1.0, clipping_threshold=0.1, momentum=None)
        step(optimizer, p, 1.0)
        with torch.no_grad():
            p.zero_()
        step(optimizer, p, size)
        sizes.append(abs(p.item()))
    return (f"clipped at 0.1, steps after gradients 0.001 and 1: {sizes[0]:.4f} and {sizes[1]:.4f}",
            sizes[0] > 0.05 or sizes[1] > 0.11)


@check("pytorch-optimizer", "AdaFactor clips small updates up to a root mean square of one")
def kozistr_adafactor():
    p = parameter([[1.0, 1.0], [1.0, 1.0]])
    optimizer = pytorch_optimizer.AdaFactor([p], lr=1.0, relative_step=False,
                                            scale_parameter=False, momentum=None)
    step(optimizer, p, 1.0)
    before = p.detach().clone()
    step(optimizer, p, 1e-3)
    size = rms(p.detach() - before)
    return f"step after gradients 1 and 0.001: {size:.4f}", size > 0.5


def centered_rmsprop(gradients):
    """The first step of 3000 after which a parameter is not finite, or None, and how many are not
    at the end."""
    p = parameter([1.0] * len(gradients))
    optimizer = torch.optim.RMSprop([p], centered=True)
    first = None
    for t in range(1, 3001):
        step(optimizer, p, gradients)
        if first is None and not torch.isfinite(p).all():
            first = t
    return first, int((~torch.isfinite(p)).sum())


@check("torch", "centered RMSprop in float32 takes the root of a negative number at step 1201 of a "
                "constant gradient of 0.1")
def torch_centered():
    first, _ = centered_rmsprop(torch.tensor([0.1]))
    return f"first step that is not finite, of 3000: {first}", first == 1201


@check("torch", "the same, with some constant gradient")
def torch_centered_somewhere():
    gradients = 10 * torch.rand(20000, generator=torch.Generator().manual_seed(0))
    first, count = centered_rmsprop(gradients)
    return (f"of 20000 constants in [0, 10), {count} end as NaN within 3000 steps, the first at "
            f"step {first}", count > 0)


@check("bitsandbytes", "8-bit states on the CPU: a zero becomes 2e-5 times the block's largest")
def bitsandbytes_zero():
    x = torch.zeros(256)
    x[0] = 1.0
    code = bitsandbytes.functional.create_dynamic_map(signed=True)
    quantized, state = bitsandbytes.functional.quantize_blockwise(x, code=code, blocksize=256)
    back = bitsandbytes.functional.dequantize_blockwise(quantized, state)
    return f"255 zeros come back as {back[1].item():.3e}", 1e-5 < back[1].item() < 3e-5


@check("torch", "Muon(nesterov=False) with a bfloat16 parameter overwrites its momentum buffer")
def torch_muon():
    p = parameter([[1.0, 2.0], [3.0, 4.0]], torch.bfloat16)
    optimizer = torch.optim.Muon([p], lr=0.1, momentum=0.5, nesterov=False, weight_decay=0.0)
    step(optimizer, p, [[1.0, 0.0], [0.0, 2.0]])
    buffer = optimizer.state[p]["momentum_buffer"]
    return (f"buffer after the gradient diag(1, 2): diag({buffer[0, 0].item():.3f}, "
            f"{buffer[1, 1].item():.3f}); it should be diag(0.5, 1)", buffer[1, 1].item() != 1.0)


@check("torch", "CosineAnnealingLR rises again after T_max")
def torch_cosine():
    optimizer = torch.optim.SGD([parameter([0.0])], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    rates = []
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    return f"T_max = 4; at 4 and 8: {rates[3]:.3f} and {rates[7]:.3f}", rates[7] > 0.5


@check("torch", "OneCycleLR divides by zero when pct_start times total_steps is one")
def torch_one_cycle():
    optimizer = torch.optim.SGD([parameter([0.0])], lr=1.0)
    try:
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.1)
        scheduler.get_last_lr()
    except ZeroDivisionError as error:
        return f"ZeroDivisionError: {error}", True
    return f"first rate {scheduler.get_last_lr()[0]:.3f}", False


@check("torch", "OneCycleLR allows one step more than total_steps, at which the rate rises")
def torch_one_cycle_end():
    optimizer = torch.optim.SGD([parameter([0.0])], lr=1.0)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    rates = scheduler.get_last_lr()
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    return f"rates 9 and 10: {rates[9]:.2g} and {rates[10]:.2g}", rates[10] > rates[9]


@check("torch", "NAdam keeps the product of its momenta in float32 under float64 parameters")
def torch_nadam():
    p = parameter([1.0], torch.float64)
    optimizer = torch.optim.NAdam([p], foreach=False)
    step(optimizer, p, 1.0)
    dtype = optimizer.state[p]["mu_product"].dtype
    return f"{dtype}; float64 if that is the default type", dtype == torch.float32


@check("torch", "RAdam's first rectified step is the sixth; all before it are as long as m-hat lr")
def torch_radam():
    p = parameter([0.0])
    optimizer = torch.optim.RAdam([p], lr=1.0)
    lengths = []
    for _ in range(7):
        before = p.item()
        step(optimizer, p, 100.0)
        lengths.append(before - p.item())
    return (f"gradient 100, lr 1, steps 5 and 6: {lengths[4]:.3g} and {lengths[5]:.3g}",
            lengths[4] > 99 and lengths[5] < 1)


@check("timm", "Lamb and Lars write into the caller's gradients")
def timm_mutates():
    seen = []
    for optimizer_of in (lambda p: timm.optim.Lamb([p], weight_decay=0.1),
                         lambda p: timm.optim.Lars([p], weight_decay=0.1)):
        p = parameter([3.0, 4.0])
        step(optimizer_of(p), p, 7.0)
        seen.append(p.grad.tolist() != [7.0, 7.0])
    return "gradients as they were" if not any(seen) else "changed gradients", any(seen)


@check("timm", "RMSpropTF starts its mean square at one")
def timm_rmsprop():
    p = parameter([0.0])
    optimizer = timm.optim.RMSpropTF([p], lr=1.0, alpha=0.9)
    step(optimizer, p, 0.1)
    start = (optimizer.state[p]["square_avg"].item() - 0.1 * 0.01) / 0.9
    return f"it was {start:.3f}", abs(start - 1) < 1e-3


@check("pytorch-optimizer", "LARS puts the raw gradient into its buffer at the first step")
def kozistr_lars():
    p = parameter([[3.0, 4.0]])
    optimizer = pytorch_optimizer.LARS([p], lr=1.0, momentum=0.9, weight_decay=0.0,
                                       trust_coefficient=1e-3)
    step(optimizer, p, [[0.6, 0.8]])
    moved = (torch.tensor([[3.0, 4.0]]) - p.detach()).norm().item()
    return f"first step {moved:.4f} long; trust norm(p) / norm(g) norm(g) = 0.005", moved > 0.01


@check("pytorch-optimizer", "Lamb(pre_norm=True) makes small gradients larger")
def kozistr_lamb():
    moments = []
    for size in (1e-3, 10.0):
        p = parameter([1.0])
        optimizer = pytorch_optimizer.Lamb([p], pre_norm=True, max_grad_norm=1.0)
        step(optimizer, p, size)
        moments.append(optimizer.state[p]["exp_avg"].item() / 0.1)
    return (f"gradients 0.001 and 10 enter the moment as {moments[0]:.3g} and {moments[1]:.3g}",
            moments[0] > 2e-3 or moments[1] > 1.01)


@check("optax", "amsgrad takes the maximum of bias-corrected moments, unlike torch and Keras")
def optax_amsgrad():
    states = []
    transformation = optax.amsgrad(1.0, b2=0.9)
    state = transformation.init(0.0)
    for g in (1.0, 0.1):
        _, state = transformation.update(g, state, 0.0)
        states.append(float(state[0].nu_max))
    return (f"maximum after a gradient of 1: {states[0]:.3f}; uncorrected it is 0.100",
            states[0] > 0.5)


@check("optax", "radam adds epsilon after bias correction, torch's before it")
def optax_radam():
    p, optimizers = parameter([0.0], torch.float64), []
    optimizer = torch.optim.RAdam([p], lr=1.0, eps=1.0)
    transformation = optax.radam(1.0, eps=1.0)
    state = transformation.init(0.0)
    for _ in range(6):
        before = p.item()
        step(optimizer, p, 1.0)
        update, state = transformation.update(1.0, state, 0.0)
        optimizers = [before - p.item(), -float(update)]
    return (f"sixth step with eps = 1: torch {optimizers[0]:.5f}, optax {optimizers[1]:.5f}",
            optimizers[1] > 2 * optimizers[0])


@check("torch", "clip_grad_norm_ scales a gradient whose norm is exactly max_norm")
def torch_clip():
    p = parameter([0.0, 0.0])
    p.grad = torch.tensor([3.0, 4.0])
    torch.nn.utils.clip_grad_norm_([p], 5.0)
    return f"(3, 4) clipped to 5: ({p.grad[0].item():.8f}, {p.grad[1].item():.8f})", p.grad[0] < 3


@check("torch", "ReduceLROnPlateau's relative threshold has the wrong sign for negative metrics")
def torch_plateau():
    optimizer = torch.optim.SGD([parameter([0.0])], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.1)
    for metric in (-100.0, -95.0):  # worse by 5 %
        scheduler.step(metric)
    return (f"-95 after -100: {scheduler.num_bad_epochs} bad epochs, best {scheduler.best}",
            scheduler.best == -95.0)


def main():
    torch.manual_seed(0)
    print("| package | said | seen | so? |\n|---|---|---|---|")
    for package, said, function in CHECKS:
        seen, so = function()
        version = importlib.metadata.version(package)
        print(f"| {package} {version} | {said} | {seen} | {'yes' if so else '**no**'} |")


if __name__ == "__main__":
    main()
