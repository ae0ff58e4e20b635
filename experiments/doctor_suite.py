"""The labelled suite of `kudari doctor`: recipes, what is wrong with each, and seeds.

A case is a base recipe with a fault put in. `labels` are the verdicts that the doctor must give,
`allowed` those that are true, too, and so count neither for nor against it. Seeds below 100 are the
development half, from which the doctor's limits were set; the others were run with the same recipes
and looked at only to be counted. The cases of unseen() have other models, rules and sizes of faults;
they were written after the limits were set.
"""

import dataclasses

DEVELOPMENT, HELD_OUT, UNSEEN = (1, 2), (101, 102), (201,)

TRAIN = "batch_size = 64\nthreads = 1\nlayers_every = 10\n"

MODELS = {
    "linear": ("digits", 'name = "linear"', "epochs = 20", 340),
    "mlp": ("digits", 'name = "mlp"\nhidden = [128, 128]', "epochs = 20", 340),
    "deep": ("digits", 'name = "mlp"\nhidden = [64, 64, 64, 64, 64, 64, 64, 64]', "epochs = 20", 340),
    "vit": ("digits", 'name = "vit"\npatch = 2\ndim = 32\ndepth = 2', "epochs = 12", 204),
    "resnet": ("digits", 'name = "resnet"\nwidth = 8', "epochs = 12", 204),
    "mnist-mlp": ("mnist", 'name = "mlp"\nhidden = [128]', "epochs = 5", 315),
    "mnist-vit": ("mnist", 'name = "vit"\npatch = 7\ndim = 32\ndepth = 2', "epochs = 5", 315),
    "wide": ("digits", 'name = "mlp"\nhidden = [256, 256, 256]\nnorm = "batch"', "epochs = 15", 255),
    "vit3": ("digits", 'name = "vit"\npatch = 4\ndim = 48\ndepth = 3', "epochs = 25", 425),
    "resnet14": ("digits", 'name = "resnet"\nwidth = 8\ndepth = 14', "epochs = 10", 170),
    "mnist-linear": ("mnist", 'name = "linear"', "epochs = 6", 378),
    "mnist-deep": ("mnist", 'name = "mlp"\nhidden = [48, 48, 48, 48, 48, 48]', "epochs = 5", 315),
    "cifar-resnet": ("cifar10", 'name = "resnet"\nwidth = 8', "epochs = 5", 195),
}
SAMPLES = {"mnist": 4000, "cifar10": 2500}
EXCLUDED = '["bias", "norm"]'


@dataclasses.dataclass
class Case:
    name: str
    labels: list
    base: str
    rule: str
    lr: str
    sets: list = dataclasses.field(default_factory=list)
    allowed: list = dataclasses.field(default_factory=list)

    @property
    def data(self):
        return MODELS[self.base][0]

    def recipe(self):
        data, model, length, steps = MODELS[self.base]
        samples = f"samples = {SAMPLES[data]}\n" if data in SAMPLES else ""
        decay = {"adamw": 0.01, "lion": 0.1, "lamb": 0.01, "muon": 0.01}.get(self.rule, 1e-4)
        return (f"[model]\n{model}\n\n[data]\nname = \"{data}\"\n{samples}\n"
                f"[optimizer]\nrule = \"{self.rule}\"\nlr = {self.rate()}\n"
                f"weight_decay = {decay}\nno_decay = {EXCLUDED}\n"
                + ("fallback = {}\n" if self.rule == "muon" else "")
                + f"\n[train]\n{length}\n{TRAIN}")

    def rate(self):
        return f'"{self.lr.replace("N", str(MODELS[self.base][3]))}"'


GOOD = "warmup(20) * cosine(N, 0.02)"

# Rates that are near the best of each model and rule.
HEALTHY = [
    ("linear", "momentum", "0.02"), ("linear", "adamw", "1e-2"),
    ("mlp", "adamw", "2e-3"), ("mlp", "momentum", "0.05"), ("mlp", "lion", "5e-4"),
    ("mlp", "muon", "0.01"), ("mlp", "lamb", "1e-2"),
    ("deep", "adamw", "1e-3"), ("deep", "momentum", "0.1"),
    ("vit", "adamw", "2e-3"), ("vit", "lion", "1.5e-3"),
    ("resnet", "momentum", "0.1"), ("resnet", "adamw", "5e-3"),
    ("mnist-mlp", "adamw", "2e-3"), ("mnist-mlp", "momentum", "0.05"), ("mnist-vit", "adamw", "1e-2"),
]


