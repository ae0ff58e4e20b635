#!/usr/bin/env python3
"""Writes data/lbfgs.json: runs of torch's LBFGS in float64 on the functions of lbfgs_golden_test.cc.

Run by hand with torch 2.13; nothing else is needed. A case has options in torch's words and, for
each step, the loss where it began, the evaluations and iterations so far, and the weights.
"""

import json
import math
import os
import pathlib

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def quadratic(w):
    n = w.numel()
    curvature = torch.tensor([100.0 ** (i / (n - 1)) for i in range(n)])
    return (curvature * w * w).sum() / 2


def rosenbrock(w):
    return (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()


def logistic(w):
    n, samples = w.numel(), 40
    x = torch.tensor([[math.sin(3.0 * i + 5.0 * k + i * k) for k in range(n)]
                      for i in range(samples)])
    y = torch.tensor([1.0 if math.sin(7.0 * i) + x[i, 0] > 0 else -1.0 for i in range(samples)])
    return torch.log1p(torch.exp(-y * (x @ w))).mean() + 0.005 * (w * w).sum()


FUNCTIONS = {"quadratic": (quadratic, lambda i: 1.0),
             "rosenbrock": (rosenbrock, lambda i: 1.0 if i % 2 else -1.2),
             "logistic": (logistic, lambda i: 0.0)}

SEARCH = {"line_search_fn": "strong_wolfe"}
# Function, elements, steps, options.
CASES = [
    ("quadratic", 10, 3, {"lr": 0.5}),
    ("quadratic", 10, 4, SEARCH),
    ("quadratic", 10, 12, {**SEARCH, "max_iter": 3, "history_size": 4, "lr": 0.3}),
    ("rosenbrock", 2, 8, {"lr": 0.1}),
    ("rosenbrock", 2, 4, SEARCH),
    ("rosenbrock", 5, 6, {**SEARCH, "max_iter": 10, "history_size": 5}),
    ("rosenbrock", 10, 8, {**SEARCH, "max_eval": 7}),
    ("rosenbrock", 10, 6, {**SEARCH, "lr": 4.0, "max_iter": 12, "history_size": 3}),
    ("logistic", 6, 3, {}),
    ("logistic", 6, 3, {**SEARCH, "tolerance_grad": 1e-5}),
    ("logistic", 6, 5, {"lr": 2.0, "max_iter": 4, "tolerance_change": 1e-6}),
    ("logistic", 6, 1, {"tolerance_grad": 10.0}),
]


def run(function, size, steps, options):
    loss_of, start = FUNCTIONS[function]
    w = torch.tensor([start(i) for i in range(size)], requires_grad=True)
    optimizer = torch.optim.LBFGS([w], **options)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(w)
        loss.backward()
        return loss

    records = []
    for _ in range(steps):
        loss = optimizer.step(closure)
        state = optimizer.state[w]
        records.append({"loss": loss.item(), "evaluations": state["func_evals"],
                        "iterations": state["n_iter"], "weights": w.tolist()})
    return {"function": function, "size": size, "options": options, "steps": records}


if __name__ == "__main__":
    cases = [run(*case) for case in CASES]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    head = json.dumps({"made_by": "tests/golden/make_lbfgs.py",
                       "oracle": f"torch {torch.__version__} LBFGS"}, separators=(",", ":"))
    path = pathlib.Path(__file__).parent / "data" / "lbfgs.json"
    path.write_text(f'{head[:-1]},"cases":[\n{lines}]}}\n')
    for case in cases:
        print(case["function"], case["size"], case["options"],
              [(s["evaluations"], s["iterations"], f'{s["loss"]:.2e}') for s in case["steps"]])
