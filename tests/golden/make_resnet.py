#!/usr/bin/env python3
"""Writes data/resnet8.safetensors and data/resnet8_expected.safetensors: a residual network for CIFAR
(He et al., arXiv:1512.03385, section 4.2, option A) by torch's functions, for lab/models_test.cc.

The first file is a state dict as torch has it, with num_batches_tracked. The second has x, the
outputs in evaluation and then in training, the running statistics after that, and the gradients of the
sum of the squares of the outputs in training.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

WIDTH, CLASSES, CHANNELS, SIDE = 2, 3, 2, 7
DATA = pathlib.Path(__file__).parent / "data"


def make_state():
    generator = torch.Generator().manual_seed(8)
    state = {}

    def norm(name, channels):
        state[f"{name}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"{name}.bias"] = 0.3 * torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def convolution(name, inputs, outputs):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / (
            3 * inputs**0.5)

    convolution("conv1", CHANNELS, WIDTH)
    norm("bn1", WIDTH)
    widths = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH]
    for block in range(3):
        convolution(f"blocks.{block}.conv1", widths[block], widths[block + 1])
        norm(f"blocks.{block}.bn1", widths[block + 1])
        convolution(f"blocks.{block}.conv2", widths[block + 1], widths[block + 1])
        norm(f"blocks.{block}.bn2", widths[block + 1])
    state["head.weight"] = torch.randn(CLASSES, 4 * WIDTH, generator=generator)
    state["head.bias"] = torch.randn(CLASSES, generator=generator)
    return state


def forward(state, x, training):
    def norm(name, y):
        return F.batch_norm(y, state[f"{name}.running_mean"], state[f"{name}.running_var"],
                            state[f"{name}.weight"], state[f"{name}.bias"], training=training)

    def convolution(name, y, stride=1):
        return F.conv2d(y, state[f"{name}.weight"], stride=stride, padding=1)

    y = F.relu(norm("bn1", convolution("conv1", x)))
    for block in range(3):
        name, stride = f"blocks.{block}", 1 if block == 0 else 2
        inner = F.relu(norm(f"{name}.bn1", convolution(f"{name}.conv1", y, stride)))
        inner = norm(f"{name}.bn2", convolution(f"{name}.conv2", inner))
        shortcut = torch.zeros_like(inner)
        shortcut[:, :y.shape[1]] = y[:, :, ::stride, ::stride]
        y = F.relu(shortcut + inner)
    return F.linear(y.flatten(2).mean(2), state["head.weight"], state["head.bias"])


def main():
    state = make_state()
    save_file(state, DATA / "resnet8.safetensors")
    x = torch.randn(4, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    expected = {"x": x, "evaluation": forward(state, x, False)}
    trained = [name for name in state if name.endswith((".weight", ".bias"))]
    for name in trained:
        state[name].requires_grad_()
    outputs = forward(state, x, True)
    outputs.square().sum().backward()
    expected["training"] = outputs.detach()
    for name in trained:
        expected[f"grad/{name}"] = state[name].grad
    for name, value in state.items():
        if ".running_" in name:
            expected[f"after/{name}"] = value
    save_file(expected, DATA / "resnet8_expected.safetensors")


main()
