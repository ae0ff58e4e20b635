"""Writes data/tensor_classes.txt: parameters of known models and what each is for.

usage: make_tensor_classes.py          needs torch, torchvision, timm, transformers and diffusers

The class is that of the module which holds the parameter, by its type: a linear layer's weight is a
matrix, an embedding's an embedding, a convolution's a convolution, a norm's a norm. The layer whose
output is the logits is the head, named here for each model. What belongs to no layer is in OWN,
judged by hand from what the model does with it. So no verdict comes from a name's words, as
Classify's do. Of blocks that repeat, the first is listed. Models whose code is in no package are written down
here with the names that their authors' code has.
"""

import pathlib
import re
import sys
import types

# Its operators for boxes, which nothing here needs, ask for the one torch that it was built with.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("unused")

import diffusers  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, weight_norm  # noqa: E402

MATRICES = (nn.Linear, nn.RNNBase, nn.MultiheadAttention, transformers.pytorch_utils.Conv1D)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)

OWN = {
    "cls_token": "embedding",
    "class_token": "embedding",
    "dist_token": "embedding",
    "class_embedding": "embedding",
    "pos_embed": "embedding",
    "pos_embedding": "embedding",
    "positional_embedding": "embedding",
    "relative_position_bias_table": "bias",  # added to logits; its authors do not decay it
    "layer_scale": "norm",  # gains: a factor for each channel, or one for all
    "gamma": "norm",
    "gamma_1": "norm",
    "gamma_2": "norm",
    "scale": "norm",
    "logit_scale": "norm",
    "lambdas": "norm",
    "skip_weights": "norm",
    "qkv_w": "matrix",  # three of them
    "bias": "bias",
}


def layers(**modules):
    return nn.ModuleDict(modules)


def block(**kwargs):
    """A module with layers and parameters of its own."""
    module = nn.Module()
    for name, value in kwargs.items():
        setattr(module, name, value)
    return module


def parameter(*shape):
    return nn.Parameter(torch.empty(*shape))


def lstm_language_model():  # torch's example word_language_model
    return layers(encoder=nn.Embedding(33278, 200), rnn=nn.LSTM(200, 200, 2),
                  decoder=nn.Linear(200, 33278))


def bidirectional_lstm():
    return layers(embedding=nn.Embedding(1000, 64), lstm=nn.LSTM(64, 128, bidirectional=True),
                  fc=nn.Linear(256, 2))


def llama():  # Meta's own code; Hugging Face's names are others
    def layer():
        return layers(
            attention=layers(wq=nn.Linear(512, 512, False), wk=nn.Linear(512, 128, False),
                             wv=nn.Linear(512, 128, False), wo=nn.Linear(512, 512, False)),
            feed_forward=layers(w1=nn.Linear(512, 1376, False), w2=nn.Linear(1376, 512, False),
                                w3=nn.Linear(512, 1376, False)),
            attention_norm=nn.RMSNorm(512), ffn_norm=nn.RMSNorm(512))

    return layers(tok_embeddings=nn.Embedding(32000, 512), layers=nn.ModuleList([layer()]),
                  norm=nn.RMSNorm(512), output=nn.Linear(512, 32000, False))


def whisper():  # OpenAI's own code; its head is the embedding
    def attention():
        return layers(query=nn.Linear(384, 384), key=nn.Linear(384, 384, False),
                      value=nn.Linear(384, 384), out=nn.Linear(384, 384))

    def layer(cross):
        parts = dict(attn=attention(), attn_ln=nn.LayerNorm(384),
                     mlp=nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384)),
                     mlp_ln=nn.LayerNorm(384))
        if cross:
            parts |= dict(cross_attn=attention(), cross_attn_ln=nn.LayerNorm(384))
        return layers(**parts)

    return layers(
        encoder=layers(conv1=nn.Conv1d(80, 384, 3), conv2=nn.Conv1d(384, 384, 3),
                       blocks=nn.ModuleList([layer(False)]), ln_post=nn.LayerNorm(384)),
        decoder=block(token_embedding=nn.Embedding(51865, 384),
                      positional_embedding=parameter(448, 384),
                      blocks=nn.ModuleList([layer(True)]), ln=nn.LayerNorm(384)))


