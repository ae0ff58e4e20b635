#!/usr/bin/env python3
"""Writes data/precision.json: steps in 16 and 8 bits of implementations that are not Kudari's.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_precision.py

- master: torch's and lion-pytorch's optimisers on the float32 copy of a bfloat16 model, copied down
  after each step. Options are such that float32 holds all coefficients: both sides have the same.
- bfloat16: torch's AdamW on bfloat16 parameters, gradients and state: fused, and foreach, which
  rounds after every operation. Single steps, from the state that torch had.
- dynamic8: bitsandbytes' AdamW8bit with the quantiser of its default backend (its processor's
  backend takes zero for something else, see codecs.py), and torchao's, compiled. Single steps.
- companded8: AdamW on FlashOptim's formats (arXiv:2602.23349) and on evenly spaced codes, in
  float64, as in codecs.py. Single steps.
- kahan: torch-optimi's AdamW and SGD with kahan_sum, beside torch's in float32.

Inputs are drawn, by a generator that precision_golden_test.cc has too. Numbers are written as the
hexadecimal digits of their bits, 8 for float32, 4 for bfloat16, 2 for codes.
"""

import importlib.metadata
import json
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import bitsandbytes
import lion_pytorch
import numpy as np
import optimi
import torch
import torchao
from bitsandbytes.backends.cpu import ops as bitsandbytes_cpu
from torchao.optim import AdamW8bit

PACKAGES = ["bitsandbytes", "lion-pytorch", "numpy", "torch", "torch-optimi", "torchao"]
BLOCK = 256
LARGE = 16 * BLOCK + 100  # with a short block at the end
ZEROS = slice(3 * BLOCK, 4 * BLOCK)  # a block without gradient
STRIDE = 8  # of large tensors' parameters every eighth is written
SMALL = 64
INITIAL, GRADIENT, CODES1, CODES2, SCALES1, SCALES2 = range(6)  # what is drawn


def bits(what, step, n):
    """splitmix64 of the step, what is drawn and the element."""
    x = np.uint64(step << 32 | what << 16) | np.arange(n, dtype=np.uint64)
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(what, step, n, exponent=0):
    """In [-1, 1) times a power of two, with eight significant bits, which bfloat16 holds."""
    k = (bits(what, step, n) >> np.uint64(56)).astype(np.float32) - 128
    return torch.from_numpy(k * np.float32(2.0 ** (exponent - 7)))


def gradient(step, n):
    """About one in sixteen is zero."""
    g = draw(GRADIENT, step, n, -7)
    g[torch.from_numpy(bits(GRADIENT, step, n) % np.uint64(16) == 0)] = 0
    return g


def digits(x):
    x = (x.detach().view(torch.int16) if x.dtype == torch.bfloat16 else x.detach()).numpy()
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize]
    return "".join(f"{v:0{2 * x.dtype.itemsize}x}" for v in x.view(unsigned).tolist())


def float32(x):
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


# Float32 master weights.

MASTER_STEPS = [1, 2, 10, 50, 200]
ADAMW = {"lr": 2.0**-7, "beta1": 0.875, "beta2": 1 - 2.0**-7, "eps": 2.0**-20,
         "weight_decay": 0.125}


def torch_adamw(p, o, **more):
    return torch.optim.AdamW(p, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                             weight_decay=o["weight_decay"], **more)


def torch_sgd(p, o):
    return torch.optim.SGD(p, lr=o["lr"], momentum=o["momentum"], weight_decay=o["weight_decay"],
                           foreach=False)


def lion(p, o):
    return lion_pytorch.Lion(p, lr=o["lr"], betas=(o["beta1"], o["beta2"]),
                             weight_decay=o["weight_decay"])


def master(rule, oracle, make, options):
    model = draw(INITIAL, 0, SMALL).bfloat16()
    copy = torch.nn.Parameter(model.float())
    optimizer = make([copy], options)
    records = []
    for step in range(1, MASTER_STEPS[-1] + 1):
        copy.grad = gradient(step, SMALL).bfloat16().float()
        optimizer.step()
        model.copy_(copy.data)
        if step in MASTER_STEPS:
            records.append({"step": step, "master": digits(copy), "param": digits(model)})
    return {"rule": rule, "oracle": oracle, "options": options, "records": records}


# Parameters, gradients and state in bfloat16.

BFLOAT16_STEPS = [1, 2, 10, 50, 200]
TYPICAL = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}


def bfloat16(way):
    p = torch.nn.Parameter(draw(INITIAL, 0, SMALL).bfloat16())
    optimizer = torch_adamw([p], TYPICAL, **{way: True})
    zeros = digits(torch.zeros(SMALL, dtype=torch.bfloat16))
    now = {"param": digits(p), "exp_avg": zeros, "exp_avg_sq": zeros}
    records = []
    for step in range(1, BFLOAT16_STEPS[-1] + 1):
        p.grad = gradient(step, SMALL).bfloat16()
        optimizer.step()
        state = optimizer.state[p]
        assert state["exp_avg"].dtype == torch.bfloat16
        before, now = now, {"param": digits(p), "exp_avg": digits(state["exp_avg"]),
                            "exp_avg_sq": digits(state["exp_avg_sq"])}
        if step in BFLOAT16_STEPS:
            records.append({"step": step, "before": before, "after": now})
    return {"oracle": f"torch {torch.__version__} AdamW({way}=True)", "options": TYPICAL,
            "records": records}


