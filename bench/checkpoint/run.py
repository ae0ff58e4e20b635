#!/usr/bin/env python3
"""How long checkpoints take, beside dd and torch.save on the same disk.

    .venv/bin/python bench/checkpoint/run.py [--folder .] [--mib 1024] [--rounds 7]

Needs what the build made, build/release/bench/checkpoint_worker, and torch. A round times each contender
once, in turn; files are put out of the system's cache before they are read. Saving is compared with dd,
which writes the same number of random bytes and syncs them, loading with dd that reads them. dd reads into
the same MiB again and again, while who loads a state needs new memory, whose first touch takes the system as
long as the copy: so a reader that reads pieces of a MiB into new memory, and does nothing else, is there, too.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import torch

ROOT = pathlib.Path(__file__).parent.parent.parent
WORKER = ROOT / "build/release/bench/checkpoint_worker"


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def drop(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="checkpoint-bench-", dir=options.folder))
    raw, copied, pt = folder / "raw", folder / "copied", folder / "state.pt"
    with open(raw, "wb") as out:
        for _ in range(options.mib):
            out.write(os.urandom(1 << 20))
    tensors = {f"w{i}": torch.rand(options.mib << 20 >> 7) for i in range(32)}
    worker = subprocess.Popen([WORKER, folder / "checkpoints", str(options.mib)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ours(command):
        worker.stdin.write(command + "\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())

    def dd(*arguments):
        subprocess.run(["dd", "bs=1M", "status=none", *arguments], check=True)

    def torch_save():
        with open(pt, "wb") as out:
            torch.save(tensors, out)
            out.flush()
            os.fsync(out.fileno())

    def cold(path, function):
        drop(path)
        return timed(function)

    def cold_ours(command):
        ours("drop")
        return ours(command)

    contenders = {
        "dd, write and fsync": lambda: timed(lambda: dd(f"if={raw}", f"of={copied}", "conv=fsync")),
        "SaveCheckpoint": lambda: ours("save"),
        "torch.save, fsync": lambda: timed(torch_save),
        "dd, read": lambda: cold(copied, lambda: dd(f"if={copied}", "of=/dev/null")),
        "read into new memory": lambda: cold_ours("read"),
        "LoadCheckpoint": lambda: cold_ours("load"),
        "torch.load": lambda: cold(pt, lambda: torch.load(pt, weights_only=True)),
        "LoadCheckpoint, cached": lambda: ours("load"),
        "copy of the state": lambda: ours("copy"),
        "CheckpointSaver::Save": lambda: ours("begin"),
    }
    times = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            times[name].append(run())
    worker.stdin.close()
    worker.wait()
    shutil.rmtree(folder)
    for name, seconds in times.items():
        reference = "dd, read" if "oad" in name or "read" in name else "dd, write and fsync"
        ratios = [b / a for a, b in zip(seconds, times[reference])]
        median = statistics.median(seconds)
        print(f"{name:<24} {median:7.3f} s  {options.mib / 1024 / median:6.2f} GiB/s"
              f"  {statistics.median(ratios):5.2f} of dd's speed")
    ratios = [b / a for a, b in zip(times["copy of the state"], times["CheckpointSaver::Save"])]
    print(f"to begin a save takes a thread that trains {statistics.median(ratios):.2f} of the copy")


if __name__ == "__main__":
    main()
