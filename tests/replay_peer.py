#!/usr/bin/env python3
"""Compares `kudari replay` with torch over 200 steps of random gradients, for rules that torch has.

    python3 tests/replay_peer.py build/release/kudari

Needs torch 2.13. Three runs see the same float32 gradients: kudari's, torch's in float64, and
torch's own in float32. For parameters and for every state buffer, the distance of the first and of
the third from the second is measured in two ways, each as the maximum over tensors:

    l2   ||a - b||_2 / ||b||_2
    max  max|a - b| / max|b|

(Tensors of a single value are taken together as one vector.)

Kudari passes if its distance is at most 2e-5 and at most twice torch's own. An answer in float32
has to be rounded, so a distance of half a unit in the last place, 2^-24, is never a failure. What
does not pass is in EXCEPTIONS, by name and with what was measured. Prints one line a case, the worst
of its seeds, and exits with 1 if any of them failed.
"""

import argparse
import ctypes
import functools
import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

import torch

STEPS = 200
SEEDS = (1, 2)
LIMIT = 2e-5
TIMES_TORCH = 2.0
ROUNDING = 2.0**-24

# Rule, case and array: the limits that stand for LIMIT and TIMES_TORCH there, and why.
EXCEPTIONS = {
    # Where decay and gradient nearly cancel the step is a quotient of two roundings: torch's own
    # float32 is 1.2e-4 to 1.5e-3 from its float64 here, farther than LIMIT; Kudari 0.6 to 1 times it.
    ("rmsprop", "weight decay", "param"): (2e-3, TIMES_TORCH),
    ("rmsprop_centered", "weight decay", "param"): (2e-3, TIMES_TORCH),
    # The same, and one element decides: 8.7 times torch for seed 1, 0.1 to 2.1 for most of eight.
    ("nadam", "weight decay", "param"): (LIMIT, 10.0),
    # 2.11 times torch, 2.7e-6.
    ("rmsprop_centered_momentum", "weight decay", "grad_avg"): (LIMIT, 2.5),
}

# Names that distances call by one name. A single value may end near zero, where its relative
# distance is a matter of luck; several are one vector.
SINGLES = ("scale.a", "scale.b", "scale.c", "scale.d", "scale.e", "scale.f")


def draw_shapes(seed):
    """Name: shape and the size of its gradients."""
    pick = random.Random(seed).randint
    return {
        "embed.weight": ((pick(9, 40), pick(9, 40)), 1e-3),
        "conv.weight": ((pick(2, 9), pick(1, 5), 3, pick(1, 3)), 1.0),
        "conv.bias": ((pick(5, 9),), 30.0),
        "head.weight": ((pick(30, 70), 65), 1e-5),
        "head.bias": ((2 * pick(400, 600) + 1,), 1.0),
        **{name: ([(), (1,), (1, 1)][i % 3], 0.3) for i, name in enumerate(SINGLES)},
    }


# Rule: torch's class, and torch's options for the rule's defaults.
RULES = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop_momentum": (torch.optim.RMSprop, {"momentum": 0.9}),
    "rmsprop_centered": (torch.optim.RMSprop, {"centered": True}),
    "rmsprop_centered_momentum": (torch.optim.RMSprop, {"centered": True, "momentum": 0.9}),
    "adadelta": (torch.optim.Adadelta, {}),
    "adamax": (torch.optim.Adamax, {}),
    "asgd": (torch.optim.ASGD, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    # Its default of the first eps is that of the type, which differs between the two runs.
    "adafactor_torch": (torch.optim.Adafactor, {"eps": (2.0**-23, 1e-3)}),
}


# State of torch that Kudari keeps in double for each tensor and replay does not write.
SCALARS = ("step", "mu_product", "eta", "mu")


def warmup_cosine(s):
    """The learning rate of step s = 0, 1, ... that SCHEDULE says in Kudari's words."""
    return 0.01 * min((s + 1) / 20, 1) * (0.1 + 0.9 * (1 + math.cos(math.pi * s / 200)) / 2)


