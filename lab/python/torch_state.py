#!/usr/bin/env python3
"""State dicts of PyTorch as files of Kudari's, and back: what `kudari import-torch` and
`kudari export-torch` run. It needs torch alone.

    torch_state.py read FILE.pt STATE.safetensors [--names FILE] [--optimizer CLASS] [--part NAME]
                                                  [--step N]
    torch_state.py write STATE.safetensors FILE.pt [--names FILE]

STATE.safetensors is a state as include/kudari/state_file.h describes it, with these nodes:

    torch             the optimizers, in the words of include/kudari/torch_state.h
    parts/NAME        (for `write`) in place of `torch`, those of a model whose parts have one each:
                      `torch`, `parameters` and `scaler` of the part
    model/parameters  the model's tensors by name, and model/buffers
    scaler            scale and growth_tracker of a GradScaler
    random            the state of the generator for the CPU
    rest              JSON of what Kudari has no place for; `write` puts back what still holds
    notes             texts for the user
    parameters        (for `write`) names in the model's order, one a line
"""

import argparse
import ctypes
import json
import math
import os
import pickle
import struct
import sys
import warnings

try:
    import torch
except ImportError as error:
    sys.exit(f"this Python, {sys.executable}, has no torch: {error}; --python names another")

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

# What torch keeps for a parameter that is a number.
NUMBERS = ("step", "mu_product", "eta", "mu")

# Older versions of torch lack some.
TYPES = {name: getattr(torch, attribute) for name, attribute in (
    ("BOOL", "bool"), ("U8", "uint8"), ("I8", "int8"), ("F8_E5M2", "float8_e5m2"),
    ("F8_E4M3", "float8_e4m3fn"), ("U16", "uint16"), ("I16", "int16"), ("F16", "float16"),
    ("BF16", "bfloat16"), ("U32", "uint32"), ("I32", "int32"), ("F32", "float32"),
    ("U64", "uint64"), ("I64", "int64"), ("F64", "float64")) if hasattr(torch, attribute)}
TYPE_NAMES = {dtype: name for name, dtype in TYPES.items()}


class Refused(Exception):
    """What the user is told."""


# ---- Files of Kudari's ----


def component(name):
    """A name as a part of a path."""
    return str(name).replace("~", "~0").replace("/", "~1")


def names_of(path):
    """The names that a path is made of."""
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]


def scalar_text(value):
    if isinstance(value, bool):
        return "bool true" if value else "bool false"
    if isinstance(value, int):
        return f"int64 {value}"
    if isinstance(value, float):
        return "double nan 7ff8000000000000" if math.isnan(value) else f"double {value!r}"
    return f"string {value}"


def scalar_of(text):
    kind, _, value = text.partition(" ")
    if kind == "bool":
        return value == "true"
    if kind in ("int64", "uint64"):
        return int(value)
    if kind == "double":
        return float("nan" if value.startswith("nan") else value)
    return value


def write_state(path, tree):
    """Writes a tree of dictionaries as a state; a node without members is left out."""
    header = {"__metadata__": {"kudari.state": "1"}}
    tensors, offset = [], 0

    def visit(prefix, node):
        nonlocal offset
        for name, value in node.items():
            at = prefix + component(name)
            if isinstance(value, dict):
                visit(at + "/", value)
            elif isinstance(value, torch.Tensor):
                size = value.numel() * value.element_size()
                header[at] = {"dtype": TYPE_NAMES[value.dtype], "shape": list(value.shape),
                              "data_offsets": [offset, offset + size]}
                tensors.append(value)
                offset += size
            else:
                header["__metadata__"][at] = scalar_text(value)

    visit("", tree)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            data = tensor.detach().contiguous()
            size = data.numel() * data.element_size()
            if size:
                file.write((ctypes.c_char * size).from_address(data.data_ptr()))


def read_state(path):
    """The tree of dictionaries in a state."""
    tree = {}

    def put(path, value):
        *nodes, last = names_of(path)
        node = tree
        for name in nodes:
            node = node.setdefault(name, {})
        node[last] = value

    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, text in header.pop("__metadata__", {}).items():
            if name != "kudari.state":
                put(name, scalar_of(text))
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            data = bytearray(file.read(end - begin))
            dtype = TYPES[entry["dtype"]]
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            put(name, flat.reshape(entry["shape"]))
    return tree


# ---- JSON of what is not a tensor ----


def plain(value):
    """A value as JSON has it; TypeError for one that it cannot have."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise TypeError("a tensor")
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and "__items__" not in value:
            return {key: plain(item) for key, item in value.items()}
        return {"__items__": [[plain(key), plain(item)] for key, item in value.items()]}
    raise TypeError(type(value).__name__)


def restored(value):
    """The reverse of `plain`, but for tuples, which stay lists."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if isinstance(value, dict):
        if "__items__" in value:
            return {key: restored(item) for key, item in value["__items__"]}
        return {key: restored(item) for key, item in value.items()}
    return value


def is_plain(value):
    try:
        plain(value)
    except TypeError:
        return False
    return True


# ---- From PyTorch ----


