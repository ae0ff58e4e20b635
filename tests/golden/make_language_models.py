#!/usr/bin/env python3
"""Writes data/language_models.json: what torch's recurrent layers, Hugging Face's GPT-2 and BERT, and nanochat's
GPT compute, for lab/models/language_models_test.cc.

usage: make_language_models.py [FOLDER]     needs torch, transformers and NumPy

Weights and tokens are made by formulas (made.py), so the file has none of them, and everything is computed in
float64. `twins` has the logits, the loss and for each parameter its name, its shape, the norm of its gradient and
the gradient's product with a probe. `published` has the numbers of parameters of whole models and a checksum of
their names and shapes. nanochat is no package: its model is written down here by torch's functions; FOLDER,
a clone of github.com/karpathy/nanochat at commit 3a5e0bc, compares it with the author's own.
"""

import importlib.metadata
import importlib.util
import json
import pathlib
import sys
import types

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from made import integers, made, names_checksum, summary

VOCABULARY, CONTEXT, BATCH, SEPARATOR = 11, 7, 4, 5
FILE = pathlib.Path(__file__).parent / "data/language_models.json"


def version(package, what):
    return f"{package} {importlib.metadata.version(package)} {what}"


class RecurrentModel(nn.Module):
    """As torch's example word_language_model."""

    def __init__(self, rnn, tied):
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, rnn.input_size)
        self.rnn = rnn
        self.decoder = nn.Linear(rnn.hidden_size, VOCABULARY)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(self.rnn(self.encoder(x))[0])


class Block(nn.Module):
    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads

        def linear(i, o):
            return nn.Linear(i, o, bias=False)

        kv_dim = self.width * kv_heads
        self.attn = nn.ModuleDict({"c_q": linear(dim, dim), "c_k": linear(dim, kv_dim),
                                   "c_v": linear(dim, kv_dim), "c_proj": linear(dim, dim)})
        self.mlp = nn.ModuleDict({"c_fc": linear(dim, 4 * dim), "c_proj": linear(4 * dim, dim)})

    def forward(self, x, turn):
        def heads(y):
            return y.unflatten(-1, (-1, self.width)).transpose(1, 2)

        y = rms_norm(x)
        q, k, v = (heads(self.attn[name](y)) for name in ("c_q", "c_k", "c_v"))
        q, k = rms_norm(turn(q)), rms_norm(turn(k))
        times = self.heads // k.shape[1]
        k, v = (t.repeat_interleave(times, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).flatten(2))
        return x + self.mlp["c_proj"](F.relu(self.mlp["c_fc"](rms_norm(x))).square())


def rms_norm(x):  # with float32's epsilon, which nanochat's norms have in training
    return F.rms_norm(x, (x.shape[-1],), eps=torch.finfo(torch.float32).eps)


class Nanochat(nn.Module):
    def __init__(self, layers, dim, heads, kv_heads, softcap=15, tied=False, base=10000):
        super().__init__()
        self.softcap, self.tied = softcap, tied
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(VOCABULARY, dim),
            "h": nn.ModuleList([Block(dim, heads, kv_heads) for _ in range(layers)])})
        if not tied:
            self.lm_head = nn.Linear(dim, VOCABULARY, bias=False)
        width = dim // heads
        frequencies = 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(CONTEXT, dtype=torch.float32), frequencies)
        self.cos, self.sin = angles.cos(), angles.sin()

    def turn(self, x):
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * self.cos + right * self.sin,
                          right * self.cos - left * self.sin], dim=-1)

    def forward(self, x):
        y = rms_norm(self.transformer["wte"](x))
        for block in self.transformer["h"]:
            y = block(y, self.turn)
        head = self.transformer["wte"] if self.tied else self.lm_head
        logits = F.linear(rms_norm(y), head.weight)
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits


def fill(network):
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(made(name, parameter.shape))


def check_nanochat(folder):
    """Compares the model above with that of nanochat, whose tables are rounded to bfloat16."""
    for name in ("nanochat.common", "nanochat.muon", "nanochat.adamw"):
        sys.modules[name] = types.SimpleNamespace(get_dist_info=None, print0=None, Muon=None,
                                                  DistMuon=None, DistAdamW=None)
    spec = importlib.util.spec_from_file_location("gpt", pathlib.Path(folder) / "nanochat/gpt.py")
    gpt = importlib.util.module_from_spec(spec)
    sys.modules["gpt"] = gpt
    spec.loader.exec_module(gpt)
    theirs = gpt.GPT(gpt.GPTConfig(sequence_len=CONTEXT, vocab_size=VOCABULARY, n_layer=2, n_head=4,
                                   n_kv_head=2, n_embd=16)).float()
    theirs.cos, theirs.sin = theirs.cos.bfloat16(), theirs.sin.bfloat16()
    ours = Nanochat(layers=2, dim=16, heads=4, kv_heads=2)
    ours.cos, ours.sin = (t[0, :CONTEXT, 0].float() for t in (theirs.cos, theirs.sin))
    fill(theirs)
    fill(ours)
    x = integers("x", (BATCH, CONTEXT), VOCABULARY)
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in ours.named_parameters()]
    torch.testing.assert_close(theirs(x), ours(x))
    print("nanochat's own model agrees")


