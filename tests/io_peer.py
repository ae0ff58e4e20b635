"""Kudari and the reference implementation of safetensors read each other's files.

usage: io_peer.py SAFETENSORS_COPY

SAFETENSORS_COPY is the program of tests/safetensors_copy.cc. Needs numpy and safetensors.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


def read(path):
    with safe_open(path, framework="np") as f:
        return {name: f.get_tensor(name) for name in f.keys()}, f.metadata()


def check_round_trip(copy, folder, tensors, metadata):
    """Their file, read and written by Kudari, read by them: the same bits, and aligned."""
    theirs, ours = folder / "theirs.safetensors", folder / "ours.safetensors"
    save_file(tensors, theirs, metadata=metadata)
    subprocess.run([copy, theirs, ours], check=True)
    found, found_metadata = read(ours)
    assert found.keys() == tensors.keys(), (found.keys(), tensors.keys())
    for name, expected in tensors.items():
        assert found[name].dtype == expected.dtype, (name, found[name].dtype)
        assert found[name].shape == expected.shape, (name, found[name].shape, expected.shape)
        assert found[name].tobytes() == expected.tobytes(), name
    assert (found_metadata or {}) == (metadata or {}), (found_metadata, metadata)
    (header_size,) = struct.unpack("<Q", ours.read_bytes()[:8])
    assert (8 + header_size) % 64 == 0, header_size


def check_rejection(copy, folder, header, data, message):
    """What they reject, Kudari rejects, and says why."""
    path = folder / "bad.safetensors"
    text = header.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    try:
        read(path)
    except SafetensorError:
        pass
    else:
        raise AssertionError(f"the reference implementation accepts {header}")
    done = subprocess.run([copy, path, folder / "out"], capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr, (done, message)
    assert not (folder / "out").exists()


def entry(start, end, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


def main():
    copy = pathlib.Path(sys.argv[1]).resolve()
    rng = np.random.default_rng(1)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32)
    many = {f"layer.{i}.weight": rng.standard_normal(i + 1).astype(np.float32) for i in range(300)}
    types = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]
    cases = [
        ({"w": rng.standard_normal((3, 5)).astype(np.float32), "b": special}, None),
        ({"scalar": np.full((), 2.5, np.float32), "none": np.zeros((0, 4), np.float32)}, None),
        ({'größe "x"\n': special}, {"format": "np", "note": 'ä\t"b"'}),
        (many, {"step": "17"}),
        ({np.dtype(t).name: rng.integers(0, 2, (3, 5)).astype(t) for t in types}, None),
    ]
    bad = [
        (json.dumps({"a": entry(0, 8), "b": entry(4, 12)}), 12, "overlap"),
        (json.dumps({"a": entry(0, 8), "b": entry(12, 16)}), 16, "hole"),
        (json.dumps({"a": entry(0, 8)}), 4, "truncated"),
        (json.dumps({"a": entry(0, 8)}), 12, "follow the header"),
        (json.dumps({"a": entry(0, 8, shape=[3])}), 8, "do not hold"),
        (json.dumps({"a": entry(0, 8, dtype="F33")}), 8, "unknown dtype"),
        (json.dumps({"a": entry(0, 8, shape=[2**40, 2**40])}), 8, "too large"),
        ('{"a": ', 0, "not valid JSON"),
        ("{}\0", 0, "not valid JSON"),
        ("[]", 0, "start with {"),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for tensors, metadata in cases:
            check_round_trip(copy, folder, tensors, metadata)
        for header, size, message in bad:
            check_rejection(copy, folder, header, bytes(size), message)
    print(f"{len(cases)} round trips, {len(bad)} rejections")


if __name__ == "__main__":
    main()
