#!/usr/bin/env python3
"""Runs in folders of torch.distributed.checkpoint go on in Kudari, and the reverse, and folders that
are odd or damaged. Prints and compares as torch_state_peer.py, for fewer optimizers.

    python3 tests/torch_dcp_peer.py build/release/kudari
"""

import argparse
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from torch_state_peer import (O, STEPS, Failed, Kudari, check, check_same, compare, draw, manifest,
                              model_of, show, take_steps, write_gradients, write_safetensors)
import torch_exchange  # after torch_state_peer, which knows where it is

RANKS = 2


def in_two_groups(names):
    """Weights, and all else without decay and with a rate of its own."""
    return [{"params": [(n, p) for n, p in names if n.endswith("weight")]},
            {"params": [(n, p) for n, p in names if not n.endswith("weight")], "weight_decay": 0.0,
             "lr": 0.003}]


# Rule, and the optimizer for named parameters.
CASES = {
    "momentum": lambda names: O.SGD(names, lr=0.01, momentum=0.9, weight_decay=0.1),
    "sgd": lambda names: O.SGD(names, lr=0.01),
    "adamw": lambda names: O.AdamW(names, lr=0.01, weight_decay=0.1),
    "adamw.two": lambda names: O.AdamW(in_two_groups(names), lr=0.01, weight_decay=0.1),
}


def network(case, seed):
    """A model whose parameters' names begin with the case, its optimizer, and gradients."""
    layers = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))
    for part in reversed(case.split(".")):
        layers = torch.nn.ModuleDict({part: layers})
    names = list(layers.named_parameters())
    parameters, gradients = draw({n: tuple(p.shape) for n, p in names}, seed)
    with torch.no_grad():
        for name, p in names:
            p.copy_(parameters[name])
    return layers, CASES[case](names), gradients


def state_of_run(model, optimizer):
    model_state, optimizer_state = get_state_dict(model, optimizer)
    return {"model": model_state, "optimizer": optimizer_state}


def in_torch_save(folder):
    """What torch's own converter makes of a folder."""
    dcp_to_torch_save(folder, "converted.pt")
    return torch.load("converted.pt", weights_only=True)


def go_on_in_kudari(kudari, case, rows):
    """Returns the spec of what was imported."""
    model, optimizer, gradients = network(case, 1)
    tensors = dict(model.named_parameters())
    take_steps([optimizer], tensors, gradients[:STEPS])
    dcp.save({**state_of_run(model, optimizer), "step": STEPS}, checkpoint_id="run")
    said = kudari.run("import-torch", "run/", "--out", f"imported/{case}")
    check(f" for 4 parameters at step {STEPS}: imported/{case}/step-{STEPS}" in said, said)
    # What was imported goes back as it was, to the bit.
    kudari.run("export-torch", f"imported/{case}", "--dcp", "--force", "--out", "again")
    check_alike(in_torch_save("again"), in_torch_save("run"))
    compare(kudari, f"imported/{case}", [optimizer], tensors, gradients[STEPS:], "to Kudari", rows,
            [case])
    shutil.rmtree("run")
    return manifest(pathlib.Path("imported") / case)["spec"]


def check_alike(ours, theirs):
    """Nested dicts with the same tensors, and the same groups but for the names."""
    check(ours.keys() == theirs.keys(), f"{sorted(ours)} and {sorted(theirs)}")
    check(ours["step"] == theirs["step"], ours["step"])
    check(ours["model"].keys() == theirs["model"].keys(), sorted(ours["model"]))
    check(all(torch.equal(t, theirs["model"][n]) for n, t in ours["model"].items()), "model")
    for root in (ours, theirs):
        root["optimizer"].setdefault("state", {})
        for group in root["optimizer"]["param_groups"]:
            group.setdefault("param_names", None)
    check_same(ours["optimizer"], theirs["optimizer"], "optimizer")


def go_on_in_torch(kudari, case, spec, rows):
    model, optimizer, gradients = network(case, 2)
    tensors = dict(model.named_parameters())
    write_safetensors(pathlib.Path("params.safetensors"), model_of(tensors))
    write_gradients("first.safetensors", gradients[:STEPS])
    pathlib.Path("recipe.toml").write_text(spec)
    kudari.run("replay", "--force", "--recipe", "recipe.toml", "--params", "params.safetensors",
               "--grads", "first.safetensors", "--out", "first-out.safetensors", "--save",
               f"ours/{case}")
    pathlib.Path("names.txt").write_text("\n".join(tensors))
    kudari.run("export-torch", f"ours/{case}", "--dcp", "--force", "--out", "theirs", real=True)
    # Weights, state and options all come from the folder.
    with torch.no_grad():
        for p in tensors.values():
            p.fill_(9.0)
    for group in optimizer.param_groups:
        group.update(lr=123.0, weight_decay=123.0)
    run = state_of_run(model, optimizer)
    dcp.load(run, checkpoint_id="theirs")
    set_state_dict(model, optimizer, model_state_dict=run["model"],
                   optim_state_dict=run["optimizer"])
    compare(kudari, f"ours/{case}", [optimizer], tensors, gradients[STEPS:], "to PyTorch", rows,
            [case])


