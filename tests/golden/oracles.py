"""The implementations that golden trajectories come from, and the cases of every rule.

A rule needs an entry in RULES: its oracles, of which the first is recorded and the others must
agree with it, and at least four cases, the first of them with every default. An option that a case
does not name has its default, the oracle's on one side and Kudari's on the other. Nothing here may
be computed by Kudari. DEVIATIONS.md says where an oracle is not what its name promises.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import sys
import types

os.environ["KERAS_BACKEND"] = "torch"
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # nanochat's function is compiled otherwise
import adabelief_pytorch
import jax
import keras
import lion_pytorch
import optax
import optax.contrib
import schedulefree
import timm.optim
import torch
import transformers

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")
torch.set_default_dtype(torch.float64)


def named(package, what):
    return f"{package} {importlib.metadata.version(package)} {what}"


class Torch:
    """An optimiser of torch's kind: one for all tensors, which leaves those without a gradient, or,
    if `each`, one for each tensor, because it counts steps together or does not leave any.

    `make` is called with `fixed` and the translated options; `read` makes Kudari's state, by name,
    out of an optimiser, a parameter and its state, and `evaluated` what is to be evaluated;
    `excluded` are the options of tensors that a case says not to adapt; `what` is its name where
    `make` is not a class of the package.
    """

    def __init__(self, package, make, translate=lambda options: options, each=False, read=None,
                 evaluated=None, excluded=None, skips=(), what=None, **fixed):
        self.package, self.make, self.translate, self.fixed = package, make, translate, fixed
        self.what = what
        self.each, self.excluded, self.skips = each, excluded, skips
        self.read = read or (lambda optimizer, p, state: {
            k: v for k, v in state.items() if k != "step" and torch.is_tensor(v)})
        self.evaluated = evaluated

    def name(self):
        flags = ", ".join(f"{k}={v}" for k, v in self.fixed.items() if k != "foreach")
        call = self.make.__name__ + (f"({flags})" if flags else "")
        return named(self.package, self.what or call)

    def start(self, tensors, options):
        return TorchRun(self, tensors, options)


class TorchRun:
    def __init__(self, oracle, tensors, options):
        self.oracle = oracle
        self.parameters = [torch.tensor(p).reshape(shape).requires_grad_() for p, shape in tensors]
        groups = [[p] for p in self.parameters] if oracle.each else [self.parameters]
        self.optimizers = [oracle.make(group, **self.all(options, i))
                           for i, group in enumerate(groups)]
        for optimizer in self.optimizers:
            getattr(optimizer, "train", lambda: None)()

    def all(self, options, i):
        given = {k: v for k, v in options.items() if k != "no_adapt"}
        of_all = {**self.oracle.fixed, **self.oracle.translate(given)}
        return {**of_all, **self.oracle.excluded} if excludes(options, i) else of_all

    def step(self, gradients, options, estimates):
        for p, g in zip(self.parameters, gradients):
            p.grad = None if g is None else torch.tensor(g).reshape(p.shape)
        for i, optimizer in enumerate(self.optimizers):
            optimizer.param_groups[0].update(self.all(options, i))
            if not self.oracle.each or gradients[i] is not None:
                optimizer.step()

    def param(self, i):
        return self.parameters[i].detach().flatten().tolist()

    def of(self, i):
        optimizer = self.optimizers[i if self.oracle.each else 0]
        return optimizer, self.parameters[i].detach(), optimizer.state[self.parameters[i]]

    def state(self, i):
        return {slot: torch.as_tensor(v).flatten().tolist()
                for slot, v in self.oracle.read(*self.of(i)).items()}

    def evaluated(self, i):
        read = self.oracle.evaluated
        return None if read is None else read(*self.of(i)).flatten().tolist()


class Transcribed:
    """A paper's or an author's formulas, written out here, where no package can be trusted with
    them: step(p, g, state, t, options) returns the new p and changes the state, as does
    curvature(state, estimate, options)."""

    def __init__(self, what, step, curvature=None):
        self.what, self.update, self.curvature, self.skips = what, step, curvature, ()

    def name(self):
        return self.what + ", written out in oracles.py"

    def start(self, tensors, options):
        return TranscribedRun(self, tensors)


class Called(Transcribed):
    """A function of a package, called for one tensor."""

    def name(self):
        return self.what


class TranscribedRun:
    def __init__(self, oracle, tensors):
        self.oracle = oracle
        self.values = [torch.tensor(p).reshape(shape) for p, shape in tensors]
        self.states = [{} for _ in tensors]
        self.updates = [0] * len(tensors)

    def step(self, gradients, options, estimates):
        for i, g in enumerate(gradients):
            if g is None:
                continue
            self.updates[i] += 1
            p = self.values[i]
            given = {**options, "adapt": not excludes(options, i)}
            self.values[i] = self.oracle.update(p, torch.tensor(g).reshape(p.shape),
                                                self.states[i], self.updates[i], given)
            if estimates[i] is not None:
                self.oracle.curvature(self.states[i], torch.tensor(estimates[i]).reshape(p.shape),
                                      options)

    def param(self, i):
        return self.values[i].flatten().tolist()

    def state(self, i):
        return {slot: v.flatten().tolist() for slot, v in self.states[i].items()}

    def evaluated(self, i):
        return None


class Keras:
    """An optimiser of Keras over torch tensors: one for each tensor, so that a tensor without a
    gradient can be left. Its own weight decay is decoupled; coupled decay is added here. Only the
    learning rate and the decay may be schedules. `rename` says what Keras calls Kudari's options,
    `slots` what Kudari calls Keras' lists of buffers; `defaults` are those that Keras has not."""

    def __init__(self, make, rename, slots, defaults):
        self.make, self.rename, self.slots, self.defaults = make, rename, slots, defaults
        self.skips = ()

    def name(self):
        return named("keras", self.make.__name__)

    def start(self, tensors, options):
        return KerasRun(self, tensors, options)


