#!/usr/bin/env python3
"""Runs what is said about the sharpness-aware implementations that Kudari is compared with.

    python3 tests/golden/sharpness_bugs.py

Needs what make_sharpness.py needs, and LOOKSAM_WISE_REPO. Prints the table of DEVIATIONS.md.
"""

import copy
import importlib.metadata
import importlib.util
import math
import os
import pathlib

from make_sharpness import BY_VARIABLE, Repository, Training
import pytorch_optimizer
import torch

WISE = Repository("EnderDragonzy/looksam_wise_layer", "81be105810c5fb4266193c909726b16ee254356f",
                  "LOOKSAM_WISE_REPO", "looksam_wise_layer.py",
                  "8df1cb1ab771dffe47925fc9c698110c95236f4e76ed65a92962583281e31f7a")
UNIFIED = "johnjaejunlee95/torch-unified-SAM-optimization"
NEMO = "melo-gonzo/physicsnemo"
CHECKS = []
LOSS = torch.nn.functional.cross_entropy


def check(package, said):
    """Registers a function that returns what was seen and whether it is as said."""
    def register(function):
        CHECKS.append((package, said, function))
        return function
    return register


def module(variable):
    return BY_VARIABLE[variable].module()


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def gradient(training):
    return flat(p.grad for p in training.model.parameters())


def weights(training):
    return flat(training.model.parameters())


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def sgd(training, lr=0.05):
    return torch.optim.SGD(training.model.parameters(), lr=lr)


def davda54(training, lr=0.05, **more):
    return module("SAM_REPO").SAM(training.model.parameters(), torch.optim.SGD, lr=lr, **more)


@check("davda54/sam", "restores by making the parameter another storage")
def repointed():
    training = Training()
    sam = davda54(training)
    p = training.model.head.weight
    view, before = p.detach(), p.data_ptr()
    training.backward()
    sam.first_step()
    sam.second_step()
    same = torch.equal(view, p.detach())
    return (f"address as before: {p.data_ptr() == before}; an older view is still the parameter: "
            f"{same}", p.data_ptr() != before and not same)


@check("davda54/sam", "has one norm for all groups, and scales it with each group's rho")
def one_norm():
    training = Training()
    named = dict(training.model.named_parameters())
    head = [p for n, p in named.items() if n.startswith("head")]
    rest = [p for n, p in named.items() if not n.startswith("head")]
    sam = module("SAM_REPO").SAM([{"params": rest}, {"params": head, "rho": 0.2}],
                                 torch.optim.SGD, lr=0.05, rho=0.05)
    training.backward()
    parts = [flat(p.grad for p in group) for group in (rest, head)]
    before = [flat(group).clone() for group in (rest, head)]
    sam.first_step()
    moved = [(flat(group) - b).norm().item() for group, b in zip((rest, head), before)]
    whole = math.hypot(*(g.norm().item() for g in parts))
    want = [rho * g.norm().item() / whole for rho, g in zip((0.05, 0.2), parts)]
    return (f"moved {moved[0]:.4f} and {moved[1]:.4f} under rho 0.05 and 0.2",
            all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(moved, want)))


@check("davda54/sam", "adaptive=True scales biases too, and never moves a weight that is zero")
def adaptive():
    training = Training()
    sam = davda54(training, adaptive=True, rho=0.5)
    bias, zero = training.model.head.bias, training.model.layer1.bias
    training.backward()
    before, g, T = bias.detach().clone(), bias.grad.clone(), bias.detach().abs()
    sam.first_step()
    moved = bias.detach() - before
    return (f"moved by a zero bias: {zero.abs().max().item():.1f}; cosine of a bias' move with "
            f"w^2 g: {cosine(moved, T * T * g):.6f}, with g: {cosine(moved, g):.6f}",
            zero.abs().max() == 0 and cosine(moved, T * T * g) > 1 - 1e-12)


