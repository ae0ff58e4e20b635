#!/usr/bin/env python3
"""Times Kudari's AdamW beside torch's: fused, foreach and for-loop in Python, and LibTorch's C++.

    python3 bench/peers/run.py [--worker build/release/bench/peer_worker] [--json FILE]

Needs torch 2.13. One round runs every contender once, and a contender's ratio is the median over
rounds of its time over Kudari's in the same round: what slows the machine down for a while slows
both. The order turns from round to round. The C++ contenders run in processes of their own, so that
no two OpenMP pools share one. Threads are not pinned.

An idle OpenMP pool spins before it sleeps, by default for longer than many of the steps here, and
would take a core from whoever is measured next. GOMP_SPINCOUNT shortens that to about half a
millisecond, longer than the gaps between the parallel regions of a step, and every repetition
begins after a pause in which all pools fall asleep. (OMP_WAIT_POLICY=passive would be simpler, and
unfair: it makes a sleeping thread be woken in every region, of which torch has one a tensor.)
Figures for as many threads as there are cores need a machine that does nothing else: each region
waits for the thread that some other program keeps from running.
"""

import argparse
import gc
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
import torch

PAUSE_SECONDS = 0.03
SHORTEST_NS = 20e6  # steps are repeated until a repetition takes about this long
SHAPES = ["1x67108864", "10000x1000", "1x1000"]


class InProcess:
    """A torch optimiser of this process."""

    def __init__(self, **how):
        self.how = how
        self.optimizer = None

    def setup(self, tensors, size, threads):
        parameters = []
        for _ in range(tensors):
            p = torch.linspace(0.5, 1.5, size).requires_grad_()
            p.grad = torch.linspace(1e-3, 2e-3, size)
            parameters.append(p)
        self.threads = threads
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, **self.how)
        self.run(2)  # allocates the state and warms up

    def run(self, steps):
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        step = self.optimizer.step
        start = time.perf_counter_ns()
        for _ in range(steps):
            step()
        return time.perf_counter_ns() - start

    def free(self):
        self.optimizer = None
        gc.collect()

    def close(self):
        pass


class Worker:
    """A contender in a peer_worker of its own."""

    def __init__(self, path, name):
        self.name = name
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"peer_worker ended at \"{line}\"")
        return answer

    def setup(self, tensors, size, threads):
        self.ask(f"setup {self.name} {tensors} {size} {threads}")

    def run(self, steps):
        return int(self.ask(f"run {steps}"))

    def free(self):
        self.ask("free")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(contenders, tensors, size, threads, rounds):
    """Nanoseconds per step of every contender in every round."""
    steps = {}
    for name, contender in contenders.items():
        contender.setup(tensors, size, threads)
        steps[name] = max(1, round(SHORTEST_NS / contender.run(3) * 3))
    times = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            time.sleep(PAUSE_SECONDS)
            times[name].append(contenders[name].run(steps[name]) / steps[name])
        order = order[1:] + order[:1]
    for contender in contenders.values():
        contender.free()
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", default="build/release/bench/peer_worker", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=9, help="at least 7 for figures to quote")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="TENSORSxSIZE")
    arguments = parser.parse_args()

    contenders = {
        "kudari": Worker(arguments.worker, "kudari"),
        "torch fused": InProcess(fused=True),
        "torch foreach": InProcess(foreach=True),
        "torch for-loop": InProcess(foreach=False),
        "libtorch c++": Worker(arguments.worker, "libtorch"),
    }
    load = os.getloadavg()[0]
    print(f"AdamW, torch {torch.__version__}, {arguments.rounds} rounds, load average {load:.1f}"
          f"{': this machine is busy' if load > 0.5 else ''}")
    print(f"{'contender':<15} {'params':>9} {'tensors':>7} {'threads':>7}   ns/param: "
          f"{'min':>8} {'median':>8} {'max':>8}   x kudari")
    rows = []
    for shape in arguments.shapes:
        tensors, size = map(int, shape.split("x"))
        params = tensors * size
        for threads in arguments.threads:
            times = measure(contenders, tensors, size, threads, arguments.rounds)
            for name, ns in times.items():
                ratio = statistics.median(t / k for t, k in zip(ns, times["kudari"]))
                per_param = {"min": min(ns) / params, "median": statistics.median(ns) / params,
                             "max": max(ns) / params}
                rows.append({"contender": name, "params": params, "tensors": tensors,
                             "threads": threads, "ns_per_param": per_param,
                             "ratio_to_kudari": ratio})
                figures = " ".join(f"{x:8.3f}" for x in per_param.values())
                print(f"{name:<15} {params:>9} {tensors:>7} {threads:>7} {'':<12} {figures} "
                      f"{ratio:>10.2f}", flush=True)
    for contender in contenders.values():
        contender.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