def trained(case="adamw"):
    model, optimizer, gradients = network(case, 3)
    take_steps([optimizer], dict(model.named_parameters()), gradients[:3])
    return model, optimizer


def check_forms(kudari):
    # Numbers in place of names, which the model's order gives, and all of it under one key.
    model, optimizer = trained()
    scheduler = O.lr_scheduler.StepLR(optimizer, 7)
    root = {"app": {"model": model.state_dict(), "optim": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(), "rng_state": torch.get_rng_state(),
                    "epoch": 2}}
    dcp.save(root, checkpoint_id="numbers")
    said = kudari.run("import-torch", "numbers")
    check(said == "imported adamw for 4 parameters at step 3: numbers-kudari/step-3\n", said)
    kudari.run("export-torch", "numbers-kudari", "--dcp")
    ours, theirs = in_torch_save("step-3-dcp"), in_torch_save("numbers")
    check(list(ours) == ["app"], list(ours))
    ours, theirs = ours["app"], theirs["app"]
    check(ours.pop("step") == 3 and ours.keys() == theirs.keys(), sorted(ours))
    check_same(ours["optim"], theirs["optim"], "numbers")
    check(torch.equal(ours["rng_state"], theirs["rng_state"]), "rng_state")
    check(ours["scheduler"] == theirs["scheduler"] and ours["epoch"] == 2, ours)
    # As a file it is what torch.load gives: numbers and names.
    kudari.run("export-torch", "numbers-kudari", "--out", "numbers.pt")
    loaded = torch.load("numbers.pt", weights_only=True)["app"]
    check_same(loaded["optim"], optimizer.state_dict(), "file")
    check(all(torch.equal(t, loaded["model"][n]) for n, t in model.state_dict().items()), "model")
    # A folder of torch's is replaced if that is asked for, and no other.
    said = kudari.error("export-torch", "numbers-kudari", "--dcp")
    check("step-3-dcp: exists already" in said, said)
    kudari.run("export-torch", "numbers-kudari", "--dcp", "--force")
    found = sorted(os.listdir("step-3-dcp"))
    check(found == [".metadata", "__0_0.distcp"], found)
    os.mkdir("mine")
    pathlib.Path("mine/thesis.txt").write_text("all of it")
    said = kudari.error("export-torch", "numbers-kudari", "--dcp", "--force", "--out", "mine",
                        real=True)
    check("mine: is not replaced, since it is no folder of torch.distributed.checkpoint" in said,
          said)
    check(os.listdir("mine") == ["thesis.txt"], os.listdir("mine"))


def check_shards(kudari):
    """Every tensor in pieces of two processes, as FSDP writes them."""
    model, optimizer = trained()
    whole = state_of_run(model, optimizer)
    torch.save(whole, "whole.pt")
    dcp.save(whole, checkpoint_id="whole")
    ranks = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--rank", str(rank)])
             for rank in range(RANKS)]
    check([rank.wait() for rank in ranks] == [0] * RANKS, "the processes")
    check({"__0_0.distcp", "__1_0.distcp"} < set(os.listdir("shards")), os.listdir("shards"))
    for folder in ("whole", "shards"):
        kudari.run("import-torch", folder)
    said = kudari.start("checkpoint", "diff", "whole-kudari", "shards-kudari")
    check(said.returncode == 0, said.stdout + said.stderr)


def save_shards(rank):
    """What a process of check_shards does."""
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{os.getcwd()}/rendezvous",
                                         rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))

    def divided(value):
        if isinstance(value, dict):
            return {key: divided(item) for key, item in value.items()}
        if isinstance(value, list):
            return [divided(item) for item in value]
        if torch.is_tensor(value) and value.dim() > 0:
            return distribute_tensor(value, mesh, [Shard(value.dim() - 1)])
        return value

    dcp.save(divided(torch.load("whole.pt", weights_only=True)), checkpoint_id="shards")
    torch.distributed.destroy_process_group()


class Evil:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-here",)