class KerasRun:
    def __init__(self, oracle, tensors, options):
        self.oracle = oracle
        given = {oracle.rename.get(k, k): v for k, v in {**oracle.defaults, **options}.items()
                 if k != "weight_decay"}
        self.variables = [keras.Variable(torch.tensor(p).reshape(shape))
                          for p, shape in tensors]
        self.optimizers = [oracle.make(**given) for _ in tensors]
        for optimizer, v in zip(self.optimizers, self.variables):
            optimizer.build([v])

    def step(self, gradients, options, estimates):
        for optimizer, v, g in zip(self.optimizers, self.variables, gradients):
            if g is None:
                continue
            if "lr" in options:
                optimizer.learning_rate = options["lr"]
            value = v.value.detach()
            g = torch.tensor(g).reshape(value.shape)
            optimizer.apply([g + options.get("weight_decay", 0.0) * value])

    def param(self, i):
        return self.variables[i].value.detach().flatten().tolist()

    def state(self, i):
        return {slot: getattr(self.optimizers[i], theirs)[0].value.flatten().tolist()
                for theirs, slot in self.oracle.slots.items()}

    def evaluated(self, i):
        return None


class Optax:
    """A transformation of optax's, one for each tensor; `make` builds it from the options of every
    step, all of them: `defaults` fill in what a case leaves out. Weight decay that is not among
    these is coupled and added here. `read` makes Kudari's state, by name, out of the
    transformation's; without it the oracle can only confirm parameters."""

    def __init__(self, what, make, defaults, read=lambda state: {}):
        self.what, self.make, self.defaults, self.read, self.skips = what, make, defaults, read, ()

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
        of_rule = {**self.oracle.defaults, **options}
        return self.oracle.make(**{k: of_rule[k] for k in self.oracle.defaults})

    def step(self, gradients, options, estimates):
        transformation = self.transformation(options)
        own = "weight_decay" in self.oracle.defaults
        coupled = 0.0 if own else options.get("weight_decay", 0.0)
        for i, g in enumerate(gradients):
            if g is None:
                continue
            p = self.values[i]
            g = jax.numpy.array(g, dtype="float64").reshape(p.shape) + coupled * p
            more = {}
            if estimates[i] is not None:
                more["estimate"] = jax.numpy.array(estimates[i], dtype="float64").reshape(p.shape)
            updates, self.states[i] = transformation.update(g, self.states[i], p, **more)
            self.values[i] = optax.apply_updates(p, updates)

    def param(self, i):
        return self.values[i].flatten().tolist()

    def state(self, i):
        return {slot: v.flatten().tolist()
                for slot, v in self.oracle.read(self.states[i]).items()}

    def evaluated(self, i):
        return None


