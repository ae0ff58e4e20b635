"""From PyTorch: `kudari import-torch`."""

import json
import os
import pickle
import warnings

import torch

from torch_dcp import load_folder
from torch_exchange import (HOW, NUMBERS, TYPE_NAMES, Refused, first_line, is_plain, names_in, plain,
                            write_state)

OPTIMIZER = ("optimizer", "optimizer_state_dict", "optim", "optim_state_dict", "optimizer_state",
             "optimizer_states", "optimizers", "opt")
MODEL = ("model", "model_state_dict", "state_dict", "model_state", "net", "network", "module")
SCHEDULER = ("scheduler", "lr_scheduler", "scheduler_state_dict", "lr_scheduler_state_dict",
             "lr_schedulers", "schedulers")
SCALER = ("scaler", "grad_scaler", "scaler_state_dict", "grad_scaler_state_dict")
RANDOM = ("rng_state", "torch_rng_state", "cpu_rng_state")
STEP = ("step", "global_step", "iteration", "iter", "steps")

# Buffers of torch's own layers that a state dict does not tell from parameters.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def load(path):
    """What torch.save or torch.distributed.checkpoint has written, of types that are data alone."""
    try:
        if os.path.isdir(path):
            return load_folder(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Refused:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except Exception as error:  # whatever a damaged file makes of it
        refused = unsafe(error)
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise Refused(f"{path}: torch.load(weights_only=True) refuses it; save state dicts "
                          f"alone, without objects of other types: {refused}") from error
        raise Refused(f"{path}: torch cannot read it, it may be truncated or of another kind: "
                      f"{first_line(error)}") from error


def unsafe(error):
    """The line of torch's message that names a type that it does not load; None without one."""
    return next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), None)


def is_optimizer(value):
    return isinstance(value, dict) and isinstance(value.get("param_groups"), list) and isinstance(
        value.get("state"), dict)


def is_model(value):
    return isinstance(value, dict) and bool(value) and all(
        isinstance(name, str) and isinstance(t, torch.Tensor) for name, t in value.items())


def first_key(root, keys, fits):
    return next((key for key in keys if key in root and fits(root[key])), None)


def optimizers_in(value):
    """Pairs of a name and a state dict."""
    if is_optimizer(value):
        return [("", value)]
    if isinstance(value, (list, tuple)):
        value = {str(i): item for i, item in enumerate(value)}
    if isinstance(value, dict) and value and all(is_optimizer(item) for item in value.values()):
        return [(str(name), item) for name, item in value.items()]
    return []


def optimizers_of(root, key, part):
    """Those under the key or, if it is None, those that are at the top; or the one that is asked
    for."""
    if key is None:
        found = [(str(name), value) for name, value in root.items() if is_optimizer(value)]
    else:
        found = optimizers_in(root[key])
    if part is None or not found:
        return found
    chosen = [(name, sd) for name, sd in found if name == part]
    if not chosen:
        names = " and ".join(name for name, _ in found)
        raise Refused(f"--part {part}: the file has " + (f"the optimizers {names}" if names else
                                                          "one optimizer, which has no name"))
    return chosen


def likely_classes(group, buffers):
    """torch's classes that a group may be of, by the options that only they have; a state dict
    does not name its class."""
    signs = {"ns_coefficients": "Muon", "beta2_decay": "Adafactor", "momentum_decay": "NAdam",
             "lr_decay": "Adagrad", "dampening": "SGD", "rho": "Adadelta", "etas": "Rprop",
             "lambd": "ASGD", "history_size": "LBFGS", "centered": "RMSprop"}
    for option, name in signs.items():
        if option in group:
            return [name]
    if "betas" not in group or "eps" not in group:
        return []
    if "amsgrad" in group:
        decoupled = group.get("decoupled_weight_decay")
        if decoupled is None:  # before torch 2.7
            return ["Adam", "AdamW"]
        return ["AdamW" if decoupled else "Adam"]
    if "weight_decay" not in group:
        return ["SparseAdam"]
    if "exp_inf" in buffers:
        return ["Adamax"]
    if "exp_avg_sq" in buffers or "decoupled_weight_decay" in group:
        return ["RAdam"]
    return ["RAdam", "Adamax"]