def dit():  # Peebles & Xie's own code
    def two(width):
        return nn.Sequential(nn.SiLU(), nn.Linear(384, width))

    body = layers(attn=layers(qkv=nn.Linear(384, 1152), proj=nn.Linear(384, 384)),
                  mlp=layers(fc1=nn.Linear(384, 1536), fc2=nn.Linear(1536, 384)),
                  adaLN_modulation=two(6 * 384))
    return block(
        pos_embed=parameter(1, 256, 384), x_embedder=layers(proj=nn.Conv2d(4, 384, 2, 2)),
        t_embedder=layers(mlp=nn.Sequential(nn.Linear(256, 384), nn.SiLU(), nn.Linear(384, 384))),
        y_embedder=layers(embedding_table=nn.Embedding(1001, 384)),
        blocks=nn.ModuleList([body]),
        final_layer=layers(linear=nn.Linear(384, 32), adaLN_modulation=two(768)))


def speedrun_gpt():  # modded-nanogpt, the example that Muon's repository names
    body = block(
        attn=block(qkv_w=parameter(3, 768, 768), lambdas=parameter(2),
                   c_proj=nn.Linear(768, 768, False)),
        mlp=layers(c_fc=nn.Linear(768, 3072, False), c_proj=nn.Linear(3072, 768, False)),
        lambdas=parameter(2))
    return block(embed=nn.Embedding(50257, 768),
                 value_embeds=nn.ModuleList([nn.Embedding(50257, 768)]),
                 blocks=nn.ModuleList([body]), lm_head=nn.Linear(768, 50304, False),
                 skip_weights=parameter(6))


def hifi_gan(norm):
    return layers(
        conv_pre=norm(nn.Conv1d(80, 512, 7)),
        ups=nn.ModuleList([norm(nn.ConvTranspose1d(512, 256, 16))]),
        resblocks=nn.ModuleList([layers(convs1=nn.ModuleList([norm(nn.Conv1d(256, 256, 3))]),
                                        convs2=nn.ModuleList([norm(nn.Conv1d(256, 256, 3))]))]),
        conv_post=norm(nn.Conv1d(32, 1, 7)))


def waveglow():
    net = layers(start=weight_norm(nn.Conv1d(4, 512, 1)), end=nn.Conv1d(512, 8, 1),
                 cond_layer=weight_norm(nn.Conv1d(640, 8192, 1)),
                 in_layers=nn.ModuleList([weight_norm(nn.Conv1d(512, 1024, 3))]),
                 res_skip_layers=nn.ModuleList([weight_norm(nn.Conv1d(512, 1024, 1))]))
    return layers(upsample=nn.ConvTranspose1d(80, 80, 1024), WN=nn.ModuleList([net]),
                  convinv=nn.ModuleList([layers(conv=nn.Conv1d(8, 8, 1))]))


def attention_tutorial():  # heads of attention, each a module of its own
    head = layers(key=nn.Linear(384, 64, False), query=nn.Linear(384, 64, False),
                  value=nn.Linear(384, 64, False))
    body = layers(sa=layers(heads=nn.ModuleList([head]), proj=nn.Linear(384, 384)),
                  ffwd=layers(net=nn.Sequential(nn.Linear(384, 1536), nn.ReLU(),
                                                nn.Linear(1536, 384))),
                  ln1=nn.LayerNorm(384), ln2=nn.LayerNorm(384))
    return layers(token_embedding_table=nn.Embedding(65, 384),
                  position_embedding_table=nn.Embedding(256, 384), blocks=nn.ModuleList([body]),
                  ln_f=nn.LayerNorm(384), lm_head=nn.Linear(384, 65))


def auto(config, kind="AutoModelForCausalLM"):
    return getattr(transformers, kind).from_config(config)