# 8-bit state of AdamW: the codes and the scales of both moments.

UPDATES = 10  # that drawn state has had


def blocks(n):
    return -(-n // BLOCK)


def drawn_state(n, least1, most1, least2, most2):
    """Codes in the given ranges; first moments of up to 2^-6, second ones of up to 2^-9."""
    def codes(what, least, most):
        span = np.uint64(most - least + 1)
        return ((bits(what, 0, n) >> np.uint64(32)) % span).astype(np.int64) + least

    def scales(what, exponent):
        fraction = (bits(what, 0, blocks(n)) >> np.uint64(41)).astype(np.float64) / 2**23
        return ((1 + fraction) * 2.0**exponent).astype(np.float32)
    return (codes(CODES1, least1, most1), scales(SCALES1, -7),
            codes(CODES2, least2, most2), scales(SCALES2, -10))


def dynamic_state(n):
    return drawn_state(n, 0, 255, 96, 255)


def large_gradient(n):
    """With 24 significant bits: of eight, many quotients are the midpoint of two codes."""
    fine = (bits(GRADIENT, 1, n) >> np.uint64(40)).astype(np.float64) * 2.0**-30 - 2.0**-7
    g = torch.where(gradient(1, n) == 0, 0, float32(fine))
    g[ZEROS] = 0
    return g


def recorded(p, codes1, scales1, codes2, scales2):
    return {"param": digits(p[::STRIDE]),
            "exp_avg": {"codes": digits(codes1), "scales": digits(scales1)},
            "exp_avg_sq": {"codes": digits(codes2), "scales": digits(scales2)}}


def by_default_backend(op, *arguments):
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    return op.default.redispatch(keys, *arguments)


def quantize(a, code, absmax, out, block):
    codes, scales = by_default_backend(torch.ops.bitsandbytes.quantize_blockwise, a, code, block)
    out.copy_(codes)
    absmax.copy_(scales)


def bits_and_bytes(zero):
    p = torch.nn.Parameter(draw(INITIAL, 0, LARGE))
    p.grad = large_gradient(LARGE)
    optimizer = bitsandbytes.optim.AdamW8bit(
        [p], lr=TYPICAL["lr"], betas=(TYPICAL["beta1"], TYPICAL["beta2"]), eps=TYPICAL["eps"],
        weight_decay=TYPICAL["weight_decay"])
    bitsandbytes_cpu._quant_blockwise_fp32_direct = quantize
    bitsandbytes_cpu._dequant_blockwise_fp32_direct = lambda a, absmax, code, block: (
        by_default_backend(torch.ops.bitsandbytes.dequantize_blockwise, a, absmax, code, block,
                           torch.float32))
    if not zero:
        optimizer.init_state(optimizer.param_groups[0], p, 0, 0)
        state = optimizer.state[p]
        state["step"] = UPDATES
        names = ["state1", "absmax1", "state2", "absmax2"]
        for name, value in zip(names, dynamic_state(LARGE)):
            state[name].copy_(torch.from_numpy(value))
    optimizer.step()
    state = optimizer.state[p]
    assert state["step"] == (1 if zero else UPDATES + 1)
    return {"oracle": f"bitsandbytes {bitsandbytes.__version__} AdamW8bit, default quantiser",
            "updates": 0 if zero else UPDATES, "size": LARGE, "dtype": "float32",
            "options": TYPICAL,
            **recorded(p, state["state1"], state["absmax1"], state["state2"], state["absmax2"])}


def torch_ao():
    n = 16 * BLOCK
    p = torch.nn.Parameter(draw(INITIAL, 0, n).bfloat16())
    optimizer = AdamW8bit([p], lr=TYPICAL["lr"], betas=(TYPICAL["beta1"], TYPICAL["beta2"]),
                          eps=TYPICAL["eps"], weight_decay=TYPICAL["weight_decay"])
    state = optimizer.state[p]
    m, v = optimizer._new_buffer(p, True), optimizer._new_buffer(p, False)
    state.update(step=torch.tensor(float(UPDATES)), exp_avg=m, exp_avg_sq=v)
    parts = [m.codes, m.scale, v.codes, v.scale]
    for part, value in zip(parts, dynamic_state(n)):
        part.copy_(torch.from_numpy(value))
    p.grad = large_gradient(n).bfloat16()
    optimizer.step()
    return {"oracle": f"torchao {torchao.__version__} AdamW8bit", "updates": UPDATES, "size": n,
            "dtype": "bfloat16", "options": TYPICAL, **recorded(p, *parts)}


def by_block(values):
    """The largest magnitude of each block, at each of its elements."""
    top = [np.abs(values[i:i + BLOCK]).max() for i in range(0, len(values), BLOCK)]
    return np.repeat(top, BLOCK)[:len(values)]


def companded(first, dtype):
    """first: "softsign8" or "linear8"; second moments are root8."""
    bend = {"softsign8": lambda y: 2 * y / (1 + np.abs(y)), "linear8": lambda y: y}[first]
    unbend = {"softsign8": lambda z: z / (2 - np.abs(z)), "linear8": lambda z: z}[first]
    codes1, scales1, codes2, scales2 = drawn_state(LARGE, -127, 127, 64, 255)
    wide = lambda scales: np.repeat(scales.astype(np.float64), BLOCK)[:LARGE]
    m = unbend(codes1 / 127) * wide(scales1)
    v = (codes2 / 255 * np.sqrt(wide(scales2))) ** 2
    p = draw(INITIAL, 0, LARGE).double().numpy()
    g = large_gradient(LARGE)
    g = (g.bfloat16() if dtype == "bfloat16" else g).double().numpy()
    o, t = TYPICAL, UPDATES + 1
    m = o["beta1"] * m + (1 - o["beta1"]) * g
    v = o["beta2"] * v + (1 - o["beta2"]) * g * g
    denominator = np.sqrt(v / (1 - o["beta2"] ** t)) + o["eps"]
    p = p - o["lr"] * (m / (1 - o["beta1"] ** t) / denominator + o["weight_decay"] * p)
    root = np.sqrt(v)
    result1 = np.rint(bend(m / by_block(m)) * 127).astype(np.int8)
    result2 = np.rint(root / by_block(root) * 255).astype(np.uint8)
    assert result2.min() > 0  # Kudari never codes what is not zero as zero
    return {"oracle": f"{first} and root8 in float64", "format": first, "updates": UPDATES,
            "size": LARGE, "dtype": dtype, "options": TYPICAL,
            **recorded(float32(p), torch.from_numpy(result1), float32(by_block(m)[::BLOCK]),
                       torch.from_numpy(result2), float32(by_block(v)[::BLOCK]))}


# Kahan's compensation.

KAHAN_STEPS = [10, 100, 500]
KAHAN_ADAMW = {"lr": 2.0**-12, "beta1": 0.9, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.0}
KAHAN_SGD = {"lr": 2.0**-5, "momentum": 0.9, "weight_decay": 0.0}


def kahan_gradient(step, n):
    """With a mean, so that the weights go somewhere."""
    return gradient(step, n) + 2.0**-8


def kahan(rule, make_float32, make_optimi, options):
    wide = torch.nn.Parameter(draw(INITIAL, 0, SMALL))
    narrow = torch.nn.Parameter(wide.detach().bfloat16())
    float_run, kahan_run = make_float32([wide], options), make_optimi([narrow], options)
    records = []
    for step in range(1, KAHAN_STEPS[-1] + 1):
        g = kahan_gradient(step, SMALL).bfloat16()
        wide.grad, narrow.grad = g.float(), g.clone()
        float_run.step()
        kahan_run.step()
        if step in KAHAN_STEPS:
            rest = kahan_run.state[narrow]["kahan_comp"]
            records.append({"step": step, "float32": digits(wide),
                            "optimi": digits(narrow.float() + rest.float())})
    return {"rule": rule, "options": options, "records": records}


def optimi_adamw(p, o):
    return optimi.AdamW(p, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                        weight_decay=o["weight_decay"], kahan_sum=True, foreach=False)


def optimi_sgd(p, o):
    return optimi.SGD(p, lr=o["lr"], momentum=o["momentum"], weight_decay=o["weight_decay"],
                      kahan_sum=True, foreach=False)


def main():
    torch.set_num_threads(1)
    version = f"torch {torch.__version__}"
    result = {
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "master": [
            master("adamw", f"{version} AdamW",
                   lambda p, o: torch_adamw(p, o, foreach=False), ADAMW),
            master("momentum", f"{version} SGD", torch_sgd,
                   {"lr": 2.0**-5, "momentum": 0.875, "weight_decay": 2.0**-6}),
            master("lion", f"lion-pytorch {importlib.metadata.version('lion-pytorch')} Lion", lion,
                   {"lr": 2.0**-9, "beta1": 0.875, "beta2": 1 - 2.0**-6, "weight_decay": 0.125}),
        ],
        "bfloat16": [bfloat16("fused"), bfloat16("foreach")],
        "dynamic8": [bits_and_bytes(zero=True), bits_and_bytes(zero=False), torch_ao()],
        "companded8": [companded("softsign8", "float32"), companded("linear8", "bfloat16")],
        "kahan": [
            kahan("adamw", lambda p, o: torch_adamw(p, o, foreach=False), optimi_adamw,
                  KAHAN_ADAMW),
            kahan("momentum", torch_sgd, optimi_sgd, KAHAN_SGD),
        ],
    }
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    parts = [f'{compact(key)}:' + (compact(part) if isinstance(part, dict) else
                                   "[\n" + ",\n".join(map(compact, part)) + "]")
             for key, part in result.items()]
    path = pathlib.Path(__file__).parent / "data" / "precision.json"
    path.write_text("{\n" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