def batch_norm(momentum):
    """Of running means by davda54's bypass_bn after passes over three batches, and the norm."""
    path = pathlib.Path(os.environ["SAM_REPO"]) / "example/utility/bypass_bn.py"
    spec = importlib.util.spec_from_file_location("bypass_bn", path)
    bypass = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bypass)
    bn = torch.nn.BatchNorm1d(1, momentum=momentum)
    plain = copy.deepcopy(bn)
    for value in (1.0, 2.0, 6.0):
        x = torch.tensor([[value - 1], [value + 1]])
        plain(x)
        bypass.enable_running_stats(bn)
        bn(x)
        bypass.disable_running_stats(bn)
        bn(x + 1)
    return bn, plain


@check("davda54/sam", "bypass_bn keeps the running statistics, but num_batches_tracked goes on")
def batches_tracked():
    bn, plain = batch_norm(0.1)
    return (f"running mean {bn.running_mean.item():.4f}, without SAM "
            f"{plain.running_mean.item():.4f}; batches {bn.num_batches_tracked.item()} of 3",
            torch.equal(bn.running_mean, plain.running_mean) and bn.num_batches_tracked == 6)


@check("davda54/sam", "bypass_bn breaks batch norm with momentum=None")
def cumulative():
    bn, plain = batch_norm(None)
    return (f"mean of 1, 2, 6: {bn.running_mean.item():.4f}; without SAM "
            f"{plain.running_mean.item():.4f}", bn.running_mean != plain.running_mean)


def not_restored(dtype):
    """The share of weights that w + e - e does not give back, and its distance from w."""
    torch.manual_seed(0)
    model = torch.nn.Linear(784, 512).to(dtype)
    p = model.weight
    minimizer = module("ASAM_REPO").SAM(torch.optim.SGD(model.parameters(), lr=0.0), model,
                                        rho=0.05)
    before = p.detach().clone()
    for q in model.parameters():
        q.grad = torch.randn_like(q)
    minimizer.ascent_step()
    for q in model.parameters():
        q.grad = torch.zeros_like(q)
    minimizer.descent_step()
    distance = (p - before).double().norm() / before.double().norm()
    return (p != before).double().mean().item(), distance.item()


@check("SamsungLabs/ASAM", "restores by subtraction: some weights change, in bfloat16 by far more")
def subtracts():
    (single, near), (half, far) = not_restored(torch.float32), not_restored(torch.bfloat16)
    return (f"{single:.2%} of float32 weights, by {near:.0e} of their norm; {half:.2%} of bfloat16 "
            f"ones, by {far:.0e}, in a step with lr 0", 0 < single and 1000 * near < far)


@check("SamsungLabs/ASAM", "T is abs(w) + eta for names with weight, 1 for others")
def samsung():
    training = Training()
    model = training.model
    minimizer = module("ASAM_REPO").ASAM(sgd(training), model, rho=0.5, eta=0.01)
    training.backward()
    named = dict(model.named_parameters())
    g = {n: p.grad.clone() for n, p in named.items()}
    before = {n: p.detach().clone() for n, p in named.items()}
    minimizer.ascent_step()
    T = {n: p.abs() + 0.01 if "weight" in n else torch.ones_like(p) for n, p in before.items()}
    length = flat(T[n] * g[n] for n in g).norm()
    off = max(((named[n].detach() - before[n]) - 0.5 * T[n] ** 2 * g[n] / length).abs().max()
              for n in g).item()
    return f"off by {off:.0e} from rho T^2 g / norm(T g)", off < 1e-15


def gsam():
    BY_VARIABLE["GSAM_REPO"].module("gsam")
    import gsam as package
    return package


@check("juntang-zhuang/GSAM", "takes the part of g orthogonal to g_p; LookSAM that of g_s to g")
def gap():
    training = Training()
    package = gsam()
    base = sgd(training)
    rho = package.LinearScheduler(T_max=1, max_value=0.5, min_value=0.5)
    optimizer = package.GSAM(training.model.parameters(), base, training.model, 0.4, rho)
    seen = []
    def closure():
        with torch.enable_grad():
            training.backward()
        seen.append(gradient(training))
        return None, None
    optimizer.step(closure)
    change = gradient(training) - seen[1]
    return (f"cosine of what it adds with g_p {cosine(change, seen[1]):.0e}, with g "
            f"{cosine(change, seen[0]):.2f}", abs(cosine(change, seen[1])) < 1e-6)


