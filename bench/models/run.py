#!/usr/bin/env python3
"""What AdamW takes of a training step, and how fast a GPT trains, beside LibTorch's AdamW and Python.

    .venv/bin/python bench/models/run.py [--rounds 7] [--steps 5] [--threads 2]

Needs torch 2.13 and what the build made, build/release/bench/model_worker. Each contender is a process of
its own that trains the same model, GPT-2 or a vision transformer of about 10 million parameters, on the same
shapes; a round runs each for a few steps, one after the other, and the order turns from round to round.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent.parent
WORKER = ROOT / "build/release/bench/model_worker"


def python_gpt(fused, threads):
    """The GPT in Python's torch, eager; serves as model_worker does."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.attention, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
            self.fc, self.proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

        def forward(self, x):
            batch, length, dim = x.shape
            q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                       for part in self.attention(self.ln_1(x)).split(dim, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, dim))
            return x + self.proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self, layers=6, heads=6, dim=384, context=128, vocabulary=65):
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, dim), nn.Embedding(context, dim)
            self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocabulary, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, x):
            x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Gpt()
    x, y = torch.randint(65, (16, 128)), torch.randint(65, (16 * 128,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)
    print(sum(p.numel() for p in model.parameters()), flush=True)
    for line in sys.stdin:
        passes = updates = 0
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            optimizer.zero_grad()
            logits = model(x)
            F.cross_entropy(logits.view(-1, 65), y).backward()
            middle = time.perf_counter_ns()
            optimizer.step()
            passes += middle - start
            updates += time.perf_counter_ns() - middle
        print(passes, updates, flush=True)


class Contender:
    def __init__(self, name, command):
        self.name, self.times = name, []
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.parameters = int(self.process.stdout.readline())

    def run(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return tuple(int(part) / steps / 1e6 for part in self.process.stdout.readline().split())


def compare(model, contenders, options):
    """Prints a row for each contender: medians over the rounds, and ratios within them."""
    for contender in contenders:
        contender.run(2)  # allocates the state and warms up
    for turn in range(options.rounds):
        at = turn % len(contenders)
        for contender in contenders[at:] + contenders[:at]:
            contender.times.append(contender.run(options.steps))
    base = contenders[0]
    print(f"\n{model}, {base.parameters:,} parameters, {options.threads} threads, "
          f"{options.rounds} rounds of {options.steps} steps\n")
    print("| contender | passes, ms | optimiser, ms | its share | optimiser / Kudari | step / Kudari |")
    print("|---|--:|--:|--:|--:|--:|")
    for contender in contenders:
        passes, updates = (statistics.median(column) for column in zip(*contender.times))
        share = statistics.median(u / (p + u) for p, u in contender.times)
        update = statistics.median(u / k for (_, u), (_, k) in zip(contender.times, base.times))
        whole = statistics.median((p + u) / (q + k)
                                  for (p, u), (q, k) in zip(contender.times, base.times))
        print(f"| {contender.name} | {passes:.1f} | {updates:.2f} | {100 * share:.1f} % | "
              f"{update:.2f} | {whole:.2f} |")
        contender.process.stdin.close()
        contender.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps of a contender in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python-gpt", choices=("foreach", "fused"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.python_gpt:
        python_gpt(options.python_gpt == "fused", options.threads)
        return
    for model in ("gpt", "vit"):
        contenders = [Contender(name, [WORKER, model, optimizer, options.threads])
                      for name, optimizer in (("Kudari", "kudari"), ("LibTorch", "libtorch"))]
        if model == "gpt":
            contenders += [Contender(f"Python, {how}",
                                     [sys.executable, __file__, "--python-gpt", how, "--threads",
                                      options.threads])
                           for how in ("foreach", "fused")]
        compare(model, contenders, options)


if __name__ == "__main__":
    main()
