"""The implementations that golden trajectories come from, and the cases of every rule.

A rule needs an entry in RULES: its oracles, of which the first is recorded and the others must
agree with it, and at least four cases, the first of them with every default. An option that a case
does not name has its default, the oracle's on one side and Kudari's on the other. Nothing here may
be computed by Kudari. DEVIATIONS.md says where an oracle is not what its name promises.
"""

import dataclasses
import importlib.metadata
import os

os.environ["KERAS_BACKEND"] = "torch"
import jax
import keras
import lion_pytorch
import optax
import timm.optim
import torch

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")


def named(package, what):
    return f"{package} {importlib.metadata.version(package)} {what}"


class Torch:
    """An optimiser of torch's kind: one for all tensors, which leaves those without a gradient.

    `make` is called with `fixed` and the translated options; `slots` says how Kudari calls the
    buffers that the optimiser calls otherwise.
    """

    def __init__(self, package, make, translate=lambda options: options, slots=None, **fixed):
        self.package, self.make, self.fixed = package, make, fixed
        self.translate, self.slots = translate, slots or {}

    def name(self):
        flags = ", ".join(f"{k}={v}" for k, v in self.fixed.items() if k != "foreach")
        return named(self.package, self.make.__name__ + (f"({flags})" if flags else ""))

    def start(self, tensors, options):
        return TorchRun(self, tensors, options)


class TorchRun:
    def __init__(self, oracle, tensors, options):
        self.oracle = oracle
        self.parameters = [torch.tensor(p, dtype=torch.float64).reshape(shape).requires_grad_()
                           for p, shape in tensors]
        self.optimizer = oracle.make(self.parameters, **self.all(options))

    def all(self, options):
        return {**self.oracle.fixed, **self.oracle.translate(options)}

    def step(self, gradients, options):
        self.optimizer.param_groups[0].update(self.all(options))
        for p, g in zip(self.parameters, gradients):
            p.grad = None if g is None else torch.tensor(g, dtype=torch.float64).reshape(p.shape)
        self.optimizer.step()

    def param(self, i):
        return self.parameters[i].detach().flatten().tolist()

    def state(self, i):
        return {self.oracle.slots.get(k, k): v.flatten().tolist()
                for k, v in self.optimizer.state[self.parameters[i]].items()
                if k != "step" and torch.is_tensor(v)}


class Keras:
    """An optimiser of Keras over torch tensors: one for each tensor, so that a tensor without a
    gradient can be left. Its own weight decay is decoupled; coupled decay is added here. Only the
    learning rate and the decay may be schedules. `rename` says what Keras calls Kudari's options,
    `slots` what Kudari calls Keras' lists of buffers; `defaults` are those that Keras has not."""

    def __init__(self, make, rename, slots, defaults):
        self.make, self.rename, self.slots, self.defaults = make, rename, slots, defaults

    def name(self):
        return named("keras", self.make.__name__)

    def start(self, tensors, options):
        return KerasRun(self, tensors, options)


class KerasRun:
    def __init__(self, oracle, tensors, options):
        self.oracle = oracle
        given = {oracle.rename.get(k, k): v for k, v in {**oracle.defaults, **options}.items()
                 if k != "weight_decay"}
        self.variables = [keras.Variable(torch.tensor(p, dtype=torch.float64).reshape(shape))
                          for p, shape in tensors]
        self.optimizers = [oracle.make(**given) for _ in tensors]
        for optimizer, v in zip(self.optimizers, self.variables):
            optimizer.build([v])

    def step(self, gradients, options):
        for optimizer, v, g in zip(self.optimizers, self.variables, gradients):
            if g is None:
                continue
            if "lr" in options:
                optimizer.learning_rate = options["lr"]
            value = v.value.detach()
            g = torch.tensor(g, dtype=torch.float64).reshape(value.shape)
            optimizer.apply([g + options.get("weight_decay", 0.0) * value])

    def param(self, i):
        return self.variables[i].value.detach().flatten().tolist()

    def state(self, i):
        return {slot: getattr(self.optimizers[i], theirs)[0].value.flatten().tolist()
                for theirs, slot in self.oracle.slots.items()}


