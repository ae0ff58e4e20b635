#!/usr/bin/env python3
"""Writes data/sharpness/: trajectories of the sharpness-aware family that are not Kudari's.

Run by hand, in an environment with tools/requirements-oracles.txt, with the folders of what is no
package (REPOSITORIES) in environment variables:

    SAM_REPO=... ASAM_REPO=... GSAM_REPO=... LOOKSAM_REPO=... ROLLOVD_LOOKSAM_REPO=... \\
        UNIFIED_SAM_REPO=... PHYSICSNEMO_REPO=... python3 tests/golden/make_sharpness.py

A small network is trained on one full batch for 60 steps, in float64 on one thread. Every case is
computed twice: by the oracles, and by a transcription of the papers' formulas in NumPy, whose
gradients are written by hand. The two must agree to 1e-12. What is written comes from the first
oracle of a case, or from the transcription if a case has none that computes just that.

- data.safetensors: train/x, train/y, test/x, test/y, as `kudari train` reads them.
- init.safetensors: where the parameters start, float32.
- <case>.safetensors: step1/<parameter>, step2/..., step10/..., step60/..., float64: the parameters
  after so many steps; g_v/<parameter>: the direction kept at the last refresh, where there is one.
- cases.json: options, base optimiser, oracles, losses and the number of gradients of every case.

Steps count from 0; those at which t % k == 0 refresh.
"""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # the same bytes on machines of other vector sets
import numpy as np
import pytorch_optimizer.optimizer.sam
import safetensors.numpy
import torch

STEPS = 60
RECORDED = [1, 2, 10, 60]
BOUND = 1e-12
PACKAGES = ["numpy", "pytorch-optimizer", "safetensors", "torch"]
FOLDER = pathlib.Path(__file__).parent / "data" / "sharpness"


