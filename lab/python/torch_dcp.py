"""Folders of torch.distributed.checkpoint, DCP in short.

A folder has the values of a nested dict in pieces, which torch.save has written one after another into files
NAME.distcp, and in .metadata a pickle that says which piece is where. Pieces are read with torch's own guard,
weights_only=True. .metadata is read here, since torch reads it without one: whatever classes it names become
records without code.
"""

import io
import math
import os
import pickle
import shutil
import warnings

import torch

from torch_exchange import Refused, first_line

METADATA = ".metadata"

# What a pickle of torch's calls or makes objects of, by module.
RECORDS = {
    "builtins": ("getattr",),  # for members of an enumeration, by Python 3.11
    "pathlib": ("PosixPath", "WindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath"),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
    "torch.serialization": ("_get_layout",),
}


class Record:
    """The attributes that an object was saved with; what it was made with is not needed."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        if isinstance(state, tuple):  # of TensorProperties
            state = {"dtype": state[0]}
        self.__dict__.update(state)


class MetadataReader(pickle.Unpickler):
    """Reads .metadata without the code of any class."""

    def find_class(self, module, name):
        if name in RECORDS.get(module, ()):
            return Record
        if module == "torch" and (name == "Size" or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        raise Refused(f"{METADATA} has {module}.{name}, which is no part of a checkpoint")


class Branch(dict):
    """A node of the nested dict, by keys that are texts, or a list by numbers."""


def read_metadata(folder):
    path = os.path.join(folder, METADATA)
    try:
        with open(path, "rb") as file:
            metadata = MetadataReader(file).load()
        if isinstance(metadata.state_dict_metadata, dict) and isinstance(metadata.storage_data, dict):
            return metadata
        raise Refused("lists no values")
    except FileNotFoundError as error:
        raise Refused(f"{folder}: has no {METADATA}, so it is no folder of "
                      "torch.distributed.checkpoint") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except Refused as error:
        raise Refused(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # whatever a damaged pickle makes of it
        raise Refused(f"{path}: cannot be read, it may be truncated or of another kind: "
                      f"{first_line(error)}") from error


def read_piece(folder, info):
    """The tensor or other value that lies there."""
    name = info.relative_path
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise Refused(f"{folder}: {METADATA} names {name!r}, which is no file of the folder")
    path = os.path.join(folder, name)
    if getattr(info, "transform_descriptors", None):
        raise Refused(f"{path}: is compressed ({', '.join(info.transform_descriptors)}), which only "
                      "torch.distributed.checkpoint reads")
    try:
        with open(path, "rb") as file:
            file.seek(info.offset)
            content = file.read(info.length)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    if len(content) != info.length:
        raise Refused(f"{path}: is truncated: it ends before byte {info.offset + info.length}, where "
                      f"{METADATA} says that a value ends")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def put_piece(tensor, offset, piece, where):
    place = tensor
    for dim, (begin, size) in enumerate(zip(offset, piece.shape, strict=True)):
        place = place.narrow(dim, begin, size)
    if place.shape != piece.shape or place.dtype != piece.dtype:
        raise Refused(f"{where} is {piece.dtype} {list(piece.shape)} at {list(offset)} of "
                      f"{tensor.dtype} {list(tensor.shape)}")
    place.copy_(piece)


def read_values(folder, metadata):
    """All values by their names; tensors are put together from their pieces."""
    values, filled = {}, {}
    for index, info in metadata.storage_data.items():
        name, kind = index.fqn, metadata.state_dict_metadata[index.fqn]
        piece = read_piece(folder, info)
        if not hasattr(kind, "size"):
            values[name] = piece
            continue
        if name not in values:
            values[name], filled[name] = torch.empty(kind.size, dtype=kind.properties.dtype), 0
        put_piece(values[name], index.offset, piece, f"{folder}: a piece of {name}")
        filled[name] += piece.numel()
    for name, kind in metadata.state_dict_metadata.items():
        if name not in values or filled.get(name, 0) < math.prod(getattr(kind, "size", (0,))):
            raise Refused(f"{folder}: {METADATA} does not say where all of {name} is")
    return values


def shaped(node):
    """Nested dicts and lists, with optimizers as they give their state dicts."""
    if not isinstance(node, Branch):
        return node
    if node and all(isinstance(key, int) for key in node):
        return [shaped(node[i]) for i in range(len(node))]
    result = {key: shaped(value) for key, value in node.items()}
    groups = result.get("param_groups")
    if isinstance(groups, list):
        # Numbers of parameters became texts, and a dict without members is left out.
        numbers = {str(p): p for group in groups if isinstance(group, dict)
                   for p in group.get("params", ())}
        state = result.setdefault("state", {})
        if isinstance(state, dict):
            result["state"] = {numbers.get(key, key): value for key, value in state.items()}
    return result


def load_folder(folder):
    """The nested dict that a folder was saved from."""
    metadata = read_metadata(folder)
    paths = getattr(metadata, "planner_data", None) or {}
    tree = Branch()
    for name, value in read_values(folder, metadata).items():
        *nodes, last = paths.get(name, (name,))
        node = tree
        for key in nodes:
            node = node.setdefault(key, Branch())
        node[last] = value
    return shaped(tree)


def save_folder(root, folder):
    """Writes a nested dict by torch.distributed.checkpoint. A folder that it has written before is
    replaced."""
    from torch.distributed import checkpoint  # which takes a second

    old = None
    if os.path.lexists(folder):
        if not os.path.isfile(os.path.join(folder, METADATA)):
            raise Refused(f"{folder}: is not replaced, since it is no folder of "
                          "torch.distributed.checkpoint")
        old = f"{folder}.{os.getpid()}.old"
    temporary = f"{folder}.{os.getpid()}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of running in one process
            checkpoint.save(root, checkpoint_id=temporary)
        if old is not None:
            os.rename(folder, old)
        os.rename(temporary, folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if old is not None and os.path.lexists(old):
            os.rename(old, folder)
        # The cause is in the last line of what checkpoint.save says.
        why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise Refused(f"{folder}: cannot be written: {why}") from error
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
