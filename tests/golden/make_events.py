#!/usr/bin/env python3
"""Writes data/events: TensorBoard event files by two writers, for lab/run_log_test.cc.

Run by hand, in an environment with tools/requirements-oracles.txt:

    python3 tests/golden/make_events.py

data/events/torch is what torch.utils.tensorboard writes, scalars as simple values among a histogram
and a text; data/events/tensors/train and .../validation are what the writer of TensorBoard itself
does, and TensorFlow's and so Keras', scalars as tensors. The values are

    Loss/train, epoch_loss in train         2 / (1 + i)
    Loss/val, epoch_loss in validation      3 / (1 + i)
    lr                                      0.5 / (1 + i)

in float32 at the steps i = 0 ... 9, of the validation in torch's file at 4 and 9.
"""

import pathlib
import shutil
import tempfile
import unittest.mock

import tensorboard.summary
import torch
from torch.utils.tensorboard import SummaryWriter

FOLDER = pathlib.Path(__file__).parent / "data" / "events"
STEPS = 10


def write_torch(folder):
    writer = SummaryWriter(folder)
    writer.add_text("config", "a run")
    for i in range(STEPS):
        writer.add_scalar("Loss/train", 2 / (1 + i), i)
        writer.add_scalar("lr", 0.5 / (1 + i), i)
        if i == 4:
            writer.add_histogram("weights", torch.arange(8.0), i, bins=4)
        if i % 5 == 4:
            writer.add_scalar("Loss/val", 3 / (1 + i), i)
    writer.close()


def write_tensors(folder, factor):
    writer = tensorboard.summary.Writer(str(folder))
    for i in range(STEPS):
        writer.add_scalar("epoch_loss", factor / (1 + i), i)
    writer.close()


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    clock = unittest.mock.patch("time.time", return_value=1.7e9)  # the same bytes each time
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        with clock:
            write_torch(root / "torch")
            write_tensors(root / "tensors" / "train", 2)
            write_tensors(root / "tensors" / "validation", 3)
        for path in sorted(root.rglob("*tfevents*")):
            target = FOLDER / path.parent.relative_to(root) / "events.out.tfevents.1700000000"
            target.parent.mkdir(parents=True)
            shutil.copyfile(path, target)  # whose name has the machine's


main()