@dataclasses.dataclass(frozen=True)
class Repository:
    name: str
    commit: str
    variable: str
    path: str
    sha256: str

    def module(self, package=None):
        """The file as a module, after a look at its bytes."""
        folder = os.environ.get(self.variable)
        if folder is None:
            sys.exit(f"{self.variable} must name a folder with {self.name} at {self.commit}")
        file = pathlib.Path(folder) / self.path
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.sha256:
            sys.exit(f"{file} is not that of {self.name} at {self.commit}")
        if package is not None:
            sys.path.insert(0, folder)
            return importlib.import_module(package)
        spec = importlib.util.spec_from_file_location(self.variable.lower(), file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


REPOSITORIES = [
    Repository("davda54/sam",
               "3c3afdbd71cff2462ec91c734b3d1170bd0f3707",
               "SAM_REPO", "sam.py",
               "768134da1d5f3ff630d7f29958a960c6335410875b05424f851602b344f8c9ec"),
    Repository("SamsungLabs/ASAM",
               "f156a680171db16d551c0d85cba2514fa3bff6a2",
               "ASAM_REPO", "asam.py",
               "c536c188f5a89ef14e1b6452945adadad399f26db39729ca44c44d03399df694"),
    Repository("juntang-zhuang/GSAM",
               "a770275b3324a3ed4bf4a1cddb976b2782ba852b",
               "GSAM_REPO", "gsam/gsam.py",
               "1475e9fb3ec390b5a15298944e92604a75d407f912ae4c421dd8ebb0cc40fca6"),
    Repository("Leminhbinh0209/LookSAM",
               "4040208355219944f0f6d6276b7c3dfe470ef282",
               "LOOKSAM_REPO", "looksam.py",
               "ad777815fd6c2561a8a6e7d3e26b99000bcc4b84b80d9c4f3e4af2ca43a7cd82"),
    Repository("rollovd/LookSAM",
               "8f5c8ef5aa29b8d62d21756f7c6f410aefadf03c",
               "ROLLOVD_LOOKSAM_REPO", "looksam.py",
               "ce7cd44576bb9b5aedfcf080d7ee4941306911abd6b10bca7122a09ec5d4029c"),
    Repository("johnjaejunlee95/torch-unified-SAM-optimization",
               "db62e4c178958fe82557f4fe7cf82de93a9137e0",
               "UNIFIED_SAM_REPO", "src/sam_optim/LookSAM.py",
               "b6331712b6dd887773737cddf4651b46a184a45cd32f521f230947e2f149b76b"),
    Repository("melo-gonzo/physicsnemo",
               "3b1179b87cc702bfa6aced675dedcd9d75a492bd",
               "PHYSICSNEMO_REPO", "physicsnemo/experimental/optim/looksam.py",
               "e03e704b48281eec991bc0df7090f3e16fb7cffe10d13f74b3ff91cc21f3066a"),
]
BY_VARIABLE = {r.variable: r for r in REPOSITORIES}

# The problem: both sides have these numbers, which float32 holds.

SIZES = {"layer0": (16, 6), "layer1": (8, 16), "head": (3, 8)}
NAMES = [f"{layer}.{part}" for layer in SIZES for part in ("weight", "bias")]


def problem():
    """Three noisy classes, and a start with one bias of zero."""
    rng = np.random.default_rng(20220301)
    draw = lambda *shape: rng.integers(-128, 129, shape) / 64.0
    x = draw(80, 6)
    teacher = draw(6, 3)
    y = (x @ teacher + 1.5 * draw(80, 3)).argmax(axis=1)
    start = {}
    for layer, (rows, columns) in SIZES.items():
        start[f"{layer}.weight"] = draw(rows, columns) * (0.25 if layer == "layer0" else 0.125)
        start[f"{layer}.bias"] = draw(rows) / (8 if layer != "layer1" else math.inf)
    return x, y, start


X, Y, START = problem()
TRAIN = slice(0, 64)

# The transcription: loss and gradient by hand, base optimisers, and the papers' gradients.

erf = np.vectorize(math.erf, otypes=[np.float64])


def loss_and_gradient(w):
    x, y = X[TRAIN], Y[TRAIN]
    inputs, slopes = [], []
    h = x
    for layer in ("layer0", "layer1"):
        inputs.append(h)
        z = h @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]
        cumulative = 0.5 * (1 + erf(z / math.sqrt(2)))
        density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        slopes.append(cumulative + z * density)
        h = z * cumulative
    logits = h @ w["head.weight"].T + w["head.bias"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    d = np.exp(log_p)
    d[rows, y] -= 1
    d /= len(y)
    g = {"head.weight": d.T @ h, "head.bias": d.sum(axis=0)}
    d = d @ w["head.weight"]
    for i, layer in reversed(list(enumerate(("layer0", "layer1")))):
        d = d * slopes[i]
        g[f"{layer}.weight"] = d.T @ inputs[i]
        g[f"{layer}.bias"] = d.sum(axis=0)
        d = d @ w[f"{layer}.weight"]
    return -log_p[rows, y].mean(), {name: g[name] for name in NAMES}


def norm(tensors):
    return math.sqrt(sum(float((v * v).sum()) for v in tensors.values()))


def dot(a, b):
    return sum(float((a[n] * b[n]).sum()) for n in a)


def ratio(a, b):
    return a / b if b > 0 else 0.0


def rho_of(o, name, t):
    if "rho_min" in o:
        fall = ratio(lr_at(o, t) - o["lr_min"], o["lr_max"] - o["lr_min"])
        return o["rho_min"] + (o["rho_max"] - o["rho_min"]) * fall
    return o["group"][0]["rho"] if "group" in o and name.startswith("head.") else o["rho"]


def lr_at(o, t):
    return o["lr_max"] + (o["lr_min"] - o["lr_max"]) * t / STEPS


def layers(o):
    if o.get("layer") == "module":
        return [[n for n in NAMES if n.startswith(f"{layer}.")] for layer in SIZES]
    return [[n] for n in NAMES]


def perturbation(o, w, g, t):
    """epsilon: the way up from w."""
    whole = norm(g)
    if o["source"] == "asam":
        scaled = [n for n in NAMES if o["adapt"] == "all" or "weight" in n]
        by = {n: np.abs(w[n]) + o["eta"] if n in scaled else np.ones_like(w[n]) for n in NAMES}
        length = norm({n: by[n] * g[n] for n in NAMES})
        return {n: o["rho"] * by[n] ** 2 * g[n] / length for n in NAMES}
    if "layer_scale" not in o:
        return {n: rho_of(o, n, t) * g[n] / whole for n in NAMES}
    factor = {
        "weight_ratio": lambda wn, gn: ratio(wn, gn),
        "ratio_global": lambda wn, gn: ratio(wn, gn) / whole,
        "unit_layer": lambda wn, gn: ratio(1.0, gn),
        "double": lambda wn, gn: ratio(ratio(wn, gn), gn),
    }[o["layer_scale"]]
    result = {}
    for names in layers(o):
        by = factor(norm({n: w[n] for n in names}), norm({n: g[n] for n in names}))
        result |= {n: o["rho"] * by * g[n] for n in names}
    return result


def parts(o, tensors):
    """What is decomposed together: everything, or each layer."""
    if o.get("decompose") == "layer":
        return [{n: tensors[n] for n in names} for names in layers(o)]
    return [tensors]


class Source:
    def __init__(self, o):
        self.o, self.g_v, self.calls, self.losses = o, None, 0, []

    def loss_and_gradient(self, w):
        self.calls += 1
        return loss_and_gradient(w)

    def gradient(self, w, t):
        o = self.o
        loss, g = self.loss_and_gradient(w)
        self.losses.append(loss)
        if t % o.get("k", 1) == 0:
            e = perturbation(o, w, g, t)
            g_s = self.loss_and_gradient({n: w[n] + e[n] for n in NAMES})[1]
            if o["source"] == "gsam":
                along = dot(g, g_s) / dot(g_s, g_s)
                return {n: g_s[n] - o["alpha"] * (g[n] - along * g_s[n]) for n in NAMES}
            if o["source"] in ("looksam", "look_layersam"):
                self.g_v = {}
                for part in parts(o, g):
                    along = dot(part, {n: g_s[n] for n in part}) / dot(part, part)
                    self.g_v |= {n: g_s[n] - along * g[n] for n in part}
            return g_s
        if self.g_v is None:
            return g
        result = {}
        for part in parts(o, g):
            kept = {n: self.g_v[n] for n in part}
            length = norm(part) / (norm(kept) + o.get("reuse_eps", 0.0))
            result |= {n: g[n] + o["alpha"] * length * kept[n] for n in part}
        return result


def base_step(base, state, w, g, t, lr):
    if base["rule"] == "momentum":
        for n in NAMES:
            d = g[n] + base["weight_decay"] * w[n]
            state[n] = base["momentum"] * state[n] + d if n in state else d
            w[n] = w[n] - lr * state[n]
        return
    b1, b2 = base["beta1"], base["beta2"]
    for n in NAMES:
        m, v = state.get(n, (0.0, 0.0))
        m, v = b1 * m + (1 - b1) * g[n], b2 * v + (1 - b2) * g[n] ** 2
        state[n] = m, v
        root = np.sqrt(v / (1 - b2 ** (t + 1))) + base["eps"]
        decayed = w[n] * (1 - lr * base["weight_decay"])
        w[n] = decayed - lr * (m / (1 - b1 ** (t + 1))) / root


@dataclasses.dataclass
class Run:
    parameters: dict  # after a number of steps
    g_v: dict | None
    calls: int
    losses: list


def transcribed(base, options):
    source, state, w, records = Source(options), {}, dict(START), {}
    for t in range(STEPS):
        g = source.gradient(w, t)
        base_step(base, state, w, g, t, lr_at(options, t) if "lr_min" in options else base["lr"])
        if t + 1 in RECORDED:
            records[t + 1] = dict(w)
    return Run(records, source.g_v, source.calls, [*source.losses, loss_and_gradient(w)[0]])


# The oracles. Each is made with a training, the base optimiser and the options, and has a step of
# t, the direction that it keeps, and its name; `eps` is what it adds to norms for all that is done
# here.

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for layer, (rows, columns) in SIZES.items():
            setattr(self, layer, torch.nn.Linear(columns, rows, dtype=torch.float64))
        with torch.no_grad():
            for name, p in self.named_parameters():
                p.copy_(torch.from_numpy(START[name]))

    def forward(self, x):
        gelu = torch.nn.functional.gelu
        return self.head(gelu(self.layer1(gelu(self.layer0(x)))))


class Training:
    """A network with its data; backward() leaves the gradient of the loss."""

    def __init__(self):
        self.model = Network()
        self.x, self.y = torch.from_numpy(X[TRAIN]), torch.from_numpy(Y[TRAIN])
        self.calls = 0

    def loss(self):
        return torch.nn.functional.cross_entropy(self.model(self.x), self.y)

    def backward(self):
        self.calls += 1
        self.model.zero_grad()
        loss = self.loss()
        loss.backward()
        return loss

    def values(self):
        return {n: p.detach().numpy().copy() for n, p in self.model.named_parameters()}

    def by_name(self, of):
        return {n: of(n, i, p).numpy().copy()
                for i, (n, p) in enumerate(self.model.named_parameters())}


def torch_base(base):
    """Class and arguments."""
    if base["rule"] == "momentum":
        return torch.optim.SGD, {"lr": base["lr"], "momentum": base["momentum"],
                                 "weight_decay": base["weight_decay"], "foreach": False}
    return torch.optim.AdamW, {"lr": base["lr"], "betas": (base["beta1"], base["beta2"]),
                               "eps": base["eps"], "weight_decay": base["weight_decay"],
                               "foreach": False}


def made_base(training, base):
    make, arguments = torch_base(base)
    return make(training.model.parameters(), **arguments)


def without(eps, make):
    """A class whose norm is less by what it is going to add."""
    class Exact(make):
        def _grad_norm(self):
            return super()._grad_norm() - eps
    return Exact


class Davda54:
    """SAM, and every k-th step of it; the parts of its step are called, as its README does."""
    repository, call = "SAM_REPO", lambda o: "SAM"
    eps = {}

    def __init__(self, training, base, o):
        self.training, self.k = training, o.get("k", 1)
        make, arguments = torch_base(base)
        named = list(training.model.named_parameters())
        head = [p for n, p in named if n.startswith("head.")]
        rest = [p for n, p in named if not n.startswith("head.")]
        groups = [{"params": rest}, {"params": head, "rho": rho_of(o, "head.", 0)}]
        self.sam = without(1e-12, BY_VARIABLE["SAM_REPO"].module().SAM)(
            groups, make, rho=o["rho"], adaptive=o["source"] == "asam", **arguments)

    def step(self, t):
        self.training.backward()
        if t % self.k != 0:
            self.sam.base_optimizer.step()
            return
        self.sam.first_step(zero_grad=True)
        self.training.backward()
        self.sam.second_step(zero_grad=True)


class Samsung:
    """ASAM, and the SAM beside it."""
    repository, call = "ASAM_REPO", lambda o: "ASAM" if o["source"] == "asam" else "SAM"
    eps = {}

    def __init__(self, training, base, o):
        self.training, self.k = training, o.get("k", 1)
        self.base = made_base(training, base)
        module = BY_VARIABLE["ASAM_REPO"].module()
        self.minimizer = (module.ASAM(self.base, training.model, rho=o["rho"], eta=o["eta"])
                          if o["source"] == "asam" else
                          module.SAM(self.base, training.model, rho=o["rho"]))

    def step(self, t):
        self.training.backward()
        if t % self.k != 0:
            self.base.step()
            return
        self.minimizer.ascent_step()
        self.training.backward()
        self.minimizer.descent_step()


class Gsam:
    """perturb_eps, which is added to products of norms, is zero. A scheduled rho follows the rate,
    by ProportionScheduler. LinearScheduler is stepped once before: otherwise the largest rate is
    that of two steps, and the first rho belongs to a rate of zero."""
    repository, call = "GSAM_REPO", lambda o: "GSAM"
    eps = {}

    def __init__(self, training, base, o):
        BY_VARIABLE["GSAM_REPO"].module("gsam")
        import gsam
        self.training, self.base = training, made_base(training, base)
        if "rho_min" in o:
            self.lr_scheduler = gsam.LinearScheduler(
                T_max=STEPS, max_value=o["lr_max"], min_value=o["lr_min"], optimizer=self.base)
            self.lr_scheduler.step()
            rho = gsam.ProportionScheduler(self.lr_scheduler, max_lr=o["lr_max"],
                                           min_lr=o["lr_min"], max_value=o["rho_max"],
                                           min_value=o["rho_min"])
        else:
            self.lr_scheduler = None
            rho = gsam.LinearScheduler(T_max=STEPS, max_value=o["rho"], min_value=o["rho"])
        self.gsam = gsam.GSAM(training.model.parameters(), self.base, training.model, o["alpha"],
                              rho, perturb_eps=0.0)
        self.used = []

    def closure(self):
        with torch.enable_grad():
            return None, self.training.backward()

    def step(self, t):
        self.used.append((self.base.param_groups[0]["lr"], float(self.gsam.rho_t)))
        self.gsam.step(self.closure)
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        self.gsam.update_rho_t()


class Leminhbinh:
    """LookSAM. Its buffers of the gradient are made beforehand: at the first step the class fills a
    copy of them otherwise, and decomposes along the parameters."""
    repository, call = "LOOKSAM_REPO", lambda o: "LookSAM"
    eps = {}

    def __init__(self, training, base, o):
        self.training, self.k = training, o["k"]
        self.base = made_base(training, base)
        self.look = BY_VARIABLE["LOOKSAM_REPO"].module().LookSAM(
            self.base, training.model, rho=o["rho"], alpha=o["alpha"])
        self.look.perturb_eps = 0.0
        for name, p in training.model.named_parameters():
            self.look.state[name]["old_grad"] = torch.zeros_like(p)

    def step(self, t):
        refresh = t % self.k == 0
        self.training.backward()
        if refresh:
            self.look.ascent_step()
            self.training.backward()
        self.look.decompose_grad(refresh)
        if refresh:
            self.look.descent_step()
        self.base.step()

    def g_v(self):
        return self.training.by_name(lambda n, i, p: self.look.state[n]["vertical_grad"])


class PhysicsNemo:
    """LookSAM, and LookLayerSAM, which is unit_layer; both with k = 1 for the ones without Look."""
    repository = "PHYSICSNEMO_REPO"
    call = lambda o: "LookLayerSAM" if "layer_scale" in o else "LookSAM"
    eps = {}

    def __init__(self, training, base, o):
        module = BY_VARIABLE["PHYSICSNEMO_REPO"].module()
        make = module.LookLayerSAM if "layer_scale" in o else module.LookSAM
        self.training = training
        self.look = make(training.model.parameters(), made_base(training, base), rho=o["rho"],
                         alpha=o.get("alpha", 0.0), k=o.get("k", 1), eps=0.0)

    def step(self, t):
        self.look.step(self.training.backward)

    def g_v(self):
        return self.training.by_name(lambda n, i, p: self.look.state[p]["g_v"])


class Unified:
    """LookSAM, and its layer-wise form, which is double. It counts steps from 1, from 0 here; its
    epsilon must be positive."""
    repository = "UNIFIED_SAM_REPO"
    call = lambda o: "LookSAM" + ("(layerwise=True)" if "layer_scale" in o else "")
    eps = {}

    def __init__(self, training, base, o):
        make, arguments = torch_base(base)
        self.training = training
        self.look = BY_VARIABLE["UNIFIED_SAM_REPO"].module().LookSAM(
            training.model.parameters(), make, rho=o["rho"], k=o.get("k", 1),
            alpha=o.get("alpha", 0.0), eps=1e-300, layerwise="layer_scale" in o, **arguments)
        self.look._step_count = -1

    def step(self, t):
        self.look.step(self.training.backward)

    def g_v(self):
        return self.training.by_name(lambda n, i, p: self.look.state[p]["gv"])


class Rollovd:
    """LookSAM of each tensor."""
    repository, call = "ROLLOVD_LOOKSAM_REPO", lambda o: "LookSAM"
    eps = {"reuse_eps": 1e-8}

    def __init__(self, training, base, o):
        make, arguments = torch_base(base)
        self.training, self.k = training, o["k"]
        self.look = without(1e-8, BY_VARIABLE["ROLLOVD_LOOKSAM_REPO"].module().LookSAM)(
            k=o["k"], alpha=o["alpha"], model=training.model, base_optimizer=make,
            criterion=torch.nn.functional.cross_entropy, rho=o["rho"], **arguments)

    def step(self, t):
        self.training.backward()
        self.training.calls += t % self.k == 0  # it takes the second gradient itself
        self.look.step(t, self.training.x, self.training.y)

    def g_v(self):
        return self.training.by_name(lambda n, i, p: self.look.state[f"gv_{i}"]["gv"].detach())


class Kozistr:
    """LookSAM of each tensor. Its step() would throw the first gradient away between refreshes, and
    take a second one; first_step() and second_step() do not. It takes the norm of everything in
    float32, whatever the gradients are, and is given another function for that."""
    repository, call = None, lambda o: "LookSAM"
    eps = {"reuse_eps": 1e-8}

    def __init__(self, training, base, o):
        make, arguments = torch_base(base)
        self.training, self.k = training, o["k"]
        arguments.pop("foreach")
        pytorch_optimizer.optimizer.sam.get_global_gradient_norm = self.squared_norm
        self.look = pytorch_optimizer.LookSAM(
            training.model.parameters(), make, rho=o["rho"], k=o["k"], alpha=o["alpha"],
            perturb_eps=0.0, foreach=False, **arguments)

    @staticmethod
    def squared_norm(groups, weight_adaptive):
        return sum(p.grad.square().sum() for group in groups for p in group["params"]).reshape(1)

    def step(self, t):
        self.training.backward()
        if t % self.k == 0:
            self.look.first_step(zero_grad=True)
            self.training.backward()
        self.look.second_step(zero_grad=True)

    def g_v(self):
        return self.training.by_name(lambda n, i, p: self.look.state[p]["gv"])


def trained(oracle, base, options):
    training = Training()
    losses, records = [training.loss().item()], {}
    driven = oracle(training, base, options)
    for t in range(STEPS):
        driven.step(t)
        losses.append(training.loss().item())
        if t + 1 in RECORDED:
            records[t + 1] = training.values()
    if "lr_min" in options:
        for t, (lr, rho) in enumerate(driven.used):
            assert math.isclose(lr, lr_at(options, t), rel_tol=1e-14), (t, lr)
            assert math.isclose(rho, rho_of(options, "", t), rel_tol=1e-14), (t, rho)
    keeps = options["source"] in ("looksam", "look_layersam")
    return Run(records, driven.g_v() if keeps else None, training.calls, losses)


# The cases.

SGD = {"rule": "momentum", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0}
DECAYED = {**SGD, "weight_decay": 0.01}
ADAMW = {"rule": "adamw", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
         "weight_decay": 0.01}


@dataclasses.dataclass
class Case:
    name: str
    base: dict
    options: dict
    oracles: list
    recorded: str = "oracle"


def sam(**more):
    return {"source": "sam", **more}


def look(k, alpha, rho=0.1, **more):
    return {"source": "looksam", "rho": rho, "k": k, "alpha": alpha, **more}


def layerwise(scale, rho, **more):
    return {"source": "look_layersam" if "k" in more else "layersam", "layer_scale": scale,
            "rho": rho, **more}


GLOBAL_LOOK = [Leminhbinh, PhysicsNemo, Unified]
CASES = [
    Case("sam_sgd_rho0.05", SGD, sam(rho=0.05), [Davda54, Samsung]),
    Case("sam_sgd_rho0.5", SGD, sam(rho=0.5), [Davda54, Samsung]),
    Case("sam_adamw_rho0.05", ADAMW, sam(rho=0.05), [Davda54, Samsung]),
    Case("sam_adamw_rho0.5", ADAMW, sam(rho=0.5), [Davda54, Samsung]),
    Case("sam_sgd_groups", DECAYED, sam(rho=0.05, group=[{"match": "head.*", "rho": 0.2}]),
         [Davda54]),
    Case("sam_k5_sgd", SGD, {"source": "sam_k", "rho": 0.05, "k": 5}, [Davda54, Samsung]),
    Case("asam_sgd", SGD, {"source": "asam", "rho": 0.5, "eta": 0.01, "adapt": "weights"},
         [Samsung]),
    Case("asam_all_sgd", SGD, {"source": "asam", "rho": 0.5, "eta": 0.0, "adapt": "all"},
         [Davda54]),
    Case("gsam_sgd", SGD, {"source": "gsam", "rho": 0.05, "alpha": 0.4}, [Gsam]),
    Case("gsam_sgd_scheduled", SGD, {"source": "gsam", "alpha": 0.4, "rho_min": 0.02,
                                     "rho_max": 0.2, "lr_min": 0.005, "lr_max": 0.05}, [Gsam]),
    Case("looksam_k5_alpha0.7", SGD, look(5, 0.7), GLOBAL_LOOK),
    Case("looksam_k5_alpha0.3", SGD, look(5, 0.3), GLOBAL_LOOK),
    Case("looksam_k2_alpha0.7", SGD, look(2, 0.7), GLOBAL_LOOK),
    Case("looksam_k2_alpha0.3", SGD, look(2, 0.3), GLOBAL_LOOK),
    Case("looksam_per_tensor_k5_alpha0.3", SGD, look(5, 0.3, decompose="layer"),
         [Kozistr, Rollovd], "transcription"),
    Case("layersam_weight_ratio", SGD, layerwise("weight_ratio", 0.01), [], "transcription"),
    Case("layersam_ratio_global", SGD, layerwise("ratio_global", 0.02), [], "transcription"),
    Case("layersam_unit_layer", SGD, layerwise("unit_layer", 0.05), [PhysicsNemo]),
    Case("layersam_double", SGD, layerwise("double", 0.002), [Unified]),
    Case("layersam_module", SGD, layerwise("weight_ratio", 0.01, layer="module"), [],
         "transcription"),
    Case("look_layersam_weight_ratio", SGD, layerwise("weight_ratio", 0.01, k=5, alpha=0.3), [],
         "transcription"),
    Case("look_layersam_unit_layer", SGD, layerwise("unit_layer", 0.05, k=5, alpha=0.3),
         [PhysicsNemo]),
    Case("look_layersam_double", SGD, layerwise("double", 0.002, k=5, alpha=0.3), [Unified]),
]


def far(a, b):
    """The largest difference in a tensor, over the largest value there."""
    return max(float(np.abs(a[n] - b[n]).max() / np.abs(b[n]).max()) for n in NAMES)


def difference(a, b):
    worst = max(far(a.parameters[s], b.parameters[s]) for s in RECORDED)
    return max(worst, far(a.g_v, b.g_v)) if a.g_v is not None else worst


def oracle_name(oracle, options):
    call = oracle.call(options)
    if oracle.repository is None:
        return f"pytorch-optimizer {importlib.metadata.version('pytorch-optimizer')} {call}"
    repository = BY_VARIABLE[oracle.repository]
    return f"{repository.name} {repository.commit[:7]} {call}"


def run_case(case):
    exact = transcribed(case.base, case.options)
    chosen = exact if case.recorded == "transcription" else None
    source, agreement = "transcription", []
    for oracle in case.oracles:
        name = oracle_name(oracle, case.options)
        theirs = trained(oracle, case.base, case.options)
        ours = transcribed(case.base, {**case.options, **oracle.eps})
        off = difference(theirs, ours)
        print(f"{case.name:32} {name:78} {off:.1e}")
        assert off < BOUND
        assert theirs.calls == ours.calls == exact.calls
        agreement.append({"oracle": name, **oracle.eps, "difference": off})
        if chosen is None:
            chosen, source = theirs, name
    tensors = {f"step{s}/{n}": chosen.parameters[s][n] for s in RECORDED for n in NAMES}
    if chosen.g_v is not None:
        tensors |= {f"g_v/{n}": chosen.g_v[n] for n in NAMES}
    safetensors.numpy.save_file(tensors, FOLDER / f"{case.name}.safetensors")
    entry = {"name": case.name, "from": source, "base": case.base, "options": case.options,
             "gradients": chosen.calls, "loss": [chosen.losses[s] for s in [0, *RECORDED]],
             "agrees": agreement}
    if "lr_min" in case.options:
        entry["lr"] = [lr_at(case.options, t) for t in range(STEPS)]
        entry["rho"] = [rho_of(case.options, "", t) for t in range(STEPS)]
    return entry


def write_problem():
    test = slice(TRAIN.stop, None)
    safetensors.numpy.save_file(
        {"train/x": X[TRAIN].astype(np.float32), "train/y": Y[TRAIN].astype(np.int64),
         "test/x": X[test].astype(np.float32), "test/y": Y[test].astype(np.int64)},
        FOLDER / "data.safetensors")
    safetensors.numpy.save_file({n: v.astype(np.float32) for n, v in START.items()},
                                FOLDER / "init.safetensors")


def set_up_torch():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # some keep scalars in the default type


def main():
    set_up_torch()
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_problem()
    entries = [run_case(case) for case in CASES]
    head = {"versions": {p: importlib.metadata.version(p) for p in PACKAGES},
            "repositories": [{"name": r.name, "commit": r.commit, "file": r.path,
                              "sha256": r.sha256} for r in REPOSITORIES],
            "steps": STEPS, "recorded": RECORDED}
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    lines = [f"{compact(k)}:{compact(v)}" for k, v in head.items()]
    lines.append('"cases":[\n' + ",\n".join(map(compact, entries)) + "]")
    (FOLDER / "cases.json").write_text("{\n" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