def load(path):
    """What torch.save has written, of types that are data alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except Exception as error:  # whatever a damaged file makes of it
        refused = unsafe(error)
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise Refused(f"{path}: torch.load(weights_only=True) refuses it; save state dicts "
                          f"alone, without objects of other types: {refused}") from error
        raise Refused(f"{path}: torch cannot read it, it may be truncated or of another kind: "
                      f"{first_line(error)}") from error


def first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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


def names_in(path):
    """A list of names: JSON, or one a line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--names {path}: {getattr(error, 'strerror', None) or error}") from error
    if text.lstrip().startswith("["):
        try:
            names = json.loads(text)
        except json.JSONDecodeError as error:
            raise Refused(f"--names {path}: is no JSON: {error}") from error
        if not all(isinstance(name, str) for name in names):
            raise Refused(f"--names {path}: must be a list of names")
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(set(names)) != len(names):
        raise Refused(f"--names {path}: a name is there twice")
    return names


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


HOW = ("--names FILE gives them, one a line in the optimizer's order: "
       "for name, _ in model.named_parameters(): print(name)")


def parameter_names(optimizers, model, given):
    """The names of the parameters of all groups, a list for each group, and what tells them."""
    groups = [group for _, sd in optimizers for group in sd["param_groups"]]
    counts = [len(group["params"]) for group in groups]
    total = sum(counts)

    def split(names):
        ends = [sum(counts[:i + 1]) for i in range(len(counts))]
        return [names[end - count:end] for end, count in zip(ends, counts)]

    if all(isinstance(p, str) for group in groups for p in group["params"]):
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


def read(arguments):
    root = load(arguments.file)
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


# ---- To PyTorch ----


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


def group_to_write(name, options, others, names, first):
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
    group["params"] = list(range(first, first + len(names)))
    group["param_names"] = list(names)
    return group


def state_to_write(state):
    return {key: torch.tensor(value, dtype=torch.float32) if isinstance(value, float) else value
            for key, value in state.items()}


def optimizers_to_write(tree, rest, order):
    groups = groups_to_write(tree, rest)
    if order is not None:
        missing = [n for g in groups for n in g[2] if n not in set(order)]
        if missing:
            raise Refused(f"the order of the parameters lacks {missing[0]!r}")
        groups = ordered(groups, order)
    elif not rest.get("groups"):
        raise Refused("the checkpoint does not say in which order the model has its parameters, "
                      "which is all that torch knows them by; " + HOW)
    result = {}
    for name, label, names, options, others in groups:
        label = label or name
        sd = result.setdefault(label, {"state": {}, "param_groups": []})
        first = sum(len(g["params"]) for g in sd["param_groups"])
        sd["param_groups"].append(group_to_write(name, options, others, names, first))
        for i, n in enumerate(names):
            state = tree["torch"].get("state", {}).get(n)
            if state:
                sd["state"][first + i] = state_to_write(state)
    return result


def parts_to_write(tree, order):
    """The optimizers of the parts of a model, by the names of the parts; where one needs several of
    torch's classes, these follow."""
    result = {}
    for part, node in tree["parts"].items():
        own = order
        if own is None and "parameters" in node:
            own = node["parameters"].removesuffix("\n").split("\n")
        elif own is not None:
            own = [n.removeprefix(part + ".") for n in own if n.startswith(part + ".")]
        written = optimizers_to_write(node, {}, own)
        for name, sd in written.items():
            for group in sd["param_groups"]:
                group["param_names"] = [f"{part}.{n}" for n in group["param_names"]]
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


def write(arguments):
    tree = read_state(arguments.state)
    rest = json.loads(tree.get("rest", "{}"))
    keys, notes = rest.get("keys", {}), []
    order = names_in(arguments.names) if arguments.names else None
    if "parts" in tree:
        optimizers = parts_to_write(tree, order)
        scalers = {part: scaler_to_write(node["scaler"], {})
                   for part, node in tree["parts"].items() if "scaler" in node}
        scaler = next(iter(scalers.values())) if len(tree["parts"]) == 1 and scalers else scalers
        step = max(node["torch"]["step"] for node in tree["parts"].values())
    else:
        if order is None and not rest.get("groups") and "parameters" in tree:
            order = tree["parameters"].removesuffix("\n").split("\n")
        optimizers = optimizers_to_write(tree, rest, order)
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
    temporary = f"{arguments.file}.{os.getpid()}"
    try:
        torch.save(root, temporary)
        os.replace(temporary, arguments.file)
    except (OSError, RuntimeError) as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise Refused(f"{arguments.file}: cannot be written: {first_line(error)}") from error
    for note in notes:
        print(note)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    reader = commands.add_parser("read")
    reader.add_argument("file")
    reader.add_argument("state")
    reader.add_argument("--names")
    reader.add_argument("--optimizer")
    reader.add_argument("--part")
    reader.add_argument("--step", type=int)
    writer = commands.add_parser("write")
    writer.add_argument("state")
    writer.add_argument("file")
    writer.add_argument("--names")
    arguments = parser.parse_args()
    try:
        (read if arguments.command == "read" else write)(arguments)
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
