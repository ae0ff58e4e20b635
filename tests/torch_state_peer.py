#!/usr/bin/env python3
"""Runs that PyTorch began go on in Kudari, and the reverse, by `kudari import-torch` and
`kudari export-torch`, and files that are odd or damaged.

    python3 tests/torch_state_peer.py build/release/kudari

Needs torch 2.13. Each optimizer takes 50 steps in one of the two and 50 more in both, with the same
gradients. Prints the largest differences, relative to the largest element of each tensor: of the
weights and of the state between the two, and of both from torch in float64. Fails if the state, or
Kudari's distance from float64, is above LIMIT: torch's own float32 is up to 2.6e-6 from it.
"""

import argparse
import contextlib
import copy
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import torch

from replay_peer import read_safetensors, write_safetensors

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lab/python"))
import torch_exchange
import torch_export
import torch_import

STEPS = 50
LIMIT = 2e-6

SHAPES = {"embed.weight": (9, 7), "conv.weight": (4, 3, 3, 2), "conv.bias": (4,), "scale": ()}
MATRICES = {"up.weight": (6, 9), "down.weight": (12, 5)}

O = torch.optim
# Class, its options, and the rule that is its twin.
CASES = [
    (O.SGD, {"lr": 0.01, "weight_decay": 0.1}, "sgd"),
    (O.SGD, {"lr": 0.01, "momentum": 0.9, "dampening": 0.3}, "momentum"),
    (O.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, "nesterov"),
    (O.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}, "adam"),
    (O.Adam, {"lr": 0.01, "amsgrad": True, "eps": 1e-5}, "amsgrad"),
    (O.AdamW, {"lr": 0.01, "weight_decay": 0.1}, "adamw"),
    (O.NAdam, {"lr": 0.01, "momentum_decay": 0.01, "weight_decay": 0.1}, "nadam"),
    (O.RAdam, {"lr": 0.01, "betas": (0.9, 0.99)}, "radam"),
    (O.Adamax, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}, "adamax"),
    (O.Adadelta, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}, "adadelta"),
    (O.ASGD, {"lr": 0.05, "lambd": 1e-2, "t0": 30.0, "weight_decay": 0.1}, "asgd"),
    (O.Rprop, {"lr": 0.01, "etas": (0.4, 1.3), "step_sizes": (1e-5, 0.5)}, "rprop"),
    (O.Adagrad, {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.5}, "adagrad"),
    (O.RMSprop, {"lr": 0.01, "alpha": 0.9}, "rmsprop"),
    (O.RMSprop, {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1}, "rmsprop_momentum"),
    (O.RMSprop, {"lr": 0.01, "centered": True}, "rmsprop_centered"),
    (O.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}, "rmsprop_centered_momentum"),
    (O.Adafactor, {"lr": 0.01, "weight_decay": 0.1}, "adafactor_torch"),
    (O.Muon, {"lr": 0.02, "weight_decay": 0.1}, "muon"),
    (O.Muon, {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw"}, "muon_match_rms"),
]


def newton_schulz(grad, ns_coefficients, ns_steps, eps):
    """torch's iteration, in float32 in place of bfloat16, whose rounding alone is 1e-2."""
    a, b, c = ns_coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.size(0) > grad.size(1) else x


torch.optim._muon._zeropower_via_newtonschulz = newton_schulz


class Failed(Exception):
    pass


class Kudari:
    """The program, with files in a folder of its own, which is this process's, too.

    The script of import-torch and export-torch runs in this process, which has loaded torch
    already, and the program's Python is a shell script that copies the file between the two, unless `real`
    is set.
    """

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.copier = folder / "copier"
        # Arguments: the script, the command, and two files.
        self.copier.write_text('#!/bin/sh\nif [ "$2" = read ]; then cp exchange "$4"; '
                             'else cp "$3" exchange; fi\n')
        self.copier.chmod(0o755)

    def start(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True,
                              check=False)

    def run(self, *arguments, real=False):
        """What it says."""
        if not real and arguments[0] == "import-torch":
            self.read(arguments[1], arguments[2:])
            arguments += ("--python", self.copier)
        exporting = not real and arguments[0] == "export-torch"
        if exporting:
            arguments += ("--python", self.copier)
        done = self.start(*arguments)
        if done.returncode != 0:
            raise Failed(f"kudari {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        said = io.StringIO(done.stdout)
        said.seek(0, io.SEEK_END)
        if exporting:
            file = done.stdout.splitlines()[0].rsplit(": ", 1)[1]
            with contextlib.redirect_stdout(said):
                torch_export.write(argparse.Namespace(state="exchange", file=file, names=None,
                                                      dcp="--dcp" in arguments))
        return said.getvalue()

    @staticmethod
    def read(file, options):
        given = {"names": None, "optimizer": None, "part": None, "step": None}
        for option, value in zip(options[::2], options[1::2]):
            given[option.removeprefix("--")] = int(value) if option == "--step" else value
        torch_import.read(argparse.Namespace(file=file, state="exchange", **given))

    def error(self, *arguments, real=False):
        """What it says against these arguments."""
        if not real and arguments[0] == "import-torch":
            try:
                self.read(arguments[1], arguments[2:])
            except torch_exchange.Refused as refusal:
                return str(refusal)
            arguments += ("--python", self.copier)
        done = self.start(*arguments)
        check(done.returncode in (1, 2), f"{arguments} ended with {done.returncode}")
        return done.stderr.strip().removeprefix("kudari: ")


def check(right, what):
    if not right:
        raise Failed(what)


def draw(shapes, seed=1):
    """Parameters, and the gradients of all steps."""
    generator = torch.Generator().manual_seed(seed)
    randn = lambda shape: torch.randn(shape, generator=generator)
    parameters = {name: 0.5 * randn(shape) for name, shape in shapes.items()}
    return parameters, [{name: randn(shape) for name, shape in shapes.items()}
                        for _ in range(2 * STEPS)]


def leaves(parameters):
    return {name: p.clone().requires_grad_() for name, p in parameters.items()}


def take_steps(optimizers, tensors, gradients):
    for step in gradients:
        for name, p in tensors.items():
            p.grad = step[name].clone()
        for optimizer in optimizers:
            optimizer.step()


def model_of(tensors):
    return {name: p.detach().clone() for name, p in tensors.items()}


def write_gradients(path, gradients):
    write_safetensors(pathlib.Path(path), {f"{i}/{name}": g for i, step in enumerate(gradients, 1)
                             for name, g in step.items()})


def distance(a, b):
    return max((((a[k] - b[k]).abs().max() / b[k].abs().max()).item() for k in b), default=0.0)


def state_of(optimizer, tensors):
    """Buffers of an optimizer of torch's, as `kudari replay` writes them."""
    return {f"{name}/{key}": t.detach().reshape(p.shape if t.numel() == p.numel() else (-1,))
            for name, p in tensors.items() for key, t in optimizer.state[p].items()
            if torch.is_tensor(t) and key not in torch_exchange.NUMBERS}


def manifest(folder):
    (checkpoint,) = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return json.loads((checkpoint / "manifest.json").read_text())["texts"]


def inputs(seed):
    """Parameters and gradients of all cases, whose names begin with the rule's."""
    shapes = {f"{rule}.{name}": shape for make, _, rule in CASES
              for name, shape in (MATRICES if make is O.Muon else SHAPES).items()}
    return draw(shapes, seed)


def of_rule(tensors, rule):
    return {name: t for name, t in tensors.items() if name.startswith(rule + ".")}


def in_double(optimizers, tensors):
    """The same optimizers in float64, for comparison, and their parameters."""
    doubles = {name: p.detach().double().requires_grad_() for name, p in tensors.items()}
    name_of = {id(p): name for name, p in tensors.items()}
    copies = []
    for optimizer in optimizers:
        groups = [{"params": [(name_of[id(p)], doubles[name_of[id(p)]]) for p in group["params"]]}
                  for group in optimizer.param_groups]
        copies.append(type(optimizer)(groups, lr=1.0))
        # A copy, as both would count with the same `step`.
        copies[-1].load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for group in copies[-1].param_groups:
            if group.get("eps") and isinstance(group["eps"], (tuple, list)):
                group["eps"] = make_float(group["eps"])  # None is that of the type
    return copies, doubles


def compare(kudari, checkpoint, optimizers, tensors, gradients, where, rows, rules=None):
    """Takes the last steps in both, from a checkpoint and optimizers that are the same. Names of
    tensors begin with one of the rules, which are those of all cases if there are none."""
    optimizers = list(optimizers)
    doubles, exact = in_double(optimizers, tensors)
    write_gradients("last.safetensors", gradients)
    kudari.run("replay", "--force", "--checkpoint", checkpoint, "--grads", "last.safetensors",
               "--out", "out.safetensors", "--state-out", "state.safetensors")
    take_steps(optimizers, tensors, gradients)
    take_steps(doubles, exact, [{n: g.double() for n, g in step.items()} for step in gradients])
    ours, weights = read_safetensors(pathlib.Path("out.safetensors")), model_of(tensors)
    check(ours.keys() == weights.keys(), f"{sorted(ours)}")
    buffers, state = read_safetensors(pathlib.Path("state.safetensors")), {}
    for optimizer in optimizers:
        state.update(state_of(optimizer, tensors))
    check(buffers.keys() == state.keys(), f"{sorted(buffers)} and {sorted(state)}")
    for rule in rules or [rule for _, _, rule in CASES]:
        theirs, best = of_rule(weights, rule), of_rule(model_of(exact), rule)
        rows.append((f"{rule} {where}", distance(of_rule(ours, rule), theirs),
                     distance(of_rule(buffers, rule), of_rule(state, rule)),
                     distance(of_rule(ours, rule), best), distance(theirs, best)))


def go_on_in_kudari(kudari, rows):
    """Returns the spec of what was imported."""
    parameters, gradients = inputs(1)
    tensors = leaves(parameters)
    optimizers = {rule: make(list(of_rule(tensors, rule).items()), **options)
                  for make, options, rule in CASES}
    take_steps(optimizers.values(), tensors, gradients[:STEPS])
    states = {rule: optimizer.state_dict() for rule, optimizer in optimizers.items()}
    torch.save({"model": model_of(tensors), "optimizer": states, "step": STEPS},
               kudari.folder / "run.pt")
    said = kudari.run("import-torch", "run.pt", "--out", "imported", real=True)
    check(said.startswith("imported ") and f" at step {STEPS}: imported/step-{STEPS}" in said, said)
    check(all(rule in said for rule in optimizers), said)
    # What was imported goes back as it was, to the bit.
    kudari.run("export-torch", "imported", "--out", "again.pt")
    again = torch.load(kudari.folder / "again.pt", weights_only=True)
    for rule, state in states.items():
        check_same(again["optimizer"][rule], state, rule)
    check(again["step"] == STEPS, again["step"])
    check(all(torch.equal(again["model"][n], t) for n, t in model_of(tensors).items()), "model")
    compare(kudari, "imported", optimizers.values(), tensors, gradients[STEPS:], "to Kudari", rows)
    return manifest(kudari.folder / "imported")["spec"]


def check_same(ours, theirs, what):
    """State dicts that are the same but for the names, which theirs may lack."""
    for group in ours["param_groups"]:
        group.pop("param_names")
    for group in theirs["param_groups"]:
        group.pop("param_names", None)
    for a, b in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        check(a.keys() == b.keys(), f"{what}: {a} and {b}")
        for key in a:
            same = a[key] == b[key] or key == "eps" and make_float(b[key]) == a[key]
            check(same, f"{what}: {key} = {a[key]} and {b[key]}")
    kept = {i: s for i, s in theirs["state"].items() if any(v is not None for v in s.values())}
    check(ours["state"].keys() == kept.keys(), f"{what}: {ours['state'].keys()}")
    for i, state in kept.items():
        check(ours["state"][i].keys() == state.keys(), f"{what}: {ours['state'][i].keys()}")
        for key, value in state.items():
            mine = ours["state"][i][key]
            check(mine.dtype == value.dtype and torch.equal(mine, value), f"{what}: {key}")


def make_float(eps):
    return tuple(torch.finfo(torch.float32).eps if e is None else e for e in eps) if isinstance(
        eps, (tuple, list)) else eps


def go_on_in_torch(kudari, spec, rows):
    folder = kudari.folder
    parameters, gradients = inputs(2)
    write_safetensors(folder / "params.safetensors", parameters)
    write_gradients("first.safetensors", gradients[:STEPS])
    (folder / "recipe.toml").write_text(spec)
    kudari.run("replay", "--recipe", "recipe.toml", "--params", "params.safetensors", "--grads",
               "first.safetensors", "--out", "first-out.safetensors", "--save", "ours")
    kudari.run("export-torch", "ours", "--out", "ours.pt", real=True)
    loaded = torch.load(folder / "ours.pt", weights_only=True)
    tensors = leaves(loaded["model"])
    optimizers = []
    for name, state in loaded["optimizer"].items():
        groups = [{"params": [(n, tensors[n]) for n in group["param_names"]]}
                  for group in state["param_groups"]]
        # All else comes from the file.
        optimizers.append(getattr(O, name)(groups, lr=123.0))
        optimizers[-1].load_state_dict(state)
    of_class = {name: optimizer for name, optimizer in zip(loaded["optimizer"], optimizers)}
    for make, options, rule in CASES:
        (group,) = [g for g in of_class[make.__name__].param_groups
                    if g["param_names"][0].startswith(rule + ".")]
        for key, value in options.items():
            check(group[key] == value, f"{rule}: {key} = {group[key]}")
    compare(kudari, "ours", optimizers, tensors, gradients[STEPS:], "to PyTorch", rows)


# ---- Files of many forms ----


def trained(make=O.AdamW, groups=None, **options):
    """An optimizer that has had three steps, and its parameters."""
    parameters, gradients = draw(SHAPES)
    tensors = leaves(parameters)
    optimizer = make(groups(tensors) if groups else list(tensors.values()),
                     **{"lr": 0.01, **options})
    take_steps([optimizer], tensors, gradients[:3])
    return optimizer, tensors


def check_forms(kudari):
    folder = kudari.folder
    names = folder / "names.txt"
    names.write_text("\n".join(SHAPES) + "\n")

    # Bare, with the names of PyTorch, from a file, and without any.
    named, _ = trained(groups=lambda t: list(t.items()))
    torch.save(named.state_dict(), folder / "bare.pt")
    check("imported adamw for 4 parameters at step 3: bare-kudari/step-3\n"
          == kudari.run("import-torch", "bare.pt"), "bare")
    kudari.run("export-torch", "bare-kudari/step-3")
    check_same(torch.load(folder / "step-3.pt", weights_only=True), named.state_dict(), "bare")
    check("step-3.pt: exists already" in kudari.error("export-torch", "bare-kudari"), "exists")
    kudari.run("export-torch", "bare-kudari", "--force")
    optimizer, tensors = trained(O.SGD, momentum=0.9)
    torch.save(optimizer.state_dict(), folder / "nameless.pt")
    check("the file names no parameters" in kudari.error("import-torch", "nameless.pt"), "names")
    said = kudari.run("import-torch", "nameless.pt", "--names", names, "--out", "new/in/sgd")
    check("at step 0" in said and "does not say how many steps" in said, said)
    said = kudari.run("import-torch", "nameless.pt", "--names", names, "--step", 9, "--out", "sgd9")
    check("at step 9" in said and "does not say" not in said, said)

    # Groups, whose order the model does not tell.
    groups = lambda t: [{"params": [t["embed.weight"], t["conv.weight"]]},
                        {"params": [t["conv.bias"], t["scale"]], "weight_decay": 0.0, "lr": 0.5}]
    optimizer, tensors = trained(groups=groups)
    torch.save({"model": model_of(tensors), "optimizer": optimizer.state_dict()}, folder / "g.pt")
    check("several groups without param_names" in kudari.error("import-torch", "g.pt"), "groups")
    kudari.run("import-torch", "g.pt", "--names", names, "--out", "g")
    spec = manifest(folder / "g")["spec"]
    check("[[optimizer.group]]" in spec and "lr = 0.5" in spec, spec)
    kudari.run("export-torch", "g", "--out", "g2.pt")
    check_same(torch.load(folder / "g2.pt", weights_only=True)["optimizer"],
               optimizer.state_dict(), "groups")

    # Two optimizers, a scheduler, a scaler, and names of Lightning's.
    parameters, gradients = draw({**MATRICES, "norm.weight": (5,)})
    tensors = leaves(parameters)
    muon = O.Muon([(n, tensors[n]) for n in MATRICES], lr=0.02)
    adamw = O.AdamW([("norm.weight", tensors["norm.weight"])], lr=0.01)
    scheduler = O.lr_scheduler.MultiStepLR(adamw, [2, 60])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7)
    for step in gradients[:3]:
        take_steps([muon, adamw], tensors, [step])
        scheduler.step()
    torch.save({"state_dict": model_of(tensors), "global_step": 3, "epoch": 1,
                "optimizer_states": [muon.state_dict(), adamw.state_dict()],
                "lr_scheduler": scheduler.state_dict(), "scaler": scaler.state_dict(),
                "rng_state": torch.get_rng_state(), "odd": {1, 2}}, folder / "two.pt")
    said = kudari.run("import-torch", "two.pt")
    check("imported adamw and muon" in said or "imported muon and adamw" in said, said)
    check("odd is left out: it is of type set" in said, said)
    kudari.run("export-torch", "two-kudari", "--out", "two2.pt")
    again = torch.load(folder / "two2.pt", weights_only=True)
    check(again["global_step"] == 3 and again["epoch"] == 1, "others")
    check(again["scaler"] == scaler.state_dict(), again["scaler"])
    check(again["lr_scheduler"]["milestones"] == dict(scheduler.milestones), again["lr_scheduler"])
    check(torch.equal(again["rng_state"], torch.get_rng_state()), "rng_state")
    optimizers = again["optimizer_states"]
    check_same(optimizers["0"], muon.state_dict(), "muon")
    check_same(optimizers["1"], adamw.state_dict(), "adamw")
    # After more steps the scheduler, which counts them, has gone on, and the epoch is not known.
    write_gradients("more.safetensors", gradients[3:5])
    kudari.run("replay", "--checkpoint", "two-kudari", "--grads", "more.safetensors", "--out",
               "more-out.safetensors", "--save", "more")
    said = kudari.run("export-torch", "more", "--out", "more.pt")
    check("left out, since steps have been taken since: epoch" in said, said)
    again = torch.load(folder / "more.pt", weights_only=True)
    check(again["global_step"] == 5 and "epoch" not in again, "more")
    check(again["lr_scheduler"]["last_epoch"] == 5, again["lr_scheduler"])


# ---- Several optimizers ----


def networks():
    """Two models of a file, their optimizers after three steps, and all parameters by name."""
    parameters, gradients = draw({"generator.up.weight": (6, 9), "generator.up.bias": (6,),
                                  "critic.weight": (1, 6)})
    tensors = leaves(parameters)
    of = lambda part: {n: p for n, p in tensors.items() if n.startswith(part + ".")}
    optimizers = {"generator": O.Adam(list(of("generator").values()), lr=0.01, betas=(0.5, 0.9)),
                  "critic": O.SGD(list(of("critic").values()), lr=0.1, momentum=0.9)}
    take_steps(optimizers.values(), tensors, gradients[:3])
    return optimizers, tensors


def check_several(kudari):
    folder = kudari.folder
    optimizers, tensors = networks()
    states = {part: optimizer.state_dict() for part, optimizer in optimizers.items()}
    names = folder / "all.txt"
    names.write_text("\n".join(tensors) + "\n")

    # Under keys of their own, as in PyTorch's tutorials: all as one, and each alone.
    torch.save({"optimizerG": states["generator"], "optimizerD": states["critic"],
                "scaler": {"G": {"scale": 1.0}}, "epoch": 4}, folder / "gan.pt")
    said = kudari.run("import-torch", "gan.pt", "--names", names, "--step", 3)
    check(" for 3 parameters at step 3" in said, said)
    check("scaler is left out: each optimizer has its own" in said, said)
    kudari.run("export-torch", "gan-kudari", "--out", "gan2.pt")
    again = torch.load(folder / "gan2.pt", weights_only=True)
    check(sorted(again) == ["epoch", "optimizerD", "optimizerG", "step"], sorted(again))
    check_same(again["optimizerG"], optimizers["generator"].state_dict(), "optimizerG")
    check_same(again["optimizerD"], optimizers["critic"].state_dict(), "optimizerD")
    names.write_text("critic.weight\n")
    said = kudari.run("import-torch", "gan.pt", "--part", "optimizerD", "--names", names, "--step",
                      3, "--out", "critic")
    check("imported momentum for 1 parameters at step 3" in said, said)
    kudari.run("export-torch", "critic", "--out", "critic.pt")
    again = torch.load(folder / "critic.pt", weights_only=True)
    check_same(again["optimizerD"], optimizers["critic"].state_dict(), "critic")
    check("--part x: the file has the optimizers optimizerG and optimizerD"
          == kudari.error("import-torch", "gan.pt", "--part", "x"), "--part x")

    # In a dict, beside a model whose names tell which parameters are a part's.
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0).state_dict()
    torch.save({"model": model_of(tensors), "optimizers": states,
                "scaler": {"generator": scaler}}, folder / "parts.pt")
    said = kudari.run("import-torch", "parts.pt", "--part", "generator")
    check("imported adam for 2 parameters at step 3" in said, said)
    kudari.run("export-torch", "parts-kudari", "--out", "parts2.pt")
    again = torch.load(folder / "parts2.pt", weights_only=True)
    check_same(again["optimizers"], optimizers["generator"].state_dict(), "generator")
    check(again["scaler"] == scaler, again["scaler"])
    check("--part generator: the file has one optimizer, which has no name"
          == kudari.error("import-torch", "parts2.pt", "--part", "generator"), "one optimizer")
    check("has one optimiser, for the whole model"
          in kudari.error("export-torch", "critic", "--part", "critic", "--out", "x.pt"),
          "--part of one")


