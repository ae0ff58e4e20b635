"""Writes layer_decay.json: what timm's layer-wise decay makes of the parameters of models.

usage: make_layer_decay.py          needs torch, timm and transformers

Each case has the model's parameters in their order, with the factors on the learning rate that
timm's param_groups_layer_decay gives them; null: it turns the parameter off. Models of timm have
their own matchers of layers; those of transformers get one here, in the same form. No weights are
needed, so all models are made on the meta device.
"""

import json
import pathlib

import timm
import torch
import transformers
from timm.optim._param_groups import param_groups_layer_decay

FILE = pathlib.Path(__file__).parent / "layer_decay.json"


def bert():
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
                                     intermediate_size=64, vocab_size=100)
    return transformers.BertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(n_embd=32, n_layer=3, n_head=2, vocab_size=100)
    return transformers.GPT2LMHeadModel(config)


def swin():
    config = transformers.SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2, 3],
                                     num_heads=[2, 4], window_size=4)
    return transformers.SwinForImageClassification(config)


MATCHERS = {
    "bert": {"stem": r"^bert\.embeddings", "blocks": r"^bert\.encoder\.layer\.(\d+)"},
    "gpt2": {"stem": r"^transformer\.w[tp]e",
             "blocks": [(r"^transformer\.h\.(\d+)", None), (r"^transformer\.ln_f", (99999,))]},
    "swin": {"stem": r"^swin\.embeddings",
             "blocks": [(r"^swin\.encoder\.layers\.(\d+)\.blocks\.(\d+)", None),
                        (r"^swin\.encoder\.layers\.(\d+)\.downsample", (0,)),
                        (r"^swin\.layernorm", (99999,))]},
}
OWN = {"bert": bert, "gpt2": gpt2, "swin": swin}
TIMM = ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224",
        "resnet18", "resnet50", "convnext_atto"]


def case(name, model, **options):
    factors = {}
    for group in param_groups_layer_decay(model, **options):
        for p in group["params"]:
            factors[p] = group["lr_scale"]
    return {"model": name, "options": options,
            "parameters": [[n, list(p.shape), factors.get(p)] for n, p in model.named_parameters()]}


def main():
    cases = []
    with torch.device("meta"):
        for name in TIMM:
            cases.append(case(name, timm.create_model(name), layer_decay=0.75))
        for name, make in OWN.items():
            model = make()
            model.group_matcher = lambda coarse=False, matcher=MATCHERS[name]: matcher
            cases.append(case(name, model, layer_decay=0.9))
        cases.append(case("resnet18", timm.create_model("resnet18"), layer_decay=0.65,
                          min_scale=0.1))
        cases.append(case("resnet18", timm.create_model("resnet18"), layer_decay=0.5, min_scale=0.01,
                          no_opt_scale=0.1))
    lines = ",\n".join(json.dumps(c) for c in cases)
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
