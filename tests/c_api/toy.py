#!/usr/bin/env python3
"""Trains a toy through libkudari_c.so with nothing but Python's standard library, and checks it
against AdamW written out in double.

usage: toy.py LIBRARY
"""

import array
import ctypes
import json
import math
import sys

CURVATURE, BEST, START = (1, 2, 4, 8), (0.5, -0.25, 1, 0.125), (1, 1, -1, 0)


class Tensor(ctypes.Structure):
    """kudari_tensor of kudari/c.h."""
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p),
                ("rank", ctypes.c_size_t), ("dims", ctypes.POINTER(ctypes.c_int64)),
                ("dtype", ctypes.c_int32), ("grad_dtype", ctypes.c_int32),
                ("device", ctypes.c_int32), ("reserved", ctypes.c_int32),
                ("param", ctypes.c_void_p), ("grad", ctypes.c_void_p),
                ("tensor_class", ctypes.c_char_p)]


class Evaluation(ctypes.Structure):
    """kudari_evaluation of kudari/c.h."""
    _fields_ = [("struct_size", ctypes.c_size_t), ("loss", ctypes.c_double),
                ("samples", ctypes.c_double), ("end", ctypes.c_int32),
                ("reserved", ctypes.c_int32)]


Closure = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int32,
                           ctypes.POINTER(Evaluation))


class Kudari:
    """The library, whose calls raise its messages."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.kudari_last_error.restype = ctypes.c_char_p

    def __call__(self, name, *arguments):
        if getattr(self.library, name)(*arguments) != 0:
            raise ValueError(self.library.kudari_last_error().decode())

    def text(self, name, *arguments):
        """The text that a function gives, which is freed."""
        out = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(out))
        try:
            return ctypes.string_at(out).decode()
        finally:
            self.library.kudari_free(out)

    def optimizer(self, recipe, params, grads):
        """An optimiser of one tensor."""
        dims = (ctypes.c_int64 * 1)(len(params))
        tensor = Tensor(struct_size=ctypes.sizeof(Tensor), name=b"p", rank=1, dims=dims, dtype=1,
                        param=params.buffer_info()[0], grad=grads.buffer_info()[0])
        handle = ctypes.c_void_p()
        self("kudari_optimizer_create", recipe.encode(), ctypes.byref(tensor),
             ctypes.c_size_t(1), None, ctypes.byref(handle))
        return handle


def evaluate(params, grads):
    """The loss; writes the gradients."""
    for i, (a, p, c) in enumerate(zip(CURVATURE, params, BEST)):
        grads[i] = a * (p - c)
    return sum(a * (p - c) ** 2 / 2 for a, p, c in zip(CURVATURE, params, BEST))


def adamw(steps, lr=0.1, decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
    """Loshchilov & Hutter, arXiv:1711.05101, in double."""
    p, m, v = list(START), [0.0] * 4, [0.0] * 4
    for t in range(1, steps + 1):
        for i in range(4):
            g = CURVATURE[i] * (p[i] - BEST[i])
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            p[i] -= lr * decay * p[i]
            p[i] -= lr * (m[i] / (1 - beta1 ** t)) / (math.sqrt(v[i] / (1 - beta2 ** t)) + eps)
    return p


def main():
    kudari = Kudari(sys.argv[1])
    params, grads = array.array("f", START), array.array("f", [0] * 4)
    recipe = '[optimizer]\nrule = "adamw"\nlr = 0.1\nweight_decay = 0.01\n'
    optimizer = kudari.optimizer(recipe, params, grads)
    losses = []

    @Closure
    def closure(_user, _pass, evaluation):
        losses.append(evaluate(params, grads))
        evaluation.contents.loss = losses[-1]
        return 0

    for _ in range(50):
        kudari("kudari_optimizer_step_closure", optimizer, closure, None, ctypes.c_double(0), None)
    worst = max(abs(a - b) for a, b in zip(params, adamw(50)))
    assert worst < 1e-5, (list(params), adamw(50))
    assert len(losses) == 50 and losses[-1] < losses[0] / 10, losses
    steps = ctypes.c_int64()
    kudari("kudari_optimizer_steps", optimizer, ctypes.byref(steps))
    assert steps.value == 50
    kudari("kudari_optimizer_destroy", optimizer)

    rules = {rule["name"]: rule for rule in json.loads(kudari.text("kudari_describe", b"rule"))}
    assert [o["name"] for o in rules["adamw"]["options"]][0] == "lr", rules["adamw"]
    try:
        kudari.optimizer('[optimizer]\nrule = "adamv"\n', params, grads)
    except ValueError as e:
        assert "did you mean" in str(e), e
    else:
        raise AssertionError("an unknown rule was taken")


main()