def check_adversarial(kudari):
    """A run of `kudari train` with two optimizers goes on in PyTorch and, from there, in Kudari."""
    folder = kudari.folder
    recipe = pathlib.Path(__file__).parent.parent / "recipes/dcgan.toml"
    sets = ("data.name=digits", "data.samples=64", "model.width=4", "model.latent=5",
            "train.epochs=0", "train.steps=4", "train.batch_size=8", "train.save_every=2",
            "train.save=last", "train.threads=1", "optimizer.generator.clip_norm=1",
            "optimizer.discriminator.lr=1e-3")
    kudari.run("train", recipe, "--out", "gan", *(a for s in sets for a in ("--set", s)))
    saved = torch_exchange.read_state(folder / "gan/checkpoints/step-4/state.safetensors")["session"]
    said = kudari.run("export-torch", "gan", "--out", "both.pt")
    check("exported adam for" in said and "generator: gradients are not clipped" in said, said)
    both = torch.load(folder / "both.pt", weights_only=True)
    check(list(both["optimizer"]) == ["discriminator", "generator"] and both["step"] == 4, "both")
    for part, state in both["optimizer"].items():
        (group,) = state["param_groups"]
        check(group["lr"] == (1e-3 if part == "discriminator" else 2e-4), group["lr"])
        own = [n for n in both["model"] if n in group["param_names"]]
        check(own and all(n.startswith(part + ".") for n in own), f"{part}: {own}")
        tensors = leaves({n: both["model"][n] for n in group["param_names"]})
        optimizer = O.Adam(tensors.values(), lr=123.0)
        optimizer.load_state_dict(copy.deepcopy(state))  # which would count with the same `step`
        for name, p in tensors.items():
            slots = saved[part]["optimizer"]["tensors"][name.removeprefix(part + ".")]["slots"]
            for slot, value in slots.items():
                check(torch.equal(optimizer.state[p][slot], value), f"{name}/{slot}")
        # The same five steps in both.
        _, gradients = draw({name: tuple(p.shape) for name, p in tensors.items()}, seed=3)
        write_gradients("five.safetensors", gradients[:5])
        kudari.run("import-torch", "both.pt", "--part", part, "--out", f"alone/{part}")
        kudari.run("replay", "--checkpoint", f"alone/{part}", "--grads", "five.safetensors",
                   "--force", "--out", "five-out.safetensors")
        take_steps([optimizer], tensors, gradients[:5])
        ours = read_safetensors(folder / "five-out.safetensors")
        check(ours.keys() == tensors.keys(), f"{part}: {sorted(ours)}")
        far = distance(ours, model_of(tensors))
        check(far < LIMIT, f"{part}: {far} from PyTorch")
        # One of the two alone.
        kudari.run("export-torch", "gan", "--part", part, "--force", "--out", "one.pt")
        one = torch.load(folder / "one.pt", weights_only=True)
        check_same(one["optimizer"], state, part)
    check(kudari.error("export-torch", "gan", "--part", "critic", "--out", "x.pt").endswith(
        "has optimisers for discriminator and generator"), "--part critic")
    check("replay needs a run with one optimiser; the parts of its model (discriminator, generator)"
          in kudari.error("replay", "--checkpoint", "gan", "--grads", "five.safetensors", "--out",
                          "x.safetensors"), "replay")


