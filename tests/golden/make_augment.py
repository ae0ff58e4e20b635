#!/usr/bin/env python3
"""Writes data/augment.json: what torchvision makes of small images for given draws, and how its own
draws are distributed.

Run by hand, in an environment with torchvision (0.29.1 wrote the file):

    python3 tests/golden/make_augment.py

"bytes" are images of bytes, in hexadecimal, and what each operation of RandAugment makes of them at
magnitude 9 of 30; "magnitudes" are those of all steps for each operation. "floats" is one image of
floats after crops, flips, resized crops and erasing. "mixed" is a batch after MixUp and CutMix.
"boxes" are means, and means of squares, of (top, left, height, width) over many draws.
"""

import json
import math
import pathlib

import torch
import torchvision
from torchvision.transforms import RandAugment, RandomErasing, RandomResizedCrop, autoaugment, v2
from torchvision.transforms import functional as F

FOLDER = pathlib.Path(__file__).parent
DRAWS = 40000
MAGNITUDE = 9


def image_of_bytes(channels, height, width):
    """Slopes with noise, darker than white and brighter than black, so that no operation is idle."""
    y = torch.arange(height).view(1, -1, 1)
    x = torch.arange(width).view(1, 1, -1)
    c = torch.arange(channels).view(-1, 1, 1)
    noise = torch.randint(0, 40, (channels, height, width))
    return (20 + 6 * y + (5 + c) * x + noise).clamp(5, 240).to(torch.uint8)


def hexed(image):
    return bytes(image.flatten().tolist()).hex()


def operations(image):
    space = RandAugment()._augmentation_space(31, image.shape[-2:])
    for name, (magnitudes, signed) in space.items():
        value = float(magnitudes[MAGNITUDE]) if magnitudes.ndim else 0.0
        for magnitude in [value, -value] if signed else [value]:
            made = autoaugment._apply_op(image, name, magnitude, F.InterpolationMode.NEAREST, None)
            yield {"op": name, "magnitude": magnitude, "to": hexed(made)}


def magnitudes(height, width):
    space = RandAugment()._augmentation_space(31, (height, width))
    return {name: {"signed": signed,
                   "values": [float(v) for v in values] if values.ndim else [0.0] * 31}
            for name, (values, signed) in space.items()}


def floats(image):
    """Of an image that is then scaled by a mean and a deviation for each channel."""
    mean, deviation = [0.4, 0.7], [0.2, 0.5]
    channels, height, width = image.shape

    def scaled(x):
        return [float(v) for v in F.normalize(x, mean, deviation).flatten()]

    def cropped(padding, top, left):
        return F.crop(F.pad(image, padding, 0), top, left, height, width)

    def enlarged(top, left, h, w):
        return F.resized_crop(image, top, left, h, w, [height, width],
                              F.InterpolationMode.BILINEAR, antialias=True)

    crops = [(2, 0, 0), (2, 4, 3), (2, 2, 2), (3, 1, 6), (1, 2, 0)]
    boxes = [(0, 0, height, width), (1, 2, 3, 2), (2, 0, 1, 1), (3, 1, 4, 4), (0, 3, 5, 2)]
    erased = [(0, 0, 2, 3), (4, 2, 3, 3), (3, 4, 1, 1)]
    normal = F.normalize(image, mean, deviation)
    return {"channels": channels, "height": height, "width": width,
            "mean": mean, "deviation": deviation, "from": scaled(image),
            "flipped": scaled(F.hflip(image)),
            "cropped": [{"padding": p, "top": t, "left": l, "to": scaled(cropped(p, t, l))}
                        for p, t, l in crops],
            "enlarged": [{"box": box, "to": scaled(enlarged(*box))} for box in boxes],
            "erased": [{"box": box,
                        "to": [float(v) for v in F.erase(normal, *box, torch.zeros(1)).flatten()]}
                       for box in erased]}


def mixed(images, labels, classes):
    class GivenMixUp(v2.MixUp):
        def make_params(self, flat_inputs):
            return {"lam": 0.3}

    class GivenCutMix(v2.CutMix):
        def make_params(self, flat_inputs):
            x1, y1, x2, y2 = box = (1, 2, 4, 5)
            area = images.shape[-1] * images.shape[-2]
            return {"box": box, "lam_adjusted": 1 - (x2 - x1) * (y2 - y1) / area}

    def case(transform):
        x, y = transform(images, labels)
        return {"x": [float(v) for v in x.flatten()], "y": [float(v) for v in y.flatten()]}

    return {"samples": images.shape[0], "channels": images.shape[1], "height": images.shape[2],
            "width": images.shape[3], "x": [float(v) for v in images.flatten()],
            "labels": labels.tolist(), "classes": classes,
            "mixup": case(GivenMixUp(num_classes=classes)),
            "cutmix": case(GivenCutMix(num_classes=classes))}


def moments(draw):
    boxes = torch.tensor([draw() for _ in range(DRAWS)], dtype=torch.float64)
    return {"mean": boxes.mean(0).tolist(), "square": (boxes ** 2).mean(0).tolist()}


def boxes():
    height, width = 24, 32
    image = torch.zeros(3, height, width)

    def erasing():
        return RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4]

    def cutmix(lam):
        transform = v2.CutMix(num_classes=2)
        transform._dist = type("Given", (), {"sample": lambda self, shape: torch.tensor(lam)})()
        x1, y1, x2, y2 = transform.make_params([image])["box"]
        return y1, x1, y2 - y1, x2 - x1

    crops = [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.9), (2.0, 3.0))]
    return {"height": height, "width": width, "draws": DRAWS,
            "resized_crop": [
                {"scale": scale, "ratio": ratio,
                 **moments(lambda: RandomResizedCrop.get_params(image, scale, ratio))}
                for scale, ratio in crops],
            "erasing": moments(erasing),
            "cutmix": [{"share": share, **moments(lambda: cutmix(share))} for share in (0.2, 0.75)]}


def main():
    torch.manual_seed(3)
    pictures = [image_of_bytes(3, 17, 20), image_of_bytes(1, 18, 17)]
    golden = {
        "torchvision": torchvision.__version__,
        "bytes": [{"channels": p.shape[0], "height": p.shape[1], "width": p.shape[2],
                   "from": hexed(p), "made": list(operations(p)),
                   "magnitudes": magnitudes(p.shape[1], p.shape[2])} for p in pictures],
        "floats": floats(torch.rand(2, 7, 5)),
        "mixed": mixed(torch.randn(4, 2, 6, 5), torch.tensor([0, 2, 2, 1]), 3),
        "boxes": boxes()}
    assert all(math.isfinite(v) for v in golden["floats"]["from"])
    text = json.dumps(golden).replace('{"op"', '\n{"op"')
    (FOLDER / "data" / "augment.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