@dataclasses.dataclass
class Rule:
    oracles: list
    cases: dict
    curvature: bool = False  # takes estimates of the Hessian's diagonal
    matrices: bool = False  # takes no vectors


def betas(beta1, beta2):
    """Translates beta1 and beta2 to torch's pair."""
    def translate(options):
        rest = {k: v for k, v in options.items() if k not in ("beta1", "beta2")}
        return {**rest, "betas": (options.get("beta1", beta1), options.get("beta2", beta2))}
    return translate


def small(*decays, **options):
    """Cases of decays near zero, where a mean is almost the last value."""
    values = {"zero": 0.0, "a thousandth": 1e-3, "three tenths": 0.3}
    return {f"decays of {name}": {**options, **dict.fromkeys(decays, value)}
            for name, value in values.items()}


def torch_optim(make, translate=lambda options: options, **fixed):
    return Torch("torch", make, translate, foreach=False, **fixed)


class WholeSparseAdam(torch.optim.SparseAdam):
    """torch's SparseAdam, which takes sparse gradients alone and has no weight decay, for gradients
    of all rows with a coupled one."""

    def __init__(self, params, weight_decay=0.0, **options):
        super().__init__(params, **options)

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad + group.get("weight_decay", 0.0) * p.detach()
                rows = p.shape[:1].numel()
                indices = torch.arange(rows).expand(min(p.dim(), 1), rows)
                p.grad = torch.sparse_coo_tensor(indices, g if p.dim() else g[None], p.shape)
        super().step()


class DecayingRprop(torch.optim.Rprop):
    """torch's Rprop, which has no weight decay, with a coupled one."""

    def __init__(self, params, weight_decay=0.0, **options):
        super().__init__(params, **options)

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = p.grad + group.get("weight_decay", 0.0) * p.detach()
        super().step()


def rprop_options(options):
    """Translates to torch's pairs."""
    names = ("etaminus", "etaplus", "step_size_min", "step_size_max")
    given = {"etaminus": 0.5, "etaplus": 1.2, "step_size_min": 1e-6, "step_size_max": 50.0,
             **options}
    minus, plus, least, most = (given[name] for name in names)
    rest = {k: v for k, v in options.items() if k not in names}
    return {"etas": (minus, plus), "step_sizes": (least, most), **rest}


def irprop(p, g, state, t, options):
    """Igel & Huesken, Improving the Rprop Learning Algorithm, iRprop-, element by element."""
    g = (g + options.get("weight_decay", 0.0) * p).flatten().tolist()
    x, n = p.flatten().tolist(), p.numel()
    before = state.get("prev", torch.zeros(n)).flatten().tolist()
    sizes = state.get("step_size", torch.full((n,), options.get("lr", 0.01))).flatten().tolist()
    least, most = options.get("step_size_min", 1e-6), options.get("step_size_max", 50.0)
    for i in range(n):
        if before[i] * g[i] > 0:
            sizes[i] *= options.get("etaplus", 1.2)
        elif before[i] * g[i] < 0:
            sizes[i] *= options.get("etaminus", 0.5)
            g[i] = 0.0
        sizes[i] = min(max(sizes[i], least), most)
        x[i] -= sizes[i] * ((g[i] > 0) - (g[i] < 0))
    state["prev"], state["step_size"] = torch.tensor(g), torch.tensor(sizes)
    return torch.tensor(x).reshape(p.shape)


def excludes(options, i):
    """Whether a case has the tensor neither adapted nor decayed: all but the first are vectors."""
    return "no_adapt" in options and i > 0


def z_minus_y(optimizer, p, state):
    """The state of the two schedule-free rules, out of that of the authors' classes."""
    group = optimizer.param_groups[0]
    rest = {k: v for k, v in state.items() if k == "exp_avg_sq"}
    return {"z_minus_y": state["z"] - p, "lr_max": group["lr_max"],
            "weight_sum": group["weight_sum"], **rest}


def lars(p, g, state, t, options):
    """You, Gitman & Ginsburg, arXiv:1708.03888, Algorithm 1; the ratio is one where it is 0 / 0 or
    where the parameter is zero."""
    lr, momentum = options.get("lr", 0.1), options.get("momentum", 0.9)
    decay = options.get("weight_decay", 1e-4) if options["adapt"] else 0.0
    p_norm, g_norm = p.norm(), g.norm()
    ratio = 1.0
    if options["adapt"] and p_norm > 0 and g_norm > 0:
        ratio = options.get("trust", 1e-3) * p_norm / (g_norm + decay * p_norm)
    v = momentum * state.get("momentum_buffer", torch.zeros_like(p)) + lr * ratio * (g + decay * p)
    state["momentum_buffer"] = v
    return p - v


