"""To PyTorch: `kudari export-torch`."""

import json
import os

import torch

from torch_dcp import save_folder
from torch_exchange import HOW, Refused, first_line, names_in, read_state, restored


def values(node):
    """The members 0, 1 ... of a node."""
    return [node[str(i)] for i in range(len(node))]


def defaults_of(name):
    """What the class sets where nobody says anything else, in this version of torch."""
    make = getattr(torch.optim, name, None)
    if make is None:
        raise Refused(f"torch {torch.__version__} has no {name}")
    return make([torch.nn.Parameter(torch.zeros(1, 1))], lr=1e-3).defaults


def groups_to_write(tree, rest):
    """Groups as (class, label, names, options, other options), in the order that they were read in
    if they are still the same."""
    written = [{"optimizer": g["optimizer"], "names": values(g["params"]),
                "options": {k: v for k, v in g.items() if k not in ("optimizer", "params")}}
               for g in values(tree["torch"]["param_groups"])]
    group_of = {name: group for group in written for name in group["names"]}
    read_in = rest.get("groups", [])
    if sorted(n for g in read_in for n in g["names"]) == sorted(group_of):
        whole = all(len({id(group_of[n]) for n in g["names"]}) <= 1 for g in read_in)
        if whole:
            return [(group_of[g["names"][0]]["optimizer"], g["label"], g["names"],
                     group_of[g["names"][0]]["options"], restored(g["options"]))
                    for g in read_in if g["names"]]
    return [(g["optimizer"], "", g["names"], g["options"], {}) for g in written]


def ordered(groups, order):
    """The same groups with their names, and those that were not read in, in the model's order."""
    place = {name: i for i, name in enumerate(order)}
    result = [(c, label, sorted(names, key=place.get), options, others)
              for c, label, names, options, others in groups]
    return sorted(result, key=lambda g: place[g[2][0]])


def group_to_write(name, options, others, params, names):
    group = {**defaults_of(name), **{k: v for k, v in others.items() if v is not None}}
    for key, value in options.items():
        group[key] = tuple(values(value)) if isinstance(value, dict) else value
    for key in ("betas", "ns_coefficients", "eps", "etas", "step_sizes"):
        if isinstance(group.get(key), list):
            group[key] = tuple(group[key])
    if name == "AdamW":
        group["decoupled_weight_decay"] = True
    elif name in ("Adam", "NAdam", "RAdam"):
        group["decoupled_weight_decay"] = False
    group["params"] = list(params)
    group["param_names"] = list(names)
    return group


def state_to_write(state):
    return {key: torch.tensor(value, dtype=torch.float32) if isinstance(value, float) else value
            for key, value in state.items()}


def optimizers_to_write(tree, rest, order, named, prefix=""):
    """State dicts by their labels. In a named one parameters have names, which begin with the prefix,
    in place of numbers, and groups may be of several classes."""
    groups = groups_to_write(tree, rest)
    if order is not None:
        missing = [n for g in groups for n in g[2] if n not in set(order)]
        if missing:
            raise Refused(f"the order of the parameters lacks {missing[0]!r}")
        groups = ordered(groups, order)
    elif not named and not rest.get("groups"):
        raise Refused("the checkpoint does not say in which order the model has its parameters, "
                      "which is all that torch knows them by; " + HOW)
    result = {}
    for name, label, names, options, others in groups:
        label = label or ("" if named else name)
        sd = result.setdefault(label, {"state": {}, "param_groups": []})
        first = sum(len(g["params"]) for g in sd["param_groups"])
        full_names = [prefix + n for n in names]
        params = full_names if named else range(first, first + len(names))
        sd["param_groups"].append(group_to_write(name, options, others, params, full_names))
        for p, n in zip(params, names):
            state = tree["torch"].get("state", {}).get(n)
            if state:
                sd["state"][p] = state_to_write(state)
    return result