def class_of(group, buffers, given, where):
    """The class of a group, which the user may have to say."""
    likely = likely_classes(group, buffers)
    if not likely:
        options = ", ".join(sorted(str(key) for key in group if key != "params"))
        raise Refused(f"{where}: no optimizer of torch has these options: {options}")
    if given:
        if given not in likely:
            raise Refused(f"--optimizer {given}: {where} has the options of {likely[0]}")
        return given
    if len(likely) > 1 and not (likely[0] == "Adam" and group.get("weight_decay") == 0):
        raise Refused(f"{where}: is of {likely[0]} or {likely[1]}, which the file does not tell; "
                      f"--optimizer {likely[0]} or --optimizer {likely[1]} says which")
    return likely[0]


def number(value, where):
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.item())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise Refused(f"{where} is {described(value)}, but must be a number")


def described(value):
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.dtype} {list(value.shape)}"
    return f"of type {type(value).__name__}"


def options_of(group, dtype):
    """Options as Kudari reads them, and those that it does not, for `rest`."""
    options, rest = {}, {}
    for key, value in group.items():
        if key in ("params", "param_names"):
            continue
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (bool, str)):
            options[key] = value
        elif isinstance(value, (int, float)):
            options[key] = float(value)
        elif isinstance(value, (list, tuple)) and value and all(
                v is None or is_plain(v) and not isinstance(plain(v), (str, list, dict))
                for v in value):
            # Adafactor's first eps: None stands for that of the type.
            numbers = [torch.finfo(dtype).eps if v is None else float(plain(v)) for v in value]
            options[key] = {str(i): x for i, x in enumerate(numbers)}
        if is_plain(value):
            rest[key] = plain(value)
    return options, rest


def model_parameters(model):
    """Names of tensors that may be parameters, each tensor once, in the order of the state dict."""
    seen, names = set(), []
    for name, tensor in model.items():
        if name.rsplit(".", 1)[-1] in BUFFERS or not tensor.is_floating_point():
            continue
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        names.append(name)
    return names


def has_names(optimizers):
    """Whether parameters have names where torch's own state dicts have numbers, as in those of
    torch.distributed.checkpoint."""
    return all(isinstance(p, str) for _, sd in optimizers for group in sd["param_groups"]
               for p in group["params"])


def parameter_names(optimizers, model, given):
    """The names of the parameters of all groups, a list for each group, and what tells them."""
    groups = [group for _, sd in optimizers for group in sd["param_groups"]]
    counts = [len(group["params"]) for group in groups]
    total = sum(counts)

    def split(names):
        ends = [sum(counts[:i + 1]) for i in range(len(counts))]
        return [names[end - count:end] for end, count in zip(ends, counts)]

    if has_names(optimizers):
        return [list(group["params"]) for group in groups], "the groups"
    if given is not None:
        if len(given) != total:
            raise Refused(f"--names: {len(given)} names, but the optimizer has {total} parameters")
        return split(given), "--names"
    if all(len(group.get("param_names") or ()) == count for group, count in zip(groups, counts)):
        return [[str(name) for name in group["param_names"]] for group in groups], "param_names"
    if model is None:
        raise Refused("the file names no parameters: it has no model and no param_names; " + HOW)
    names = model_parameters(model)
    if len(optimizers) == 1:  # a part of the model, say
        names = [n for n in names if n.startswith(optimizers[0][0] + ".")] or names
    if len(groups) > 1:
        raise Refused("the optimizer has several groups without param_names, and the model's order "
                      "does not tell which parameters they have; " + HOW)
    if len(names) != total:
        raise Refused(f"the optimizer has {total} parameters and the model {len(names)}, and there "
                      "are no param_names to tell which; " + HOW)
    return split(names), "the model's order"


