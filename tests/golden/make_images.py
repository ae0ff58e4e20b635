"""Writes data/lab_data/images: small images of many kinds and images.json, a few pixels of each as
Pillow decodes it, and of its middle after Resize and CenterCrop of torchvision, which call Pillow.

usage: make_images.py          needs pillow and numpy
"""

import json
import pathlib

import numpy
from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "data/lab_data/images"
FOLDER.mkdir(parents=True, exist_ok=True)

y, x = numpy.mgrid[0:41, 0:57]
picture = numpy.stack([127 + 120 * numpy.sin(x / 5), 127 + 120 * numpy.cos(y / 4), 4 * (x + y) % 256], -1)
picture = Image.fromarray(picture.astype(numpy.uint8))
alpha = picture.copy()
alpha.putalpha(Image.fromarray((x * 4).astype(numpy.uint8)))
deep = Image.fromarray((x * y * 28).astype(numpy.uint16))

picture.save(FOLDER / "rgb.jpg", quality=80)
picture.save(FOLDER / "progressive.jpg", quality=80, progressive=True)
picture.convert("L").save(FOLDER / "grey.jpg", quality=80)
picture.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=90)
picture.save(FOLDER / "rgb.png")
picture.convert("L").save(FOLDER / "grey.png")
picture.quantize(16).save(FOLDER / "palette.png")
alpha.save(FOLDER / "alpha.png")
picture.convert("1").save(FOLDER / "bits.png")
deep.save(FOLDER / "deep.png")
picture.transpose(Image.Transpose.ROTATE_90).save(FOLDER / "tall.png")


def resize_and_crop(image, shorter, size):
    """torchvision.transforms.functional's resize and center_crop, for which Pillow does the work."""
    width, height = image.size
    if width <= height:
        new = (shorter, int(shorter * height / width))
    else:
        new = (int(shorter * width / height), shorter)
    image = image.resize(new, Image.Resampling.BILINEAR)
    left, top = int(round((new[0] - size) / 2.0)), int(round((new[1] - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


golden = {}
for path in sorted(FOLDER.glob("*.[jp][pn]g")):
    image = Image.open(path)
    if path.name == "deep.png":  # Pillow cuts the values off at 255 instead
        image = Image.fromarray((numpy.asarray(image).astype(numpy.float64) / 257).round().astype(numpy.uint8))
    image = image.convert("RGB")
    cases = {}
    for shorter, size in ((16, 12), (20, 17), (64, 30)):
        cases[f"{shorter} {size}"] = numpy.asarray(resize_and_crop(image, shorter, size))[::4, ::4].tolist()
    golden[path.name] = {"size": image.size, "pixels": numpy.asarray(image)[::8, ::8].tolist(), "resized": cases}
(FOLDER / "images.json").write_text(json.dumps(golden) + "\n")
