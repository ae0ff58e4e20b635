#!/usr/bin/env python3
"""Writes data/codecs.json: 8-bit codes that are not Kudari's, for src/kernels/codecs_test.cc.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/codecs.py

Maps are those of bitsandbytes' create_dynamic_map, and codes the nearest by torch.bucketize on the
midpoints, as in its default backend (its processor's backend looks up in a table of 65,536 even
steps, which takes exact zeros for something else). torchao has the same maps and, beside
midpoints, the same codes: asserted here. The companded formats of FlashOptim (arXiv:2602.23349) are
its formulas in float64: 2 y / (1 + |y|) of first moments, the root of second ones, coded evenly.

Numbers are drawn over many decades, and left out where one is so near the midpoint of two codes
that float32 may decide otherwise.
"""

import json
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import bitsandbytes
import numpy as np
import torch
import torchao
from bitsandbytes.functional import create_dynamic_map
from torchao.optim import quant_utils

DRAWS = 500
MARGIN = 1e-5  # of the value, around midpoints


def draw(rng, signed, decades):
    """Magnitudes even in the logarithm, the greatest of them 1."""
    y = 10.0 ** -rng.uniform(0, decades, DRAWS)
    y[0] = 1
    if signed:
        y[1:] *= rng.choice([-1, 1], DRAWS - 1)
    return y.astype(np.float32)


def away(y, midpoints):
    """Those of y that are not next to a midpoint."""
    nearest = np.abs(y[:, None].astype(np.float64) - midpoints[None, :]).min(axis=1)
    return y[nearest > MARGIN * np.abs(y)]


def dynamic(signed, rng):
    values = create_dynamic_map(signed=signed)
    theirs = torch.tensor(quant_utils.create_dynamic_map(signed=signed))
    assert values.dtype == torch.float32 and len(values) == 256
    assert torch.equal(theirs, values)
    midpoints = (values[:-1] + values[1:]) / 2
    y = away(draw(rng, signed, 8), midpoints.double().numpy())
    codes = torch.bucketize(torch.tensor(y), midpoints)
    assert torch.equal(codes, quant_utils.quantize_8bit_with_qmap(torch.tensor(y), values).long())
    return {"map": values.tolist(), "y": y.tolist(), "codes": codes.tolist()}


def companded(bend, unbend, codes, signed, rng):
    """bend maps [-1, 1] or [0, 1] onto itself, and `codes` is the code of 1."""
    halves = (np.arange(codes) + 0.5) / codes
    midpoints = unbend(np.concatenate([-halves, halves]) if signed else halves)
    y = away(draw(rng, signed, 6), midpoints)
    code = np.rint(bend(y.astype(np.float64)) * codes)
    return {"y": y.tolist(), "codes": code.astype(int).tolist(),
            "values": unbend(code / codes).tolist()}


def main():
    rng = np.random.default_rng(1)
    result = {
        "versions": {"bitsandbytes": bitsandbytes.__version__, "numpy": np.__version__,
                     "torch": torch.__version__.split("+")[0], "torchao": torchao.__version__},
        "dynamic8": dynamic(True, rng),
        "dynamic_unsigned8": dynamic(False, rng),
        "softsign8": companded(lambda y: 2 * y / (1 + np.abs(y)),
                               lambda z: z / (2 - np.abs(z)), 127, True, rng),
        "root8": companded(np.sqrt, np.square, 255, False, rng),
    }
    path = pathlib.Path(__file__).parent / "data" / "codecs.json"
    lines = [f'"{key}":{json.dumps(part, separators=(",", ":"))}' for key, part in result.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