class Custom:
    pass


def check_bad_input(kudari):
    folder = kudari.folder

    def error(content, *options):
        torch.save(content, folder / "bad.pt")
        text = kudari.error("import-torch", "bad.pt", "--out", "bad", *options)
        check(not (folder / "bad").exists(), f"{text}: but there is something")
        check(not list(folder.glob(".kudari-*")), f"{text}: a folder is left")
        return text

    def expect(text, *parts):
        check(all(part in text for part in parts), f"{text!r} has not {parts}")

    optimizer, tensors = trained()
    good = {"model": model_of(tensors), "optimizer": optimizer.state_dict()}
    torch.save(good, folder / "good.pt")
    content = (folder / "good.pt").read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        (folder / "cut.pt").write_bytes(content[:size])
        expect(kudari.error("import-torch", "cut.pt"), "cut.pt: torch cannot read it")
    expect(kudari.error("import-torch", "none.pt"), "none.pt: No such file")
    expect(kudari.error("import-torch", "cut.pt", real=True), "cut.pt: torch cannot read it")
    expect(error({"optimizer": Custom()}), "torch.load(weights_only=True) refuses it", "Custom")
    expect(error([1, 2]), "holds of type list, not a dict")
    expect(error({"weights": 1}), "has no state dict of an optimizer", "it has weights")
    expect(error({"optimizer": {"state": {}, "param_groups": [1]}}), "param_groups/0 is no group")

    def changed(change):
        other = {"model": dict(good["model"]),
                 "optimizer": {"state": {i: dict(s) for i, s in good["optimizer"]["state"].items()},
                               "param_groups": [dict(good["optimizer"]["param_groups"][0])]}}
        change(other["optimizer"]["state"], other["optimizer"]["param_groups"][0], other["model"])
        return other

    expect(error(changed(lambda s, g, m: s[1].update(exp_avg=torch.zeros(3)))),
           "state/conv.weight/exp_avg is [3], but the parameter is [4, 3, 3, 2]")
    expect(error(changed(lambda s, g, m: s[1].pop("exp_avg_sq"))),
           "state/conv.weight has no \"exp_avg_sq\"")
    expect(error(changed(lambda s, g, m: s[1].update(step="x"))),
           "state/conv.weight/step is of type")
    expect(error(changed(lambda s, g, m: s[1].update(step=torch.tensor(1.5)))), "step = 1.5")
    expect(error(changed(lambda s, g, m: s[1].update(extra=torch.zeros(4, 3, 3, 2)))),
           "AdamW keeps no \"extra\"")
    expect(error(changed(lambda s, g, m: s.update({9: {}}))), "state/9: no group has")
    expect(error(changed(lambda s, g, m: m.pop("scale"))), "has 4 parameters and the model 3")
    expect(error(changed(lambda s, g, m: g.update(maximize=True))), "maximize = true")
    expect(error(changed(lambda s, g, m: g.update(lr=-1.0))), "lr = -1 is outside [0, inf)")
    expect(error(changed(lambda s, g, m: g.pop("eps"))), "no optimizer of torch has these options")
    # torch before 2.7.
    old = changed(lambda s, g, m: g.pop("decoupled_weight_decay"))
    expect(error(old), "is of Adam or AdamW")
    expect(error(old, "--optimizer", "SGD"),
           "--optimizer SGD: param_groups/0 has the options of Adam")
    expect(error(good, "--step", "-1"), "--step = -1 is outside")
    expect(error(old, "--names", "none"), "--names none: No such file")
    kudari.run("import-torch", "bad.pt", "--optimizer", "AdamW", "--out", "old")
    lbfgs = O.LBFGS([torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES.values()])
    expect(error(lbfgs.state_dict(), "--names", "names.txt"),
           "Kudari has no twin of PyTorch's LBFGS; it has those of SGD, Adam")
    # What is not finite is loaded, and said.
    torch.save(changed(lambda s, g, m: s[1]["exp_avg"].view(-1)[3:4].fill_(math.nan)),
               folder / "nan.pt")
    expect(kudari.run("import-torch", "nan.pt"),
           "the state of conv.weight has values that are not finite")

    # No torch, and no Python.
    bare = folder / "python"
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -S -E \"$@\"\n")
    bare.chmod(0o755)
    expect(kudari.error("import-torch", "good.pt", "--python", bare, real=True),
           "has no torch", "--python")
    expect(kudari.error("import-torch", "good.pt", "--python", "no-such-python", real=True),
           "no-such-python: cannot be executed: No such file")
    expect(kudari.error("export-torch", "none"), "none")
    expect(kudari.error("export-torch", "old", "--out", "no/x.pt"),
           "--out no/x.pt: there is no folder no")

    # A rule that PyTorch lacks.
    (folder / "lion.toml").write_text('[optimizer]\nrule = "lion"\n')
    kudari.run("replay", "--force", "--recipe", "lion.toml", "--params", "params.safetensors",
               "--grads", "first.safetensors", "--out", "out.safetensors", "--save", "lion")
    expect(kudari.error("export-torch", "lion"), "PyTorch has no twin of rule \"lion\"")