@check("juntang-zhuang/GSAM", "its README's linear schedules keep rho in proportion to lr")
def schedules():
    training = Training()
    package = gsam()
    base = sgd(training, 0.05)
    lr = package.LinearScheduler(T_max=4, max_value=0.05, min_value=0.0, optimizer=base)
    rho = package.LinearScheduler(T_max=4, max_value=0.05, min_value=0.0)
    optimizer = package.GSAM(training.model.parameters(), base, training.model, 0.4, rho)
    used = []
    for _ in range(4):
        used.append((base.param_groups[0]["lr"], optimizer.rho_t))
        lr.step()
        optimizer.update_rho_t()
    text = ", ".join(f"{a:.4f} {b:.4f}" for a, b in used)
    return f"lr and rho of four steps: {text}", all(math.isclose(a, b) for a, b in used)


def leminhbinh(training, prepared):
    look = module("LOOKSAM_REPO").LookSAM(sgd(training), training.model, rho=0.1)
    if prepared:
        for n, p in training.model.named_parameters():
            look.state[n]["old_grad"] = torch.zeros_like(p)
    w = weights(training).clone()
    training.backward()
    g = gradient(training).clone()
    look.ascent_step()
    training.backward()
    look.decompose_grad(True)
    g_v = flat(look.state[n]["vertical_grad"] for n, _ in training.model.named_parameters())
    return cosine(g_v, g), cosine(g_v, w)


@check("Leminhbinh0209/LookSAM", "its mathematics are correct, at the first refresh")
def first_refresh():
    to_g, to_w = leminhbinh(Training(), prepared=False)
    return (f"cosine of g_v with g {to_g:.3f}, with the parameters {to_w:.0e}: it decomposes along "
            "these", abs(to_g) < 1e-9)


@check("Leminhbinh0209/LookSAM", "the same, once its buffers are there")
def later_refresh():
    to_g, to_w = leminhbinh(Training(), prepared=True)
    return f"cosine of g_v with g {to_g:.0e}, with the parameters {to_w:.3f}", abs(to_g) < 1e-9


def with_idle():
    """A network with a tensor whose gradient is zero."""
    training = Training()
    idle = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    training.model.register_parameter("idle", idle)
    loss = training.loss
    training.loss = lambda: loss() + 0 * idle.sum()
    return training, idle


def rollovd(training, **more):
    return module("ROLLOVD_LOOKSAM_REPO").LookSAM(
        k=5, alpha=0.7, model=training.model, base_optimizer=torch.optim.SGD, criterion=LOSS,
        rho=0.1, **more)


@check("rollovd/LookSAM", "a tensor with a zero gradient becomes NaN")
def rollovd_zero():
    training, idle = with_idle()
    look = rollovd(training, lr=0.05)
    look.criterion = lambda out, y: LOSS(out, y) + 0 * idle.sum()
    for t in range(2):
        training.backward()
        look.step(t, training.x, training.y)
    return f"it is {idle[0].item()} after a refresh and a reuse", bool(idle.isnan().any())


@check("rollovd/LookSAM", "reuse steps only work because the parameter is the saved copy")
def rollovd_alias():
    training = Training()
    look = rollovd(training, lr=0.0)
    training.backward()
    look.step(0, training.x, training.y)
    for p in training.model.parameters():
        p.data = p.data + 1  # as any code that does not write in place
    before = weights(training).clone()
    training.backward()
    look.step(1, training.x, training.y)
    moved = (weights(training) - before).abs().max().item()
    return f"weights replaced between two steps with lr 0 go back by {moved:.1f}", moved > 0.5


@check("rollovd/LookSAM", "only the first parameter group is treated")
def rollovd_groups():
    training = Training()
    look = rollovd(training, lr=0.0)
    more = torch.nn.Parameter(torch.ones(8, 3, dtype=torch.float64))
    look.base_optimizer.add_param_group({"params": [more]})
    seen = []
    def criterion(out, y):
        seen.append(more.detach().clone())
        return LOSS(out, y)
    look.criterion = criterion
    training.backward()
    more.grad = torch.ones_like(more)
    look.step(0, training.x, training.y)
    moved = (seen[0] - 1).abs().max().item()
    return f"a second group's weights move by {moved:.1f} for the second pass", moved == 0