def state_of(entry, where):
    """What torch keeps for one parameter."""
    if not isinstance(entry, dict):
        raise Refused(f"{where} is {described(entry)}, but must be a dict")
    state = {}
    for key, value in entry.items():
        at = f"{where}/{key}"
        if value is None:
            continue
        if key in NUMBERS:
            state[key] = number(value, at)
        elif not isinstance(value, torch.Tensor):
            raise Refused(f"{at} is {described(value)}, but must be a tensor")
        elif value.layout != torch.strided or value.dtype not in TYPE_NAMES:
            raise Refused(f"{at} is {described(value)} that Kudari cannot hold")
        else:
            state[str(key)] = value
    return state


def check_shapes(states, names, model, told):
    """Names by the order alone may belong to others: what has the parameter's size shows it."""
    for name in names:
        for key, value in states.get(name, {}).items():
            factored = key in ("row_var", "col_var")
            if factored or not isinstance(value, torch.Tensor) or name not in model:
                continue
            if value.shape != model[name].shape:
                raise Refused(f"state/{name}/{key} is {list(value.shape)}, but the parameter is "
                              f"{list(model[name].shape)}; the names are those of {told}")


def read_optimizers(optimizers, model, arguments, notes):
    """The node `torch`, and the groups for `rest`."""
    for i, group in enumerate(g for _, sd in optimizers for g in sd["param_groups"]):
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            raise Refused(f"param_groups/{i} is no group of parameters")
    given_names = names_in(arguments.names) if arguments.names else None
    names, told = parameter_names(optimizers, model, given_names)
    groups, states, rest, index = {}, {}, [], 0
    for label, sd in optimizers:
        known = set()
        for group in sd["param_groups"]:
            where = f"param_groups/{index}"
            entries = [sd["state"].get(p) for p in group["params"]]
            known.update(group["params"])
            buffers = {key for entry in entries if isinstance(entry, dict) for key in entry}
            tensors = [t for entry in entries if isinstance(entry, dict)
                       for key, t in entry.items() if key in ("row_var", "variance")]
            dtype = next((t.dtype for t in tensors if torch.is_tensor(t)), None)
            if dtype is None and model and names[index]:
                dtype = getattr(model.get(names[index][0]), "dtype", None)
            floating = dtype is not None and dtype.is_floating_point
            options, others = options_of(group, dtype if floating else torch.float32)
            name = class_of(group, buffers, arguments.optimizer, where)
            groups[str(index)] = {**options, "optimizer": name,
                                  "params": {str(i): n for i, n in enumerate(names[index])}}
            rest.append({"optimizer": name, "label": label, "names": names[index],
                         "options": others})
            for n, entry in zip(names[index], entries):
                if entry:
                    states[n] = state_of(entry, f"state/{n}")
            index += 1
        lost = [p for p in sd["state"] if p not in known]
        if lost:
            raise Refused(f"state/{lost[0]}: no group has this parameter")
    if model is not None:
        flat = [n for group in names for n in group]
        missing = [n for n in flat if n not in model]
        if missing:
            raise Refused(f"the model has no parameter {missing[0]!r}, which {told} names")
        check_shapes(states, flat, model, told)
    nan = sorted(n for n, state in states.items() if any(
        isinstance(t, torch.Tensor) and t.is_floating_point() and not t.isfinite().all()
        for t in state.values()))
    if nan:
        more = f" and {len(nan) - 3} more" if len(nan) > 3 else ""
        notes.append(f"the state of {', '.join(nan[:3])}{more} has values that are not finite")
    return {"param_groups": groups, "state": states}, rest


def split_model(model, trained):
    """Parameters and buffers, as far as names and types tell."""
    parameters, buffers = {}, {}
    for name, tensor in model.items():
        if tensor.layout != torch.strided or tensor.dtype not in TYPE_NAMES:
            raise Refused(f"model/{name} is {described(tensor)} that Kudari cannot hold")
        last = name.rsplit(".", 1)[-1]
        buffer = name not in trained and (last in BUFFERS or not tensor.is_floating_point())
        (buffers if buffer else parameters)[name] = tensor
    return {"parameters": parameters, "buffers": buffers}


def step_of(root, arguments, key):
    if arguments.step is not None:
        return arguments.step
    if key is None:
        return None
    step = number(root[key], key)
    if not (step >= 0 and step == int(step) and step <= 2**53):
        raise Refused(f"{key} = {step} is not an integer in [0, 2^53]")
    return int(step)