def show(rows):
    """Prints the differences; returns 1 if one is too large, otherwise 0."""
    print(f"torch {torch.__version__}, {STEPS} steps in one and {STEPS} in both; largest relative "
          "differences")
    print(f"{'':<38} {'weights':>9} {'state':>9} {'kudari-f64':>11} {'torch-f64':>10}")
    failed = False
    for what, weights, buffers, ours, theirs in rows:
        far = max(ours, buffers) > LIMIT
        failed = failed or far
        print(f"{what:<38} {weights:9.2e} {buffers:9.2e} {ours:11.2e} {theirs:10.2e}"
              f"{'  FAILED' if far else ''}")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("kudari", help="path of the program", type=pathlib.Path)
    binary = parser.parse_args().kudari.resolve()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        kudari = Kudari(binary, pathlib.Path(name))
        os.chdir(name)
        try:
            go_on_in_torch(kudari, go_on_in_kudari(kudari, rows), rows)
            check_forms(kudari)
            check_several(kudari)
            if (binary.parent / "kudari-train").exists():
                check_adversarial(kudari)
            check_bad_input(kudari)
        except (Failed, torch_exchange.Refused) as failure:
            sys.exit(f"failed: {failure}")
    return show(rows)


if __name__ == "__main__":
    sys.exit(main())