def parts_to_write(tree, order, named):
    """The optimizers of the parts of a model, by the names of the parts; where one needs several of
    torch's classes, these follow."""
    result = {}
    for part, node in tree["parts"].items():
        own = order
        if own is None and "parameters" in node:
            own = node["parameters"].removesuffix("\n").split("\n")
        elif own is not None:
            own = [n.removeprefix(part + ".") for n in own if n.startswith(part + ".")]
        written = optimizers_to_write(node, {}, own, named, part + ".")
        for name, sd in written.items():
            result[part if len(written) == 1 else f"{part}.{name}"] = sd
    return result


def scaler_to_write(scaler, others):
    return {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, **others,
            "scale": scaler["scale"], "_growth_tracker": scaler["growth_tracker"]}


def scheduler_to_write(rest, old_step, step, rates, notes):
    """The scheduler's state, if it is still known."""
    scheduler = restored(rest.get("scheduler"))
    if scheduler is None or step == old_step:
        return scheduler
    if isinstance(scheduler, dict) and scheduler.get("last_epoch") == old_step:
        scheduler["last_epoch"] = step
        if "_step_count" in scheduler:
            scheduler["_step_count"] += step - old_step
        if "_last_lr" in scheduler:
            scheduler["_last_lr"] = rates
        return scheduler
    notes.append("the scheduler's state is left out: it did not count steps, and steps have been "
                 "taken since")
    return None


def save_file(root, path):
    """What torch.save does, all or nothing."""
    temporary = f"{path}.{os.getpid()}"
    try:
        torch.save(root, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise Refused(f"{path}: cannot be written: {first_line(error)}") from error


def write(arguments):
    tree = read_state(arguments.state)
    rest = json.loads(tree.get("rest", "{}"))
    keys, notes = rest.get("keys", {}), []
    # As it was read from the same kind of file; otherwise in the usual way of the kind.
    named = rest["named"] if rest.get("dcp") == arguments.dcp else arguments.dcp
    order = names_in(arguments.names) if arguments.names else None
    if "parts" in tree:
        optimizers = parts_to_write(tree, order, named)
        scalers = {part: scaler_to_write(node["scaler"], {})
                   for part, node in tree["parts"].items() if "scaler" in node}
        scaler = next(iter(scalers.values())) if len(tree["parts"]) == 1 and scalers else scalers
        step = max(node["torch"]["step"] for node in tree["parts"].values())
    else:
        if order is None and not rest.get("groups") and "parameters" in tree:
            order = tree["parameters"].removesuffix("\n").split("\n")
        optimizers = optimizers_to_write(tree, rest, order, named)
        scaler = scaler_to_write(tree["scaler"], rest.get("scaler", {})) if "scaler" in tree else {}
        step = tree["torch"]["step"]
    content = next(iter(optimizers.values())) if len(optimizers) == 1 else optimizers
    old, model = rest.get("step"), tree.get("model", {})
    if rest.get("form") == "bare" and not model:
        root = content
    else:
        at_top = rest.get("form") == "top"
        root = dict(optimizers) if at_top else {keys.get("optimizer", "optimizer"): content}
        root[keys.get("step", "step")] = step
        if model:
            tensors = {**model.get("parameters", {}), **model.get("buffers", {})}
            names = [n for n in rest.get("model", order or []) if n in tensors]
            names += [n for n in tensors if n not in set(names)]
            root[keys.get("model", "model")] = {n: tensors[n] for n in names}
        if scaler:
            root[keys.get("scaler", "scaler")] = scaler
        if "random" in tree:
            root[keys.get("random", "rng_state")] = tree["random"]
        rates = [g["lr"] for sd in optimizers.values() for g in sd["param_groups"]]
        scheduler = scheduler_to_write(rest, old, step, rates, notes)
        if scheduler is not None:
            root[keys.get("scheduler", "scheduler")] = scheduler
        if step == old:
            root.update(restored(rest.get("others", {})))
        elif rest.get("others"):
            notes.append("left out, since steps have been taken since: "
                         + ", ".join(rest["others"]))
    if rest.get("app") is not None:
        root = {rest["app"]: root}
    (save_folder if arguments.dcp else save_file)(root, arguments.file)
    for note in notes:
        print(note)


