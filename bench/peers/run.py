#!/usr/bin/env python3
"""Times Kudari's rules beside those of torch (fused, foreach, for-loop), LibTorch, timm and DeepSpeed.

    python3 bench/peers/run.py [--rules adamw lamb] [--shapes 64M] [--json FILE]

Needs torch 2.13 and what the build made, build/release/bench/peer_worker; timm and DeepSpeed are
optional, see README.md. One round runs every contender once, and a contender's ratio is the median
over rounds of its time over Kudari's in the same round: what slows the machine down for a while
slows both. The order turns from round to round. The C++ contenders run in processes of their own, so
that no two OpenMP pools share one. Threads are not pinned.

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
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
import types

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
import torch

PAUSE_SECONDS = 0.03
SHORTEST_NS = 20e6  # steps are repeated until a repetition takes about this long


def gpt2(hidden_only):
    """The tensors of GPT-2 with 124M parameters, or its hidden matrices."""
    dim = 768
    block = [(dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)]
    if hidden_only:
        return 12 * block
    vectors = [(dim,), (dim,), (3 * dim,), (dim,), (dim,), (dim,), (4 * dim,), (dim,)]
    return [(50257, dim), (1024, dim)] + 12 * (block + vectors) + [(dim,), (dim,)]


# Name: sizes of the tensors.
SHAPES = {
    "64M": [(64 << 20,)],
    "1000x50000": 1000 * [(50_000,)],
    "10000x1000": 10_000 * [(1_000,)],
    "1000": [(1_000,)],
    "gpt2": gpt2(hidden_only=False),
    "gpt2-hidden": gpt2(hidden_only=True),
}
VECTORS = ["64M", "10000x1000", "1000"]
NORMS = ["64M", "1000x50000", "gpt2"]


def in_torch(name, *, fused=False, foreach=True, **options):
    """Contenders that are torch's optimiser of that name: how it can be told to run."""
    ways = {"for-loop": {"foreach": False}} if foreach else {"": {}}
    if foreach:
        ways = {"foreach": {"foreach": True}, **ways}
    if fused:
        ways = {"fused": {"fused": True}, **ways}
    make = getattr(torch.optim, name, None)
    if make is None:
        return {}
    return {f"torch {way}".strip(): (make, {**options, **how}) for way, how in ways.items()}


def in_package(package, module, name, **options):
    """Contenders of another package; none if it is not there."""
    if package in MISSING:
        return {}
    found = importlib.import_module(module)
    label = package + (f" {'foreach' if options['foreach'] else 'for-loop'}"
                       if "foreach" in options else "")
    return {label: (getattr(found, name), options)}


def timm(module, name, **options):
    return in_package("timm", f"timm.optim.{module}", name, **options)


def deepspeed(module, name, **options):
    return in_package("deepspeed", f"deepspeed.ops.{module}", name, **options)


MISSING = {}


def find_packages():
    """Fills MISSING with the reasons why packages cannot be used."""
    spec = importlib.util.find_spec("timm")
    if spec is None:
        MISSING["timm"] = "not installed"
    else:
        # timm's optimisers without the rest of it, which wants a torchvision that fits torch.
        root = spec.submodule_search_locations[0]
        for name, path in (("timm", root), ("timm.optim", root + "/optim")):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [path]
    if importlib.util.find_spec("deepspeed") is None:
        MISSING["deepspeed"] = "not installed"
        return
    try:
        # It compiles its kernels when they are first used.
        from deepspeed.ops.adam import DeepSpeedCPUAdam
        DeepSpeedCPUAdam([torch.zeros(8, requires_grad=True)])
    except Exception as error:
        MISSING["deepspeed"] = f"its kernels cannot be built: {error}"


def contenders_of():
    """By rule: a function that gives its contenders by label, each a class with its options, or
    None for LibTorch's C++. Only the functions of rules that are measured import what they need."""
    libtorch = {"libtorch c++": None}
    both = (True, False)
    return {
        "sgd": lambda: {**in_torch("SGD", fused=True), **libtorch},
        "momentum": lambda: {**in_torch("SGD", fused=True, momentum=0.9), **libtorch},
        "nesterov": lambda: {**in_torch("SGD", fused=True, momentum=0.9, nesterov=True),
                             **libtorch},
        "adagrad": lambda: {**in_torch("Adagrad", fused=True), **libtorch,
                            **deepspeed("adagrad", "DeepSpeedCPUAdagrad")},
        "rmsprop": lambda: {**in_torch("RMSprop"), **libtorch},
        "rmsprop_momentum": lambda: in_torch("RMSprop", momentum=0.9),
        "rmsprop_centered": lambda: in_torch("RMSprop", centered=True),
        "rmsprop_centered_momentum": lambda: in_torch("RMSprop", centered=True, momentum=0.9),
        "adam": lambda: {**in_torch("Adam", fused=True), **libtorch,
                         **deepspeed("adam", "DeepSpeedCPUAdam", adamw_mode=False)},
        "adamw": lambda: {**in_torch("AdamW", fused=True), **libtorch,
                          **deepspeed("adam", "DeepSpeedCPUAdam", weight_decay=0.01)},
        "amsgrad": lambda: in_torch("Adam", fused=True, amsgrad=True),
        "nadam": lambda: in_torch("NAdam"),
        "radam": lambda: in_torch("RAdam"),
        "asgd": lambda: in_torch("ASGD"),
        "rprop": lambda: in_torch("Rprop"),
        "adadelta": lambda: in_torch("Adadelta"),
        "adamax": lambda: in_torch("Adamax"),
        "lion": lambda: {**timm("lion", "Lion", foreach=True), **timm("lion", "Lion", foreach=False),
                         **deepspeed("lion", "DeepSpeedCPULion")},
        "lamb": lambda: {k: v for foreach in both for k, v in timm(
            "lamb", "Lamb", max_grad_norm=None, always_adapt=True, foreach=foreach).items()},
        "lars": lambda: {k: v for foreach in both for k, v in timm(
            "lars", "Lars", momentum=0.9, weight_decay=1e-4, always_adapt=True,
            foreach=foreach).items()},
        "adafactor": lambda: timm("adafactor", "Adafactor"),
        "adafactor_torch": lambda: in_torch("Adafactor"),
        "muon": lambda: in_torch("Muon", foreach=False),
    }


