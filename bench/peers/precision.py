#!/usr/bin/env python3
"""Times AdamW in 16 and 8 bits: Kudari's ways of storing beside torch, bitsandbytes and torchao.

    python3 bench/peers/precision.py [--threads 2] [--shapes 64M]

Measures as run.py does, which see, and prints a table for each shape and number of threads: every
way of storing with its time, and each peer's time beside it, the median over rounds. Packages that
are missing or fail are left out, with the reason. torchao compiles its step when it first runs, a
minute that is not timed; it does not quantise tensors whose size is no multiple of 256.
"""

import argparse
import ctypes
import importlib
import importlib.metadata
import json
import math
import os
import pathlib
import statistics

import run  # first: it sets how threads wait
import torch

KUDARI = {  # contenders of peer_worker.cc
    "kudari": "float32",
    "kudari:linear8": "float32, state linear8",
    "kudari:dynamic8": "float32, state dynamic8",
    "kudari:bfloat16": "bfloat16, state bfloat16",
    "kudari:master": "bfloat16, master float32",
    "kudari:split8+linear8": "bfloat16, master split8, state linear8",
}

# Label: package, module, class, options, type of the parameters.
PEERS = {
    "torch fused, bfloat16": ("torch", "torch.optim", "AdamW", {"fused": True}, torch.bfloat16),
    "bitsandbytes, float32": ("bitsandbytes", "bitsandbytes.optim", "AdamW8bit", {}, torch.float32),
    "bitsandbytes, bfloat16": ("bitsandbytes", "bitsandbytes.optim", "AdamW8bit", {},
                               torch.bfloat16),
    "torchao, bfloat16": ("torchao", "torchao.optim", "AdamW8bit", {}, torch.bfloat16),
}


class Peer(run.InProcess):
    """bitsandbytes' library has an OpenMP of its own, which torch does not set."""

    def setup(self, sizes, threads):
        try:
            ctypes.CDLL("libgomp.so.1").omp_set_num_threads(threads)
        except OSError:
            pass  # then nothing here uses it
        torch.set_num_threads(threads)
        super().setup(sizes, threads)


def find_peers():
    peers = {}
    for label, (package, module, name, options, dtype) in PEERS.items():
        try:
            peers[label] = Peer(getattr(importlib.import_module(module), name),
                                {"lr": 1e-3, "weight_decay": 1e-2, **options}, dtype)
            peers[label].setup([(4096,)], 1)
            peers[label].free()
            print(f"{label}: {package} {importlib.metadata.version(package)}")
        except Exception as error:
            peers.pop(label, None)
            print(f"without {label}: {str(error).splitlines()[0]}")
    return peers


def table(times, params):
    peers = [name for name in times if name not in KUDARI]
    lines = ["| Kudari | ns/param | " + " | ".join(peers) + " |",
             "|---|---|" + "---|" * len(peers)]
    median = lambda name: statistics.median(times[name]) / params
    for name, label in KUDARI.items():
        ratios = [statistics.median(t / k for t, k in zip(times[peer], times[name]))
                  for peer in peers]
        lines.append(f"| {label} | {median(name):.2f} | "
                     + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    lines.append("| ns/param | | " + " | ".join(f"{median(peer):.2f}" for peer in peers) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", default="build/release/bench/peer_worker", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="write all times to this file")
    parser.add_argument("--rounds", type=int, default=7, help="at least 7 for figures to quote")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", choices=run.SHAPES, default=["64M"])
    arguments = parser.parse_args()

    peers = find_peers()
    contenders = {**{name: run.Worker(arguments.worker, name, "adamw") for name in KUDARI}, **peers}
    rows = []
    for shape in arguments.shapes:
        sizes = run.SHAPES[shape]
        for threads in arguments.threads:
            before = os.getloadavg()[0]
            times = run.measure(contenders, sizes, threads, arguments.rounds)
            rows.append({"shape": shape, "threads": threads, "ns_per_step": times})
            print(f"\n{shape}, threads: {threads}, rounds: {arguments.rounds}, load average "
                  f"{before:.1f} before, {os.getloadavg()[0]:.1f} after\n")
            print(table(times, sum(map(math.prod, sizes))), flush=True)
    for contender in contenders.values():
        contender.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