@check("rollovd/LookSAM", "keeps alpha in float32, under float64 parameters too")
def rollovd_alpha():
    alpha = rollovd(Training(), lr=0.05).alpha
    return f"0.7 becomes {alpha.double().item():.9f}", alpha.dtype == torch.float32


def wise(training, **more):
    return WISE.module().LookSAM(k=5, alpha=0.7, model=training.model, criterion=LOSS, rho=0.1,
                                 base_optimizer=torch.optim.SGD, **more)


@check("EnderDragonzy/looksam_wise_layer", "g_v is zero before step k, and step 0 leaves the "
       "weights perturbed")
def wise_start():
    training = Training()
    look = wise(training, lr=0.0)
    before = weights(training).clone()
    training.backward()
    look.step(0, training.x, training.y)
    moved = (weights(training) - before).norm().item()
    kept = max(look.state[f"gv_{i}"]["gv"].abs().max().item() for i in range(6))
    return f"moved by {moved:.4f} with lr 0 and rho 0.1; g_v {kept}", kept == 0 and moved > 0.09


@check("EnderDragonzy/looksam_wise_layer", "clips every gradient to norm 1")
def wise_clips():
    training = Training()
    look = wise(training, lr=0.0)
    loss = training.loss
    training.loss = lambda: 100 * loss()
    look.criterion = lambda out, y: 100 * LOSS(out, y)
    training.backward()
    look.step(0, training.x, training.y, zero_grad=False)
    return f"the base sees norm {gradient(training).norm().item():.4f}", (
        gradient(training).norm() < 1.001)


@check("EnderDragonzy/looksam_wise_layer", "takes norm(g) / norm(g_v) for at most 1")
def wise_ratio():
    training = Training()
    look = wise(training, lr=0.0)
    training.backward()
    look.step(0, training.x, training.y)
    for i, p in enumerate(training.model.parameters()):
        look.state[f"gv_{i}"]["gv"] = torch.full_like(p, 1e-6)
    training.backward()
    before = gradient(training).clone()
    look.step(6, training.x, training.y, zero_grad=False)
    added = (gradient(training) - before).abs().max().item()
    return (f"adds {added:.1e} for a g_v of 1e-6 an element: alpha times it",
            math.isclose(added, 0.7e-6, rel_tol=1e-3))


def kozistr(training, base=torch.optim.SGD, **more):
    return pytorch_optimizer.LookSAM(training.model.parameters(), base, rho=0.1, k=5, **more)


@check("pytorch-optimizer", "LookSAM's reuse steps in step(closure) double the gradient")
def kozistr_doubled():
    training = Training()
    look = kozistr(training, lr=0.0)
    closure = lambda: training.loss().backward()  # which does not zero gradients
    training.backward()
    look.step(closure)
    training.backward()
    g = gradient(training).clone()
    look.second_step = lambda: None
    look.step(closure)
    return (f"norm before it adds g_v: {(gradient(training).norm() / g.norm()).item():.3f} of g",
            (gradient(training).norm() / g.norm()).item() > 1.5)


@check("pytorch-optimizer", "LookSAM's reuse steps in step(closure) save nothing")
def kozistr_calls():
    training = Training()
    look = kozistr(training, lr=0.05)
    for _ in range(10):
        training.backward()
        look.step(training.backward)
    return f"gradients of 10 steps with k = 5, as documented: {training.calls}", (
        training.calls == 20)


@check("pytorch-optimizer", "LookSAM refreshes at every step of a base without a step count")
def kozistr_counter():
    training = Training()
    look = kozistr(training, lr=0.05)
    kept = []
    for _ in range(6):
        training.backward()
        look.step(training.backward)
        kept.append(look.state[training.model.head.weight]["gv"].clone())
    refreshes = [0] + [t for t in range(1, 6) if not torch.equal(kept[t], kept[t - 1])]
    return f"SGD, k = 5: g_v is new at steps {refreshes}", refreshes != [0, 5]