def healthy():
    for base, rule, lr in HEALTHY:
        yield Case(f"healthy/{base}-{rule}", [], base, rule, f"{lr} * {GOOD}")
    # Other ways to train that are nothing to worry about.
    yield Case("healthy/mlp-constant", [], "mlp", "adamw", "5e-4")
    yield Case("healthy/vit-steps", [], "vit", "adamw", "2e-3 * multistep([140, 180], 0.2)")
    yield Case("healthy/mlp-onecycle", [], "mlp", "momentum", "0.1 * onecycle(N)")
    yield Case("healthy/resnet-wsd", [], "resnet", "momentum", "0.1 * wsd(N, 10, 44)")
    yield Case("healthy/vit-accumulate", [], "vit", "adamw", f"2e-3 * {GOOD}",
               ["optimizer.accumulate=4", "train.batch_size=16"])
    yield Case("healthy/mlp-dropout", [], "mlp", "adamw", f"2e-3 * {GOOD}", ["model.dropout=0.2"])
    yield Case("healthy/mlp-smoothing", [], "mlp", "adamw", f"2e-3 * {GOOD}",
               ["train.label_smoothing=0.1"])
    yield Case("healthy/vit-bf16-master", [], "vit", "adamw", f"2e-3 * {GOOD}",
               ["train.weights=bf16", "optimizer.precision={master='float32', check=true}"])
    yield Case("healthy/mlp-f16", [], "mlp", "adamw", f"2e-3 * {GOOD}", ["train.precision=f16"])
    yield Case("healthy/mlp-sam", [], "mlp", "momentum", f"0.05 * {GOOD}",
               ["optimizer.source=sam"])
    yield Case("healthy/mlp-ordered", [], "mlp", "adamw", f"2e-3 * {GOOD}", ["train.shuffle=false"])