def sophia(p, g, state, t, options):
    """SophiaG of the authors' repository, without its loops."""
    beta1, lr = options.get("beta1", 0.965), options.get("lr", 1e-4)
    m = state.get("exp_avg", torch.zeros_like(p))
    h = state.setdefault("hessian", torch.zeros_like(p))
    state["exp_avg"] = beta1 * m + (1 - beta1) * g
    p = p * (1 - lr * options.get("weight_decay", 0.1))
    bounded = state["exp_avg"].abs() / (
        options.get("rho", 0.04) * options.get("batch_size", 5120.0) * h
        + options.get("eps", 1e-15))
    return p - lr * state["exp_avg"].sign() * bounded.clamp(max=1.0)


def sophia_curvature(state, estimate, options):
    beta2 = options.get("beta2", 0.99)
    state["hessian"] = beta2 * state["hessian"] + (1 - beta2) * estimate * estimate


def contrib_sophia(options):
    """optax' Sophia with an estimate that is passed to update, where it is due."""
    def take(updates, state, params=None, estimate=None):
        return (updates if estimate is None else estimate), state

    given = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), take)
    lr, beta1, beta2, gamma, eps, weight_decay = options
    return optax.contrib.sophia(lr, beta1, beta2, eps, weight_decay, gamma=gamma,
                                hessian_diagonal_fn=given)


@jax.jit
def sophia_update(options, updates, state, params, more):
    return contrib_sophia(options).update(updates, state, params, **more)


def optax_sophia(lr, beta1, beta2, gamma, eps, weight_decay):
    options = (lr, beta1, beta2, gamma, eps, weight_decay)
    return optax.GradientTransformationExtraArgs(
        contrib_sophia(options).init,
        lambda updates, state, params, **more: sophia_update(options, updates, state, params, more))


def optax_adabelief(lr, beta1, beta2, eps, weight_decay):
    return optax.chain(optax.scale_by_belief(beta1, beta2, eps, eps),
                       optax.add_decayed_weights(weight_decay),
                       optax.scale_by_learning_rate(lr))


def lamb_options(options):
    return {"weight_decay": 0.01, **betas(0.9, 0.999)(options)}


def timm_lars(trust=1e-3, skips=(), **fixed):
    def translate(options):
        rest = {k: v for k, v in options.items() if k != "trust"}
        return {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
                "trust_coeff": options.get("trust", trust), **rest}
    return Torch("timm", timm.optim.Lars, translate, each=True, skips=skips,
                 excluded={"weight_decay": 0.0, "always_adapt": False}, eps=0.0, always_adapt=True,
                 foreach=False, **fixed)


class PaperAdafactor(transformers.Adafactor):
    """transformers' Adafactor(relative_step=True) with lr for its largest relative step, 0.01."""

    @staticmethod
    def _get_lr(group, state):
        return min(group["lr"], state["step"] ** -0.5) * max(group["eps"][1], state["RMS"])


def adafactor_options(eps1, names):
    def translate(options):
        rest = {names.get(k, k): v for k, v in options.items() if k not in ("eps1", "eps2")}
        eps = (options.get("eps1", eps1), options.get("eps2", 1e-3))
        return {"lr": 0.01, "eps": eps, **rest}
    return translate


def adafactor_state(optimizer, p, state):
    names = {"exp_avg_sq_row": "row_var", "exp_avg_sq_col": "col_var", "exp_avg_sq": "variance"}
    return {names[k]: v for k, v in state.items() if k in names}


ADAFACTOR_CASES = {
    "defaults": {},
    "weight decay": {"lr": 0.1, "weight_decay": 0.1, "eps2": 0.1},
    "clipped": {"lr": 0.05, "d": 0.3, "eps1": 1e-4, "beta2_decay": -0.5},
    "schedules": {"lr": "0.1 * warmup(10) * cosine(400, 0.1)",
                  "weight_decay": "0.3 * linear(60, 0.2)"},
}


def muon_options(options, **defaults):
    return {"lr": 0.02, "weight_decay": 0.0, "momentum": 0.95, "ns_steps": 5, **defaults, **options}


