"""What torch_import.py and torch_export.py share: the file that they exchange with the program, the
JSON in it, and the words of torch's.

The file is a state as include/kudari/state_file.h describes it, with these nodes:

    torch             the optimizers, in the words of include/kudari/torch_state.h
    parts/NAME        (to PyTorch) in place of `torch`, those of a model whose parts have one each:
                      `torch`, `parameters` and `scaler` of the part
    model/parameters  the model's tensors by name, and model/buffers
    scaler            scale and growth_tracker of a GradScaler
    random            the state of the generator for the CPU
    rest              JSON of what Kudari has no place for; what still holds goes back to PyTorch
    notes             texts for the user
    parameters        (to PyTorch) names in the model's order, one a line
"""

import ctypes
import json
import math
import struct
import sys

try:
    import torch
except ImportError as error:
    sys.exit(f"this Python, {sys.executable}, has no torch: {error}; --python names another")

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


def first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


HOW = ("--names FILE gives them, one a line in the optimizer's order: "
       "for name, _ in model.named_parameters(): print(name)")


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