# Name, how it is made, and the layers whose outputs are logits.
MODELS = [
    ("torchvision resnet50", torchvision.models.resnet50, ["fc"]),
    ("torchvision vgg16", torchvision.models.vgg16, ["classifier.6"]),
    ("torchvision vit_b_16", torchvision.models.vit_b_16, ["heads.head"]),
    ("torchvision swin_t", torchvision.models.swin_t, ["head"]),
    ("torchvision swin_v2_t", torchvision.models.swin_v2_t, ["head"]),
    ("torchvision convnext_tiny", torchvision.models.convnext_tiny, ["classifier.2"]),
    ("torchvision efficientnet_b0", torchvision.models.efficientnet_b0, ["classifier.1"]),
    ("timm vit_base_patch16_224", "vit_base_patch16_224", ["head"]),
    ("timm deit3_small", "deit3_small_patch16_224", ["head"]),
    ("timm deit_tiny_distilled", "deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
    ("timm swin_tiny", "swin_tiny_patch4_window7_224", ["head.fc"]),
    ("timm beit_base", "beit_base_patch16_224", ["head"]),
    ("timm convnext_tiny", "convnext_tiny", ["head.fc"]),
    ("timm convnextv2_tiny", "convnextv2_tiny", ["head.fc"]),
    ("timm poolformerv2_s12", "poolformerv2_s12", ["head.fc"]),
    ("timm caformer_s18", "caformer_s18", ["head.fc.fc2"]),
    ("timm mixer_s16", "mixer_s16_224", ["head"]),
    ("transformers bert", lambda: transformers.BertForMaskedLM(transformers.BertConfig()), []),
    ("transformers bert classifier",
     lambda: transformers.BertForSequenceClassification(transformers.BertConfig()), ["classifier"]),
    ("transformers roberta classifier",
     lambda: transformers.RobertaForSequenceClassification(transformers.RobertaConfig()),
     ["classifier.out_proj"]),
    ("transformers gpt2", lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(tie_word_embeddings=False)), ["lm_head"]),
    ("transformers gpt_neox", lambda: auto(transformers.GPTNeoXConfig(num_hidden_layers=1)),
     ["embed_out", "lm_head"]),
    ("transformers llama", lambda: auto(transformers.LlamaConfig(num_hidden_layers=1)), ["lm_head"]),
    ("transformers t5", lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(tie_word_embeddings=False)), ["lm_head"]),
    ("transformers whisper", lambda: transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(tie_word_embeddings=False)), ["proj_out"]),
    ("transformers clip vision", lambda: transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig()), []),
    ("diffusers dit", lambda: diffusers.DiTTransformer2DModel(num_layers=1), []),
    ("dit", dit, []),
    ("llama", llama, ["output"]),
    ("whisper", whisper, []),
    ("lstm language model", lstm_language_model, ["decoder"]),
    ("bidirectional lstm", bidirectional_lstm, ["fc"]),
    ("modded-nanogpt", speedrun_gpt, ["lm_head"]),
    ("tutorial gpt", attention_tutorial, ["lm_head"]),
    ("hifi-gan weight_norm", lambda: hifi_gan(weight_norm), []),
    ("hifi-gan parametrizations", lambda: hifi_gan(parametrizations.weight_norm), []),
    ("waveglow", waveglow, []),
]


def class_of(modules, path, name, heads):
    """What modules[path].name is for."""
    module = modules[path]
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        if name == "original0":
            return "norm"
        path = path.split(".parametrizations.")[0]
        module, name = modules[path], "weight"
    if name == "weight_g":
        return "norm"
    if isinstance(module, MATRICES + CONVOLUTIONS):
        if "bias" in name:
            return "bias"
        if path in heads:
            return "head"
        return "matrix" if isinstance(module, MATRICES) else "convolution"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if "Norm" in type(module).__name__ or "StarReLU" in type(module).__name__:
        return "bias" if name == "bias" else "norm"
    if name in ("q_bias", "v_bias"):
        return "bias"
    return OWN[name]


def main():
    folder = pathlib.Path(__file__).parent / "data"
    lines = []
    for title, make, heads in MODELS:
        with torch.device("meta"):
            model = timm.create_model(make) if isinstance(make, str) else make()
        modules, seen = dict(model.named_modules()), set()
        missing = [h for h in heads if h not in modules]
        if len(missing) == len(heads) and heads:
            raise SystemExit(f"{title}: no module {missing}")
        for name, value in model.named_parameters():
            path, _, own = name.rpartition(".")
            verdict = class_of(modules, path, own, heads)
            pattern = re.sub(r"(?<=[._])\d+(?=\.)", "#", name), verdict, value.dim()
            if pattern not in seen:
                seen.add(pattern)
                shape = "x".join(map(str, value.shape)) or "scalar"
                lines.append(f"{title}\t{name}\t{shape}\t{verdict}\n")
    (folder / "tensor_classes.txt").write_text("".join(lines))
    print(len(lines), "parameters of", len(MODELS), "models")


if __name__ == "__main__":
    main()
