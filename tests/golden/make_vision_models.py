#!/usr/bin/env python3
"""Writes data/vision_models.json: what torchvision, timm, pytorchcv and RobustBench compute with
the models that lab/models has under their names, for lab/models/vision_models_test.cc.

Weights, inputs and probes are made by a formula of their name and index (made.py), which the test
repeats bit for bit, so that the file has none of them. Everything is computed in float64. `twins`
has outputs before and in training, the loss, and for each tensor of the state dict its name and
shape, followed by the norm and the product with a probe of its gradient, or of a running statistic
after the step. `published` has the number of parameters and a checksum of the state dict's names
and shapes for whole models.

Needs torch 2.14.1, torchvision 0.29.1, timm, pytorchcv, and robustbench (--no-deps), of which only
one file is read.
"""

import importlib.metadata
import importlib.util
import json
import pathlib

import timm.models.vision_transformer
import torch
import torchvision
from made import made, names_checksum, summary
from pytorchcv.models.resnet_cifar import CIFARResNet, resnet20_cifar10
from pytorchcv.models.wrn_cifar import wrn28_10_cifar10
from torch import nn
from torchvision.models.vgg import VGG, make_layers

DATA = pathlib.Path(__file__).parent / "data"


def twin(oracle, network, model, options, shape, classes, rename=lambda name: name):
    """`rename` gives the lab's name for one of the network's."""
    batch = 3
    network = network.double()
    state = {rename(name): tensor for name, tensor in network.state_dict(keep_vars=True).items()}
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(made(name, tensor.shape))
    x = 2 * made("x", (batch, *shape))
    network.eval()
    evaluation = network(x)
    network.train()
    training = network(x)
    loss = nn.functional.cross_entropy(training, torch.arange(batch) % classes)
    loss.backward()
    tensors = []
    for name, tensor in state.items():
        value = tensor.grad if tensor.requires_grad else tensor
        of = summary(name, value) if value.is_floating_point() else []
        tensors.append([name, list(tensor.shape), *of])
    return {"oracle": oracle, "model": model, "options": options, "shape": shape,
            "classes": classes, "batch": batch, "evaluation": evaluation.flatten().tolist(),
            "training": training.flatten().tolist(), "loss": loss.item(), "tensors": tensors}


def published(oracle, network, model, options, shape, classes):
    count = sum(p.numel() for p in network.parameters())
    return {"oracle": oracle, "model": model, "options": options, "shape": shape,
            "classes": classes, "parameters": count, "names": names_checksum(network.state_dict().items())}


def version(package, what):
    return f"{package} {importlib.metadata.version(package)} {what}"


def wide_resnet(**options):
    folder = importlib.util.find_spec("robustbench").submodule_search_locations[0]
    path = pathlib.Path(folder) / "model_zoo/architectures/wide_resnet.py"
    spec = importlib.util.spec_from_file_location("wide_resnet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WideResNet(**options)


def small_stem(network):
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network


def cifar_resnet_name(name):
    """The lab's name for one of pytorchcv's, of a network of one block a stage."""
    for old, new in [("features.init_block.conv", "conv1"), ("features.init_block.bn", "bn1"),
                     ("features.stage1.unit1.", "blocks.0."),
                     ("features.stage2.unit1.", "blocks.1."),
                     ("features.stage3.unit1.", "blocks.2."),
                     ("body.conv1.conv", "conv1"), ("body.conv1.bn", "bn1"),
                     ("body.conv2.conv", "conv2"), ("body.conv2.bn", "bn2"),
                     ("identity_conv.conv", "downsample.0"), ("identity_conv.bn", "downsample.1"),
                     ("output.", "head.")]:
        name = name.replace(old, new)
    return name


def small_vgg(stages, batch_norm, head):
    layers = [width if width else "M" for width in stages]
    network = VGG(make_layers(layers, batch_norm=batch_norm), init_weights=False)
    network.classifier = head
    if isinstance(head, nn.Linear):
        network.avgpool = nn.AdaptiveAvgPool2d(1)
    return network


def small_vit(**options):
    return timm.models.vision_transformer.VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5,
        **options)


