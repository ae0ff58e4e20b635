"""Values made by a formula of a name and an index.

tests/support/made.h repeats them bit for bit, so that golden files need not hold the weights and
inputs that they are about.
"""

import math

import numpy as np
import torch


def fnv(text, bits, basis, prime):
    for byte in text.encode():
        basis = (basis ^ byte) * prime % (1 << bits)
    return basis


def uniform(name, count):
    """In [0, 1): 24 bits of a hash of the name and of the index."""
    seed = np.uint32(fnv(name, 32, 0x811C9DC5, 0x01000193))
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + seed
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)) / float(1 << 24)


def made(name, shape):
    """The value of a tensor of this name, in float32."""
    count = math.prod(shape)
    u = uniform(name, count)
    weight = name.endswith("weight")
    if name.endswith("running_var") or (weight and len(shape) == 1):
        u += 0.5
    else:
        u -= 0.5
        if weight:  # as strong as He's
            u *= math.sqrt(24 / (count / shape[0]))
    return torch.from_numpy(u.astype(np.float32)).reshape(shape).double()


def integers(name, shape, bound):
    """Integers below `bound`."""
    return torch.from_numpy(uniform(name, math.prod(shape)) * bound).long().reshape(shape)


def summary(name, value):
    """The norm of a tensor, and its product with a probe."""
    flat = value.detach().flatten()
    probe = torch.from_numpy(uniform(name + "/probe", flat.numel()) - 0.5)
    return [flat.norm().item(), flat.dot(probe).item()]


def names_checksum(state):
    """Of the names and shapes of tensors."""
    lines = sorted(f"{name} {'x'.join(map(str, t.shape))}\n" for name, t in state)
    return f"{fnv(''.join(lines), 64, 0xCBF29CE484222325, 0x100000001B3):016x}"