def twin(oracle, network, model, options, classes=0, logits=lambda network, x: network(x), separator=0):
    """`classes` is above 0 for one output a sample; then the ends of samples are padding. Above 0, `separator` is the
    token at the end of the first and of the second text of a sample."""
    network = network.double()
    network.eval()
    fill(network)
    x = integers("x", (BATCH, CONTEXT), VOCABULARY)
    y = integers("y", (BATCH, CONTEXT), VOCABULARY)
    if classes:
        x = 1 + x % (VOCABULARY - 1)
        for i in range(BATCH):
            x[i, CONTEXT - i:] = 0
            if separator:
                x[i][x[i] == separator] = 1
                x[i, [i % 3, CONTEXT - i - 1]] = separator
        y = torch.arange(BATCH) % classes
    outputs = logits(network, x)
    loss = F.cross_entropy(outputs.flatten(0, -2), y.flatten())
    loss.backward()
    tensors = [[name, list(p.shape), *summary(name, p.grad)] for name, p in network.named_parameters()]
    return {"oracle": oracle, "model": model, "options": options, "vocabulary": VOCABULARY,
            "context": CONTEXT, "batch": BATCH, "classes": classes, "separator": separator,
            "logits": outputs.flatten().tolist(), "loss": loss.item(), "tensors": tensors}


def twins():
    for kind, width, layers, tied in (("LSTM", 5, 2, False), ("GRU", 6, 1, True), ("GRU", 5, 2, False),
                                      ("RNN", 5, 2, False)):
        options = f"layers = {layers}\ndim = 6\nembedding = {width}\ntied = {str(tied).lower()}"
        layer = getattr(nn, kind)(width, 6, layers, batch_first=True)
        yield twin(version("torch", f"nn.{kind}"), RecurrentModel(layer, tied), "rnn",
                   f"cell = \"{kind.lower()}\"\n{options}\ndropout = 0")
    relu = nn.RNN(4, 6, 1, nonlinearity="relu", batch_first=True)
    yield twin(version("torch", "nn.RNN with relu"), RecurrentModel(relu, False), "rnn",
               "cell = \"rnn\"\nlayers = 1\ndim = 6\nembedding = 4\nnonlinearity = \"relu\"\ndropout = 0")
    gpt2 = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=9, n_embd=12, n_layer=2, n_head=3,
                                   bos_token_id=0, eos_token_id=0)
    yield twin(version("transformers", "GPT2LMHeadModel"), transformers.GPT2LMHeadModel(gpt2),
               "gpt2", "layers = 2\ndim = 12\nheads = 3\npositions = 9\ndropout = 0",
               logits=lambda network, x: network(x).logits)
    yield twin("nanochat 3a5e0bc GPT", Nanochat(layers=2, dim=16, heads=4, kv_heads=2), "nanochat",
               "layers = 2\ndim = 16\nheads = 4\nkv_heads = 2")
    yield twin("nanochat 3a5e0bc GPT, tied and without a cap",
               Nanochat(layers=1, dim=12, heads=3, kv_heads=3, softcap=0, tied=True, base=100),
               "nanochat", "layers = 1\ndim = 12\nheads = 3\nsoftcap = 0\nrotary_base = 100\ntied = true")
    bert = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=24, max_position_embeddings=9, num_labels=3)
    yield twin(version("transformers", "BertForSequenceClassification"),
               transformers.BertForSequenceClassification(bert), "bert",
               "layers = 2\ndim = 12\nheads = 3\nmlp_ratio = 2\npositions = 9\ndropout = 0", 3,
               lambda network, x: network(x, attention_mask=(x != 0).long()).logits)
    # In Hugging Face's samples padding is of the first segment, which makes no difference.
    yield twin(version("transformers", "BertForSequenceClassification, two texts"),
               transformers.BertForSequenceClassification(bert), "bert",
               "layers = 2\ndim = 12\nheads = 3\nmlp_ratio = 2\npositions = 9\ndropout = 0", 3,
               lambda network, x: network(x, attention_mask=(x != 0).long(), token_type_ids=types_of(x)).logits,
               SEPARATOR)


def types_of(x):
    types = torch.zeros_like(x)
    for row, tokens in zip(types, x.tolist()):
        first = tokens.index(SEPARATOR) + 1
        row[first:first + tokens[first:].index(SEPARATOR) + 1] = 1
    return types


def published(oracle, network, model, options, vocabulary, classes):
    parameters = list(network.named_parameters())
    return {"oracle": oracle, "model": model, "options": options, "vocabulary": vocabulary,
            "context": 16, "classes": classes, "parameters": sum(p.numel() for _, p in parameters),
            "names": names_checksum(parameters)}


def whole_models():
    with torch.device("meta"):
        gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config())
        bert = transformers.BertForSequenceClassification(transformers.BertConfig())
    yield published(version("transformers", "gpt2"), gpt2, "gpt2", "positions = 1024", 50257, 0)
    yield published(version("transformers", "bert-base-uncased"), bert, "bert", "positions = 512",
                    30522, 2)


def main():
    if len(sys.argv) > 1:
        check_nanochat(sys.argv[1])
    lines = [json.dumps(case) for case in twins()]
    whole = [json.dumps(case) for case in whole_models()]
    FILE.write_text('{"twins": [\n' + ",\n".join(lines) + '\n],\n"published": [\n' +
                    ",\n".join(whole) + "\n]}\n")


main()