def twins():
    models = torchvision.models
    tv, cv = "torchvision", "pytorchcv"
    yield twin(version(tv, "resnet18"), models.resnet18(num_classes=5),
               "imagenet_resnet", "depth = 18", [3, 40, 36], 5)
    yield twin(version(tv, "resnet50"), models.resnet50(num_classes=5),
               "imagenet_resnet", "depth = 50", [3, 40, 36], 5)
    yield twin(version(tv, "resnet18 with a small stem"),
               small_stem(models.resnet18(num_classes=5)),
               "imagenet_resnet", "depth = 18\nstem = \"small\"", [3, 12, 10], 5)
    yield twin(version(cv, "CIFARResNet"),
               CIFARResNet([[16], [32], [64]], 16, bottleneck=False, num_classes=5),
               "resnet", "depth = 8\nwidth = 16\nshortcut = \"project\"", [3, 32, 32], 5,
               cifar_resnet_name)
    yield twin(version("robustbench", "WideResNet"),
               wide_resnet(depth=16, widen_factor=2, num_classes=5),
               "wide_resnet", "depth = 16\nwiden = 2", [3, 32, 32], 5)
    yield twin(version(tv, "VGG with batch norm"),
               small_vgg([8, 0, 16, 0, 32, 32, 0, 64, 64, 0, 64, 64, 0], True, nn.Linear(64, 5)),
               "vgg", "depth = 11\nwidth = 8", [3, 32, 40], 5)
    head = nn.Sequential(nn.Linear(32 * 49, 16), nn.ReLU(), nn.Dropout(0), nn.Linear(16, 16),
                         nn.ReLU(), nn.Dropout(0), nn.Linear(16, 5))
    yield twin(version(tv, "VGG"),
               small_vgg([4, 4, 0, 8, 8, 0, 16, 16, 0, 32, 32, 0, 32, 32, 0], False, head),
               "vgg", "depth = 13\nwidth = 4\nnorm = \"none\"\nclassifier = \"imagenet\"\n"
               "hidden = 16\ndropout = 0", [3, 64, 96], 5)
    vit = "patch = 8\ndim = 24\ndepth = 2\nheads = 3\n"
    yield twin(version("timm", "VisionTransformer"), small_vit(),
               "timm_vit", vit, [3, 16, 24], 5)
    yield twin(version("timm", "VisionTransformer, mean"),
               small_vit(class_token=False, global_pool="avg"),
               "timm_vit", vit + "pool = \"mean\"", [3, 16, 24], 5)


def whole_models():
    models = torchvision.models
    for depth in (18, 34, 50):
        name = f"resnet{depth}"
        yield published(version("torchvision", name), getattr(models, name)(),
                        "imagenet_resnet", f"depth = {depth}", [3, 224, 224], 1000)
    for depth, widen in ((16, 4), (28, 10)):
        yield published(version("robustbench", f"WideResNet-{depth}-{widen}"),
                        wide_resnet(depth=depth, widen_factor=widen),
                        "wide_resnet", f"depth = {depth}\nwiden = {widen}", [3, 32, 32], 10)
    yield published(version("torchvision", "vgg11_bn"), models.vgg11_bn(),
                    "vgg", "depth = 11\nclassifier = \"imagenet\"", [3, 224, 224], 1000)
    for letter, name, dim, heads in (("Ti", "vit_tiny_patch16_224", 192, 3),
                                     ("S", "vit_small_patch16_224", 384, 6),
                                     ("B", "vit_base_patch16_224", 768, 12)):
        yield published(version("timm", f"{name} (ViT-{letter}/16)"), timm.create_model(name),
                        "timm_vit", f"dim = {dim}\nheads = {heads}", [3, 224, 224], 1000)


def check_oracles():
    """Independent authors agree on the sizes."""
    def count(network):
        return sum(p.numel() for p in network.parameters())
    assert count(torchvision.models.vit_b_16()) == count(timm.create_model("vit_base_patch16_224"))
    assert count(wrn28_10_cifar10()) == count(wide_resnet(depth=28, widen_factor=10))
    cifar = [[16 << stage] * 3 for stage in range(3)]
    assert count(resnet20_cifar10()) == count(CIFARResNet(cifar, 16, bottleneck=False))


def main():
    torch.manual_seed(1)
    check_oracles()
    whole = list(whole_models())
    projected = resnet20_cifar10()
    whole.append({"oracle": version("pytorchcv", "resnet20_cifar10"), "model": "resnet",
                  "options": "depth = 20\nshortcut = \"project\"", "shape": [3, 32, 32],
                  "classes": 10, "parameters": sum(p.numel() for p in projected.parameters())})
    lines = [json.dumps(case) for case in twins()]
    with open(DATA / "vision_models.json", "w") as file:
        file.write('{"twins": [\n' + ",\n".join(lines) + '\n],\n"published": [\n' +
                   ",\n".join(json.dumps(case) for case in whole) + "\n]}\n")


main()