class Optax:
    """A transformation of optax's, one for each tensor; `make` builds it from the options of every
    step. Coupled weight decay is added here. Confirms parameters; has no state of Kudari's."""

    def __init__(self, what, make, coupled=True):
        self.what, self.make, self.coupled = what, make, coupled

    def name(self):
        return named("optax", self.what)

    def start(self, tensors, options):
        return OptaxRun(self, tensors, options)


class OptaxRun:
    def __init__(self, oracle, tensors, options):
        self.oracle = oracle
        self.values = [jax.numpy.array(p, dtype="float64").reshape(shape) for p, shape in tensors]
        self.states = [self.transformation(options).init(p) for p in self.values]

    def transformation(self, options):
        return self.oracle.make(**{k: v for k, v in options.items()
                                   if not (self.oracle.coupled and k == "weight_decay")})

    def step(self, gradients, options):
        transformation = self.transformation(options)
        for i, g in enumerate(gradients):
            if g is None:
                continue
            p = self.values[i]
            g = jax.numpy.array(g, dtype="float64").reshape(p.shape)
            if self.oracle.coupled:
                g = g + options.get("weight_decay", 0.0) * p
            updates, self.states[i] = transformation.update(g, self.states[i], p)
            self.values[i] = optax.apply_updates(p, updates)

    def param(self, i):
        return self.values[i].flatten().tolist()

    def state(self, i):
        return {}


@dataclasses.dataclass
class Rule:
    oracles: list
    cases: dict


def betas(beta1, beta2):
    """Translates beta1 and beta2 to torch's pair."""
    def translate(options):
        rest = {k: v for k, v in options.items() if k not in ("beta1", "beta2")}
        return {**rest, "betas": (options.get("beta1", beta1), options.get("beta2", beta2))}
    return translate


def torch_optim(make, translate=lambda options: options, **fixed):
    return Torch("torch", make, translate, foreach=False, **fixed)


def of_optax(what, make, defaults, coupled=True):
    """`make` takes Kudari's options, all of them: `defaults` fill in what a case leaves out."""
    return Optax(what, lambda **options: make(**{**defaults, **options}), coupled)