SCHEDULE = '"1e-2 * warmup(20) * cosine(200, 0.1)"'

# Case: lines of the recipe, torch's options, learning rate as a function of the step, maximum norm
# and whether gradients go missing.
CASES = {
    "defaults": ("", {}, None, None, False),
    "weight decay": ("lr = 0.01\nweight_decay = 0.1\n", {"lr": 0.01, "weight_decay": 0.1},
                     None, None, False),
    "schedule": (f"lr = {SCHEDULE}\n", {}, warmup_cosine, None, False),
    "clip": ("lr = 0.01\nclip_norm = 70\n", {"lr": 0.01}, None, 70.0, False),
    "missing": ("lr = 0.01\n", {"lr": 0.01}, None, None, True),
    "all": (f"lr = {SCHEDULE}\nweight_decay = 0.1\nclip_norm = 70\n", {"weight_decay": 0.1},
            warmup_cosine, 70.0, True),
}


def write_safetensors(path, tensors):
    header, chunks, offset = {}, [], 0
    for name, t in tensors.items():
        data = t.to(torch.float32).contiguous()
        chunks.append(ctypes.string_at(data.data_ptr(), 4 * data.numel()))
        header[name] = {"dtype": "F32", "shape": list(t.shape),
                        "data_offsets": [offset, offset + 4 * data.numel()]}
        offset += 4 * data.numel()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def read_safetensors(path):
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + length])
    data = content[8 + length:]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", f"{name} is {entry['dtype']}"
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(data[begin:end], dtype=torch.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


@functools.cache
def draw(seed, missing):
    """Parameters, and for each step the gradients that are not missing; all float32."""
    shapes = draw_shapes(seed)
    generator = torch.Generator().manual_seed(seed)
    randn = lambda shape: torch.randn(shape, generator=generator)
    chance = lambda: torch.rand((), generator=generator).item()
    parameters = {name: 0.5 * randn(shape) for name, (shape, _) in shapes.items()}
    steps = []
    for step in range(1, STEPS + 1):
        gradients = {name: size * randn(shape) for name, (shape, size) in shapes.items()}
        if missing:
            kept = [name for name in shapes if chance() < 0.75 and step != STEPS // 2]
            if step == 1:
                kept = [name for name in shapes if name != "embed.weight"]
            gradients = {name: gradients[name] for name in kept}
        steps.append(gradients)
    return parameters, steps


def run_torch(dtype, rule, case, parameters, steps):
    """What torch makes of it: parameters and `<parameter>/<slot>` buffers."""
    make, fixed = RULES[rule]
    _, options, schedule, max_norm, _ = CASES[case]
    tensors = {name: p.to(dtype, copy=True).requires_grad_() for name, p in parameters.items()}
    optimizer = make(list(tensors.values()), foreach=True, **fixed, **options)
    for s, gradients in enumerate(steps):
        for name, p in tensors.items():
            p.grad = gradients[name].to(dtype, copy=True) if name in gradients else None
        if schedule:
            optimizer.param_groups[0]["lr"] = schedule(s)
        if max_norm:
            torch.nn.utils.clip_grad_norm_(list(tensors.values()), max_norm)
        optimizer.step()
    result = {"param": {name: p.detach() for name, p in tensors.items()}}
    for name, p in tensors.items():
        for slot, buffer in optimizer.state[p].items():
            if slot in SCALARS or buffer is None:
                continue
            # Kudari's factored state is vectors.
            shape = p.shape if buffer.numel() == p.numel() else (-1,)
            result.setdefault(slot, {})[name] = buffer.reshape(shape)
    return result


def write_inputs(folder, seed, missing):
    """What `draw` returns, as the files that `kudari replay` reads."""
    parameters, steps = draw(seed, missing)
    files = {name: folder / f"{name}-{seed}-{missing}.safetensors" for name in ("params", "grads")}
    write_safetensors(files["params"], parameters)
    write_safetensors(files["grads"], {f"{step}/{name}": g
                                       for step, gradients in enumerate(steps, 1)
                                       for name, g in gradients.items()})
    return files


def run_kudari(binary, folder, rule, case, inputs):
    """What `kudari replay` makes of what `write_inputs` wrote, in the same form."""
    files = {name: folder / f"{name}.safetensors" for name in ("out", "state-out")}
    recipe = folder / "recipe.toml"
    recipe.write_text(f'[optimizer]\nrule = "{rule}"\n{CASES[case][0]}')
    command = [binary, "replay", "--force", "--recipe", recipe]
    for name, path in [*inputs.items(), *files.items()]:
        command += [f"--{name}", path]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{rule}, {case}: kudari replay failed: {done.stderr or done.stdout}")
    result = {"param": read_safetensors(files["out"])}
    for key, buffer in read_safetensors(files["state-out"]).items():
        name, slot = key.rsplit("/", 1)
        result.setdefault(slot, {})[name] = buffer
    return result


def together(tensors):
    """The tensors as vectors in float64, the single values among them as one."""
    vectors = {name: t.double().flatten() for name, t in tensors.items() if name not in SINGLES}
    if singles := [tensors[name].double().reshape(1) for name in SINGLES if name in tensors]:
        vectors["singles"] = torch.cat(singles)
    return vectors


def distances(a, b):
    """The largest l2 and max distances of tensors a from tensors b."""
    a, b = together(a), together(b)
    return {
        "l2": max(((a[k] - b[k]).norm() / b[k].norm()).item() for k in b),
        "max": max(((a[k] - b[k]).abs().max() / b[k].abs().max()).item() for k in b),
    }


def names(result):
    return {what: sorted((name, tuple(t.shape)) for name, t in tensors.items())
            for what, tensors in result.items()}


def compare_all(binary, folder, inputs):
    """Prints a line for each rule, case, array and norm; returns how many failed."""
    failures = 0
    for rule in RULES:
        for case in CASES:
            worst = {}
            for seed in SEEDS:
                missing = CASES[case][4]
                parameters, steps = draw(seed, missing)
                exact = run_torch(torch.float64, rule, case, parameters, steps)
                single = run_torch(torch.float32, rule, case, parameters, steps)
                ours = run_kudari(binary, folder, rule, case, inputs[seed, missing])
                if names(ours) != names(exact):
                    sys.exit(f"{rule}, {case}: kudari has {names(ours)}, torch {names(exact)}")
                for what in exact:
                    d = distances(ours[what], exact[what])
                    t = distances(single[what], exact[what])
                    for norm in d:
                        limit, times = EXCEPTIONS.get((rule, case, what), (LIMIT, TIMES_TORCH))
                        allowed = min(limit, max(times * t[norm], ROUNDING))
                        row = (d[norm] / allowed, d[norm], t[norm])
                        worst[what, norm] = max(worst.get((what, norm), row), row)
            for (what, norm), (excess, d, t) in worst.items():
                failed = not excess <= 1
                failures += failed
                print(f"{rule:<25} {case:<13} {what:<16} {norm:<4} {d:9.2e} {t:9.2e} "
                      f"{d / t if t else math.inf:6.2f}{'  FAILED' if failed else ''}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kudari", help="path of the program")
    binary = parser.parse_args().kudari
    torch.set_num_threads(1)
    started = time.monotonic()
    print(f"torch {torch.__version__}, {STEPS} steps, {len(SEEDS)} seeds; distances from float64")
    print(f"{'rule':<25} {'case':<13} {'what':<16} {'norm':<4} {'kudari':>9} {'torch':>9} "
          f"{'ratio':>6}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        inputs = {(seed, missing): write_inputs(folder, seed, missing)
                  for seed in SEEDS for missing in (False, True)}
        failures = compare_all(binary, folder, inputs)
    print(f"{failures} failures, {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