# Rule: shapes that say something about it.
SHAPES_OF = {"lamb": NORMS, "lars": NORMS, "adafactor": ["gpt2"], "adafactor_torch": ["gpt2"],
             "muon": ["gpt2-hidden"]}

MATRICES_ONLY = ["muon"]


class InProcess:
    """An optimiser of this process."""

    def __init__(self, make, options, dtype=torch.float32):
        self.make = make
        self.options = options
        self.dtype = dtype
        self.optimizer = None

    def setup(self, sizes, threads):
        parameters = []
        for size in sizes:
            n = math.prod(size)
            p = torch.linspace(0.5, 1.5, n).reshape(size).to(self.dtype).requires_grad_()
            p.grad = torch.linspace(1e-3, 2e-3, n).reshape(size).to(self.dtype)
            parameters.append(p)
        self.threads = threads
        self.optimizer = self.make(parameters, **self.options)
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

    def __init__(self, path, name, rule):
        self.name, self.rule = name, rule
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"peer_worker ended at \"{line[:80]}\"")
        return answer

    def setup(self, sizes, threads):
        text = " ".join("x".join(map(str, size)) for size in sizes)
        self.ask(f"setup {self.name} {self.rule} {threads} {text}")

    def run(self, steps):
        return int(self.ask(f"run {steps}"))

    def free(self):
        self.ask("free")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(contenders, sizes, threads, rounds):
    """Nanoseconds per step of every contender in every round."""
    steps = {}
    for name, contender in contenders.items():
        contender.setup(sizes, threads)
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


def versions():
    names = [f"torch {torch.__version__}"]
    for package in ("timm", "deepspeed"):
        if package not in MISSING:
            names.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", default="build/release/bench/peer_worker", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=9, help="at least 7 for figures to quote")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="all that have peers")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="those that suit each rule")
    arguments = parser.parse_args()

    find_packages()
    for package, why in MISSING.items():
        print(f"without {package}: {why}")
    table = contenders_of()
    asker = Worker(arguments.worker, "", "")
    known = asker.ask("rules").split()
    asker.close()
    for rule in arguments.rules or []:
        if rule not in table or rule not in known:
            parser.error(f"--rules: {rule} is none of {' '.join(r for r in table if r in known)}")
    load = os.getloadavg()[0]
    print(f"{versions()}, {arguments.rounds} rounds, load average {load:.1f}"
          f"{': this machine is busy' if load > 0.5 else ''}")
    print(f"{'rule':<25} {'contender':<16} {'shape':<11} {'threads':>7}   ns/param: "
          f"{'min':>8} {'median':>8} {'max':>8}   x kudari")
    rows = []
    for rule in arguments.rules or [r for r in table if r in known]:
        peers = table[rule]()
        if not peers:
            print(f"{rule:<25} no peer is installed")
            continue
        contenders = {"kudari": Worker(arguments.worker, "kudari", rule)}
        for name, made in peers.items():
            contenders[name] = (InProcess(*made) if made else
                                Worker(arguments.worker, "libtorch", rule))
        for shape in arguments.shapes or SHAPES_OF.get(rule, VECTORS):
            sizes = SHAPES[shape]
            if rule in MATRICES_ONLY and any(len(size) < 2 for size in sizes):
                print(f"{rule:<25} steps matrices only, not {shape}")
                continue
            params = sum(map(math.prod, sizes))
            for threads in arguments.threads:
                times = measure(contenders, sizes, threads, arguments.rounds)
                for name, ns in times.items():
                    ratio = statistics.median(t / k for t, k in zip(ns, times["kudari"]))
                    per_param = {"min": min(ns) / params, "median": statistics.median(ns) / params,
                                 "max": max(ns) / params}
                    rows.append({"rule": rule, "contender": name, "shape": shape, "params": params,
                                 "tensors": len(sizes), "threads": threads,
                                 "ns_per_param": per_param, "ratio_to_kudari": ratio})
                    figures = " ".join(f"{x:8.3f}" for x in per_param.values())
                    print(f"{rule:<25} {name:<16} {shape:<11} {threads:>7} {'':<12} {figures} "
                          f"{ratio:>10.2f}", flush=True)
        for contender in contenders.values():
            contender.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