RULES = {
    "sgd": Rule([
        torch_optim(torch.optim.SGD),
        of_optax("sgd", lambda lr: optax.sgd(lr), {"lr": 1e-3}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.05, "weight_decay": 0.1},
        "large steps": {"lr": 0.75, "weight_decay": 0.01},
        "schedules": {"lr": "0.1 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "momentum": Rule([torch_optim(torch.optim.SGD, lambda o: {"momentum": 0.9, **o})], {
        "defaults": {},
        "weight decay": {"lr": 0.02, "weight_decay": 0.1},
        "dampening": {"lr": 0.1, "momentum": 0.99, "dampening": 0.7, "weight_decay": 0.01},
        "schedules": {"lr": "0.05 * warmup(10) * cosine(400, 0.1)",
                      "momentum": "0.95 * linear(60, 0.8)", "dampening": "0.5 * cosine(100, 0.5)"},
    }),
    "nesterov": Rule([
        torch_optim(torch.optim.SGD, lambda o: {"momentum": 0.9, **o}, nesterov=True),
        of_optax("sgd(nesterov=True)",
                 lambda lr, momentum: optax.sgd(lr, momentum, nesterov=True),
                 {"lr": 1e-3, "momentum": 0.9}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.02, "weight_decay": 0.1},
        "little momentum": {"lr": 0.3, "momentum": 0.3, "weight_decay": 0.01},
        "schedules": {"lr": "0.05 * warmup(10) * cosine(400, 0.1)",
                      "momentum": "0.95 * linear(60, 0.8)"},
    }),
    "adagrad": Rule([torch_optim(torch.optim.Adagrad)], {
        "defaults": {},
        "weight decay": {"lr": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1},
        "decaying": {"lr": 0.5, "lr_decay": 0.05, "eps": 1e-3},
        "schedules": {"lr": "0.2 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "adagrad_inside": Rule([
        Keras(keras.optimizers.Adagrad,
              {"lr": "learning_rate", "eps": "epsilon"}, {"_accumulators": "sum"},
              {"lr": 1e-2, "initial_accumulator_value": 0.0}),
        of_optax("adagrad",
                 lambda lr, eps, initial_accumulator_value:
                 optax.adagrad(lr, initial_accumulator_value, eps),
                 {"lr": 1e-2, "eps": 1e-7, "initial_accumulator_value": 0.0}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1},
        "large epsilon": {"lr": 0.5, "eps": 1e-3},
        "schedules": {"lr": "0.2 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "rmsprop": Rule([
        torch_optim(torch.optim.RMSprop),
        of_optax("rmsprop(eps_in_sqrt=False)",
                 lambda lr, alpha, eps: optax.rmsprop(lr, alpha, eps, eps_in_sqrt=False),
                 {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.1},
        "short memory": {"lr": 0.003, "alpha": 0.7, "eps": 1e-3},
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "alpha": "0.99 * linear(60, 0.9)"},
    }),
    "rmsprop_inside": Rule([
        Keras(keras.optimizers.RMSprop,
              {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"},
              {"_velocities": "square_avg"}, {"lr": 1e-2}),
        of_optax("rmsprop",
                 lambda lr, alpha, eps: optax.rmsprop(lr, alpha, eps),
                 {"lr": 1e-2, "alpha": 0.9, "eps": 1e-7}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.1},
        "long memory": {"lr": 0.003, "alpha": 0.99, "eps": 1e-3},
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "rmsprop_momentum": Rule([
        torch_optim(torch.optim.RMSprop, lambda o: {"momentum": 0.9, **o}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.001, "weight_decay": 0.1},
        "short memory": {"lr": 0.001, "alpha": 0.7, "eps": 1e-3, "momentum": 0.5},
        "schedules": {"lr": "0.002 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "momentum": "0.95 * linear(60, 0.8)"},
    }),
    "rmsprop_centered": Rule([
        torch_optim(torch.optim.RMSprop, centered=True),
        of_optax("rmsprop(centered=True, eps_in_sqrt=False)",
                 lambda lr, alpha, eps:
                 optax.rmsprop(lr, alpha, eps, centered=True, eps_in_sqrt=False),
                 {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.1},
        "short memory": {"lr": 0.003, "alpha": 0.7, "eps": 1e-3},
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "alpha": "0.99 * linear(60, 0.9)"},
    }),
    "rmsprop_centered_momentum": Rule([
        torch_optim(torch.optim.RMSprop, lambda o: {"momentum": 0.9, **o}, centered=True),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.001, "weight_decay": 0.1},
        "short memory": {"lr": 0.001, "alpha": 0.7, "eps": 1e-3, "momentum": 0.5},
        "schedules": {"lr": "0.002 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "momentum": "0.95 * linear(60, 0.8)"},
    }),
    "adam": Rule([
        torch_optim(torch.optim.Adam, betas(0.9, 0.999)),
        of_optax("adam",
                 lambda lr, beta1, beta2, eps: optax.adam(lr, beta1, beta2, eps),
                 {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "adamw": Rule([
        torch_optim(torch.optim.AdamW, betas(0.9, 0.999)),
        of_optax("adamw",
                 lambda lr, beta1, beta2, eps, weight_decay:
                 optax.adamw(lr, beta1, beta2, eps, weight_decay=weight_decay),
                 {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2},
                 coupled=False),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
    "amsgrad": Rule([torch_optim(torch.optim.Adam, betas(0.9, 0.999), amsgrad=True)], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3, "beta2": 0.9,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "radam": Rule([torch_optim(torch.optim.RAdam, betas(0.9, 0.999))], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "never rectified": {"lr": 0.01, "beta1": 0.4, "beta2": 0.6},
        "large epsilon": {"lr": 0.01, "beta2": 0.95, "eps": 1e-3},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "lion": Rule([
        Torch("lion-pytorch", lion_pytorch.Lion, betas(0.9, 0.99)),
        Torch("timm", timm.optim.Lion, betas(0.9, 0.99), foreach=False),
        of_optax("lion",
                 lambda lr, beta1, beta2, weight_decay:
                 optax.lion(lr, beta1, beta2, weight_decay=weight_decay),
                 {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}, coupled=False),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 1.0},
        "betas": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7},
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.3 * linear(60, 0.2)", "beta1": "0.95 * linear(60, 0.9)"},
    }),
}