@check("pytorch-optimizer", "LookSAM: a tensor with a zero gradient becomes NaN")
def kozistr_zero():
    training, idle = with_idle()
    look = kozistr(training, lr=0.05)
    for _ in range(2):
        training.backward()
        look.step(training.backward)
    return f"it is {idle[0].item()}", bool(idle.isnan().any())


@check("pytorch-optimizer", "LookSAM's keys of state are the same for different tensors")
def kozistr_keys():
    training = Training()
    look = kozistr(training, lr=0.05)
    training.backward()
    look.step(training.backward)
    keys = [type(key).__name__ for key in look.state]
    return f"keys are of type {', '.join(sorted(set(keys)))}", "str" in keys


@check("pytorch-optimizer", "LookSAM takes the norm of all gradients in float32")
def kozistr_norm():
    training = Training()
    training.backward()
    groups = [{"params": list(training.model.parameters())}]
    norm = pytorch_optimizer.optimizer.sam.get_global_gradient_norm(groups)
    off = abs(norm.sqrt().item() / gradient(training).norm().item() - 1)
    return f"{norm.dtype} for float64 gradients, off by {off:.0e}", norm.dtype == torch.float32


def unified(training, **more):
    return module("UNIFIED_SAM_REPO").LookSAM(training.model.parameters(), torch.optim.SGD, lr=0.05,
                                              **more)


@check(UNIFIED, "LookSAM counts from 1: the first k - 1 steps are plain")
def unified_start():
    training = Training()
    look = unified(training, rho=0.1, k=5)
    calls = []
    for _ in range(6):
        before = training.calls
        look.step(training.backward)
        calls.append(training.calls - before)
    return f"gradients of steps 0 to 5: {calls}", calls == [1, 1, 1, 1, 2, 1]


def unified_move(scale):
    training = Training()
    look = unified(training, rho=0.05, layerwise=True)
    training.backward()
    for p in training.model.parameters():
        p.grad.mul_(scale)
    p = training.model.layer1.weight
    before = p.detach().clone()
    look.first_step()
    return ((p.detach() - before).norm() / before.norm()).item()


@check(UNIFIED, "its layer-wise perturbation grows without bound as g goes to zero")
def unified_double():
    moves = [unified_move(s) for s in (1, 1e-3)]
    return (f"a layer moves by {moves[0]:.1f} of its norm, {moves[1]:.0f} if g is a thousandth",
            moves[1] > 900 * moves[0])


def nemo(training, make="LookSAM", **more):
    return getattr(module("PHYSICSNEMO_REPO"), make)(training.model.parameters(), sgd(training),
                                                     **more)


@check(NEMO, "LookLayerSAM moves each tensor by rho, whatever its norm")
def nemo_layers():
    training = Training()
    look = nemo(training, "LookLayerSAM", rho=0.05)
    before = [p.detach().clone() for p in training.model.parameters()]
    moved = []
    def closure():
        loss = training.backward()
        moved.append([(p.detach() - b).norm().item()
                      for p, b in zip(training.model.parameters(), before)])
        return loss
    look.step(closure)
    return (f"from {min(moved[1]):.6f} to {max(moved[1]):.6f} with rho 0.05",
            max(abs(m - 0.05) for m in moved[1]) < 1e-9)


@check(NEMO, "LookSAM takes sums in torch's default type, float32, whatever gradients are")
def nemo_sums():
    training = Training()
    look = nemo(training, rho=0.1)
    training.backward()
    g = gradient(training).clone()
    look.step(training.backward)
    g_v = flat(look.state[p]["g_v"] for p in training.model.parameters())
    return f"cosine of g_v with g in float64: {cosine(g_v, g):.0e}", abs(cosine(g_v, g)) > 1e-12


def versioned(package):
    for repository in [*BY_VARIABLE.values(), WISE]:
        if package == repository.name:
            return f"{package} {repository.commit[:7]}"
    return f"{package} {importlib.metadata.version(package)}"


def main():
    torch.set_num_threads(1)
    print("| package | said | seen | so? |\n|---|---|---|---|")
    for package, said, function in CHECKS:
        seen, so = function()
        print(f"| {versioned(package)} | {said} | {seen} | {'yes' if so else '**no**'} |")


if __name__ == "__main__":
    main()