def faulty():
    def case(label, variant, base, rule, lr, sets=(), allowed=()):
        return Case(f"{label}/{variant}", [label], base, rule, lr, list(sets), list(allowed))

    high = ["lr_too_high", "warmup_too_short", "exploding_gradients", "update_ratio"]
    yield case("diverged", "mlp-momentum", "mlp", "momentum", "1.5", (), high)
    yield case("diverged", "linear-mse", "linear", "momentum", "3", ["train.loss=mse"], high)
    yield case("diverged", "vit-momentum", "vit", "momentum", "2 * warmup(60)", (), high)
    yield case("diverged", "deep-momentum", "deep", "momentum", "0.5 * warmup(80) * cosine(N, 0.02)",
               (), high)
    yield case("diverged", "mnist-mlp", "mnist-mlp", "momentum", "3 * warmup(60)", (), high)

    near = ["update_ratio", "warmup_too_short"]
    yield case("lr_too_high", "mlp-adamw", "mlp", "adamw", "0.15", (), near)
    yield case("lr_too_high", "mlp-lion", "mlp", "lion", "0.02 * warmup(20)", (), near)
    yield case("lr_too_high", "vit-adamw", "vit", "adamw", "0.1 * warmup(40)", (), near)
    yield case("lr_too_high", "resnet-momentum", "resnet", "momentum", "4 * warmup(40)", (), near)
    yield case("lr_too_high", "mnist-mlp", "mnist-mlp", "adamw", "0.15 * warmup(20)", (), near)
    yield case("lr_too_high", "deep-adamw", "deep", "adamw", "0.06 * warmup(40)", (), near)

    for base, rule, lr in [("mlp", "adamw", "1e-5"), ("mlp", "momentum", "2e-4"),
                           ("vit", "adamw", "2e-5"), ("resnet", "momentum", "1e-4"),
                           ("mnist-mlp", "adamw", "1e-5"), ("linear", "momentum", "1e-4")]:
        schedule = GOOD if base != "resnet" else "warmup(20)"
        yield case("lr_too_low", f"{base}-{rule}", base, rule, f"{lr} * {schedule}")

    yield case("warmup_too_short", "vit-adamw-4e-2", "vit", "adamw", "4e-2 * cosine(N, 0.02)")
    yield case("warmup_too_short", "vit-adamw-6e-2", "vit", "adamw", "6e-2 * cosine(N, 0.02)")
    yield case("warmup_too_short", "deep-adamw-3e-2", "deep", "adamw", "3e-2 * cosine(N, 0.02)")
    yield case("warmup_too_short", "deep-adamw-2e-2", "deep", "adamw", "2.5e-2 * cosine(N, 0.02)")
    yield case("warmup_too_short", "mnist-vit", "mnist-vit", "adamw", "5e-2 * cosine(N, 0.02)")

    noise = ["data.label_noise=0.4"]
    yield case("plateau", "linear-momentum", "linear", "momentum", "0.05", noise)
    yield case("plateau", "linear-adamw", "linear", "adamw", "0.03 * warmup(20)", noise)
    yield case("plateau", "mlp-narrow", "mlp", "adamw", "1e-2 * warmup(20)",
               ["data.label_noise=0.5", "model.hidden=[8]"])
    yield case("plateau", "mlp-dropout", "mlp", "momentum", "0.1 * warmup(20)",
               ["data.label_noise=0.5", "model.dropout=0.5", "train.epochs=30"])
    yield case("plateau", "mnist-mlp", "mnist-mlp", "adamw", "5e-3 * warmup(20)",
               ["data.label_noise=0.6", "train.epochs=8", "model.dropout=0.3"])

    yield case("schedule_ended_early", "mlp-cosine", "mlp", "momentum", "0.02 * warmup(10) * cosine(60)")
    yield case("schedule_ended_early", "vit-linear", "vit", "adamw", "2e-3 * warmup(10) * polynomial(60)")
    yield case("schedule_ended_early", "resnet-cosine", "resnet", "momentum", "0.1 * warmup(10) * cosine(50)")
    yield case("schedule_ended_early", "mnist-steps", "mnist-mlp", "adamw",
               "1e-3 * multistep([30, 50, 70, 90], 0.1)")
    yield case("schedule_ended_early", "cifar-cosine", "cifar-resnet", "momentum",
               "0.1 * warmup(10) * cosine(70, 0.001)")

    small = ["optimizer.weight_decay=0"]
    yield case("overfitting", "mlp", "mlp", "adamw", "2e-3", small + ["data.label_noise=0.3", "train.epochs=60"])
    yield case("overfitting", "mnist-mlp", "mnist-mlp", "adamw", "2e-3",
               small + ["data.samples=400", "train.epochs=40", "data.label_noise=0.2"])
    yield case("overfitting", "cifar-resnet", "cifar-resnet", "adamw", "3e-3",
               small + ["data.samples=500", "train.epochs=25"])
    yield case("overfitting", "vit", "vit", "adamw", "3e-3 * warmup(20)",
               small + ["data.label_noise=0.3", "train.epochs=40"])

    yield case("overfitting", "resnet-narrow", "resnet", "adamw", "2e-2 * warmup(20)",
               ["data.label_noise=0.6", "model.width=4", "train.epochs=40"])

    yield case("underfitting", "mlp-narrow", "mlp", "adamw", f"1e-2 * {GOOD}", ["model.hidden=[2]"])
    yield case("underfitting", "mnist-narrow", "mnist-mlp", "adamw", f"1e-2 * {GOOD}", ["model.hidden=[2]"])
    yield case("underfitting", "mlp-decay", "mlp", "adamw", f"2e-3 * {GOOD}", ["optimizer.weight_decay=60"])
    yield case("underfitting", "mlp-dropout", "mlp", "adamw", f"5e-3 * {GOOD}",
               ["model.hidden=[32, 32]", "model.dropout=0.75", "train.epochs=30"])
    yield case("underfitting", "cifar-linear", "cifar-resnet", "momentum", f"3e-3 * {GOOD}",
               ["model={name='linear'}", "optimizer.weight_decay=0.5"])

    ordered = ["train.shuffle=false"]
    yield case("data_problem", "mlp-labels", "mlp", "momentum", f"0.03 * {GOOD}",
               ordered + ["fault={bad_begin=0.5, bad_end=0.62}"])
    yield case("data_problem", "mlp-adamw", "mlp", "adamw", f"5e-4 * {GOOD}",
               ordered + ["fault={bad_begin=0.3, bad_end=0.36}"])
    yield case("data_problem", "mnist-labels", "mnist-mlp", "adamw", f"1e-3 * {GOOD}",
               ordered + ["fault={bad_begin=0.7, bad_end=0.76}", "train.epochs=8"])
    yield case("data_problem", "resnet-labels", "resnet", "momentum", f"0.05 * {GOOD}",
               ordered + ["fault={bad_begin=0.2, bad_end=0.32}"])
    yield case("data_problem", "vit-labels", "vit", "adamw", f"2e-3 * {GOOD}",
               ordered + ["fault={bad_begin=0.8, bad_end=0.92}"])

    yield case("vanishing_gradients", "deep-momentum", "deep", "momentum", f"0.03 * {GOOD}",
               ["fault.init_scale=0.2"])
    yield case("vanishing_gradients", "deep-adamw", "deep", "adamw", f"1e-4 * {GOOD}",
               ["fault.init_scale=0.1"])
    yield case("vanishing_gradients", "deeper", "deep", "momentum", f"0.03 * {GOOD}",
               ["model.hidden=[64,64,64,64,64,64,64,64,64,64,64,64,64,64,64,64]", "fault.init_scale=0.5"])
    yield case("exploding_gradients", "deep-adamw", "deep", "adamw", f"1e-3 * {GOOD}",
               ["fault.init_scale=4"], ["diverged", "lr_too_high", "warmup_too_short", "overfitting"])
    yield case("exploding_gradients", "deep-momentum", "deep", "momentum", f"1e-5 * {GOOD}",
               ["fault.init_scale=4"], ["diverged", "lr_too_high", "warmup_too_short", "overfitting"])
    yield case("exploding_gradients", "deeper", "deep", "adamw", f"1e-3 * {GOOD}",
               ["model.hidden=[64,64,64,64,64,64,64,64,64,64,64,64,64,64,64,64]", "fault.init_scale=3"],
               ["diverged", "lr_too_high", "warmup_too_short", "overfitting"])

    yield case("dead_tensors", "mlp-missing", "mlp", "adamw", f"2e-3 * {GOOD}", ["fault.missing=layer0.*"])
    yield case("dead_tensors", "vit-missing", "vit", "adamw", f"2e-3 * {GOOD}", ["fault.missing=blocks.1.*"])
    yield case("dead_tensors", "resnet-zero", "resnet", "momentum", f"0.1 * {GOOD}", ["fault.zero=blocks.1.*"])
    yield case("dead_tensors", "mnist-zero", "mnist-mlp", "adamw", f"2e-3 * {GOOD}", ["fault.zero=layer0.weight"])

    def group(match, lr):
        return [f"optimizer.group=[{{match='{match}', lr='{lr}'}}]"]
    yield case("update_ratio", "mlp-fast", "mlp", "adamw", f"1e-3 * {GOOD}", group("layer1.weight", "0.2"),
               ["lr_too_high", "warmup_too_short"])
    yield case("update_ratio", "vit-fast", "vit", "adamw", f"1e-3 * {GOOD}", group("blocks.0.fc*.weight", "0.1"),
               ["lr_too_high", "warmup_too_short"])
    yield case("update_ratio", "mlp-slow", "mlp", "adamw", f"2e-3 * {GOOD}", group("layer0.weight", "1e-8"))
    yield case("update_ratio", "resnet-slow", "resnet", "momentum", f"0.1 * {GOOD}", group("blocks.*", "1e-7"))
    yield case("update_ratio", "mnist-fast", "mnist-mlp", "adamw", f"1e-3 * {GOOD}", group("layer0.weight", "0.2"),
               ["lr_too_high", "warmup_too_short"])

    yield case("trust_ratio_pinned", "mlp-larc", "mlp", "larc", f"2e-3 * {GOOD}", (), ["lr_too_low"])
    yield case("trust_ratio_pinned", "resnet-larc", "resnet", "larc", f"5e-3 * {GOOD}", (), ["lr_too_low"])
    yield case("trust_ratio_pinned", "mlp-lambc", "mlp", "lambc", f"3e-3 * {GOOD}", ["fault.init_scale=30"],
               ["diverged", "lr_too_high", "warmup_too_short", "overfitting", "exploding_gradients"])
    yield case("trust_ratio_pinned", "mnist-larc", "mnist-mlp", "larc", f"1e-3 * {GOOD}", (), ["lr_too_low"])

    def summed(count, batch=16):
        return [f"optimizer.accumulate={count}", f"train.batch_size={batch}", "fault.sum_accumulation=true"]
    wild = ["lr_too_high", "diverged", "warmup_too_short", "update_ratio"]
    yield case("accumulation_sum", "mlp-adamw", "mlp", "adamw", f"2e-3 * {GOOD}", summed(4), wild)
    yield case("accumulation_sum", "mlp-momentum", "mlp", "momentum", f"0.05 * {GOOD}", summed(8, 8), wild)
    yield case("accumulation_sum", "vit", "vit", "adamw", f"2e-3 * {GOOD}", summed(4), wild)
    yield case("accumulation_sum", "resnet", "resnet", "momentum", f"0.1 * {GOOD}", summed(4), wild)

    f16 = ["train.precision=f16"]
    lazy = ["lr_too_low"]
    yield case("loss_scale_thrash", "mlp-static", "mlp", "adamw", f"2e-3 * {GOOD}", f16 + ["train.loss_scale=2e6"], lazy)
    yield case("loss_scale_thrash", "vit-static", "vit", "adamw", f"2e-3 * {GOOD}", f16 + ["train.loss_scale=1e6"], lazy)
    yield case("loss_scale_thrash", "mlp-growth", "mlp", "adamw", f"2e-3 * {GOOD}", f16 + ["train.growth_interval=2"], lazy)
    yield case("loss_scale_thrash", "mnist-growth", "mnist-mlp", "adamw", f"2e-3 * {GOOD}", f16 + ["train.growth_interval=3"], lazy)

    bf16 = ["train.weights=bf16", "optimizer.precision={check=true}"]
    yield case("updates_lost", "mlp-adamw", "mlp", "adamw", f"1e-4 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])
    yield case("updates_lost", "vit-adamw", "vit", "adamw", f"1e-4 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])
    yield case("updates_lost", "mlp-momentum", "mlp", "momentum", f"0.02 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])
    yield case("updates_lost", "mnist-adamw", "mnist-mlp", "adamw", f"1e-4 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])


def unseen():
    for base, rule, lr in [("wide", "nesterov", "0.05"), ("wide", "adam", "2e-3"),
                           ("wide", "rmsprop", "5e-4"), ("vit3", "nadam", "2e-3"),
                           ("vit3", "radam", "3e-3"), ("resnet14", "nesterov", "0.1"),
                           ("resnet14", "lars", "2"), ("mnist-linear", "adam", "3e-3"),
                           ("mnist-deep", "adam", "2e-3"), ("mnist-deep", "nadam", "2e-3"),
                           ("mlp", "schedule_free_adamw", "5e-3"), ("mlp", "sophia", "1e-3")]:
        yield Case(f"healthy/{base}-{rule}", [], base, rule, f"{lr} * {GOOD}")

    def case(label, base, rule, lr, sets=(), allowed=()):
        return Case(f"{label}/{base}-{rule}", [label], base, rule, lr, list(sets), list(allowed))

    wild = ["lr_too_high", "diverged", "warmup_too_short", "update_ratio", "exploding_gradients"]
    yield case("diverged", "mnist-deep", "nesterov", "0.7 * warmup(30)", (), wild)
    yield case("diverged", "wide", "sgd", "300", ["train.loss=mse"], wild)
    yield case("lr_too_high", "vit3", "nadam", "0.06 * warmup(40)", (), wild)
    yield case("lr_too_high", "resnet14", "nesterov", "3 * warmup(40)", (), wild)
    yield case("lr_too_low", "vit3", "adam", f"1e-5 * {GOOD}")
    yield case("lr_too_low", "resnet14", "sgd", f"1e-3 * {GOOD}")
    yield case("lr_too_low", "mnist-linear", "adam", f"5e-6 * {GOOD}")
    yield case("warmup_too_short", "vit3", "adam", "4e-2 * cosine(N, 0.02)")
    yield case("warmup_too_short", "mnist-deep", "adam", "2e-2 * cosine(N, 0.02)")
    yield case("plateau", "mnist-linear", "adam", "2e-2 * warmup(20)", ["data.label_noise=0.5"])
    yield case("plateau", "wide", "sgd", "1 * warmup(20)",
               ["data.label_noise=0.6", "model.dropout=0.5", "train.epochs=30"])
    yield case("schedule_ended_early", "vit3", "radam", "2e-3 * warmup(10) * cosine(120)")
    yield case("schedule_ended_early", "mnist-deep", "nadam", "1e-3 * step(30, 0.2)")
    yield case("overfitting", "mnist-deep", "adam", "2e-3",
               ["data.samples=300", "train.epochs=40", "data.label_noise=0.2"])
    yield case("overfitting", "vit3", "adam", "3e-3 * warmup(20)", ["data.label_noise=0.3", "train.epochs=50"])
    yield case("underfitting", "mnist-linear", "adam", f"3e-3 * {GOOD}", ["optimizer.weight_decay=0.3"])
    yield case("underfitting", "mnist-deep", "adam", f"3e-3 * {GOOD}", ["model.hidden=[2, 2]"])
    ordered = ["train.shuffle=false"]
    yield case("data_problem", "wide", "adam", f"5e-4 * {GOOD}",
               ordered + ["fault={bad_begin=0.55, bad_end=0.67}"])
    yield case("data_problem", "mnist-linear", "adam", f"2e-3 * {GOOD}",
               ordered + ["fault={bad_begin=0.1, bad_end=0.13}"])
    yield case("vanishing_gradients", "mnist-deep", "nesterov", f"0.05 * {GOOD}", ["fault.init_scale=0.15"])
    yield case("exploding_gradients", "mnist-deep", "adam", f"1e-3 * {GOOD}", ["fault.init_scale=6"],
               ["diverged", "lr_too_high", "warmup_too_short", "overfitting"])
    yield case("dead_tensors", "resnet14", "nesterov", f"0.1 * {GOOD}", ["fault.missing=blocks.2.*"])
    yield case("dead_tensors", "wide", "adam", f"2e-3 * {GOOD}", ["fault.zero=layer1.weight"])
    yield case("update_ratio", "mnist-deep", "adam", f"1e-3 * {GOOD}",
               ["optimizer.group=[{match='layer2.weight', lr='0.3'}]"], ["lr_too_high", "warmup_too_short"])
    yield case("update_ratio", "vit3", "adam", f"2e-3 * {GOOD}",
               ["optimizer.group=[{match='blocks.1.*', lr='1e-8'}]"])
    yield case("trust_ratio_pinned", "wide", "larc", f"1e-3 * {GOOD}", (), ["lr_too_low"])
    yield case("accumulation_sum", "mnist-deep", "adam", f"2e-3 * {GOOD}",
               ["optimizer.accumulate=2", "train.batch_size=32", "fault.sum_accumulation=true"], wild)
    yield case("accumulation_sum", "resnet14", "nesterov", f"0.05 * {GOOD}",
               ["optimizer.accumulate=8", "train.batch_size=8", "fault.sum_accumulation=true"], wild)
    f16 = ["train.precision=f16"]
    yield case("loss_scale_thrash", "mnist-deep", "adam", f"2e-3 * {GOOD}", f16 + ["train.growth_interval=6"],
               ["lr_too_low"])
    yield case("loss_scale_thrash", "vit3", "adam", f"2e-3 * {GOOD}", f16 + ["train.loss_scale=3e5"],
               ["lr_too_low"])
    bf16 = ["train.weights=bf16", "optimizer.precision={check=true}"]
    yield case("updates_lost", "mnist-deep", "adam", f"1e-4 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])
    yield case("updates_lost", "vit3", "nesterov", f"5e-3 * {GOOD}", bf16, ["lr_too_low", "update_ratio"])


def cases():
    return [*healthy(), *faulty()]