def check_bad_input(kudari):
    dcp.save(state_of_run(*trained()), checkpoint_id="good")
    metadata = pathlib.Path("good/.metadata").read_bytes()
    data = pathlib.Path("good/__0_0.distcp").read_bytes()

    def expect(files, *parts):
        """The error for a folder with these files, which leaves nothing."""
        shutil.rmtree("bad", ignore_errors=True)
        os.mkdir("bad")
        for name, content in files.items():
            (pathlib.Path("bad") / name).write_bytes(content)
        before = sorted(os.listdir("."))
        text = kudari.error("import-torch", "bad")
        check(all(part in text for part in parts), f"{text!r} has not {parts}")
        check(sorted(os.listdir(".")) == before, f"{text}: but there is something")

    def changed(change):
        other = pickle.loads(metadata)
        change(other)
        return {".metadata": pickle.dumps(other), "__0_0.distcp": data}

    def info(other, name):
        return next(v for k, v in other.storage_data.items() if k.fqn == name)

    weight = "model.adamw.0.weight"
    expect({}, "bad: has no .metadata, so it is no folder of torch.distributed.checkpoint")
    expect({"__0_0.distcp": data}, "bad: has no .metadata")
    expect({"model.safetensors": b""}, "bad: has no .metadata")
    for size in (0, 1, len(metadata) // 2, len(metadata) - 1):
        expect({".metadata": metadata[:size], "__0_0.distcp": data},
               "bad/.metadata: cannot be read, it may be truncated")
    expect({".metadata": pickle.dumps([1])}, "bad/.metadata: cannot be read")
    expect({".metadata": metadata}, "bad/__0_0.distcp: No such file")
    for size in (0, 1, len(data) // 2, len(data) - 1):
        expect({".metadata": metadata, "__0_0.distcp": data[:size]},
               "bad/__0_0.distcp: is truncated", ".metadata says that a value ends")
    flipped = bytearray(data)
    flipped[data.index(b"PK")] ^= 1
    expect({".metadata": metadata, "__0_0.distcp": flipped}, "bad: torch cannot read it")
    # Nothing of what a file says is run, and no file outside is read.
    expect({".metadata": pickle.dumps(Evil())}, "bad/.metadata", "has posix.mkdir")
    expect(changed(lambda m: m.planner_data.update(x=Evil())), "bad/.metadata", "has posix.mkdir")
    torch.save({"x": Evil()}, "evil.pt")
    evil = pathlib.Path("evil.pt").read_bytes()

    def put_evil(other):
        place = info(other, "optimizer.param_groups.0.lr")
        place.offset, place.length = len(data), len(evil)

    files = changed(put_evil)
    files["__0_0.distcp"] = data + evil
    expect(files, "torch.load(weights_only=True) refuses it", "posix.mkdir")
    for name in ("../good/__0_0.distcp", "/etc/passwd", "..", ""):
        expect(changed(lambda m, name=name: setattr(info(m, weight), "relative_path", name)),
               f"bad: .metadata names {name!r}, which is no file of the folder")
    # What does not fit together.
    expect(changed(lambda m: setattr(m.state_dict_metadata[weight], "size", torch.Size([7, 6]))),
           f"does not say where all of {weight} is")
    expect(changed(lambda m: setattr(m.state_dict_metadata[weight], "size", torch.Size([6, 5]))),
           "bad: torch cannot read it")
    expect(changed(lambda m: [m.storage_data.pop(k) for k in list(m.storage_data) if k.fqn == weight]),
           f"does not say where all of {weight} is")
    expect(changed(lambda m: setattr(info(m, weight), "transform_descriptors", ["zstd"])),
           "bad/__0_0.distcp: is compressed (zstd)")
    expect(changed(lambda m: setattr(info(m, weight), "length", 7)), "bad: torch cannot read it")
    expect(changed(lambda m: setattr(info(m, weight), "offset", -1)), "bad/__0_0.distcp: Invalid")
    check(not os.path.exists("was-here"), "code was run")
    # By the program itself.
    os.remove("bad/.metadata")
    said = kudari.error("import-torch", "bad/", "--out", "none", real=True)
    check(said.startswith("bad/: has no .metadata") and not os.path.exists("none"), said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("kudari", nargs="?", help="path of the program", type=pathlib.Path)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of running in one process
    if arguments.rank is not None:
        return save_shards(arguments.rank)
    binary, rows = arguments.kudari.resolve(), []
    with tempfile.TemporaryDirectory() as name:
        kudari = Kudari(binary, pathlib.Path(name))
        os.chdir(name)
        try:
            for case in CASES:
                go_on_in_torch(kudari, case, go_on_in_kudari(kudari, case, rows), rows)
            check_forms(kudari)
            check_shards(kudari)
            check_bad_input(kudari)
        except (Failed, torch_exchange.Refused) as failure:
            sys.exit(f"failed: {failure}")
    return show(rows)


if __name__ == "__main__":
    sys.exit(main())