def torch_muon(adjust_lr_fn, **defaults):
    """torch's Muon without its cast to bfloat16."""
    def step(p, g, state, t, options):
        given = muon_options(options, **defaults)
        del given["adapt"]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(p))
        p = p.clone()
        cast, torch.Tensor.bfloat16 = torch.Tensor.bfloat16, lambda x: x
        try:
            torch.optim._muon.muon([p], [g], [buffer], nesterov=True, eps=1e-7,
                                   ns_coefficients=(3.4445, -4.7750, 2.0315),
                                   adjust_lr_fn=adjust_lr_fn, has_complex=False,
                                   **{**given, "ns_steps": int(given["ns_steps"])})
        finally:
            torch.Tensor.bfloat16 = cast
        return p

    return Called(named("torch", f"Muon(adjust_lr_fn={adjust_lr_fn}) in float64"), step)


POLAR_EXPRESS = [  # of five iterations, as in nanochat
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
]


def timm_muon(adjust_lr_fn, coefficients=((3.4445, -4.7750, 2.0315),), safety_factor=1.0,
              **defaults):
    """timm's Muon without its cast to bfloat16."""
    from timm.optim import muon
    iterate = muon.zeropower_via_newtonschulz

    def step(p, g, state, t, options):
        given = muon_options(options, **defaults)
        del given["adapt"]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(p))
        p = p.clone()
        muon.zeropower_via_newtonschulz = lambda *a, **k: iterate(
            *a, **{**k, "dtype": torch.float64})
        try:
            muon.muon([p], [g], [buffer], nesterov=True, eps=1e-7,
                      ns_coefficients=list(coefficients), safety_factor=safety_factor,
                      adjust_lr_fn=adjust_lr_fn, conv_mode="flatten", normalize_spatial=False,
                      scale_eps=False, **{**given, "ns_steps": int(given["ns_steps"])})
        finally:
            muon.zeropower_via_newtonschulz = iterate
        return p

    return Called(named("timm", f"muon(adjust_lr_fn={adjust_lr_fn}) in float64"), step)


def nanochat_muon():
    """nanochat's muon_step_fused, out of the file nanochat/optim.py of commit 92d63d4 that the
    environment variable NANOCHAT_OPTIM names: nanochat is not a package."""
    def step(p, g, state, t, options):
        fused = nanochat_muon_step()
        rows, cols = p.shape
        given = {"lr": 0.02, "momentum": 0.95, "beta2": 0.9, "weight_decay": 0.0, "ns_steps": 5,
                 **options}
        by_rows = rows >= cols
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(p))
        second = state.setdefault("second_momentum_buffer", torch.zeros(max(rows, cols)))
        stacked = p.clone()[None]
        # The function takes float() for a cast up; here it would be one down.
        cast, torch.Tensor.float = torch.Tensor.float, lambda x: x
        try:
            fused(g.clone()[None], stacked, buffer[None],
                  second.view(1, rows, 1) if by_rows else second.view(1, 1, cols),
                  torch.tensor(given["momentum"]),
                  torch.tensor(given["lr"] * max(1.0, rows / cols) ** 0.5),
                  torch.tensor(given["weight_decay"]), torch.tensor(given["beta2"]),
                  int(given["ns_steps"]), -1 if by_rows else -2)
        finally:
            torch.Tensor.float = cast
        return stacked[0]

    return Called("nanochat 92d63d4 muon_step_fused in float64", step)