def app_in(root):
    """The key of the one dict that has all else, such as `app` in PyTorch's tutorial of distributed
    checkpoints; None if there is none."""
    if not isinstance(root, dict) or len(root) != 1:
        return None
    (key, inner), = root.items()
    if key in OPTIMIZER or is_optimizer(inner) or not isinstance(inner, dict):
        return None
    return key if first_key(inner, OPTIMIZER, optimizers_in) else None


def read(arguments):
    root = load(arguments.file)
    app = app_in(root)
    if app is not None:
        root = root[app]
    bare = is_optimizer(root)
    if bare:
        root = {"optimizer": root}
    if not isinstance(root, dict):
        raise Refused(f"{arguments.file}: holds {described(root)}, not a dict")
    keys = {"optimizer": first_key(root, OPTIMIZER, optimizers_in),
            "model": first_key(root, MODEL, is_model),
            "scheduler": first_key(root, SCHEDULER, lambda v: isinstance(v, (dict, list))),
            "scaler": first_key(root, SCALER, lambda v: isinstance(v, dict)),
            "random": first_key(root, RANDOM, lambda v: torch.is_tensor(v)
                                and v.dtype == torch.uint8 and v.dim() == 1),
            "step": first_key(root, STEP, lambda v: isinstance(v, (int, float, torch.Tensor)))}
    optimizers = optimizers_of(root, keys["optimizer"], arguments.part)
    if not optimizers:
        found = ", ".join(sorted(str(key) for key in root)[:10])
        raise Refused(f"{arguments.file}: has no state dict of an optimizer under any of "
                      f"{', '.join(OPTIMIZER)}; it has {found or 'nothing'}")
    model = root[keys["model"]] if keys["model"] else None
    notes = []
    tree = {}
    tree["torch"], groups = read_optimizers(optimizers, model, arguments, notes)
    step = step_of(root, arguments, keys["step"])
    if step is None:
        counted = [state["step"] for state in tree["torch"]["state"].values() if "step" in state]
        step = int(max(counted, default=0))
        if not counted:
            notes.append("the file does not say how many steps were taken: they count from 0, for "
                         "schedules too; --step N says how many")
    tree["torch"]["step"] = step
    form = "bare" if bare else "top" if keys["optimizer"] is None else "dict"
    rest = {"form": form, "keys": {k: v for k, v in keys.items() if v},
            "app": app, "dcp": os.path.isdir(arguments.file), "named": has_names(optimizers),
            "groups": groups, "step": step}
    if model is not None:
        tree["model"] = split_model(model, {n for group in groups for n in group["names"]})
        rest["model"] = list(model)
    scaler = root.get(keys["scaler"]) if keys["scaler"] else None
    if scaler and "scale" not in scaler and all(isinstance(v, dict) for v in scaler.values()):
        if arguments.part not in scaler:
            notes.append(f"{keys['scaler']} is left out: each optimizer has its own")
        scaler = scaler.get(arguments.part)
    if scaler:
        tree["scaler"] = {"scale": number(scaler.get("scale"), "scaler/scale"),
                          "growth_tracker": int(number(scaler.get("_growth_tracker", 0),
                                                       "scaler/_growth_tracker"))}
        rest["scaler"] = plain({k: v for k, v in scaler.items() if is_plain(v)})
    if keys["random"]:
        tree["random"] = root[keys["random"]]
    others = {}
    for key, value in root.items():
        if key in [at for what, at in keys.items() if what != "scheduler"]:
            continue
        if form == "top" and is_optimizer(value):
            continue
        if not is_plain(value):
            notes.append(f"{key} is left out: it is {described(value)}")
        elif key == keys["scheduler"]:
            rest["scheduler"] = plain(value)
        else:
            others[str(key)] = plain(value)
    rest["others"] = others
    tree["rest"] = json.dumps(rest)
    tree["notes"] = {str(i): note for i, note in enumerate(notes)}
    write_state(arguments.state, tree)

