#!/usr/bin/env python3
"""Writes data/sparse.json: torch's SGD, Adagrad and SparseAdam in float64 on sparse gradients.

Run by hand with torch 2.13; nothing else is needed. The gradients are those of sparse_golden_test.cc:
of a table of embeddings, in each step five of them, some of them twice, and in some steps none. A
case has Kudari's rule with its options, what the table begins with, and the weights and the state
after some of the steps.
"""

import json
import math
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

ROWS, WIDTH, BATCH = 11, 3, 5
RECORDED = [1, 2, 7, 8, 40]


def gradient(step):
    """As an embedding's backward pass leaves it: rows may be there twice, in any order."""
    batch = 0 if step % 7 == 0 else BATCH
    rows = [(step * step + 3 * b * step + b * b) % ROWS for b in range(batch)]
    values = [[math.sin(step + 2.0 * b + 3.0 * k) for k in range(WIDTH)] for b in range(batch)]
    return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.long).reshape(1, batch),
                                   torch.tensor(values).reshape(batch, WIDTH), (ROWS, WIDTH))


# Rule, its options, torch's class, its options.
CASES = [
    ("sgd", {"lr": 0.1}, torch.optim.SGD, {"lr": 0.1}),
    ("adagrad", {"lr": 0.1}, torch.optim.Adagrad, {"lr": 0.1}),
    ("adagrad", {"lr": 0.05, "lr_decay": 0.1, "eps": 0.1},
     torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.1, "eps": 0.1}),
    ("sparse_adam", {}, torch.optim.SparseAdam, {}),
    ("sparse_adam", {"lr": 0.01, "beta1": 0.8, "beta2": 0.6, "eps": 0.1},
     torch.optim.SparseAdam, {"lr": 0.01, "betas": (0.8, 0.6), "eps": 0.1}),
    ("sparse_adam", {"lr": 0.01, "beta1": 0.0, "beta2": 0.3},
     torch.optim.SparseAdam, {"lr": 0.01, "betas": (0.0, 0.3)}),
]


def run(make, options):
    start = [[math.sin(5.0 * i + k) for k in range(WIDTH)] for i in range(ROWS)]
    table = torch.tensor(start).requires_grad_()
    optimizer = make([table], **options)
    records = []
    for step in range(1, RECORDED[-1] + 1):
        table.grad = gradient(step)
        optimizer.step()
        if step not in RECORDED:
            continue
        state = {name: value.flatten().tolist() for name, value in optimizer.state[table].items()
                 if torch.is_tensor(value) and value.shape == table.shape}
        records.append({"step": step, "param": table.detach().flatten().tolist(), "state": state})
    return records


def main():
    cases = [{"rule": rule, "options": options, "torch": make.__name__,
              "records": run(make, torch_options)}
             for rule, options, make, torch_options in CASES]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    head = f'{{"made_by":"tests/golden/make_sparse.py","oracle":"torch {torch.__version__}"'
    path = pathlib.Path(__file__).parent / "data" / "sparse.json"
    path.write_text(f'{head},"cases":[\n{lines}]}}\n')


if __name__ == "__main__":
    main()
