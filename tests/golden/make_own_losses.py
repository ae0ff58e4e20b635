"""Writes data/own_losses.json: losses of models that have their own, computed by torch alone.

usage: python make_own_losses.py     (torch, numpy, scipy and pycocotools; see tools/requirements-oracles.txt)

ppo: the loss of CleanRL's ppo.py for given outputs of a policy, by torch.distributions. vae: the loss of PyTorch's example. frechet: the distance
of Heusel et al. by scipy's matrix root. detection: the average precision of pycocotools.
"""

import json
import pathlib

import numpy as np
import scipy.linalg
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.distributions import Categorical, Normal
from torch.nn import functional as F

OUT = pathlib.Path(__file__).parent / "data" / "own_losses.json"


def values(*shape, scale=1.0, start=0):
    """Numbers by a formula that the C++ test repeats."""
    count = int(np.prod(shape))
    return torch.tensor([scale * np.sin(0.37 * (start + i) + 0.1 * (start + i) ** 0.5)
                         for i in range(count)], dtype=torch.float64).view(*shape)


def ppo(discrete, clip_vloss, norm_adv):
    batch, outputs = 8, 3
    actor, value = values(batch, outputs), values(batch, start=100)
    log_std = values(outputs, scale=0.3, start=300)
    old_log_prob, advantage = values(batch, scale=0.5, start=400) - 1.2, values(batch, start=500)
    returns = values(batch, start=600)
    old_value = values(batch, start=100) - values(batch, scale=2, start=700)
    if discrete:
        action = torch.arange(batch) % outputs
        distribution = Categorical(logits=actor)
        log_prob, entropy = distribution.log_prob(action), distribution.entropy()
    else:
        action = values(batch, outputs, start=800)
        distribution = Normal(actor, log_std.exp().expand(batch, outputs))
        log_prob, entropy = distribution.log_prob(action).sum(1), distribution.entropy().sum(1)
    ratio = (log_prob - old_log_prob).exp()
    if norm_adv:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    policy = torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 0.8, 1.2)).mean()
    if clip_vloss:
        unclipped = (value - returns) ** 2
        clipped = (old_value + torch.clamp(value - old_value, -0.2, 0.2) - returns) ** 2
        value_loss = 0.5 * torch.max(unclipped, clipped).mean()
    else:
        value_loss = 0.5 * ((value - returns) ** 2).mean()
    loss = policy - 0.01 * entropy.mean() + 0.5 * value_loss
    return {"discrete": discrete, "clip_vloss": clip_vloss, "norm_adv": norm_adv,
            "loss": loss.item()}


def vae():
    """With so small a variance that the draw does not matter."""
    x = (values(4, 6, start=50) + 1) / 2
    sizes = {"fc1": (5, 6), "fc21": (3, 5), "fc22": (3, 5), "fc3": (5, 3), "fc4": (6, 5)}
    weights = {name: values(*size, start=1000 * i) for i, (name, size) in enumerate(sizes.items())}
    hidden = torch.relu(x @ weights["fc1"].T)
    mean, log_variance = hidden @ weights["fc21"].T, hidden @ weights["fc22"].T - 80
    logits = torch.relu(mean @ weights["fc3"].T) @ weights["fc4"].T
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return {"loss": ((bce + kld) / 4).item(), "half_beta": ((bce + 0.5 * kld) / 4).item()}


def frechet():
    a, b = values(20, 4).numpy(), values(30, 4, scale=0.7, start=1000).numpy() + 0.2
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(ca @ cb)
    return float(np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * root.real))


def average_precision():
    """COCO's, at IoU 0.5, of random boxes: {found, truth} by image, rows of class, edges, score."""
    rng = np.random.default_rng(0)
    truth, found, annotations, detections = [], [], [], []
    for image in range(12):
        truth.append([])
        found.append([])
        for _ in range(rng.integers(0, 5)):
            label, (left, top) = int(rng.integers(0, 3)), rng.uniform(0, 60, 2)
            width, height = rng.uniform(10, 40, 2)
            box = [float(round(v, 2)) for v in (left, top, left + width, top + height)]
            truth[-1].append([label, *box])
            for _ in range(rng.integers(0, 4)):
                left, top, right, bottom = np.array(box) + rng.normal(0, 5, 4)
                right, bottom = max(right, left + 1), max(bottom, top + 1)
                shifted = [float(round(v, 2)) for v in (left, top, right, bottom)]
                wrong = rng.random() < 0.2
                found[-1].append([(label + 1) % 3 if wrong else label, *shifted,
                                  float(round(rng.random(), 4))])
        for label, left, top, right, bottom in truth[-1]:
            size = [right - left, bottom - top]
            annotations.append({"id": len(annotations) + 1, "image_id": image, "iscrowd": 0,
                                "category_id": label, "bbox": [left, top, *size],
                                "area": size[0] * size[1]})
        for label, left, top, right, bottom, score in found[-1]:
            detections.append({"image_id": image, "category_id": label, "score": score,
                               "bbox": [left, top, right - left, bottom - top]})
    coco = COCO()
    coco.dataset = {"info": {}, "images": [{"id": i} for i in range(12)],
                    "annotations": annotations, "categories": [{"id": i} for i in range(3)]}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"found": found, "truth": truth, "map": float(evaluation.stats[1])}


def main():
    cases = [ppo(d, c, n) for d in (True, False) for c in (True, False) for n in (True, False)]
    OUT.write_text(json.dumps({"torch": torch.__version__, "ppo": cases, "vae": vae(),
                               "frechet": frechet(), "detection": average_precision()}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