@functools.cache
def nanochat_muon_step():
    common = types.ModuleType("nanochat.common")
    common.COMPUTE_DTYPE = torch.float64
    sys.modules["nanochat"] = types.ModuleType("nanochat")
    sys.modules["nanochat.common"] = common
    path = os.environ.get("NANOCHAT_OPTIM")
    if path is None:
        sys.exit("normuon needs NANOCHAT_OPTIM=nanochat/optim.py of nanochat's commit 92d63d4")
    spec = importlib.util.spec_from_file_location("nanochat.optim", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.muon_step_fused


MUON_CASES = {
    "defaults": {},
    "weight decay": {"lr": 0.01, "weight_decay": 0.1},
    "little momentum": {"lr": 0.01, "momentum": 0.5, "ns_steps": 3},
    "schedules": {"lr": "0.05 * warmup(10) * cosine(400, 0.1)",
                  "momentum": "0.85 * linear(300, 1.1)", "weight_decay": "0.3 * linear(60, 0.2)"},
}


LARS_CASES = {
    "defaults": {},
    "weight decay": {"lr": 0.3, "weight_decay": 0.1, "trust": 0.01},
    "little momentum": {"lr": 0.3, "momentum": 0.3, "weight_decay": 0.0, "trust": 0.1},
    "vectors left alone": {"lr": 0.1, "weight_decay": 0.1, "no_adapt": ["bias", "norm"]},
    "schedules": {"lr": "1.0 * warmup(10) * cosine(400, 0.1)", "trust": 0.02,
                  "weight_decay": "0.3 * linear(60, 0.2)"},
}


RULES = {
    "sgd": Rule([
        torch_optim(torch.optim.SGD),
        Optax("sgd", lambda lr: optax.sgd(lr), {"lr": 1e-3}),
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
        Optax("sgd(nesterov=True)",
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
        Optax("adagrad",
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
    "adadelta": Rule([
        torch_optim(torch.optim.Adadelta),
        Optax("adadelta", lambda lr, rho, eps: optax.adadelta(lr, rho, eps),
              {"lr": 1.0, "rho": 0.9, "eps": 1e-6}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.5, "weight_decay": 0.1},
        "short memory": {"rho": 0.5, "eps": 1e-3},
        **small("rho", lr=0.5, eps=1e-4),
        "schedules": {"lr": "2 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "rho": "0.95 * linear(60, 0.9)"},
    }),
    "rmsprop": Rule([
        torch_optim(torch.optim.RMSprop),
        Optax("rmsprop(eps_in_sqrt=False)",
                 lambda lr, alpha, eps: optax.rmsprop(lr, alpha, eps, eps_in_sqrt=False),
                 {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.1},
        "short memory": {"lr": 0.003, "alpha": 0.7, "eps": 1e-3},
        **small("alpha", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "alpha": "0.99 * linear(60, 0.9)"},
    }),
    "rmsprop_inside": Rule([
        Keras(keras.optimizers.RMSprop,
              {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"},
              {"_velocities": "square_avg"}, {"lr": 1e-2}),
        Optax("rmsprop",
                 lambda lr, alpha, eps: optax.rmsprop(lr, alpha, eps),
                 {"lr": 1e-2, "alpha": 0.9, "eps": 1e-7}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.1},
        "long memory": {"lr": 0.003, "alpha": 0.99, "eps": 1e-3},
        **small("alpha", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "rmsprop_momentum": Rule([
        torch_optim(torch.optim.RMSprop, lambda o: {"momentum": 0.9, **o}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.001, "weight_decay": 0.1},
        "short memory": {"lr": 0.001, "alpha": 0.7, "eps": 1e-3, "momentum": 0.5},
        **small("alpha", lr=0.003, eps=1e-4, momentum=0.5),
        "schedules": {"lr": "0.002 * warmup(10) * cosine(400, 0.1)", "eps": 1e-5,
                      "momentum": "0.95 * linear(60, 0.8)"},
    }),
    "rmsprop_centered": Rule([
        torch_optim(torch.optim.RMSprop, centered=True),
        Optax("rmsprop(centered=True, eps_in_sqrt=False)",
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
        Optax("adam",
                 lambda lr, beta1, beta2, eps: optax.adam(lr, beta1, beta2, eps),
                 {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "adamw": Rule([
        torch_optim(torch.optim.AdamW, betas(0.9, 0.999)),
        Optax("adamw",
                 lambda lr, beta1, beta2, eps, weight_decay:
                 optax.adamw(lr, beta1, beta2, eps, weight_decay=weight_decay),
                 {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
    "amsgrad": Rule([torch_optim(torch.optim.Adam, betas(0.9, 0.999), amsgrad=True)], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3, "beta2": 0.9,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "adamax": Rule([
        torch_optim(torch.optim.Adamax, betas(0.9, 0.999)),
        Optax("adamax",
                 lambda lr, beta1, beta2, eps: optax.adamax(lr, beta1, beta2, eps),
                 {"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "adabelief": Rule([
        Torch("adabelief-pytorch", adabelief_pytorch.AdaBelief, betas(0.9, 0.999),
              what="AdaBelief(rectify=False)", rectify=False, print_change_log=False),
        Optax("scale_by_belief, decoupled decay", optax_adabelief,
              {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-16, "weight_decay": 0.0}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
    "sparse_adam": Rule([
        Torch("torch", WholeSparseAdam, betas(0.9, 0.999), what="SparseAdam, for whole gradients"),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3},
        "no first moment": {"lr": 0.003, "beta1": 0.0, "beta2": 0.95, "eps": 0.1},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "asgd": Rule([
        torch_optim(torch.optim.ASGD, evaluated=lambda optimizer, p, state: state["ax"]),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.05, "weight_decay": 0.1},
        "averaged": {"lr": 0.05, "lambd": 0.1, "alpha": 0.5, "t0": 20.0},
        "averaged at once": {"lr": 0.05, "lambd": 1e-3, "alpha": 1.0, "t0": 0.0},
        "schedules": {"lr": "0.1 * warmup(10) * cosine(400, 0.1)", "t0": 100.5,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "rprop": Rule([
        torch_optim(DecayingRprop, rprop_options, what="Rprop, with a coupled weight decay"),
        Transcribed("iRprop- of Igel and Huesken", irprop),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.05, "weight_decay": 0.1},
        "factors": {"lr": 0.1, "etaminus": 0.3, "etaplus": 1.5},
        "bounds": {"lr": 0.5, "step_size_min": 1e-3, "step_size_max": 0.2},
        "schedules": {"lr": "0.1 * warmup(10) * cosine(400, 0.1)",
                      "etaplus": "1.1 * linear(60, 1.2)",
                      "step_size_max": "0.5 * linear(300, 0.1)"},
    }),
    "radam": Rule([torch_optim(torch.optim.RAdam, betas(0.9, 0.999))], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "never rectified": {"lr": 0.01, "beta1": 0.4, "beta2": 0.6},
        "large epsilon": {"lr": 0.01, "beta2": 0.95, "eps": 1e-3},
        **small("beta1", "beta2", lr=0.003),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "lion": Rule([
        Torch("lion-pytorch", lion_pytorch.Lion, betas(0.9, 0.99)),
        Torch("timm", timm.optim.Lion, betas(0.9, 0.99), foreach=False),
        Optax("lion",
                 lambda lr, beta1, beta2, weight_decay:
                 optax.lion(lr, beta1, beta2, weight_decay=weight_decay),
                 {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 1.0},
        "betas": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7},
        **small("beta1", "beta2", lr=0.003),
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.3 * linear(60, 0.2)", "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "nadam": Rule([torch_optim(torch.optim.NAdam, betas(0.9, 0.999))], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3,
                              "momentum_decay": 1.0},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "beta1": "0.95 * linear(60, 0.9)"},
    }),
    "schedule_free_adamw": Rule([
        Torch("schedulefree", schedulefree.AdamWScheduleFreeReference, betas(0.9, 0.999), each=True,
              read=z_minus_y, evaluated=lambda optimizer, p, state: state["x"]),
        Torch("schedulefree", schedulefree.AdamWScheduleFree, betas(0.9, 0.999), each=True,
              foreach=False),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1},
        "weights": {"lr": 0.01, "beta1": 0.6, "beta2": 0.95, "eps": 1e-3, "r": 1.0,
                    "weight_lr_power": 0.5},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)", "eps": 1e-3,
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "schedule_free_sgd": Rule([
        Torch("schedulefree", schedulefree.SGDScheduleFreeReference, lambda o: {"lr": 1.0, **o},
              each=True, read=z_minus_y, evaluated=lambda optimizer, p, state: state["x"]),
        Torch("schedulefree", schedulefree.SGDScheduleFree, lambda o: {"lr": 1.0, **o}, each=True,
              foreach=False),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.1, "weight_decay": 0.1},
        "weights": {"lr": 0.1, "momentum": 0.6, "r": 1.0, "weight_lr_power": 0.5},
        "schedules": {"lr": "0.3 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.2 * linear(60, 0.5)"},
    }),
    "sophia": Rule([Transcribed("SophiaG of Liuhong99/Sophia", sophia, sophia_curvature)], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.5, "batch_size": 1000.0},
        "betas": {"lr": 0.003, "beta1": 0.5, "beta2": 0.9, "rho": 0.3, "batch_size": 100.0,
                  "weight_decay": 0.0},
        **small("beta1", "beta2", lr=0.003, batch_size=100.0),
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)",
                      "rho": "0.04 * linear(100, 0.3)", "weight_decay": "0.3 * linear(60, 0.2)"},
    }, curvature=True),
    "sophia_h": Rule([
        Optax("contrib.sophia", optax_sophia,
              {"lr": 1e-4, "beta1": 0.965, "beta2": 0.99, "gamma": 0.01, "eps": 1e-8,
               "weight_decay": 1e-4},
              lambda state: {"exp_avg": state[0].mu, "hessian": state[0].nu}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.003, "weight_decay": 0.5, "gamma": 1.0},
        "betas": {"lr": 0.003, "beta1": 0.5, "beta2": 0.9, "gamma": 0.3, "eps": 1e-2},
        **small("beta1", "beta2", lr=0.003, gamma=1.0),
        "schedules": {"lr": "0.01 * warmup(10) * cosine(400, 0.1)", "gamma": 1.0,
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }, curvature=True),
    "lamb": Rule([
        Torch("timm", timm.optim.Lamb, lamb_options, each=True, max_grad_norm=None,
              always_adapt=True, foreach=False),
        Optax("lamb", lambda lr, beta1, beta2, eps, weight_decay:
              optax.lamb(lr, beta1, beta2, eps, weight_decay=weight_decay),
              {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 1e-2}),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3,
                              "weight_decay": 0.0},
        **small("beta1", "beta2", lr=0.003, eps=1e-4),
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
    "lambc": Rule([
        Torch("timm", timm.optim.Lamb, lamb_options, each=True, max_grad_norm=None,
              always_adapt=True, trust_clip=True, foreach=False),
    ], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.5},
        "betas and epsilon": {"lr": 0.01, "beta1": 0.4, "beta2": 0.7, "eps": 1e-3,
                              "weight_decay": 0.0},
        "schedules": {"lr": "0.02 * warmup(10) * cosine(400, 0.1)",
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }),
    "lars": Rule([Transcribed("Algorithm 1 of arXiv:1708.03888", lars),
                  timm_lars(skips=("schedules",))], LARS_CASES),
    "lars_outside": Rule([timm_lars()], LARS_CASES),
    "lars_joint": Rule([
        Optax("lars", lambda lr, momentum, weight_decay, trust:
              optax.lars(lr, weight_decay, trust_coefficient=trust, momentum=momentum),
              {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "trust": 1e-3},
              lambda state: {"momentum_buffer": -state[3].trace}),
    ], {k: v for k, v in LARS_CASES.items() if "no_adapt" not in v}),
    "larc": Rule([timm_lars(trust=0.02, trust_clip=True)], LARS_CASES),
    "adafactor": Rule([
        Torch("transformers", PaperAdafactor, adafactor_options(
            1e-30, {"d": "clip_threshold", "beta2_decay": "decay_rate"}), read=adafactor_state,
              what="Adafactor, with any largest step", relative_step=False),
    ], ADAFACTOR_CASES),
    "adafactor_torch": Rule([
        torch_optim(torch.optim.Adafactor, adafactor_options(2.0**-23, {})),
    ], {**ADAFACTOR_CASES, "clipped": {"lr": 0.05, "d": 1.5, "eps1": 1e-4, "beta2_decay": -0.5}}),
    "muon": Rule([torch_muon("original"), timm_muon("original")], MUON_CASES, matrices=True),
    "muon_match_rms": Rule([
        torch_muon("match_rms_adamw", lr=1e-3, weight_decay=0.1),
        timm_muon("match_rms_adamw", lr=1e-3, weight_decay=0.1),
    ], MUON_CASES, matrices=True),
    "muon_rms_to_rms": Rule([timm_muon("rms_to_rms")], MUON_CASES, matrices=True),
    "muon_polar_express": Rule([timm_muon("original", POLAR_EXPRESS, 1.01)], MUON_CASES,
                               matrices=True),
    "normuon": Rule([nanochat_muon()], {
        "defaults": {},
        "weight decay": {"lr": 0.01, "weight_decay": 0.1, "beta2": 0.5},
        "little momentum": {"lr": 0.01, "momentum": 0.5, "ns_steps": 3},
        "schedules": {"lr": "0.05 * warmup(10) * cosine(400, 0.1)", "beta2": 0.99,
                      "momentum": "0.85 * linear(300, 1.1)",
                      "weight_decay": "0.3 * linear(60, 0.2)"},
    }, matrices=True),
}
